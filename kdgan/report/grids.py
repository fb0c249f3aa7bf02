"""Images side by side as one image, and its PNG: for a run's files and for the page. Needs no matplotlib."""

import base64
import io
import os

import numpy as np

from kdgan import files

SEPARATOR = 1  # pixels between images
GREY = 128  # told apart from black digits and from white paper


def grid(images: np.ndarray, columns: int, *, separator: int = SEPARATOR, fill: int = GREY) -> np.ndarray:
    """Images row by row, `columns` in each row, with a line between neighbours and none around.

    Args:
        images: uint8 [n, h, w, c].
        columns: images in a row; the places that the last row leaves free are filled.
        separator: pixels of the lines, 0 for none.
        fill: value of the lines, in every channel: 0 makes them transparent in images whose last channel is opacity.

    Returns:
        uint8 [rows·h + (rows − 1)·separator, columns·w + (columns − 1)·separator, c] with rows = ⌈n / columns⌉; with
        fewer images than columns, as many columns as images.

    Raises:
        ValueError: images are not uint8 [n, h, w, c] with n > 0, or columns is no positive number.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"images are {images.dtype} {list(images.shape)}; uint8 [n, h, w, c] with n > 0 is wanted")
    if columns < 1:
        raise ValueError(f"columns is {columns}; at least 1 is wanted")
    n, h, w, c = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    places = np.full((rows * columns, h + separator, w + separator, c), fill, np.uint8)
    places[:n, :h, :w] = images
    whole = places.reshape(rows, columns, h + separator, w + separator, c).swapaxes(1, 2)
    whole = whole.reshape(rows * (h + separator), columns * (w + separator), c)
    return whole[: whole.shape[0] - separator, : whole.shape[1] - separator]


def png(image: np.ndarray) -> bytes:
    """The PNG file of an image uint8 [h, w, c]: grey, grey with opacity, RGB, RGB with opacity for c = 1, 2, 3, 4.

    Raises:
        ValueError: it has another number of channels.
    """
    from PIL import Image

    pixels = np.asarray(image, np.uint8)
    if pixels.ndim != 3 or not 1 <= pixels.shape[-1] <= 4:
        raise ValueError(f"the image has shape {list(pixels.shape)}; [h, w, c] with 1 to 4 channels is wanted")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(image: np.ndarray) -> str:
    """The PNG of an image uint8 [h, w, c] as the source of a page's image."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write an image uint8 [h, w, c] as a PNG file, whole or not at all.

    Raises:
        ValueError: as `png` does.
        OSError: the file cannot be written.
    """
    files.write_atomic(path, png(image))
