"""The image files under a folder of classes, and what lies there besides: hidden, of other types, in no class.

Links are followed, but to a folder that was already come through: a link to a folder above ends there. A link that leads
nowhere is an image where it is named as one, which then cannot be read.
"""

import dataclasses
import errno
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from kdgan.data.images import SUFFIXES

# What file managers, archives and network disks leave behind, beside all whose name begins with a dot.
_SYSTEM = {
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "recycler", "lost+found",
    "system volume information", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Tree:
    """What lies under a folder; paths are relative to it, with "/" between the parts.

    Attributes:
        classes: name of each sub-folder, in order -> image files in it at any depth.
        loose: image files directly in the folder.
        hidden: hidden and system files and folders, which are passed by.
        others: files of other types.
        loops: links to a folder that was already come through, or to themselves.
        closed: folders that may not be listed.
        broken: links that lead nowhere and have no suffix: what they were a link to may have been a folder.
    """

    classes: dict[str, list[str]]
    loose: list[str]
    hidden: list[str]
    others: list[str]
    loops: list[str]
    closed: list[str]
    broken: list[str]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or the system's."""
    return name.startswith(".") or name.lower() in _SYSTEM


def sub_folders(folder: pathlib.Path) -> list[str]:
    """Names of the folders in `folder`, in order, without hidden ones."""
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not is_hidden(child.name))


def scan(folder: pathlib.Path) -> Tree:
    """All of what lies under `folder`, in an order that depends on names only."""
    tree = Tree({}, [], [], [], [], [], [])
    real = folder.resolve()
    above = frozenset(_identity(place) for place in (real, *real.parents))
    for name, is_folder in _entries(folder, "", tree):
        if not is_folder:
            _sort_in(name, tree.loose, tree)
        elif _identity(folder / name) in above:
            tree.loops.append(name)
        else:
            tree.classes[name] = []
            _walk(folder, name, tree.classes[name], set(above), tree)
    return tree


def skipped(trees: Iterable[Tree], *, loose: bool) -> list[str]:
    """A note for each reason for which something was passed by; `loose`: so were images in no sub-folder."""
    trees = tuple(trees)
    every = lambda field: [path for tree in trees for path in getattr(tree, field)]
    reasons = {
        "hidden or the system's": every("hidden"),
        "not of an image's type": every("others"),
        "images in no class folder": every("loose") if loose else [],
        "links to a folder above them": every("loops"),
        "folders that may not be listed": every("closed"),
        "links that lead nowhere": every("broken"),
    }
    return [f"skipped, {reason}: {len(paths):,} ({some(paths)})" for reason, paths in reasons.items() if paths]


def some(names: Sequence[str], count: int = 3, between: str = ", ") -> str:
    """The first names, and how many more there are."""
    more = f"{between}and {len(names) - count:,} more" if len(names) > count else ""
    return between.join(name.encode(errors="replace").decode() for name in names[:count]) + more


def _walk(folder: pathlib.Path, start: str, images: list[str], visited: set, tree: Tree) -> None:
    waiting = [start]
    while waiting:
        place = waiting.pop()
        if (identity := _identity(folder / place)) in visited:
            tree.loops.append(place)
            continue
        visited.add(identity)
        for name, is_folder in _entries(folder, place, tree):
            if is_folder:
                waiting.append(f"{place}/{name}")
            else:
                _sort_in(f"{place}/{name}", images, tree)


def _entries(folder: pathlib.Path, place: str, tree: Tree) -> list[tuple[str, bool]]:
    """(name, whether it is a folder) of what lies at `place` and is not hidden, in order."""
    try:
        with os.scandir(folder / place) as entries:
            there = sorted((entry.name, _is(entry.is_dir), _is(entry.is_file)) for entry in entries)
    except PermissionError:
        tree.closed.append(place or ".")
        return []
    shown = []
    for name, is_folder, is_file in there:
        path = f"{place}/{name}".lstrip("/")
        if is_hidden(name):
            tree.hidden.append(path)
        elif is_folder or is_file:
            shown.append((name, is_folder))
        elif not (folder / path).is_symlink():
            tree.others.append(path)  # a pipe, a socket
        elif os.path.splitext(name)[1]:
            shown.append((name, False))
        else:
            (tree.loops if _is_circle(folder / path) else tree.broken).append(path)
    return shown


def _is(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except OSError:  # a link to itself
        return False


def _is_circle(link: pathlib.Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _sort_in(path: str, images: list[str], tree: Tree) -> None:
    (images if os.path.splitext(path)[1].lower() in SUFFIXES else tree.others).append(path)


def _identity(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
