"""ONNX by jax2onnx: opset 21, any number of examples, parameters as float32."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan import extras
from kdgan.export.exportable import Exportable, function, metadata, shapes
from kdgan.export.outputs import OUTPUTS
from kdgan.export.quiet import quiet
from kdgan.export.refused import naming_operation

OPSET = 21


def convert(exportable: Exportable, *, normalise: bool = True) -> bytes:
    """The content of an .onnx file, checked in full.

    Raises:
      ValueError: a package is not installed; an operation that ONNX, or jax2onnx, has not.
    """
    what = f"writing {exportable.name}.onnx"
    with quiet():
        jax2onnx, onnx = extras.need("jax2onnx", what), extras.need("onnx", what)
    call = function(exportable, normalise=normalise)
    given = shapes(exportable, None, normalise=normalise)
    with naming_operation("ONNX", exportable.name, call, given), quiet():
        # Inner jits are inlined: jax2onnx's own way to do so is not that of JAX 0.12, which has no `core.ClosedJaxpr`.
        # Flax adds biases to ranks of their own within jax2onnx, which a session that forbids it would refuse.
        with jax.disable_jit(), jax.numpy_rank_promotion("allow"):
            model = jax2onnx.to_onnx(
                _with_pools(call),
                given,
                model_name=exportable.name,
                opset=OPSET,
                input_names=list(exportable.inputs),
                output_names=[OUTPUTS[exportable.output].name],
            )
        # What it notes of values in between has wrong shapes behind batch norm; a runtime infers them itself.
        del model.graph.value_info[:]
        _mend_pads(onnx, model)
        for name, text in metadata(exportable, normalise=normalise).items():
            model.metadata_props.add(key=name, value=text)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


def _with_pools(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, in which Flax's pools may be called by position: what jax2onnx puts in their place takes keywords alone."""

    @functools.wraps(call)
    def called(*arrays: Any) -> Any:
        replaced = {name: getattr(nn, name) for name in ("max_pool", "avg_pool")}
        try:
            for name, pool in replaced.items():
                setattr(nn, name, _by_position(pool))
            return call(*arrays)
        finally:
            for name, pool in replaced.items():
                setattr(nn, name, pool)

    return called


def _by_position(pool: Callable[..., Any]) -> Callable[..., Any]:
    def pooled(inputs: Any, window_shape: Any, strides: Any = None, padding: Any = "VALID", **more: Any) -> Any:
        return pool(inputs, window_shape=window_shape, strides=strides, padding=padding, **more)

    return pooled


def _mend_pads(onnx: Any, model: Any) -> None:
    """The value that a Pad fills with has the type of what it fills: jax2onnx writes a Python float as a double."""
    doubles = {one.name: one for one in model.graph.initializer if one.data_type == onnx.TensorProto.DOUBLE}
    for node in model.graph.node:
        if node.op_type == "Pad" and len(node.input) > 2 and node.input[2] in doubles:
            value = onnx.numpy_helper.to_array(doubles[node.input[2]]).astype(np.float32)
            name = node.input[2] + "_float"
            if name not in {one.name for one in model.graph.initializer}:
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
            node.input[2] = name
    used = {name for node in model.graph.node for name in node.input}
    for name, one in doubles.items():
        if name not in used:
            model.graph.initializer.remove(one)
