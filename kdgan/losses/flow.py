"""How one layer leads to the next: FSP matrices (Yim et al. 2017), singular vectors of features (Lee et al. 2018).

Both compare consecutive layers of one network, so that n layers give n − 1 terms. Features come as in `features.py`. No
function here stops a gradient.
"""

import itertools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses.logits import at_least_float32
from kdgan.resampling import POOLINGS, smaller

SPREAD = 8.0  # of the radial basis function of singular vectors
MORE = 3  # how many vectors a student has beyond the teacher's, of which one is nearest to it


def flow_matrix(
    first: Float[Array, "b h w c"], second: Float[Array, "b i j d"], *, pooling: str = "average"
) -> Float[Array, "b c d"]:
    """FSP matrix (Yim et al. 2017, eq. 1): G = Σ_{h,w} F1 F2ᵀ / (h·w), [c, d] of each example.

    Where the sides differ, the larger map is pooled to the smaller.

    Raises:
        ValueError: an unknown pooling.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; accepted are {', '.join(POOLINGS)}")
    sides = smaller(first, second)
    one, other = (x if x.shape[1:3] == sides else POOLINGS[pooling](x, sides) for x in (first, second))
    product = jnp.einsum("bhwc,bhwd->bcd", at_least_float32(one), at_least_float32(other), precision="highest")
    return product / (sides[0] * sides[1])


def solution_flow(
    student: Features, teacher: Features, weights: Weights | None = None, *, pooling: str = "average"
) -> Float[Array, " b"]:
    """FSP (Yim et al. 2017, eq. 2): Σ_l w_l·mean_{c,d} (G_l(S) − G_l(T))², G_l of layer l and the one behind it.

    The paper pools by "max" and sums over the matrix: c·d times this one. RepDistiller and Knowledge-Distillation-Zoo
    pool by "average" and take the mean, as this does.

    Args:
        student: S_l [b, h_l, w_l, c_l], at least two layers.
        teacher: T_l [b, h'_l, w'_l, c_l], of the student's channels.
        weights: w_l, one a pair of consecutive layers; 1 each where there are none.
        pooling: of the larger of two maps whose sides differ, "average" or "max".

    Returns:
        [b], at least 0 for weights at least 0.

    Raises:
        ValueError: an unknown pooling; fewer than two layers, other numbers of layers, names or weights; or layers that
            are no maps, or of other channels or batches.
    """
    pairs = _consecutive(student, teacher)
    matrices = [
        {name: flow_matrix(*layers[side], pooling=pooling) for name, layers in pairs.items()} for side in (0, 1)
    ]
    terms = [w * jnp.mean(jnp.square(s - t), axis=(1, 2)) for _, s, t, w in matched(matrices[0], matrices[1], weights)]
    return jnp.sum(jnp.stack(terms), axis=0)


Vectors = tuple[Float[Array, "_ _ _"], Float[Array, "_ _"]]  # [b, c, k] and their singular values [b, k]


def right_singular_vectors(features: Float[Array, "b h w c"], k: int) -> Vectors:
    """The first k right singular vectors of each example's [h·w, c], and their singular values, largest first.

    The sign of a vector is free; here its sum is at least 0. Of features at least 0 the first vector is that, too.
    Where two singular values agree their vectors are no functions of the features: they turn into each other without a
    gradient.

    Args:
        features: [b, h, w, c].
        k: how many; at most min(h·w, c).

    Returns:
        (vectors [b, c, k] of length 1, values [b, k]).

    Raises:
        ValueError: k is not from 1 to min(h·w, c).
    """
    b, h, w, c = features.shape
    if not 1 <= k <= min(h * w, c):
        raise ValueError(f"k is {k}; features {features.shape} have 1 to {min(h * w, c)} singular vectors")
    vectors, values = _decomposed(at_least_float32(features).reshape(b, h * w, c))
    sign = jnp.where(jnp.sum(vectors, axis=1, keepdims=True) < 0, -1, 1)
    return (vectors * sign)[..., :k], values[..., :k]


def singular_flow(
    student: Features, teacher: Features, weights: Weights | None = None, *, k: int = 1
) -> Float[Array, " b"]:
    """KD-SVD (Lee et al. 2018): Σ_l w_l·Σ_{a,b,k} (R_l(S) − R_l(T))², R_l = exp(−(v_l[a] − v_{l−1}[b])²/8).

    v_l are the first right singular vectors of a layer's [h·w, c], each times the teacher's singular value (of k values
    that are scaled to length 1 together; with k = 1 it drops out). For each of the teacher's, the nearest of the
    student's first k + 3 is taken, with its sign. The sign of the teacher's own is free and R sees it:
    `right_singular_vectors` fixes it, while RepDistiller, a port of the authors' code, has what the decomposition
    gives. With those signs this is RepDistiller's (`correlation_distance`); mdistiller decomposes [c·h, w], which is
    another loss.

    Args:
        student: S_l [b, h_l, w_l, c_l], at least two layers.
        teacher: T_l [b, h'_l, w'_l, c_l], of the student's channels.
        weights: w_l, one a pair of consecutive layers; 1 each where there are none.
        k: how many singular vectors of a layer.

    Returns:
        [b], at least 0 for weights at least 0.

    Raises:
        ValueError: fewer than two layers, other numbers of layers, names or weights; layers that are no maps, or of
            other channels or batches; or k that a layer has not.
    """
    _consecutive(student, teacher)
    layers = matched(student, teacher, None)
    ours = [right_singular_vectors(s, min(k + MORE, s.shape[-1], s.shape[1] * s.shape[2])) for _, s, _, _ in layers]
    theirs = [right_singular_vectors(t, k) for _, _, t, _ in layers]
    return correlation_distance(ours, theirs, weights)


def correlation_distance(
    student: Sequence[Vectors], teacher: Sequence[Vectors], weights: Weights | None = None
) -> Float[Array, " b"]:
    """`singular_flow` of singular vectors and values that are there already, layer by layer: [b]."""
    radial: list[list[Array]] = [[], []]
    before: tuple[Array, Array] | None = None
    for (ours, _), (theirs, values) in zip(student, teacher, strict=True):
        scale = values / jnp.sqrt(_positive(jnp.sum(jnp.square(values), axis=-1, keepdims=True)))
        both = (_aligned(ours, theirs) * scale[:, None], theirs * scale[:, None])
        for side, last in enumerate(before or ()):
            apart = both[side][:, :, None] - last[:, None]
            radial[side].append(jnp.exp(-jnp.square(apart) / SPREAD))
        before = both
    terms = [w * jnp.sum(jnp.square(s - t), axis=(1, 2, 3)) for _, s, t, w in matched(radial[0], radial[1], weights)]
    return jnp.sum(jnp.stack(terms), axis=0)


def _consecutive(student: Features, teacher: Features) -> Mapping[str, tuple[tuple, tuple]]:
    """What leads to what -> the student's two layers, the teacher's two."""
    layers = matched(student, teacher, None)
    if len(layers) < 2:
        raise ValueError(f"{layers[0][0]} are one layer; a flow is between two, and needs at least 2 of each network")
    for where, s, t, _ in layers:
        if s.ndim != 4 or t.ndim != 4 or (s.shape[0], s.shape[-1]) != (t.shape[0], t.shape[-1]):
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}; a flow takes [b, h, w, c] of the same batch and channels"
            )
    names = list(student) if isinstance(student, Mapping) else list(map(str, range(len(layers))))
    return {
        f"{names[i]} to {names[i + 1]}": ((one[1], other[1]), (one[2], other[2]))
        for i, (one, other) in enumerate(itertools.pairwise(layers))
    }


def _positive(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)


def _aligned(ours: Float[Array, "b c n"], theirs: Float[Array, "b c k"]) -> Float[Array, "b c k"]:
    """For each of theirs the one of ours whose cosine is largest in magnitude, turned to its side."""
    cosine = jnp.einsum("bcn,bck->bnk", ours, theirs, precision="highest")
    nearest = jnp.argmax(jnp.abs(cosine), axis=1)[:, None]
    sign = jnp.where(jnp.take_along_axis(cosine, nearest, axis=1) < 0, -1, 1)
    return jnp.take_along_axis(ours, nearest, axis=2) * sign


@jax.custom_jvp
def _decomposed(x: Float[Array, "b n c"]) -> Vectors:
    """(V [b, c, m], σ [b, m]), m = min(n, c)."""
    _, values, transposed = jnp.linalg.svd(x, full_matrices=False)
    return transposed.swapaxes(1, 2), values


@_decomposed.defjvp
def _decomposed_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Vectors, Vectors]:
    """dv_i = Σ_j v_j·(v_jᵀ dA v_i)/(σ_i² − σ_j²) + (1 − VVᵀ) dA v_i/σ_i², A = XᵀX; of a gap of 0, NaN in JAX, 0."""
    (x,), (dx,) = primals, tangents
    vectors, values = _decomposed(x)
    product = lambda formula, *operands: jnp.einsum(formula, *operands, precision="highest")
    images, changes = product("bnc,bci->bni", x, vectors), product("bnc,bci->bni", dx, vectors)
    crossed = product("bnj,bni->bji", changes, images)
    squared = jnp.square(values)
    smallest = jnp.finfo(x.dtype).eps * squared[:, :1]
    gap = squared[:, None] - squared[:, :, None]
    apart = jnp.abs(gap) > smallest[:, None]
    inside = jnp.where(apart, (crossed + crossed.swapaxes(1, 2)) / jnp.where(apart, gap, 1), 0)
    above = squared > smallest
    beyond = product("bnc,bni->bci", dx, images)
    beyond = beyond - product("bcj,bji->bci", vectors, product("bcj,bci->bji", vectors, beyond))
    outside = jnp.where(above[:, None], beyond / jnp.where(above, squared, 1)[:, None], 0)
    turned = product("bcj,bji->bci", vectors, inside) + outside
    stretched = jnp.where(values > 0, jnp.sum(images * changes, axis=1) / _positive(values), 0)
    return (vectors, values), (turned, stretched)
