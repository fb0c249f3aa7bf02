"""Running an exported file by its own runtime: onnxruntime, the LiteRT interpreter, or what `jax.export` reads back.

run = kdgan.export.open("student.onnx")
probabilities = run(images)                                              # float32 [n, k] of uint8 images [n, h, w, c]
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdgan import extras

Run = Callable[..., np.ndarray]


def open(path: str | os.PathLike) -> Run:
    """`run(*arrays) -> array` of an exported file: .onnx, .tflite or .stablehlo; arrays in the order of its inputs.

    It takes any number of examples, of a file for a fixed number, too: the last call is filled up.

    Raises:
      ValueError: a file of another suffix, or one that its runtime does not read; the runtime is not installed; and of a
        call, arrays that the file does not take.
    """
    path = pathlib.Path(path)
    if path.suffix not in _READERS:
        raise ValueError(f"{path.name} is no program; {', '.join(_READERS)} are run, of what kdgan.export writes")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    package, read = _READERS[path.suffix]
    runtime, content = extras.need(package, f"running {path.name}"), path.read_bytes()
    try:
        return read(path.name, content, runtime)
    except Exception as error:  # each runtime raises classes of its own
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"{path.name} cannot be read: {said[:200]}") from error


def _onnx(name: str, content: bytes, runtime: Any) -> Run:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    types = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    wanted = [(one.name, one.shape, np.dtype(types.get(one.type, np.float32))) for one in inputs]

    def run(*arrays: Any) -> np.ndarray:
        given = _checked(name, wanted, arrays)
        return session.run(None, {one.name: array for one, array in zip(inputs, given, strict=True)})[0]

    return run


def _stablehlo(name: str, content: bytes, runtime: Any) -> Run:
    import jax
    from jax import export as jax_export

    exported = jax_export.deserialize(bytearray(content))
    call = jax.jit(exported.call)
    wanted = [
        (f"input {place}", [side if isinstance(side, int) else None for side in aval.shape], np.dtype(aval.dtype))
        for place, aval in enumerate(exported.in_avals)
    ]
    return lambda *arrays: np.asarray(call(*_checked(name, wanted, arrays)))


def _litert(name: str, content: bytes, runtime: Any) -> Run:
    interpreter = runtime.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    names = _signature_order(interpreter)
    details = interpreter.get_input_details()
    inputs = [next(one for one in details if one["index"] == index) for index in names]
    (output,) = interpreter.get_output_details()
    batch = int(inputs[0]["shape"][0])
    wanted = [(one["name"], [None, *map(int, one["shape"][1:])], np.dtype(one["dtype"])) for one in inputs]

    def run(*arrays: Any) -> np.ndarray:
        given = _checked(name, wanted, arrays)
        count, made = len(given[0]), []
        for start in range(0, count, batch):
            for one, array in zip(inputs, given, strict=True):
                chunk = array[start : start + batch]
                full = np.concatenate([chunk, np.repeat(chunk[:1], batch - len(chunk), axis=0)])
                interpreter.set_tensor(one["index"], full)
            interpreter.invoke()
            made.append(interpreter.get_tensor(output["index"]))
        return np.concatenate(made)[:count] if made else np.zeros((0, *output["shape"][1:]), output["dtype"])

    return run


def _signature_order(interpreter: Any) -> list[int]:
    """The inputs' places in the order of the player's fields, which is that of the program's arguments."""
    return [one["index"] for one in sorted(interpreter.get_input_details(), key=lambda one: one["index"])]


def _checked(
    name: str, wanted: Sequence[tuple[str, Sequence[Any], np.dtype]], arrays: Sequence[Any]
) -> list[np.ndarray]:
    if len(arrays) != len(wanted):
        raise ValueError(
            f"{name} takes {len(wanted)} arrays ({', '.join(one for one, _, _ in wanted)}), got {len(arrays)}"
        )
    given = [np.asarray(array) for array in arrays]
    for (field, shape, dtype), array in zip(wanted, given, strict=True):
        fits = array.ndim == len(shape) and all(
            not isinstance(side, int) or side == actual for side, actual in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            sides = ", ".join(
                str(side) if isinstance(side, int) else "n" if i == 0 else "any" for i, side in enumerate(shape)
            )
            raise ValueError(f"{name} takes {field} as {dtype} [{sides}], got {array.dtype} {list(array.shape)}")
    return given


# Suffix -> (module of the runtime, `(name, content, runtime) -> run`).
_READERS: Mapping[str, tuple[str, Callable[[str, bytes, Any], Run]]] = {
    ".onnx": ("onnxruntime", _onnx),
    ".tflite": ("ai_edge_litert.interpreter", _litert),
    ".stablehlo": ("flatbuffers", _stablehlo),
}
