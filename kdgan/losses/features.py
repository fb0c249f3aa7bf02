"""Losses between intermediate features: a student's layers against the teacher's, matched by their order.

Features come as mappings by module path, as `players.student(x, features=(...))` returns them, or as sequences. The i-th
layer of the student meets the i-th of the teacher, whatever their names. Each is [b, ...] of any rank. No function here
stops a gradient.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses import images
from kdgan.losses.logits import at_least_float32
from kdgan.resampling import adaptive_average, smaller


def feature_l1(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """Σ_l w_l·mean |S_l − T_l|, the mean over all axes but the batch.

    On features of the discriminator this is TinyGAN's (Chang & Lu 2020), with w = (1/32, 1/16, 1/8, 1/4, 1) from the first
    layer to the last.

    Args:
        student: S_l [b, ...].
        teacher: T_l of the same shapes.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 for weights at least 0.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or a layer whose shapes differ.
    """
    return _weighted_sum(images.l1, student, teacher, weights)


def feature_l2(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """Σ_l w_l·mean (S_l − T_l)², the mean over all axes but the batch.

    GAN Compression (Li et al. 2020) with S_l behind a learned 1×1 convolution that gives it the teacher's width
    (`kdgan.models.adapters`). FitNets (Romero et al. 2015) write ½‖S − T‖², which is n/2 times a layer's term here, n the
    entries of T_l for one example; the code that runs it (RepDistiller, mdistiller) takes the mean, as this does.

    Args:
        student: S_l [b, ...].
        teacher: T_l of the same shapes.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 for weights at least 0.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or a layer whose shapes differ.
    """
    return _weighted_sum(images.l2, student, teacher, weights)


def kernel_alignment(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, ""]:
    """CAT (Jin et al. 2021): Σ_l w_l·(1 − KA(S_l, T_l)), KA(X, Y) = ⟨XXᵀ, YYᵀ⟩_F / (‖XXᵀ‖_F·‖YYᵀ‖_F).

    X [b, d] holds a layer's features flattened, one row an example; the kernels are [b, b], so that student and teacher
    may differ in width and resolution and no adapter is needed. KA sees neither scale nor rotation (X → a·XQ). It is
    not centred. The paper's term is −KA: the gradient is the same, and this one is 0 at best and at most 1 a layer.
    Being a statistic of the batch (inside pmap of a device's share), it depends on the batch size.

    Args:
        student: S_l [b, ...].
        teacher: T_l [b, ...], of any other shape behind the batch.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        A scalar. Where all features of a layer are 0 its KA counts as 0, with no gradient.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, other batches, or a batch of one, whose KA is 1
            whatever the features.
    """
    total = jnp.zeros(())
    for where, s, t, weight in matched(student, teacher, weights):
        if s.shape[0] != t.shape[0] or s.shape[0] < 2:
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}: kernel alignment compares examples with one another, and "
                "needs the same batch of at least 2 from both"
            )
        total = total + weight * (1 - jnp.sum(_normalised_kernel(s) * _normalised_kernel(t)))
    return total


def attention_transfer(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """Attention transfer (Zagoruyko & Komodakis 2017): Σ_l w_l·mean_{h,w} (Q_S − Q_T)², Q = q / ‖q‖₂, q = mean_c f².

    Maps of any number of channels become one of attention [b, h·w], of length 1. Where the sides differ the larger map is
    averaged to the smaller first, as RepDistiller does. The authors' code and RepDistiller take the mean of squares, as this
    does (β 1000, of which ZSKT has 250); the paper writes a norm, `attention_distance`.

    Args:
        student: S_l [b, h, w, c].
        teacher: T_l [b, h', w', d].
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 for weights at least 0. A map of zeros has attention 0.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or layers that are no maps of one batch.
    """
    return _of_attention(lambda apart: jnp.mean(jnp.square(apart), axis=-1), student, teacher, weights)


def attention_distance(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """Attention transfer as its paper has it (eq. 2, without β/2): Σ_l w_l·‖Q_S − Q_T‖₂, Q as in `attention_transfer`.

    Args:
        student: S_l [b, h, w, c].
        teacher: T_l [b, h', w', d].
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 for weights at least 0; the gradient is 0 where the maps agree.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or layers that are no maps of one batch.
    """
    return _of_attention(_length, student, teacher, weights)


def _of_attention(
    distance: Callable[[Array], Array], student: Features, teacher: Features, weights: Weights | None
) -> Array:
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        if s.ndim != 4 or t.ndim != 4 or s.shape[0] != t.shape[0]:
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}; attention compares maps [b, h, w, c] of the same batch"
            )
        sides = smaller(s, t)
        mine, theirs = (x if x.shape[1:3] == sides else adaptive_average(x, sides) for x in (s, t))
        terms.append(distance(_attention(mine) - _attention(theirs)) * weight)
    return sum(terms[1:], terms[0])


def _attention(features: Array) -> Array:
    """Q [b, h·w]; zeros of a map of zeros."""
    q = jnp.mean(jnp.square(at_least_float32(features)), axis=-1).reshape(features.shape[0], -1)
    return q / jnp.maximum(_length(q), 1e-12)[:, None]


def _length(x: Array) -> Array:
    """‖x‖₂ along the last axis; its gradient at 0 is 0."""
    squared = jnp.sum(jnp.square(x), axis=-1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _normalised_kernel(features: Array) -> Array:
    """XXᵀ/‖XXᵀ‖_F [b, b]; zeros where X is 0."""
    x = at_least_float32(features).reshape(features.shape[0], -1)
    # In full float32: on GPU and TPU a matrix product would round its factors to 10 or 8 bits.
    kernel = jnp.matmul(x, x.T, precision="highest")
    squared = jnp.sum(jnp.square(kernel))
    return jnp.where(squared > 0, kernel / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _weighted_sum(
    loss: Callable[[Array, Array], Array], student: Features, teacher: Features, weights: Weights | None
) -> Array:
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        if s.shape != t.shape:
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}, and must be the same: a learned adapter maps one width to "
                "another, and kernel_alignment takes any two"
            )
        terms.append(loss(s, t) * weight)
    return sum(terms[1:], terms[0])
