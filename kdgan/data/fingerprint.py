"""By what a data set is known again: its counts, a digest of its contents where that is cheap, and of a sample always."""

import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdgan.data.dataset import Dataset

LARGEST = 10**9  # bytes of files up to which their contents are read
SAMPLE = 256  # examples of the sample, spread evenly over the set
BLOCK = 1 << 22

Fingerprint = dict[str, Any]


def fingerprint(dataset: Dataset) -> Fingerprint:
    """What a data set is known by, as JSON has it.

    Returns:
      `examples`, their number; `classes`, examples of each class by name; `sample`, a digest of all labels and of some
      images, the same whether the set lies in memory or streams; `contents`, of all images where they lie in memory;
      `files`, of the files where they stay on disk: of their names and sizes, and up to `LARGEST` bytes of their contents.
      The last two are None where they do not apply.
    """
    label = np.ascontiguousarray(dataset.label)
    counts = np.bincount(label, minlength=dataset.num_classes)
    some = np.unique(np.linspace(0, len(dataset) - 1, SAMPLE).astype(np.int64))
    return {
        "examples": len(dataset),
        "classes": {name: int(count) for name, count in zip(dataset.class_names, counts, strict=True)},
        "sample": _digest([str(dataset.image_shape).encode(), label, dataset.fetch(some)]),
        "contents": None if dataset.image is None else _digest([label, dataset.image]),
        "files": None if dataset.image is not None else _files(dataset.reader),
    }


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
        return [f"{name}: {counts} ({', '.join(changed[:5])}{more})"]
    comparable = [
        key for key in ("sample", "contents", "files") if old.get(key) is not None and new.get(key) is not None
    ]
    if any(old[key] != new[key] for key in comparable):
        return [f"{name}: as many examples of each class, with other contents or in another order"]
    return []


def _digest(parts: list[Any]) -> str:
    content = hashlib.sha256()
    for part in parts:
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
