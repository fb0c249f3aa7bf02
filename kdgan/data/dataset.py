"""`Dataset`: images and labels of one split, in memory or read when asked for; `from_arrays` makes one of arrays."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, Integer, UInt8

from kdgan.data.errors import ArgumentError

Reader = Callable[[np.ndarray], np.ndarray]
"""Indices `[b]` to uint8 images `[b, h, w, c]`; picklable, so that worker processes can read."""

MOST_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a data set.

    Attributes:
        name: the name it was loaded by, for reports.
        label: int32 `[n]`, in 0..num_classes-1; all 0 in a set without labels.
        num_classes: number of classes; 0 for a set without labels.
        class_names: one name a class.
        image_shape: (h, w, c).
        image: uint8 `[n, h, w, c]`, or None where the images stay on disk; `fetch` and `stream` read them.
        reader: reads images where `image` is None.
        split: the split it was loaded from, e.g. "train[:80%]".
        notes: what should be known of it: what was skipped and why, classes without an example.
    """

    name: str
    label: Int32[np.ndarray, " n"]
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    image: UInt8[np.ndarray, "n h w c"] | None = None
    reader: Reader | None = None
    split: str = ""
    notes: tuple[str, ...] = ()

    @property
    def has_labels(self) -> bool:
        return self.num_classes > 0

    @property
    def fields(self):
        import types

        fields = {"image": types.SimpleNamespace(kind="image", shape=self.image_shape, size=0, names=())}
        if self.has_labels:
            fields["label"] = types.SimpleNamespace(
                kind="class", shape=(), size=self.num_classes, names=self.class_names
            )
        return fields

    @property
    def unreadable(self) -> dict[str, str]:
        """Images that could not be read when they were asked for, file -> reason; others of their class stood in."""
        return getattr(self.reader, "unreadable", {})

    def __len__(self) -> int:
        return len(self.label)

    def fetch(self, indices: Integer[np.ndarray, " b"] | Sequence[int]) -> UInt8[np.ndarray, "b h w c"]:
        """The images of `indices` `[b]`; from memory or from disk, with the same result.

        Raises:
            IndexError: for an index outside 0..n-1.
            UnreadableImageError: an image on disk cannot be read any more, and none stands in for it.
        """
        indices = np.asarray(indices, np.int64).reshape(-1)
        low, high = (np.min(indices), np.max(indices)) if indices.size else (0, 0)
        if indices.size and not (0 <= low and high < len(self)):
            raise IndexError(f"indices {low}..{high} leave {self.name}'s 0..{len(self) - 1}")
        if self.image is not None:
            return self.image[indices]
        if not indices.size:
            return np.zeros((0, *self.image_shape), np.uint8)
        assert self.reader is not None
        return self.reader(indices)

    def take(self, indices: Integer[np.ndarray, " b"] | Sequence[int]) -> "Dataset":
        """The data set of these examples only, in this order: `dataset.take(partition.train)`."""
        indices = np.asarray(indices, np.int64).reshape(-1)
        if self.image is not None:
            return dataclasses.replace(self, label=self.label[indices], image=self.image[indices])
        assert self.reader is not None
        return dataclasses.replace(self, label=self.label[indices], reader=_Chosen(self.reader, indices))

    def keep_apart(self, indices: Integer[np.ndarray, " b"] | Sequence[int]) -> "Dataset":
        """The same data set, where no image of `indices` ever stands in for one of the others, nor one of them for it."""
        separate = getattr(self.reader, "keep_apart", None)
        return self if separate is None else dataclasses.replace(self, reader=separate(np.asarray(indices, np.int64)))

    def decode(self, chunk: int = 1024) -> "Dataset":
        """The same data set with all its images in memory."""
        if self.image is not None:
            return self
        image = np.empty((len(self), *self.image_shape), np.uint8)
        for start in range(0, len(self), chunk):
            stop = min(start + chunk, len(self))
            image[start:stop] = self.fetch(range(start, stop))
        return dataclasses.replace(self, image=image, reader=None)


@dataclasses.dataclass(frozen=True, eq=False)
class _Chosen:
    reader: Reader
    indices: np.ndarray

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.reader(self.indices[indices])

    @property
    def unreadable(self) -> dict[str, str]:
        return getattr(self.reader, "unreadable", {})


def from_arrays(
    image: Any,
    label: Any,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    *,
    name: str = "arrays",
) -> Dataset:
    """A data set of arrays.

    Args:
        image: `[n, h, w, c]`; uint8, or floating point in [0, 1], which is rounded to 256 levels (images are kept as
            uint8 everywhere: a quarter of the memory; for unbounded inputs write the batches yourself).
        label: integers `[n]` in 0..num_classes-1.
        num_classes: number of classes; without it the number of names, or of different labels, which then must be
            0..k-1.
        class_names: one name a class; without it "0", "1", ...
        name: what reports call the set.

    Raises:
        ValueError: for a wrong rank or dtype, images that look like channels first, lengths that differ, no examples,
            NaN or values outside [0, 1] in floating point images, a label out of range, a class without an example where
            neither `num_classes` nor `class_names` says how many there are, or a number of names that is not
            `num_classes`.
    """
    image, label = np.asarray(image), np.asarray(label)
    if image.ndim != 4:
        hint = "; add the channel: image[..., None]" if image.ndim == 3 else ""
        raise ValueError(f"image must be [n, h, w, c], got shape {list(image.shape)}{hint}")
    check_channels_last("image", image.shape)
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        hint = "; for one-hot labels take argmax(-1)" if label.ndim == 2 else ""
        raise ValueError(f"label must be integers [n], got {label.dtype} {list(label.shape)}{hint}")
    if len(image) != len(label):
        raise ValueError(f"image and label must have one length, got {len(image)} images and {len(label)} labels")
    if not image.size:
        raise ValueError(f"image must hold at least one example of at least one pixel, got shape {list(image.shape)}")
    if np.issubdtype(image.dtype, np.floating):
        image = _from_unit(image)
    elif image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, or floating point in [0, 1], got {image.dtype}")
    if num_classes is not None:
        check_count(num_classes)
    else:
        num_classes = len(class_names) if class_names is not None else count_classes(label, name)
    names = tuple(class_names) if class_names is not None else tuple(str(number) for number in range(num_classes))
    if len(names) != num_classes:
        raise ValueError(f"class_names must have num_classes = {num_classes} names, got {len(names)}")
    check_labels(label, num_classes, name)
    height, width, channels = image.shape[1:]
    return Dataset(
        name=name,
        label=label.astype(np.int32),
        num_classes=num_classes,
        class_names=names,
        image_shape=(height, width, channels),
        image=np.ascontiguousarray(image),
        notes=absent_classes(label, names),
    )


def check_labels(label: np.ndarray, num_classes: int, name: str) -> None:
    """Raise ValueError, with the count and the first place, where labels leave 0..num_classes-1."""
    wrong = np.flatnonzero((label < 0) | (label >= num_classes))
    if len(wrong):
        raise ValueError(
            f"label of {name!r}: {len(wrong)} of {len(label)} out of range 0..{num_classes - 1}; "
            f"the first is {label[wrong[0]]} at index {wrong[0]}"
        )


def check_num_classes(num_classes: int, declared: int, name: str) -> None:
    """Raise ArgumentError where a data set itself declares another number of classes than it was told."""
    if num_classes != declared:
        raise ArgumentError(f"{{num_classes}} = {num_classes}: {name} itself says that it has {declared} classes")


def count_classes(label: np.ndarray, name: str) -> int:
    """The number of classes of labels that nothing is declared of: they must be 0..k-1.

    Raises:
        ArgumentError: one of them has no example; the message says what may be meant.
    """
    count = int(label.max()) + 1
    check_labels(label, max(count, 1), name)
    present = np.unique(label)
    if len(present) < count:
        # The first of them, without an array of all: a label may be any number.
        absent = np.setdiff1d(np.arange(min(count, len(present) + 6)), present)
        more = count - len(present)
        several = f"If there are {count} classes, say {{num_classes}}={count}; else" if count <= MOST_CLASSES else "Do"
        raise ArgumentError(
            f"labels of {name!r} are {_listed(present)}; {more} of the classes 0..{count - 1} have no example:"
            f" {_listed(absent[:more])}. {several} number the {len(present)} from 0: numpy.unique(label,"
            " return_inverse=True)[1]"
        )
    return check_count(count)


def check_count(num_classes: int) -> int:
    """`num_classes`, or ArgumentError where there can be none so many: each has a name."""
    if not 1 <= num_classes <= MOST_CLASSES:
        raise ArgumentError(
            f"{{num_classes}} must be at least 1, at most {MOST_CLASSES:,}, or None (as the data say), got {num_classes}"
        )
    return num_classes


def absent_classes(label: np.ndarray, class_names: Sequence[str]) -> tuple[str, ...]:
    """A note, where there are classes that no example is of."""
    absent = np.setdiff1d(np.arange(len(class_names)), label)
    if not len(absent):
        return ()
    return (
        f"no example of {len(absent):,} of {len(class_names):,} classes: {_listed([class_names[i] for i in absent])}",
    )


def check_channels_last(name: str, shape: Sequence[int | None]) -> None:
    """Raise ValueError where images of `shape` [..., h, w, c] look like [..., c, h, w]."""
    if looks_channels_first(shape):
        order = "(1, 2, 0)" if len(shape) == 3 else "(0, 2, 3, 1)"
        raise ValueError(
            f"{name}: shape {list(shape)} looks like channels first; channels last are wanted: {name}.transpose{order}"
        )


def looks_channels_first(shape: Sequence[int | None]) -> bool:
    """Whether images of `shape` [..., h, w, c] look like [..., c, h, w].

    They do where 1 to 4 stands first, and behind it two numbers over 4 as the sides of an image are: equal; or both more
    than twice the first, and either at least 16 or neither more than four times the other.
    """
    first, *sides = (number or 0 for number in shape[-3:])
    low, high = min(sides), max(sides)
    if not (1 <= first <= 4 and low > 4):
        return False
    return low == high or (low > 2 * first and (low >= 16 or high <= 4 * low))


def _listed(values: Sequence[Any] | np.ndarray) -> str:
    return ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")


def _from_unit(image: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(image).reshape(len(image), -1).all(axis=1))
    if len(bad):
        raise ValueError(f"image: {len(bad)} of {len(image)} examples hold NaN or inf; the first has index {bad[0]}")
    low, high = image.min(), image.max()
    if low < 0 or high > 1:
        raise ValueError(
            f"floating point image must lie in [0, 1], got {low:g}..{high:g}; scale it or give uint8 0..255"
        )
    return np.round(image * 255).astype(np.uint8)
