"""Losses between images: a student's against the teacher's or the true one, as means over pixels and channels.

Means, not sums, so that a λ keeps its sense from one resolution to another: `l1_loss` and `mse_loss` of PyTorch, for which
published λ's of pixel losses are. A paper's ‖x − y‖² or ‖x − y‖₁, read as a sum, is h·w·c times as much.
No function here stops a gradient. `DISTANCES` names those between two images.
"""

from collections.abc import Callable, Mapping

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


def charbonnier(
    image: Float[Array, "b *pixels"], other: Float[Array, "n *others"], *, epsilon: float = 1e-3
) -> Float[Array, " b"]:
    """mean_{h,w,c} √((x − y)² + ε²) (Charbonnier et al. 1994): |x − y| with a rounded tip, LapSRN's loss (Lai et al. 2017).

    Code that sums over pixels (LapSRN) has h·w·c times as much; ε is in the images' units, 1e-3 of pixels in [0, 1].

    Args:
        image: x [b, h, w, c], or of any other rank with the batch first.
        other: y of the same shape.
        epsilon: ε, above 0.

    Returns:
        [b], at least ε. The gradient is (x − y) / √((x − y)² + ε²), 0 where x = y.

    Raises:
        ValueError: the shapes differ, or ε is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}; it must be positive (l1 is its limit at 0)")
    return _mean(jnp.sqrt(jnp.square(_difference(image, other)) + epsilon**2))


# Distances between two images by the names that methods know.
DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {"l1": l1, "l2": l2, "charbonnier": charbonnier}


def total_variation(
    image: Float[Array, "b h w c"], *, squared: bool = False, diagonals: bool = False
) -> Float[Array, " b"]:
    """Mean difference of neighbours: mean |x_{i+1,j} − x_{ij}| + mean |x_{i,j+1} − x_{ij}| (Rudin et al. 1992, anisotropic).

    Each mean is over the pairs that there are, and over channels; papers and code that sum over pixels (Johnson et al.
    2016) have about h·w·c times as much.

    Args:
        image: x [b, h, w, c].
        squared: differences are squared, as in the codes of style transfer; else absolute, with gradient 0 at equal pixels.
        diagonals: also the means over both diagonal neighbours: with `squared` False the l1 form of DeepInversion (Yin et
            al. 2020), whose l2 form is a norm over the whole batch and none of these.

    Returns:
        [b], at least 0; 0 of a flat image.

    Raises:
        ValueError: an image of less than 2×2 pixels.
    """
    if min(image.shape[1:3]) < 2:
        raise ValueError(f"the images have shape {image.shape[1:]}; neighbours that differ need at least 2×2 pixels")
    x = at_least_float32(image)
    pairs = [(x[:, 1:], x[:, :-1]), (x[:, :, 1:], x[:, :, :-1])]
    if diagonals:
        pairs += [(x[:, 1:, 1:], x[:, :-1, :-1]), (x[:, 1:, :-1], x[:, :-1, 1:])]
    distance = l2 if squared else l1
    return sum((distance(*pair) for pair in pairs[1:]), distance(*pairs[0]))


def _difference(image: Array, other: Array) -> Array:
    if image.shape != other.shape:
        raise ValueError(
            f"the images compared have shapes {image.shape} and {other.shape}; they must be the same: one batch, one "
            "size, one number of channels"
        )
    return at_least_float32(image) - at_least_float32(other)


def _mean(x: Array) -> Array:
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
