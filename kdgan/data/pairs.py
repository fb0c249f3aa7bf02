"""Pairs made of a data set of clean images: `image`, of which `kdgan/data/degrade.py` says how it is made, and `target`.

What is not random is made here, once: the images of lower resolution. Noise is added where batches are prepared, of images
that stay uint8 until then, so that without a scale both fields are one array.
"""

import dataclasses

import numpy as np

from kdgan.data.dataset import Dataset
from kdgan.data.degrade import Degradation
from kdgan.data.fields import AGAIN, IMAGE, TARGET, Field, expect
from kdgan.data.shaping import ReaderOver


def degraded(dataset: Dataset, degradation: Degradation) -> Dataset:
    """The data set with its images as the field `target`, and as `image` what the degradation makes of them but for noise.

    Raises:
        ValueError: there is no field `image` of images, or there is a `target` already; a scale that does not divide a
            side, with the name of the image. Messages begin with "degrade".
    """
    if TARGET in dataset.fields:
        raise ValueError(
            f"degrade makes the field {TARGET!r} of clean images, and the data {dataset.name!r} have one already; leave"
            " degrade out"
        )
    try:
        clean = expect(dataset.fields, IMAGE, "image")
    except ValueError as error:
        raise ValueError(f"degrade makes {TARGET!r} of the field {IMAGE!r}: {error}") from error
    if AGAIN in dataset.fields and degradation.is_random:
        raise ValueError(f"degrade makes the field {AGAIN!r} in a batch, and the data have one already; rename it")
    others = {name: field for name, field in dataset.fields.items() if name != IMAGE}
    if IMAGE not in dataset.arrays:
        return _read_when_asked(dataset, degradation, clean, others)
    images = [_trimmed(dataset, degradation, number) for number in range(len(dataset))]
    arrays = {name: array for name, array in dataset.arrays.items() if name != IMAGE}
    target = _together(images, clean, dataset.arrays[IMAGE])
    image = target if degradation.scale == 1 else _together([degradation.reduced(one) for one in images], clean)
    fields = {IMAGE: _field(clean, image), TARGET: _field(clean, target), **others}
    return dataclasses.replace(dataset, fields=fields, arrays={IMAGE: image, TARGET: target, **arrays})


def _trimmed(dataset: Dataset, degradation: Degradation, number: int) -> np.ndarray:
    try:
        return degradation.trimmed(dataset.arrays[IMAGE][number])
    except ValueError as error:
        text = str(error).replace("its sides", f"the sides of {dataset.called(number)},", 1)
        raise ValueError(text) from error


def _together(images: list[np.ndarray], clean: Field, before: np.ndarray | None = None) -> np.ndarray:
    """The images as one array, of objects where they differ in size; `before` itself where nothing changed."""
    if before is not None and all(one.shape == other.shape for one, other in zip(images, before, strict=True)):
        return before
    if not clean.is_ragged:
        return np.ascontiguousarray(np.stack(images))
    array = np.empty(len(images), object)
    for number, image in enumerate(images):
        array[number] = np.ascontiguousarray(image)
    return array


def _field(clean: Field, array: np.ndarray) -> Field:
    return clean if clean.is_ragged else dataclasses.replace(clean, shape=array.shape[1:])


def _read_when_asked(dataset: Dataset, degradation: Degradation, clean: Field, others: dict[str, Field]) -> Dataset:
    """The pairs of a set whose images stay on disk."""
    assert dataset.reader is not None
    blank = np.zeros((1, *map(int, clean.shape)), np.uint8)  # type: ignore[arg-type]
    try:
        cut = degradation.trimmed(blank)
    except ValueError as error:
        raise ValueError(str(error).replace("its sides", f"the sides of images of {dataset.name!r},", 1)) from error
    fields = {
        IMAGE: dataclasses.replace(clean, shape=degradation.reduced(cut).shape[1:]),
        TARGET: dataclasses.replace(clean, shape=cut.shape[1:]),
        **others,
    }
    reader = dataset.reader if cut.shape == blank.shape else _TrimmedReader(dataset.reader, degradation)
    derived = {**dataset.derived, IMAGE: (TARGET, degradation.reduced)}
    return dataclasses.replace(dataset, fields=fields, reader=reader, derived=derived)


@dataclasses.dataclass(frozen=True, eq=False)
class _TrimmedReader(ReaderOver):
    """A reader whose images lose what the scale leaves over."""

    degradation: Degradation

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.degradation.trimmed(self.reader(indices))

    def keep_apart(self, indices: np.ndarray) -> "_TrimmedReader":
        separate = getattr(self.reader, "keep_apart", None)
        return self if separate is None else dataclasses.replace(self, reader=separate(indices))
