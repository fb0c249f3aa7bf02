"""Packages beyond requirements.txt: imported where a format asks for them, and one line where one is absent."""

import importlib
from types import ModuleType

EXPORT = "pip install -r requirements-export.txt && pip install --no-deps -r requirements-export-no-deps.txt"

# Package -> how it is installed, by the extras of pyproject.toml or by the requirements of an export.
_INSTALLED_BY = {
    "safetensors": 'pip install -e ".[safetensors]"',
    "torch": 'pip install -e ".[pytorch]"',
    "torchax": 'pip install -e ".[pytorch]"',
    "torch2jax": "pip install torch2jax",
    "onnx": 'pip install -e ".[onnx]"',
    "onnxruntime": 'pip install -e ".[onnx]"',
    "jaxonnxruntime": "pip install jaxonnxruntime",
    "skimage": 'pip install -e ".[images]"',
    "qwix": 'pip install -e ".[quantise]"',
    "flatbuffers": EXPORT,
    "onnx_ir": EXPORT,
    "jax2onnx": EXPORT,
    "litert_converter": EXPORT,
    "ai_edge_litert": EXPORT,
    "litert_quantizer": EXPORT,
}


def need(module: str, what: str) -> ModuleType:
    """The module of a package beyond the requirements, imported.

    Args:
      module: as it is imported, "safetensors.numpy".
      what: what it is needed for, as a sentence begins: "reading teacher.safetensors".

    Raises:
      ValueError: the package is not installed; one line with the command that installs it. An error inside an installed
        package is its own.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        command = _INSTALLED_BY.get(package, f"pip install {package}")
        raise ValueError(f"{what} needs the package {package}: {command}") from error
