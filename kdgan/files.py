"""Writing files so that a reader never sees half of one: into a temporary file beside it, then renamed over it.

The only file of the project that does so. It imports nothing of the project, so that all of it may import this.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import secrets
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

# A writer that was killed leaves its temporary file. None writes for so long without a pause: an older file is orphaned.
STALE_SECONDS = 60.0
_LONGEST = 100  # bytes of a name that its temporary file has, too; of a longer one it has a digest, and is not longer


def expanded(path: str | os.PathLike) -> str:
    """A path as a user writes it, with "~" as the home folder: "~/runs/x", and behind a scheme "folder:~/images".

    Raises:
      ValueError: "~ann" of a user that is not there.
    """
    text = os.fspath(path)
    scheme = match[0] if (match := re.match(r"\w+:(?=~)", text)) else ""
    place = os.path.expanduser(text.removeprefix(scheme))
    if place.startswith("~"):
        raise ValueError(f"{text}: there is no user {place.partition('/')[0]}; a folder of such a name is ./{place}")
    return scheme + place


def folder(path: str | os.PathLike) -> pathlib.Path:
    """A run's folder as a user names it."""
    return pathlib.Path(expanded(path))


def write_atomic(path: str | os.PathLike, data: bytes | str | Iterable[bytes] | Callable[[BinaryIO], Any]) -> None:
    """Make `data` the content of `path`, on the disk, or leave what was there.

    `data` is bytes, text (UTF-8), bytes piece by piece, or a function that writes to the open file it is given.

    Raises:
      OSError: the file cannot be written; no temporary file is left behind.
    """
    with writing(path) as file:
        if callable(data):
            data(file)
        elif isinstance(data, bytes | str):
            file.write(data.encode() if isinstance(data, str) else data)
        else:
            file.writelines(data)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """An open file: what is written to it becomes the content of `path` where the block ends, or else what was there stays.

    Missing folders are made, a link is followed, and temporary files of killed writers of the same path are removed.

    Raises:
      OSError: the file cannot be written; no temporary file is left behind.
    """
    target = pathlib.Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    temporary = target.with_name(f"{_beginning(target)}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """`write_atomic` of named arrays as an `.npz`."""
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    write_atomic(path, lambda file: save(file, **arrays))


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray] | None:
    """The arrays of an `.npz`, or None where there is no file, or one that is damaged: what a cache is read by."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError):
        return None


def write_json(path: str | os.PathLike, obj: Any) -> None:
    """`write_atomic` of `obj` as strictly valid JSON: NaN and infinities become null, arrays lists, paths strings.

    Raises:
      ValueError: something in `obj` has no JSON form; its path is named.
    """
    write_atomic(path, json.dumps(jsonable(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is no JSON; the file is named.
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def jsonable(obj: Any, where: str = "") -> Any:
    """`obj` of dicts, lists, str, int, float, bool and None only; non-finite numbers become None.

    NumPy and JAX scalars and arrays become numbers and nested lists, tuples lists, paths and keys strings.

    Raises:
      ValueError: something has no JSON form, or two keys of a mapping become one; its path is named.
    """
    if obj is None or isinstance(obj, bool | str):
        return obj
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        found = {_key(key): jsonable(value, f"{where}/{key}") for key, value in obj.items()}
        if len(found) != len(obj):
            raise ValueError(f"{where or '/'}: two keys of {list(obj)} are the same once they are strings")
        return found
    if isinstance(obj, list | tuple):
        return [jsonable(value, f"{where}/{i}") for i, value in enumerate(obj)]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if hasattr(obj, "__array__"):  # NumPy's scalars and arrays, JAX's arrays
        array = np.asarray(obj)
        if array.dtype.kind == "V":  # bfloat16 and its kin
            array = array.astype(np.float32)
        if array.dtype.kind in "biufU":
            return jsonable(array.tolist(), where)
    raise ValueError(f"{where or '/'}: {type(obj).__name__} has no JSON form; give numbers, strings, lists or mappings")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


def _remove_stale(target: pathlib.Path) -> None:
    for old in _temporaries(target):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > STALE_SECONDS:
                old.unlink()


def _temporaries(target: pathlib.Path) -> Iterator[pathlib.Path]:
    # Not glob: the name may hold brackets or stars.
    beginning = _beginning(target)
    for entry in os.scandir(target.parent):
        if entry.name.startswith(beginning) and entry.name.endswith(".tmp"):
            yield pathlib.Path(entry.path)


def _beginning(target: pathlib.Path) -> str:
    """What the names of a file's temporary files begin with."""
    name = os.fsencode(target.name)
    short = target.name if len(name) <= _LONGEST else hashlib.blake2b(name, digest_size=16).hexdigest()
    return f".{short}."


def _sync_folder(folder: pathlib.Path) -> None:
    """Make the renaming itself last; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
