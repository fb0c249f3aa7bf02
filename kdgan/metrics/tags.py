"""How well tags are ranked and chosen, exactly, over any number of batches: P@n, F@n, MAP, MRR, micro and macro F1.

An example has any number of k tags (multi-hot labels). The first six are those of KDGAN's tag recommendation (Wang et al.
2018): tags are ranked by their logits, and an example without any tag scores 0 in each, as in the authors' code. F1 takes
the tags whose probability σ(logit) is above a threshold. Sums and their summary as in `classification`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Real

from kdgan.losses.logits import at_least_float32, sigmoid_cross_entropy
from kdgan.metrics.classification import check_counted

CUTOFFS = (3, 5)


def sums(
    logits: Float[Array, "b k"],
    tags: Real[Array, "b c"] | Bool[Array, "b c"],
    mask: Bool[Array, " b"] | Real[Array, " b"],
    *,
    cutoffs: Sequence[int] = CUTOFFS,
    threshold: float = 0.5,
) -> dict[str, Array]:
    """Sums over the examples of a batch whose mask is not 0; the others may hold anything, NaN included.

    Args:
        logits: [b, k].
        tags: [b, k], 1 where the example has the tag and 0 where not.
        mask: [b], 0 or False for padding.
        cutoffs: the n's of P@n and F@n; where k is smaller, all k tags are looked at.
        threshold: of σ(logit) for F1, in (0, 1); a tag is chosen above it.

    Returns:
        "count": examples, int32. "nll": Σ −log p(tags), of all k tags, in nats, float32.
        "hits_n": tags of the examples among their n first, int32; "f_n": Σ of the examples' F@n, float32; of each cutoff.
        "average_precision", "reciprocal_rank": Σ of the examples', float32.
        "true_positive", "false_positive", "false_negative": [k] int32, by tag.

    Raises:
        ValueError: tags of another shape than the logits, a cutoff below 1, or a threshold outside (0, 1).
    """
    if tags.shape != logits.shape:
        raise ValueError(f"tags has shape {tags.shape}; tags for logits {logits.shape} must be [b, k], 0 or 1 each")
    if not cutoffs or min(cutoffs) < 1:
        raise ValueError(f"cutoffs is {tuple(cutoffs)}; whole numbers of at least 1 are wanted")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; it must be in (0, 1)")
    k = logits.shape[1]
    keep = mask != 0
    logits = at_least_float32(logits)
    has = keep[:, None] & (tags != 0)
    # Stable, so that of equal logits the first tag ranks first, on every backend.
    order = jnp.argsort(-logits, axis=1, stable=True)
    ranked = jnp.take_along_axis(has, order, axis=1)
    ranks = jnp.arange(1, k + 1, dtype=logits.dtype)[None, :]
    hits = jnp.cumsum(ranked, axis=1, dtype=jnp.int32)
    number = hits[:, -1]
    precision = jnp.where(ranked, hits / ranks, 0)
    first = jnp.max(jnp.where(ranked, 1 / ranks, 0), axis=1)
    chosen = keep[:, None] & (logits > float(np.log(threshold) - np.log1p(-threshold)))
    count = lambda condition, axis: jnp.sum(condition, axis=axis, dtype=jnp.int32)
    at: dict[str, Array] = {}
    for n in cutoffs:
        among = hits[:, min(n, k) - 1]
        at[f"hits_{n}"] = count(among, 0)
        # 2PR/(P + R) with P = hits/n and R = hits/number.
        at[f"f_{n}"] = jnp.sum(jnp.where(keep, 2 * among / (min(n, k) + number), 0))
    return {
        "count": count(keep, 0),
        "nll": jnp.sum(jnp.where(keep, sigmoid_cross_entropy(logits, tags), 0)),
        **at,
        "average_precision": jnp.sum(jnp.sum(precision, axis=1) / jnp.maximum(number, 1)),
        "reciprocal_rank": jnp.sum(first),
        "true_positive": count(has & chosen, 0),
        "false_positive": count(chosen & ~has, 0),
        "false_negative": count(has & ~chosen, 0),
    }


def summarise(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers from the total of `sums`; where the sums have leading axes (members), so have they.

    P@n is hits/n, F@n the harmonic mean of P@n and R@n = hits/(tags of the example), MAP the mean over examples of
    (1/tags of the example)·Σ over the ranks of its tags of the precision there, MRR that of 1/(rank of its first tag).
    Micro F1 counts all tags together; macro F1 is the mean over the k tags, with 0 for a tag that is neither there nor
    chosen (scikit-learn's `zero_division=0`).

    Args:
        sums: the total of what `sums` returned.

    Returns:
        "p_n" and "f_n" of each cutoff n, "map", "mrr", "micro_f1", "macro_f1": fractions. "nll": nats per example.

    Raises:
        ValueError: no example was counted.
    """
    count = sums["count"]
    check_counted(count)
    k = sums["true_positive"].shape[-1]
    cutoffs = [int(name.removeprefix("hits_")) for name in sums if name.startswith("hits_")]
    right = 2 * sums["true_positive"]
    both = right + sums["false_positive"] + sums["false_negative"]
    total = both.sum(-1)
    return {
        **{f"p_{n}": sums[f"hits_{n}"] / (min(n, k) * count) for n in cutoffs},
        **{f"f_{n}": sums[f"f_{n}"] / count for n in cutoffs},
        "map": sums["average_precision"] / count,
        "mrr": sums["reciprocal_rank"] / count,
        "micro_f1": right.sum(-1) / (total + (total == 0)),
        "macro_f1": (right / (both + (both == 0))).mean(-1),
        "nll": sums["nll"] / count,
    }
