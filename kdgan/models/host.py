"""Functions of NumPy arrays that a compiled program calls on the host, under vmap and on several devices too.

`jax.pure_callback` copies a callback's arguments to a device first, by threads that the program itself occupies: on several
CPU devices both wait for each other (jax 0.10.2, four devices, 196,608 floats each). The operation here hands NumPy arrays
on as they are. A failure on one of several devices would leave the others waiting for it: what fails is remembered, and NaN
is given in its place (`HostCall.failure`).
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.typing import ArrayLike

# What JAX emits calls of Python for (jax.interpreters.mlir.emit_python_callback, 0.10 to 0.12); a plug-in's is none of them.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu", "oneapi")


class HostError(ValueError):
    """A function on the host failed, or gave something else than one output for each example; one line."""


class HostCall:
    """A function of arrays [n, ...] to one array [n, ...], each example by itself, as compiled programs call it.

    Attributes:
      failure: what went wrong first, in one line; "" where nothing did.

    Args:
      function: of NumPy arrays, which are not to be written to.
      who: says in a message whose function it is: "players.teacher (teacher.onnx)".
    """

    def __init__(self, function: Callable[..., Any], who: str):
        self._function, self._who, self.failure = function, who, ""

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """The outputs of NumPy arrays.

        Raises:
          HostError: the function raises an error, or gives no float array of one row for each example.
        """
        try:
            output = np.asarray(self._function(*arrays))
        except Exception as error:  # whatever a function of the user's own raises
            said = " ".join(str(error).split())
            raise HostError(f"{self._who}: {type(error).__name__}: {said}") from error
        if output.shape[:1] != arrays[0].shape[:1] or output.dtype.kind not in "fiub":
            raise HostError(
                f"{self._who} gave an array {list(output.shape)} of {output.dtype} for {len(arrays[0])} examples; one row of"
                " numbers for each example is accepted"
            )
        return output.astype(np.float32)

    def or_nan(self, shape: Sequence[int], *arrays: np.ndarray) -> np.ndarray:
        """The outputs, of this shape; where there are none, NaN, and `failure` says why."""
        try:
            output = self(*arrays)
            if output.shape == tuple(shape):
                return output
            raise HostError(f"{self._who} gave an array {list(output.shape)}; {list(shape)}, as before, is accepted")
        except HostError as error:
            if not self.failure:
                logging.getLogger(__name__).error("%s", error)
            self.failure = self.failure or str(error)
            return np.full(shape, np.nan, np.float32)


def call(function: HostCall, shape: Sequence[int], *arrays: ArrayLike) -> Array:
    """`function` of arrays [n, ...] inside of any program: float32 [n, *shape]. It has no gradient.

    Compiling it for a platform whose programs cannot call the host raises ValueError (`check_platform`).
    """
    return _call.bind(*map(jax.lax.stop_gradient, arrays), function=function, shape=tuple(shape))


def check_platform(platform: str) -> None:
    """Raise ValueError where programs of a platform, "cpu" or "cuda", cannot call the host."""
    if platform not in (*PLATFORMS, "gpu"):
        raise ValueError(
            f"a program on {platform} cannot call functions on the host; one on {', '.join(PLATFORMS)} can"
        )


_call = Primitive("host_call")


@_call.def_impl
def _impl(*arrays, function, shape):
    return jnp.asarray(function.or_nan((len(arrays[0]), *shape), *map(np.asarray, arrays)))


@_call.def_abstract_eval
def _abstract(*arrays, function, shape):
    return jax.core.ShapedArray((arrays[0].shape[0], *shape), np.dtype(np.float32))


def _lowered(context, *arrays, function, shape):
    for platform in context.module_context.platforms:
        check_platform(platform)
    whole = (context.avals_in[0].shape[0], *shape)
    results, _, _ = mlir.emit_python_callback(
        context, lambda *values: (function.or_nan(whole, *values),), None, list(arrays), context.avals_in,
        context.avals_out, has_side_effect=False, returns_token=False,
    )  # fmt: skip
    return results


def _batched(arrays, axes, *, function, shape):
    """Examples of all members in one call."""
    count = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
    whole = [
        jnp.broadcast_to(array, (count, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    ]
    flat = [array.reshape(-1, *array.shape[2:]) for array in whole]
    output = _call.bind(*flat, function=function, shape=shape)
    return output.reshape(count, -1, *shape), 0


# As JAX's own callback: on a TPU each call has a channel of its own.
mlir.register_lowering(_call, _lowered, cacheable=False)
batching.primitive_batchers[_call] = _batched
