"""The checkpoints of a run: any pytree, saved in the background and restored bitwise on however many devices; the last stay.

What lies in the folder of one checkpoint stands in `checkpoints/folder.py`; how all are read, in `checkpoints/reading.py`.
"""

import os
import pathlib
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from kdgan.checkpoints import folder as checkpoint_folder
from kdgan.checkpoints import leaves
from kdgan.checkpoints.folder import SAVING, DamagedCheckpointError, is_checkpoint
from kdgan.checkpoints.reading import Found, Step, array_names, holders_of, holds_checkpoints, read, steps_of
from kdgan.files import jsonable

__all__ = [
    "Checkpoints", "DamagedCheckpointError", "Found", "Latest", "Restored", "array_names", "holders_of",
    "holds_checkpoints", "is_checkpoint", "read",
]  # fmt: skip

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
        return sorted({folder.step for folder in steps_of(self.directory)})

    def latest(self) -> Latest | None:
        """What the last checkpoint says of itself, one whose record is whole; its arrays are not read."""
        for folder in reversed(steps_of(self.directory)):
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
        folders = steps_of(self.directory)
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
        attempts = [folder.attempt for folder in steps_of(self.directory) if folder.step == step]
        attempt = max(attempts, default=-1) + 1
        path = self.directory / (f"{step:08d}" + (f"-{attempt}" if attempt else ""))
        staging = self.directory / (path.name + SAVING)
        checkpoint_folder.write(staging, step, arrays, record, metadata)
        os.replace(staging, path)
        self._prune(Step(step, attempt, path))

    def _prune(self, saved: Step) -> None:
        folders = steps_of(self.directory)
        latest = {folder.step: folder for folder in folders}  # the last attempt at each
        alive = [folder for folder in latest.values() if folder.step <= saved.step and folder.path not in self._damaged]
        keep = set(alive[-self._keep :])
        for folder in folders:
            if folder not in keep:
                _delete(folder.path)


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
