"""A loaded data set made into what is asked for: its images scaled and converted, its classes numbered as another's are."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdgan.data.dataset import Dataset, Reader, absent_classes, check_count, check_labels, check_num_classes
from kdgan.data.errors import ArgumentError


def check_shape(
    size: int | Sequence[int] | None, channels: int | None, num_classes: int | None
) -> tuple[int, int] | None:
    """`size` as (h, w), or None.

    Raises:
        ArgumentError: one of the three is nothing that images or classes can be made into.
    """
    if channels not in (None, 1, 3):
        raise ArgumentError(f"{{channels}} must be 1 (grey), 3 (RGB) or None (as the data are), got {channels!r}")
    if num_classes is not None:
        check_count(num_classes)
    return None if size is None else _height_and_width(size)


def _height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, Sequence) else (size,)
    if not 1 <= len(sides) <= 2 or not all(isinstance(side, int | np.integer) and side >= 1 for side in sides):
        raise ArgumentError(f"{{size}} must be (h, w) of at least one pixel, or one number for a square, got {size}")
    return int(sides[0]), int(sides[-1])


def shaped(
    dataset: Dataset,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """The data set with images and classes as the arguments say, which are those of `kdgan.data.load`.

    Args:
        dataset: any.
        size: (h, w), or one number for a square, to which images are scaled (in proportion, centre cropped).
        channels: 1 or 3, to which images are converted.
        num_classes: number of classes, of a data set whose classes are named by their numbers.

    Raises:
        ArgumentError: a wrong argument; images of more than four channels are to be converted or scaled; the data set
            itself names another number of classes, or has labels outside of 0..num_classes-1.
    """
    pair = check_shape(size, channels, num_classes)
    if num_classes is not None and num_classes != dataset.num_classes:
        if not _by_number(dataset):
            check_num_classes(num_classes, dataset.num_classes, f"data set {dataset.name!r}")
        try:
            check_labels(dataset.label, num_classes, dataset.name)
        except ValueError as error:
            raise ArgumentError(f"{{num_classes}} = {num_classes}: {error}") from error
        dataset = _of_classes(dataset, dataset.label, [str(number) for number in range(num_classes)])
    shape = (*(pair or dataset.image_shape[:2]), channels or dataset.image_shape[2])
    if shape == dataset.image_shape:
        return dataset
    if dataset.image_shape[2] > 4:
        wanted = f"{{channels}} = {channels}" if channels is not None else f"{{size}} = {size}"
        raise ArgumentError(
            f"{wanted}: images of {dataset.name!r} have {dataset.image_shape[2]} channels, of no colour known"
        )
    image = None
    if dataset.image is not None:
        image = np.empty((len(dataset), *shape), np.uint8)
        for number, pixels in enumerate(dataset.image):
            image[number] = _changed(pixels, shape)
    reader = None if dataset.reader is None else _ShapedReader(dataset.reader, shape)
    return dataclasses.replace(dataset, image_shape=shape, image=image, reader=reader)


def numbered_as(dataset: Dataset, other: Dataset) -> Dataset:
    """The data set with the classes of `other`, in their order: by name, or by number where names are numbers.

    A set that is without labels, or whose numbers leave those of `other`, stays as it is.

    Raises:
        ArgumentError: it has examples of a class that `other` has not.
    """
    if dataset.class_names == other.class_names or not (dataset.has_labels and other.has_labels):
        return dataset
    place = {name: number for number, name in enumerate(other.class_names)}
    names = [dataset.class_names[number] for number in np.unique(dataset.label)]
    extra = [name for name in names if name not in place]
    if _by_number(dataset) or (extra and _by_number(other)):
        fits = int(dataset.label.max()) < other.num_classes
        return _of_classes(dataset, dataset.label, other.class_names) if fits else dataset
    if extra:
        raise ArgumentError(f"{dataset.name!r} has classes that {other.name!r} has not: {extra}")
    label = np.array([place.get(name, 0) for name in dataset.class_names], np.int32)[dataset.label]
    return _of_classes(dataset, label, other.class_names)


def _of_classes(dataset: Dataset, label: np.ndarray, names: Sequence[str]) -> Dataset:
    before = absent_classes(dataset.label, dataset.class_names)
    notes = (*(note for note in dataset.notes if note not in before), *absent_classes(label, names))
    return dataclasses.replace(dataset, label=label, num_classes=len(names), class_names=tuple(names), notes=notes)


def _by_number(dataset: Dataset) -> bool:
    return dataset.has_labels and dataset.class_names == tuple(str(number) for number in range(dataset.num_classes))


def _changed(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from kdgan.data.images import convert, fit

    image = convert(image, shape[2]) if shape[2] in (1, 3) else image
    return image if image.shape == shape else fit(image, (shape[0], shape[1]))


@dataclasses.dataclass(frozen=True, eq=False)
class ReaderOver:
    """A reader over another one, that says of its files and source what that one says."""

    reader: Reader

    @property
    def unreadable(self) -> dict[str, str]:
        return getattr(self.reader, "unreadable", {})

    @property
    def paths(self) -> tuple[str, ...] | None:
        """Of its files, where the data set is a folder."""
        return getattr(self.reader, "paths", None)

    @property
    def source(self) -> Any:
        """TFDS's data source, where it is a set of its."""
        return getattr(self.reader, "source", None)


@dataclasses.dataclass(frozen=True, eq=False)
class _ShapedReader(ReaderOver):
    """A reader whose images are scaled and converted to `shape` (h, w, c)."""

    shape: tuple[int, int, int]

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([_changed(image, self.shape) for image in self.reader(indices)])

    def keep_apart(self, indices: np.ndarray) -> "_ShapedReader":
        separate = getattr(self.reader, "keep_apart", None)
        return self if separate is None else dataclasses.replace(self, reader=separate(indices))
