"""How much of the real images a generator reaches, and how real its own are: by balls around each one's neighbours.

A set of features is taken for the region that the balls around its examples cover, each ball reaching to its example's
k-th neighbour. `precision_recall` (Kynkäänniemi et al. 2019) asks which share of one set lies in the region of the
other; `density_coverage` (Naeem et al. 2020) are their robust forms, in which an outlier with a large ball counts little.

Distances are Euclidean, computed in blocks of rows by a float32 matrix product after both sets are shifted by the real
mean, so that memory stays at some hundred MB for any number of examples: a squared distance is off by about 1e-6 of the
squared length of the features, and only an example that near to a ball's edge may change sides. As in `generative`,
features that are not finite give NaN.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Integer

from kdgan.metrics.generative import Features, OtherFeatures, as_features, check_same_width

# A block of distances in float32; a few of this size are alive at once.
_BLOCK_BYTES = 32 * 2**20


def precision_recall(real: Features, fake: OtherFeatures, *, k: int = 3) -> dict[str, float]:
    """Share of fake examples in the real region, and share of real examples in the fake region.

    Precision = 1/m Σ_j 1[∃i: ‖fake_j − real_i‖ <= NND_k(real_i)]; recall with the roles exchanged. NND_k is the distance
    to the k-th nearest other example of the same set. Balls are closed, as in the paper. Both depend on n and m, which
    the paper takes equal (50,000).

    Args:
        real: [n, d].
        fake: [m, d].
        k: which neighbour the balls reach to.

    Returns:
        "precision", "recall": in [0, 1].

    Raises:
        ValueError: different d; k below 1; n or m of at most k.
    """
    real, fake = _shifted(real, fake)
    _check_neighbours(k, real=real, fake=fake)
    if not _finite(real, fake):
        return {"precision": float("nan"), "recall": float("nan")}
    return {"precision": _share_inside(fake, real, k), "recall": _share_inside(real, fake, k)}


def density_coverage(real: Features, fake: OtherFeatures, *, k: int = 5) -> dict[str, float]:
    """How many real balls a fake example lies in, over k, and the share of real balls with a fake example inside.

    Density = 1/(k·m) Σ_j Σ_i 1[‖fake_j − real_i‖ < NND_k(real_i)];
    coverage = 1/n Σ_i 1[∃j: ‖fake_j − real_i‖ < NND_k(real_i)].

    Both have fixed values for two draws of one distribution: density 1, and coverage 1 − ((n − 1) … (n − k)) /
    ((2n − 1) … (2n − k)) for n = m, about 1 − 2^−k. Balls are open, as in the authors' code, so that a set compared with
    itself has density 1; a real example with k exact copies has an empty one.

    Args:
        real: [n, d].
        fake: [m, d].
        k: which neighbour the balls reach to.

    Returns:
        "density": at least 0, above 1 where fakes crowd where real examples do; "coverage": in [0, 1].

    Raises:
        ValueError: different d; k below 1; n of at most k.
    """
    real, fake = _shifted(real, fake)
    _check_neighbours(k, real=real)
    if not _finite(real, fake):
        return {"density": float("nan"), "coverage": float("nan")}
    radii = _radii(real, k)
    balls = covered = 0
    for rows, squared in _squared_distances(real, fake):
        inside = squared < radii[rows, None]
        balls += int(np.count_nonzero(inside))
        covered += int(np.count_nonzero(inside.any(axis=1)))
    return {"density": balls / (k * len(fake)), "coverage": covered / len(real)}


def nearest(query: Features, reference: OtherFeatures, *, k: int = 1) -> Integer[np.ndarray, "n k"]:
    """Indices of the k nearest reference examples to each query, nearest first; of equally near ones the first.

    To see whether a generator repeats its data: its images beside their nearest ones of the training set. The features
    may be pixels, [n, h·w·c].

    Args:
        query: [n, d].
        reference: [m, d]; an example that is also a query finds itself.
        k: how many.

    Returns:
        [n, k] in 0 .. m − 1.

    Raises:
        ValueError: different d; k below 1 or above m; features that are not finite, which have no nearest.
    """
    reference, query = _shifted(reference, query)
    if not 1 <= k <= len(reference):
        raise ValueError(f"k is {k}; 1 to {len(reference)} are accepted, the number of reference examples")
    if not _finite(reference, query):
        raise ValueError("query or reference has features that are NaN or infinite; no example is nearest to those")
    found = np.empty((len(query), k), np.int64)
    for rows, squared in _squared_distances(query, reference):
        each = np.arange(len(squared))
        for i in range(k):
            found[rows, i] = squared.argmin(axis=1)
            squared[each, found[rows, i]] = np.inf
    return found


def _shifted(real, fake) -> tuple[np.ndarray, np.ndarray]:
    """Both sets less the first one's mean, in float32: lengths near those of the distances lose the fewest digits."""
    real, fake = as_features(real, "real"), as_features(fake, "fake")
    check_same_width(real, fake)
    with np.errstate(invalid="ignore", over="ignore"):
        centre = real.mean(0)[None, :]
        return (real - centre).astype(np.float32), (fake - centre).astype(np.float32)


def _check_neighbours(k: int, **sets: np.ndarray) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    for name, x in sets.items():
        if len(x) <= k:
            raise ValueError(f"{name} has {len(x)} examples; a {k}-th neighbour (k={k}) needs at least {k + 1}")


def _finite(*sets: np.ndarray) -> bool:
    return all(bool(np.isfinite(x).all()) for x in sets)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """‖a_i − b_j‖² for blocks of rows: (which rows, [rows, m]), the block being the caller's to change."""
    step = max(1, _BLOCK_BYTES // (b.itemsize * len(b)))
    lengths_a, lengths_b = np.einsum("nd,nd->n", a, a), np.einsum("nd,nd->n", b, b)
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        block = a[rows] @ b.T
        block *= -2
        block += lengths_a[rows, None]
        block += lengths_b[None, :]
        np.maximum(block, 0, out=block)
        yield rows, block


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each example to its k-th nearest other one."""
    radii = np.empty(len(x), x.dtype)
    for rows, squared in _squared_distances(x, x):
        each = np.arange(len(squared))
        squared[each, rows.start + each] = np.inf  # itself, copies of it excepted
        squared.partition(k - 1, axis=1)
        radii[rows] = squared[:, k - 1]
    return radii


def _share_inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    """Share of the points that lie in some ball around the centres."""
    radii = _radii(centres, k)
    inside = np.zeros(len(points), bool)
    for rows, squared in _squared_distances(centres, points):
        inside |= (squared <= radii[rows, None]).any(axis=0)
    return float(inside.mean())
