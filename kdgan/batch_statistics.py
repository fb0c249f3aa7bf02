"""Mean and variance of what each batch norm of a network is given, beside those that it keeps: taken by module path.

A network that was trained with batch norm holds, in its running averages, what its layers saw of the training images.
Methods without data draw images towards these. The layers are found while the network runs, in any Linen module, so that no
model needs to know of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Real

Output = TypeVar("Output")


class LayerStatistics(NamedTuple):
    """Of one batch norm, each [c].

    Attributes:
      mean: of its input, over the batch and over pixels.
      variance: of its input, biased: Σ(x − x̄)²/n over n = b·h·w values.
      running_mean: that it keeps, of the batches of its training.
      running_variance: likewise. Linen averages biased variances of batches, PyTorch unbiased ones: n/(n − 1) times as
        large.
      example_means: of its input, over pixels alone [b, c]; None where nobody took them.
    """

    mean: Array
    variance: Array
    running_mean: Array
    running_variance: Array
    example_means: Array | None = None


def with_batch_statistics(
    run: Callable[[], Output], name: str = "the network"
) -> tuple[Output, dict[str, LayerStatistics]]:
    """(what `run()` gives, module path -> statistics of each batch norm that runs in it, in order).

    Inside `pmap` they are of a device's share of the batch. They are computed in float32, and differentiable with respect to
    the network's input. A layer that runs more than once has a further entry for each, "bn:2", "bn:3".

    Args:
      run: calls one network once, e.g. `lambda: players.teacher(image)`.
      name: of the network, for the error.

    Raises:
      ValueError: no batch norm ran.
    """
    layers: dict[str, LayerStatistics] = {}

    def note(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if not module.path:
            layers.clear()  # a network without parameters is initialised first, by a call of its own
        if not isinstance(module, nn.BatchNorm):
            return call(*args, **kwargs)
        before = _running(module) if module.has_variable("batch_stats", "mean") else None
        output = call(*args, **kwargs)
        running_mean, running_variance = before or _running(module)
        x = args[0] if args else kwargs["x"]
        mean, variance = _of_input(x, module.axis)
        path = "/".join(module.path)
        again = sum(other.partition(":")[0] == path for other in layers)
        entry = f"{path}:{again + 1}" if again else path
        layers[entry] = LayerStatistics(mean, variance, running_mean, running_variance, _of_examples(x, module.axis))
        return output

    with nn.intercept_methods(note):
        output = run()
    if not layers:
        raise ValueError(
            f"statistics of batch norm are identically zero for {name}; choose a network with batch norm, or dafl / dfad"
        )
    return output, layers


def blended(
    layers: Mapping[str, LayerStatistics], averages: Mapping[str, tuple[Array, Array]], rate: Real[ArrayLike, ""]
) -> dict[str, LayerStatistics]:
    """The batch's statistics mixed with moving averages of earlier batches: (1 − rate)·batch + rate·average.

    Args:
      layers: statistics by path.
      averages: path -> (mean, variance), each [c], without gradient.
      rate: in [0, 1); it makes the gradient (1 − rate) times as large (Fast, Fang et al. 2022, has 0.9).
    """
    mix = lambda new, old: (1 - rate) * new + rate * old
    return {
        path: layer._replace(mean=mix(layer.mean, averages[path][0]), variance=mix(layer.variance, averages[path][1]))
        for path, layer in layers.items()
    }


def _running(module: nn.BatchNorm) -> tuple[Array, Array]:
    """(mean, variance) that a layer keeps, as it does once it was called."""

    def kept(kind: str) -> Array:
        value: Array = module.get_variable("batch_stats", kind)
        return value.astype(jnp.promote_types(value.dtype, jnp.float32)).reshape(-1)

    return kept("mean"), kept("var")


def _over(x: Array, axis: Any) -> list[int]:
    """The axes of `x` but those of the channels."""
    axes = [one % x.ndim for one in (axis if isinstance(axis, tuple | list) else (axis,))]
    return [one for one in range(x.ndim) if one not in axes]


def _of_input(x: Array, axis: Any) -> tuple[Array, Array]:
    """Mean and biased variance [c] of what is given to a layer whose channels lie along `axis`."""
    over = tuple(_over(x, axis))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axis=over, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=over)  # not E x² − (E x)², which cancels where the mean is large
    return mean.reshape(-1), variance.reshape(-1)


def _of_examples(x: Array, axis: Any) -> Array:
    """The mean of each example [b, c]."""
    over = tuple(one for one in _over(x, axis) if one)
    return jnp.mean(x.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=over).reshape(len(x), -1)
