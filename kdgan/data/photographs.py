"""Fifteen photographs that scikit-image and scikit-learn ship, as "skimage:photographs": nothing is downloaded.

Their sides are 300 to 1,000 pixels; six are grey. They are divided by image: "train" has ten, "test" five, of which two are
a stereo pair, which so stays together whatever is set apart for validation; "all" has both.
"""

import pathlib
from importlib import resources

import numpy as np

from kdgan import extras
from kdgan.data import slices
from kdgan.data.dataset import Dataset
from kdgan.data.errors import ArgumentError
from kdgan.data.fields import Field
from kdgan.data.images import UNREADABLE, read_header, read_pixels

NAME = "photographs"
SPLITS = {
    "train": (
        "astronaut.png", "brick.png", "china.jpg", "coins.png", "flower.jpg", "grass.png", "gravel.png",
        "hubble_deep_field.jpg", "moon.png", "rocket.jpg",
    ),
    "test": ("camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png"),
}  # fmt: skip
_OF_SKLEARN = ("china.jpg", "flower.jpg")


def read_photographs(name: str, split: str, *, channels: int | None = None) -> Dataset:
    """One split of the photographs, images of several sizes, RGB unless `channels` says 1.

    Raises:
        ValueError: there is no such set or split; scikit-image is not installed, or lacks an image.
    """
    if name != NAME:
        raise ArgumentError(f"{{name}} = 'skimage:{name}': skimage:{NAME} is accepted")
    chosen: list[str] = []
    for part in slices.parse(split):
        known = {**SPLITS, "all": (*SPLITS["train"], *SPLITS["test"])}
        if part.name not in known:
            raise ValueError(f"split {part.name!r} of 'skimage:{NAME}': splits are {', '.join(known)}")
        start, stop = slices.bounds(part, len(known[part.name]), f"split {split!r} of 'skimage:{NAME}'", "images")
        chosen += known[part.name][start:stop]
    if not chosen:
        raise ValueError(f"split {split!r} of 'skimage:{NAME}' holds no images")
    try:
        extras.need("skimage", f"{{name}} = 'skimage:{NAME}'")
    except ValueError as error:
        raise ArgumentError(str(error)) from error
    images = np.empty(len(chosen), object)
    for number, file in enumerate(chosen):
        images[number] = _read(file, channels or 3)
    field = Field("image", (None, None, channels or 3))
    return Dataset(f"skimage:{NAME}", {"image": field}, {"image": images}, split=split, files=tuple(chosen))


def _read(file: str, channels: int) -> np.ndarray:
    package, inside = ("sklearn", "datasets/images") if file in _OF_SKLEARN else ("skimage", "data")
    path = pathlib.Path(str(resources.files(package))) / inside / file
    try:
        return read_pixels(path, (*read_header(path).size, channels), resize=False)
    except UNREADABLE as error:
        raise ArgumentError(
            f"{{name}} = 'skimage:{NAME}': {file} of {package} cannot be read ({error}); scikit-image 0.22 to 0.26 have it"
        ) from error
