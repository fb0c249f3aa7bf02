"""Checkpoints: any pytree saved in the background and restored bitwise, on however many devices. The only Orbax import.

A step's folder is an ordinary Orbax checkpoint of a nested dict of arrays (`params/student/Dense_0/kernel`; tuples by
index, dataclasses and named tuples by field, random keys by their data), so that other programs can read it. In it lies
`kdgan.json`: the caller's metadata, kind, dtype, shape and CRC-32 of each array, size and CRC-32 of each file. Reading
checks all of it, so that damage is found wherever it struck, and before Orbax stumbles over it.
"""

import errno
import json
import logging as python_logging
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax
import numpy as np

# Orbax 0.12's v1 `save` makes every process take part in a broadcast, even where it is told that only one is active.
# These classes do not (and are as fast), so that process 0 can write alone. v1 reads their checkpoints.
import orbax.checkpoint as ocp
from absl import logging

from kdgan.files import expanded, jsonable, read_json, write_json
from kdgan.run import leaves

Tree = Any

FORMAT = 1
RECORD = "kdgan.json"
SPACE_BESIDE = 2**20  # bytes of a checkpoint beside its arrays: indices, our record
SAVING, DELETED = ".saving", ".deleted"  # in the names of folders that are not checkpoints yet, or no more


class DamagedCheckpointError(ValueError):
    """A checkpoint is incomplete, or is not what was written."""


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
    folder must be one that all of them see. Where a run goes on from an earlier step, the later ones belong to a past
    that did not happen: `save` removes them once its own checkpoint is on the disk.

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
        own_metadata = jsonable(metadata or {})
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._writer.submit(self._write, step, arrays, record, own_metadata)

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
                record = _read_record(folder.path)
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
          template: as in `restore`.

        Raises:
          ValueError: the checkpoint is whole, but does not fit the template.
        """
        self.wait()
        found = _folders(self.directory)
        for folder in reversed(found):
            try:
                return Restored(folder.step, *_load(folder.path, template))
            except DamagedCheckpointError as error:
                self._damaged.add(folder.path)
                logging.warning("skipping damaged checkpoint %s: %s", folder.path, error)
        if found:
            logging.warning("no checkpoint in %s is whole: starting from the beginning", self.directory)
        return None

    def restore(self, step: int, template: Tree = None) -> Restored:
        """(step, tree, metadata) of the checkpoint of one step.

        Args:
          step: one of `steps()`.
          template: pytree of arrays or `jax.ShapeDtypeStruct`s of the same structure: the tree comes back in it and
            with its shardings, on whatever devices they name. Without, it is a nested dict of NumPy arrays.

        Raises:
          ValueError: no checkpoint of this step, or one that does not fit the template; the differences are named.
          DamagedCheckpointError: it is damaged.
        """
        self.wait()
        folders = [folder for folder in _folders(self.directory) if folder.step == step]
        if not folders:
            raise ValueError(f"no checkpoint of step {step} in {self.directory}; there are {self.steps() or 'none'}")
        return Restored(step, *_load(folders[-1].path, template))

    def _write(self, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], metadata: dict) -> None:
        _remove_leftovers(self.directory)
        attempts = [folder.attempt for folder in _folders(self.directory) if folder.step == step]
        attempt = max(attempts, default=-1) + 1
        path = self.directory / (f"{step:08d}" + (f"-{attempt}" if attempt else ""))
        staging = self.directory / (path.name + SAVING)
        stored = leaves.nested({name: array for name, array in arrays.items() if array.size})
        _check_space(self.directory, step, sum(array.nbytes for array in arrays.values()))
        with _failed_writing(staging), _quiet_orbax(), _checkpointer() as checkpointer:
            # A tree without arrays is no tree to Orbax.
            checkpointer.save(staging, args=ocp.args.PyTreeSave(stored or {"empty": np.zeros(1)}))
        arrays_crc32 = {name: leaves.checksum(array) for name, array in arrays.items()}
        body = {"format": FORMAT, "metadata": metadata, **record, "arrays": arrays_crc32, "files": _files(staging)}
        write_json(staging / RECORD, {**body, "crc32": _body_checksum(body)})
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
        return Found(path, *_load(path.absolute(), None))
    for folder in reversed(_folders(path)):
        try:
            return Found(folder.path, *_load(folder.path.absolute(), None))
        except DamagedCheckpointError as error:
            logging.warning("skipping damaged checkpoint %s: %s", folder.path, error)
    raise ValueError(f"no whole checkpoint in {path}; give the folder of one, or a folder that holds some")


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether this is the folder of one checkpoint."""
    return (path / RECORD).exists()


def holds_checkpoints(path: pathlib.Path) -> bool:
    """Whether checkpoints lie directly in this folder, whole or damaged."""
    return bool(_folders(path))


def array_names(path: pathlib.Path) -> list[str]:
    """Paths of the arrays (`kd/state/params/student/dense1/kernel`) of the last checkpoint in a folder; none is read.

    By its record; those whose record is damaged do not count.
    """
    for folder in reversed(_folders(path)):
        with suppress(DamagedCheckpointError):
            return list(_read_record(folder.path)["stored"])
    return []


def holders_of(tree: Tree, where: str = "") -> Iterator[tuple[str, dict]]:
    """(path, dict) of every dict of a checkpoint that has `params`."""
    if isinstance(tree, dict):
        if isinstance(tree.get("params"), dict):
            yield where, tree
        for name, inside in tree.items():
            if name != "params":
                yield from holders_of(inside, f"{where}/{name}" if where else name)


# Reading it back.


def _load(path: pathlib.Path, template: Tree) -> tuple[Tree, dict[str, Any]]:
    """(tree, metadata) of a checkpoint, verified.

    Raises:
      DamagedCheckpointError: it is not what was written.
      ValueError: it is, but does not fit the template.
    """
    record = _read_record(path)
    with _damage():
        found = _files(path)
    for name, expected in record["files"].items():
        if found.get(name) != expected:
            raise DamagedCheckpointError(f"{name} is {'not what was written' if name in found else 'missing'}")
    with _damage(), _quiet_orbax(), _checkpointer() as checkpointer:
        stored = leaves.named_leaves(checkpointer.restore(path))
    arrays = {}
    for name, (shape, dtype) in record["stored"].items():
        # Orbax holds no empty arrays.
        array = np.zeros(shape, np.dtype(dtype)) if 0 in shape else np.asarray(stored.get(name))
        if [list(array.shape), array.dtype.name, leaves.checksum(array)] != [shape, dtype, record["arrays"][name]]:
            raise DamagedCheckpointError(f"{name} is not what was written")
        arrays[name] = array
    return leaves.rebuild(arrays, record, template, f"checkpoint {path}"), record["metadata"]


def _read_record(path: pathlib.Path) -> dict[str, Any]:
    with _damage():
        record = read_json(path / RECORD)
        if record.pop("crc32") != _body_checksum(record):
            raise DamagedCheckpointError(f"{RECORD} is not what was written")
    if record["format"] != FORMAT:
        raise ValueError(f"checkpoint {path} has format {record['format']}; this version of kdgan reads {FORMAT}")
    return record


def _files(folder: pathlib.Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file in a checkpoint but our own."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != RECORD:
            checksum = 0
            with open(path, "rb") as file:
                while block := file.read(1 << 22):
                    checksum = zlib.crc32(block, checksum)
            found[name] = [path.stat().st_size, checksum]
    return found


def _body_checksum(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


@contextmanager
def _damage() -> Iterator[None]:
    """Whatever reading stumbles over means damage, but for what says nothing about the files."""
    try:
        yield
    except (PermissionError, MemoryError, DamagedCheckpointError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise DamagedCheckpointError(f"{type(error).__name__}: {first[:200]}") from error


# Orbax.


def _checkpointer() -> ocp.Checkpointer:
    """A checkpointer of this process alone, that waits for no other."""
    alone = ocp.options.MultiprocessingOptions(primary_host=jax.process_index(), active_processes={jax.process_index()})
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)


def _check_space(directory: pathlib.Path, step: int, size: int) -> None:
    """Refuse a checkpoint of `size` bytes of arrays for which there is no room.

    A full disk in the midst of Orbax's writing leaves its threads' tracebacks on the terminal.
    """
    directory.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(directory).free, size * 5 // 4 + SPACE_BESIDE
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space left for the checkpoint of step {step:,}: it takes up to {needed / 2**20:.1f} MiB, and"
            f" {free / 2**20:.1f} MiB are free",
            str(directory),
        )


@contextmanager
def _failed_writing(staging: pathlib.Path) -> Iterator[None]:
    """A full disk is an OSError, where Orbax has a ValueError; what was written of the checkpoint is removed."""
    try:
        yield
    except Exception as error:
        for path in staging.parent.glob(f"{staging.name}*"):
            shutil.rmtree(path, ignore_errors=True)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"checkpoint {staging.name.removesuffix(SAVING)} cannot be written to {staging.parent}: {reason[:300]}"
        ) from error


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Drop what Orbax logs meanwhile; what matters of it comes as an exception."""
    package = os.path.dirname(ocp.__file__)
    drop_orbax = lambda record: not record.pathname.startswith(package)
    logger = python_logging.getLogger("absl")
    logger.addFilter(drop_orbax)
    try:
        yield
    finally:
        logger.removeFilter(drop_orbax)


# Folders.


def _folders(directory: pathlib.Path) -> list[_Folder]:
    """Committed checkpoints, in order of step and attempt."""
    found = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = re.fullmatch(r"(\d{8,})(?:-(\d+))?", path.name)
            if match:
                found.append(_Folder(int(match[1]), int(match[2] or 0), path))
    return sorted(found)


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
