"""Windows: the part of each image that a batch is trained on, of one size, cut before anything else changes the image.

`augment.crop` with a `size` and no padding says which, in pixels of the main field, `image` where it is cut. Fields of a
whole multiple of its sides are cut alike: an image of low resolution and its target. Where windows come first, their origins
are drawn on the host, from the step's key and the example's place alone; they are cut on the device where the set lies
there, else here, with the same result.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int, Int32, Integer, UInt8, UInt32

from kdgan.data.dataset import Dataset
from kdgan.data.fields import IMAGE, Field

_DRAW = 2  # second word of the counter: keeps these numbers apart from those of orders and keys


@dataclasses.dataclass(frozen=True)
class Windows:
    """What is cut of images.

    Attributes:
        size: (h, w), in pixels of the main field.
        main: its name.
        scales: field that is cut -> its sides / those of the main field.
    """

    size: tuple[int, int]
    main: str
    scales: Mapping[str, int]

    def size_of(self, name: str) -> tuple[int, int]:
        """(h, w) of a field's window."""
        return self.size[0] * self.scales[name], self.size[1] * self.scales[name]


def is_window(crop: Any) -> bool:
    """Whether the settings of a crop are those of a window: a size, and no padding."""
    return isinstance(crop, Mapping) and crop.get("size") is not None and not crop.get("padding")


def chosen(spec: Mapping[str, Mapping[str, Any]], dataset: Dataset, *, first: bool = False) -> Windows | None:
    """The windows that are cut first, of images that differ in size, or where `first` asks for it; None: none are.

    Args:
        spec: of each field, as `alike.by_field` gives it.
        dataset: the training set.
        first: whether windows come first where images are of one size, too.

    Raises:
        ValueError: images differ in size and no window is given; an image is smaller than it; images that are to be cropped
            alike are not of one size, nor one a multiple of the other.
    """
    ragged = [name for name, field in dataset.fields.items() if field.is_ragged]
    for name in ragged:
        if not is_window(spec[name].get("crop")):
            raise ValueError(
                f"images of {name!r} differ in size, and a batch to train on has one: set"
                f" augment.crop={{size: (h, w), fields: {tuple(ragged)}}} without padding, or image_size=(h, w) to scale all"
            )
    cut = [name for name, part in spec.items() if is_window(part.get("crop"))]
    if not cut or not (first or ragged or len({dataset.fields[name].shape[:2] for name in cut}) > 1):
        return None
    main = IMAGE if IMAGE in cut else cut[0]
    size = pair(spec[main]["crop"]["size"])
    sides = {name: _sides(dataset, name) for name in cut}
    for number, image in enumerate(sides[main]):
        if min(np.subtract(image, size)) < 0:
            raise ValueError(
                f"augment.crop.size = {size}: {dataset.called(number)} of {main!r} is {tuple(map(int, image))}; a window"
                " that lies in every image is accepted"
            )
    return Windows(size, main, {name: _scale(dataset, main, name, sides) for name in cut})


def _sides(dataset: Dataset, name: str) -> np.ndarray:
    """(h, w) of each image of a field, or of all that have one size [n or 1, 2]."""
    field = dataset.fields[name]
    if not field.is_ragged:
        return np.array([field.shape[:2]])
    return np.array([image.shape[:2] for image in dataset.arrays[name]])


def _scale(dataset: Dataset, main: str, name: str, sides: Mapping[str, np.ndarray]) -> int:
    one, other = np.broadcast_arrays(sides[main], sides[name])
    scale = int(max(other[0] // one[0]))
    wrong = np.flatnonzero((other != scale * one).any(1))
    if scale < 1 or len(wrong):
        number = int(wrong[0]) if len(wrong) else 0
        raise ValueError(
            f"{main!r} and {name!r} of {dataset.called(number)} are {tuple(map(int, one[number]))} and"
            f" {tuple(map(int, other[number]))}; images that are cropped alike have one size, or {name!r} everywhere the"
            " same multiple of it"
        )
    return scale


def pair(size: Any) -> tuple[int, int]:
    """(h, w) of a size; a number is the side of a square.

    Raises:
        ValueError: sides are no whole numbers.
    """
    several = (size, size) if isinstance(size, int) else tuple(size)
    if len(several) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in several):
        raise ValueError(f"a size is {size!r}: (height, width) in whole pixels, or the side of a square, is accepted")
    return several


def origins(
    windows: Windows,
    dataset: Dataset,
    index: Integer[np.ndarray, " b"],
    *,
    key: UInt32[np.ndarray, "2"],
    place: Integer[np.ndarray, " b"],
) -> Int32[np.ndarray, "b 2"]:
    """(row, column) of each example's window in the main field, drawn from the key and the example's place."""
    field: Any = dataset.fields[windows.main]
    drawn = np.empty((len(index), 2), np.int32)
    for number, (row, at) in enumerate(zip(index, place, strict=True)):
        generator = np.random.Philox(key=key.astype(np.uint64), counter=np.array([0, _DRAW, at, 0], np.uint64))
        down, right = generator.random_raw(2)
        height, width = dataset.arrays[windows.main][row].shape[:2] if field.is_ragged else field.shape[:2]
        drawn[number] = int(down) % (height - windows.size[0] + 1), int(right) % (width - windows.size[1] + 1)
    return drawn


def of_rows(windows: Windows, name: str, rows: Any, origin: Integer[np.ndarray, "b 2"]) -> UInt8[np.ndarray, "b h w c"]:
    """The windows of a field's images on the host, of an array or of a sequence of several sizes."""
    (height, width), scale = windows.size_of(name), windows.scales[name]
    corners = np.asarray(origin) * scale
    return np.stack([
        image[top : top + height, left : left + width] for image, (top, left) in zip(rows, corners, strict=True)
    ])  # fmt: skip


def examples(
    dataset: Dataset, index: Integer[np.ndarray, " b"], windows: Windows, origin: Integer[np.ndarray, "b 2"]
) -> dict[str, np.ndarray]:
    """`dataset.examples(index)`, of each field that is cut its windows."""
    ragged = {name for name in windows.scales if dataset.fields[name].is_ragged}
    read = dataset.examples(index, [name for name in dataset.fields if name not in ragged])
    read |= {name: dataset.arrays[name][index] for name in ragged}
    return {
        name: of_rows(windows, name, read[name], origin) if name in windows.scales else read[name]
        for name in dataset.fields
    }


def of_array(
    windows: Windows,
    name: str,
    array: UInt8[Array, "n h w c"],
    index: Int[Array | np.ndarray, " b"],
    origin: Int[Array | np.ndarray, "b 2"],
) -> UInt8[Array, "b H W c"]:
    """The windows of a field's images, of which all lie on the device; inside of a compiled step."""
    size, corners = windows.size_of(name), origin * windows.scales[name]

    def one(row: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(array, (row, corner[0], corner[1], 0), (1, *size, array.shape[3]))[0]

    return jax.vmap(one)(jnp.asarray(index), jnp.asarray(corners))


def held(dataset: Dataset, name: str) -> np.ndarray:
    """A field as it lies on the device: images of several sizes in the corner of as many of the largest [n, h, w, c]."""
    field, array = dataset.fields[name], dataset.arrays[name]
    if not field.is_ragged:
        return array
    whole: np.ndarray = np.zeros(_held_shape(field, array), np.uint8)
    for number, image in enumerate(array):
        whole[number, : image.shape[0], : image.shape[1]] = image
    return whole


def held_bytes(dataset: Dataset) -> int:
    """Bytes of the fields as `held`; an array that is two fields counts once."""
    once = {id(array): (dataset.fields[name], array) for name, array in dataset.arrays.items()}
    return sum(
        int(np.prod(_held_shape(field, array))) if field.is_ragged else array.nbytes for field, array in once.values()
    )


def _held_shape(field: Field, array: np.ndarray) -> tuple[int, ...]:
    height, width = np.max([image.shape[:2] for image in array], axis=0)
    return len(array), int(height), int(width), int(field.shape[2] or 0)
