"""Distillation without a teacher network: a made-up one, the student's own past or average, an image of the same class.

Uniform label smoothing is `cross_entropy(..., label_smoothing=ε)` of `kdgan.losses.logits`. Teacher-free KD's code spreads ε
over the k − 1 other classes, which is ε·k/(k − 1) there.

No function here stops a gradient: past predictions are a batch's field, and of CS-KD's partner the caller stops it.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Real

from kdgan.losses.logits import at_least_float32, check_same_classes, check_temperature, cross_entropy, kl_divergence


def virtual_teacher(
    labels: Integer[Array, " b"], classes: int, *, correct: Real[ArrayLike, ""] = 0.99
) -> Float[Array, "b k"]:
    """Tf-KD's manually designed teacher (Yuan et al. 2020): a on the label, (1 − a)/(k − 1) on each other class.

    Args:
        labels: [b], integers in 0 .. k − 1; another makes its row NaN.
        classes: k, at least 2.
        correct: a, above 1/k and below 1; the paper has a ≥ 0.9, its code 0.99.

    Returns:
        [b, k], rows that sum to 1.

    Raises:
        ValueError: fewer than 2 classes, or a (where it is a Python number) outside (1/k, 1).
    """
    if classes < 2:
        raise ValueError(f"classes is {classes}; a virtual teacher accepts 2 or more")
    if isinstance(correct, (int, float)) and not 1 / classes < correct < 1:
        raise ValueError(f"correct is {correct}; of {classes} classes it must be above {1 / classes:.3g} and below 1")
    a = jnp.asarray(correct, jnp.float32)
    rows = jnp.where(_one_hot(labels, classes), a, (1 - a) / (classes - 1))
    return jnp.where(_in_range(labels, classes)[:, None], rows, jnp.nan)


def virtual_teacher_kl(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " n"],
    *,
    correct: Real[ArrayLike, ""] = 0.99,
    temperature: Real[ArrayLike, ""] = 20.0,
) -> Float[Array, " b"]:
    """Tf-KD_reg as its paper has it (Yuan et al. 2020, eq. 9): T²·KL(p^d_T ‖ softmax(s/T)), p^d the `virtual_teacher`.

    p^d_T is p^d at temperature T, proportional to its 1/T-th power. T² is this library's, as in `kl_divergence`: the paper's
    equation is without it, so that its α there is α/T² here. What its code computes is another loss,
    `virtual_teacher_kl_of_code`.

    Args:
        logits: s [b, k].
        labels: [b], integers in 0 .. k − 1; another makes its example's loss NaN.
        correct: a of `virtual_teacher`.
        temperature: T > 0, a number or a JAX scalar (a schedule's value); the paper has 20 and 40.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: labels of another shape, fewer than 2 classes, or a or T (where they are Python numbers) out of range.
    """
    teacher = _virtual(logits, labels, correct)
    return kl_divergence(logits, jnp.log(teacher), temperature=temperature)


def virtual_teacher_kl_of_code(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " n"],
    *,
    correct: Real[ArrayLike, ""] = 0.99,
    temperature: Real[ArrayLike, ""] = 20.0,
) -> Float[Array, " b"]:
    """Tf-KD_reg as its code has it (`loss_kd_regularization`): KL(softmax(p^d/T) ‖ softmax(s)), p^d the `virtual_teacher`.

    For its published numbers. The softmax is of probabilities, not of their logarithms: at T = 20 its target is almost
    even (of 10 classes 0.1 to within 0.005), whatever a is. The student is not divided by T, there is no T², and PyTorch's
    mean runs over the classes too: ours is k times theirs, whose λ is α·multiplier (0.1 · 100 beside 0.9 of
    `cross_entropy`, say).

    Args:
        logits: s [b, k].
        labels: [b], integers in 0 .. k − 1; another makes its example's loss NaN.
        correct: a of `virtual_teacher`.
        temperature: T > 0 of the virtual teacher alone.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: labels of another shape, fewer than 2 classes, or a or T (where they are Python numbers) out of range.
    """
    check_temperature(temperature)
    teacher = _virtual(logits, labels, correct)
    return kl_divergence(logits, teacher / jnp.asarray(temperature, teacher.dtype))


def softened_labels(
    labels: Integer[Array, " b"], past: Float[Array, "n k"], alpha: Real[ArrayLike, ""]
) -> Float[Array, "b k"]:
    """PS-KD's targets (Kim et al. 2021): (1 − α)·onehot(y) + α·p, p what the student predicted an epoch earlier.

    Args:
        labels: y [b], integers in 0 .. k − 1; another makes its row NaN.
        past: p [b, k], probabilities; one-hot labels in the first epoch.
        alpha: α in [0, 1], a number or a JAX scalar. Published: α_T·(epoch + 1)/epochs with α_T = 0.8.

    Returns:
        [b, k], at least float32.

    Raises:
        ValueError: labels of another batch than `past`, or α (where it is a Python number) outside [0, 1].
    """
    if len(labels) != len(past):
        raise ValueError(f"labels has shape {labels.shape} and past {past.shape}: both must come from the same batch")
    if isinstance(alpha, (int, float)) and not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in [0, 1]")
    p = at_least_float32(past)
    a = jnp.asarray(alpha, p.dtype)
    rows = (1 - a) * _one_hot(labels, p.shape[-1]).astype(p.dtype) + a * p
    return jnp.where(_in_range(labels, p.shape[-1])[:, None], rows, jnp.nan)


def progressive(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " n"],
    past: Float[Array, "m c"],
    *,
    alpha: Real[ArrayLike, ""],
) -> Float[Array, " b"]:
    """PS-KD (Kim et al. 2021): cross-entropy with the `softened_labels` (1 − α)·onehot(y) + α·p, in nats.

    It stands in place of the cross-entropy with the labels, and has no temperature. Equal to its code's, averaged over the
    batch.

    Args:
        logits: s [b, k].
        labels: y [b], integers in 0 .. k − 1; another makes its example's loss NaN.
        past: p [b, k], the student's probabilities of these examples in the epoch before.
        alpha: α in [0, 1], a number or a JAX scalar (a schedule's value, growing linearly).

    Returns:
        [b], at least 0.

    Raises:
        ValueError: the shapes do not fit, or α (where it is a Python number) outside [0, 1].
    """
    return cross_entropy(logits, softened_labels(labels, past, alpha))


def class_wise_kl(
    logits: Float[Array, "b k"], partner_logits: Float[Array, "n c"], *, temperature: Real[ArrayLike, ""] = 4.0
) -> Float[Array, " b"]:
    """CS-KD (Yun et al. 2020): T²·KL(softmax(r/T) ‖ softmax(s/T)), r the logits of another image of the same class.

    `kl_divergence` under the name of what it compares: both sides are the student's. The partner is a fixed target, whose
    gradient the caller stops. Equal to its code's, averaged over the batch.

    Args:
        logits: s [b, k].
        partner_logits: r [b, k], row by row of an image with the same label.
        temperature: T > 0, a number or a JAX scalar (a schedule's value); 4 published.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, or T (where it is a Python number) is not positive.
    """
    return kl_divergence(logits, partner_logits, temperature=temperature)


def probability_error(logits: Float[Array, "b k"], average_logits: Float[Array, "n c"]) -> Float[Array, " b"]:
    """Mean Teacher's consistency (Tarvainen & Valpola 2017): ‖softmax(s) − softmax(r)‖²/k, r of the averaged student.

    Equal to its code's (`softmax_mse_loss`), averaged over the batch, λ 100 published. r's gradient is the caller's to stop.

    Args:
        logits: s [b, k].
        average_logits: r [b, k].

    Returns:
        [b], from 0 to 2/k.

    Raises:
        ValueError: the shapes differ.
    """
    check_same_classes(logits, average_logits)
    s, r = (jax.nn.softmax(at_least_float32(x)) for x in (logits, average_logits))
    return jnp.mean(jnp.square(s - r), axis=-1)


def _virtual(logits: Array, labels: Array, correct: ArrayLike) -> Array:
    b, k = logits.shape
    if labels.shape != (b,):
        raise ValueError(f"labels has shape {labels.shape}; integer labels for logits {(b, k)} must be {[b]}")
    return virtual_teacher(labels, k, correct=correct).astype(jnp.promote_types(logits.dtype, jnp.float32))


def _one_hot(labels: Array, classes: int) -> Array:
    return jax.nn.one_hot(labels.astype(jnp.int32), classes, dtype=jnp.bool_)


def _in_range(labels: Array, classes: int) -> Array:
    return (labels.astype(jnp.int32) >= 0) & (labels.astype(jnp.int32) < classes)
