"""Decoupled knowledge distillation (Zhao et al. 2022): soft labels in two terms, each with a λ of its own.

With p the teacher's and q the student's softmax at temperature T, and y the label,

    KL(p ‖ q) = KL of (p_y, 1 − p_y) and (q_y, 1 − q_y)  +  (1 − p_y) · KL of the others, p_c/(1 − p_y) and q_c/(1 − q_y).

The first is `target_kl` (TCKD), the KL of the second `other_classes_kl` (NCKD), which is then weighted without the 1 − p_y
that makes it small where the teacher is sure. Published, mdistiller: T = 4, λ 1 and 8 (CIFAR-100; 2 to 8 by pair).

All is computed from logarithms: a teacher or a student that is certain gives finite values, where mdistiller's
log(softmax) is −inf. No function here stops a gradient. Logits are [b, k], of float32 at least once they are computed on.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Integer, Real

from kdgan.losses.logits import at_least_float32, check_same_classes, check_temperature


def target_kl(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    labels: Integer[Array, " m"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, " b"]:
    """TCKD (Zhao et al. 2022): T²·[p_y log(p_y/q_y) + (1 − p_y) log((1 − p_y)/(1 − q_y))], in nats.

    Equal to mdistiller's, averaged over the batch. Of two classes it is `kl_divergence`.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        labels: y [b], integers in 0 .. k − 1; another makes its example's loss NaN.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, there is one class, or T (where it is a Python number) is not positive.
    """
    s, t, scale, target = _prepared(student_logits, teacher_logits, labels, temperature, "target_kl", 2)
    of_label, of_others = (
        jnp.exp(log_p) * (log_p - log_q) for log_q, log_p in zip(_shares(s, target), _shares(t, target), strict=True)
    )
    return _where_labelled(scale**2 * (of_label + of_others), target)


def other_classes_kl(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    labels: Integer[Array, " m"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, " b"]:
    """NCKD (Zhao et al. 2022): T²·Σ_{c≠y} p̂_c log(p̂_c/q̂_c), p̂ = softmax(t/T) over the k − 1 classes but y, in nats.

    Equal to mdistiller's, averaged over the batch: it subtracts 1000 from the label's logit, this leaves the label out. The
    label's logit has no gradient.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        labels: y [b], integers in 0 .. k − 1; another makes its example's loss NaN.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, there are fewer than 3 classes (of two, one is left, and the term is 0 without a
            gradient), or T (where it is a Python number) is not positive.
    """
    s, t, scale, target = _prepared(student_logits, teacher_logits, labels, temperature, "other_classes_kl", 3)
    log_q, log_p = (jnp.where(target, 0, x - _log_sum_of_others(x, target)[:, None]) for x in (s, t))
    p = jnp.where(target, 0, jnp.exp(log_p))
    return _where_labelled(scale**2 * jnp.sum(p * (log_p - log_q), axis=-1), target)


def _prepared(
    student_logits: Array, teacher_logits: Array, labels: Array, temperature: ArrayLike, name: str, least: int
) -> tuple[Array, Array, Array, Bool[Array, "b k"]]:
    """s/T, t/T, T and where the label is, once they are known to fit each other."""
    check_temperature(temperature)
    check_same_classes(student_logits, teacher_logits)
    b, k = student_logits.shape
    if k < least:
        raise ValueError(
            f"{name}: {k} classes; it accepts {least} or more. Of two classes soft labels are kl_divergence, of which "
            "target_kl is then all"
        )
    if labels.shape != (b,):
        raise ValueError(f"labels has shape {labels.shape}; integer labels for logits {(b, k)} must be {[b]}")
    s, t = at_least_float32(student_logits), at_least_float32(teacher_logits)
    target = labels.astype(jnp.int32)[:, None] == jnp.arange(k, dtype=jnp.int32)[None, :]
    return (
        s / jnp.asarray(temperature, s.dtype),
        t / jnp.asarray(temperature, t.dtype),
        jnp.asarray(temperature, s.dtype),
        target,
    )


def _shares(x: Array, target: Array) -> tuple[Array, Array]:
    """Logarithms [b] of softmax(x) at the label, and of what the others have together."""
    whole = jax.nn.logsumexp(x, axis=-1)
    return jnp.sum(jnp.where(target, x, 0), axis=-1) - whole, _log_sum_of_others(x, target) - whole


def _log_sum_of_others(x: Array, target: Array) -> Array:
    return jax.nn.logsumexp(jnp.where(target, -jnp.inf, x), axis=-1)


def _where_labelled(values: Array, target: Array) -> Array:
    return jnp.where(jnp.any(target, axis=-1), values, jnp.nan)
