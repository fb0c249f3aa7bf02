"""What outputs have in common with the teacher's beyond their numbers: correlations over classes, over the batch, of pairs.

DIST (Huang et al. 2022) asks for the teacher's ranking, 1 − ρ of Pearson; MLKD (Jin et al. 2023) for its products of
examples and of classes. What is called a statistic of the batch is, inside pmap, one of a device's share.

All act on softmax(·/T), of float32 at least. No function here stops a gradient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from kdgan.losses.logits import at_least_float32, check_same_classes, check_temperature, kl_divergence

EPS = 1e-8  # added to the product of norms, as DIST's code has it


def inter_class(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, " b"]:
    """DIST's inter-class relation (Huang et al. 2022): 1 − ρ(softmax(s/T), softmax(t/T)), ρ over the classes.

    The published code has τ² times as much, its paper does not, and neither does this: λ·τ² here pulls as a λ of theirs,
    and at T = 1 the two agree. A correlation does not see the size of what it compares, so that its gradient does not
    shrink with T, and needs no factor. As theirs, ρ has 1e-8 beside the product of norms.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).

    Returns:
        [b], from 0 to 2. Where one side is even over the classes it is 1, without a gradient.

    Raises:
        ValueError: the shapes differ, there are fewer than 3 classes (two correlate by 1 or −1, which has no gradient), or T
            (where it is a Python number) is not positive.
    """
    if student_logits.shape[-1] < 3:
        raise ValueError(
            f"inter_class: {student_logits.shape[-1]} classes; it accepts 3 or more, since two always correlate by 1 or -1: "
            "use intra_class alone"
        )
    return 1 - _pearson(*_softmaxes(student_logits, teacher_logits, temperature))


def intra_class(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, ""]:
    """DIST's intra-class relation (Huang et al. 2022): the mean over classes of 1 − ρ, ρ over the batch's examples.

    A statistic of the batch. The published code has τ² of it, as of `inter_class`, which see.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).

    Returns:
        A scalar from 0 to 2. A class that is equally likely in all examples counts 1, without a gradient.

    Raises:
        ValueError: the shapes differ, there is one example (of two the correlation is 1 or −1, with no gradient), or T
            (where it is a Python number) is not positive.
    """
    _check_batch("intra_class", student_logits)
    s, t = _softmaxes(student_logits, teacher_logits, temperature)
    return jnp.mean(1 - _pearson(s.T, t.T))


def batch_correlation(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, ""]:
    """MLKD's batch level (Jin et al. 2023, `bc` of its code): ‖QQᵀ − PPᵀ‖²_F / b, of softmaxes Q, P [b, k].

    Q is the student's, P the teacher's. A statistic of the batch. It has no T² in the paper, in its code, or here.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: the shapes differ, there is one example, or T (where it is a Python number) is not positive.
    """
    _check_batch("batch_correlation", student_logits)
    q, p = _softmaxes(student_logits, teacher_logits, temperature)
    return _products_apart(q, p) / len(q)


def class_correlation(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, ""]:
    """MLKD's class level (Jin et al. 2023, `cc` of its code): ‖QᵀQ − PᵀP‖²_F / k, as `batch_correlation` between classes.

    A statistic of the batch that grows as its square: the products are sums over examples, as published.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: the shapes differ, or T (where it is a Python number) is not positive.
    """
    q, p = _softmaxes(student_logits, teacher_logits, temperature)
    return _products_apart(q.T, p.T) / q.shape[1]


def kl_at_temperatures(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    *,
    temperatures: Sequence[Real[ArrayLike, ""]] = (2.0, 3.0, 4.0, 5.0, 6.0),
) -> Float[Array, " b"]:
    """MLKD's instance level (Jin et al. 2023): Σ_T T²·KL(softmax(t/T) ‖ softmax(s/T)), in nats.

    The published code multiplies the mean of each by the share of examples of which the teacher is sure (about half), where
    its paper leaves the others out, and takes two of the temperatures' terms of a strong view from the weak one.

    Args:
        student_logits: s [b, k].
        teacher_logits: t of the same shape.
        temperatures: T > 0 each.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, there are no temperatures, or one (where it is a Python number) is not positive.
    """
    if not temperatures:
        raise ValueError("temperatures is empty; it accepts one or more")
    terms = [kl_divergence(student_logits, teacher_logits, temperature=temperature) for temperature in temperatures]
    return sum(terms[1:], terms[0])


def _softmaxes(student_logits: Array, teacher_logits: Array, temperature: ArrayLike) -> tuple[Array, Array]:
    check_temperature(temperature)
    check_same_classes(student_logits, teacher_logits)
    s, t = at_least_float32(student_logits), at_least_float32(teacher_logits)
    return jax.nn.softmax(s / jnp.asarray(temperature, s.dtype)), jax.nn.softmax(t / jnp.asarray(temperature, t.dtype))


def _check_batch(name: str, logits: Array) -> None:
    if len(logits) < 2:
        raise ValueError(f"{name}: {len(logits)} example; it compares examples of a batch, and accepts 2 or more")


def _pearson(x: Array, y: Array) -> Array:
    """Correlations of the rows of x and y; 0 of a row without variance."""
    x, y = (row - jnp.mean(row, axis=-1, keepdims=True) for row in (x, y))
    squared = jnp.sum(jnp.square(x), axis=-1) * jnp.sum(jnp.square(y), axis=-1)
    varies = squared > 0
    return jnp.where(varies, jnp.sum(x * y, axis=-1) / (jnp.sqrt(jnp.where(varies, squared, 1)) + EPS), 0)


def _products_apart(x: Array, y: Array) -> Array:
    """‖xxᵀ − yyᵀ‖²_F."""
    ours, theirs = (jnp.matmul(rows, rows.T, precision="highest") for rows in (x, y))
    return jnp.sum(jnp.square(ours - theirs))
