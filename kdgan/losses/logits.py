"""Losses on outputs: the student's against labels, and against the teacher's outputs.

Logits are [b, k], or have more dimensions between ([b, t, k], one row of logits for each of t tokens). The value is one
number per example all the same: the mean over the positions, of those only that a `mask` [b, t] keeps, so that a λ does
not depend on how long an example is. An example that keeps none has 0; what lies at the others may be anything.

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
from jaxtyping import Bool, Float, Integer, PRNGKeyArray, Real


def cross_entropy(
    logits: Float[Array, "b *t k"],
    labels: Integer[Array, "n *u"] | Float[Array, "n *c"],
    *,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    mask: Bool[Array, "m *v"] | None = None,
) -> Float[Array, " b"]:
    """Cross-entropy of a softmax classifier: −Σ_c q_c log softmax(logits)_c, in nats.

    q is one-hot for integer labels, the labels themselves where they are probabilities (mixup, cutmix, drawn labels:
    gradients reach them too). Label smoothing mixes in the uniform distribution (Szegedy et al. 2016):
    q ← (1 − ε)·q + ε/k.

    Args:
        logits: [b, k] or [b, t, k].
        labels: integers [b] (or [b, t]) in 0 .. k − 1, or probabilities of the logits' shape. An integer outside that
            range makes its example's loss NaN, which stops a run and says so, where indexing would quietly take another
            class.
        label_smoothing: ε in [0, 1).
        mask: [b] or [b, t], the positions that count; all where it is None.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: labels or mask of another shape, or ε (where it is a Python number) outside [0, 1).
    """
    _check_smoothing(label_smoothing)
    check_mask(mask, logits)
    *leading, k = logits.shape
    log_p = jax.nn.log_softmax(_kept(at_least_float32(logits), mask))
    if jnp.issubdtype(labels.dtype, jnp.integer):
        if labels.shape != (*leading,):
            raise ValueError(
                f"labels has shape {labels.shape}; integer labels for logits {logits.shape} must be {leading}"
            )
        labels = labels.astype(jnp.int32)  # uint8 labels could not hold k = 256, the class count they are compared with
        in_range = (labels >= 0) & (labels < k)
        at_label = jnp.take_along_axis(log_p, jnp.where(in_range, labels, 0)[..., None], axis=-1)[..., 0]
        hard = jnp.where(in_range, -at_label, jnp.nan)
    else:
        if labels.shape != logits.shape:
            raise ValueError(
                f"labels has shape {labels.shape}; float labels for logits {logits.shape} must be {[*leading, k]}"
            )
        hard = -jnp.sum(labels.astype(log_p.dtype) * log_p, axis=-1)
    if isinstance(label_smoothing, (int, float)) and label_smoothing == 0:
        return _per_example(hard, mask)
    smoothing = jnp.asarray(label_smoothing, log_p.dtype)
    return _per_example((1 - smoothing) * hard - smoothing * jnp.mean(log_p, axis=-1), mask)


def sigmoid_cross_entropy(
    logits: Float[Array, "b *t k"],
    tags: Real[Array, "n *c"] | Bool[Array, "n *c"],
    *,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    mask: Bool[Array, "m *v"] | None = None,
) -> Float[Array, " b"]:
    """Cross-entropy of tags, each with a sigmoid of its own: −Σ_c y_c log σ(s_c) + (1 − y_c) log(1 − σ(s_c)), in nats.

    For examples that have any number of the k labels. Label smoothing moves each tag towards a half:
    y ← (1 − ε)·y + ε/2. It is k times a binary cross-entropy that is averaged over the tags
    (`binary_cross_entropy_with_logits` of PyTorch by default; `sigmoid_cross_entropy` of KDGAN's code).

    Args:
        logits: s [b, k] (or [b, t, k]).
        tags: y of the same shape, 1 where the example has the tag and 0 where not, or in between (mixup). A value
            outside [0, 1] makes its example's loss NaN.
        label_smoothing: ε in [0, 1).
        mask: [b] or [b, t], the positions that count; all where it is None.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: tags or mask of another shape, or ε (where it is a Python number) outside [0, 1).
    """
    _check_smoothing(label_smoothing)
    check_mask(mask, logits)
    if tags.shape != logits.shape:
        raise ValueError(
            f"tags has shape {tags.shape}; tags for logits {logits.shape} must be {list(logits.shape)}, 0 or 1 each"
        )
    s = _kept(at_least_float32(logits), mask)
    y = jnp.where((tags >= 0) & (tags <= 1), tags.astype(s.dtype), jnp.nan)
    if not (isinstance(label_smoothing, (int, float)) and label_smoothing == 0):
        smoothing = jnp.asarray(label_smoothing, s.dtype)
        y = (1 - smoothing) * y + smoothing / 2
    # 1 − σ(s) as σ(−s), whose logarithm is finite where the difference would round to 0.
    return _per_example(-jnp.sum(y * jax.nn.log_sigmoid(s) + (1 - y) * jax.nn.log_sigmoid(-s), axis=-1), mask)


def kl_divergence(
    student_logits: Float[Array, "b *t k"],
    teacher_logits: Float[Array, "n *u c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
    teacher_temperature: Real[ArrayLike, ""] | None = None,
    mask: Bool[Array, "m *v"] | None = None,
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
        student_logits: s [b, k] or [b, t, k].
        teacher_logits: t of the same shape.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).
        teacher_temperature: T_t > 0 where it differs from T.
        mask: [b] or [b, t], the positions that count; all where it is None.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, or a temperature (where it is a Python number) is not positive.
    """
    s, t, scale, of_teacher = _tempered(student_logits, teacher_logits, temperature, teacher_temperature, mask)
    log_q = jax.nn.log_softmax(s / scale)
    log_p = jax.nn.log_softmax(t / of_teacher)
    return _per_example(scale**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1), mask)


def sigmoid_kl(
    student_logits: Float[Array, "b *t k"],
    teacher_logits: Float[Array, "n *u c"],
    *,
    temperature: Real[ArrayLike, ""] = 1.0,
    teacher_temperature: Real[ArrayLike, ""] | None = None,
    mask: Bool[Array, "m *v"] | None = None,
) -> Float[Array, " b"]:
    """Soft labels of tags: T²·Σ_c KL(σ(t_c/T) ‖ σ(s_c/T)), the divergence of two Bernoulli variables each, in nats.

    `kl_divergence` with a sigmoid for each tag in place of the softmax over classes, with the same temperatures and the
    same factor T². At T = 1 it is `sigmoid_matching` less the entropy of σ(t): the gradients of the student are equal,
    and this one is 0 where s = t. For T → ∞ it tends to ‖s − t‖² / 8.

    Args:
        student_logits: s [b, k] or [b, t, k].
        teacher_logits: t of the same shape; its gradient is not stopped.
        temperature: T > 0, a number or a JAX scalar (a schedule's value).
        teacher_temperature: T_t > 0 where it differs from T.
        mask: [b] or [b, t], the positions that count; all where it is None.

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, or a temperature (where it is a Python number) is not positive.
    """
    s, t, scale, of_teacher = _tempered(student_logits, teacher_logits, temperature, teacher_temperature, mask)
    s, t = s / scale, t / of_teacher
    has = jax.nn.sigmoid(t) * (jax.nn.log_sigmoid(t) - jax.nn.log_sigmoid(s))
    lacks = jax.nn.sigmoid(-t) * (jax.nn.log_sigmoid(-t) - jax.nn.log_sigmoid(-s))
    return _per_example(scale**2 * jnp.sum(has + lacks, axis=-1), mask)


def sigmoid_matching(
    student_logits: Float[Array, "b *t k"],
    teacher_logits: Float[Array, "n *u c"],
    *,
    mask: Bool[Array, "m *v"] | None = None,
) -> Float[Array, " b"]:
    """Each class on its own: Σ_c BCE(σ(t_c), σ(s_c)), in nats.

    BCE(p, q) = −p log q − (1 − p) log(1 − q). The distillation term of iCaRL (Rebuffi et al. 2017), for players whose
    outputs are read one class at a time (multi-label, one against the rest). Unlike softmax it sees the level of the
    logits as well as their differences. Smallest, at the entropy of σ(t) and not at 0, where s = t. It is k times a binary
    cross-entropy that is averaged over the classes, as `binary_cross_entropy_with_logits` of PyTorch is by default.

    Args:
        student_logits: s [b, k] or [b, t, k].
        teacher_logits: t of the same shape; its gradient is not stopped.
        mask: [b] or [b, t], the positions that count; all where it is None.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: the shapes differ.
    """
    check_mask(mask, student_logits)
    check_same_classes(student_logits, teacher_logits)
    s, t = _kept(at_least_float32(student_logits), mask), _kept(at_least_float32(teacher_logits), mask)
    # 1 − σ(t) as σ(−t): for confident teachers the difference would round to 0.
    has, lacks = jax.nn.sigmoid(t) * jax.nn.log_sigmoid(s), jax.nn.sigmoid(-t) * jax.nn.log_sigmoid(-s)
    return _per_example(-jnp.sum(has + lacks, axis=-1), mask)


def half_squared_error(
    student_logits: Float[Array, "b *t k"],
    teacher_logits: Float[Array, "n *u c"],
    *,
    mask: Bool[Array, "m *v"] | None = None,
) -> Float[Array, " b"]:
    """Mimic learning (Ba & Caruana 2014): ½‖s − t‖², summed over classes; of numbers, the loss of regression.

    For numbers it is the negative log-likelihood of a Gaussian of variance 1 around the student's output, less a constant.

    It is k/2 times the mean squared error over examples and classes that other code has (`Logits` of
    Knowledge-Distillation-Zoo, `mse_loss` of PyTorch): a λ of theirs is λ·2/k here.

    Args:
        student_logits: s [b, k] or [b, t, k].
        teacher_logits: t of the same shape, a teacher's or true numbers; its gradient is not stopped.
        mask: [b] or [b, t], the positions that count; all where it is None.

    Returns:
        [b], at least 0, in squared logits.

    Raises:
        ValueError: the shapes differ.
    """
    check_mask(mask, student_logits)
    check_same_classes(student_logits, teacher_logits)
    difference = _kept(at_least_float32(student_logits) - at_least_float32(teacher_logits), mask)
    return _per_example(0.5 * jnp.sum(difference**2, axis=-1), mask)


def perturb_logits(
    key: PRNGKeyArray, logits: Float[Array, "b *t k"], *, ratio: Real[ArrayLike, ""], sigma: Real[ArrayLike, ""]
) -> Float[Array, "b *t k"]:
    """The noisy teacher (Sau & Balasubramanian 2016): t' = (1 + ξ)·t with ξ_c ~ N(0, σ²), for some of the examples.

    Each example is chosen with probability `ratio`, and each of its logits gets its own ξ (one ξ for all of them would
    only change the temperature). The noise is a share of the logit, so it acts on the level of the logits: centre them
    first if a teacher's is far from 0. KDGAN's NOISY baseline uses ratio 0.1 and sigma 0.1.

    Args:
        key: a JAX random key.
        logits: t [b, k] or [b, t, k].
        ratio: the probability in [0, 1] of an example to be perturbed.
        sigma: σ ≥ 0, the noise's standard deviation as a share of the logit.

    Returns:
        The logits' shape and type (at least float32).

    Raises:
        ValueError: ratio or sigma (where they are Python numbers) out of range.
    """
    if isinstance(ratio, (int, float)) and not 0 <= ratio <= 1:
        raise ValueError(f"ratio is {ratio}; it must be in [0, 1]")
    if isinstance(sigma, (int, float)) and not sigma >= 0:
        raise ValueError(f"sigma is {sigma}; it must be at least 0")
    logits = at_least_float32(logits)
    chosen_key, noise_key = jax.random.split(key)
    chosen = jax.random.uniform(chosen_key, (logits.shape[0], *[1] * (logits.ndim - 1))) < ratio
    noise = jnp.asarray(sigma, logits.dtype) * jax.random.normal(noise_key, logits.shape, logits.dtype)
    return logits * (1 + jnp.where(chosen, noise, 0))


def _check_smoothing(label_smoothing: Real[ArrayLike, ""]) -> None:
    if isinstance(label_smoothing, (int, float)) and not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 1)")


def _tempered(student_logits, teacher_logits, temperature, teacher_temperature, mask) -> tuple[Array, ...]:
    """Both sides' logits, at least float32, and their temperatures, once they are known to fit each other."""
    if teacher_temperature is None:
        teacher_temperature = temperature
    check_temperature(temperature)
    check_temperature(teacher_temperature, "teacher_temperature")
    check_mask(mask, student_logits)
    check_same_classes(student_logits, teacher_logits)
    s, t = _kept(at_least_float32(student_logits), mask), _kept(at_least_float32(teacher_logits), mask)
    return s, t, jnp.asarray(temperature, s.dtype), jnp.asarray(teacher_temperature, t.dtype)


def _kept(x: Array, mask: Array | None) -> Array:
    """Zeros in place of the logits that do not count, which then can harm neither value nor gradient."""
    return x if mask is None else jnp.where(mask[..., None], x, 0)


def _per_example(values: Array, mask: Array | None) -> Array:
    """The mean over every dimension but the first, of what the mask keeps: [b, ...] -> [b]."""
    axes = tuple(range(1, values.ndim))
    if mask is None:
        return jnp.mean(values, axis=axes) if axes else values
    return jnp.sum(jnp.where(mask, values, 0), axis=axes) / jnp.maximum(jnp.sum(mask, axis=axes), 1)


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


def check_same_classes(student_logits: Float[Array, "b *t k"], teacher_logits: Float[Array, "n *u c"]) -> None:
    """Raises ValueError unless both have the same shape [b, k] (or [b, t, k]); left alone, a batch of one or one class
    would broadcast.
    """
    if student_logits.shape[-1] != teacher_logits.shape[-1]:
        raise ValueError(
            f"student_logits has shape {student_logits.shape} and teacher_logits {teacher_logits.shape}: "
            f"{student_logits.shape[-1]} and {teacher_logits.shape[-1]} classes. Both must be over the same classes; "
            "config.players.<name>.classes maps the classes of one player to those of the other"
        )
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits has shape {student_logits.shape} and teacher_logits {teacher_logits.shape}: "
            "both must come from the same batch"
        )


def check_mask(mask: Bool[Array, "b *t"] | None, logits: Float[Array, "n *u k"]) -> None:
    """Raises ValueError unless the mask has one entry for each row of logits: [b], or [b, t] of logits [b, t, k]."""
    if mask is not None and mask.shape != logits.shape[:-1]:
        raise ValueError(
            f"mask has shape {mask.shape}; a mask for logits {logits.shape} must be {list(logits.shape[:-1])}"
        )
