"""A layer's arrays as PyTorch lays them out -> as Linen does: which axes go where, and what is turned over.

| layer | PyTorch | Linen |
|---|---|---|
| convolution | [out, in / groups, h, w] | [h, w, in / groups, out] |
| transposed convolution | [in, out, h, w], turned over when it is applied | [h, w, in, out], as it is; or [h, w, out, in] |
| dense | [out, in] | [in, out], of a flattened image [h·w·c] for [c·h·w] |
| norm | weight, bias, running_mean, running_var | scale, bias, mean, var |
| embedding | [n, d] | [n, d] |
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdgan.weights.flattened import Orders
from kdgan.weights.layers import CONV, DENSE, EMBED, NORM, PRELU, TRANSPOSED, Layer

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# Leaf of Linen -> array of PyTorch.
_NAMES: Mapping[str, Mapping[str, str]] = {
    CONV: {"kernel": "weight", "bias": "bias"},
    TRANSPOSED: {"kernel": "weight", "bias": "bias"},
    DENSE: {"kernel": "weight", "bias": "bias"},
    NORM: {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
    EMBED: {"embedding": "weight"},
    PRELU: {"negative_slope": "weight"},
}


def names(layer: Layer) -> dict[str, str]:
    """Leaf -> the name of PyTorch's array; of a layer of another kind the same names."""
    known = _NAMES.get(layer.kind, {})
    return {leaf: known.get(leaf, leaf) for leaf in layer.shapes}


def expected(layer: Layer) -> dict[str, Shape]:
    """The shapes that a layer's arrays have in PyTorch."""
    shapes = {name: layer.shapes[leaf] for leaf, name in names(layer).items()}
    if layer.kind == CONV:
        *sides, less, more = layer.shapes["kernel"]
        shapes["weight"] = (more, less, *sides)
    elif layer.kind == TRANSPOSED:
        *sides, first, last = layer.shapes["kernel"]
        shapes["weight"] = (last, first, *sides) if layer.flips else (first, last, *sides)
    elif layer.kind == DENSE:
        kernel = layer.shapes["kernel"]
        shapes["weight"] = (math.prod(kernel[layer.inputs :]), math.prod(kernel[: layer.inputs]))
        if "bias" in shapes:
            shapes["bias"] = (math.prod(layer.shapes["bias"]),)
    elif layer.kind == PRELU:
        shapes["weight"] = layer.shapes["negative_slope"] or (1,)
    elif layer.kind == NORM:
        shapes = {name: (*shape[-1:], *shape[:-1]) for name, shape in shapes.items()}
    return shapes


def is_of_kind(layer: Layer, given: Shapes) -> bool:
    """Whether arrays of PyTorch are those of such a layer, of whatever size."""
    wanted = expected(layer)
    if wanted.keys() != given.keys():
        return False
    if crosses(layer, given):
        return True
    return all(len(given[name]) == len(shape) for name, shape in wanted.items())


def fits(layer: Layer, given: Shapes) -> bool:
    """Whether arrays of PyTorch have the sizes of a layer."""
    wanted = expected(layer)
    if not is_of_kind(layer, given):
        return False
    rest = [name for name in wanted if name != "weight" or not crosses(layer, given)]
    if any(given[name] != wanted[name] for name in rest):
        return False
    if len(rest) == len(wanted):
        return True
    weight = given["weight"]
    return (weight[0], math.prod(weight[1:])) == (wanted["weight"][0], math.prod(wanted["weight"][1:]))


def crosses(layer: Layer, given: Shapes) -> bool:
    """Whether a dense layer is given a convolution's weight, or the other way round."""
    rank = len(given.get("weight", ()))
    if layer.kind == CONV:
        return rank == 2 and all(side == 1 for side in layer.shapes["kernel"][:-2])
    return layer.kind == DENSE and rank > 2


def convert(layer: Layer, given: Mapping[str, np.ndarray], orders: Orders) -> dict[str, np.ndarray]:
    """Leaf -> array in Linen's layout, of the size that the given arrays have.

    Raises:
      ValueError: a flattened image of another size.
    """
    out = {}
    for leaf, name in names(layer).items():
        array, path = np.asarray(given[name]), "/".join(layer.places[leaf])
        if leaf == "kernel":
            array = _kernel(layer, array, orders, path)
        elif leaf in ("scale", "bias", "mean", "var") and layer.kind == NORM and array.ndim > 1:
            array = np.moveaxis(array, 0, -1)
        elif array.ndim == 1:
            array = _taken(array, orders.vectors.get(path), 0, path)
        out[leaf] = array.reshape(layer.shapes[leaf]) if array.size == math.prod(layer.shapes[leaf]) else array
    return out


def _kernel(layer: Layer, weight: np.ndarray, orders: Orders, path: str) -> np.ndarray:
    sides = tuple(range(2, weight.ndim))
    if layer.kind == TRANSPOSED:
        if layer.flips:
            return weight.transpose(*sides, 1, 0)
        return np.flip(weight, sides).transpose(*sides, 0, 1)
    if layer.kind == CONV:
        return weight.transpose(*sides, 1, 0)
    if weight.ndim > 2:  # a convolution over the whole image, or along a text: its rows are [h, w, in] already
        return weight.transpose(*sides, 1, 0).reshape(-1, len(weight))
    kernel = _taken(weight.T, orders.rows.get(path), 0, path)
    return _taken(kernel, orders.columns.get(path), 1, path)


def _taken(array: np.ndarray, order: Any, axis: int, path: str) -> np.ndarray:
    return array if order is None else np.take(array, order.of(array.shape[axis], path), axis)
