"""PyTorch's zip files, and hostile ones, written opcode by opcode without torch."""

import struct
import zipfile

import numpy as np

MARK, TUPLE, REDUCE, STOP = b"(", b"t", b"R", b"."
STORAGES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage", "|b1": "BoolStorage",
            "<c8": "ComplexFloatStorage"}  # fmt: skip


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value):
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def tuple_of(*items):
    return MARK + b"".join(items) + TUPLE


def call(module, attribute, *args):
    return name(module, attribute) + tuple_of(*args) + REDUCE


def mapping(**entries):
    return pairs([(text(key), value) for key, value in entries.items()])


def pairs(entries):
    return b"}" + MARK + b"".join(key + value for key, value in entries) + b"u"


def storage(key="0", count=6, kind="FloatStorage", module="torch", tag="storage"):
    return tuple_of(text(tag), name(module, kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, of=None):
    numbers = lambda values: tuple_of(*map(number, values))
    return call(
        "torch._utils", "_rebuild_tensor_v2", storage() if of is None else of, number(offset), numbers(shape),
        numbers(strides), b"\x89", call("collections", "OrderedDict"),
    )  # fmt: skip


def pickled(value):
    return b"\x80\x02" + value + STOP


def write(
    path, value, members=None, *, root="archive", pickle=None, compression=zipfile.ZIP_STORED, byteorder=b"little"
):
    """A file of a pickled value (opcodes), with members "data/0", ... of these bytes."""
    members = {"data/0": np.arange(6, dtype="<f4").tobytes()} if members is None else members
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", pickled(value) if pickle is None else pickle)
        if byteorder is not None:
            archive.writestr(f"{root}/byteorder", byteorder)
        for key, content in members.items():
            archive.writestr(f"{root}/{key}", content)
        archive.writestr(f"{root}/version", b"3\n")
    return path


def state_dict(path, arrays, wrap=lambda value: value, **options):
    """A file of named arrays, each with a storage of its own."""
    entries, members = {}, {}
    for key, (name_, array) in enumerate(arrays.items()):
        array = np.asarray(array)
        members[f"data/{key}"] = array.tobytes()
        strides = [step // array.itemsize for step in array.strides]
        kind = STORAGES[array.dtype.str]
        entries[name_] = tensor(array.shape, strides, of=storage(str(key), array.size, kind))
    return write(path, wrap(pairs([(text(k), v) for k, v in entries.items()])), members, **options)
