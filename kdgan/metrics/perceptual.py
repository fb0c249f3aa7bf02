"""A perceptual distance of images: that of the features of a network, as LPIPS has it, of any module and any of its layers.

d(x, y) = Σ_l mean over h, w of Σ_c w_lc (x̂_lhwc − ŷ_lhwc)², with features x_l of layer l divided by their length over
channels, x̂ = x/√(Σ_c x² + ε) (Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric",
equation 1; the weights stand as in the authors' code, outside the square). Without weights w_lc = 1/C_l: each layer is the
squared difference of directions, averaged over channels. A number of one network's layers is no number of another's, and
none is the published LPIPS unless layers and weights are its own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.player import call_module

_EPSILON = 1e-20  # under the root, of features that are zero in all channels


def distance(
    features: Sequence[Float[Array, "b ..."]],
    others: Sequence[Float[Array, "b ..."]],
    weights: Sequence[Any] | None = None,
) -> Float[Array, " b"]:
    """The distance of images by their features.

    Args:
        features: of each layer [b, h, w, c], or [b, c]; its sides and channels are its own.
        others: of the images that they are compared with, likewise.
        weights: of each layer [c]; None: 1/c each.

    Returns:
        [b], at least 0 where no weight is negative.

    Raises:
        ValueError: there is no layer; layers, shapes or weights that do not fit each other.
    """
    if not features or len(features) != len(others):
        raise ValueError(
            f"features of {len(features)} and {len(others)} layers: as many of each, one or more, are accepted"
        )
    if weights is not None and len(weights) != len(features):
        raise ValueError(f"weights of {len(weights)} layers for features of {len(features)}")
    total: Any = 0.0
    for i, (one, other) in enumerate(zip(features, others, strict=True)):
        if one.shape != other.shape or one.ndim not in (2, 4):
            raise ValueError(
                f"layer {i}: features {one.shape} and {other.shape}; equal ones, [b, h, w, c], are accepted"
            )
        channels = one.shape[-1]
        weight = jnp.full(channels, 1 / channels) if weights is None else jnp.asarray(weights[i], jnp.float32)
        if weight.shape != (channels,):
            raise ValueError(f"layer {i}: weights of shape {weight.shape} for features of {channels} channels")
        difference = jnp.square(_directions(one) - _directions(other)) @ weight
        total = total + difference.reshape(len(difference), -1).mean(1)
    return total


def _directions(features: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Features divided by their length over channels; zeros stay zeros, and have a derivative."""
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return features / jnp.sqrt(jnp.sum(jnp.square(features), -1, keepdims=True) + _EPSILON)


def perceptual_distance(
    module: nn.Module, variables: Mapping[str, Any], layers: Sequence[str], image: Float[Array, "b h w c"],
    other: Float[Array, "b h w c"], weights: Sequence[Any] | None = None,
) -> Float[Array, " b"]:  # fmt: skip
    """The distance of images as a network sees them.

    Args:
        module: the network, called in evaluation mode with the images alone.
        variables: {"params": ..., ...} of it.
        layers: module paths of it, `("relu1", "fire5")`.
        image: [b, h, w, c] as the network takes it: of `SqueezeNet` RGB in [0, 1].
        other: likewise.
        weights: as `distance` takes them.

    Raises:
        ValueError: no layer of such a path; else as `distance`.
    """
    features = layer_features(module, variables, layers, image)
    return distance(features, layer_features(module, variables, layers, other), weights)


def layer_features(
    module: nn.Module, variables: Mapping[str, Any], layers: Sequence[str], image: Float[Array, "b h w c"]
) -> list[Array]:
    """What layers of a network give of images, in the order of `layers`."""
    _, _, features = call_module(module, variables, image, train=False, features=tuple(layers))
    return [features[path] for path in layers]


def linear_weights(arrays: Mapping[str, Any], layers: Sequence[str]) -> list[Float[np.ndarray, " c"]]:
    """Weights of layers out of a file's arrays: those called as the layers, or, as LPIPS has them, numbered.

    Args:
        arrays: name -> weights [c], or [1, c, 1, 1] as of a 1×1 convolution (`lin0.model.1.weight`).
        layers: module paths.

    Raises:
        ValueError: as many as layers are not there, or one is no row of weights.
    """
    named = {name.replace("/", ".").removesuffix(".weight"): np.asarray(array) for name, array in arrays.items()}
    paths = [path.replace("/", ".") for path in layers]
    if all(path in named for path in paths):
        chosen = [named[path] for path in paths]
    else:
        numbers = lambda name: tuple(map(int, re.findall(r"\d+", name)))
        chosen = [named[name] for name in sorted(named, key=lambda name: (numbers(name), name))]
    if len(chosen) != len(layers):
        raise ValueError(f"it has weights of {len(chosen)} layers ({', '.join(named)}); {len(layers)} are wanted")
    for array, path in zip(chosen, layers, strict=True):
        if array.size != max(array.shape, default=0):
            raise ValueError(f"its weights for {path!r} have shape {list(array.shape)}; [c] is accepted")
    return [array.astype(np.float32).reshape(-1) for array in chosen]
