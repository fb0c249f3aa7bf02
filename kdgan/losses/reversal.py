"""A gradient that is reversed (Ganin & Lempitsky 2015): one objective, which one player lowers and another raises.

CTKD (Li et al. 2023) learns the temperature of its soft labels so (`kdgan.models.temperature`).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real


def reverse_gradient(x: Float[Array, "*shape"], scale: Real[ArrayLike, ""] = 1.0) -> Float[Array, "*shape"]:
    """The identity, whose gradient is −λ times the one that arrives: what is learned through it climbs.

    CTKD's code has +λ here and lets λ go from 0 to −1, along half a cosine over its first 10 epochs: ours is the schedule
    "cosine" from 0 to 1, `kdgan.optim.make_schedule("cosine", steps=..., start=0.0, end=1.0)`.

    Args:
        x: of any shape.
        scale: λ ≥ 0, a number or a JAX scalar (a schedule's value); it has no gradient. 0: none passes.

    Returns:
        x.

    Raises:
        ValueError: λ (where it is a Python number) is below 0, which would not reverse.
    """
    if isinstance(scale, (int, float)) and not scale >= 0:
        raise ValueError(f"scale is {scale}; it must be at least 0, since the sign is turned here")
    return _reversed(x, jnp.asarray(scale, x.dtype))


@jax.custom_vjp
def _reversed(x: Array, scale: Array) -> Array:
    del scale
    return x


def _forward(x: Array, scale: Array) -> tuple[Array, Array]:
    return x, scale


def _backward(scale: Array, gradient: Array) -> tuple[Array, Array]:
    return -scale * gradient, jnp.zeros_like(scale)


_reversed.defvjp(_forward, _backward)
