"""Where prepared and decoded data are kept for the next run; everything in it may be deleted at any time."""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdgan import files


def cache_dir() -> pathlib.Path:
    """$KDGAN_CACHE_DIR, else kdgan in $XDG_CACHE_HOME, else ~/.cache/kdgan. Not created here."""
    if folder := os.environ.get("KDGAN_CACHE_DIR"):
        return pathlib.Path(folder).expanduser()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kdgan"


def _path(key: Mapping[str, Any]) -> pathlib.Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir() / "decoded" / f"{digest}.npz"


def read(key: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays stored under `key`, or None; a damaged file counts as absent."""
    return files.read_arrays(_path(key))


def write(key: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Store arrays under `key`, atomically; a disk that is full or read-only costs the next run time, not this one."""
    with contextlib.suppress(OSError):
        files.write_arrays(_path(key), arrays)
