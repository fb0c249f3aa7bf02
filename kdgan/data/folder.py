"""A folder of images as a data set: one sub-folder a class, or no sub-folders and no classes; read with Pillow.

`root/train/cat/1.png` is split "train"; where the classes stand directly under the root, the split is "all". Images that
lie in `root/train` itself (or in the root, as split "all"), with no sub-folders beside them, are a set without labels.
Hidden and system files and folders (`.cache`, `__MACOSX`, `@eaDir`) are skipped at any depth; `Dataset.notes` says what was
skipped. Splits take TFDS's slices ("train[:80%]", "all[1000:]", sums by "+"). Files come in the order of a hash of their
names, as in TFDS, so that a slice is a fair sample of all classes. Grey images stay grey if all are, otherwise all become
RGB; EXIF orientation is applied, transparency is dropped. Images of several sizes, without a size to which they are scaled,
are a field of several sizes. `folder_pairs.py` reads two folders of the same file names as pairs.
"""

import dataclasses
import hashlib
import pathlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from kdgan.data import slices
from kdgan.data.classes import absent_classes, check_num_classes
from kdgan.data.dataset import Dataset, of_images
from kdgan.data.errors import ArgumentError, UnreadableImageError, UnreadableImageWarning, tell_unreadable
from kdgan.data.images import GREY, SUFFIXES, UNREADABLE, Header, read_header, read_pixels, reason
from kdgan.data.tree import Tree, scan, skipped, some, sub_folders

_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
_LOOSE = ""  # the class of images that are in none


def read_folder(
    root: str | pathlib.Path,
    split: str,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    on_bad_image: str = "refuse",
    memory_limit: int = 2**31,
) -> Dataset:
    """The images of `split` under `root`.

    Args:
        root: the folder; "~" is expanded.
        split: a sub-folder's name, or "all" where the root holds the classes, with optional slices.
        size: (h, w) to which images are scaled (bilinear, sides in proportion, centre cropped); without it they stay as they
            are, of one size or of several.
        channels: 1 or 3, to which all images are converted; without it 1 where all are grey, else 3.
        num_classes: number of classes that there must be.
        class_names: the classes in the order in which they are numbered, for a split that may lack some; without it
            those of the sub-folder "train", else the split's own, by name.
        on_bad_image: "refuse" raises where images cannot be read, links lead nowhere, or a class is empty; "skip" leaves
            them out, and classes of which no image can be read, and warns with their names.
        memory_limit: bytes up to which the decoded images are kept in memory. Above it only headers, and the files'
            ends, are read here. A file damaged further on raises `UnreadableImageError` when it is fetched; with "skip"
            the next image of its class that can be read stands in for it, the same one every time, with a warning.

    Raises:
        ValueError: for a folder or split that is not there, bad slices, no images, images of several sizes that take more
            than `memory_limit`, with "refuse" unreadable images and empty classes, a class that the split "train" has not.
    """
    if on_bad_image not in ("refuse", "skip"):
        raise ArgumentError(f"{{on_bad_image}} must be 'refuse' or 'skip', got {on_bad_image!r}")
    root = pathlib.Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"data set not found: no folder {root}")
    skip = on_bad_image == "skip"
    parts = slices.parse(split)
    trees = {name: scan(_base(root, name)) for name, _, _ in parts}
    every = lambda field: [f"{name}/{path}" for name, tree in trees.items() for path in getattr(tree, field)]
    if (closed := every("closed")) and not skip:
        raise ArgumentError(
            f"folders under {root} that may not be listed: {some(closed)}. Give yourself the right to, or leave them out"
            " with {on_bad_image}='skip'"
        )
    if (broken := every("broken")) and not skip:
        raise ArgumentError(
            f"links under {root} that lead nowhere: {len(broken):,} ({some(broken)}). Remove them, or leave them out with"
            " {on_bad_image}='skip'"
        )
    classes, left_out_classes = _classes(root, split, trees, class_names, skip)
    if num_classes is not None:
        check_num_classes(num_classes, len(classes), f"folder {root}")
    files = [pair for part in parts for pair in _sliced(root, trees[part[0]], classes, part, split)]
    if not files:
        raise ValueError(f"split {split!r} of folder {root} holds no images ({', '.join(sorted(SUFFIXES))})")
    bad: dict[pathlib.Path, str] = {}
    headers: dict[pathlib.Path, Header] = {}
    for file, _ in files:
        try:
            headers[file] = read_header(file)
        except UNREADABLE as error:
            bad[file] = reason(error)
    channels = channels or (1 if {header.mode for header in headers.values()} <= GREY else 3)
    sides = [size or header.size for header in headers.values()] or [(1, 1)]
    several = len(set(sides)) > 1
    shape: tuple = (*((None, None) if several else sides[0]), channels)
    image, needed = None, channels * sum(height * width for height, width in sides)
    if needed <= memory_limit:
        image = np.zeros(len(files), object) if several else np.zeros((len(files), *shape), np.uint8)
        for number, (file, _) in enumerate(files):
            if file not in bad:
                try:
                    image[number] = read_pixels(file, (*(size or headers[file].size), channels), size is not None)
                except UNREADABLE as error:
                    bad[file] = reason(error)
    elif several:
        raise ArgumentError(
            f"images of folder {root} differ in size and take {needed / 2**20:,.0f} MiB, more than {{memory_limit}} ="
            f" {memory_limit / 2**20:,.0f} MiB: raise it, or give {{size}}=(h, w) to scale all to one size"
        )
    left_out = _report(bad, len(files), root, skip) if bad else []
    kept = [number for number, (file, _) in enumerate(files) if file not in bad]
    if not kept:
        raise ValueError(f"split {split!r} of folder {root}: none of its {len(files)} images can be read")
    paths = tuple(str(files[number][0]) for number in kept)
    label = np.array([classes.index(files[number][1]) if classes else 0 for number in kept], np.int32)
    reader = None if image is not None else _FolderReader(paths, shape, size is not None, label if skip else None)
    turned = sum(headers[files[number][0]].turned for number in kept)
    notes = [
        *left_out,
        *left_out_classes,
        *skipped(trees.values(), loose=bool(classes)),
        *([f"EXIF orientation applied to {turned:,} of {len(kept):,} images"] if turned else []),
        *_alike(classes),
        *absent_classes(label, classes),
    ]
    return of_images(
        f"folder:{root}",
        None if image is None else image[kept],
        label if classes else None,
        classes,
        shape,
        length=len(kept),
        reader=reader,
        split=split,
        notes=tuple(notes),
        files=paths,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _FolderReader:
    """Reads files when asked for.

    Attributes:
        paths: of all examples.
        shape: (h, w, c) of each image.
        resize: whether they are scaled to it.
        group: int `[n]`, equal for examples that may stand in for each other; None: none may.
        unreadable: path -> reason, of the files that could not be read so far.
    """

    paths: tuple[str, ...]
    shape: tuple[int, int, int]
    resize: bool
    group: np.ndarray | None
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        result = np.empty((len(indices), *self.shape), np.uint8)
        for place, index in enumerate(indices):
            result[place] = self._read(int(index))
        return result

    def keep_apart(self, indices: np.ndarray) -> "_FolderReader":
        if self.group is None:
            return self
        inside = np.isin(np.arange(len(self.paths)), indices)
        return dataclasses.replace(self, group=2 * self.group.astype(np.int64) + inside)

    def _read(self, index: int) -> np.ndarray:
        for candidate in self._candidates(index):
            path = self.paths[candidate]
            try:
                return read_pixels(path, self.shape, self.resize)
            except UNREADABLE as error:
                why = reason(error)
                if self.group is None:
                    raise UnreadableImageError(
                        f"image {path} cannot be read: {why}. Mend or remove it, or let another of its class stand in"
                        " with {on_bad_image}='skip'"
                    ) from error
                tell_unreadable(self.unreadable, {path: why})
        raise UnreadableImageError(
            f"image {self.paths[index]} cannot be read: {self.unreadable[self.paths[index]]}; nor can any other that might"
            " stand in for it, of the same class"
        )

    def _candidates(self, index: int) -> Iterator[int]:
        yield index
        if self.group is not None:
            alike = np.flatnonzero(self.group == self.group[index])
            place = int(np.searchsorted(alike, index))
            yield from map(int, (*alike[place + 1 :], *alike[:place]))


def _report(bad: Mapping[pathlib.Path, str], total: int, root: pathlib.Path, skip: bool) -> list[str]:
    named = some([f"{file.relative_to(root)} ({why})" for file, why in bad.items()], 5, "; ")
    counted = f"{len(bad)} of {total} images"
    if not skip:
        raise ArgumentError(
            f"{counted} under {root} cannot be read: {named}. Remove them, or leave them out with {{on_bad_image}}='skip'"
        )
    warnings.warn(
        f"{counted} under {root} cannot be read: {named}. They are left out (on_bad_image='skip')",
        UnreadableImageWarning,
        stacklevel=4,
    )
    return [f"left out: {counted}, which cannot be read: {named}"]


def _base(root: pathlib.Path, name: str) -> pathlib.Path:
    if name != "all":
        if (root / name).is_dir():
            return root / name
        raise ValueError(
            f"split {name!r} is no sub-folder of {root}; there are {sub_folders(root) or 'none'}. "
            "Where these are the classes themselves, or the images lie in the folder itself, the split is 'all'"
        )
    there = sub_folders(root)
    if "train" in there and {folder.lower() for folder in there} <= _SPLITS:
        raise ValueError(f"split 'all' of folder {root} would take {there} for classes; they are splits: write 'train'")
    return root


def _classes(
    root: pathlib.Path, split: str, trees: Mapping[str, Tree], class_names: Sequence[str] | None, skip: bool
) -> tuple[list[str], list[str]]:
    """The classes as they are numbered, none for a set without labels; and a note on those that are left out."""
    of_split = {_base(root, name): tree for name, tree in trees.items()}
    # A test set without one of the classes must still number them as training does.
    by_train = class_names is None and not {"all", "train"} & trees.keys() and (root / "train").is_dir()
    others = "the training split" if class_names is not None else "'train'" if by_train else "the split"
    notes: list[str] = []
    defining = {} if class_names is not None else {root / "train": scan(root / "train")} if by_train else of_split
    if class_names is None:
        present, empty, damaged = _counted(defining, skip)
        # Where no image of any class can be read, it is the images that are to be named.
        damaged, names = (damaged, present) if present else ([], damaged)
        notes += _leave_out(root, "train" if by_train else split, empty, damaged, defining.values(), skip)
        if not names and not any(tree.loose for tree in defining.values()):
            raise ValueError(
                f"split {split!r} of folder {root} has no sub-folders, one a class, and no images of its own"
                f" ({', '.join(sorted(SUFFIXES))})"
            )
    else:
        names = list(class_names)
    if defining is not of_split:
        present, empty, damaged = _counted(of_split, skip, besides=names)
        if extra := sorted(present):
            raise ValueError(f"split {split!r} of folder {root} has classes that {others} has not: {extra}")
        notes += _leave_out(root, split, empty, damaged, trees.values(), skip)
    with_files = any(tree.classes.get(name) for tree in trees.values() for name in names)
    if names and not with_files and any(tree.loose for tree in trees.values()):
        raise ValueError(
            f"split {split!r} of folder {root} has images in no class; those of {others} have the classes {some(names)}"
        )
    return names, list(dict.fromkeys(notes))


def _counted(
    trees: Mapping[pathlib.Path, Tree], skip: bool, besides: Sequence[str] = ()
) -> tuple[list[str], list[str], list[str]]:
    """Classes but `besides`: those of images, of none, and where images may be skipped those of none that can be read."""
    files: dict[str, list[pathlib.Path]] = {}
    for base, tree in trees.items():
        for name, images in tree.classes.items():
            if name not in besides:
                files.setdefault(name, []).extend(base / image for image in images)
    empty = sorted(name for name, images in files.items() if not images)
    # Pixels too, so that classes are numbered alike whether the images are read now or later.
    damaged = (
        sorted(name for name, images in files.items() if images and not any(map(_can_be_read, images))) if skip else []
    )
    return sorted(files.keys() - {*empty, *damaged}), empty, damaged


def _can_be_read(file: pathlib.Path) -> bool:
    try:
        read_header(file)
        read_pixels(file, (1, 1, 3), resize=True)
    except UNREADABLE:
        return False
    return True


def _leave_out(
    root: pathlib.Path, split: str, empty: Sequence[str], damaged: Sequence[str], trees: Iterable[Tree], skip: bool
) -> list[str]:
    """A note, with a warning, for each reason for which classes are left out; an error where they may not be."""
    others = [file for tree in trees for file in tree.others if file.split("/")[0] in empty]
    there = f" (files of other types: {some(others)})" if others else ""
    reasons = {"without an image": (empty, there), "without an image that can be read": (damaged, "")}
    notes = []
    for what, (names, more) in reasons.items():
        if not names:
            continue
        message = f"split {split!r} of folder {root} has class folders {what}: {some(names, 10)}{more}"
        if not skip:
            raise ArgumentError(f"{message}. Remove them, or leave them out with {{on_bad_image}}='skip'")
        warnings.warn(f"{message}. They are left out (on_bad_image='skip')", UnreadableImageWarning, stacklevel=5)
        notes.append(f"left out: {some(names)}, of which no class has {what.removeprefix('without ')}")
    return notes


def _sliced(
    root: pathlib.Path, tree: Tree, classes: Sequence[str], part: slices.Part, split: str
) -> list[tuple[pathlib.Path, str]]:
    base = _base(root, part.name)
    labelled = {label: tree.classes.get(label, []) for label in classes} if classes else {_LOOSE: tree.loose}
    files = [(file, label) for label, several in labelled.items() for file in several]
    files.sort(key=lambda pair: hashlib.blake2b(pair[0].encode(errors="surrogateescape")).digest())
    start, stop = slices.bounds(part, len(files), f"split {split!r} of folder {root}", "images")
    return [(base / file, label) for file, label in files[start:stop]]


def _alike(classes: Sequence[str]) -> list[str]:
    spelled = Counter(name.lower() for name in classes)
    names = [name for name in classes if spelled[name.lower()] > 1]
    return [f"classes whose names differ in capitals only: {some(names, 4)}"] if names else []
