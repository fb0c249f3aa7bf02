"""A `.npz` file as a data set: its arrays are the fields.

`npz:/path/file.npz` holds either the fields themselves, `image` and `label`, which are split "all", to be cut by slices
("all[:80%]", in the order of the file); or those of several splits, told by their names: `image_train`, `train_image` or
`train/image`. `npz:/path/a.npz,/path/b.npz` are two files of fields, split "train" and split "test".

`y` is called `label`, and a grey image may lack its channel. `label_names` holds names of the classes or tags of `label`.
"""

import contextlib
import dataclasses
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.data import arrays, slices
from kdgan.data.dataset import Dataset
from kdgan.data.errors import ArgumentError
from kdgan.data.fields import IMAGE, LABEL

_NAMES = "_names"
_ALIASES = {"y": LABEL, "y_names": LABEL + _NAMES}
_FILES = ("train", "test")  # of two files
ALL = "all"


def read_npz(
    paths: str,
    split: str,
    *,
    fields: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """The fields of `split`, in memory.

    Args:
        paths: of one file, or of two with a comma between them; "~" is expanded.
        split: "all", or a name that arrays have in theirs, with optional slices; of two files "train" or "test".
        fields: field -> name of its array (without that of the split); without it all arrays are fields. Names of classes or
            tags stand under "label_names".
        kinds: see `kdgan.data.from_fields`.
        num_classes: number of classes of the label.
        class_names: the classes in the order in which they are numbered, for a split that may lack some.

    Raises:
        ValueError: for a file that is not there or is none, a split that it has not (with what it has), an array of Python
            objects, and as `from_fields`.
    """
    places = [pathlib.Path(path.strip().removeprefix("npz:")).expanduser() for path in paths.split(",")]
    if len(places) > 2:
        raise ArgumentError(
            f"{{name}} = 'npz:{paths}': one file, or two, of training and of test examples, are accepted"
        )
    parts = slices.parse(split)
    read = [_part(places, part, split, fields or {}, kinds or {}) for part in parts]
    columns = {name: [part[name] for part in read] for name in read[0]}
    names = {name.removesuffix(_NAMES): several[0] for name, several in columns.items() if name.endswith(_NAMES)}
    examples = {
        name: several[0] if len(several) == 1 else np.concatenate(several)
        for name, several in columns.items()
        if not name.endswith(_NAMES)
    }
    if class_names and LABEL in examples:
        names[LABEL] = np.array(class_names)
    sizes = {LABEL: num_classes} if num_classes is not None and LABEL in examples else {}
    dataset = arrays.make(
        examples,
        kinds=kinds or {},
        names={name: [str(each) for each in several] for name, several in names.items() if name in examples},
        sizes=sizes,
        name=f"npz:{paths}",
    )
    return dataclasses.replace(dataset, split=split)


def _part(
    places: Sequence[pathlib.Path], part: slices.Part, split: str, fields: Mapping[str, str], kinds: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Field -> its examples of one part of a split; and names, whole."""
    if len(places) == 2:
        if part.name not in _FILES:
            raise ValueError(f"split {part.name!r}: of two files the splits are {' and '.join(_FILES)}")
        path, name = places[_FILES.index(part.name)], ALL
    else:
        path, name = places[0], part.name
    with _opened(path) as file:
        chosen = _chosen(path, name, file.files, fields)
        read = _as_images({field: _array(path, file, key) for field, key in chosen.items()}, kinds)
    examples = {field: array for field, array in read.items() if not field.endswith(_NAMES)}
    lengths = {field: array.shape[0] if array.ndim else None for field, array in examples.items()}
    if None in lengths.values() or len({*lengths.values()}) > 1:
        counted = ", ".join(f"{field} {'no' if count is None else f'{count:,}'}" for field, count in lengths.items())
        raise ArgumentError(
            f"arrays of {path} have not one number of examples: {counted}; name those that are fields in {{fields}}"
        )
    start, stop = slices.bounds(part, next(iter(lengths.values())) or 0, f"split {split!r} of {path}")
    return {field: array if field.endswith(_NAMES) else array[start:stop] for field, array in read.items()}


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise ValueError(f"data set not found: no file {path}") from error
    except OSError as error:
        raise ValueError(f"{path} is no .npz file that can be read: {error.strerror}") from error
    with stream:
        try:
            file = np.load(stream, allow_pickle=False)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no .npz file that can be read: {str(error).splitlines()[0]}") from error
        if not hasattr(file, "files"):
            raise ValueError(
                f"{path} holds one array without a name; an .npz file is accepted, as numpy.savez writes it"
            )
        yield file


def _chosen(path: pathlib.Path, split: str, there: Sequence[str], fields: Mapping[str, str]) -> dict[str, str]:
    """Field -> the array that holds it."""
    of_split = {key: key for key in there} if split == ALL else {}
    if split != ALL:
        for key in there:
            if match := re.fullmatch(rf"(.+)[_/]{re.escape(split)}|{re.escape(split)}[_/](.+)", key):
                of_split[str(match[1] or match[2])] = key
    if not of_split:
        listed = ", ".join(there)
        hint = "; for its slices write 'all[:80%]' and 'all[80%:]'" if split in _FILES else ""
        raise ArgumentError(
            f"{path} has no arrays of split {split!r}, as image_{split} or {split}_image: there are {listed}{hint}"
        )
    if not fields:
        shared = {key: key for key in there if key.endswith(_NAMES) and key not in of_split.values()}
        named = {**shared, **of_split}
        aliases = {field: alias for field, alias in _ALIASES.items() if alias not in named}
        return {aliases.get(field, field): key for field, key in named.items()}
    chosen = {}
    for field, name in fields.items():
        key = of_split.get(name, name if field.endswith(_NAMES) and name in there else "")
        if not key:
            raise ArgumentError(
                f"{{fields}}.{field} = {name!r}: no such array of split {split!r} in {path}: {', '.join(of_split)}"
            )
        chosen[field] = key
    return chosen


def _array(path: pathlib.Path, file: Any, key: str) -> np.ndarray:
    try:
        return file[key]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"array {key!r} of {path} cannot be read: {str(error).splitlines()[0]}. Store numbers or strings in one array:"
            " lists of several lengths padded, with a mask beside them"
        ) from error


def _as_images(read: dict[str, np.ndarray], kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """uint8 [n, h, w] with the channel that it lacks; `x` of images is called `image`."""
    made = {}
    for name, array in read.items():
        grey = array.dtype == np.uint8 and array.ndim == 3 and kinds.get(name, IMAGE) == IMAGE
        images = grey or (array.dtype == np.uint8 and array.ndim == 4)
        made[IMAGE if name == "x" and images and IMAGE not in read else name] = array[..., None] if grey else array
    return made
