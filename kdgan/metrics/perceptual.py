"""Perceptual distance of images in the form of LPIPS (Zhang et al. 2018), of any network's features.

The published LPIPS is this form on VGG, AlexNet or SqueezeNet 1.1 with their published weights of channels; on another
network it is another number, and is not called LPIPS.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kdgan import weights
from kdgan.losses.features import Features, matched
from kdgan.losses.logits import at_least_float32

EPSILON = 1e-10  # beside the length of a feature vector, as in the authors' code


def distance(
    made: Features, wanted: Features, linear: Sequence[Array | np.ndarray] | None = None
) -> Float[Array, " b"]:
    """Σ_l mean_{h,w} Σ_c w_lc·(x̂_lhwc − ŷ_lhwc)², x̂ and ŷ of length 1 along the channels (eq. 1).

    Args:
        made: x_l [b, h, w, c].
        wanted: y_l of the same shapes.
        linear: w_l [c], one for each layer; None: 1/c each.

    Returns:
        [b], at least 0 for weights at least 0; with 1/c at most 4/c a layer.

    Raises:
        ValueError: no layers, other numbers of layers or weights, or shapes that differ.
    """
    terms = []
    for i, (where, x, y, _) in enumerate(matched(made, wanted, None)):
        if x.shape != y.shape or x.ndim != 4:
            raise ValueError(f"{where} have shapes {x.shape} and {y.shape}; the same [b, h, w, c] of both is wanted")
        weight = jnp.full(x.shape[-1], 1 / x.shape[-1]) if linear is None else jnp.asarray(linear[i], jnp.float32)
        if weight.shape != x.shape[-1:]:
            raise ValueError(f"{where} have {x.shape[-1]} channels, and weights of shape {weight.shape}")
        squared = jnp.square(_unit(x) - _unit(y))
        terms.append(jnp.mean(jnp.sum(squared * weight[None, None, None, :], axis=-1), axis=(1, 2)))
    return sum(terms[1:], terms[0])


def read_linear(path: str | os.PathLike, layers: Sequence[str]) -> list[np.ndarray]:
    """The weights of the layers' channels [c] each, from a file of as many arrays: by the layers' names, or in order.

    Raises:
        ValueError: it is no file of weights, or has other numbers of arrays.
    """
    arrays = dict(_flat(weights.read(path).arrays))
    if set(layers) <= set(arrays):
        return [np.ravel(arrays[layer]) for layer in layers]
    if len(arrays) != len(layers):
        raise ValueError(f"{path}: it holds {len(arrays)} arrays for {len(layers)} layers; one for each is wanted")
    return [np.ravel(array) for array in arrays.values()]


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}/")
        else:
            yield f"{above}{name}", np.asarray(value)


def _unit(x: Array) -> Array:
    x = at_least_float32(x)
    return x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True)) + EPSILON)
