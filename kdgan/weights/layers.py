"""The layers of a Linen module that have variables: in the order in which they are called, with what they are.

A layer is what holds arrays itself: `stage1/block1/conv1` with its kernel, `stage1/block1/bn1` with scale, bias, mean and
variance. They are found while the module is traced on shapes; nothing is computed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from kdgan.state import variable_shapes
from kdgan.weights.tree import flat

CONV, TRANSPOSED, DENSE, NORM, EMBED, PRELU, ATTENTION, OTHER = (
    "convolution", "transposed convolution", "dense", "norm", "embedding", "PReLU", "attention", "other",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a module.

    Attributes:
      name: its path, "stage1/block1/conv1".
      kind: CONV, DENSE, ...
      shapes: leaf -> shape, of all collections: "kernel", "bias", "scale", "mean", "var", "embedding".
      places: leaf -> (collection, path) where it lies among the variables.
      tracks: whether a norm keeps running statistics, as batch norm does.
      flips: whether a transposed convolution turns its kernel over itself, as PyTorch's does (`transpose_kernel`).
      inputs: axes of a dense layer's kernel that it sums over.
    """

    name: str
    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    places: Mapping[str, tuple[str, str]]
    tracks: bool = False
    flips: bool = False
    inputs: int = 1


def layers_of(module: nn.Module, inputs: Any) -> list[Layer]:
    """The layers of a module in the order in which they are called first.

    Args:
      module: traced in evaluation mode.
      inputs: (args, kwargs) that it is called with, arrays or shapes.
    """
    seen: dict[str, nn.Module] = {}

    def note(call, args, kwargs, context):
        seen.setdefault("/".join(context.module.path), context.module.clone(parent=None))
        return call(*args, **kwargs)

    shapes = variable_shapes(module, inputs)
    with nn.intercept_methods(note):
        jax.eval_shape(lambda args, kwargs: module.init(jax.random.key(0), *args, **kwargs), *inputs)
    held: dict[str, dict[str, tuple[str, str, tuple[int, ...]]]] = {}
    for collection, tree in shapes.items():
        for path, leaf in flat(tree):
            layer, _, name = path.rpartition("/")
            held.setdefault(layer, {})[name] = (collection, path, tuple(leaf.shape))
    order = {name: i for i, name in enumerate(seen)}
    names = sorted(held, key=lambda name: order.get(name, len(order)))
    return [_layer(name, seen.get(name), held[name]) for name in names]


def _layer(name: str, module: nn.Module | None, held: Mapping[str, tuple[str, str, tuple[int, ...]]]) -> Layer:
    shapes = {leaf: shape for leaf, (_, _, shape) in held.items()}
    kind = _kind(module, shapes)
    inputs = len(_axes(getattr(module, "axis", -1))) if isinstance(module, nn.DenseGeneral) else 1
    return Layer(
        name,
        kind,
        shapes,
        {leaf: (collection, path) for leaf, (collection, path, _) in held.items()},
        tracks={"mean", "var"} <= shapes.keys(),
        flips=bool(getattr(module, "transpose_kernel", False)),
        inputs=inputs,
    )


def _kind(module: nn.Module | None, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a layer is: by its class where that is one of Linen's, else by the names and ranks of its arrays."""
    leaves = set(shapes)
    if isinstance(module, nn.ConvTranspose) or getattr(module, "is_transposed", False):
        return TRANSPOSED
    if isinstance(module, nn.PReLU) or leaves == {"negative_slope"}:
        return PRELU
    if leaves == {"embedding"}:
        return EMBED
    if "kernel" in leaves and leaves <= {"kernel", "bias"}:
        rank = len(shapes["kernel"])
        is_dense = isinstance(module, nn.Dense | nn.DenseGeneral) or (rank == 2 and not isinstance(module, nn.Conv))
        return DENSE if is_dense else CONV
    if leaves <= {"scale", "bias", "mean", "var"} and leaves & {"scale", "mean"}:
        return NORM
    return OTHER


def _axes(axis: int | Sequence[int]) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)
