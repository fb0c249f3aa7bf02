"""Beside each exported file the few lines that run it: `student.onnx.py` runs `student.onnx`, wherever both lie."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from kdgan.data.fields import Field
from kdgan.export.exportable import Exportable, dtype_of
from kdgan.export.outputs import OUTPUTS
from kdgan.models.heads import training_switch

SIDE = 16  # of images of any size, in an example


def text(exportable: Exportable, file: str, format: str, *, batch: int = 1, normalise: bool = True) -> str:
    """The content of `<file>.py`.

    Args:
      exportable: the player.
      file: name of the exported file.
      format: of it.
      batch: examples of a call, of a LiteRT file.
      normalise: whether normalisation is inside.
    """
    count = batch if format == "litert" else 2
    arrays = {name: _array(field, count, normalise) for name, field in exportable.inputs.items()}
    return _TEXTS[format](exportable, file, arrays, normalise)


def _array(field: Field, count: int, normalise: bool) -> str:
    shape = (count, *(SIDE if side is None else side for side in field.shape))
    make = "ones" if field.kind == "mask" else "zeros"
    return f"np.{make}({shape}, np.{np.dtype(dtype_of(field, normalise)).name})"


def _head(exportable: Exportable, file: str, needs: str, normalise: bool) -> str:
    sides = lambda field: ", ".join(["n", *("any" if side is None else str(side) for side in field.shape)])
    takes = ", ".join(
        f"{name} {dtype_of(field, normalise).name} [{sides(field)}]" for name, field in exportable.inputs.items()
    )
    outside = "; images are normalised: (pixel/255 - mean)/std" if _normalised_outside(exportable, normalise) else ""
    return f'"""Runs {file}: {takes} -> {OUTPUTS[exportable.output].name}{outside}. It needs {needs}."""\n\n'


def _normalised_outside(exportable: Exportable, normalise: bool) -> bool:
    return not normalise and any(field.kind == "image" for field in exportable.inputs.values())


def _shown(exportable: Exportable) -> str:
    name = OUTPUTS[exportable.output].name
    if exportable.output == "probabilities" and exportable.class_names:
        return f"print({name}.shape, [classes[k] for k in {name}.argmax(-1).ravel()])\n"
    return f"print({name}.shape)\n"


def _classes(exportable: Exportable) -> str:
    shown = exportable.output == "probabilities" and exportable.class_names
    return f"classes = {list(exportable.class_names)!r}\n" if shown else ""


def _mapping(arrays: Mapping[str, str]) -> str:
    return "inputs = {" + ", ".join(f"{name!r}: {array}" for name, array in arrays.items()) + "}  # yours here\n"


def _onnx(exportable: Exportable, file: str, arrays: Mapping[str, str], normalise: bool) -> str:
    return (
        _head(exportable, file, "onnxruntime", normalise)
        + "import pathlib\n\nimport numpy as np\nimport onnxruntime\n\n"
        + _classes(exportable)
        + 'session = onnxruntime.InferenceSession(pathlib.Path(__file__).with_suffix(""))\n'
        + _mapping(arrays)
        + f"{OUTPUTS[exportable.output].name} = session.run(None, inputs)[0]\n"
        + _shown(exportable)
    )


def _litert(exportable: Exportable, file: str, arrays: Mapping[str, str], normalise: bool) -> str:
    name = OUTPUTS[exportable.output].name
    return (
        _head(exportable, file, "ai-edge-litert", normalise)
        + "import pathlib\n\nimport numpy as np\nfrom ai_edge_litert.interpreter import Interpreter\n\n"
        + _classes(exportable)
        + 'interpreter = Interpreter(str(pathlib.Path(__file__).with_suffix("")))\n'
        + _mapping(arrays)
        + f'{name} = interpreter.get_signature_runner()(**inputs)["{name}"]\n'
        + _shown(exportable)
    )


def _stablehlo(exportable: Exportable, file: str, arrays: Mapping[str, str], normalise: bool) -> str:
    return (
        _head(exportable, file, "jax and flatbuffers", normalise)
        + "import pathlib\n\nimport jax\nimport numpy as np\nfrom jax import export\n\n"
        + _classes(exportable)
        + 'content = pathlib.Path(__file__).with_suffix("").read_bytes()\n'
        + "call = jax.jit(export.deserialize(bytearray(content)).call)\n"
        + _mapping(arrays)
        + f"{OUTPUTS[exportable.output].name} = np.asarray(call(*inputs.values()))\n"
        + _shown(exportable)
    )


def _parameters(
    exportable: Exportable, file: str, needs: str, imports: str, read: str, arrays: Mapping[str, str]
) -> str:
    """Of parameters alone: the module, where it can be written down, is called with what it takes, normalised."""
    made = written(exportable.module)
    head = (
        f'"""Reads {file}, the parameters of {exportable.name}. It needs {needs}."""\n\n'
        f"import pathlib\n\n{imports}\n"
        'path = pathlib.Path(__file__).with_suffix("")\n'
        f"variables = {read}\n"
    )
    if made is None:
        return head + "print({name: list(tree) for name, tree in variables.items()})\n"
    modules, expression = made
    switch = "".join(f", {name}={value}" for name, value in training_switch(exportable.module, False).items())
    way = "" if exportable.method is None else f", method={exportable.method!r}"
    needed = "import numpy as np\n" + "".join(f"import {one}\n" for one in modules)
    return (
        head.replace("import pathlib\n\n", f"import pathlib\n\n{needed}")
        + f"module = {expression}\n"
        + _mapping(arrays)
        + "output = module.apply(variables, *inputs.values()" + switch + way + ")\n"
        + "print(output.shape)\n"
    )  # fmt: skip


def _safetensors(exportable: Exportable, file: str, arrays: Mapping[str, str], normalise: bool) -> str:
    return _parameters(
        exportable, file, "safetensors, flax and kdgan",
        "import safetensors.numpy\nfrom flax.traverse_util import unflatten_dict\n",
        'unflatten_dict(safetensors.numpy.load_file(path), sep=".")', _as_seen(exportable),
    )  # fmt: skip


def _msgpack(exportable: Exportable, file: str, arrays: Mapping[str, str], normalise: bool) -> str:
    return _parameters(
        exportable, file, "flax and kdgan", "from flax.serialization import msgpack_restore\n",
        "msgpack_restore(path.read_bytes())", _as_seen(exportable),
    )  # fmt: skip


def _as_seen(exportable: Exportable) -> dict[str, str]:
    """Inputs as the module itself takes them: images as floats."""
    return {name: _array(field, 2, False) for name, field in exportable.inputs.items()}


def written(module: nn.Module) -> tuple[list[str], str] | None:
    """(modules to import, expression) that make a Linen module again; None where a field of it cannot be written down."""
    imports = {type(module).__module__: None}
    arguments = []
    for field in dataclasses.fields(module):
        if field.name in ("parent", "name"):
            continue
        value = getattr(module, field.name)
        if field.default is not dataclasses.MISSING and _same(field.default, value):
            continue
        if isinstance(value, nn.Module):
            inner = written(value)
            if inner is None:
                return None
            imports |= dict.fromkeys(inner[0])
            arguments.append(f"{field.name}={inner[1]}")
        elif _plain(value):
            arguments.append(f"{field.name}={value!r}")
        else:
            return None
    path, name = type(module).__module__, type(module).__qualname__
    try:
        known = getattr(importlib.import_module(path), name, None) is type(module)
    except ImportError:
        known = False
    return (list(imports), f"{path}.{name}({', '.join(arguments)})") if known and path != "__main__" else None


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str)


def _same(default: Any, value: Any) -> bool:
    return _plain(default) and _plain(value) and default == value


_TEXTS: Mapping[str, Callable[..., str]] = {
    "onnx": _onnx, "litert": _litert, "stablehlo": _stablehlo, "safetensors": _safetensors, "msgpack": _msgpack,
}  # fmt: skip
