"""Gram matrices and the losses of style transfer on them (Gatys et al. 2016, Johnson et al. 2016).

Features come as in `features.py`, of any network that sees images. The content loss is `features.feature_l2`. Of the total
variation see `images.total_variation`. No function here stops a gradient.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses.logits import at_least_float32


def gram(features: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """G = FᵀF / (h·w·c) of F [h·w, c] (Johnson et al. 2016, eq. 3): how channels go together, wherever in the image.

    Gatys et al. 2016 divide the squared distance of two matrices by 4·(h·w·c)² instead: a quarter of `style`.
    """
    b, h, w, c = features.shape
    x = at_least_float32(features).reshape(b, h * w, c)
    # In full float32: on GPU and TPU a matrix product would round its factors to 10 or 8 bits.
    return jnp.einsum("bnc,bnd->bcd", x, x, precision="highest") / (h * w * c)


def grams(features: Features) -> list[Array]:
    """The Gram matrix of each layer [b, c, c], in order."""
    return [gram(x) for x in (features.values() if hasattr(features, "values") else features)]


def style(made: Features, wanted: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """Σ_l w_l·‖G(X_l) − G_l‖²_F (Johnson et al. 2016, eq. 4): distance to the Gram matrices of a style image.

    Code that averages over the entries of a matrix (fast_neural_style among PyTorch's examples) has 1/c² of a layer's term.

    Args:
        made: X_l [b, h, w, c], features of the images that are made.
        wanted: G_l [b, c, c], or [1, c, c] of one style for all: Gram matrices of the style image, of the same layers.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or matrices of other channels or batch.
    """
    terms = []
    for where, x, target, weight in matched(made, wanted, weights):
        matrix = gram(x)
        if target.ndim != 3 or target.shape[1:] != matrix.shape[1:] or target.shape[0] not in (1, matrix.shape[0]):
            raise ValueError(
                f"{where}: Gram matrices of shape {matrix.shape} cannot be compared with {target.shape}; [b, c, c], or"
                " [1, c, c] for all of the batch, is accepted"
            )
        terms.append(weight * jnp.sum(jnp.square(matrix - at_least_float32(target)), axis=(1, 2)))
    return jnp.sum(jnp.stack(terms), axis=0)
