"""How sure a number is: its mean and 95 % confidence interval over seeds, and paired differences of arms.

Several differences looked at together have intervals that hold all at once with 95 % (Bonferroni), and p-values adjusted
by Holm's procedure: among twenty differences of equal arms one would be beyond its own 95 % interval.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Relative: metrics are sums of float32 numbers, so what differs by less is equal.
ROUNDING = 4 * float(np.finfo(np.float32).eps)


def mean_ci(values: Sequence[Any] | np.ndarray) -> dict[str, Any]:
    """Mean over seeds with the half width of its 95 % interval, by Student's t: t_{0.975, n−1}·std/√n.

    Args:
        values: one number a seed.

    Returns:
        "mean"; "std", the sample's (n − 1 in the denominator; 0.0 for one value); "ci95", the half width, None for one
        value, which says nothing of its own spread; "values", the list. All are Python floats, in the unit of the
        values. A NaN or inf among them (a seed that diverged) makes the others NaN or inf and is not hidden.

    Raises:
        ValueError: no values, or not a flat list of them.
    """
    x = _flat(values, "values")
    n = len(x)
    # inf − inf inside std is the NaN that the docstring announces.
    with np.errstate(invalid="ignore"):
        mean, std = float(x.mean()), float(x.std(ddof=1)) if n > 1 else 0.0
    ci95 = _t_quantile(n - 1) * std / math.sqrt(n) if n > 1 else None
    return {"mean": mean, "std": std, "ci95": ci95, "values": x.tolist()}


def paired_difference(
    a: Sequence[Any] | np.ndarray, b: Sequence[Any] | np.ndarray, *, comparisons: int = 1
) -> dict[str, Any]:
    """Mean of a_i − b_i over seeds i, with its 95 % interval and Student's paired t.

    Arms of one seed share their batches and the players they start from, so what a lucky seed gives to both cancels,
    and the interval is often far narrower than those of the two means.

    Args:
        a: one number a seed.
        b: the other arm's, in the same order of seeds.
        comparisons: how many differences are looked at together; the intervals of all of them hold at once with at
            least 95 % (Bonferroni: each holds with 1 − 0.05/comparisons).

    Returns:
        The fields of `mean_ci` for the differences, "ci95" being the half width of the interval just described, and
        "t" = mean/(std/√n) with "p", its two-sided probability if the arms did not differ, of this comparison alone.
        "ci95", "t" and "p" are None for one seed, and where the differences of all seeds are equal up to rounding:
        without spread there is nothing to judge a mean by.

    Raises:
        ValueError: a and b of different lengths, or none; fewer than one comparison.
    """
    x, y = _flat(a, "a"), _flat(b, "b")
    if len(x) != len(y):
        raise ValueError(f"a has {len(x)} values and b {len(y)}; a paired difference needs the same seeds in both")
    if comparisons < 1:
        raise ValueError(f"comparisons = {comparisons}: at least 1 is accepted")
    with np.errstate(invalid="ignore"):
        result = mean_ci(x - y)
    n, std = len(x), result["std"]
    if n == 1 or std <= ROUNDING * float(np.max(np.abs([x, y]))):
        return result | {"ci95": None, "t": None, "p": None}
    from scipy.special import stdtr

    error = std / math.sqrt(n)
    t = result["mean"] / error
    half = _t_quantile(n - 1, comparisons) * error
    return result | {"ci95": half, "t": t, "p": float(2 * stdtr(n - 1, -abs(t)))}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values, by which any of m hypotheses is rejected at 5 % with at most 5 % of a single false rejection.

    Holm 1979: of the sorted p_(1) ≤ ... ≤ p_(m), p_(i) becomes max_{j ≤ i} min(1, (m − j + 1)·p_(j)).

    Args:
        p_values: one a comparison, two-sided; None (or NaN) where there is none, which counts among the m and stays None.

    Returns:
        The adjusted ones, in the order given.
    """
    m = len(p_values)
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None and not math.isnan(p))
    adjusted: list[float | None] = [None] * m
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (m - rank) * p))
        adjusted[i] = highest
    return adjusted


def _flat(values: Any, name: str) -> np.ndarray:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"{name} has shape {x.shape}; a flat list of at least one number is wanted, one a seed")
    return x


def _t_quantile(degrees: int, comparisons: int = 1) -> float:
    """The quantile of Student's distribution at 1 − 0.025/comparisons."""
    # Imported here, since SciPy takes half a second; scipy.stats would take twice that.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - 0.025 / comparisons))
