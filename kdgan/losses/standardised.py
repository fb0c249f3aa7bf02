"""Logit standardisation (Sun et al. 2024): logits of both players at mean 0 and deviation 1, before any loss of logits.

    s, t = (standardise(x) for x in (student_logits, teacher_logits))
    kl_divergence(s, t, temperature=2.0)  # T²·KL, λ 9 beside 0.1 of the labels' in the published code

A student need then not reach the size of its teacher's logits, only their order and proportions.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.losses.logits import at_least_float32

EPS = 1e-7  # added to the standard deviation, as published


def standardise(logits: Float[Array, "b *t k"], *, population: bool = False) -> Float[Array, "b *t k"]:
    """z-scores over classes (Sun et al. 2024): (x − x̄)/(std(x) + 1e-7), std² = Σ_c (x_c − x̄)²/(k − 1).

    The published code has k − 1 in the standard deviation, its paper k, whose z-scores (`population=True`) are √(k/(k − 1))
    times the code's, as if the temperature were smaller by that. The gradient passes mean and deviation too, so that it is
    orthogonal to a constant and to the z-scores themselves.

    Args:
        logits: [b, k] or [b, t, k].
        population: 1/k, as the paper has it, in place of 1/(k − 1).

    Returns:
        The logits' shape, at least float32. Zeros, without a gradient, where all of an example's logits are equal.

    Raises:
        ValueError: fewer than 3 classes. The z-scores of two are always ±1/√2, and nothing could be learned.
    """
    k = logits.shape[-1]
    if k < 3:
        raise ValueError(
            f"standardise: {k} classes; it accepts 3 or more, since z-scores of two are constant: use the logits as they are"
        )
    x = at_least_float32(logits)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.sum(jnp.square(x), axis=-1, keepdims=True) / (k if population else k - 1)
    varies = variance > 0
    return jnp.where(varies, x / (jnp.sqrt(jnp.where(varies, variance, 1)) + EPS), 0)
