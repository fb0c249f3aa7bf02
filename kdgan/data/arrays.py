"""Data sets of arrays: `from_arrays` of images and classes, `from_fields` of any fields, whose kinds it tells by their look.

| an array | its kind, where none is stated |
|---|---|
| uint8 `[n, h, w, c]`; a list of uint8 `[h, w, c]` of several sizes | image |
| floats | number for `label` and `target` `[n]` or `[n, d]`; else vector |
| whole numbers, bool or strings `[n]` | class |
| 0 and 1 only, `[n, k]` | tags |
| whole numbers `[n, t]`; a list of lists of several lengths, which are padded and get a mask | tokens |
| bool `[n, t]` whose name is that of a field and "_mask" | mask |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.data.classes import absent_classes, check_count, check_labels, count_classes
from kdgan.data.columns import column
from kdgan.data.dataset import Dataset, check_lengths, of_images
from kdgan.data.errors import ArgumentError
from kdgan.data.fields import DTYPES, LABEL, RESERVED, TARGETS, Field, is_mask, mask_of
from kdgan.data.layout import check_channels_last


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
            uint8 everywhere: a quarter of the memory; for unbounded inputs see `from_fields`).
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
    image = _pixels("image", image)
    label, names = _classes(label, num_classes, class_names, name)
    return of_images(name, image, label, names, image.shape[1:], length=len(image), notes=absent_classes(label, names))


def from_fields(
    fields: Any,
    *,
    kinds: Mapping[str, str] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    sizes: Mapping[str, int] | None = None,
    name: str = "arrays",
) -> Dataset:
    """A data set of any fields: `from_fields({"image": images, "text": tokens, "label": labels})`.

    Args:
        fields: field -> its examples: arrays of NumPy, JAX or PyTorch, columns of pandas or of a Hugging Face data set,
            lists; or a whole table of columns, a pandas DataFrame or a Hugging Face data set. `label` is what is to be
            learned, `target` a further one; both are optional.
        kinds: field -> kind (`kdgan.data.fields`), where its look says another: {"pixels": "vector"}. Floats in [0, 1] of
            the kind "image" are rounded to 256 levels.
        names: field -> names of its classes or tags, in their order. Classes that are strings are numbered by them, else
            in the order of the alphabet.
        sizes: field -> number of its classes, or of different tokens; without it the largest one and 1.
        name: what reports call the set.

    Raises:
        ValueError: for fields of several lengths; a kind, name or size of a field that there is not; an array of no kind,
            or not of the one stated; NaN or inf among floats, and negative tokens, with the first such example; a name
            that batches use themselves.
    """
    try:
        return make(fields, kinds=kinds or {}, names=names or {}, sizes=sizes or {}, name=name)
    except ArgumentError as error:
        raise ValueError(error.named({"num_classes": f"sizes[{LABEL!r}]"})) from error


def make(
    fields: Any,
    *,
    kinds: Mapping[str, str],
    names: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
    name: str,
    split: str = "",
) -> Dataset:
    """`from_fields`, with errors that name `num_classes` as an argument."""
    there = list(fields.keys()) if hasattr(fields, "keys") else list(getattr(fields, "column_names", ()))
    for field in there:
        if not isinstance(field, str) or field in RESERVED:
            raise ValueError(
                f"a field of {name!r} is called {field!r}; names are strings, and {', '.join(RESERVED)} mean something else"
                " in a batch"
            )
    if not there:
        raise ValueError(f"data set {name!r} has no fields: a mapping of names to arrays is accepted")
    for argument, given in (("kinds", kinds), ("names", names), ("sizes", sizes)):
        for field in given:
            if field not in there:
                raise ValueError(f"{argument}: the data have no field {field!r}: there are {', '.join(there)}")
    declared = getattr(fields, "features", None) or {}  # of a Hugging Face data set
    columns = {field: column(field, fields[field]) for field in there}
    check_lengths({field: len(of.values) for field, of in columns.items()}, name)
    made: dict[str, Field] = {}
    arrays: dict[str, np.ndarray] = {}
    notes: tuple[str, ...] = ()
    for field, (values, own_names) in columns.items():
        kind = kinds.get(field) or _kind(field, values, there)
        called = names.get(field) or own_names or getattr(declared.get(field), "names", None)
        if kind not in DTYPES:
            raise ValueError(f"kinds[{field!r}] = {kind!r}: accepted are {', '.join(DTYPES)}")
        made[field], arrays[field], mask = _made(field, kind, values, called, sizes.get(field), name)
        notes += _absent(field, made[field], arrays[field])
        if mask is not None:
            if mask_of(field) in there:
                raise ValueError(
                    f"field {field!r} has lists of several lengths and {mask_of(field)!r} besides; give one"
                )
            made[mask_of(field)], arrays[mask_of(field)] = Field("mask", mask.shape[1:]), mask
    if LABEL in made and made[LABEL].kind in ("image", "mask"):
        raise ValueError(f"field {LABEL!r} holds {made[LABEL]}; images to be found are called 'target'")
    for field in made:
        if made[field].kind == "mask":
            _check_mask(field, made)
    return Dataset(name, made, arrays, split=split, notes=notes)


def _kind(name: str, values: np.ndarray | list[np.ndarray], names: Sequence[str]) -> str:
    """What a field holds, by the look of its array."""
    if isinstance(values, list):
        if all(array.dtype == np.uint8 and array.ndim == 3 for array in values):
            return "image"
        if values[0].ndim == 1 and all(array.dtype.kind in "iu" or not array.size for array in values):
            return "tokens"
        shapes = list(dict.fromkeys(array.shape for array in values))
        raise ValueError(
            f"field {name!r} has examples of several shapes, {shapes[0]} and {shapes[1]}; accepted are whole numbers [t] and"
            " uint8 images [h, w, c]: pad others to one shape"
        )
    whole, rank = values.dtype.kind in "iub", values.ndim
    if values.dtype.kind == "b" and is_mask(name, names):
        return "mask"
    if values.dtype == np.uint8 and rank == 4:
        return "image"
    if values.dtype.kind == "f":
        return "number" if name in TARGETS and rank <= 2 else "vector"
    if rank == 1:
        return "class"
    if whole and rank == 2 and not (name == LABEL and values.shape[1] == 1):
        return "tags" if values.min() >= 0 and values.max() <= 1 else "tokens"
    hints = {2: f"; give {name}[:, 0] for classes", 3: f"; images need their channel: {name}[..., None]"}
    hint = hints.get(rank, "") if whole else ""
    raise ValueError(
        f"field {name!r} is {values.dtype} {list(values.shape)}, which is of no kind by its look{hint}; or state one:"
        f" kinds={{{name!r}: 'vector'}}"
    )


def _made(
    name: str,
    kind: str,
    values: np.ndarray | list[np.ndarray],
    names: Sequence[str] | None,
    size: int | None,
    dataset: str,
) -> tuple[Field, np.ndarray, np.ndarray | None]:
    """The field, its array, and the mask of tokens of several lengths."""
    if isinstance(values, list) and kind not in ("image", "tokens"):
        raise ValueError(f"field {name!r} of kind {kind!r} has examples of several shapes; pad them to one")
    if kind == "image":
        image = _ragged(name, values) if isinstance(values, list) else _pixels(name, values)
        ragged = isinstance(values, list)
        return Field("image", (None, None, image[0].shape[2]) if ragged else image.shape[1:]), image, None
    if kind == "tokens":
        return _tokens(name, values, size)
    assert isinstance(values, np.ndarray)
    if kind == "class":
        labels, called = _numbered(name, values, names) if values.dtype.kind == "U" else (values, names)
        _require(name, kind, labels, "iub", (1,), "whole numbers or strings [n]")
        if name == LABEL or names:
            labels, called = _classes(labels.astype(np.int64), size, called, dataset, name)
        else:  # of an input, classes may lack
            called = called or [str(number) for number in range(size or int(labels.max()) + 1)]
            check_labels(labels, len(called), dataset, name)
        return Field("class", (), names=tuple(called), size=len(called)), labels.astype(np.int32), None
    if kind == "tags":
        _require(name, kind, values, "iubf", (2,), "0 and 1 [n, k]")
        wrong = np.flatnonzero(((values != 0) & (values != 1)).any(1))
        if len(wrong):
            raise ValueError(
                f"field {name!r}: tags are 0 or 1; example {wrong[0]} has others{_as_classes(name, values)}"
            )
        count = values.shape[1]
        if count != (len(names) if names else size or count):
            raise ValueError(f"field {name!r} has {count} tags, and {len(names) if names else size} are named")
        return Field("tags", (count,), names=tuple(names or ()), size=count), values.astype(np.float32), None
    if kind == "mask":
        _require(name, kind, values, "b", (2,), "bool [n, t]")
        return Field("mask", values.shape[1:]), values, None
    ranks = (1, 2) if kind == "number" else range(1, 9)
    _require(name, kind, values, "fiub", ranks, "numbers [n] or [n, d]" if kind == "number" else "numbers [n, ...]")
    return Field(kind, values.shape[1:]), finite(name, values), None


def _require(name: str, kind: str, values: np.ndarray, dtypes: str, ranks: Sequence[int], accepted: str) -> None:
    if values.dtype.kind not in dtypes or values.ndim not in ranks:
        raise ValueError(
            f"field {name!r} of kind {kind!r} is {values.dtype} {list(values.shape)}; accepted are {accepted}"
        )


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """The values as float32.

    Raises:
        ValueError: NaN, inf, or what float32 cannot hold, with the first such example.
    """
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, np.float32)
    bad = np.flatnonzero(~np.isfinite(single).reshape(len(single), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"field {name!r}: {len(bad):,} of {len(values):,} examples hold NaN or inf; the first has index {bad[0]}"
        )
    return single


def _pixels(name: str, image: np.ndarray) -> np.ndarray:
    if image.ndim != 4:
        hint = f"; add the channel: {name}[..., None]" if image.ndim == 3 else ""
        raise ValueError(f"{name} must be [n, h, w, c], got shape {list(image.shape)}{hint}")
    check_channels_last(name, image.shape)
    if not image.size:
        raise ValueError(f"{name} must hold at least one example of at least one pixel, got shape {list(image.shape)}")
    if np.issubdtype(image.dtype, np.floating):
        image = _from_unit(name, image)
    elif image.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8, or floating point in [0, 1], got {image.dtype}")
    return np.ascontiguousarray(image)


def _from_unit(name: str, image: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(image).reshape(len(image), -1).all(axis=1))
    if len(bad):
        raise ValueError(f"{name}: {len(bad)} of {len(image)} examples hold NaN or inf; the first has index {bad[0]}")
    low, high = image.min(), image.max()
    if low < 0 or high > 1:
        raise ValueError(
            f"floating point {name} must lie in [0, 1], got {low:g}..{high:g}; scale it or give uint8 0..255"
        )
    return np.round(image * 255).astype(np.uint8)


def _ragged(name: str, images: list[np.ndarray]) -> np.ndarray:
    """uint8 `[h, w, c]` of several sizes and one number of channels, as objects `[n]`."""
    array = np.empty(len(images), object)
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or not image.size or image.shape[2] != images[0].shape[2]:
            raise ValueError(
                f"field {name!r}: example {number} is {image.dtype} {list(image.shape)}; images of several sizes are uint8"
                f" [h, w, c] of one number of channels, that of the first being {images[0].shape[-1]}"
            )
        check_channels_last(name, image.shape)
        array[number] = np.ascontiguousarray(image)
    return array


def _tokens(
    name: str, values: np.ndarray | list[np.ndarray], size: int | None
) -> tuple[Field, np.ndarray, np.ndarray | None]:
    mask = None
    if isinstance(values, list):
        lengths = np.array([len(tokens) for tokens in values])
        mask = np.arange(max(lengths)) < lengths[:, None]
        padded = np.zeros(mask.shape, np.int64)
        padded[mask] = np.concatenate(values)
        values = padded
    _require(name, "tokens", values, "iu", (2,), "whole numbers [n, t], or lists of them")
    largest = int(np.max(values)) if values.size else 0
    for wrong, what in (
        (values < 0, "negative"),
        (values >= (size or largest + 1), f"beyond sizes[{name!r}] = {size}"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong.any(1))[0])
            raise ValueError(
                f"field {name!r}: token {values[row][wrong[row]][0]} of example {row} is {what}; pad with a mask, or give"
                " lists of several lengths"
            )
    return Field("tokens", values.shape[1:], size=size or largest + 1), values.astype(np.int32), mask


def _classes(
    label: np.ndarray, num_classes: int | None, names: Sequence[str] | None, dataset: str, field: str = LABEL
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as int32, and a name for each class."""
    if num_classes is not None:
        check_count(num_classes)
    else:
        num_classes = len(names) if names is not None else count_classes(label, dataset)
    called = tuple(names) if names is not None else tuple(str(number) for number in range(num_classes))
    if len(called) != num_classes:
        raise ValueError(f"class_names must have num_classes = {num_classes} names, got {len(called)}")
    check_labels(label, num_classes, dataset, field)
    return label.astype(np.int32), called


def _numbered(name: str, values: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, Sequence[str]]:
    """Classes that are strings, by number."""
    present, number = np.unique(values, return_inverse=True)
    if names is None:
        return number.reshape(values.shape), [str(each) for each in present]
    place = {str(called): index for index, called in enumerate(names)}
    if unknown := [str(called) for called in present if str(called) not in place]:
        raise ValueError(
            f"field {name!r} has classes without a name: {', '.join(unknown[:5])}; named are {list(names)}"
        )
    return np.array([place[str(called)] for called in present])[number.reshape(values.shape)], names


def _absent(name: str, field: Field, values: np.ndarray) -> tuple[str, ...]:
    """A note, where there are classes or tags of the label that no example has."""
    if name != LABEL or field.kind not in ("class", "tags"):
        return ()
    present = values if field.kind == "class" else np.flatnonzero(values.any(0))
    return absent_classes(present, field.names, "classes" if field.kind == "class" else "tags")


def _as_classes(name: str, values: np.ndarray) -> str:
    return f"; for classes give {name}[:, 0]" if values.shape[1] == 1 else ""


def _check_mask(name: str, fields: Mapping[str, Field]) -> None:
    of = fields.get(name.removesuffix(mask_of("")))
    if of is None or of.shape[:1] != fields[name].shape:
        shape = "there is none" if of is None else f"it is {of}"
        raise ValueError(
            f"field {name!r} of kind 'mask' [n, {fields[name].shape[0]}] masks a field of that length; {shape}"
        )
