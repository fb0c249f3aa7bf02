"""LiteRT (.tflite) by litert-converter: a fixed number of examples a call, parameters as float32, batch norm folded."""

import json
from typing import Any

import jax
from jax import export as jax_export

from kdgan import extras
from kdgan.export.exportable import Exportable, function, metadata, shapes
from kdgan.export.outputs import OUTPUTS
from kdgan.export.refused import naming_operation

SIGNATURE = "serving_default"


def convert(exportable: Exportable, batch: int = 1, *, normalise: bool = True) -> bytes:
    """The content of a .tflite file for `batch` examples a call; its signature names inputs and output.

    Raises:
      ValueError: a package is not installed; images of any size; an operation that LiteRT has not.
    """
    what = f"writing {exportable.name}.tflite"
    api = extras.need("litert_converter.converter_api_ext", what)
    ir, passes = extras.need("litert_converter.mlir.ir", what), extras.need("litert_converter.mlir.passmanager", what)
    call = function(exportable, normalise=normalise)
    try:
        given = shapes(exportable, batch, normalise=normalise)
    except ValueError as error:
        raise ValueError(f"LiteRT cannot hold {exportable.name}: {error}") from error
    with naming_operation("LiteRT", exportable.name, call, given):
        lowered = jax_export.export(jax.jit(call, keep_unused=True), platforms=("cpu",))(*given).mlir_module()
        context = ir.Context()
        api.prepare_mlir_context(context)
        with context:
            module = ir.Module.parse(lowered)
            api.set_signature(module.operation, SIGNATURE, list(exportable.inputs), [OUTPUTS[exportable.output].name])
            settings = api.ConvertToTFLConfig()
            settings.model_origin_framework = "JAX"
            api.run_convert_to_tfl_passes(module, passes.PassManager(), settings)
            content = api.export_flatbuffer_to_bytes(module.operation)
    return described(content, json.dumps(metadata(exportable, normalise=normalise), ensure_ascii=False))


def described(content: bytes, text: str) -> bytes:
    """The same model with a description: the one place of the format that any viewer shows."""
    tools: Any = extras.need("ai_edge_litert.tools.flatbuffer_utils", "writing a .tflite file")
    model = tools.read_model_from_bytearray(bytearray(content))
    model.description = text.encode()
    return bytes(tools.convert_object_to_bytearray(model))


def description(content: bytes) -> dict[str, str]:
    """What `described` wrote."""
    tools: Any = extras.need("ai_edge_litert.tools.flatbuffer_utils", "reading a .tflite file")
    text = tools.read_model_from_bytearray(bytearray(content)).description
    return json.loads(text.decode()) if text else {}
