"""A folder of pairs: under each split a sub-folder for each field of images, with the same file names in all of them.

`{"image": "noisy", "target": "clean"}` reads `root/train/noisy/1.png` and `root/train/clean/1.png`; as split "all"
`root/noisy` and `root/clean`. Each sub-folder is read as `folder.py` reads one without classes. A training split of noisy
images alone has `root/train/noisy` only.
"""

import os
import pathlib
from collections.abc import Collection, Mapping

import numpy as np

from kdgan.data import slices
from kdgan.data.dataset import Dataset
from kdgan.data.errors import ArgumentError
from kdgan.data.fields import Field
from kdgan.data.folder import read_folder
from kdgan.data.tree import scan, sub_folders


def read_pairs(
    root: str | pathlib.Path,
    split: str,
    fields: Mapping[str, str],
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    on_bad_image: str = "refuse",
    memory_limit: int = 2**31,
    may_lack: Collection[str] = (),
) -> Dataset:
    """The pairs of `split` under `root`.

    Args:
        root: the folder; "~" is expanded.
        split: a sub-folder's name, or "all" where the root holds those of the fields, with optional slices.
        fields: field -> its sub-folder.
        size: see `folder.read_folder`, and likewise `channels`; without them as each sub-folder has them.
        channels: likewise.
        on_bad_image: "skip" leaves out pairs of which one cannot be read.
        memory_limit: bytes that they may take; pairs are always kept in memory.
        may_lack: fields that are left out where the split has no sub-folder of theirs.

    Raises:
        ValueError: as `read_folder`; a sub-folder that is not there, an image without its counterpart, with its name; more
            bytes than may be taken.
    """
    root = pathlib.Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"data set not found: no folder {root}")
    parts = slices.parse(split)
    there = [sub_folders(base) for part in parts if (base := _base(root, part.name)).is_dir()]
    lacks = [name for name in may_lack if name in fields and there and not any(fields[name] in of for of in there)]
    fields = {name: sub for name, sub in fields.items() if name not in lacks}
    images: dict[str, list[np.ndarray]] = {name: [] for name in fields}
    files: list[str] = []
    for part in parts:
        base = _base(root, part.name)
        _check_names(base, split, fields)
        bounds = f"[{part.start or ''}:{part.stop or ''}]" if part.start or part.stop else ""
        sets = {
            name: read_folder(
                base / sub, f"all{bounds}", size=size, channels=channels, on_bad_image=on_bad_image,
                memory_limit=memory_limit // len(fields),
            )
            for name, sub in fields.items()
        }  # fmt: skip
        by_name = {name: _by_name(dataset, base / fields[name], memory_limit) for name, dataset in sets.items()}
        first = next(iter(fields))
        whole = [path for path in by_name[first] if all(path in of for of in by_name.values())]
        for name, of in by_name.items():
            images[name] += [of[path] for path in whole]
        files += [str(base / fields[first] / path) for path in whole]
    arrays = {name: _together(several) for name, several in images.items()}
    made = {name: Field("image", _shape(arrays[name], images[name])) for name in fields}
    return Dataset(f"folder:{root}", made, arrays, split=split, files=tuple(files))


def _base(root: pathlib.Path, split: str) -> pathlib.Path:
    return root if split == "all" else root / split


def _check_names(base: pathlib.Path, split: str, fields: Mapping[str, str]) -> None:
    """Every field has its sub-folder, and all of them the same files."""
    there = sub_folders(base) if base.is_dir() else []
    for name, sub in fields.items():
        if not base.is_dir() or sub not in there:
            raise ArgumentError(
                f"{{fields}} = {dict(fields)}: split {split!r} wants the images of {name!r} in {base / sub}, and there is no"
                f" such folder; {base} has {there}"
            )
    names = {sub: _images(base / sub) for sub in fields.values()}
    (first, expected), *others = names.items()
    for sub, of in others:
        if lone := sorted(expected ^ of):
            has, lacks = (first, sub) if lone[0] in expected else (sub, first)
            more = f", and so are {len(lone) - 1:,} more" if len(lone) > 1 else ""
            raise ArgumentError(
                f"{{fields}} = {dict(fields)}: {base / has / lone[0]} is without its counterpart in {base / lacks}{more};"
                " the same file names are wanted in both"
            )


def _images(folder: pathlib.Path) -> set[str]:
    tree = scan(folder)
    return {*tree.loose, *(path for several in tree.classes.values() for path in several)}


def _by_name(dataset: Dataset, folder: pathlib.Path, memory_limit: int) -> dict[str, np.ndarray]:
    if dataset.image is None:
        raise ArgumentError(
            f"pairs of images under {folder.parent} take more than {{memory_limit}} = {memory_limit / 2**20:,.0f} MiB, and"
            " are kept in memory: raise it, or give {size}=(h, w) to make them smaller"
        )
    return {os.path.relpath(file, folder): image for file, image in zip(dataset.files, dataset.image, strict=True)}


def _together(images: list[np.ndarray]) -> np.ndarray:
    if len({image.shape for image in images}) == 1:
        return np.stack(images)
    array = np.empty(len(images), object)
    array[:] = images
    return array


def _shape(array: np.ndarray, images: list[np.ndarray]) -> tuple[int | None, ...]:
    return array.shape[1:] if array.dtype != object else (None, None, images[0].shape[2])
