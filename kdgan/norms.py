"""Over how many values a module's normalising layers take their statistics, found while its shapes are traced.

Over a single value the mean is the value and the variance 0: the layer gives its bias whatever it is given, and no gradient
passes it. Batch norm gets there with one example (of a device) and maps of 1×1; instance norm with 1×1 maps; group and
layer norm with one channel beside.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Norm:
    """One normalising layer of a player as it trains.

    Attributes:
      path: module path, `stage3/block1/bn2`; empty where the player is the layer.
      layer: its class, `BatchNorm`.
      shape: of its input.
      values: over how many values each of its statistics is taken.
      of_batch: whether examples share the statistics, so that a device that has a part of the batch has fewer values.
    """

    path: str
    layer: str
    shape: tuple[int, ...]
    values: int
    of_batch: bool


@contextlib.contextmanager
def recorded(norms: list[Norm]) -> Iterator[None]:
    """Inside, every call of a normalising layer in training mode adds one to `norms`."""

    def note(call, args, kwargs, context):
        module = context.module
        count = next((count for kind, count in _COUNTS.items() if isinstance(module, kind)), None)
        if count is not None and context.method_name == "__call__" and not _by_running_average(module, args, kwargs):
            x = args[0] if args else kwargs["x"]
            values, of_batch = count(module, x.shape)
            norms.append(Norm("/".join(module.path), type(module).__name__, tuple(x.shape), values, of_batch))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        yield


def _by_running_average(module: Any, args: tuple, kwargs: Mapping[str, Any]) -> bool:
    if not isinstance(module, nn.BatchNorm):
        return False
    given = args[1] if len(args) > 1 else kwargs.get("use_running_average")
    return bool(module.use_running_average if given is None else given)


def _size(shape: tuple[int, ...], axes: Any) -> int:
    """Values along one axis or several, some of them counted from the end."""
    return math.prod(shape[axis] for axis in (axes if isinstance(axes, tuple | list) else (axes,)))


def _batch(module: Any, shape: tuple[int, ...]) -> tuple[int, bool]:
    return math.prod(shape) // _size(shape, module.axis), True


def _instance(module: Any, shape: tuple[int, ...]) -> tuple[int, bool]:
    return math.prod(shape[1:]) // _size(shape, module.feature_axes), False


def _group(module: Any, shape: tuple[int, ...]) -> tuple[int, bool]:
    axes = range(1, len(shape)) if module.reduction_axes is None else module.reduction_axes
    groups = module.num_groups or shape[-1] // module.group_size
    return _size(shape, tuple(axes)) // groups, False


def _layer(module: Any, shape: tuple[int, ...]) -> tuple[int, bool]:
    return _size(shape, module.reduction_axes), False


# Kind of layer -> its (values, of_batch) for an input of some shape.
_COUNTS: Mapping[type[nn.Module], Callable[[Any, tuple[int, ...]], tuple[int, bool]]] = {
    nn.BatchNorm: _batch,
    nn.InstanceNorm: _instance,
    nn.GroupNorm: _group,
    nn.LayerNorm: _layer,
}
