"""How far predicted numbers are from the true ones, exactly, over any number of batches: RMSE, MAE, R².

Sums and their summary as in `classification`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Real

from kdgan.losses.logits import at_least_float32
from kdgan.metrics.classification import check_counted


def sums(
    outputs: Float[Array, "b d"],
    numbers: Real[Array, "b *d"],
    mask: Bool[Array, " b"] | Real[Array, " b"],
    *,
    centre: float = 0.0,
) -> dict[str, Array]:
    """Sums over the examples of a batch whose mask is not 0; the others may hold anything, NaN included.

    Args:
        outputs: predictions [b, d].
        numbers: true values [b, d], or [b] where d is 1.
        mask: [b], 0 or False for padding.
        centre: a number near the mean of the true ones. R² needs their variance, whose sums in float32 lose digits where
            the mean is hundreds of standard deviations from it.

    Returns:
        "count": examples, int32. "squared", "absolute": [d] Σ of the errors, squared and absolute. "number",
            "number_squared": [d] Σ of the true values less the centre, and of its square; float32.

    Raises:
        ValueError: numbers of another shape than the outputs.
    """
    if numbers.ndim == 1:
        numbers = numbers[:, None]
    if numbers.shape != outputs.shape:
        raise ValueError(
            f"numbers has shape {numbers.shape}; numbers for outputs {outputs.shape} must be of that shape"
        )
    keep = (mask != 0)[:, None]
    truth = numbers.astype(jnp.promote_types(numbers.dtype, jnp.float32))
    error = jnp.where(keep, at_least_float32(outputs) - truth, 0)
    shifted = jnp.where(keep, truth - centre, 0)
    return {
        "count": jnp.sum(keep, dtype=jnp.int32),
        "squared": jnp.sum(error**2, axis=0),
        "absolute": jnp.sum(jnp.abs(error), axis=0),
        "number": jnp.sum(shifted, axis=0),
        "number_squared": jnp.sum(shifted**2, axis=0),
    }


def summarise(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers from the total of `sums`; where the sums have leading axes (members), so have they.

    R² = 1 − Σ(error²)/Σ(y − ȳ)², 1 for a perfect prediction and 0 for the mean of the evaluated examples. Several numbers
    per example count alike: RMSE is the root of the mean over all of them, R² the mean of theirs.

    Args:
        sums: the total of what `sums` returned.

    Returns:
        "rmse" and "mae": in units of the numbers. "r2": at most 1; NaN where a number never varies.

    Raises:
        ValueError: no example was counted.
    """
    count = np.asarray(sums["count"])
    check_counted(count)
    squared, absolute, number, number_squared = (
        np.asarray(sums[name], np.float64) for name in ("squared", "absolute", "number", "number_squared")
    )
    variation = number_squared - number**2 / count[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(variation > 0, 1 - squared / variation, np.nan)
    return {
        "rmse": np.sqrt(squared.mean(-1) / count),
        "mae": absolute.mean(-1) / count,
        "r2": explained.mean(-1),
    }
