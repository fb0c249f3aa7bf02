"""The hierarchical context loss of knowledge review (Chen et al. 2021): features compared at several resolutions.

Features come as in `features.py`. No function here stops a gradient.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses import images
from kdgan.resampling import adaptive_average

LEVELS = (4, 2, 1)


def hierarchical_context(
    student: Features, teacher: Features, weights: Weights | None = None, *, levels: Sequence[int] = LEVELS
) -> Float[Array, " b"]:
    """HCL (Chen et al. 2021): Σ_l w_l·Σ_i 2^−i·mean (P_i S_l − P_i T_l)² / Σ_i 2^−i, P_0 S = S, P_i averages.

    P_i averages to `levels[i − 1]` rows and columns. A level that is no smaller than the map is left out and halves
    nothing. The paper writes no weights of levels; its code, mdistiller and torchdistill are this. Behind
    `models.review_fusion`.

    Args:
        student: S_l [b, h, w, c] or [b, d].
        teacher: T_l of the same shapes.
        weights: w_l, one a layer; 1 each where there are none.
        levels: sides to which maps are averaged, the largest first.

    Returns:
        [b], at least 0 for weights at least 0.

    Raises:
        ValueError: levels below 1; no layers, other numbers of layers, names or weights, or a layer that is neither
            [b, h, w, c] nor [b, d], or whose shapes differ.
    """
    if any(level < 1 for level in levels):
        raise ValueError(f"levels is {tuple(levels)}; sides of at least 1 are accepted")
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        if s.shape != t.shape or s.ndim not in (2, 4):
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}; [b, h, w, c] or [b, d], the same, are accepted"
            )
        used = [level for level in levels if s.ndim == 4 and level < min(s.shape[1:3])]
        distances = [images.l2(s, t)]
        distances += [images.l2(*(adaptive_average(x, (level, level)) for x in (s, t))) for level in used]
        halves = [2.0**-i for i in range(len(distances))]
        total = sum(half * distance for half, distance in zip(halves, distances, strict=True))
        terms.append(weight * total / sum(halves))
    return jnp.sum(jnp.stack(terms), axis=0)
