"""Contrast of a student's embedding with the teacher's: of the same example against those of others.

CRD (Tian et al. 2020) has the others from a bank that holds an embedding of every training example; a player holds it
(`kdgan.models.memory_bank`), and the equations are here, of arrays alone. `contrastive_in_batch` has the others from the
batch. Embeddings have length 1. No function here stops a gradient.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Real

from kdgan.losses.logits import at_least_float32, check_temperature

EPS = 1e-7  # CRD's, beside the share of noise


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x/‖x‖ along the last axis, at least float32; zeros where it is 0, without a gradient."""
    x = at_least_float32(x)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(squared > 0, x / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def bank_scores(
    anchor: Float[Array, "b d"], rows: Float[Array, "n m d"], *, temperature: Real[ArrayLike, ""] = 0.07
) -> Float[Array, "b m"]:
    """Logarithms of CRD's scores (Tian et al. 2020): log h = ⟨a, r⟩/τ, h = exp(⟨a, r⟩/τ) before its constant Z.

    Logarithms, for h itself overflows where τ is below 1/88.

    Args:
        anchor: a [b, d], embeddings of one player.
        rows: r [b, m, d], embeddings of the other from its bank: of the same example first, then of m − 1 others.
        temperature: τ > 0, a number or a JAX scalar; 0.07 published.

    Returns:
        [b, m].

    Raises:
        ValueError: other batches or widths, or τ (where it is a Python number) is not positive.
    """
    check_temperature(temperature)
    if anchor.shape != (rows.shape[0], rows.shape[2]):
        raise ValueError(f"anchor has shape {anchor.shape} and rows {rows.shape}; [b, d] and [b, m, d] are accepted")
    a, r = at_least_float32(anchor), at_least_float32(rows)
    return jnp.einsum("bd,bmd->bm", a, r, precision="highest") / jnp.asarray(temperature, a.dtype)


def log_normaliser(log_scores: Float[Array, "b m"], examples: int) -> Float[Array, ""]:
    """CRD's constant as its code has it: log Z, Z = n·mean h over the scores of the first batch.

    Z makes of a score the probability of an example among n. The paper's equation has none (Z = 1, log Z = 0). The code
    estimates it once, on the first batch, and keeps it without a gradient, which the caller sees to.

    Args:
        log_scores: log h [b, m] of one side.
        examples: n, how many the bank holds.

    Returns:
        A scalar, a statistic of the batch.
    """
    return jax.nn.logsumexp(log_scores) - math.log(log_scores.size) + math.log(examples)


def nce(log_scores: Float[Array, "b m"], log_z: Real[ArrayLike, ""] = 0.0, *, examples: int) -> Float[Array, " b"]:
    """CRD's noise-contrastive estimation (Tian et al. 2020), one side: −log P₀/(P₀ + c) − Σ_{k≥1} log c₀/(P_k + c), P = h/Z.

    c₀ = (m − 1)/n is the share of the m − 1 negatives in noise that is even over the n examples, and c = c₀ + 1e-7. CRD adds
    both sides: the student's embedding against the teacher's bank, and the teacher's against the student's. Equal to
    RepDistiller's, Knowledge-Distillation-Zoo's and torchdistill's, averaged over the batch; λ 0.8 published.

    Args:
        log_scores: log h [b, m], of the same example first.
        log_z: log Z, of `log_normaliser`.
        examples: n, how many the bank holds.

    Returns:
        [b], at least 0 but for the 1e-7.

    Raises:
        ValueError: no negatives (m = 1), or n below 1.
    """
    negatives = log_scores.shape[1] - 1
    if negatives < 1 or examples < 1:
        raise ValueError(
            f"log_scores has shape {log_scores.shape} and examples is {examples}: [b, 1 + negatives] with negatives and"
            " examples of at least 1 is accepted"
        )
    share = negatives / examples
    log_c = math.log(share + EPS)
    # log of P/c, by which P/(P + c) = σ(·) and c/(P + c) = σ(−·).
    odds = at_least_float32(log_scores)
    odds = odds - jnp.asarray(log_z, odds.dtype) - jnp.asarray(log_c, odds.dtype)
    of_negatives = jnp.sum(jax.nn.log_sigmoid(-odds[:, 1:]), axis=-1) + negatives * (math.log(share) - log_c)
    return -jax.nn.log_sigmoid(odds[:, 0]) - of_negatives


def moved_rows(
    old: Float[Array, "b d"], new: Float[Array, "n d"], *, momentum: Real[ArrayLike, ""] = 0.5
) -> Float[Array, "b d"]:
    """What CRD's bank holds of an example after a batch: (ω·old + (1 − ω)·new)/‖·‖, ω = 0.5 published.

    Args:
        old: rows of the bank [b, d].
        new: embeddings of the same examples.
        momentum: ω in [0, 1), a number or a JAX scalar.

    Returns:
        [b, d], of length 1.

    Raises:
        ValueError: the shapes differ, or ω (where it is a Python number) outside [0, 1).
    """
    if old.shape != new.shape:
        raise ValueError(f"old has shape {old.shape} and new {new.shape}; both must be the same")
    if isinstance(momentum, (int, float)) and not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; it must be in [0, 1)")
    old, new = at_least_float32(old), at_least_float32(new)
    kept = jnp.asarray(momentum, old.dtype)
    return unit(kept * old + (1 - kept) * new)


def contrastive_in_batch(
    student: Float[Array, "b d"],
    teacher: Float[Array, "n e"],
    labels: Integer[Array, " m"] | None = None,
    *,
    temperature: Real[ArrayLike, ""] = 0.07,
) -> Float[Array, " b"]:
    """InfoNCE (van den Oord et al. 2018) as distillation: −log softmax_j(⟨s_i, t_j⟩/τ)_i, s and t at length 1, in nats.

    Each of the student's embeddings is to find its own teacher's among those of the batch: CRD without a bank, with a
    softmax over the b rows in place of NCE. With labels only examples of other classes stand against it, as CRD draws its
    negatives. The teacher's gradient is not stopped.

    Args:
        student: s [b, d], of one width with the teacher's (`kdgan.models.adapters`).
        teacher: t [b, d].
        labels: [b], integers; None: all other examples are negatives.
        temperature: τ > 0, a number or a JAX scalar.

    Returns:
        [b], at least 0, log b where all embeddings are equal; 0 of an example without negatives. Each depends on the whole
        batch (inside pmap on a device's share).

    Raises:
        ValueError: the shapes differ, a batch of one, labels of another shape, or τ (where it is a Python number) is not
            positive.
    """
    check_temperature(temperature)
    if student.shape != teacher.shape or len(student) < 2:
        raise ValueError(
            f"student has shape {student.shape} and teacher {teacher.shape}; one shape [b, d] is accepted, of at least 2"
            " examples: an adapter maps one width to another"
        )
    s, t = unit(student), unit(teacher)
    log_scores = jnp.matmul(s, t.T, precision="highest") / jnp.asarray(temperature, s.dtype)
    if labels is not None:
        if labels.shape != (len(s),):
            raise ValueError(f"labels has shape {labels.shape}; integer labels of {len(s)} examples must be {[len(s)]}")
        counts = (labels[:, None] != labels[None, :]) | jnp.eye(len(s), dtype=bool)
        log_scores = jnp.where(counts, log_scores, -jnp.inf)
    return jax.nn.logsumexp(log_scores, axis=-1) - jnp.diagonal(log_scores)
