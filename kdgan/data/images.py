"""One image: a file's header, whether the file is whole, its pixels as uint8; and pixels scaled or converted.

A file is turned as its EXIF orientation says, before anything else. Of several frames or pages the first is taken, and
transparency is dropped.
"""

import pathlib
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
GREY = {"1", "L"}
_EIGHT_BITS = {*GREY, "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError)
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """What a file says before its pixels: (h, w) and the mode of the turned image, and whether EXIF turns it."""

    size: tuple[int, int]
    mode: str
    turned: bool


def read_header(file: str | pathlib.Path) -> Header:
    """A file's header, once it is certain that the file is not cut off.

    The end of the file is looked at, and only where it is not as its format wants it are the pixels read: 1.1 s for 10,000
    JPEGs of 32×32 pixels (0.9 s without this look; all pixels 2.4 s), and 0.09 s for 1,000 of 224×224 (pixels 0.6 s).
    Pillow's `verify` does nothing with a JPEG.

    Raises:
        One of UNREADABLE: no image, not 8 bits a channel, or cut off.
    """
    with open(file, "rb") as stream, Image.open(stream) as picture:
        if picture.mode not in _EIGHT_BITS or is_deep(picture):
            depth = " of 16 bits" if picture.mode in _EIGHT_BITS else ""
            raise ValueError(f"mode {picture.mode}{depth} is not 8 bits a channel")
        orientation = _orientation(picture, stream)
        height, width = picture.height, picture.width
        if not _has_its_end(picture.format, stream):
            picture.load()
        size = (width, height) if orientation >= 5 else (height, width)
        return Header(size, picture.mode, orientation in _TURNS)


def read_pixels(file: str | pathlib.Path, shape: tuple[int, int, int], resize: bool) -> np.ndarray:
    """uint8 `[h, w, c]` of a file, of `shape` where it has this size or `resize` asks for it.

    Raises:
        One of UNREADABLE.
    """
    with open(file, "rb") as stream, Image.open(stream) as picture:
        orientation = _orientation(picture, stream)
        # Through RGBA: on the direct way to RGB Pillow warns of transparency held in a palette.
        colours = picture.convert("RGBA") if picture.mode in ("P", "PA") else picture
        colours = colours.convert("L" if shape[2] == 1 else "RGB")
        array = np.asarray(colours.transpose(_TURNS[orientation]) if orientation in _TURNS else colours)
    array = array.reshape(*array.shape[:2], shape[2])
    if resize:
        return fit(array, shape[:2])
    if array.shape != shape:
        raise ValueError(f"it has {array.shape[0]}×{array.shape[1]} pixels, no longer {shape[0]}×{shape[1]}")
    return array


def reason(error: Exception) -> str:
    """Why an image cannot be read: the first line of an error, without the path that stands before it in any case."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known image format"
    return (f"{error}".splitlines() or [type(error).__name__])[0]


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 `[h, w, c]` scaled to `size` (h, w): bilinear with anti-aliasing, sides in proportion, centre cropped."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    fitted = ImageOps.fit(picture, (size[1], size[0]), method=Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(*size, image.shape[-1])


def convert(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 `[h, w, c]` of 1 (grey), 2 (grey, alpha), 3 or 4 channels as one of 1 (luma, ITU-R 601) or 3."""
    if image.shape[-1] == channels:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] <= 2 else image[..., :3])
    array = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return array.reshape(*array.shape[:2], channels)


def _orientation(picture: Image.Image, stream: IO[bytes]) -> int:
    """EXIF's orientation, 1 where there is none: decided before the pixels are read, so that it is one answer always."""
    if picture.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        if picture.format == "PNG" and not {"exif", "Raw profile type exif"} & picture.info.keys():
            if b"eXIf" not in _png_chunks(stream):
                return 1
            picture.load()  # EXIF behind the pixels is read with them
        # Not PNG's own function, which reads the pixels to look behind them.
        return int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except Exception:  # of damaged EXIF, which Pillow reports in many ways: the pixels may be in order
        return 1


def is_deep(picture: Image.Image) -> bool:
    """Whether colours have more than 8 bits a channel, of which Pillow would drop the lower ones without a word."""
    if picture.format not in ("PNG", "TIFF", "PPM"):
        return False
    for codec, _, _, how in getattr(picture, "tile", ()):
        first, *rest = how if isinstance(how, tuple) else (how,)
        if ";16" in str(first) or (codec == "ppm" and rest and rest[0] > 255):
            return True
    return False


def _has_its_end(kind: str | None, stream: IO[bytes]) -> bool:
    """Whether a file ends as its format wants it; formats without a mark of their end are taken to."""
    place = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 64))
    tail = stream.read()
    stream.seek(0)
    head = stream.read(8)
    stream.seek(place)
    if kind in ("JPEG", "MPO"):
        return b"\xff\xd9" in tail
    if kind == "PNG":
        return b"IEND" in _png_chunks(stream)
    if kind == "GIF":
        return tail.rstrip(b"\x00").endswith(b";")
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    if kind == "BMP":
        return int.from_bytes(head[2:6], "little") <= size
    return True


def _png_chunks(stream: IO[bytes]) -> set[bytes]:
    """The names of the chunks that a PNG file has, without those that it lacks the end of."""
    place = stream.tell()
    size = stream.seek(0, 2)
    names = set(_chunks(stream, size))
    stream.seek(place)
    return names


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    start = 8  # behind the signature
    while start + 12 <= size:  # length, name, content, checksum
        stream.seek(start)
        head = stream.read(8)
        start += 12 + int.from_bytes(head[:4], "big")
        if start <= size:
            yield head[4:]
