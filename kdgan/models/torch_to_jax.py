"""A PyTorch module's forward pass as operations of JAX, by torchax: the one place that knows torchax.

torchax runs a module on tensors that hold JAX arrays, and an operation of PyTorch becomes one of JAX. Its release 0.0.13
names operations that PyTorch has removed since, as it is imported (`_with_removed_operations`); of three kinds of operation
it gives other numbers than PyTorch, or none, and they are written here.
"""

import contextlib
import functools
import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from kdgan import extras


@functools.cache
def environment() -> Any:
    """An environment of torchax with the operations below; PyTorch's and this process's settings stay what they were.

    Raises:
      ValueError: PyTorch or torchax is not installed; one line that says how it is.
    """
    torch = extras.need("torch", "a PyTorch module as a player")
    fast, variable = torch.backends.mha.get_fastpath_enabled(), "ENABLE_RUNTIME_UPTIME_TELEMETRY"
    known = os.environ.get(variable)
    try:
        with _with_removed_operations(torch):
            made = extras.need("torchax.tensor", "a PyTorch module as a player").Environment()
    finally:  # torchax sets both
        torch.backends.mha.set_fastpath_enabled(fast)
        if known is None:
            os.environ.pop(variable, None)
    operations = torch.ops.aten
    written: dict[Any, Callable] = {
        operations.avg_pool1d: _average_pool,
        operations.avg_pool2d: _average_pool,
        operations.avg_pool3d: _average_pool,
        operations.adaptive_max_pool2d: _adaptive_max_pool,
        operations.convolution: functools.partial(_convolution, of_torchax=made._ops[operations.convolution].func),
    }
    for operation, function in written.items():
        for name in (operation, operation.default):
            made.override_op_definition(name, _on_jax(made, function))
    return made


class _Removed:
    """Stands for an operation that PyTorch no longer has, where torchax looks it up to register it: nothing calls it."""

    def __getattr__(self, name: str) -> "_Removed":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Removed()


@contextlib.contextmanager
def _with_removed_operations(torch: Any) -> Iterator[None]:
    """Inside, `torch.ops.aten` answers for names that it does not have: `cholesky`, `qr`, those of named tensors."""
    namespace, operation = torch._ops._OpNamespace, torch._ops.OpOverloadPacket
    kept = namespace.__getattr__, operation.__getattr__

    def lenient(get: Callable, is_aten: Callable[[Any], bool]) -> Callable:
        def answer(self, name):
            try:
                return get(self, name)
            except AttributeError:
                if name.startswith("__") or not is_aten(self):
                    raise
                return _Removed()

        return answer

    namespace.__getattr__ = lenient(kept[0], lambda one: one.name == "aten")
    operation.__getattr__ = lenient(kept[1], lambda one: str(one).startswith("aten."))
    try:
        yield
    finally:
        namespace.__getattr__, operation.__getattr__ = kept


def run(module: Any, state: Mapping[str, ArrayLike], args: Sequence[ArrayLike]) -> Any:
    """What a PyTorch module gives in its mode, with these parameters and buffers in place of its own.

    Args:
      module: as it is; its tensors are not used, nor changed.
      state: name -> parameter or buffer.
      args: of its forward pass.

    Returns:
      Its output, with arrays for tensors.

    Raises:
      ValueError: it draws random numbers, or has an operation that is not known; one line.
    """
    import torch

    known = environment()
    drawn = known.param.prng, torch.get_rng_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        # PyTorch's fused attention is one operation, which torchax does not know; it broadcasts over ranks.
        torch.backends.mha.set_fastpath_enabled(False)
        with (
            warnings.catch_warnings(),
            jax.numpy_rank_promotion("allow"),
            torch.no_grad(),
            torch.device("jax:0"),
            known,
        ):
            # Indices are int64 in PyTorch, and int32 here.
            warnings.filterwarnings("ignore", "Explicitly requested dtype .*int64", UserWarning)
            of_jax = lambda array: known.j2t_iso(jnp.asarray(array))
            wrapped = {name: of_jax(array) for name, array in state.items()}
            output = torch.func.functional_call(module, wrapped, tuple(of_jax(array) for array in args))
        output = known.t2j_iso(output)
    except Exception as error:  # whatever a module of the user's own raises
        raise ValueError(failed(module, error)) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        random = known.param.prng is not drawn[0] or not torch.equal(torch.get_rng_state(), drawn[1])
        torch.set_rng_state(drawn[1])
    if random:
        raise ValueError(
            f"PyTorch module {type(module).__name__} draws random numbers in evaluation mode; a function of its inputs alone"
            " is accepted"
        )
    return output


def arrays_of(tensors: Mapping[str, Any]) -> dict[str, Array]:
    """Those of the values that are tensors of torchax, as arrays."""
    import torch

    some = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor) and hasattr(value, "jax")}
    return {name: value.jax() for name, value in some.items()}


def failed(module: Any, error: Exception) -> str:
    """That a module's forward pass failed, and why, in one line."""
    return f"PyTorch module {type(module).__name__}: {_reason(error)}"


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    if "has no lowering" in said:
        return f"the operation {said.split(' name ')[-1].split()[0]} has no counterpart in JAX (torchax)"
    if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerArrayConversionError):
        return (
            f"its forward pass depends on values of its input ({type(error).__name__}), which a compiled program cannot"
        )
    if "mixed math" in said:
        return "it computes with a tensor that is neither parameter, buffer nor input; register it as a buffer"
    return f"{type(error).__name__}: {said[:200]}"


def _on_jax(known: Any, function: Callable) -> Callable:
    """A function of arrays as one of torchax's tensors."""

    def operation(*args, **kwargs):
        args, kwargs = known.t2j_iso(known.v2t_iso((args, kwargs)))
        return known.j2t_iso(function(*args, **kwargs))

    return operation


def _convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *, of_torchax):
    """A transposed convolution of groups is one of each; torchax (0.0.13) mixes their channels."""
    if not transposed or groups == 1:
        return of_torchax(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
    parts = [
        of_torchax(some, kernel, None, stride, padding, dilation, True, output_padding, 1)
        for some, kernel in zip(jnp.split(x, groups, -len(stride) - 1), jnp.split(weight, groups), strict=True)
    ]
    whole = jnp.concatenate(parts, -len(stride) - 1)
    return whole if bias is None else whole + bias.reshape(-1, *[1] * len(stride))


def _average_pool(x, size, stride=(), padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """Sums of windows over the number of values in each; torchax (0.0.13) counts wrong in the last ones with `ceil_mode`."""
    n, size = len(size), tuple(size)
    stride = tuple(stride) if stride else size
    padding = tuple(padding) if isinstance(padding, Sequence) else (padding,)
    padding = padding * n if len(padding) == 1 else padding
    sides = x.shape[-n:]
    beyond = []  # places that the last window reaches behind the padding
    for side, window, step, pad in zip(sides, size, stride, padding, strict=True):
        count = (math.ceil if ceil_mode else math.floor)((side + 2 * pad - window) / step) + 1
        if ceil_mode and (count - 1) * step >= side + pad:  # a window must begin inside the input or before it
            count -= 1
        beyond.append(max(0, (count - 1) * step + window - side - 2 * pad))
    lead = [(0, 0)] * (x.ndim - n)
    ones = (1,) * (x.ndim - n)

    def sums(values, pads):
        edges = [(low, high + far) for (low, high), far in zip(pads, beyond, strict=True)]
        return jax.lax.reduce_window(
            values, np.zeros((), values.dtype), jax.lax.add, (*ones, *size), (*ones, *stride), [*lead, *edges]
        )

    padded = [(pad, pad) for pad in padding]
    total = sums(x, padded)
    if divisor_override is not None:
        return total / divisor_override
    if count_include_pad:
        counted = np.ones((*ones, *(side + 2 * pad for side, pad in zip(sides, padding, strict=True))), x.dtype)
        return total / sums(counted, [(0, 0)] * n)
    return total / sums(np.ones((*ones, *sides), x.dtype), padded)


def _adaptive_max_pool(x, size):
    """(largest values, their places in the image) of windows from floor(iH/h) to ceil((i+1)H/h)."""
    height, width = x.shape[-2:]
    windows = [
        [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]
        for side, count in zip((height, width), size, strict=True)
    ]
    values, places = [], []
    for (top, bottom), (left, right) in itertools.product(*windows):
        window = x[..., top:bottom, left:right].reshape(*x.shape[:-2], -1)
        place = jnp.argmax(window, -1)
        values.append(window.max(-1))
        places.append((top + place // (right - left)) * width + left + place % (right - left))
    shape = (*x.shape[:-2], *size)
    return jnp.stack(values, -1).reshape(shape), jnp.stack(places, -1).reshape(shape)
