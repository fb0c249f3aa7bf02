"""One checkpoint: a folder that Orbax writes, with a record of what is in it, and verified when it is read.

It is an ordinary Orbax checkpoint of a nested dict of arrays (`params/student/Dense_0/kernel`; tuples by index,
dataclasses and named tuples by field, random keys by their data), so that other programs can read it. In it lies
`kdgan.json`: the caller's metadata, kind, dtype, shape and CRC-32 of each array, size and CRC-32 of each file. Reading
checks all of it, so that damage is found wherever it struck, and before Orbax stumbles over it. The only Orbax import.
"""

import errno
import json
import logging as python_logging
import math
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

# Orbax 0.12's v1 `save` makes every process take part in a broadcast, even where it is told that only one is active.
# These classes do not (and are as fast), so that process 0 can write alone. v1 reads their checkpoints.
import orbax.checkpoint as ocp

from kdgan.checkpoints import leaves
from kdgan.files import read_json, write_json

Tree = Any

FORMAT = 1
RECORD = "kdgan.json"
SPACE_BESIDE = 2**20  # bytes of a checkpoint beside its arrays: indices, our record
SAVING = ".saving"  # in the names of folders that are not checkpoints yet


class DamagedCheckpointError(ValueError):
    """A checkpoint is incomplete, or is not what was written."""


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether this is the folder of one checkpoint."""
    return (path / RECORD).exists()


def write(
    folder: pathlib.Path, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], metadata: dict
) -> None:
    """Write a checkpoint into a folder that no reader takes for one yet: the caller renames it.

    Args:
      folder: made here; its name ends in SAVING.
      step: for the message, where the disk is full.
      arrays: path of each leaf -> array, as `leaves.snapshot` gives them.
      record: what `leaves.rebuild` needs besides.
      metadata: what JSON can hold.

    Raises:
      OSError: there is no room, or it cannot be written; nothing of it is left.
    """
    stored = leaves.nested({name: array for name, array in arrays.items() if array.size})
    _check_space(folder.parent, step, sum(array.nbytes for array in arrays.values()))
    with _failed_writing(folder), _quiet_orbax(), _checkpointer() as checkpointer:
        # A tree without arrays is no tree to Orbax.
        checkpointer.save(folder, args=ocp.args.PyTreeSave(stored or {"empty": np.zeros(1)}))
    arrays_crc32 = {name: leaves.checksum(array) for name, array in arrays.items()}
    body = {"format": FORMAT, "metadata": metadata, **record, "arrays": arrays_crc32, "files": _files(folder)}
    write_json(folder / RECORD, {**body, "crc32": _body_checksum(body)})


def load(path: pathlib.Path, template: Tree) -> tuple[Tree, dict[str, Any]]:
    """(tree, metadata) of a checkpoint, verified.

    Raises:
      DamagedCheckpointError: it is not what was written.
      ValueError: it is, but does not fit the template.
    """
    record = read_record(path)
    with _damage():
        files = _files(path)
    for name, expected in record["files"].items():
        if files.get(name) != expected:
            raise DamagedCheckpointError(f"{name} is {'not what was written' if name in files else 'missing'}")
    with _damage(), _quiet_orbax(), _checkpointer() as checkpointer:
        stored = leaves.named_leaves(checkpointer.restore(path))
    arrays = {}
    for name, (shape, dtype) in record["stored"].items():
        # Orbax holds no empty arrays.
        array = np.zeros(shape, np.dtype(dtype)) if 0 in shape else np.asarray(stored.get(name))
        if [list(array.shape), array.dtype.name, leaves.checksum(array)] != [shape, dtype, record["arrays"][name]]:
            raise DamagedCheckpointError(f"{name} is not what was written")
        arrays[name] = array
    _add_averaged_state(arrays, record)
    return leaves.rebuild(arrays, record, template, f"checkpoint {path}"), record["metadata"]


def _add_averaged_state(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
    """Give moving averages the last step's mutable collections, where a version before averaged parameters alone."""
    if any("/ema_state/" in name for name in arrays):
        return
    player_of = lambda name, part: (name.partition(part)[0], name.partition(part)[2].split("/")[0])
    averaged = {player_of(name, "/ema/") for name in arrays if "/ema/" in name}
    for name in [name for name in arrays if "/model_state/" in name]:
        before, _, after = name.partition("/model_state/")
        if player_of(name, "/model_state/") in averaged:
            for by_name in (arrays, record["leaves"], record["stored"], record["keys"]):
                if name in by_name:
                    by_name[f"{before}/ema_state/{after}"] = by_name[name]


def read_record(path: pathlib.Path) -> dict[str, Any]:
    """The record in a checkpoint's folder: `metadata`, `stored` (path -> [shape, dtype]), and the checksums.

    Raises:
      DamagedCheckpointError: it is not what was written.
      ValueError: it has a format that this version does not read.
    """
    with _damage():
        record = read_json(path / RECORD)
        if record.pop("crc32") != _body_checksum(record):
            raise DamagedCheckpointError(f"{RECORD} is not what was written")
    if record["format"] != FORMAT:
        raise ValueError(f"checkpoint {path} has format {record['format']}; this version of kdgan reads {FORMAT}")
    return record


def _files(folder: pathlib.Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file in a checkpoint but our own."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != RECORD:
            checksum = 0
            with open(path, "rb") as file:
                while block := file.read(1 << 22):
                    checksum = zlib.crc32(block, checksum)
            files[name] = [path.stat().st_size, checksum]
    return files


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


def foreign(path: pathlib.Path) -> pathlib.Path | None:
    """The folder of an Orbax tree that is no checkpoint of a run, at a path or just inside; None: there is none.

    A tree lies in its folder itself, or as an item in it ("default", "state", "params", "pytree"); a manager has a folder
    for each step, of which the last is taken.
    """
    if not path.is_dir():
        return None
    if (path / "_METADATA").is_file() or (path / "_sharding").is_file():
        return path
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    for folder in folders:
        if folder.name in ("default", "state", "params", "pytree", "model", "items") and foreign(folder) is not None:
            return foreign(folder)
    steps = [folder for folder in folders if folder.name.rpartition("_")[2].isdecimal() and "." not in folder.name]
    steps.sort(key=lambda folder: int(folder.name.rpartition("_")[2]))
    return foreign(steps[-1]) if steps else None


def _bytes_of(leaf: Any) -> int:
    """What reading an array takes, as its metadata say: a chunk of it is made whole, and may say that it is larger."""
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None or dtype is None:
        return 0
    chunk = getattr(getattr(leaf, "storage", None), "chunk_shape", None) or ()
    return max(math.prod(shape), math.prod(chunk)) * np.dtype(dtype).itemsize


def restore(path: pathlib.Path, most: int) -> Tree:
    """A tree that Orbax wrote, as nested mappings of NumPy arrays, on whatever devices it was written.

    Args:
      path: its folder.
      most: bytes that its arrays may have: what is not stored of an array is filled up.

    Raises:
      ValueError: they have more; whatever else Orbax raises.
    """
    with _quiet_orbax(), _checkpointer() as checkpointer:
        about = checkpointer.metadata(path.absolute())
        about = getattr(about, "item_metadata", about)
        about = getattr(about, "tree", about)
        if (size := sum(map(_bytes_of, jax.tree.leaves(about)))) > most:
            raise ValueError(f"its arrays have {size:,} bytes; at most {most:,} are accepted of such a folder")
        as_arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), about)
        tree = checkpointer.restore(path.absolute(), args=ocp.args.PyTreeRestore(restore_args=as_arrays))
    return leaves.nested({name: np.asarray(leaf) for name, leaf in leaves.named_leaves(tree).items()})
