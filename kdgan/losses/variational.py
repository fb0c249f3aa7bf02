"""Variational information distillation (Ahn et al. 2019): how likely the teacher's features are, given the student's.

Features come as in `features.py`. No function here stops a gradient.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses.logits import at_least_float32
from kdgan.resampling import adaptive_average


def variational_information(
    predicted: Features, target: Features, variance: Features, weights: Weights | None = None
) -> Float[Array, " b"]:
    """VID (Ahn et al. 2019): Σ_l w_l·½·mean ((T_l − μ_l)²/σ_l² + log σ_l²), a variance for each channel.

    −log q(T | S) of a Gaussian q, without its constant ½·log 2π. The paper has the sum over h, w and c: h·w·c times
    this; RepDistiller, mdistiller (which trains no variances) and Knowledge-Distillation-Zoo take the mean. μ and σ²
    are learned (`models.variational`). Where the teacher's sides are larger than μ's it is averaged to them, as
    RepDistiller has it.

    Args:
        predicted: μ_l [b, h, w, c] or [b, c].
        target: T_l of the same shapes, or of larger sides.
        variance: σ_l² [c], above 0.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], of either sign.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or layers whose channels or smaller sides
            differ.
    """
    terms = []
    variances = [spread for _, _, spread, _ in matched(target, variance, None)]
    for (where, mean, t, weight), spread in zip(matched(predicted, target, weights), variances, strict=True):
        if t.ndim == mean.ndim == 4 and t.shape[1:3] != mean.shape[1:3] and _covers(t, mean):
            t = adaptive_average(t, (mean.shape[1], mean.shape[2]))
        if t.shape != mean.shape or spread.shape != mean.shape[-1:]:
            raise ValueError(
                f"{where} have shapes {mean.shape} and {t.shape}, the variances {spread.shape}; the same shapes"
                " [b, ..., c], or a teacher of larger sides, and variances [c] are accepted"
            )
        spread = at_least_float32(spread).reshape((1,) * (mean.ndim - 1) + spread.shape)
        unlikely = jnp.square(at_least_float32(t) - at_least_float32(mean)) / spread + jnp.log(spread)
        terms.append(weight * jnp.mean(unlikely.reshape(unlikely.shape[0], -1), axis=1) / 2)
    return jnp.sum(jnp.stack(terms), axis=0)


def _covers(large: Array, small: Array) -> bool:
    return all(a >= b for a, b in zip(large.shape[1:3], small.shape[1:3], strict=True))
