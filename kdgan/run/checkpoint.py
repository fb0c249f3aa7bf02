"""The checkpoints of a run: any pytree, saved in the background and restored bitwise on however many devices; the last stay.

What lies in the folder of one checkpoint stands in `run/checkpoint_folder.py`.
"""

import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from kdgan.files import expanded, jsonable
from kdgan.run import checkpoint_folder, leaves
from kdgan.run.checkpoint_folder import SAVING, DamagedCheckpointError, is_checkpoint

Tree = Any

DELETED = ".deleted"  # in the names of folders that were checkpoints


class Restored(NamedTuple):
    """What a checkpoint holds."""

    step: int
    tree: Tree
    metadata: dict[str, Any]


class Latest(NamedTuple):
    """What the record of a checkpoint says of it.

    Attributes:
      step: its step.
      metadata: what was saved with it.
      shapes: path of each array -> its shape.
    """

    step: int
    metadata: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


class _Folder(NamedTuple):
    """A committed checkpoint: the latest attempt at a step wins, an earlier one stays until it is committed."""

    step: int
    attempt: int
    path: pathlib.Path


class Checkpoints:
    """The checkpoints of one training run, in one folder; steps only grow.

    Process 0 writes, alone: arrays that span processes must be whole in each of them. Every process reads, so the
    folder must be one that all of them see. Where a run goes on from an earlier step, later checkpoints are stale: `save`
    removes them once its own checkpoint is on the disk.

    Call `close`, or use it as a context, before the program ends: a save still in progress is lost otherwise (and the
    checkpoint before it is then the last).

    Args:
      directory: folder of the checkpoints, made when the first is saved.
      keep: how many of the last ones stay.

    Raises:
      ValueError: `keep` below 1.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        keep: int = 3,
    ):
        if keep < 1:
            raise ValueError(f"keep = {keep}: at least the last checkpoint has to stay")
        self.directory = pathlib.Path(directory).absolute()
        self._keep = keep
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future | None = None
        self._damaged: set[pathlib.Path] = set()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def save(self, step: int, tree: Tree, *, metadata: Mapping[str, Any] | None = None) -> None:
        """Save `tree` in the background, once the save before is through; it may be changed or donated after the call.

        A checkpoint that the step already has, whole or damaged, is replaced once the new one is on the disk.

        Args:
          step: not negative.
          tree: pytree of jax and NumPy arrays, typed random keys and Python numbers.
          metadata: what JSON can hold.

        Raises:
          ValueError: a leaf or metadata that cannot be saved; its path is named.
          Exception: whatever the save before failed with (a full disk).
        """
        if step < 0:
            raise ValueError(f"step = {step}: steps count from 0")
        if jax.process_index() != 0:
            return
        self.wait()
        arrays, record = leaves.snapshot(tree)
        jsonable_metadata = jsonable(metadata or {})
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._writer.submit(self._write, step, arrays, record, jsonable_metadata)

    def wait(self) -> None:
        """Return when the save in progress is on the disk; raises what it failed with."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """`wait`, and end the thread that writes; the next `save` starts another."""
        try:
            self.wait()
        finally:
            if self._writer is not None:
                self._writer.shutdown()
                self._writer = None

    def steps(self) -> list[int]:
        """Steps that have a checkpoint on the disk, whole or damaged, in order."""
        return sorted({folder.step for folder in _folders(self.directory)})

    def latest(self) -> Latest | None:
        """What the last checkpoint says of itself, one whose record is whole; its arrays are not read."""
        for folder in reversed(_folders(self.directory)):
            try:
                record = checkpoint_folder.read_record(folder.path)
            except DamagedCheckpointError as error:
                logging.warning("skipping damaged checkpoint %s: %s", folder.path, error)
                continue
            shapes = {name: tuple(shape) for name, (shape, _) in record["stored"].items()}
            return Latest(folder.step, record["metadata"], shapes)
        return None

    def restore_latest(self, template: Tree = None) -> Restored | None:
        """(step, tree, metadata) of the last whole checkpoint, or None where there is none: start from the beginning.

        Damaged ones are skipped, each with a warning; the next `save` removes them.

        Args:
          template: pytree of arrays or `jax.ShapeDtypeStruct`s of the same structure: the tree comes back in it and
            with its shardings, on whatever devices they name. Without, it is a nested dict of NumPy arrays.

        Raises:
          ValueError: the checkpoint is whole, but does not fit the template.
        """
        self.wait()
        folders = _folders(self.directory)
        for folder in reversed(folders):
            try:
                return Restored(folder.step, *checkpoint_folder.load(folder.path, template))
            except DamagedCheckpointError as error:
                self._damaged.add(folder.path)
                logging.warning("skipping damaged checkpoint %s: %s", folder.path, error)
        if folders:
            logging.warning("no checkpoint in %s is whole: starting from the beginning", self.directory)
        return None

    def _write(self, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], metadata: dict) -> None:
        _remove_leftovers(self.directory)
        attempts = [folder.attempt for folder in _folders(self.directory) if folder.step == step]
        attempt = max(attempts, default=-1) + 1
        path = self.directory / (f"{step:08d}" + (f"-{attempt}" if attempt else ""))
        staging = self.directory / (path.name + SAVING)
        checkpoint_folder.write(staging, step, arrays, record, metadata)
        os.replace(staging, path)
        self._prune(_Folder(step, attempt, path))

    def _prune(self, saved: _Folder) -> None:
        folders = _folders(self.directory)
        latest = {folder.step: folder for folder in folders}  # the last attempt at each
        alive = [folder for folder in latest.values() if folder.step <= saved.step and folder.path not in self._damaged]
        keep = set(alive[-self._keep :])
        for folder in folders:
            if folder not in keep:
                _delete(folder.path)


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
        return Found(path, *checkpoint_folder.load(path.absolute(), None))
    for folder in reversed(_folders(path)):
        try:
            return Found(folder.path, *checkpoint_folder.load(folder.path.absolute(), None))
        except DamagedCheckpointError as error:
            logging.warning("skipping damaged checkpoint %s: %s", folder.path, error)
    raise ValueError(f"no whole checkpoint in {path}; give the folder of one, or a folder that holds some")


def holds_checkpoints(path: pathlib.Path) -> bool:
    """Whether checkpoints lie directly in this folder, whole or damaged."""
    return bool(_folders(path))


def array_names(path: pathlib.Path) -> list[str]:
    """Paths of the arrays (`kd/state/params/student/dense1/kernel`) of the last checkpoint in a folder; none is read.

    By its record; those whose record is damaged do not count.
    """
    for folder in reversed(_folders(path)):
        with suppress(DamagedCheckpointError):
            return list(checkpoint_folder.read_record(folder.path)["stored"])
    return []


def holders_of(tree: Tree, where: str = "") -> Iterator[tuple[str, dict]]:
    """(path, dict) of every dict of a checkpoint that has `params`."""
    if isinstance(tree, dict):
        if isinstance(tree.get("params"), dict):
            yield where, tree
        for name, inside in tree.items():
            if name != "params":
                yield from holders_of(inside, f"{where}/{name}" if where else name)


def _folders(directory: pathlib.Path) -> list[_Folder]:
    """Committed checkpoints, in order of step and attempt."""
    folders = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = re.fullmatch(r"(\d{8,})(?:-(\d+))?", path.name)
            if match:
                folders.append(_Folder(int(match[1]), int(match[2] or 0), path))
    return sorted(folders)


def _delete(path: pathlib.Path) -> None:
    """Remove a checkpoint; killed halfway, it leaves nothing that looks like one."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    doomed = path.with_name(path.name + DELETED)
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_leftovers(directory: pathlib.Path) -> None:
    """Folders that a killed process was saving or removing."""
    if directory.is_dir():
        for path in directory.iterdir():
            if SAVING in path.name or path.name.endswith(DELETED):
                shutil.rmtree(path, ignore_errors=True)
