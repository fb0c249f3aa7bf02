"""Arms compared seed by seed: the numbers against SciPy, and the sentences."""

import math

import numpy as np
import pytest
from scipy import stats
from test_report_tables import small_summary
from test_report_workdir import make_summary

from kdgan.report import differences
from kdgan.report.measured import MEASURED

ACCURACY, NLL = MEASURED[0], MEASURED[1]


def arms_of(summary):
    return {arm: record["players"]["student"] for arm, record in summary["stages"]["distill"]["arms"].items()}


def said(**arms):
    return differences.sentences(small_summary(**arms))


def test_differences_are_scipys_paired_t():
    arms = arms_of(make_summary())
    found = differences.difference(arms, "kdgan", "scratch", ACCURACY)
    a, b = (100 * np.array(arms[name]["accuracy"]["values"]) for name in ("kdgan", "scratch"))
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.ci95 == pytest.approx((interval.high - interval.low) / 2)
    assert found.standard_error == pytest.approx(stats.sem(a - b))
    assert found.seeds == 5


def test_the_table_holds_baseline_best_other_and_nll():
    summary = make_summary()
    table = differences.differences_table(summary)
    assert table.columns == ("accuracy − scratch", "accuracy − best other arm", "NLL − scratch")
    rows = {row.label: row.cells for row in table.rows}
    accuracy = {arm: 100 * np.array(metrics["accuracy"]["values"]) for arm, metrics in arms_of(summary).items()}
    nll = {arm: np.array(metrics["nll"]["values"]) for arm, metrics in arms_of(summary).items()}
    assert rows["student · scratch"][0].text == "baseline"
    assert rows["student · kd"][0].mean == pytest.approx((accuracy["kd"] - accuracy["scratch"]).mean())
    assert rows["student · kd"][1].text.endswith("(kdgan)")
    assert rows["student · kdgan"][1].text.endswith("(kd)")
    assert rows["student · kdgan"][1].mean == pytest.approx((accuracy["kdgan"] - accuracy["kd"]).mean())
    assert rows["student · kd"][2].mean == pytest.approx((nll["kd"] - nll["scratch"]).mean())


def test_two_arms_need_no_column_for_the_best_other():
    table = differences.differences_table(small_summary(scratch=[0.9, 0.91, 0.92], kd=[0.92, 0.93, 0.95]))
    assert table.columns == ("accuracy − scratch",)
    assert differences.differences_table(small_summary(kd=[0.9, 0.8])) is None
    assert differences.differences_table({}) is None


def test_a_clear_difference():
    # Differences 1.8, 2.0, 1.9, 1.7, 2.1 points: mean 1.9, std 0.158114, half width 2.776445·0.158114/√5 = 0.196.
    scratch = [0.90, 0.91, 0.92, 0.90, 0.91]
    kd = [0.918, 0.930, 0.939, 0.917, 0.931]
    assert said(scratch=scratch, kd=kd) == ("kd is better than scratch by 1.9 ± 0.2 points (5 seeds)",)
    assert said(kd=kd, scratch=scratch) == ("scratch is worse than kd by 1.9 ± 0.2 points (5 seeds)",)


def test_no_difference():
    # Differences +1, −1, +1, −1, +0.5 points: mean 0.1, standard error 0.458.
    (sentence,) = said(scratch=[0.90] * 5, kd=[0.91, 0.89, 0.91, 0.89, 0.905])
    assert sentence == "kd and scratch: no difference beyond two standard errors (+0.1 ± 1.3 points, 5 seeds)"


def test_beyond_two_standard_errors_while_the_interval_includes_zero():
    # Differences 1, 2, 3 points: mean 2, standard error 0.577 (3.46 of them), half width 4.3027·0.577 = 2.48.
    (sentence,) = said(scratch=[0.90, 0.90, 0.90], kd=[0.91, 0.92, 0.93])
    assert sentence.startswith("kd is better than scratch by 2.0 ± 2.5 points (3 seeds): beyond two standard errors")
    assert "includes zero" in sentence


def test_one_seed_says_so():
    assert said(scratch=[0.90], kd=[0.92]) == (
        "kd is better than scratch by 2.0 points on one seed, which says nothing of the spread",
    )
    assert said(scratch=[0.90], kd=[0.90]) == ("kd equals scratch (one seed, which says nothing of the spread)",)


def test_equal_arms_differ_by_nothing():
    (sentence,) = said(scratch=[0.9, 0.8, 0.7], kd=[0.9, 0.8, 0.7])
    assert sentence.startswith("kd and scratch: no difference")


def test_the_best_arm_is_compared_with_the_next_best():
    sentences = differences.sentences(make_summary())
    assert len(sentences) == 3
    assert sentences[-1].startswith("kdgan is better than kd by ")


@pytest.mark.parametrize("broken", [math.nan, None])
def test_a_diverged_seed_leaves_no_difference(broken):
    summary = small_summary(scratch=[0.90, 0.91], kd=[0.92, 0.93], bad=[0.99, 0.99])
    metric = summary["stages"]["distill"]["arms"]["bad"]["players"]["student"]["accuracy"]
    metric |= {"mean": broken, "ci95": broken, "values": [0.99, broken]}
    table = differences.differences_table(summary)
    assert table.rows[2].cells[0].text == "–"
    assert not any("bad" in sentence for sentence in differences.sentences(summary))
    assert "bad" not in differences.headline(summary)


def test_arms_of_different_seeds_are_not_paired():
    arms = arms_of(small_summary(scratch=[0.90, 0.91], kd=[0.92, 0.93, 0.94]))
    assert differences.difference(arms, "kd", "scratch", ACCURACY) is None
    assert differences.difference(arms, "kd", "scratch", NLL) is None


def test_headline_says_the_main_result():
    headline = differences.headline(make_summary())
    assert "in arm kdgan" in headline
    assert "points above scratch" in headline
    assert headline.endswith("with 51 times the parameters.")
    only = differences.headline(small_summary(main=[0.90, 0.92, 0.94]))
    assert only == "The student reaches 92.0 ± 5.0 % test accuracy."
    assert differences.headline({}) == ""


def test_headline_does_not_boast():
    unclear = differences.headline(small_summary(scratch=[0.90] * 5, kd=[0.91, 0.89, 0.91, 0.89, 0.905]))
    assert "no difference from scratch beyond two standard errors" in unclear
    lost = differences.headline(small_summary(scratch=[0.95, 0.96], kd=[0.90, 0.91]))
    assert "in arm scratch: no arm has a better mean than the baseline" in lost


def test_a_run_of_a_teacher_alone_has_a_headline():
    summary = make_summary()
    del summary["stages"]["distill"]
    assert differences.headline(summary).startswith("The teacher reaches 97.")
