"""Image files: turned by EXIF, whole or cut off, of every mode; pixels converted."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from kdgan.data import load
from kdgan.data.images import convert, read_header, read_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_exif_orientation_is_applied(tmp_path, kind, orientation):
    file = tmp_path / f"a.{kind}"
    Image.fromarray(PIXELS).save(file, exif=exif(orientation), **({"lossless": True} if kind == "webp" else {}))
    with Image.open(file) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    assert read_header(file).size == expected.shape[:2]
    np.testing.assert_array_equal(read_pixels(file, expected.shape, resize=False), expected)
    if kind in ("png", "webp") and orientation == 6:  # a quarter turn clockwise
        np.testing.assert_array_equal(expected, np.rot90(PIXELS, -1))


def png_with_exif_behind_the_pixels(file, orientation):
    """As ImageMagick writes them."""
    Image.fromarray(PIXELS).save(file)
    whole = file.read_bytes()
    content = exif(orientation).tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    file.write_bytes(whole[:-12] + chunk + whole[-12:])


def test_exif_behind_the_pixels_is_seen_before_they_are_read(tmp_path):
    file = tmp_path / "a.png"
    png_with_exif_behind_the_pixels(file, 8)
    header = read_header(file)
    assert (header.size, header.turned) == ((9, 6), True)
    np.testing.assert_array_equal(read_pixels(file, (9, 6, 3), resize=False), np.rot90(PIXELS))


def test_damaged_exif_turns_nothing(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert read_header(file).size == (6, 9)
    np.testing.assert_array_equal(read_pixels(file, (6, 9, 3), resize=False), PIXELS)


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_a_set_says_that_it_was_turned(tmp_path, memory_limit):
    (tmp_path / "a").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "a" / "0.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(PIXELS))).save(tmp_path / "a" / "1.png", exif=exif(6))
    dataset = load(f"folder:{tmp_path}", "all", memory_limit=memory_limit)
    assert dataset.image_shape == (6, 9, 3)
    assert dataset.notes == ("EXIF orientation applied to 1 of 2 images",)
    for image in dataset.fetch([0, 1]):
        np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif", "bmp"])
def test_a_file_that_is_cut_off_is_found_by_its_end(tmp_path, kind):
    whole, cut, longer = (tmp_path / f"{name}.{kind}" for name in ("whole", "cut", "longer"))
    Image.fromarray(np.tile(PIXELS, (9, 9, 1))).save(whole)
    content = whole.read_bytes()
    assert read_header(whole).size == (54, 81)
    longer.write_bytes(content + 200 * b"\x00")  # what some cameras write behind the image does no harm
    assert read_header(longer).size == (54, 81)
    for part in (0.5, 0.9):
        cut.write_bytes(content[: int(part * len(content))])
        with pytest.raises((OSError, ValueError, EOFError)):
            read_header(cut)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_that_a_header_admits_is_read(tmp_path, mode, channels):
    file = tmp_path / "a.tiff"
    try:
        Image.fromarray(PIXELS).convert("RGBA" if mode == "PA" else "RGB").convert(mode).save(file)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"Pillow writes no TIFF of mode {mode}")
    read_header(file)
    assert read_pixels(file, (6, 9, channels), resize=False).shape == (6, 9, channels)


@pytest.mark.parametrize("mode", ["I;16", "F", "LAB"])
def test_modes_that_are_not_eight_bits_of_colour_are_refused(tmp_path, mode):
    file = tmp_path / "a.tiff"
    Image.new(mode, (9, 6)).save(file)
    with pytest.raises(ValueError, match=f"mode {mode} is not 8 bits a channel"):
        read_header(file)


def test_the_first_frame_is_taken(tmp_path):
    file = tmp_path / "a.gif"
    frames = [Image.fromarray(np.full((6, 9), value, np.uint8)) for value in (7, 200)]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    assert read_pixels(file, (6, 9, 1), resize=False).max() == 7


def test_convert():
    grey = PIXELS[..., :1]
    np.testing.assert_array_equal(convert(grey, 3), np.repeat(grey, 3, axis=-1))
    luma = PIXELS @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(convert(PIXELS, 1)[..., 0], luma, atol=1)
    four = np.concatenate([PIXELS, grey], axis=-1)
    np.testing.assert_array_equal(convert(four, 3), PIXELS)
    np.testing.assert_array_equal(convert(four[..., ::3], 1), PIXELS[..., :1])
    assert convert(PIXELS, 3) is PIXELS
