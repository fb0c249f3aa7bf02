"""What an evaluator shows of a player while it trains: `samples/<stage>/<arm>/<entry>/<step>.png`, and how to read it.

The images of one moment lie side by side in one PNG. `sheet.json` beside them says how many stand in a row and in a column,
so that whatever an evaluator shows can be read back without it.
"""

import pathlib

import numpy as np

from kdgan import files
from kdgan.report import grids

SIDE = 8  # images in a row of a sheet
SHEET = "sheet.json"


def sheet(images: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, c] as one image of rows of eight; a row that is not full is filled with black."""
    n, h, w, c = images.shape
    rows = -(-n // SIDE)
    filled = np.concatenate([images, np.zeros((rows * SIDE - n, h, w, c), np.uint8)])
    return filled.reshape(rows, SIDE, h, w, c).swapaxes(1, 2).reshape(rows * h, SIDE * w, c)


def images_of(sheet: np.ndarray, count: int = SIDE * SIDE) -> np.ndarray:
    """The inverse of `sheet`, of so many images."""
    rows = -(-count // SIDE)
    h, w, c = sheet.shape[0] // rows, sheet.shape[1] // SIDE, sheet.shape[2]
    return sheet.reshape(rows, h, SIDE, w, c).swapaxes(1, 2).reshape(rows * SIDE, h, w, c)[:count]


def write(workdir: pathlib.Path, stage: str, arm: str, entry: str, step: int, images: np.ndarray) -> None:
    folder = _folder(workdir, stage, arm, entry)
    about = {"count": len(images)}
    if not (folder / SHEET).exists() or files.read_json(folder / SHEET) != about:
        files.write_json(folder / SHEET, about)
    grids.save_png(folder / f"{step:08d}.png", sheet(images))


def read(workdir: pathlib.Path, stage: str, arm: str, entry: str) -> tuple[list[int], np.ndarray]:
    """(steps, uint8 [t, n, h, w, c]) that were written, in order."""
    from PIL import Image

    folder = _folder(workdir, stage, arm, entry)
    count = files.read_json(folder / SHEET)["count"] if (folder / SHEET).exists() else SIDE * SIDE
    paths = sorted(folder.glob("[0-9]*.png"))
    sheets = [np.asarray(Image.open(path)) for path in paths]
    images = [images_of(sheet if sheet.ndim == 3 else sheet[..., None], count) for sheet in sheets]
    return [int(path.stem) for path in paths], np.stack(images) if images else np.zeros((0, 0, 0, 0, 0), np.uint8)


def _folder(workdir: pathlib.Path, stage: str, arm: str, entry: str) -> pathlib.Path:
    return workdir / "samples" / stage / arm / entry
