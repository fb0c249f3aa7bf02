"""Files of weights, told apart by what is in them: PyTorch's zip, .npz, safetensors, Flax's msgpack, a folder of Orbax.

Reading one executes nothing of it. A name, and its suffix, prove nothing and are not asked.
"""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np

from kdgan import extras
from kdgan.checkpoints import folder as orbax_folder
from kdgan.weights import pytorch
from kdgan.weights.archive import MOST_BYTES, MOST_TIMES, Archive, is_archive
from kdgan.weights.tree import FLAX, Tree, flat, of_names

ACCEPTED = (
    "a PyTorch state dict (.pth, since PyTorch 1.6), safetensors, .npz, Flax's msgpack, a folder of Orbax, or a checkpoint"
    " folder or workdir of this project"
)
MOST_HEADER = 2**16  # bytes of an array's header in an .npz

_OLD_PYTORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number 0x1950A86A20F9469CFC6C
_SAFETENSORS: Mapping[str, Any] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "C64": "<c8",
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip


def read_file(path: pathlib.Path, player: str | None = None) -> Tree:
    """The arrays of a file.

    Raises:
      ValueError: it is none of the files that are read, is damaged, or holds more than arrays; it does not name the file.
    """
    if is_archive(path):
        with Archive(path) as archive:
            if pytorch.is_pytorch(archive.names):
                arrays = pytorch.read(archive, path, player)
                return _checked(of_names(str(path), arrays, "PyTorch .pth", in_order=True))
            if any(name.endswith(".npy") for name in archive.names):
                return _checked(of_names(str(path), _npz(archive), ".npz", in_order=True))
        raise ValueError(f"it is a zip file without arrays; {ACCEPTED} is accepted")
    with open(path, "rb") as file:
        head = file.read(512)
    if head.startswith(_OLD_PYTORCH) or head[257:262] == b"ustar":
        raise ValueError(f"it is of PyTorch before 1.6, or of its old form; {pytorch.conversion(path)}")
    # Before pickles: the length of its header may begin as one does, with 80 02.
    if _is_safetensors(head, path.stat().st_size):
        return _checked(of_names(str(path), _safetensors(path), "safetensors", in_order=False))
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise ValueError(f"it is a pickle, which may execute anything; {pytorch.conversion(path)}")
    return _checked(Tree(str(path), FLAX, _msgpack(path), "Flax msgpack"))


def read_folder(path: pathlib.Path) -> Tree:
    """The arrays of a folder that Orbax wrote.

    Raises:
      ValueError: it did not, or it is damaged.
    """
    inside = orbax_folder.foreign(path)
    if inside is None:
        raise ValueError(f"there are no weights in this folder; {ACCEPTED} is accepted")
    size = sum(file.stat().st_size for file in inside.rglob("*") if file.is_file())
    try:
        arrays = orbax_folder.restore(inside, max(MOST_BYTES, MOST_TIMES * size))
    except Exception as error:
        raise ValueError(f"Orbax cannot read it ({_first_line(error)})") from error
    return _checked(Tree(str(path), FLAX, arrays, "Orbax"))


def is_orbax(path: pathlib.Path) -> bool:
    """Whether a folder holds a tree that Orbax wrote."""
    return orbax_folder.foreign(path) is not None


def _checked(tree: Tree) -> Tree:
    """The tree, if it has arrays, and they are of numbers."""
    leaves = list(flat(tree.arrays))
    if not leaves:
        raise ValueError("it holds no arrays")
    if odd := next((path for path, _ in leaves if not path.isprintable()), None):
        raise ValueError(f"it has an array of the name {odd[:80]!r}, which is no layer's")
    return tree


def _npz(archive: Archive) -> dict[str, np.ndarray]:
    return {name.removesuffix(".npy"): _npy(archive, name) for name in archive.names if name.endswith(".npy")}


def _npy(archive: Archive, name: str) -> np.ndarray:
    """An array of an .npz, whose header is checked before it is believed."""
    content = archive.read(name)
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, is_fortran, dtype = header(file, max_header_size=MOST_HEADER)
    except Exception as error:  # whatever a header that is none makes it stumble over
        raise ValueError(f"its member {name!r} is no array of NumPy") from error
    if dtype.hasobject or dtype.kind not in "biufcV" or dtype.names:
        raise ValueError(f"its array {name.removesuffix('.npy')!r} is of {dtype}, which holds more than numbers")
    count = 1
    for side in shape:
        count *= int(side)
    if any(side < 0 for side in shape) or count * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"its member {name!r} is not as long as its header says")
    if dtype == np.dtype("V2"):  # what NumPy writes of bfloat16
        dtype = np.dtype(ml_dtypes.bfloat16)
    array = np.frombuffer(content, dtype, offset=file.tell()) if count else np.zeros(0, dtype)
    array = array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
    return np.array(array, dtype.newbyteorder("="), order="C")


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and 2 <= length <= size - 8


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    package = extras.need("safetensors", f"reading {path.name}")
    content = path.read_bytes()
    try:
        tensors = package.deserialize(content)
        arrays = {}
        for name, tensor in tensors:
            if tensor["dtype"] not in _SAFETENSORS:
                raise ValueError(f"{name!r} is of {tensor['dtype']}")
            dtype = np.dtype(_SAFETENSORS[tensor["dtype"]])
            arrays[name] = np.frombuffer(bytes(tensor["data"]), dtype).reshape(tensor["shape"])
    except Exception as error:  # its own class, which is no ValueError
        raise ValueError(f"it is a damaged safetensors file ({_first_line(error)})") from error
    return arrays


def _msgpack(path: pathlib.Path) -> dict[str, Any]:
    from flax import serialization

    with open(path, "rb") as file:
        first = (*file.read(1), 0)[0]
    # A mapping of one entry or more, as msgpack begins one.
    if not (0x81 <= first <= 0x8F or first in (0xDE, 0xDF)):
        raise ValueError(f"it is none of the files that are read; {ACCEPTED} is accepted")
    try:
        value = serialization.msgpack_restore(path.read_bytes())
        if not isinstance(value, dict):
            raise ValueError("it holds no mapping")
        return _arrays_of(value)
    except Exception as error:  # msgpack raises whatever it stumbles over
        raise ValueError(
            f"it is none of the files that are read, or damaged ({_first_line(error)}); {ACCEPTED} is accepted"
        ) from error


def _arrays_of(value: Any, depth: int = 0) -> Any:
    """Nested mappings with their arrays and numbers; texts and empty places, which a state may have, are left out."""
    if depth > 100:
        raise ValueError("it nests without end")
    if isinstance(value, Mapping):
        inside = {str(name): _arrays_of(each, depth + 1) for name, each in value.items()}
        return {name: each for name, each in inside.items() if each is not None}
    if isinstance(value, list | tuple):
        return _arrays_of({str(i): each for i, each in enumerate(value)}, depth)
    if isinstance(value, np.ndarray | np.generic | jax.Array | bool | int | float | complex):
        array = np.asarray(value)
        if array.dtype.hasobject or array.dtype.kind in "SUMm":
            raise ValueError(f"it has an array of {array.dtype}")
        return array
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
