"""Reading checkpoints: the last whole one of a folder, what its arrays are called, and the parts that hold players."""

import os
import pathlib
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from absl import logging

from kdgan.checkpoints.folder import DamagedCheckpointError, is_checkpoint, load, read_record
from kdgan.files import expanded

Tree = Any


class Step(NamedTuple):
    """A committed checkpoint: the latest attempt at a step wins, an earlier one stays until it is committed."""

    step: int
    attempt: int
    path: pathlib.Path


class Found(NamedTuple):
    """A checkpoint that was read from a folder.

    Attributes:
      folder: of the checkpoint itself, as the path given leads to it.
      tree: nested dict of NumPy arrays.
      metadata: what was saved with it.
    """

    folder: pathlib.Path
    tree: Tree
    metadata: dict[str, Any]


def read(path: str | os.PathLike) -> Found:
    """The checkpoint whose folder this is, or the last whole one that the folder holds.

    Raises:
      ValueError: no whole checkpoint there.
      DamagedCheckpointError: the folder of one checkpoint, and it is damaged.
    """
    path = pathlib.Path(expanded(path))
    if is_checkpoint(path):
        return Found(path, *load(path.absolute(), None))
    for folder in reversed(steps_of(path)):
        try:
            return Found(folder.path, *load(folder.path.absolute(), None))
        except DamagedCheckpointError as error:
            logging.warning("skipping damaged checkpoint %s: %s", folder.path, error)
    raise ValueError(f"no whole checkpoint in {path}; give the folder of one, or a folder that holds some")


def holds_checkpoints(path: pathlib.Path) -> bool:
    """Whether checkpoints lie directly in this folder, whole or damaged."""
    return bool(steps_of(path))


def array_names(path: pathlib.Path) -> list[str]:
    """Paths of the arrays (`kd/state/params/student/dense1/kernel`) of the last checkpoint in a folder; none is read.

    By its record; those whose record is damaged do not count.
    """
    for folder in reversed(steps_of(path)):
        with suppress(DamagedCheckpointError):
            return list(read_record(folder.path)["stored"])
    return []


def holders_of(tree: Tree, where: str = "") -> Iterator[tuple[str, dict]]:
    """(path, dict) of every dict of a checkpoint that has `params`."""
    if isinstance(tree, dict):
        if isinstance(tree.get("params"), dict):
            yield where, tree
        for name, inside in tree.items():
            if name != "params":
                yield from holders_of(inside, f"{where}/{name}" if where else name)


def steps_of(directory: pathlib.Path) -> list[Step]:
    """Committed checkpoints, in order of step and attempt."""
    folders = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = re.fullmatch(r"(\d{8,})(?:-(\d+))?", path.name)
            if match:
                folders.append(Step(int(match[1]), int(match[2] or 0), path))
    return sorted(folders)
