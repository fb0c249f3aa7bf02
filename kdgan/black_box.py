"""What a black box answers a query with: the probabilities of its classes, or the class that it takes; with noise, too.

Stealing a model is distilling it from such answers: Tramèr et al. 2016 from probabilities, Orekondy et al. 2019 ("Knockoff
nets") with images of another distribution. Noise on the answers is a defence, which costs the honest user accuracy, too.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt32

from kdgan.attacks import UNIT, Pixels, of_channels
from kdgan.losses.logits import at_least_float32

ANSWERS = ("probabilities", "labels")
LEVELS = 255  # a queried image is known by its pixels in so many levels


def answer(
    logits: Float[Array, "b k"], query: Any, *, answers: str = "probabilities", noise: float = 0.0, seed: int = 0,
    pixels: Pixels = UNIT,
) -> Float[Array, "b k"]:  # fmt: skip
    """The answers to queries: softmax(z + σ·ξ) with ξ_c ~ N(0, 1), or the class where it is largest, as a one-hot vector.

    Noise of σ = 1 multiplies a probability by e or 1/e. It is a function of the query: who asks the same again is told the
    same, or the noise could be averaged away. Another view of an image, an augmented one, is another query.

    Args:
        logits: z [b, k] of the black box.
        query: what was asked [b, ...]: images [b, h, w, c] as (pixel − mean)/std, or other arrays.
        answers: "probabilities" or "labels".
        noise: σ ≥ 0, in logits.
        seed: of the noise.
        pixels: {"mean", "std"} of images.

    Returns:
        [b, k], at least 0, each row of sum 1.

    Raises:
        ValueError: other answers, a noise below 0, or other numbers of queries and logits.
    """
    check(answers, noise)
    if len(query) != len(logits):
        raise ValueError(f"query has {len(query)} examples, the logits {len(logits)}: as many are accepted")
    logits = at_least_float32(logits)
    if noise:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), digests(query, pixels=pixels))
        draw = lambda key: jax.random.normal(key, logits.shape[1:], logits.dtype)
        logits = logits + noise * jax.vmap(draw)(keys)
    if answers == "labels":
        return jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)
    return jax.nn.softmax(logits)


def digests(query: Any, *, pixels: Pixels = UNIT) -> UInt32[Array, " b"]:
    """A number for each query, equal for equal ones: Σ_i w_i·q_i modulo 2³² of its values q_i, with fixed random odd w_i.

    Images count by their pixels, rounded to 255 levels, so that two programs that normalise them with other roundings agree.
    """
    query = jnp.asarray(query)
    if query.ndim == 4 and jnp.issubdtype(query.dtype, jnp.floating):
        unit = query * of_channels(pixels["std"], query) + of_channels(pixels["mean"], query)
        words = jnp.round(LEVELS * unit).astype(jnp.int32).astype(jnp.uint32)
    elif jnp.issubdtype(query.dtype, jnp.floating):
        words = jax.lax.bitcast_convert_type(query.astype(jnp.float32), jnp.uint32)
    else:
        words = query.astype(jnp.uint32)
    words = words.reshape(len(query), math.prod(query.shape[1:]))
    weights = jax.random.bits(jax.random.key(0), words.shape[1:], jnp.uint32) | jnp.uint32(1)
    return jnp.sum(words * weights[None, :], axis=-1, dtype=jnp.uint32)


def check(answers: str, noise: Any) -> None:
    """Raises ValueError for answers that a black box does not give, or a noise that is no number from 0."""
    if answers not in ANSWERS:
        raise ValueError(f"answers = {answers!r}: accepted are {', '.join(ANSWERS)}")
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise < math.inf:
        raise ValueError(f"noise = {noise!r}: a standard deviation in logits, 0 or more, is accepted")
