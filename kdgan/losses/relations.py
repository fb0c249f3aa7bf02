"""How the examples of a batch lie to one another: a student's distances, angles and correlations against the teacher's.

RKD (Park et al. 2019) and CC (Peng et al. 2019). Features are [b, ...] and flattened, of any width on either side, so that
no adapter is needed. Each value is a statistic of the batch (inside pmap of a device's share). No gradient is stopped.
"""

import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.losses.logits import at_least_float32


def relational_distance(student: Float[Array, "b *s"], teacher: Float[Array, "n *t"]) -> Float[Array, ""]:
    """RKD-D (Park et al. 2019): mean_{i,j} huber(d_ij/d̄ of the student − d_ij/d̄ of the teacher), d_ij = ‖x_i − x_j‖.

    d̄ is the mean over i ≠ j, and the gradient passes it; huber(x) is x²/2 up to 1, then |x| − 1/2. As in RepDistiller and
    every other code the mean runs over all b² pairs, of which b are 0, where the paper writes a sum over pairs. Published
    with λ 25 beside 50 of `relational_angle`. Memory: b²·width.

    Args:
        student: [b, ...].
        teacher: [b, ...], of any other shape behind the batch.

    Returns:
        A scalar, at least 0. Examples that are equal have the distance 0, without a gradient (in other code 1e-6).

    Raises:
        ValueError: other batches, or a batch of one.
    """
    ours, theirs = (_distances(x) for x in _rows("relational_distance", student, teacher))
    return jnp.mean(_huber(ours - theirs))


def relational_angle(student: Float[Array, "b *s"], teacher: Float[Array, "n *t"]) -> Float[Array, ""]:
    """RKD-A (Park et al. 2019): mean_{i,j,k} huber(cos of the student − cos of the teacher) of the angles at i to j and k.

    cos_ijk = e_ij·e_ik with e_ij = (x_j − x_i)/‖x_j − x_i‖. The mean runs over all b³ triples, also those that have no
    angle, as in every code, where the paper writes a sum. Memory: b³, and b²·width.

    Args:
        student: [b, ...].
        teacher: [b, ...], of any other shape behind the batch.

    Returns:
        A scalar from 0 to 3/2. Between equal examples cosines are 0, without a gradient.

    Raises:
        ValueError: other batches, or a batch of one.
    """
    ours, theirs = (_cosines(x) for x in _rows("relational_angle", student, teacher))
    return jnp.mean(_huber(ours - theirs))


def correlation_congruence(
    student: Float[Array, "b *s"], teacher: Float[Array, "n *t"], *, gamma: float = 0.4, order: int = 2
) -> Float[Array, ""]:
    """CC (Peng et al. 2019): ‖C_S − C_T‖²_F / b², C_ij = Σ_{p≤P} e^(−2γ) (2γ)^p/p! · (x_i·x_j)^p of rows of length 1.

    C is the Gaussian kernel exp(−γ‖x_i − x_j‖²), its Taylor series cut after order P. Equal to Knowledge-Distillation-Zoo's.
    RepDistiller's `Correlation` multiplies the errors of neighbours in the batch, and has no kernel; torchdistill's has rows
    of any length and a norm that is not squared.

    Args:
        student: [b, ...].
        teacher: [b, ...], of any other shape behind the batch.
        gamma: γ > 0; 0.4 published.
        order: P, at least 1; 2 published.

    Returns:
        A scalar, at least 0. A row of zeros correlates with none, and has no gradient.

    Raises:
        ValueError: other batches, a batch of one, or γ or P out of range.
    """
    if not gamma > 0 or order < 1:
        raise ValueError(f"gamma is {gamma} and order {order}; gamma must be positive and order at least 1")
    ours, theirs = (_kernel(x, gamma, order) for x in _rows("correlation_congruence", student, teacher))
    return jnp.mean(jnp.square(ours - theirs))


def _rows(name: str, student: Array, teacher: Array) -> tuple[Array, Array]:
    """Both as [b, width], once they are known to be of one batch of several."""
    if len(student) != len(teacher) or len(student) < 2:
        raise ValueError(
            f"{name}: shapes {student.shape} and {teacher.shape}; it compares examples with one another, and accepts the "
            "same batch of at least 2 from both"
        )
    b = len(student)
    return at_least_float32(student).reshape(b, -1), at_least_float32(teacher).reshape(b, -1)


def _distances(x: Array) -> Array:
    """‖x_i − x_j‖ over their mean [b, b]; zeros where all rows are equal."""
    b = len(x)
    distances = _length(x[None, :, :] - x[:, None, :])
    total = jnp.sum(distances)
    apart = total > 0
    return jnp.where(apart, distances * b * (b - 1) / jnp.where(apart, total, 1), 0)


def _cosines(x: Array) -> Array:
    """e_ij·e_ik [b, b, b]."""
    difference = x[None, :, :] - x[:, None, :]
    e = _unit(difference)
    return jnp.einsum("ijd,ikd->ijk", e, e, precision="highest")


def _kernel(x: Array, gamma: float, order: int) -> Array:
    x = _unit(x)
    products = jnp.matmul(x, x.T, precision="highest")
    terms = [math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * products**p for p in range(1, order + 1)]
    return sum(terms[1:], terms[0])  # without p = 0, which is the same of both


def _huber(x: Array) -> Array:
    """x²/2 up to 1, then |x| − 1/2."""
    inner = jnp.clip(x, -1, 1)
    return inner * (x - inner / 2)


def _length(x: Array) -> Array:
    """‖x‖₂ along the last axis; its gradient at 0 is 0."""
    squared = jnp.sum(jnp.square(x), axis=-1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _unit(x: Array) -> Array:
    """Vectors along the last axis at length 1; zeros where they are 0, without a gradient there."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(squared > 0, x / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
