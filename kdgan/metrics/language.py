"""How well a language model predicts the next token, exactly, over any number of batches: perplexity, bits, accuracy.

Sums and their summary as in `classification`.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from kdgan.losses.logits import at_least_float32
from kdgan.metrics.classification import check_counted


def sums(
    logits: Float[Array, "b t k"],
    targets: Integer[Array, "b t"],
    mask: Bool[Array, "b t"] | Real[Array, "b t"],
    *,
    characters: Integer[Array, " b"] | None = None,
) -> dict[str, Array]:
    """Sums over the tokens of a batch whose mask is not 0; the others may hold anything, NaN included.

    Args:
        logits: [b, t, k], of the token that is to come.
        targets: integers [b, t] in 0 .. k − 1 wherever the mask is on: the tokens that came; one outside makes "nll" NaN.
        mask: [b, t], 0 or False for padding.
        characters: [b], characters that each example's tokens stand for; None where a token is a character.

    Returns:
        "count", "correct": tokens and those predicted right, int32. "nll": Σ −log p(token), in nats, float32.
        "characters": int32.
    """
    keep = mask != 0
    log_p = jax.nn.log_softmax(at_least_float32(logits))
    in_range = (targets >= 0) & (targets < logits.shape[-1])
    at_target = jnp.take_along_axis(log_p, jnp.where(in_range, targets, 0)[..., None], axis=-1)[..., 0]
    correct = keep & (jnp.argmax(logits, axis=-1) == targets)
    count = jnp.sum(keep, dtype=jnp.int32)
    some = jnp.any(keep, axis=1)
    return {
        "count": count,
        "correct": jnp.sum(correct, dtype=jnp.int32),
        "nll": jnp.sum(jnp.where(keep, jnp.where(in_range, -at_target, jnp.nan), 0)),
        "characters": count if characters is None else jnp.sum(jnp.where(some, characters, 0), dtype=jnp.int32),
    }


def summarise(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers from the total of `sums`; where the sums have leading axes (members), so have they.

    Args:
        sums: the total of what `sums` returned.

    Returns:
        "perplexity": exp of the mean negative log-likelihood of a token, at least 1; k for a model that knows nothing.
        "bits": bits per character, the negative log-likelihood over characters·log 2. "accuracy": share of tokens whose
            most likely value is the right one. "nll": nats per token.

    Raises:
        ValueError: no token was counted.
    """
    count = sums["count"]
    check_counted(count)
    nll = sums["nll"] / count
    return {
        "perplexity": np.exp(nll),
        "bits": sums["nll"] / (sums["characters"] * math.log(2)),
        "accuracy": sums["correct"] / count,
        "nll": nll,
    }
