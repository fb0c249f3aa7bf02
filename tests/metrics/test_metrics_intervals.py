"""Means and intervals over seeds against SciPy and hand-computed values."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from kdgan.metrics.intervals import holm, mean_ci, paired_difference

A = [0.912, 0.921, 0.905, 0.917, 0.930]
B = [0.903, 0.918, 0.901, 0.909, 0.915]


def test_by_hand():
    # Mean 3, variance (4 + 1 + 0 + 1 + 4)/4 = 2.5, t_{0.975, 4} = 2.776.
    found = mean_ci([1, 2, 3, 4, 5])
    assert found["mean"] == 3
    assert found["values"] == [1, 2, 3, 4, 5]
    assert found["std"] == pytest.approx(math.sqrt(2.5))
    assert found["ci95"] == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_is_scipys(n):
    values = np.random.default_rng(n).normal(size=n)
    found = mean_ci(values)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert found["mean"] - found["ci95"] == pytest.approx(low)
    assert found["mean"] + found["ci95"] == pytest.approx(high)


def test_one_seed_has_no_interval():
    assert mean_ci([0.9]) == {"mean": 0.9, "std": 0.0, "ci95": None, "values": [0.9]}


def test_equal_seeds_have_an_interval_of_zero():
    found = mean_ci([0.5, 0.5, 0.5])
    assert (found["std"], found["ci95"]) == (0.0, 0.0)


def test_a_diverged_seed_is_not_hidden():
    assert math.isnan(mean_ci([1.0, float("nan")])["mean"])
    found = mean_ci([1.0, float("inf")])
    assert found["mean"] == math.inf
    assert math.isnan(found["ci95"])


def test_results_are_plain_json():
    found = mean_ci(np.asarray(A, np.float32))
    assert json.loads(json.dumps(found)) == found
    assert json.loads(json.dumps(paired_difference(A, B))).keys() == {"mean", "std", "ci95", "values", "t", "p"}


def test_paired_difference_is_scipys():
    found, expected = paired_difference(A, B), stats.ttest_rel(A, B)
    assert found["t"] == pytest.approx(expected.statistic)
    assert found["p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert found["mean"] - found["ci95"] == pytest.approx(interval.low)
    assert found["mean"] + found["ci95"] == pytest.approx(interval.high)
    assert found["values"] == pytest.approx([0.009, 0.003, 0.004, 0.008, 0.015])
    # Pairing is what makes it narrow.
    assert found["ci95"] < min(mean_ci(A)["ci95"], mean_ci(B)["ci95"])


def test_paired_difference_changes_sign_with_its_sides():
    there, back = paired_difference(A, B), paired_difference(B, A)
    assert (there["mean"], there["t"]) == pytest.approx((-back["mean"], -back["t"]))
    assert (there["ci95"], there["p"]) == pytest.approx((back["ci95"], back["p"]))


@pytest.mark.parametrize(
    ("a", "b"),
    [([0.9], [0.8]), ([0.5, 0.75], [0.25, 0.5]), ([0.5, 0.75], [0.5, 0.75]),
     ([0.93, 0.94], [0.90, 0.91]),  # equal but for the last bits of a float64
     (np.float32([0.93, 0.74]), np.float32([0.90, 0.71]))],  # and of a float32
)  # fmt: skip
def test_paired_difference_without_spread_has_no_interval_and_no_t(a, b):
    found = paired_difference(a, b)
    assert (found["ci95"], found["t"], found["p"]) == (None, None, None)
    assert found["mean"] == pytest.approx(float(a[0]) - float(b[0]))


def test_the_smallest_spread_of_an_accuracy_is_one():
    # One image of a million, in one of two seeds.
    found = paired_difference([0.9, 0.900001], [0.9, 0.9])
    assert found["ci95"] == pytest.approx(12.7062 * 5e-7, rel=1e-4)


@pytest.mark.parametrize("comparisons", [1, 3, 55])
def test_the_interval_of_one_of_several_comparisons_is_scipys_at_bonferronis_level(comparisons):
    found = paired_difference(A, B, comparisons=comparisons)
    interval = stats.ttest_rel(A, B).confidence_interval(1 - 0.05 / comparisons)
    assert found["mean"] - found["ci95"] == pytest.approx(interval.low)
    assert found["mean"] + found["ci95"] == pytest.approx(interval.high)
    assert found["p"] == pytest.approx(stats.ttest_rel(A, B).pvalue)  # of this comparison alone


def test_fewer_than_one_comparison_is_refused():
    with pytest.raises(ValueError, match="comparisons = 0: at least 1"):
        paired_difference(A, B, comparisons=0)


def test_all_of_several_intervals_hold_at_once_in_at_least_95_per_cent():
    rng = np.random.default_rng(0)
    runs, arms, seeds = 400, 4, 4
    pairs = [(i, j) for i in range(arms) for j in range(i)]
    held = {1: 0, len(pairs): 0}
    for values in rng.normal(size=(runs, arms, seeds)):
        for comparisons in held:
            found = (paired_difference(values[i], values[j], comparisons=comparisons) for i, j in pairs)
            held[comparisons] += all(abs(each["mean"]) <= each["ci95"] for each in found)
    assert held[len(pairs)] >= (0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)) * runs
    assert held[1] < 0.9 * runs  # each at 95 % alone: some excludes zero far too often


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 they are 0.04, 0.06, 0.06, 0.04; none is below the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.01]) == pytest.approx([0.6, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_counts_what_has_no_p_and_leaves_it():
    assert holm([0.01, None, math.nan]) == [pytest.approx(0.03), None, None]


def test_holm_lies_between_the_p_and_bonferronis_and_keeps_the_order():
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = rng.random(int(rng.integers(1, 12))) ** 3
        adjusted = np.array(holm(list(p)))
        assert (adjusted >= p).all()
        assert (adjusted <= np.minimum(1, len(p) * p) + 1e-15).all()
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]]])
def test_values_must_be_a_flat_list(values):
    with pytest.raises(ValueError, match="values has shape"):
        mean_ci(values)


def test_other_numbers_of_seeds_are_no_pairs():
    with pytest.raises(ValueError, match="a has 5 values and b 4"):
        paired_difference(A, B[:4])


def test_importing_the_module_leaves_scipy_alone():
    code = "import sys, kdgan.metrics.intervals; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
