"""Losses of distillation without data: what images are made by, from the teacher's and the student's answers to them.

Each is to be minimised by whoever makes the images. Most give one value per example [b]; those whose definition is of a
batch give a scalar, and say so: inside `pmap` their batch is a device's share. Gradients reach both the teacher's and the
student's outputs; a method differentiates only the players that move.

Logits are [b, k] and are computed on as float32 at least.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from kdgan.batch_statistics import LayerStatistics
from kdgan.losses import images
from kdgan.losses.logits import at_least_float32, check_same_classes, check_temperature, cross_entropy, kl_divergence

LEAST, MOST = 0.01, 0.99  # between which DeepInversion's code clips probabilities


def one_hot(teacher_logits: Float[Array, "b k"]) -> Float[Array, " b"]:
    """Confidence (DAFL, Chen et al. 2019): CE(t, argmax t) = −log max_c softmax(t)_c, in nats.

    Args:
        teacher_logits: t [b, k] on made images.

    Returns:
        [b], from 0 to log k.
    """
    return cross_entropy(teacher_logits, jnp.argmax(teacher_logits, axis=-1).astype(jnp.int32))


def activation(features: Float[Array, "b *d"]) -> Float[Array, " b"]:
    """Strength of the teacher's features (DAFL): −mean |f|, the mean over all axes but the batch.

    The paper writes −‖f‖₁, d times as much for d features; its code and its λ of 0.1 are of this mean.

    Args:
        features: f [b, ...], what the teacher's last layer reads.

    Returns:
        [b], at most 0. The gradient is 0 where f is.
    """
    f = at_least_float32(features)
    return -jnp.mean(f * jnp.sign(f), axis=tuple(range(1, f.ndim)))


def balance(teacher_logits: Float[Array, "b k"]) -> Float[Array, ""]:
    """Class balance (DAFL): Σ_c p̄_c log p̄_c, minus the entropy of the batch's mean softmax p̄, in nats.

    DAFL's code takes logarithms to base 10: its published λ of 5 is 5/2.303 = 2.17 here. DataFree's λ's (20 of DFQ) are of
    natural logarithms, as this one is.

    Args:
        teacher_logits: t [b, k] on made images.

    Returns:
        A scalar of the batch, from −log k (all classes equally often) to 0.
    """
    log_p = jax.nn.log_softmax(at_least_float32(teacher_logits))
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(jnp.asarray(log_p.shape[0], log_p.dtype))
    return jnp.sum(jnp.exp(log_mean) * log_mean)


def batch_norm_statistics(
    layers: Mapping[str, LayerStatistics] | Sequence[LayerStatistics], *, first: Real[ArrayLike, ""] = 1.0
) -> Float[Array, ""]:
    """R_feature of DeepInversion (Yin et al. 2020): Σ_l ‖μ_l − μ̂_l‖₂ + ‖σ²_l − σ̂²_l‖₂.

    μ, σ² are mean and biased variance of what a batch norm is given, hats what it keeps (`kdgan.batch_statistics`); the
    norms are over channels and not squared. DeepInversion's ImageNet script counts the first layer ten times (`first=10`),
    which its equation, its CIFAR-10 script, DFQ, CMI and Fast do not.

    Args:
        layers: statistics of every batch norm, the one next to the image first.
        first: weight of the first layer; 1 of the others.

    Returns:
        A scalar of the batch, at least 0. The gradient of a norm is 0 where it is 0.

    Raises:
        ValueError: there are no layers.
    """
    several = list(layers.values()) if isinstance(layers, Mapping) else list(layers)
    if not several:
        raise ValueError("layers is empty; the statistics of one batch norm or more are wanted")
    norms = [
        _norm(layer.mean - layer.running_mean) + _norm(layer.variance - layer.running_variance) for layer in several
    ]
    return sum(norms[1:], norms[0] * first)


def adversarial_kl(
    student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"], *, temperature: Real[ArrayLike, ""] = 1.0
) -> Float[Array, " b"]:
    """Where the student is wrong (ZSKT, Micaelli & Storkey 2019; DFQ): −T²·KL(softmax(t/T) ‖ softmax(s/T)), in nats.

    ZSKT's code divides by the number of classes k and leaves out T²: ours is k·T² times its term.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].
        temperature: T > 0.

    Returns:
        [b], at most 0.

    Raises:
        ValueError: the shapes differ, or T is not positive.
    """
    return -kl_divergence(student_logits, teacher_logits, temperature=temperature)


def logit_l1(student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"]) -> Float[Array, " b"]:
    """Mean absolute error of logits (DFAD, Fang et al. 2019): 1/k · Σ_c |s_c − t_c|; its student minimises it.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].

    Returns:
        [b], at least 0, in logits. The gradient is 0 where s = t.

    Raises:
        ValueError: the shapes differ.
    """
    check_same_classes(student_logits, teacher_logits)
    return images.l1(student_logits, teacher_logits)


def adversarial_l1(student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"]) -> Float[Array, " b"]:
    """DFAD's generator: −1/k · Σ_c |s_c − t_c|.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].

    Returns:
        [b], at most 0, without a lower bound.

    Raises:
        ValueError: the shapes differ.
    """
    return -logit_l1(student_logits, teacher_logits)


def adversarial_log_l1(student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"]) -> Float[Array, ""]:
    """DFAD's generator in another form of its code: −log(1 + d), d the batch's mean of `logit_l1`: large d's pull less.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].

    Returns:
        A scalar of the batch, at most 0.

    Raises:
        ValueError: the shapes differ.
    """
    return -jnp.log1p(jnp.mean(logit_l1(student_logits, teacher_logits)))


def decision_adversarial(
    student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"], *, temperature: Real[ArrayLike, ""] = 1.0
) -> Float[Array, " b"]:
    """CMI's and Fast's (Fang et al. 2021, 2022): `adversarial_kl` of the examples on whose class both agree, 0 of others.

    Images are so drawn towards the student's border from within, and not into what is no class. The mean over the batch
    divides by b and not by the number of examples that agree, as their code does. The choice has no gradient.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].
        temperature: T > 0; 1 in their code.

    Returns:
        [b], at most 0.

    Raises:
        ValueError: the shapes differ, or T is not positive.
    """
    apart = adversarial_kl(student_logits, teacher_logits, temperature=temperature)
    return jnp.where(jnp.argmax(student_logits, -1) == jnp.argmax(teacher_logits, -1), apart, 0)


def competition(
    student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"], *, temperature: Real[ArrayLike, ""] = 1.0
) -> Float[Array, " b"]:
    """Adaptive DeepInversion as its paper has it (Yin et al. 2020): 1 − JS(p, q), p and q softmaxes at T.

    JS = ½KL(p ‖ m) + ½KL(q ‖ m), m = ½(p + q), in nats, at most log 2. Its code computes something else: see
    `competition_of_code`.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].
        temperature: T > 0; there is no factor T².

    Returns:
        [b], from 1 − log 2 to 1, which is where both agree.

    Raises:
        ValueError: the shapes differ, or T is not positive.
    """
    check_same_classes(student_logits, teacher_logits)
    check_temperature(temperature)
    log_p, log_q = (jax.nn.log_softmax(at_least_float32(x) / temperature) for x in (teacher_logits, student_logits))
    log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
    kl = lambda log_a: jnp.sum(jnp.exp(log_a) * (log_a - log_m), axis=-1)
    return 1 - (kl(log_p) + kl(log_q)) / 2


def competition_of_code(
    student_logits: Float[Array, "b k"], teacher_logits: Float[Array, "n c"], *, temperature: Real[ArrayLike, ""] = 3.0
) -> Float[Array, ""]:
    """Adaptive DeepInversion as its code has it, by which its numbers were made: 1 − clip(½KL(m ‖ p) + ½KL(m ‖ q), 0, 1).

    The mixture m is the first argument of both divergences; p and q are clipped to [0.01, 0.99] and not normalised again.
    The divergence, a mean over the batch, is clipped as a whole: beyond 1 there is no gradient.

    Args:
        student_logits: s [b, k].
        teacher_logits: t [b, k].
        temperature: T > 0; there is no factor T².

    Returns:
        A scalar of the batch, from 0 to 1.

    Raises:
        ValueError: the shapes differ, or T is not positive.
    """
    check_same_classes(student_logits, teacher_logits)
    check_temperature(temperature)
    p, q = (
        jnp.clip(jax.nn.softmax(at_least_float32(x) / temperature), LEAST, MOST)
        for x in (teacher_logits, student_logits)
    )
    m = jnp.clip((p + q) / 2, LEAST, MOST)
    kl = lambda a: jnp.mean(jnp.sum(m * (jnp.log(m) - jnp.log(a)), axis=-1))
    return 1 - jnp.clip((kl(p) + kl(q)) / 2, 0.0, 1.0)


def image_norm(image: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """R_l2 of DeepInversion: ‖x‖₂ of each image, not squared.

    Its ImageNet script's. Its CIFAR-10 script and DataFree take one norm of the whole batch, `batch_image_norm`.

    Args:
        image: x [b, h, w, c].

    Returns:
        [b], at least 0; the gradient is 0 at 0.
    """
    return jax.vmap(_norm)(at_least_float32(image))


def batch_image_norm(image: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """R_l2 of DeepInversion's CIFAR-10 script: ‖x‖₂ of the whole batch, which grows as √b.

    Args:
        image: x [b, h, w, c].

    Returns:
        A scalar of the batch, at least 0; the gradient is 0 at 0.
    """
    return _norm(at_least_float32(image))


def batch_total_variation(image: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """R_TV of DeepInversion in its l2 form: Σ ‖x − x shifted‖₂ over both neighbours and both diagonals.

    Each norm is one of the whole batch, not squared: it grows as √(b·h·w·c). The l1 form is
    `kdgan.losses.images.total_variation` with `diagonals`.

    Args:
        image: x [b, h, w, c].

    Returns:
        A scalar of the batch, at least 0.

    Raises:
        ValueError: an image of less than 2×2 pixels.
    """
    if min(image.shape[1:3]) < 2:
        raise ValueError(f"the images have shape {image.shape[1:]}; neighbours that differ need at least 2×2 pixels")
    x = at_least_float32(image)
    return (
        _norm(x[:, 1:] - x[:, :-1])
        + _norm(x[:, :, 1:] - x[:, :, :-1])
        + _norm(x[:, 1:, 1:] - x[:, :-1, :-1])
        + _norm(x[:, 1:, :-1] - x[:, :-1, 1:])
    )


def contrastive(
    local: Float[Array, "n d"], whole: Float[Array, "n d"], new: int, *, temperature: Real[ArrayLike, ""] = 0.1,
    counts: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:  # fmt: skip
    """CMI (Fang et al. 2021): each image's local view is to find its own whole view among those of all images.

    With u, v of length 1 the value of row i is −log softmax_j(u_i·v_j / τ)_i. No gradient passes v. As in its code the mean
    over the new images and the mean over the remembered ones are added, where there are any of these.

    Args:
        local: projections u of local views [n, d], new images first, then remembered ones; they are scaled to length 1.
        whole: projections v of whole views, in the same order.
        new: how many are new, 1 to n.
        temperature: τ > 0; 0.1 in the paper's code by default, 0.2 in its scripts for CIFAR-10.
        counts: rows that there are; the others (of a memory that is not full) are neither looked for nor among.

    Returns:
        A scalar of the batch, at least 0.

    Raises:
        ValueError: the shapes differ, `new` is not 1 to n, or τ is not positive.
    """
    if local.shape != whole.shape or not 1 <= new <= len(local):
        raise ValueError(
            f"local and whole have shapes {local.shape} and {whole.shape}, new is {new}: 1 to n of the same n"
        )
    check_temperature(temperature)
    u, v = (x / jnp.maximum(_row_norms(x), 1e-12) for x in (at_least_float32(local), at_least_float32(whole)))
    logits = jnp.matmul(u, jax.lax.stop_gradient(v).T, precision="highest") / temperature
    if counts is not None:
        logits = jnp.where(counts[None, :], logits, -1e9)
    values = -jnp.diagonal(jax.nn.log_softmax(logits))
    old, there = values[new:], jnp.ones(len(values) - new, bool) if counts is None else counts[new:]
    return jnp.mean(values[:new]) + jnp.sum(jnp.where(there, old, 0)) / jnp.maximum(jnp.sum(there), 1)


def _row_norms(x: Array) -> Array:
    """[n, 1], without NaN in the gradient at 0."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _norm(x: Array) -> Array:
    """‖x‖₂ of all entries; its gradient at 0 is 0."""
    squared = jnp.sum(jnp.square(x))
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
