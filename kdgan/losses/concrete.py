"""Drawing a label so that gradients pass: the concrete distribution (Maddison et al. 2017; Gumbel-softmax, Jang et al.
2017).

In KDGAN classifier and teacher annotate an example by a label drawn from their softmax, and learn, through the sample, from
what the discriminator makes of that label (`kdgan.methods.kdgan`).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray, Real

from kdgan.losses.logits import at_least_float32, check_temperature


def sample(
    key: PRNGKeyArray,
    logits: Float[Array, "b k"],
    *,
    temperature: Real[ArrayLike, ""],
    straight_through: bool = True,
) -> Float[Array, "b k"]:
    """One relaxed label per example: y = softmax((logits + g)/τ) with g_c ~ Gumbel(0, 1).

    The largest entry of y falls on class c with probability softmax(logits)_c at every temperature (the Gumbel-max
    trick). Small τ: y near one-hot and gradients of large variance; large τ: y near uniform, gradients smooth and
    biased. KDGAN lowers τ from 10 to 0.1 as training goes.

    Args:
        key: a JAX random key.
        logits: [b, k].
        temperature: τ > 0, a number or a JAX scalar (a schedule's value).
        straight_through: the value is the one-hot label itself, and its gradient that of y.

    Returns:
        [b, k], at least float32, rows summing to 1.

    Raises:
        ValueError: the temperature (where it is a Python number) is not positive.
    """
    check_temperature(temperature)
    logits = at_least_float32(logits)
    perturbed = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
    relaxed = jax.nn.softmax(perturbed / jnp.asarray(temperature, logits.dtype))
    if not straight_through:
        return relaxed
    drawn = jax.nn.one_hot(jnp.argmax(perturbed, axis=1), logits.shape[1], dtype=logits.dtype)
    # The difference first: it is exactly 0, and the value exactly one-hot. (drawn + relaxed) − relaxed would round.
    return drawn + (relaxed - jax.lax.stop_gradient(relaxed))
