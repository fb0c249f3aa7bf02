"""Where a teacher's units begin to act: activation boundaries (AB), and its features above a margin below 0 (OFD).

Both take features before the ReLU. They are sums over a layer's units, as in the papers and in the code that runs them,
for which published λ's are; of a layer of n units the mean is 1/n times as much. Features come as in `features.py`. No
function here stops a gradient.
"""

import jax.numpy as jnp
from jax import Array
from jax.scipy.stats import norm
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses.logits import at_least_float32

LEAST_NEGATIVE = 1e-3  # the probability of a value below 0 from which a margin is the mean of such values


def activation_boundary(
    student: Features, teacher: Features, weights: Weights | None = None, *, margin: Real[ArrayLike, ""] = 1.0
) -> Float[Array, " b"]:
    """AB (Heo et al. 2019a): Σ_l w_l·Σ_{h,w,c} (T > 0 ? (μ − S)₊² : (μ + S)₊²), both before the ReLU.

    The authors' code has the sum over the batch, too: b times the mean of this. RepDistiller's is this with w = 3/1000
    times 2^(l − n), 1 at the last layer l = n; Knowledge-Distillation-Zoo takes the mean over units.

    Args:
        student: S_l [b, ...].
        teacher: T_l of the same shapes.
        weights: w_l, one a layer; 1 each where there are none.
        margin: μ, by which a unit is to be on the teacher's side, above 0.

    Returns:
        [b], at least 0 for weights at least 0. 0 with no gradient where every unit is beyond the margin.

    Raises:
        ValueError: a margin that is not above 0; no layers, other numbers of layers, names or weights, or a layer whose
            shapes differ.
    """
    if isinstance(margin, int | float) and not margin > 0:
        raise ValueError(f"margin is {margin}; it must be above 0")
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        s, t = _same(where, s, t)
        side = jnp.where(t > 0, 1, -1)
        terms.append(weight * _total(jnp.square(jnp.maximum(margin - side * s, 0))))
    return jnp.sum(jnp.stack(terms), axis=0)


def margins(mean: Float[Array, " c"], scale: Float[Array, " c"]) -> Float[Array, " c"]:
    """OFD's margins (Heo et al. 2019b): m = E[x | x < 0] of x ~ N(β, γ²), what a batch norm gives to the ReLU.

    m = β − |γ|·φ(β/|γ|)/Φ(−β/|γ|) where Φ(−β/|γ|) > 0.001, else −3·|γ|, as the authors' code has it. mdistiller has the
    same; Knowledge-Distillation-Zoo takes the mean of the negative values of each batch.

    Args:
        mean: β [c], the bias of the teacher's last batch norm before the ReLU.
        scale: γ [c], its scale; the sign does not matter.

    Returns:
        [c], at most 0. Where γ is 0, min(β, 0).
    """
    mean, spread = at_least_float32(mean), jnp.abs(at_least_float32(scale))
    there = spread > 0
    ratio = jnp.where(there, mean / jnp.where(there, spread, 1), 0)
    often = norm.cdf(-ratio) > LEAST_NEGATIVE
    known = jnp.where(often, ratio, 0)
    below = mean - spread * jnp.exp(norm.logpdf(known) - norm.logcdf(-known))
    return jnp.where(there, jnp.where(often, below, -3 * spread), jnp.minimum(mean, 0))


def margin_distance(
    student: Features, teacher: Features, margins: Features, weights: Weights | None = None
) -> Float[Array, " b"]:
    """OFD (Heo et al. 2019b): Σ_l w_l·Σ_{h,w,c} (S − T̃)², 0 where S ≤ T̃ ≤ 0, T̃ = max(T, m), before the ReLU.

    A negative response of the teacher is only to be below 0 as well. The authors' code has w = 2^(l − n), 1 at the last
    layer l = n, and a weight of 1/1000 for the sum of all: λ = 0.001 here. mdistiller's is that;
    Knowledge-Distillation-Zoo takes the mean. Their code leaves the teacher's batch norm in training mode, a frozen
    player's is in evaluation mode.

    Args:
        student: S_l [b, ..., c], behind a learned 1×1 convolution with batch norm (`models.regressor`).
        teacher: T_l of the same shapes.
        margins: m_l [c], of `margins`, one a layer, in the teacher's order.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 for weights at least 0.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, a layer whose shapes differ, or margins of
            other numbers or channels.
    """
    terms = []
    below = [least for _, _, least, _ in matched(teacher, margins, None)]
    for (where, s, t, weight), least in zip(matched(student, teacher, weights), below, strict=True):
        s, t = _same(where, s, t)
        if least.shape != s.shape[-1:]:
            raise ValueError(f"{where} have the shape {s.shape} and margins of shape {least.shape}; [c] is accepted")
        target = jnp.maximum(t, at_least_float32(least).reshape((1,) * (t.ndim - 1) + least.shape))
        terms.append(weight * _total(jnp.where((s > target) | (target > 0), jnp.square(s - target), 0)))
    return jnp.sum(jnp.stack(terms), axis=0)


def _same(where: str, s: Array, t: Array) -> tuple[Array, Array]:
    if s.shape != t.shape:
        raise ValueError(
            f"{where} have shapes {s.shape} and {t.shape}, and must be the same: a learned adapter maps one width to"
            " another"
        )
    return at_least_float32(s), at_least_float32(t)


def _total(x: Array) -> Float[Array, " b"]:
    return jnp.sum(x.reshape(x.shape[0], -1), axis=1)
