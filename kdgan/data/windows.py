"""Training on images of several sizes: windows of one size, drawn on the host, where a batch needs one shape.

`augment.crop` with a `size` says which; what it draws depends on the step's key and the example's place alone, as on the
device, and fields that it names get the same window.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt32

from kdgan.data.dataset import Dataset

_DRAW = 2  # second word of the counter: keeps these numbers apart from those of orders and keys


def sizes(spec: Mapping[str, Mapping[str, Any]], dataset: Dataset) -> dict[str, tuple[int, int]]:
    """The window (h, w) of each field whose images differ in size.

    Args:
        spec: of each field, as `alike.by_field` gives it.
        dataset: the training set.

    Raises:
        ValueError: no window is given; an image is smaller than it; images that are to be cropped alike differ in size.
    """
    ragged = [name for name, field in dataset.fields.items() if field.is_ragged]
    windows: dict[str, tuple[int, int]] = {}
    for name in ragged:
        crop = spec[name].get("crop") or {}
        if crop.get("size") is None or crop.get("padding"):
            raise ValueError(
                f"images of {name!r} differ in size, and a batch to train on has one: set"
                f" augment.crop={{size: (h, w), fields: {tuple(ragged)}}} without padding, or image_size=(h, w) to scale all"
            )
        windows[name] = pair(crop["size"])
        first = dataset.arrays[ragged[0]]
        for number, image in enumerate(dataset.arrays[name]):
            if min(np.subtract(image.shape[:2], windows[name])) < 0:
                raise ValueError(
                    f"augment.crop.size = {windows[name]}: example {number} of {name!r} is {image.shape[:2]}; a window that"
                    " lies in every image is accepted"
                )
            if image.shape[:2] != first[number].shape[:2]:
                raise ValueError(
                    f"{ragged[0]!r} and {name!r} of example {number} are {first[number].shape[:2]} and {image.shape[:2]};"
                    " images that are cropped alike have one size"
                )
    return windows


def pair(size: Any) -> tuple[int, int]:
    """(h, w) of a size; a number is the side of a square."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def examples(
    dataset: Dataset,
    index: Integer[np.ndarray, " b"],
    windows: Mapping[str, tuple[int, int]],
    *,
    key: UInt32[np.ndarray, "2"],
    place: Integer[np.ndarray, " b"],
) -> dict[str, np.ndarray]:
    """`dataset.examples(index)`, of each field in `windows` a window drawn from the key and the example's place."""
    names = [name for name in dataset.fields if name not in windows]
    cropped: dict[str, Any] = {name: [] for name in windows}
    for row, number in zip(index, place, strict=True):
        generator = np.random.Philox(key=key.astype(np.uint64), counter=np.array([0, _DRAW, number, 0], np.uint64))
        down, right = generator.random_raw(2)
        for name, (height, width) in windows.items():
            image = dataset.arrays[name][row]
            top, left = int(down) % (image.shape[0] - height + 1), int(right) % (image.shape[1] - width + 1)
            cropped[name].append(image[top : top + height, left : left + width])
    read = dataset.examples(index, names)
    return {name: np.stack(cropped[name]) if name in cropped else read[name] for name in dataset.fields}
