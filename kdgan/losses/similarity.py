"""What of a layer resembles what, against the teacher's: examples (SP, PKT) or channels (NST, ICKD).

No student needs the teacher's width but for `channel_correlation`. Features come as in `features.py`; similarities of
examples are statistics of the batch, a scalar (inside pmap of a device's share). No function here stops a gradient.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses.logits import at_least_float32
from kdgan.resampling import adaptive_average, smaller

SMALLEST = 1e-12  # of the length by which a vector is divided
PKT_EPSILON = 1e-7


def similarity_preserving(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, ""]:
    """SP (Tung & Mori 2019, eq. 4): Σ_l w_l·‖G̃_S − G̃_T‖²_F / b², G̃ the rows of QQᵀ at length 1, Q [b, d] a layer.

    RepDistiller, mdistiller and Knowledge-Distillation-Zoo have the same; torchdistill's rows have an L1 norm of 1.

    Args:
        student: S_l [b, ...].
        teacher: T_l [b, ...], of any other shape behind the batch.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        A scalar, at least 0 for weights at least 0. An example of zeros resembles none, without a gradient.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, other batches, or a batch of one, whose matrix
            is 1 whatever the features.
    """
    total = jnp.zeros(())
    for where, s, t, weight in matched(student, teacher, weights):
        _check_batch(where, s, t)
        total = total + weight * jnp.mean(jnp.square(_rows(_products(_flat(s))) - _rows(_products(_flat(t)))))
    return total


def probabilistic_transfer(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, ""]:
    """PKT (Passalis & Tefas 2018): Σ_l w_l·mean_{i,j} p_ij·log((p_ij + ε)/(q_ij + ε)), p of T_l, q of S_l.

    p_ij = (cos(t_i, t_j) + 1) / Σ_k (cos(t_i, t_k) + 1), over all k, ε = 1e-7. The paper sums over pairs j ≠ i; the
    code that runs it (RepDistiller, mdistiller, torchdistill) keeps the pair of an example with itself
    and takes the mean over b² entries, as this does. Published λ's (30,000) are for the mean.

    Args:
        student: S_l [b, ...], the embedding by default of published code.
        teacher: T_l [b, ...], of any other shape behind the batch.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        A scalar, at least 0 but for ε for weights at least 0. An example of zeros has the cosine 0 with all others.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, other batches, or a batch of one, whose
            distribution is 1 whatever the features.
    """
    total = jnp.zeros(())
    for where, s, t, weight in matched(student, teacher, weights):
        _check_batch(where, s, t)
        q, p = _neighbours(_flat(s)), _neighbours(_flat(t))
        total = total + weight * jnp.mean(p * (jnp.log(p + PKT_EPSILON) - jnp.log(q + PKT_EPSILON)))
    return total


def neuron_selectivity(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """NST (Huang & Wang 2017): Σ_l w_l·MMD² of the two layers' channels, with the kernel k(x, y) = (x·y)².

    MMD² = mean k(t, t') + mean k(s, s') − 2·mean k(s, t), over pairs of channels, each a map [h·w] of length 1. Where
    the sides differ the larger map is averaged to the smaller, as RepDistiller does. All published code agrees.

    Args:
        student: S_l [b, h, w, c].
        teacher: T_l [b, h', w', d], of any number of channels.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 but for rounding for weights at least 0. A channel of zeros is 0 under the kernel, without a
        gradient.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, or layers that are no maps of one batch.
    """
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        _check_maps(where, s, t)
        sides = smaller(s, t)
        ours, theirs = (_rows(_channels(x if x.shape[1:3] == sides else adaptive_average(x, sides))) for x in (s, t))
        kernel = lambda x, y: jnp.mean(jnp.square(_products(x, y)), axis=(1, 2))
        terms.append(weight * (kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)))
    return jnp.sum(jnp.stack(terms), axis=0)


def channel_correlation(student: Features, teacher: Features, weights: Weights | None = None) -> Float[Array, " b"]:
    """ICKD-C (Liu et al. 2021): Σ_l w_l·‖Ĝ_S − Ĝ_T‖²_F / c, Ĝ the rows of FFᵀ at length 1, F [c, h·w] a layer.

    The paper divides by c² and writes no lengths: 1/c times as much. The authors' code for CIFAR-100 is this,
    behind a learned 1×1 convolution with batch norm (`models.regressor`); that for ImageNet, and torchdistill, divide
    by the batch twice.

    Args:
        student: S_l [b, h, w, c].
        teacher: T_l [b, h', w', c], of any sides.
        weights: w_l, one a layer; 1 each where there are none.

    Returns:
        [b], at least 0 for weights at least 0. A channel of zeros goes with none, without a gradient.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights, layers that are no maps of one batch, or of
            other channels.
    """
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        _check_maps(where, s, t)
        if s.shape[-1] != t.shape[-1]:
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}: a learned adapter maps one width to another"
            )
        apart = _rows(_products(_channels(s))) - _rows(_products(_channels(t)))
        terms.append(weight * jnp.sum(jnp.square(apart), axis=(1, 2)) / s.shape[-1])
    return jnp.sum(jnp.stack(terms), axis=0)


def _neighbours(x: Float[Array, "b d"]) -> Float[Array, "b b"]:
    """The probability of each example beside each, [b, b] with rows that sum to 1."""
    squared = jnp.sum(jnp.square(x), axis=1, keepdims=True)
    unit = jnp.where(squared > 0, x / (jnp.sqrt(jnp.where(squared > 0, squared, 1)) + PKT_EPSILON), 0)
    close = (_products(unit) + 1) / 2
    return close / jnp.sum(close, axis=1, keepdims=True)


def _flat(x: Array) -> Float[Array, "b d"]:
    return at_least_float32(x).reshape(x.shape[0], -1)


def _channels(x: Float[Array, "b h w c"]) -> Float[Array, "b c n"]:
    return at_least_float32(x).reshape(x.shape[0], -1, x.shape[-1]).swapaxes(1, 2)


def _products(x: Float[Array, "*b m n"], y: Float[Array, "*b k n"] | None = None) -> Float[Array, "*b m k"]:
    """Of every two rows. In full float32: on GPU and TPU factors would be rounded to 10 or 8 bits."""
    return jnp.einsum("...mn,...kn->...mk", x, x if y is None else y, precision="highest")


def _rows(x: Float[Array, "*b m n"]) -> Float[Array, "*b m n"]:
    """Rows at length 1; zeros where they are 0, without a gradient there."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(squared > SMALLEST**2, x / jnp.sqrt(jnp.where(squared > SMALLEST**2, squared, 1)), 0)


def _check_batch(where: str, s: Array, t: Array) -> None:
    if s.shape[0] != t.shape[0] or s.shape[0] < 2:
        raise ValueError(
            f"{where} have shapes {s.shape} and {t.shape}: examples are compared with one another, in the same batch of"
            " at least 2 from both"
        )


def _check_maps(where: str, s: Array, t: Array) -> None:
    if s.ndim != 4 or t.ndim != 4 or s.shape[0] != t.shape[0]:
        raise ValueError(f"{where} have shapes {s.shape} and {t.shape}; channels are of maps [b, h, w, c] of one batch")
