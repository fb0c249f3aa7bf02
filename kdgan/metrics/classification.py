"""How good a classifier is, exactly, over any number of batches: accuracy, likelihood, calibration, confusion.

`sums` is one batch's share and adds up: over batches by `jax.tree.map(jnp.add, a, b)`, over devices by psum, over
members of a population it maps. `summarise` reads the total. A mean of batch means, which a last short batch would
bias, never occurs.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from kdgan.losses.logits import at_least_float32, cross_entropy


def sums(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " b"],
    mask: Bool[Array, " b"] | Real[Array, " b"],
    *,
    bins: int = 15,
) -> dict[str, Array]:
    """Sums over the examples of a batch whose mask is not 0; the others may hold anything, NaN included.

    Args:
        logits: [b, k].
        labels: integers [b] in 0 .. k − 1 wherever the mask is on; one outside makes "nll" NaN.
        mask: [b], 0 or False for padding.
        bins: of confidence, for the calibration error.

    Returns:
        "count", "correct": examples and right ones among them, int32.
        "nll": Σ −log p(label), in nats, float32.
        "bin_count", "bin_correct": [bins], int32, and "bin_confidence": [bins], float32: examples, right ones, and Σ
            max_c p_c, by bin. Bin i holds the confidences in (i/bins, (i + 1)/bins].
        "confusion": [k, k] int32; row: label, column: prediction (the first of equal largest logits).

    Raises:
        ValueError: bins below 1.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 is wanted")
    k = logits.shape[1]
    keep = mask != 0
    logits = at_least_float32(logits)
    prediction = jnp.argmax(logits, axis=1)
    correct = keep & (prediction == labels)
    confidence = jnp.max(jax.nn.softmax(logits), axis=1)
    bin_index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    # A sum over a one-hot [b, bins] and not a scatter: on a GPU scatters add floats in any order, and no evaluation
    # would repeat bitwise.
    in_bin = keep[:, None] & (bin_index[:, None] == jnp.arange(bins)[None, :])
    return {
        "count": jnp.sum(keep, dtype=jnp.int32),
        "correct": jnp.sum(correct, dtype=jnp.int32),
        "nll": jnp.sum(jnp.where(keep, cross_entropy(logits, labels), 0)),
        "bin_count": jnp.sum(in_bin, axis=0, dtype=jnp.int32),
        "bin_correct": jnp.sum(in_bin & correct[:, None], axis=0, dtype=jnp.int32),
        "bin_confidence": jnp.sum(jnp.where(in_bin, confidence[:, None], 0), axis=0),
        "confusion": jnp.zeros((k, k), jnp.int32).at[labels, prediction].add(keep.astype(jnp.int32)),
    }


def summarise(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers from the total of `sums`; where the sums have leading axes (members), so have they.

    The expected calibration error is that of Guo et al. 2017: Σ_i (n_i/n)·|accuracy_i − confidence_i| over bins of
    equal width. From NumPy sums (`jax.device_get`) the quotients are float64; from JAX sums float32, and the function
    may be jitted and mapped.

    Args:
        sums: the total of what `sums` returned.

    Returns:
        "accuracy" and "ece": fractions. "nll": nats per example. "confusion": [k, k] counts; row: label, column:
            prediction.

    Raises:
        ValueError: no example was counted.
    """
    count = sums["count"]
    check_counted(count)
    return {
        "accuracy": sums["correct"] / count,
        "nll": sums["nll"] / count,
        # n_i cancels, so that an empty bin needs no care.
        "ece": abs(sums["bin_correct"] - sums["bin_confidence"]).sum(-1) / count,
        "confusion": sums["confusion"],
    }


def top_sums(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " b"],
    mask: Bool[Array, " b"] | Real[Array, " b"],
    *,
    n: int = 5,
) -> dict[str, Array]:
    """Of the examples whose mask is not 0 those whose label is among the n classes of the largest logits.

    Of equal logits the lower class comes first, as in `sums`, so that n = 1 counts the same examples as "correct" there.

    Args:
        logits: [b, k].
        labels: integers [b] in 0 .. k − 1 wherever the mask is on.
        mask: [b], 0 or False for padding.
        n: how many classes count; all examples are right where n is k or more.

    Returns:
        "top_n": int32, under n's own name, "top_5".

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least 1 is wanted")
    k = logits.shape[1]
    labels = labels.astype(jnp.int32)[:, None]
    logits = at_least_float32(logits)
    at_label = jnp.take_along_axis(logits, jnp.clip(labels, 0, k - 1), axis=1)
    earlier = jnp.arange(k)[None, :] < labels
    before = jnp.sum((logits > at_label) | (earlier & (logits == at_label)), axis=1)
    # A NaN is larger than nothing and nothing than it; an example with one is not right.
    right = (mask != 0) & (before < n) & ~jnp.any(jnp.isnan(logits), axis=1)
    return {f"top_{n}": jnp.sum(right, dtype=jnp.int32)}


def by_class(confusion: Any) -> dict[str, Any]:
    """Macro F1 and the accuracy of each class, from counts [..., k, k]; row: label, column: prediction.

    Macro F1 is the mean over the classes of 2·right/(examples + predictions of the class), over those that an example or a
    prediction has, as scikit-learn's. A class's accuracy is its recall.

    Args:
        confusion: "confusion" of `summarise`.

    Returns:
        "macro_f1": a fraction. "class_accuracy": [..., k], fractions; NaN for a class without an example.
    """
    confusion = np.asarray(confusion, np.float64)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    examples, predictions = confusion.sum(-1), confusion.sum(-2)
    present = examples + predictions > 0
    f1 = 2 * right / np.where(present, examples + predictions, 1)
    return {
        "macro_f1": f1.sum(-1) / np.maximum(present.sum(-1), 1),
        "class_accuracy": np.where(examples > 0, right / np.where(examples > 0, examples, 1), np.nan),
    }


def check_counted(count: Any) -> None:
    """Raises ValueError where no example was counted; under jit, where that cannot be seen, the quotients are NaN."""
    if not isinstance(count, jax.core.Tracer) and np.any(np.asarray(count) == 0):
        raise ValueError("count is 0: no example was evaluated (an empty split, or a mask that is 0 everywhere)")
