"""A random part of an image, scaled to the image's size: a pure function of a key, differentiable in the image."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, UInt32

KeyArray = Key[Array, ""] | UInt32[Array, "2"]


def resized_crop(
    key: KeyArray,
    image: Float[Array, "h w c"],
    *,
    least: float = 0.25,
    most: float = 1.0,
    ratio: float = 4 / 3,
) -> Float[Array, "h w c"]:
    """A window of a random share of the image's area, place and sides' ratio, scaled to the whole bilinearly.

    The share is uniform in [least, most], the logarithm of the ratio uniform up to ± log `ratio`; a side longer than the
    image's becomes the image's (`RandomResizedCrop` of PyTorch draws again instead).

    Args:
        key: of this example.
        image: `[h, w, c]`.
        least: smallest share, above 0.
        most: largest, up to 1.
        ratio: largest of one side to the other, at least 1.

    Raises:
        ValueError: a number out of its range.
    """
    if not 0 < least <= most <= 1 or not ratio >= 1:
        raise ValueError(f"least, most, ratio = {least}, {most}, {ratio}; 0 < least <= most <= 1 <= ratio is accepted")
    of_area, of_ratio, of_place = jax.random.split(key, 3)
    area = jax.random.uniform(of_area, (), image.dtype, least, most)
    stretch = jnp.exp(jax.random.uniform(of_ratio, (), image.dtype, -1.0, 1.0) * math.log(ratio))
    share = jnp.minimum(jnp.sqrt(area * jnp.stack([stretch, 1 / stretch])), 1.0)  # of the height, of the width
    sides = jnp.asarray(image.shape[:2], image.dtype)
    first = jax.random.uniform(of_place, (2,), image.dtype) * (1 - share) * sides
    return jax.image.scale_and_translate(
        image, image.shape, (0, 1), 1 / share, -first / share, method="linear", antialias=False
    )
