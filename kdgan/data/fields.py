"""`Field`: what one named array of a data set holds; which fields a player is given, and what is said of a wrong one.

| kind | an example of it | in a batch |
|---|---|---|
| image | uint8 [h, w, c]; a side that is None is free: every image has its own | float32, normalised and augmented |
| vector | floats of any shape | float32, as given |
| tokens | whole numbers [t], 0 to size − 1 | int32 |
| mask | whether there is a token [t]; of the field whose name it has, without "_mask" | bool |
| class | a whole number, 0 to size − 1 | int32 |
| tags | [size], 1 where the tag applies | float32 |
| number | a number, or several [d] | float32 |
"""

import dataclasses
import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

DTYPES: Mapping[str, np.dtype] = {
    "image": np.dtype(np.uint8),
    "vector": np.dtype(np.float32),
    "tokens": np.dtype(np.int32),
    "mask": np.dtype(np.bool_),
    "class": np.dtype(np.int32),
    "tags": np.dtype(np.float32),
    "number": np.dtype(np.float32),
}
IMAGE, LABEL = "image", "label"
TARGET, AGAIN = "target", "again"  # the clean image of a degraded one; the same with another noise, in a batch
TARGETS = (LABEL, TARGET)  # fields that a player is to find, and is not given
INDEX = "index"  # each example's place in the training split; in a prepared batch its number among those drawn from
ORDINAL = "ordinal"  # that number, in a batch on the host
# What stands in a batch beside its fields.
RESERVED = (
    "all", "cached", "cached_features", INDEX, "key", "mask", "noise", ORDINAL, "pixels", "position", "unlabelled",
    "drawn",
)  # fmt: skip
_MASK = "_mask"


@dataclasses.dataclass(frozen=True)
class Field:
    """What one named array of a data set holds, of which the first axis is the example.

    Attributes:
        kind: a key of `DTYPES`.
        shape: of one example; None for a side that differs between examples (images only).
        dtype: as stored; without it the kind's, which is the only one accepted.
        names: of the classes or tags; without them "0", "1", ...
        size: number of classes or tags, or of different tokens; 0 for other kinds.
    """

    kind: str
    shape: tuple[int | None, ...] = ()
    dtype: Any = None
    names: tuple[str, ...] = ()
    size: int = 0

    def __post_init__(self):
        if self.kind not in DTYPES:
            raise ValueError(f"kind = {self.kind!r}: accepted are {', '.join(DTYPES)}")
        dtype = DTYPES[self.kind] if self.dtype is None else np.dtype(self.dtype)
        if dtype != DTYPES[self.kind]:
            raise ValueError(f"a field of kind {self.kind!r} is stored as {DTYPES[self.kind]}, got {dtype}")
        names = tuple(map(str, self.names))
        if self.kind in ("class", "tags") and not names:
            names = tuple(str(number) for number in range(self.size))
        if names and len(names) != (self.size or len(names)):
            raise ValueError(f"{len(names)} names for {self.size} {_PLURAL[self.kind]}")
        for attribute, value in {"dtype": dtype, "names": names, "size": self.size or len(names)}.items():
            object.__setattr__(self, attribute, value)

    @property
    def is_ragged(self) -> bool:
        """Whether examples differ in shape."""
        return None in self.shape

    def __str__(self) -> str:
        sides = "×".join("?" if side is None else str(side) for side in self.shape)
        counted = {"tokens": f" of {self.size:,}", "class": f" of {self.size:,}", "tags": ""}.get(self.kind, "")
        return f"{self.kind}{' ' if sides else ''}{sides}{counted}"


_PLURAL = {"class": "classes", "tags": "tags", "tokens": "tokens"}
_HELD = {
    "image": "images (uint8 [n, h, w, c])",
    "vector": "vectors (floats)",
    "tokens": "tokens (whole numbers [n, t])",
    "mask": "a mask (bool [n, t])",
    "class": "classes (a whole number for each example)",
    "tags": "tags (a 0 or 1 for each of them)",
    "number": "numbers (floats)",
}


def default_inputs(fields: Collection[str]) -> tuple[str, ...]:
    """The fields that a player is given where nothing else is said: the image, or else all that are no targets."""
    without = [name for name in fields if name not in TARGETS and not is_mask(name, fields)]
    return with_masks((IMAGE,) if IMAGE in fields else without, fields)


def with_masks(names: Sequence[str], fields: Collection[str]) -> tuple[str, ...]:
    """The names, each followed by its mask where there is one that is not named itself."""
    expanded: list[str] = []
    for name in names:
        expanded.append(name)
        if (mask := name + _MASK) in fields and mask not in names:
            expanded.append(mask)
    return tuple(expanded)


def mask_of(name: str) -> str:
    """The name of the mask of a field of tokens."""
    return name + _MASK


def is_mask(name: str, fields: Collection[str]) -> bool:
    """Whether a field is the mask of another one."""
    return name.endswith(_MASK) and name.removesuffix(_MASK) in fields


def expect(fields: Mapping[str, Field], name: str, *kinds: str) -> Field:
    """The field called `name`, of one of these kinds where any are given.

    Raises:
        ValueError: there is no such field, with those there are; or it is of another kind, with what would be accepted.
    """
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"the data have no field {name!r}: {hint}there are {', '.join(fields)}")
    field = fields[name]
    if kinds and field.kind not in kinds:
        wanted = " or ".join(_HELD[kind] for kind in kinds)
        raise ValueError(f"field {name!r} holds {_HELD[field.kind]}, {wanted} are wanted{_cure(name, field, kinds)}")
    return field


def _cure(name: str, field: Field, kinds: Sequence[str]) -> str:
    if field.kind == "tags" and "class" in kinds:
        return f"; where each example has exactly one, give {name}.argmax(-1)"
    if field.kind == "class" and "tags" in kinds:
        return f"; as tags they are numpy.eye({field.size})[{name}]"
    return ""
