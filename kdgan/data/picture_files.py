"""Whole photographs: a file as its pixels, opacity and colour profile, and back; grey of 16 bits keeps them.

A file is turned as its EXIF orientation says; other EXIF data are dropped. Of several frames or pages the first is taken.
"""

import contextlib
import io
import pathlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from kdgan.data.images import UNREADABLE, is_deep


class Format(NamedTuple):
    """What files of a suffix are.

    Attributes:
      name: Pillow's.
      opacity: whether they hold opacity.
      sixteen: whether they hold grey of 16 bits.
      profile: whether they hold the profile of their colours.
      options: of saving.
    """

    name: str
    opacity: bool
    sixteen: bool
    profile: bool
    options: dict[str, Any]


_JPEG = Format("JPEG", False, False, True, {"quality": 95, "subsampling": 0})
_TIFF = Format("TIFF", True, True, True, {})
FORMATS = {
    ".png": Format("PNG", True, True, True, {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    # `exact`: else colours under an opacity of 0 are changed, to make the file smaller.
    ".webp": Format("WEBP", True, False, True, {"lossless": True, "exact": True}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", False, False, False, {}),
}
_GREY16 = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_GREY, _COLOURS = ("1", "L"), ("RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_OPACITY = ("LA", "La", "PA", "RGBA", "RGBa")

_SPACES = {"L": b"GRAY", "I;16": b"GRAY", "RGB": b"RGB "}  # mode of what is written -> what its profile must be of

__all__ = ["FORMATS", "UNREADABLE", "Canvas", "Format", "Picture", "enlarged", "fits", "read", "write"]


class Picture(NamedTuple):
    """A photograph.

    Attributes:
      pixels: uint8 [h, w, 1] or [h, w, 3]; or uint16 [h, w, 1].
      opacity: uint8 [h, w]; None: there is none.
      profile: ICC profile of the colours, or None.
    """

    pixels: np.ndarray
    opacity: np.ndarray | None
    profile: bytes | None

    @property
    def is_grey(self) -> bool:
        return self.pixels.shape[-1] == 1


def read(file: str | pathlib.Path) -> Picture:
    """A photograph from its file.

    Raises:
        One of UNREADABLE: no image, cut off, or colours of more than 8 bits a channel.
    """
    with open(file, "rb") as stream, Image.open(stream) as picture:
        deep = is_deep(picture)
        if picture.mode not in (*_GREY16, *_GREY, *_COLOURS, *_OPACITY, "P") or (deep and picture.mode not in _GREY16):
            what = "16 bits a channel" if deep else f"mode {picture.mode}"
            raise ValueError(f"{what}: 8 bits a channel, or grey of 16 bits, is read; save it so")
        picture.load()
        profile = picture.info.get("icc_profile")
        turned: Image.Image = picture
        with contextlib.suppress(Exception):  # damaged EXIF, which Pillow reports in many ways: the pixels are in order
            turned = ImageOps.exif_transpose(picture)
        if turned.mode in _GREY16:
            return Picture(_sixteen(np.asarray(turned)), None, profile)
        transparent = turned.mode in _OPACITY or "transparency" in turned.info
        grey = turned.mode in (*_GREY, "LA", "La")
        if not transparent:
            return Picture(_pixels(turned.convert("L" if grey else "RGB")), None, profile)
        premultiplied = {"La": "LA", "RGBa": "RGBA"}
        several = turned.convert(premultiplied.get(turned.mode, "LA" if grey else "RGBA"))
        opacity = np.asarray(several.getchannel("A"))
        return Picture(_pixels(several.convert("L" if grey else "RGB")), opacity, profile)


def _sixteen(array: np.ndarray) -> np.ndarray:
    if array.size and not 0 <= array.min() <= array.max() <= 65535:
        raise ValueError(f"values {array.min()}..{array.max()}: 8 or 16 bits a channel are read; save it so")
    return array.astype(np.uint16)[..., None]


def _pixels(picture: Image.Image) -> np.ndarray:
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def enlarged(channel: np.ndarray, scale: int) -> np.ndarray:
    """uint8 [h, w] at `scale` times its sides, by bicubic interpolation."""
    if scale == 1:
        return channel
    size = (scale * channel.shape[1], scale * channel.shape[0])
    return np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC))


class Canvas:
    """An image that is put together of blocks.

    Args:
      size: (height, width).
      channels: 1 or 3.
      dtype: uint8; or of one channel uint16.
    """

    def __init__(self, size: tuple[int, int], channels: int, dtype: Any):
        self._deep = np.zeros(size, np.uint16) if dtype == np.uint16 else None
        self._image = Image.new("L" if channels == 1 else "RGB", (1, 1) if dtype == np.uint16 else (size[1], size[0]))

    def put(self, rows: slice, columns: slice, block: np.ndarray) -> None:
        """Set these pixels to a block [h, w, c] of the canvas's type."""
        if self._deep is not None:
            self._deep[rows, columns] = block[..., 0]
        else:
            pixels = np.ascontiguousarray(block[..., 0] if block.shape[-1] == 1 else block)
            self._image.paste(Image.fromarray(pixels), (columns.start, rows.start))

    def image(self) -> Image.Image:
        return self._image if self._deep is None else Image.fromarray(self._deep)


def fits(profile: bytes, image: Image.Image) -> bool:
    """Whether a profile's space of colours, as its header names it, is that of an image; one of CMYK, say, is not."""
    return profile[16:20] == _SPACES.get(image.mode)


def write(image: Image.Image, suffix: str, *, opacity: np.ndarray | None, profile: bytes | None) -> bytes:
    """The file of an image, in the format of a suffix of FORMATS; opacity [h, w] where the format holds it."""
    form = FORMATS[suffix]
    if opacity is not None and form.opacity:
        image.putalpha(Image.fromarray(opacity))
    buffer = io.BytesIO()
    image.save(buffer, form.name, **form.options, **({"icc_profile": profile} if profile else {}))
    return buffer.getvalue()
