"""SRD (Miles & Mikolajczyk 2024): a distance of embeddings that are standardised over the batch, under a logarithm.

Features come as in `features.py`. It is a statistic of the batch (inside pmap of a device's share). No function here
stops a gradient.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses.logits import at_least_float32

EPSILON = 1e-4  # beside the variance


def log_power_distance(
    student: Features, teacher: Features, weights: Weights | None = None, *, power: Real[ArrayLike, ""] = 4.0
) -> Float[Array, ""]:
    """SRD (Miles & Mikolajczyk 2024): Σ_l w_l·log Σ_{b,d} |BN(S_l) − BN(T_l)|^α, BN without scale and bias.

    The student's stands behind a learned linear projection, `models.Adapter`; maps are averaged over their places
    first, which commutes with a 1×1 convolution. BN takes the statistics of the batch, with ε = 1e-4 beside the
    variance. The authors' code for ImageNet, and torchdistill, are this, with λ 2 beside KL at T = 1; their code for
    DeiT is another loss. The logarithm makes the gradient independent of scale: it is large where the two nearly agree.

    Args:
        student: S_l [b, d] or [b, h, w, d].
        teacher: T_l of the same width.
        weights: w_l, one a layer; 1 each where there are none.
        power: α, above 1.

    Returns:
        A scalar. Where both agree it is the logarithm of the least number, without a gradient.

    Raises:
        ValueError: a power that is not above 1; no layers, other numbers of layers, names or weights, a batch of one,
            or layers of other widths or ranks.
    """
    if isinstance(power, int | float) and not power > 1:
        raise ValueError(f"power is {power}; it must be above 1, or the gradient would jump where both agree")
    total = jnp.zeros(())
    for where, s, t, weight in matched(student, teacher, weights):
        ours, theirs = (jnp.mean(at_least_float32(x), axis=tuple(range(1, x.ndim - 1))) for x in (s, t))
        if ours.ndim != 2 or ours.shape != theirs.shape or len(ours) < 2:
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}; [b, d] or [b, h, w, d] of the same width and batch, of"
                " at least 2, are accepted"
            )
        apart = jnp.abs(_standardised(ours) - _standardised(theirs))
        sum_of_powers = jnp.sum(jnp.where(apart > 0, jnp.where(apart > 0, apart, 1) ** power, 0))
        least = jnp.finfo(apart.dtype).tiny
        total = total + weight * jnp.log(jnp.where(sum_of_powers > least, sum_of_powers, least))
    return total


def _standardised(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    centred = x - jnp.mean(x, axis=0, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(jnp.square(centred), axis=0, keepdims=True) + EPSILON)
