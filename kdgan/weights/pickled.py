"""The pickle of a PyTorch file, read by a machine that makes tensors, numbers, texts, lists and mappings, and calls nothing.

Python's own `pickle` imports and calls what a file names. Here the opcodes are read one by one; a name is looked up in a
table of what a state dict is made of, and stands for itself: none is imported, and what "calls" one are the few functions
below. Whatever else a pickle does is refused. (`pickletools` takes the bytes apart, and executes none.)
"""

import dataclasses
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

MOST_OPCODES = 5_000_000  # and entries that calls copy: one list may be handed to many of them
MOST_AXES = 32

_NUMBERS: Mapping[str, np.dtype] = {
    "float64": np.dtype("<f8"), "double": np.dtype("<f8"), "float32": np.dtype("<f4"), "float": np.dtype("<f4"),
    "float16": np.dtype("<f2"), "half": np.dtype("<f2"), "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int64": np.dtype("<i8"), "long": np.dtype("<i8"), "int32": np.dtype("<i4"), "int": np.dtype("<i4"),
    "int16": np.dtype("<i2"), "short": np.dtype("<i2"), "int8": np.dtype("i1"), "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4"), "uint64": np.dtype("<u8"), "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"), "complex128": np.dtype("<c16"),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn), "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}  # fmt: skip
_STORAGES: Mapping[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"), "FloatStorage": np.dtype("<f4"), "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16), "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"), "ComplexFloatStorage": np.dtype("<c8"), "ComplexDoubleStorage": np.dtype("<c16"),
    "UntypedStorage": np.dtype("u1"),
}  # fmt: skip


class NotPlain(ValueError):
    """A pickle holds, or does, something that a state dict needs not; the message says what, as a clause."""


@dataclasses.dataclass(frozen=True)
class Name:
    """What a pickle would import, as a name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers of one type in a member of the archive.

    Attributes:
      key: its name there, "data/KEY".
      dtype: of its numbers.
      count: how many there are, as the pickle says.
    """

    key: str
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage, checked to lie inside of it; offset and strides count numbers, as PyTorch does."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Other:
    """A device, and what else says nothing about numbers."""

    name: str


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _tensor(storage: Any, offset: Any, size: Any, strides: Any, *rest: Any) -> Tensor:
    """`torch._utils._rebuild_tensor_v2`; what follows says how gradients went."""
    return _view(storage, storage.dtype if isinstance(storage, Storage) else None, offset, size, strides)


def _tensor_of_dtype(storage: Any, offset: Any, size: Any, strides: Any, *rest: Any) -> Tensor:
    """`_rebuild_tensor_v3`: of a storage of bytes, with the type beside it."""
    if len(rest) < 3 or not isinstance(rest[2], np.dtype):
        raise NotPlain("has a tensor without a type")
    return _view(storage, rest[2], offset, size, strides)


def _view(storage: Any, dtype: Any, offset: Any, size: Any, strides: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise NotPlain("has a tensor of something else than a storage")
    if not (isinstance(size, tuple | list) and isinstance(strides, tuple | list) and len(size) == len(strides)):
        raise NotPlain("has a tensor whose shape and strides do not belong together")
    if len(size) > MOST_AXES or not all(map(_is_count, (offset, *size, *strides))):
        raise NotPlain("has a tensor whose shape, strides or offset are no counts")
    bytes_there = storage.count * storage.dtype.itemsize
    if 0 not in size:
        last = offset + sum((side - 1) * stride for side, stride in zip(size, strides, strict=True))
        if (last + 1) * dtype.itemsize > bytes_there:
            raise NotPlain(
                f"has a tensor of shape {list(size)} that goes beyond its storage of {storage.count:,} numbers"
            )
    return Tensor(storage, dtype, offset, tuple(size), tuple(strides))


def _parameter(data: Any, *rest: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise NotPlain("has a parameter of something else than a tensor")
    return data


def _ordered(*args: Any) -> dict:
    """`collections.OrderedDict`, of nothing or of pairs; a Counter, of a mapping."""
    if not args:
        return {}
    if len(args) == 1 and isinstance(args[0], dict):
        return dict(args[0])
    if len(args) == 1 and isinstance(args[0], list | tuple):
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in args[0]):
            raise NotPlain("has a mapping of no pairs")
        return {_key(key): value for key, value in args[0]}
    raise NotPlain("has a mapping of no pairs")


def _size(*args: Any) -> tuple:
    if len(args) != 1 or not isinstance(args[0], list | tuple) or not all(map(_is_count, args[0])):
        raise NotPlain("has a shape that is none")
    return tuple(args[0])


def _device(*args: Any) -> Other:
    return Other("device")


# All that a pickle may call.
_CALLS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("collections", "Counter"): _ordered,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
}


def _imported(module: Any, name: Any) -> Any:
    """What stands for a name that a pickle would import."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise NotPlain("imports what is no name")
    if module == "torch" and name in _NUMBERS:
        return _NUMBERS[name]
    if (module, name) in _CALLS or (module in ("torch", "torch.storage", "torch.cuda") and name in _STORAGES):
        return Name(module, name)
    shown = f"{module}.{name}"[:80]
    raise NotPlain(f"holds {shown!r}, which is neither a tensor nor a number")


def _key(value: Any) -> Any:
    """A key of a mapping, or a member of a set: of a type whose hash costs nothing."""
    if value is None or type(value) in (str, int, float, bool, bytes):
        return value
    raise NotPlain("has a mapping whose keys are neither texts nor numbers")


def _call(function: Any, args: Any) -> Any:
    if not isinstance(function, Name) or (function.module, function.name) not in _CALLS or not isinstance(args, tuple):
        raise NotPlain("calls something that makes no tensor")
    try:
        return _CALLS[function.module, function.name](*args)
    except TypeError as error:  # too few arguments
        raise NotPlain(f"calls {function} with what makes no tensor") from error


def _storage(reference: Any) -> Storage:
    """What a persistent id names: ("storage", type, key, device, count)."""
    if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
        raise NotPlain("refers to something outside that is no storage")
    _, kind, key, _, count = reference[:5]
    if not isinstance(kind, Name) or kind.name not in _STORAGES or not isinstance(key, str) or not _is_count(count):
        raise NotPlain("refers to a storage of no type that there is")
    if len(reference) > 5 and reference[5] is not None:
        raise NotPlain("has a storage that is a part of another one, as files before PyTorch 1.6 have")
    return Storage(key, _STORAGES[kind.name], count)


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_MADE: Mapping[str, Callable[[list], Any]] = {
    "LIST": list, "TUPLE": tuple,
    "DICT": lambda items: _pairs({}, items),
    "FROZENSET": lambda items: frozenset(map(_key, items)),
}  # fmt: skip


def _pairs(mapping: Any, items: list) -> dict:
    if not isinstance(mapping, dict) or len(items) % 2:
        raise NotPlain("sets entries of what is no mapping")
    for i in range(0, len(items), 2):
        mapping[_key(items[i])] = items[i + 1]
    return mapping


def read(content: bytes) -> Any:
    """The value of a pickle: numbers, texts, tuples, lists, mappings, sets and `Tensor`s.

    Raises:
      NotPlain: it holds or does anything else, or is damaged.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise NotPlain("is longer than that of any network")
            if opcode.name == "STOP":
                return machine.pop()
            machine.do(opcode.name, argument)
    except NotPlain:
        raise
    except Exception as error:  # `pickletools` raises whatever it stumbles over
        raise NotPlain("is damaged") from error
    raise NotPlain("is damaged")


class _Machine:
    """The stack and the memo of a pickle, and what each opcode does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0  # entries of what calls were given

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise NotPlain("is damaged")
        return value

    def since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise NotPlain("is damaged")

    def do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_SET"):
            stack.append({"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}[name]())
        elif name in _MADE:
            stack.append(_MADE[name](self.since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [self.pop() for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            if stack[-1] is _MARK:
                raise NotPlain("is damaged")
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(argument)])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self.since_mark()
        elif name == "DUP":
            stack.append(self.pop())
            stack.append(stack[-1])
        else:
            self.fill_or_make(name, argument)

    def fill_or_make(self, name: str, argument: Any) -> None:
        """Opcodes that add to what is on the stack, import, or call."""
        stack = self.stack
        if name in ("APPEND", "APPENDS"):
            items = self.since_mark() if name == "APPENDS" else [self.pop()]
            if type(stack[-1]) is not list:
                raise NotPlain("appends to what is no list")
            stack[-1].extend(items)
        elif name == "ADDITEMS":
            items = self.since_mark()
            if type(stack[-1]) is not set:
                raise NotPlain("adds to what is no set")
            stack[-1].update(map(_key, items))
        elif name in ("SETITEM", "SETITEMS"):
            items = self.since_mark() if name == "SETITEMS" else [self.pop(), self.pop()][::-1]
            _pairs(stack[-1], items)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(_imported(module, attribute))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            stack.append(_imported(module, attribute))
        elif name == "BINPERSID":
            stack.append(_storage(self.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            args, function = self.pop(), self.pop()
            self.copied += sum(len(each) for each in args if hasattr(each, "__len__")) if isinstance(args, tuple) else 0
            if self.copied > MOST_OPCODES:
                raise NotPlain("is longer than that of any network")
            stack.append(_call(function, args))
        elif name == "BUILD":
            # The attributes of a mapping: a state dict has the versions of its modules there.
            state = self.pop()
            if type(stack[-1]) is not dict or not isinstance(state, dict):
                raise NotPlain("sets attributes of what is no mapping")
        else:
            raise NotPlain(f"does something that makes no tensor ({name})")
