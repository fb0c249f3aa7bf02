"""Losses between images: a student's against the teacher's or the true one, as means over pixels and channels.

Means, not sums, so that a λ keeps its sense from one resolution to another: `l1_loss` and `mse_loss` of PyTorch, for which
published λ's of pixel losses are. A paper's ‖x − y‖² or ‖x − y‖₁, read as a sum, is h·w·c times as much.
No function here stops a gradient.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.losses.logits import at_least_float32


def l1(image: Float[Array, "b *pixels"], other: Float[Array, "n *others"]) -> Float[Array, " b"]:
    """Mean absolute error, mean_{h,w,c} |x − y|, the reconstruction loss of pix2pix (Isola et al. 2017).

    Args:
        image: x [b, h, w, c], or of any other rank with the batch first.
        other: y of the same shape.

    Returns:
        [b], at least 0, in the images' units. The gradient is 0 where x = y.

    Raises:
        ValueError: the shapes differ.
    """
    difference = _difference(image, other)
    # Not jnp.abs, whose derivative at 0 is 1 in JAX: equal pixels (black borders, saturated ones) would still pull.
    return _mean(difference * jnp.sign(difference))


def l2(image: Float[Array, "b *pixels"], other: Float[Array, "n *others"]) -> Float[Array, " b"]:
    """Mean squared error, mean_{h,w,c} (x − y)², the distillation loss of Aguinaldo et al. 2019.

    Args:
        image: x [b, h, w, c], or of any other rank with the batch first.
        other: y of the same shape.

    Returns:
        [b], at least 0, in the images' units squared.

    Raises:
        ValueError: the shapes differ.
    """
    return _mean(jnp.square(_difference(image, other)))


def _difference(image: Array, other: Array) -> Array:
    if image.shape != other.shape:
        raise ValueError(
            f"the images compared have shapes {image.shape} and {other.shape}; they must be the same: one batch, one "
            "size, one number of channels"
        )
    return at_least_float32(image) - at_least_float32(other)


def _mean(x: Array) -> Array:
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
