"""Photographs from their files and back: colours, opacity, EXIF, 16 bits."""

import io

import numpy as np
import pytest
from PIL import Image

from kdgan.data import picture_files


def pixels(*shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.mark.parametrize(
    ("mode", "shape", "kept"),
    [
        ("L", (5, 4), (5, 4, 1)), ("RGB", (5, 4, 3), (5, 4, 3)), ("LA", (5, 4, 2), (5, 4, 1)),
        ("RGBA", (5, 4, 4), (5, 4, 3)),
    ],
)  # fmt: skip
def test_grey_colours_and_opacity_are_read_apart(mode, shape, kept, tmp_path):
    image = pixels(*shape)
    Image.fromarray(image).save(tmp_path / "a.png")
    picture = picture_files.read(tmp_path / "a.png")
    expected = image.reshape(*shape[:2], -1)
    np.testing.assert_array_equal(picture.pixels, expected[..., : kept[2]])
    if mode.endswith("A"):
        np.testing.assert_array_equal(picture.opacity, image[..., -1])
    else:
        assert picture.opacity is None


def test_a_palette_is_its_colours_with_its_transparent_entry(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]], np.uint8)
    plain, clear = (picture_files.read(tmp_path / f"{name}.png") for name in ("plain", "clear"))
    np.testing.assert_array_equal(plain.pixels, colours)
    np.testing.assert_array_equal(clear.pixels, colours)
    assert plain.opacity is None
    np.testing.assert_array_equal(clear.opacity, [[255, 0], [255, 0]])


def test_grey_of_16_bits_is_read_and_written_as_such_and_colours_are_refused(tmp_path):
    deep = pixels(6, 5, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    picture = picture_files.read(tmp_path / "deep.png")
    assert picture.pixels.dtype == np.uint16
    np.testing.assert_array_equal(picture.pixels[..., 0], deep)
    canvas = picture_files.Canvas((6, 5), 1, np.uint16)
    canvas.put(slice(0, 6), slice(0, 5), picture.pixels)
    data = picture_files.write(canvas.image(), ".tif", opacity=None, profile=None)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), deep)
    (tmp_path / "colours.png").write_bytes(png_of_16_bits(pixels(3, 2, 3, dtype=np.uint16)))
    with pytest.raises(ValueError, match="16 bits a channel: 8 bits a channel, or grey of 16 bits, is read"):
        picture_files.read(tmp_path / "colours.png")
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="mode F"):
        picture_files.read(tmp_path / "float.tif")


def png_of_16_bits(image):
    """The file of RGB uint16 [h, w, 3], by the format's definition."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    h, w, _ = image.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    head = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_exif_turns_a_photograph(tmp_path):
    image = pixels(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns from the right
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(picture_files.read(tmp_path / "a.png").pixels, image.transpose(1, 0, 2)[:, ::-1])


def test_a_file_that_is_cut_off_is_no_photograph(tmp_path):
    Image.fromarray(pixels(40, 40, 3)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(picture_files.UNREADABLE):
        picture_files.read(tmp_path / "b.png")


@pytest.mark.parametrize("suffix", picture_files.FORMATS)
def test_blocks_make_a_file_of_each_format(suffix):
    image = np.kron(pixels(3, 2, 3), np.ones((16, 16, 1), np.uint8))
    canvas = picture_files.Canvas((48, 32), 3, np.uint8)
    for rows in (slice(0, 20), slice(20, 48)):
        canvas.put(rows, slice(0, 32), image[rows])
    opacity = pixels(48, 32)
    holds = picture_files.FORMATS[suffix].opacity
    data = picture_files.write(canvas.image(), suffix, opacity=opacity if holds else None, profile=None)
    read = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_allclose(read[..., :3].astype(int), image, atol=12 if suffix.startswith(".jp") else 0)
    if holds:
        np.testing.assert_array_equal(read[..., 3], opacity)


def test_opacity_is_enlarged_by_bicubic_interpolation():
    even = np.full((3, 4), 77, np.uint8)
    np.testing.assert_array_equal(picture_files.enlarged(even, 2), np.full((6, 8), 77))
    assert picture_files.enlarged(even, 1) is even


def test_colours_of_16_bits_in_a_pnm_are_refused_and_grey_ones_read(tmp_path):
    deep = pixels(4, 3, 3, dtype=np.uint16)
    (tmp_path / "a.ppm").write_bytes(b"P6 3 4 65535\n" + deep.astype(">u2").tobytes())
    with pytest.raises(ValueError, match="16 bits a channel"):
        picture_files.read(tmp_path / "a.ppm")
    (tmp_path / "a.pgm").write_bytes(b"P5 3 4 65535\n" + deep[..., 0].astype(">u2").tobytes())
    np.testing.assert_array_equal(picture_files.read(tmp_path / "a.pgm").pixels[..., 0], deep[..., 0])


def test_lossless_webp_keeps_colours_under_no_opacity():
    image, clear = pixels(8, 8, 3), np.zeros((8, 8), np.uint8)
    data = picture_files.write(Image.fromarray(image), ".webp", opacity=clear, profile=None)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data)))[..., :3], image)
