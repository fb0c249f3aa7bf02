"""Losses on logits: the student's against labels, and against the teacher's logits.

No function here stops a gradient: in mutual learning, joint training and KDGAN the teacher learns from the same
equations. A method whose teacher is frozen need not care (only the parameters of the players that move are
differentiated); one in which teacher and student move together decides by `jax.lax.stop_gradient` which side each term
pulls.

Logits may be of any float type and are computed on as float32 (float64 where they are), so [b] comes back as such. They
must be finite: to rule a class out, give it a large negative logit (-1e9), not -inf, for 0·inf is not a number.

At the end stands what every loss asks of its arguments: at least float32, a positive temperature, the same classes.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, PRNGKeyArray, Real


def cross_entropy(
    logits: Float[Array, "b k"],
    labels: Integer[Array, " n"] | Float[Array, "n c"],
    *,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
) -> Float[Array, " b"]:
    """Cross-entropy of a softmax classifier: −Σ_c q_c log softmax(logits)_c, in nats.

    q is one-hot for integer labels, the labels themselves where they are probabilities (mixup, cutmix, drawn labels:
    gradients reach them too). Label smoothing mixes in the uniform distribution (Szegedy et al. 2016):
    q ← (1 − ε)·q + ε/k.

    Args:
        logits: [b, k].
        labels: integers [b] in 0 .. k − 1, or probabilities [b, k]. An integer outside that range makes its example's
            loss NaN, which stops a run and says so, where indexing would quietly take another class.
        label_smoothing: ε in [0, 1).

    Returns:
        [b], at least 0.

    Raises:
        ValueError: labels of another shape, or ε (where it is a Python number) outside [0, 1).
    """
    if isinstance(label_smoothing, (int, float)) and not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 1)")
    b, k = logits.shape
    log_p = jax.nn.log_softmax(at_least_float32(logits))
    if jnp.issubdtype(labels.dtype, jnp.integer):
        if labels.shape != (b,):
            raise ValueError(f"labels has shape {labels.shape}; integer labels for logits {logits.shape} must be [{b}]")
        labels = labels.astype(jnp.int32)  # uint8 labels could not hold k = 256, the class count they are compared with
        in_range = (labels >= 0) & (labels < k)
        at_label = jnp.take_along_axis(log_p, jnp.where(in_range, labels, 0)[:, None], axis=1)[:, 0]
        hard = jnp.where(in_range, -at_label, jnp.nan)
    else:
        if labels.shape != (b, k):
            raise ValueError(
                f"labels has shape {labels.shape}; float labels for logits {logits.shape} must be [{b}, {k}]"
            )
        hard = -jnp.sum(labels.astype(log_p.dtype) * log_p, axis=1)
    if isinstance(label_smoothing, (int, float)) and label_smoothing == 0:
        return hard
    smoothing = jnp.asarray(label_smoothing, log_p.dtype)
    return (1 - smoothing) * hard - smoothing * jnp.mean(log_p, axis=1)


def kl_divergence(
    student_logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "n c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
    teacher_temperature: Real[ArrayLike, ""] | None = None,
) -> Float[Array, " b"]:
    """Soft labels (Hinton et al. 2015): T²·KL(softmax(t/T) ‖ softmax(s/T)), in nats.

    The factor holds the size of the gradient: d/ds = T·(softmax(s/T) − softmax(t/T_t)), and since that difference
    shrinks as 1/T, λ need not be tuned again with T. With a second temperature T_t for the teacher the factor stays the
    student's T²: the chain rule brings 1/T from s/T alone, and T_t only chooses the target. For T = T_t → ∞ the loss
    tends to ‖(s − s̄) − (t − t̄)‖² / 2k, the squared error of centred logits.

    RepDistiller's, mdistiller's and Knowledge-Distillation-Zoo's terms are equal to this one, averaged over the batch;
    code that averages over the k classes too (PyTorch's `kl_div` with `reduction="mean"`, Teacher-free KD, ZSKT) has 1/k
    of it, and torchdistill's leaves out T² where its `alpha` is None.

    The gradient is not stopped at the teacher (see the head of this file). In float32 the value is exact to about
    T²·1e-7: at temperatures in the hundreds it may be noise, also below 0, while its gradient stays good.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].
        temperature: T > 0, a number or a JAX scalar (a schedule's value).
        teacher_temperature: T_t > 0 where it differs from T.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, or a temperature (where it is a Python number) is not positive.
    """
    if teacher_temperature is None:
        teacher_temperature = temperature
    check_temperature(temperature)
    check_temperature(teacher_temperature, "teacher_temperature")
    check_same_classes(student_logits, teacher_logits)
    s, t = at_least_float32(student_logits), at_least_float32(teacher_logits)
    scale = jnp.asarray(temperature, s.dtype)
    log_q = jax.nn.log_softmax(s / scale)
    log_p = jax.nn.log_softmax(t / jnp.asarray(teacher_temperature, t.dtype))
    return scale**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1)


def sigmoid_matching(student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"]) -> Float[Array, " b"]:
    """Each class on its own: Σ_c BCE(σ(t_c), σ(s_c)), in nats.

    BCE(p, q) = −p log q − (1 − p) log(1 − q). The distillation term of iCaRL (Rebuffi et al. 2017), for players whose
    outputs are read one class at a time (multi-label, one against the rest). Unlike softmax it sees the level of the
    logits as well as their differences. Smallest, at the entropy of σ(t) and not at 0, where s = t. It is k times a binary
    cross-entropy that is averaged over the classes, as `binary_cross_entropy_with_logits` of PyTorch is by default.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k]; its gradient is not stopped.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: the shapes differ.
    """
    check_same_classes(student_logits, teacher_logits)
    s, t = at_least_float32(student_logits), at_least_float32(teacher_logits)
    # 1 − σ(t) as σ(−t): for confident teachers the difference would round to 0.
    return -jnp.sum(jax.nn.sigmoid(t) * jax.nn.log_sigmoid(s) + jax.nn.sigmoid(-t) * jax.nn.log_sigmoid(-s), axis=1)


def half_squared_error(student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"]) -> Float[Array, " b"]:
    """Mimic learning (Ba & Caruana 2014): ½‖s − t‖², summed over classes.

    It is k/2 times the mean squared error over examples and classes that other code has (`Logits` of
    Knowledge-Distillation-Zoo, `mse_loss` of PyTorch): a λ of theirs is λ·2/k here.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k]; its gradient is not stopped.

    Returns:
        [b], at least 0, in squared logits.

    Raises:
        ValueError: the shapes differ.
    """
    check_same_classes(student_logits, teacher_logits)
    return 0.5 * jnp.sum((at_least_float32(student_logits) - at_least_float32(teacher_logits)) ** 2, axis=1)


def perturb_logits(
    key: PRNGKeyArray, logits: Float[Array, "b k"], *, ratio: Real[ArrayLike, ""], sigma: Real[ArrayLike, ""]
) -> Float[Array, "b k"]:
    """The noisy teacher (Sau & Balasubramanian 2016): t' = (1 + ξ)·t with ξ_c ~ N(0, σ²), for some of the examples.

    Each example is chosen with probability `ratio`, and each of its logits gets its own ξ (one ξ for all of them would
    only change the temperature). The noise is a share of the logit, so it acts on the level of the logits: centre them
    first if a teacher's is far from 0. KDGAN's NOISY baseline uses ratio 0.1 and sigma 0.1.

    Args:
        key: a JAX random key.
        logits: t [b, k].
        ratio: the probability in [0, 1] of an example to be perturbed.
        sigma: σ ≥ 0, the noise's standard deviation as a share of the logit.

    Returns:
        [b, k] of the logits' type (at least float32).

    Raises:
        ValueError: ratio or sigma (where they are Python numbers) out of range.
    """
    if isinstance(ratio, (int, float)) and not 0 <= ratio <= 1:
        raise ValueError(f"ratio is {ratio}; it must be in [0, 1]")
    if isinstance(sigma, (int, float)) and not sigma >= 0:
        raise ValueError(f"sigma is {sigma}; it must be at least 0")
    logits = at_least_float32(logits)
    chosen_key, noise_key = jax.random.split(key)
    chosen = jax.random.uniform(chosen_key, (logits.shape[0], 1)) < ratio
    noise = jnp.asarray(sigma, logits.dtype) * jax.random.normal(noise_key, logits.shape, logits.dtype)
    return logits * (1 + jnp.where(chosen, noise, 0))


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """bfloat16 and float16 become float32, since a sum of exponentials needs its 24 bits; float64 stays."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_temperature(temperature: Real[ArrayLike, ""], name: str = "temperature") -> None:
    """Raises ValueError for a temperature that is not positive and finite.

    Only Python and NumPy numbers are looked at: a JAX scalar (a schedule's value inside a compiled step) has no value
    yet, and reading it would stall the device. Whoever builds the schedule checks its ends by this function.
    """
    if isinstance(temperature, (int, float, np.number, np.ndarray)) and not 0 < float(temperature) < math.inf:
        raise ValueError(
            f"{name} is {temperature}; it must be a positive, finite number (1 leaves the logits as they are)"
        )


def check_same_classes(student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"]) -> None:
    """Raises ValueError unless both have the same shape [b, k]; left alone, a batch of one or one class would
    broadcast.
    """
    if student_logits.shape[1] != teacher_logits.shape[1]:
        raise ValueError(
            f"student_logits has shape {student_logits.shape} and teacher_logits {teacher_logits.shape}: "
            f"{student_logits.shape[1]} and {teacher_logits.shape[1]} classes. Both must be over the same classes; "
            "config.players.<name>.classes maps the classes of one player to those of the other"
        )
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits has shape {student_logits.shape} and teacher_logits {teacher_logits.shape}: "
            "both must come from the same batch"
        )
