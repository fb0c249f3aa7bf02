"""Losses between networks that know different classes: over some of them, over more than the teacher has, by its errors.

Classes are numbered alike in both networks: class c is column c of the logits of each that has it. As in
`kdgan/losses/logits.py` no function here stops a gradient, and each gives one number per example.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Integer, Real

from kdgan.losses.logits import at_least_float32, check_temperature, cross_entropy


def columns(logits: Float[Array, "b k"], classes: Sequence[int]) -> Float[Array, "b m"]:
    """The logits of some classes, in their order.

    Args:
        logits: [b, k].
        classes: m numbers in 0 .. k − 1, each once.

    Raises:
        ValueError: no class, one that the logits have not, or one that stands twice.
    """
    k, numbers = logits.shape[-1], tuple(classes)
    if not numbers or len({*numbers}) != len(numbers) or not all(0 <= number < k for number in numbers):
        raise ValueError(
            f"classes = {numbers}: logits {logits.shape} have the classes 0..{k - 1}, each once is accepted"
        )
    return logits[:, np.asarray(numbers)]


def cross_entropy_among(
    logits: Float[Array, "b k"], labels: Integer[Array, " b"] | Float[Array, "b k"], classes: Sequence[int]
) -> Float[Array, " b"]:
    """Cross-entropy of a softmax over some classes alone: −log(exp(s_y) / Σ_{c in classes} exp(s_c)), in nats.

    The logits of other classes have no gradient. It is the loss on the labels of a network with a head for each task (Li
    and Hoiem 2016): what is learned of the new classes pushes no old one down.

    Args:
        logits: s [b, k].
        labels: [b] integers among `classes`, of another class NaN; or probabilities [b, k], of which those of other
            classes count nothing.
        classes: numbers of columns of the logits.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: as `columns` and `kdgan.losses.logits.cross_entropy`.
    """
    chosen, k = columns(logits, classes), logits.shape[-1]
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        return cross_entropy(chosen, columns(labels, classes))
    places = np.full(k, -1, np.int32)
    places[np.asarray(classes)] = np.arange(len(classes))
    inside = (labels >= 0) & (labels < k)
    return cross_entropy(chosen, jnp.where(inside, jnp.asarray(places)[jnp.where(inside, labels, 0)], -1))


def widened_kl(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "b n"],
    classes: Sequence[int],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
) -> Float[Array, " b"]:
    """Soft labels of a teacher that knows some of the student's classes, over all of these: T²·KL(p ‖ softmax(s/T)).

    p is the softmax of t_c/T over `classes`, and 0 for every other class of the student. So a student that gives an image
    of an old class to a new one pays for it, which a divergence over the old classes alone does not see. At T = 1 it is the
    loss of generative replay on the old model's responses (Shin et al. 2017) less their entropy.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, n].
        classes: those of the teacher, numbers below n and k.
        temperature: T > 0, a number or a JAX scalar.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: as `columns`; a temperature (where it is a Python number) that is not positive.
    """
    check_temperature(temperature)
    s, t = at_least_float32(student_logits), at_least_float32(columns(teacher_logits, classes))
    scale = jnp.asarray(temperature, s.dtype)
    log_q = columns(jax.nn.log_softmax(s / scale), classes)
    log_p = jax.nn.log_softmax(t / scale)
    return scale**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def error_weights(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " b"],
    counts: Bool[Array, " b"],
    *,
    floor: float = 0.05,
) -> Float[Array, " b"]:
    """Weights of examples by a model's errors on them, 1 on average: w_i = (ε + e_i) / mean_j (ε + e_j).

    e_i = 1 − softmax(t_i)_{y_i} is the probability that the model gives to wrong classes, its expected error where it draws
    its answer. Of examples that the model was trained on it is about 0, whatever the example; these must be held-out ones.
    The mean is over the examples that count, so that even weights, w = 1, are the control: as much weight in all, spread
    evenly. ε keeps what the model knows: the largest weight is at most (1 + ε)/ε times the smallest.

    Args:
        logits: t [b, k] of the model.
        labels: y [b], in 0 .. k − 1 where the example counts.
        counts: [b], the examples that have a weight; the others have 0.
        floor: ε > 0.

    Returns:
        [b], of mean 1 over those that count.

    Raises:
        ValueError: a floor that is not positive.
    """
    if not floor > 0:
        raise ValueError(
            f"floor is {floor}; a positive number is accepted, without which a model that never errs leaves no weight"
        )
    p = jax.nn.softmax(at_least_float32(logits))
    at = jnp.where(counts, labels, 0).astype(jnp.int32)
    error = 1 - jnp.take_along_axis(p, at[:, None], axis=-1)[:, 0]
    weight = jnp.where(counts, floor + error, 0)
    return weight * jnp.sum(counts) / jnp.maximum(jnp.sum(weight), floor)
