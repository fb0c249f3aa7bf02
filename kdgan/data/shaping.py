"""A loaded data set made into what is asked for: its images scaled and converted, its fields numbered as another's are."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdgan.data.classes import absent_classes, check_count, check_labels, check_num_classes
from kdgan.data.dataset import Dataset, Reader
from kdgan.data.errors import ArgumentError
from kdgan.data.fields import LABEL, Field, expect, mask_of


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
        dataset = _counted(dataset, num_classes)
    images = [name for name, field in dataset.fields.items() if field.kind == "image"]
    asked = f"{{channels}} = {channels}" if channels is not None else f"{{size}} = {size}"
    if (pair or channels) and not images:
        raise ArgumentError(
            f"{asked}: data set {dataset.name!r} has no images; its fields are {', '.join(dataset.fields)}"
        )
    for name in images:
        before = dataset.fields[name].shape
        shape = (*(pair or before[:2]), channels or before[2])
        if shape != before and (before[2] or 0) > 4:
            raise ArgumentError(f"{asked}: images of {dataset.name!r} have {before[2]} channels, of no colour known")
        dataset = dataset if shape == before else _shaped_field(dataset, name, shape)
    return dataset


def _counted(dataset: Dataset, num_classes: int) -> Dataset:
    try:
        expect(dataset.fields, LABEL, "class")
        if not _by_number(dataset.fields[LABEL]):
            check_num_classes(num_classes, dataset.num_classes, f"data set {dataset.name!r}")
        check_labels(dataset.label, num_classes, dataset.name)
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(f"{{num_classes}} = {num_classes}: {error}") from error
    return _of_classes(dataset, LABEL, dataset.label, [str(number) for number in range(num_classes)])


def _shaped_field(dataset: Dataset, name: str, shape: tuple[int | None, ...]) -> Dataset:
    """The data set with the images of one field scaled and converted to `shape` (h, w, c)."""
    field = dataclasses.replace(dataset.fields[name], shape=shape)
    if name not in dataset.arrays:
        assert dataset.reader is not None
        fields = {**dataset.fields, name: field}
        return dataclasses.replace(dataset, fields=fields, reader=_ShapedReader(dataset.reader, shape))
    sides: tuple[Any, ...] = () if field.is_ragged else shape
    image: np.ndarray = np.empty((len(dataset), *sides), object if field.is_ragged else np.uint8)
    for number, pixels in enumerate(dataset.arrays[name]):
        image[number] = _changed(pixels, shape)
    return dataset.with_field(name, field, image)


def numbered_as(dataset: Dataset, other: Dataset) -> Dataset:
    """The data set with the classes and tags of `other`, in their order: by name, or by number where names are numbers.

    A field that `other` has not, or whose numbers leave those of `other`, stays as it is.

    Raises:
        ArgumentError: it has examples of a class that `other` has not.
    """
    for name, field in dataset.fields.items():
        model = other.fields.get(name)
        if model is None or model.kind != field.kind or model.names == field.names:
            continue
        if field.kind == "class":
            dataset = _renumbered(dataset, name, other)
        elif field.kind == "tags" and sorted(model.names) == sorted(field.names):
            order = [field.names.index(called) for called in model.names]
            dataset = dataset.with_field(name, model, np.ascontiguousarray(dataset.arrays[name][:, order]))
    return dataset


def _renumbered(dataset: Dataset, field: str, other: Dataset) -> Dataset:
    own, model, label = dataset.fields[field], other.fields[field], dataset.arrays[field]
    place = {name: number for number, name in enumerate(model.names)}
    names = [own.names[number] for number in np.unique(label)]
    extra = [name for name in names if name not in place]
    if _by_number(own) or (extra and _by_number(model)):
        fits = int(label.max()) < model.size
        return _of_classes(dataset, field, label, model.names) if fits else dataset
    if extra:
        raise ArgumentError(f"{dataset.name!r} has classes that {other.name!r} has not: {extra}")
    renumbered = np.array([place.get(name, 0) for name in own.names], np.int32)[label]
    return _of_classes(dataset, field, renumbered, model.names)


def _of_classes(dataset: Dataset, field: str, label: np.ndarray, names: Sequence[str]) -> Dataset:
    notes = dataset.notes
    if field == LABEL:
        before = absent_classes(dataset.label, dataset.class_names)
        notes = (*(note for note in notes if note not in before), *absent_classes(label, names))
    made = dataset.with_field(field, Field("class", (), names=tuple(names), size=len(names)), label)
    return dataclasses.replace(made, notes=notes)


def _by_number(field: Field) -> bool:
    return field.names == tuple(str(number) for number in range(field.size))


def matched(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Both splits with tokens of one length and of one vocabulary, the larger of the two: padding is masked.

    Only tokens with a mask in either of the two are padded; without one they stay as they are.
    """
    for name, field in train.fields.items():
        other = test.fields.get(name)
        if field.kind != "tokens" or other is None or other.kind != "tokens" or field == other:
            continue
        size, masked = max(field.size, other.size), mask_of(name) in {*train.fields, *test.fields}
        length = max(field.shape[0] or 0, other.shape[0] or 0)
        train, test = (_padded(split, name, size, length if masked else None) for split in (train, test))
    return train, test


def _padded(dataset: Dataset, name: str, size: int, length: int | None) -> Dataset:
    field, tokens = dataset.fields[name], dataset.arrays[name]
    if length is not None:
        mask = dataset.arrays.get(mask_of(name), np.ones(tokens.shape, bool))
        missing = ((0, 0), (0, length - tokens.shape[1]))
        tokens = np.pad(tokens, missing)
        dataset = dataset.with_field(mask_of(name), Field("mask", (length,)), np.pad(mask, missing))
    return dataset.with_field(name, dataclasses.replace(field, shape=tokens.shape[1:], size=size), tokens)


def _changed(image: np.ndarray, shape: tuple[Any, ...]) -> np.ndarray:
    from kdgan.data.images import convert, fit

    image = convert(image, shape[2]) if shape[2] in (1, 3) else image
    return image if None in shape or image.shape == shape else fit(image, (shape[0], shape[1]))


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

    shape: tuple[Any, ...]

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([_changed(image, self.shape) for image in self.reader(indices)])

    def keep_apart(self, indices: np.ndarray) -> "_ShapedReader":
        separate = getattr(self.reader, "keep_apart", None)
        return self if separate is None else dataclasses.replace(self, reader=separate(indices))
