"""How far generated images are from real ones, by their features: Fréchet and kernel distance, and the inception score.

All three read features or class probabilities of a fixed network (`kdgan.metrics.features`) and know no images. Numbers
are comparable only for the same network, the same layer and the same numbers of images. The Fréchet distance carries the
name FID only with the Inception network of the paper; with any other it is FD, and the network's name belongs to it.

Everything runs on the host in float64. Where a feature is NaN or infinite, as those of a generator that diverged, the
result is NaN: it is seen in the run's record and stops nothing.
"""

from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float, Real

Features = Real[np.ndarray, "n d"] | Real[Array, "n d"]
OtherFeatures = Real[np.ndarray, "m e"] | Real[Array, "m e"]

# Rows of a kernel matrix held at once: 256 × 10,000 float64 are 20 MB.
_ROWS = 256

# Features that are not finite, or overflow, say so in the result; warnings besides would say nothing more.
_DIVERGED: Any = {"invalid": "ignore", "over": "ignore"}


def moments(features: Features) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Mean μ [d] and covariance Σ [d, d] of features [n, d], float64; n − 1 in the denominator, as numpy.cov.

    Raises:
        ValueError: fewer than 2 examples.
    """
    x = as_features(features, "features")
    if len(x) < 2:
        raise ValueError(f"features has {len(x)} examples; a covariance needs at least 2")
    with np.errstate(**_DIVERGED):
        mean = x.mean(0)
        centred = x - mean[None, :]
        return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(a: Features, b: OtherFeatures) -> float:
    """‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^{1/2}), the squared Wasserstein-2 distance of two fitted Gaussians.

    Dowson & Landau 1982; with the features of Inception's last pooling, Heusel et al. 2017 (FID). It is biased upwards
    for few examples, so numbers of different n are not comparable.

    Args:
        a: [n, d].
        b: [m, d].

    Returns:
        At least 0, in squared features; NaN where a feature is not finite.

    Raises:
        ValueError: different d; n or m of at most d, whose covariance would be singular: a distance of such fits says
            more about the number of examples than about the images.
    """
    a, b = as_features(a, "a"), as_features(b, "b")
    check_same_width(a, b)
    for name, x in (("a", a), ("b", b)):
        n, d = x.shape
        if n <= d:
            raise ValueError(
                f"{name} has {n} examples of {d} features; a Fréchet distance needs at least {d + 1}, since fewer make"
                " the covariance singular (take more examples, or a layer with fewer features)"
            )
    return frechet_from_moments(*moments(a), *moments(b))


def frechet_from_moments(mean_a: Any, covariance_a: Any, mean_b: Any, covariance_b: Any) -> float:
    """`frechet_distance` of two Gaussians given by their moments.

    Tr (Σ_a Σ_b)^{1/2} is the sum of the roots of the eigenvalues of Σ_a^{1/2} Σ_b Σ_a^{1/2}, which is symmetric and has
    the same ones: two `eigh`, always real, where a matrix root of the product blows up near singular covariances.

    Args:
        mean_a: μ_a [d].
        covariance_a: Σ_a [d, d], symmetric.
        mean_b: μ_b [d].
        covariance_b: Σ_b [d, d], symmetric.

    Returns:
        At least 0, in squared features; NaN where a moment is not finite.

    Raises:
        ValueError: shapes that do not fit.
    """
    mean_a, covariance_a, mean_b, covariance_b = (
        np.asarray(x, np.float64) for x in (mean_a, covariance_a, mean_b, covariance_b)
    )
    d = mean_a.shape[-1] if mean_a.ndim else 0
    found = [x.shape for x in (mean_a, covariance_a, mean_b, covariance_b)]
    if found != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"moments have shapes {', '.join(map(str, found))}; [d], [d, d], [d], [d, d] are wanted")
    if not all(np.isfinite(x).all() for x in (mean_a, covariance_a, mean_b, covariance_b)):
        return float("nan")
    values, vectors = np.linalg.eigh(covariance_a)
    # Rounding makes the zero eigenvalues of features that never change slightly negative.
    root = (vectors * np.sqrt(np.maximum(values, 0))[None, :]) @ vectors.T
    product = root @ covariance_b @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * shared
    return float(max(np.sum((mean_a - mean_b) ** 2) + spread, 0.0))


def kernel_distance(a: Features, b: OtherFeatures, *, degree: int = 3) -> float:
    """Unbiased MMD² with the kernel k(x, y) = (xᵀy/d + 1)^degree, over all pairs: KID of Bińkowski et al. 2018.

    Σ_{i≠j} k(a_i, a_j)/(n(n−1)) + Σ_{i≠j} k(b_i, b_j)/(m(m−1)) − 2 Σ_{ij} k(a_i, b_j)/(nm).

    Its expectation is 0 for equal distributions at any n, where the Fréchet distance's grows as n falls; so it may be
    slightly negative, and serves where examples are too few for that. The paper averages it over subsets
    (`kernel_distance_subsets`); all pairs at once have the same expectation and a smaller variance. Memory is that of
    256 rows of a kernel matrix.

    Args:
        a: [n, d].
        b: [m, d].
        degree: of the polynomial.

    Returns:
        A number without bound below, in no unit; NaN where a feature is not finite.

    Raises:
        ValueError: different d; n or m below 2; degree below 1.
    """
    a, b = as_features(a, "a"), as_features(b, "b")
    check_same_width(a, b)
    if degree < 1:
        raise ValueError(f"degree is {degree}; it must be at least 1")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a has {len(a)} examples and b {len(b)}; a kernel distance needs at least 2 of each")
    with np.errstate(**_DIVERGED):
        distance = _within(a, degree) + _within(b, degree) - 2 * _kernel_sum(a, b, degree) / (len(a) * len(b))
    return distance if np.isfinite(distance) else float("nan")


def kernel_distance_subsets(
    a: Features, b: OtherFeatures, *, subset_size: int = 1000, subsets: int = 100, seed: int = 0, degree: int = 3
) -> dict[str, float]:
    """`kernel_distance` as Bińkowski et al. 2018 report it: mean and spread over random subsets of equal size.

    Each subset takes `subset_size` examples of a and of b, without replacement.

    Args:
        a: [n, d].
        b: [m, d].
        subset_size: examples of each side in a subset.
        subsets: their number.
        seed: of the choice.
        degree: of the polynomial.

    Returns:
        "mean" and "std" (n in the denominator, as published) of the subsets' distances.

    Raises:
        ValueError: as `kernel_distance`; subset_size above n or m; no subsets.
    """
    a, b = as_features(a, "a"), as_features(b, "b")
    if not 2 <= subset_size <= min(len(a), len(b)):
        raise ValueError(
            f"subset_size is {subset_size}; 2 to {min(len(a), len(b))} are accepted, the smaller number of examples"
        )
    if subsets < 1:
        raise ValueError(f"subsets is {subsets}; it must be at least 1")
    rng = np.random.default_rng(seed)
    found = [
        kernel_distance(
            a[rng.choice(len(a), subset_size, replace=False)],
            b[rng.choice(len(b), subset_size, replace=False)],
            degree=degree,
        )
        for _ in range(subsets)
    ]
    return {"mean": float(np.mean(found)), "std": float(np.std(found))}


def inception_score(probabilities: Real[np.ndarray, "n k"] | Real[Array, "n k"], *, splits: int = 1) -> float:
    """How sure and how varied a classifier finds the images: exp E_x KL(p(y|x) ‖ p(y)), Salimans et al. 2016.

    p(y) is the mean of p(y|x) over the images. 1 where the classifier says the same of every image, k where it is sure
    of each and finds all k classes equally often. It never sees a real image. The paper's network has 1000 classes of
    photographs; with a classifier of digits the number is that classifier's, and goes to 10.

    Args:
        probabilities: p(y|x) [n, k], rows summing to 1.
        splits: the images are cut into this many consecutive parts and the scores of the parts averaged. The paper
            takes 10 of 5,000; fewer images per part lower the score.

    Returns:
        In [1, k]; NaN where a probability is not finite.

    Raises:
        ValueError: rows that are no distributions; splits below 1 or above n.
    """
    p = as_features(probabilities, "probabilities")
    if not 1 <= splits <= len(p):
        raise ValueError(f"splits is {splits}; 1 to {len(p)} are accepted, the number of images")
    if not np.isfinite(p).all():
        return float("nan")
    if (p < 0).any() or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise ValueError(
            "probabilities has rows that are negative or do not sum to 1; give softmax(logits), not logits"
        )
    return float(np.mean([np.exp(_mutual_information(part)) for part in np.array_split(p, splits)]))


def as_features(x: Any, name: str) -> np.ndarray:
    """`x` [n, d] as float64 on the host.

    Raises:
        ValueError: it is not [n, d] with n and d of at least 1.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}; [n, d] is wanted, a row for each example")
    return x


def check_same_width(a: np.ndarray, b: np.ndarray) -> None:
    """Refuse two sets of features that cannot come from one layer.

    Raises:
        ValueError: different d.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features have shapes {a.shape} and {b.shape}; the widths must be equal, those of one layer")


def _within(x: np.ndarray, degree: int) -> float:
    """Mean of the kernel over the pairs i ≠ j."""
    diagonal = float(np.sum((np.sum(x * x, axis=1) / x.shape[1] + 1) ** degree))
    return (_kernel_sum(x, x, degree) - diagonal) / (len(x) * (len(x) - 1))


def _kernel_sum(a: np.ndarray, b: np.ndarray, degree: int) -> float:
    """Σ_ij (a_iᵀb_j/d + 1)^degree."""
    # MMD² is a small difference of large sums: float64 throughout.
    total = 0.0
    for start in range(0, len(a), _ROWS):
        block = a[start : start + _ROWS] @ b.T
        block /= a.shape[1]
        block += 1
        power = np.ones_like(block)
        for _ in range(degree - 1):  # `**` calls pow, which takes ten times as long
            power *= block
        total += float(np.vdot(power, block))
    return total


def _mutual_information(p: np.ndarray) -> float:
    """Mean of KL(p_i ‖ mean p), in nats; 0·log 0 = 0."""
    ratio = p / np.maximum(p.mean(0), np.finfo(np.float64).tiny)[None, :]
    return float(np.sum(p * np.log(np.where(p > 0, ratio, 1)), axis=1).mean())
