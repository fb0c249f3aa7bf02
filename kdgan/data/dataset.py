"""`Dataset`: the fields of one split, in memory or, images, read when asked for. `arrays.py` makes one of arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from kdgan.data import fields as of_fields
from kdgan.data.fields import LABEL, Field

Reader = Callable[[np.ndarray], np.ndarray]
"""Indices `[b]` to uint8 images `[b, h, w, c]`; picklable, so that worker processes can read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a data set.

    Attributes:
        name: the name it was loaded by, for reports.
        fields: what there is of each example: field -> kind, shape, names.
        arrays: those that lie in memory `[n, ...]`: all, or all but the images that `reader` reads. Images of several
            sizes are an array of objects `[n]`.
        reader: reads the one field that is neither among `arrays` nor derived.
        derived: field of images -> (field, function of its images [b, h, w, c]) that it is made of, where that is read when
            asked for.
        split: the split it was loaded from, e.g. "train[:80%]".
        notes: what should be known of it: what was skipped and why, classes without an example.
        length: number of examples; needed where there are no arrays.
        files: where each example comes from, for messages; () where it is not known.
    """

    name: str
    fields: Mapping[str, Field]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(repr=False)
    reader: Reader | None = None
    split: str = ""
    notes: tuple[str, ...] = ()
    length: int | None = None
    files: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    derived: Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        unknown = [name for name in self.arrays if name not in self.fields]
        absent = [name for name in self.fields if name not in self.arrays and name not in self.derived]
        if unknown:
            raise ValueError(f"arrays of {self.name!r} without a field: {', '.join(unknown)}")
        if len(absent) > 1 or (absent and (self.reader is None or self.fields[absent[0]].kind != "image")):
            raise ValueError(
                f"fields of {self.name!r} without an array: {', '.join(absent)}; a reader reads one of images"
            )
        lengths = {name: len(array) for name, array in self.arrays.items()}
        lengths |= {} if self.length is None else {"length": self.length}
        check_lengths(lengths, self.name)
        for name, array in self.arrays.items():
            field = self.fields[name]
            if not field.is_ragged and (array.dtype, array.shape[1:]) != (field.dtype, field.shape):
                raise ValueError(
                    f"field {name!r} of {self.name!r} is {field.dtype} [n, {', '.join(map(str, field.shape))}], its array"
                    f" {array.dtype} {list(array.shape)}"
                )
        object.__setattr__(self, "length", next(iter(lengths.values())))

    def __len__(self) -> int:
        assert self.length is not None
        return self.length

    @property
    def inputs(self) -> tuple[str, ...]:
        """The fields that a player is given where nothing else is said."""
        return of_fields.default_inputs(self.fields)

    @property
    def image_field(self) -> str | None:
        """The field `image`, else the first one that holds images."""
        images = [name for name, field in self.fields.items() if field.kind == "image"]
        return of_fields.IMAGE if of_fields.IMAGE in images else next(iter(images), None)

    @property
    def image(self) -> np.ndarray | None:
        """uint8 `[n, h, w, c]` of the field that holds the images; None without one, and where they stay on disk."""
        return None if self.image_field is None else self.arrays.get(self.image_field)

    @property
    def image_shape(self) -> tuple[Any, ...]:
        """(h, w, c), with None for sides that differ; () without images."""
        return () if self.image_field is None else self.fields[self.image_field].shape

    @property
    def label(self) -> Any:
        """`[n, ...]`: classes int32 `[n]`, tags float32 `[n, k]`, or numbers; None without labels."""
        return self.arrays.get(LABEL)

    @property
    def has_labels(self) -> bool:
        return LABEL in self.fields

    @property
    def num_classes(self) -> int:
        """Number of classes, or of tags; 0 where the label is neither."""
        return self.fields[LABEL].size if self.has_labels else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class, or a tag."""
        return self.fields[LABEL].names if self.has_labels else ()

    @property
    def in_memory(self) -> bool:
        """Whether all fields lie in memory."""
        return len(self.arrays) == len(self.fields)

    @property
    def nbytes(self) -> int:
        """Bytes of the fields that lie in memory; an array that is two fields counts once."""
        once = {id(array): (self.fields[name], array) for name, array in self.arrays.items()}
        return sum(
            sum(example.nbytes for example in array) if field.is_ragged else array.nbytes
            for field, array in once.values()
        )

    def called(self, index: int) -> str:
        """An example in a message: its file, where that is known."""
        return self.files[index] if self.files else f"example {index}"

    @property
    def unreadable(self) -> dict[str, str]:
        """Images that could not be read when they were asked for, file -> reason; others of their class stood in."""
        return getattr(self.reader, "unreadable", {})

    def examples(
        self, indices: Integer[np.ndarray, " b"] | Sequence[int], names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Fields `[b, ...]` of the examples `indices` `[b]`, from memory or from disk, with the same result.

        Args:
            indices: in 0..n-1.
            names: the fields asked for; None: all.

        Raises:
            IndexError: for an index outside 0..n-1.
            ValueError: for a field that the set has not, or images of several sizes, which make no array.
            UnreadableImageError: an image on disk cannot be read any more, and none stands in for it.
        """
        indices = np.asarray(indices, np.int64).reshape(-1)
        low, high = (np.min(indices), np.max(indices)) if indices.size else (0, 0)
        if indices.size and not (0 <= low and high < len(self)):
            raise IndexError(f"indices {low}..{high} leave {self.name}'s 0..{len(self) - 1}")
        read: dict[str, np.ndarray] = {}
        wanted = list(self.fields if names is None else names)
        for name in sorted(wanted, key=lambda name: name in self.derived):
            source, function = self.derived.get(name, (name, None))
            rows = read[source] if source in read else self._rows(source, indices)
            read[name] = rows if function is None else function(rows)
        return {name: read[name] for name in wanted}

    def fetch(self, indices: Integer[np.ndarray, " b"] | Sequence[int]) -> UInt8[np.ndarray, "b h w c"]:
        """The images of `indices` `[b]`: one field of `examples`, and raises as it does."""
        if self.image_field is None:
            raise ValueError(f"data set {self.name!r} has no images; its fields are {', '.join(self.fields)}")
        return self.examples(indices, (self.image_field,))[self.image_field]

    def take(self, indices: Integer[np.ndarray, " b"] | Sequence[int]) -> "Dataset":
        """The data set of these examples only, in this order: `dataset.take(partition.train)`."""
        indices = np.asarray(indices, np.int64).reshape(-1)
        return dataclasses.replace(
            self,
            arrays={name: array[indices] for name, array in self.arrays.items()},
            reader=None if self.reader is None else _Chosen(self.reader, indices),
            length=len(indices),
            files=tuple(self.files[index] for index in indices) if self.files else (),
        )

    def keep_apart(self, indices: Integer[np.ndarray, " b"] | Sequence[int]) -> "Dataset":
        """The same data set, where no image of `indices` ever stands in for one of the others, nor one of them for it."""
        separate = getattr(self.reader, "keep_apart", None)
        return self if separate is None else dataclasses.replace(self, reader=separate(np.asarray(indices, np.int64)))

    def decode(self, chunk: int = 1024) -> "Dataset":
        """The same data set with all its images in memory."""
        if self.in_memory:
            return self
        names = [field for field in self.fields if field not in self.arrays]
        images = {name: np.empty((len(self), *map(int, self.fields[name].shape)), np.uint8) for name in names}  # type: ignore
        for start in range(0, len(self), chunk):
            stop = min(start + chunk, len(self))
            for name, read in self.examples(range(start, stop), names).items():
                images[name][start:stop] = read
        return dataclasses.replace(self, arrays={**self.arrays, **images}, reader=None, derived={})

    def with_field(self, name: str, field: Field, array: np.ndarray) -> "Dataset":
        """The same data set with this in the place of the field of that name, or beside the others."""
        return dataclasses.replace(self, fields={**self.fields, name: field}, arrays={**self.arrays, name: array})

    def _rows(self, name: str, indices: np.ndarray) -> np.ndarray:
        field = of_fields.expect(self.fields, name)
        array = self.arrays.get(name)
        if array is None and not indices.size:
            return np.zeros((0, *(side or 0 for side in field.shape)), np.uint8)
        if array is None:
            assert self.reader is not None
            return self.reader(indices)
        rows = array[indices]
        if not field.is_ragged:
            return rows
        shapes = sorted({example.shape for example in rows})
        if len(shapes) > 1:
            raise ValueError(
                f"field {name!r} of {self.name!r}: images of the sizes {shapes[0]} and {shapes[1]} make no array; ask for"
                " those of one size at a time"
            )
        return np.stack(rows) if len(rows) else np.zeros((0, *(side or 0 for side in field.shape)), np.uint8)


@dataclasses.dataclass(frozen=True, eq=False)
class _Chosen:
    reader: Reader
    indices: np.ndarray

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.reader(self.indices[indices])

    @property
    def unreadable(self) -> dict[str, str]:
        return getattr(self.reader, "unreadable", {})


def check_lengths(lengths: Mapping[str, int], name: str) -> None:
    """Raise ValueError where fields have different numbers of examples, or there are none."""
    if not lengths:
        raise ValueError(f"data set {name!r} has no fields")
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{field} {count:,}" for field, count in lengths.items())
        raise ValueError(f"fields of {name!r} must have one length, got {counted}")


def of_images(
    name: str, image: np.ndarray | None, label: np.ndarray | None, class_names: Sequence[str], shape: Sequence[int],
    *, length: int, **rest: Any,
) -> Dataset:  # fmt: skip
    """A data set of the fields image and label: in memory, or, `image` being None, by the `reader` among `rest`.

    Args:
        name: of the set.
        image: uint8 `[n, h, w, c]`, or None.
        label: int32 `[n]`, or None for a set without labels.
        class_names: one a class.
        shape: (h, w, c).
        length: number of examples.
        **rest: further attributes of `Dataset`.
    """
    fields = {of_fields.IMAGE: Field("image", tuple(shape))}
    arrays = {} if image is None else {of_fields.IMAGE: image}
    if label is not None:
        fields[LABEL] = Field("class", (), names=tuple(class_names), size=len(class_names))
        arrays[LABEL] = label
    return Dataset(name, fields, arrays, length=length, **rest)
