"""Samples while a stage trains: `samples/<stage>/<arm>/<entry>/<step>.png`, 64 images, of the same noise at every step."""

import pathlib

import numpy as np

from kdgan import files

SIDE = 8  # images in a row and in a column of a sheet


def sheet(images: np.ndarray) -> np.ndarray:
    """uint8 [64, h, w, c] as one image [8·h, 8·w, c]."""
    n, h, w, c = images.shape
    return images.reshape(SIDE, n // SIDE, h, w, c).swapaxes(1, 2).reshape(SIDE * h, n // SIDE * w, c)


def images_of(sheet: np.ndarray) -> np.ndarray:
    """The inverse of `sheet`."""
    h, w, c = sheet.shape[0] // SIDE, sheet.shape[1] // SIDE, sheet.shape[2]
    return sheet.reshape(SIDE, h, SIDE, w, c).swapaxes(1, 2).reshape(SIDE * SIDE, h, w, c)


def write(workdir: pathlib.Path, stage: str, arm: str, entry: str, step: int, images: np.ndarray) -> None:
    import io

    from PIL import Image

    pixels = sheet(images)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    files.write_atomic(_folder(workdir, stage, arm, entry) / f"{step:08d}.png", buffer.getvalue())


def read(workdir: pathlib.Path, stage: str, arm: str, entry: str) -> tuple[list[int], np.ndarray]:
    """(steps, uint8 [t, 64, h, w, c]) that were written, in order."""
    from PIL import Image

    paths = sorted(_folder(workdir, stage, arm, entry).glob("[0-9]*.png"))
    sheets = [np.asarray(Image.open(path)) for path in paths]
    images = [images_of(sheet if sheet.ndim == 3 else sheet[..., None]) for sheet in sheets]
    return [int(path.stem) for path in paths], np.stack(images) if images else np.zeros((0, 0, 0, 0, 0), np.uint8)


def _folder(workdir: pathlib.Path, stage: str, arm: str, entry: str) -> pathlib.Path:
    return workdir / "samples" / stage / arm / entry
