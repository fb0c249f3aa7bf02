"""8-bit weights and activations by calibration: ranges of activations as some examples make them; nothing is trained.

Weights are int8 with a scale for each channel. In ONNX they use 7 of the 8 bits: x86 processors without VNNI add products
of 8 bits up in 16, which overflow (probabilities 0.3 off in place of 0.04, at the same speed). What is made of the last
layer's output (softmax, sigmoid, tanh) stays in float32, so that a probability is not rounded to 1/256.
"""

import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdgan import extras
from kdgan.export.litert import SIGNATURE
from kdgan.export.quiet import quiet

MOST = 512  # examples that ranges are taken from
CHUNK = 64  # examples of a call
# Of ONNX; what else there is stays in float32.
QUANTISED = (
    "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "Gather", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul",
    "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Transpose",
)  # fmt: skip
IN_FLOAT = ("SOFTMAX", "LOGISTIC", "TANH", "INPUT", "OUTPUT")  # of LiteRT; the last two: what the file takes and gives


def some(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """At most `MOST` of the examples, spread over all of them."""
    count = len(arrays[0])
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(np.int64))
    return [array[rows] for array in arrays]


def onnx(content: bytes, names: Sequence[str], examples: Sequence[np.ndarray]) -> bytes:
    """The same network with int8 weights and uint8 activations, in pairs of QuantizeLinear and DequantizeLinear.

    Activations are uint8, for onnxruntime computes int8 ones more slowly than float32 on x86.

    Args:
      content: of the .onnx file.
      names: of its inputs.
      examples: of each input, [n, ...].

    Raises:
      ValueError: onnxruntime is not installed.
    """
    what = "quantising to int8"
    onnx = extras.need("onnx", what)
    quantization = extras.need("onnxruntime.quantization", what)
    shape_inference = extras.need("onnxruntime.quantization.shape_inference", what)
    calibration = extras.need("onnxruntime.quantization.calibrate", what)

    reader: Any = calibration.CalibrationDataReader
    batches = _batches(names, examples, CHUNK)
    given = type("Examples", (reader,), {"get_next": lambda self: next(batches, None)})()
    with tempfile.TemporaryDirectory() as folder, quiet():
        plain, prepared, quantised = (pathlib.Path(folder, name) for name in ("plain", "prepared", "quantised"))
        plain.write_bytes(content)
        # Constants are computed and batch norm is folded into convolutions, so that what is left has weights to quantise.
        shape_inference.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared), str(quantised), given, quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED), reduce_range=True,
        )  # fmt: skip
        model = onnx.load(str(quantised))
    kept = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
    del model.metadata_props[:]
    for name, text in {**kept, "quantised": "int8"}.items():
        model.metadata_props.add(key=name, value=text)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def litert(content: bytes, names: Sequence[str], examples: Sequence[np.ndarray], batch: int) -> bytes:
    """The same network with int8 weights and activations (`static_wi8_ai8`); inputs and outputs stay as they are.

    Args:
      content: of the .tflite file.
      names: of its inputs.
      examples: of each input, [n, ...].
      batch: examples of a call.

    Raises:
      ValueError: litert-quantizer is not installed.
    """
    what = "quantising to int8"
    quantizer = extras.need("litert_quantizer.quantizer", what)
    recipe, kinds = extras.need("litert_quantizer.recipe", what), extras.need("litert_quantizer.qtyping", what)
    algorithms = extras.need("litert_quantizer.algorithm_manager", what)
    with quiet():
        made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
        for name in IN_FLOAT:
            operation = getattr(kinds.TFLOperationName, name)
            made.update_quantization_recipe(".*", operation, algorithm_key=algorithms.AlgorithmName.NO_QUANTIZE)
        whole = list(_batches(names, [_filled(array, batch) for array in examples], batch))
        # `made.calibrate` would take the average of the examples' ranges, and clip what lies beyond; these are the largest.
        recipes = extras.need("litert_quantizer.recipe_manager", what).RecipeManager()
        recipes.load_quantization_recipe(made.get_quantization_recipe())
        widest = extras.need("litert_quantizer.utils.qsv_utils", what).min_max_update
        calibrator = extras.need("litert_quantizer.calibrator", what).Calibrator(
            content, num_threads=1, qsv_update_func=widest
        )
        calibrator.calibrate({SIGNATURE: whole}, recipes)
        return bytes(made.quantize(calibrator.get_model_qsvs()).quantized_model)


def _filled(array: np.ndarray, batch: int) -> np.ndarray:
    """Examples of which the last call is full, too: the first ones come again."""
    missing = -len(array) % batch
    return np.concatenate([array, np.resize(array, (missing, *array.shape[1:]))]) if missing else array


def _batches(names: Sequence[str], examples: Sequence[np.ndarray], size: int) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(examples[0]), size):
        yield {name: array[start : start + size] for name, array in zip(names, examples, strict=True)}
