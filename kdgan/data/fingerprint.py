"""By what a data set is known again: its counts, a digest of its contents where that is cheap, and of a sample always."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kdgan.data.dataset import Dataset
from kdgan.data.fields import IMAGE, LABEL

LARGEST = 10**9  # bytes of files up to which their contents are read
SAMPLE = 256  # examples of the sample, spread evenly over the set
BLOCK = 1 << 22

Fingerprint = dict[str, Any]


def fingerprint(dataset: Dataset) -> Fingerprint:
    """What a data set is known by, as JSON has it.

    Returns:
      `examples`, their number; `classes`, examples of each class or tag by name; `sample`, a digest of some images and of
      all that is no image, the same whether the set lies in memory or streams; `contents`, of all where it lies in memory;
      `files`, of the files where they stay on disk: of their names and sizes, and up to `LARGEST` bytes of their contents.
      The last two are None where they do not apply.
    """
    some = np.unique(np.linspace(0, len(dataset) - 1, SAMPLE).astype(np.int64))
    shape = [str(dataset.image_shape).encode()] if IMAGE in dataset.fields else []
    return {
        "examples": len(dataset),
        "classes": _counts(dataset),
        "sample": _digest([*shape, *parts(dataset, some)]),
        "contents": _digest(parts(dataset, None)) if dataset.in_memory else None,
        "files": None if dataset.in_memory else _files(dataset.reader),
    }


def _counts(dataset: Dataset) -> dict[str, int]:
    """Examples of each class, or tag, by name."""
    kind = dataset.fields[LABEL].kind if dataset.has_labels else None
    if kind == "class":
        counts = np.bincount(dataset.label, minlength=dataset.num_classes)
    elif kind == "tags":
        counts = dataset.label.sum(0)
    else:
        return {}
    return {name: int(count) for name, count in zip(dataset.class_names, counts, strict=True)}


def parts(dataset: Dataset, some: np.ndarray | None) -> Iterator[Any]:
    """What a set is digested by, arrays and bytes: label, image, then the other fields by name.

    Args:
      dataset: any.
      some: of images these examples only; None: all.
    """
    # A set without labels has always counted as one of a single class.
    yield dataset.label if dataset.has_labels else np.zeros(len(dataset), np.int32)
    for name in sorted(dataset.fields, key=lambda name: (name != IMAGE, name)):
        field = dataset.fields[name]
        if name not in (IMAGE, LABEL):
            yield f"{name} {field.kind} {field.shape}".encode()
        if field.kind != "image":
            yield from () if name == LABEL else (dataset.arrays[name],)
        elif field.is_ragged:
            images = dataset.arrays[name] if some is None else dataset.arrays[name][some]
            yield from (part for image in images for part in (str(image.shape).encode(), image))
        else:
            yield dataset.arrays[name] if some is None else dataset.examples(some, (name,))[name]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> list[str]:
    """In what two fingerprints of the set `name` differ, a line each; none where they are of the same set."""
    if old["examples"] != new["examples"] or old["classes"] != new["classes"]:
        before, after = old["classes"], new["classes"]
        changed = [
            f"class {each} {before.get(each, 0):,} -> {after.get(each, 0):,}"
            for each in dict.fromkeys([*before, *after])
            if before.get(each, 0) != after.get(each, 0)
        ]
        more = f", and {len(changed) - 5} more" if len(changed) > 5 else ""
        counts = f"{old['examples']:,} -> {new['examples']:,} examples"
        return [f"{name}: {counts}" + (f" ({', '.join(changed[:5])}{more})" if changed else "")]
    comparable = [
        key for key in ("sample", "contents", "files") if old.get(key) is not None and new.get(key) is not None
    ]
    if any(old[key] != new[key] for key in comparable):
        of_each = " of each class" if new["classes"] else ""
        return [f"{name}: as many examples{of_each}, with other contents or in another order"]
    return []


def _digest(contents: Iterable[Any]) -> str:
    content = hashlib.sha256()
    for part in contents:
        content.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return content.hexdigest()


def _files(reader: Any) -> str | None:
    """A digest of the files that a reader reads; None where it does not say which."""
    paths = list(_paths(reader))
    if not paths:
        return None
    sizes = [path.stat().st_size for path in paths]
    base = os.path.commonpath([path.parent for path in paths])
    content = hashlib.sha256()
    for path, size in zip(paths, sizes, strict=True):
        content.update(f"{os.path.relpath(path, base)} {size} ".encode())
        if sum(sizes) <= LARGEST:
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    content.update(block)
    return content.hexdigest()


def _paths(reader: Any) -> Iterator[pathlib.Path]:
    """Files of a reader: those that it lists in `paths`, or of the prepared TFDS data set behind its `source`."""
    if isinstance(listed := getattr(reader, "paths", None), list | tuple):
        yield from map(pathlib.Path, listed)
    elif (info := getattr(getattr(reader, "source", None), "dataset_info", None)) is not None:
        # Not dataset_info.json and its kind, which a release of TFDS may write anew.
        folder = pathlib.Path(str(info.data_dir))
        yield from (path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".json")
