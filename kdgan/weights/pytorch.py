"""A PyTorch file in its zip form (since version 1.6), read without torch: the state dict that it holds, as NumPy arrays.

Member `data.pkl` is a pickle of tensors' shapes and places, read by a machine that executes nothing (`weights/pickled.py`);
`data/0`, `data/1`, ... are the numbers. Everything that a member says of another one is checked before an array is made.
"""

import math
import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdgan.weights import pickled
from kdgan.weights.archive import Archive
from kdgan.weights.pickled import NotPlain, Storage, Tensor

MOST_PICKLE = 2**25  # bytes of data.pkl, which has names and shapes only

MOST_NESTED = 2

# Under which names a training script puts its network's state dict, those before others that come first.
_WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params", "weights", "teacher",
    "student", "state_dict_ema", "model_ema", "ema", "params_ema",
)  # fmt: skip
_NOT_OF_A_NETWORK = ("optim", "sched", "scaler", "hook", "rng", "_metadata")
_PREFIXES = ("module.", "_orig_mod.")


def is_pytorch(names: tuple[str, ...]) -> bool:
    """Whether the members of a zip file are those of a PyTorch file."""
    return any(name == "data.pkl" or name.endswith("/data.pkl") for name in names)


def read(archive: Archive, path: pathlib.Path, player: str | None = None) -> dict[str, np.ndarray]:
    """Name -> array of the state dict in a PyTorch file, in order.

    Args:
      archive: the file, opened.
      path: its path, for messages.
      player: which one, where it holds several state dicts: the name under which it lies.

    Raises:
      ValueError: it is no state dict, or damaged.
    """
    pickles = [name for name in archive.names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) > 1:
        raise ValueError(f"it holds {len(pickles)} pickles, {pickles[0]} and {pickles[1]}; one is accepted")
    root = pickles[0].removesuffix("data.pkl")
    if any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in archive.names):
        raise ValueError(f"it is a TorchScript program, which executes code; {conversion(path, 'torch.jit.load(%r)')}")
    order = archive.read(f"{root}byteorder", 16) if f"{root}byteorder" in archive.names else b"little"
    if order not in (b"little", b"big"):
        raise ValueError(f"its byte order is {order!r}; little or big is accepted")
    try:
        value = pickled.read(archive.read(pickles[0], MOST_PICKLE))
    except NotPlain as error:
        raise ValueError(f"its pickle {error}; {conversion(path)}") from error
    tensors = _state_dict(value, path, player)
    for tensor in tensors.values():
        _check_storage(archive, root, tensor.storage)
    times = Counter(tensor.storage.key for tensor in tensors.values())
    stored: dict[str, bytes] = {}
    arrays = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        if key not in stored:
            stored[key] = archive.read(f"{root}data/{key}")
        arrays[name] = _array(archive, tensor, order == b"big", stored[key])
        times[key] -= 1
        if not times[key]:
            del stored[key]
    return arrays


def conversion(path: pathlib.Path, load: str = "torch.load(%r, map_location='cpu', weights_only=False)") -> str:
    """The three lines of Python that make a state dict of a file that holds something else."""
    target = f"{path.stem}_state_dict.pth"
    return (
        "only a state dict of tensors is read, which executes nothing; where torch is, and you trust the file, convert it:"
        f" import torch; model = {load % path.name};"
        f" torch.save(getattr(model, 'state_dict', lambda: model)(), {target!r})"
    )


def _state_dict(value: Any, path: pathlib.Path, player: str | None) -> dict[str, Tensor]:
    """The state dict among what a file holds: the root, or what lies under a name."""
    if not isinstance(value, dict):
        what = "a tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"it holds {what} and no state dict, name -> tensor")
    found = dict(_state_dicts(value, set()))
    if player is not None:
        found = {name: tensors for name, tensors in found.items() if player in name.split("/")} or found
    if not found:
        raise ValueError(f"it holds no tensor; {_shown(value)}")
    best = max(map(len, found.values()))
    # Single tensors beside a state dict are numbers of the training.
    found = {name: tensors for name, tensors in found.items() if len(tensors) > 2 or len(tensors) == best}
    if len(found) > 1:
        first = lambda name: next((i for i, known in enumerate(_WRAPPERS) if known in name.split("/")), len(_WRAPPERS))
        ranks = {name: first(name) for name in found}
        lowest = min(ranks.values())
        wanted = [name for name, rank in ranks.items() if rank == lowest]
        if lowest == len(_WRAPPERS) or len(wanted) > 1:
            raise ValueError(f"it holds several state dicts; say which by player: {', '.join(map(repr, found))}")
        found = {wanted[0]: found[wanted[0]]}
    return _without_prefix(next(iter(found.values())))


def _state_dicts(value: dict, seen: set[int], where: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(where, name -> tensor) of every mapping that has tensors, each once, but for those of optimizers.

    No deeper than training scripts nest; a mapping may hold itself.
    """
    seen.add(id(value))
    tensors = {name: each for name, each in value.items() if isinstance(name, str) and isinstance(each, Tensor)}
    if tensors:
        yield where, tensors
    for name, each in value.items():
        known = isinstance(name, str) and not any(part in name.lower() for part in _NOT_OF_A_NETWORK)
        if known and isinstance(each, dict) and id(each) not in seen and where.count("/") < MOST_NESTED:
            yield from _state_dicts(each, seen, f"{where}/{name}" if where else name.replace("/", "|"))


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): each for name, each in tensors.items()}
    return tensors


def _shown(value: Mapping) -> str:
    names = [repr(name) for name in list(value)[:5]]
    return f"it has {', '.join(names)}" if names else "it is empty"


def _check_storage(archive: Archive, root: str, storage: Storage) -> None:
    name = f"{root}data/{storage.key}"
    there, said = archive.bytes_of(name), storage.count * storage.dtype.itemsize
    if there is None:
        raise ValueError(f"it lacks its member {name!r}")
    if there != said:
        raise ValueError(f"its member {name!r} has {there:,} bytes, its pickle says {said:,}")


def _array(archive: Archive, tensor: Tensor, big: bool, content: bytes) -> np.ndarray:
    """A copy of a tensor's numbers, in C order and of this machine's byte order; `content` is that of its storage."""
    dtype = tensor.dtype
    count = math.prod(tensor.shape)
    archive.take(count * dtype.itemsize)  # an expanded tensor has more numbers than its storage
    if count == 0:
        return np.zeros(tensor.shape, dtype)
    size = dtype.itemsize
    steps = [0 if side == 1 else stride * size for side, stride in zip(tensor.shape, tensor.strides, strict=True)]
    try:
        view = np.ndarray(tensor.shape, f"V{size}", content, tensor.offset * size, steps)  # checks the bounds, too
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"it has a tensor of shape {list(tensor.shape)} that goes beyond its storage") from error
    whole = np.ascontiguousarray(view).tobytes()
    if big:
        part = size // 2 if dtype.kind == "c" else size
        whole = _swapped(whole, part)
    if dtype.kind == "b":
        return (np.frombuffer(whole, np.uint8) != 0).reshape(tensor.shape)
    return np.frombuffer(whole, dtype).reshape(tensor.shape).copy()


def _swapped(content: bytes, size: int) -> bytes:
    return np.frombuffer(content, np.uint8).reshape(-1, size)[:, ::-1].tobytes()
