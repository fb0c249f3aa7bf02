"""Arms compared seed by seed: the numbers against SciPy and hand-computed ones, and the table of them."""

import math

import numpy as np
import pytest
from scipy import stats
from test_report_tables import small_summary
from test_report_workdir import make_summary

from kdgan import older
from kdgan.report import differences, findings, measured

ACCURACY, NLL = measured.of({"measures": older.MEASURES})[:2]


def arms_of(summary):
    return {arm: record["players"]["student"] for arm, record in summary["stages"]["distill"]["arms"].items()}


def paired(arms, arm, other, metric="accuracy", scale=100):
    return scale * (np.array(arms[arm][metric]["values"]) - np.array(arms[other][metric]["values"]))


def records(**values):
    return {arm: {"accuracy": {"values": list(of)}} for arm, of in values.items()}


def test_two_arms_have_scipys_paired_interval():
    arms = arms_of(make_summary(arms={"scratch": 0.9, "kd": 0.92}))
    found = differences.compare(arms, ACCURACY).of("kd", "scratch")
    expected = stats.ttest_1samp(paired(arms, "kd", "scratch"), 0)
    interval = expected.confidence_interval(0.95)
    assert found.mean - found.ci95 == pytest.approx(interval.low)
    assert found.mean + found.ci95 == pytest.approx(interval.high)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.seeds == 5


def test_of_three_arms_all_pairs_share_the_five_per_cent():
    arms = arms_of(make_summary())
    compared = differences.compare(arms, ACCURACY)
    assert compared.count == 3
    p_values = {}
    for pair in (("kd", "scratch"), ("kdgan", "scratch"), ("kdgan", "kd")):
        test = stats.ttest_1samp(paired(arms, *pair), 0)
        interval = test.confidence_interval(1 - 0.05 / 3)
        found = compared.of(*pair)
        assert found.mean - found.ci95 == pytest.approx(interval.low)
        assert found.mean + found.ci95 == pytest.approx(interval.high)
        p_values[pair] = test.pvalue
    # Holm by hand: the smallest times 3, the next times 2, the largest as it is, never falling.
    smallest, middle, largest = sorted(p_values, key=p_values.get)
    first = 3 * p_values[smallest]
    second = max(first, 2 * p_values[middle])
    adjusted = {smallest: first, middle: second, largest: max(second, p_values[largest])}
    for pair, p in adjusted.items():
        assert compared.of(*pair).p == pytest.approx(p)


def test_a_pair_seen_from_its_other_side_changes_its_sign_only():
    compared = differences.compare(arms_of(make_summary()), ACCURACY)
    there, back = compared.of("kd", "kdgan"), compared.of("kdgan", "kd")
    assert (there.mean, there.ci95, there.p) == (-back.mean, back.ci95, back.p)
    assert (there.arm, there.other) == ("kd", "kdgan")
    assert there.is_improvement is not back.is_improvement


def test_the_table_holds_baseline_best_other_and_nll():
    summary = make_summary()
    table = differences.differences_table(summary)
    assert table.columns == (
        "accuracy − scratch", "p (Holm)", "accuracy − best other on validation", "p (Holm)", "NLL − scratch",
    )  # fmt: skip
    arms, rows = arms_of(summary), {row.label: row.cells for row in table.rows}
    assert rows["student · scratch"][0].text == "baseline"
    assert rows["student · kd"][0].mean == pytest.approx(paired(arms, "kd", "scratch").mean())
    assert rows["student · kd"][2].text.endswith("(kdgan)")
    assert rows["student · kdgan"][2].text.endswith("(kd)")
    assert rows["student · kdgan"][2].mean == pytest.approx(paired(arms, "kdgan", "kd").mean())
    nll = stats.ttest_1samp(paired(arms, "kd", "scratch", "nll", 1), 0).confidence_interval(1 - 0.05 / 3)
    assert rows["student · kd"][4].mean - rows["student · kd"][4].ci95 == pytest.approx(nll.low)
    assert "simultaneous over the 3 comparisons of 3 arms (Bonferroni: each holds with 98.33 %)" in table.notes[0]
    assert "adjusted by Holm's procedure for the 3 comparisons" in table.notes[1]


def test_two_arms_need_no_column_for_the_best_other_and_no_adjustment():
    table = differences.differences_table(small_summary(scratch=[0.9, 0.91, 0.92], kd=[0.92, 0.93, 0.95]))
    assert table.columns == ("accuracy − scratch", "p")
    assert "simultaneous" not in " ".join(table.notes)
    assert "Holm" not in " ".join(table.notes)
    assert differences.differences_table(small_summary(kd=[0.9, 0.8])) is None
    assert differences.differences_table({}) is None


def test_without_validation_the_column_says_that_the_test_split_chose():
    table = differences.differences_table(make_summary(validated=False))
    assert "accuracy − highest other on test" in table.columns


def test_one_seed_has_differences_without_intervals_and_no_p():
    table = differences.differences_table(make_summary(seeds=1))
    assert table.columns == ("accuracy − scratch", "accuracy − best other on validation", "NLL − scratch")
    assert not any("±" in cell.text for row in table.rows for cell in row.cells)
    assert "one seed" in table.notes[0]


def test_equal_differences_in_every_seed_have_no_interval():
    # In floating point 0.93 − 0.90 and 0.94 − 0.91 differ by 1e-16, and so does their spread from zero.
    found = differences.compare(records(scratch=[0.90, 0.91, 0.92], kd=[0.93, 0.94, 0.95]), ACCURACY).of(
        "kd", "scratch"
    )
    assert found.mean == pytest.approx(3.0)
    assert (found.ci95, found.p, found.is_clear) == (None, None, False)


@pytest.mark.parametrize("broken", [math.nan, None])
def test_a_diverged_seed_leaves_no_difference(broken):
    summary = small_summary(scratch=[0.90, 0.91], kd=[0.92, 0.93], bad=[0.99, 0.99])
    metric = summary["stages"]["distill"]["arms"]["bad"]["players"]["student"]["accuracy"]
    metric |= {"mean": broken, "ci95": broken, "values": [0.99, broken]}
    table = differences.differences_table(summary)
    assert table.rows[2].cells[0].text == "–"
    said = findings.sentences(summary)
    assert said[1] == "bad and scratch: not compared, for a seed of theirs diverged"
    assert "bad" not in findings.headline(summary)


def test_arms_of_different_seeds_are_not_paired():
    summary = small_summary(scratch=[0.90, 0.91], kd=[0.92, 0.93, 0.94])
    assert differences.compare(arms_of(summary), ACCURACY).of("kd", "scratch") is None
    assert differences.compare(arms_of(summary), NLL).of("kd", "scratch") is None
    assert findings.sentences(summary) == ("kd and scratch: not compared, for they have 3 and 2 seeds",)


def test_the_intervals_hold_at_once_though_the_arms_themselves_say_which_are_shown():
    """Equal arms: in 5 % of runs at most may any interval exclude zero, the highest arm against the others included."""
    rng = np.random.default_rng(0)
    runs, k = 400, 4
    wrong, wrong_alone, wrong_by_p = 0, 0, 0
    for values in rng.normal(0.9, 0.01, (runs, k, 4)):
        arms = records(**{f"a{i}": of for i, of in enumerate(values)})
        found = differences.compare(arms, ACCURACY)
        highest = f"a{values.mean(1).argmax()}"
        shown = [found.of(highest, arm) for arm in arms if arm != highest] + [
            found.of(arm, "a0") for arm in list(arms)[1:]
        ]
        wrong += any(each.is_clear for each in shown)
        wrong_by_p += any(each.p < 0.05 for each in shown)
        alone = (differences.difference(arms, each.arm, each.other, ACCURACY) for each in shown)
        wrong_alone += any(each.is_clear for each in alone)
    error = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert wrong <= wrong_by_p <= (0.05 + error) * runs
    assert wrong_alone > 0.1 * runs
