"""Distilled generators: equal operations are equal, and the tables of points say what the runs' summaries have."""

import importlib
import json

import numpy as np
import pytest
from scipy import stats

from configs import gan_arms, gan_curves, gan_table
from kdgan import files
from kdgan.run import costs, prepare
from kdgan.run.config import resolve


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("digits_gan_distill", "student"),
        ("digits_sngan", "student"),
        ("gan_curves", "width_16"),
        ("mnist_gan_distill", "student"),
    ],
)
def test_a_student_alone_at_equal_operations_has_those_of_the_fused_game(name, stage, monkeypatch):
    monkeypatch.setattr(costs.cost, "peak_memory", lambda *given: 0)  # which compiles
    config = importlib.import_module(f"configs.{name}").get_config(*([f"points={stage}"] * (name == "gan_curves")))
    if name == "mnist_gan_distill":
        config.data.name, config.data.validation = "functions.grey", 100
    for other in set(config.stages) - {"extractor", "teacher", stage}:
        del config.stages[other]
    arms = config.stages[stage].arms
    for arm in set(arms) - {"scratch_matched", "fused_held"}:
        del arms[arm]
    run = resolve(config)
    steps = {arm.name: arm.steps for one in run.stages for arm in one.arms}
    spent = {
        arm: steps[arm] * costs.step_cost(run, program).flops
        for program in prepare.prepare(config, None).programs[stage]
        for arm in program.arms
    }
    assert spent["scratch_matched"] == pytest.approx(spent["fused_held"], rel=0.01)


def test_each_lambda_of_the_three_equations_is_at_zero_once():
    all_of_them, *without = gan_curves.without_each().values()
    at = lambda arm: {
        1: arm["lambdas"]["generator"]["mse"], 2: arm["lambdas"]["generator"]["adv"],
        3: arm["lambdas"]["discriminator"]["fake"], 4: arm["lambdas"]["discriminator"]["real"],
        5: arm["lambdas"]["student"]["match"],
    }  # fmt: skip
    assert [at(arm) for arm in without] == [{**at(all_of_them), i: 0.0} for i in range(1, 6)]
    assert 0.0 not in at(all_of_them).values()


def test_a_student_from_the_teacher_differs_from_one_that_does_not_by_its_start_alone():
    arms = gan_arms.arms(4, 10, 2.0)
    for started, arm in (("weights", "scratch"), ("fused_init", "fused")):
        of_student = {"student": dict(stage="teacher", player="teacher", transfer="uniform", scale=0.5)}
        assert arms[started] == {**arms[arm], "start": {**arms[arm].get("start", {}), **of_student}}


RNG = np.random.default_rng(0)
DISTANCES = {arm: 2 + RNG.random(4) for arm in ("scratch", "scratch_matched", "fused")}


def workdir(path, stages):
    """A finished run with these stages, all of the same arms."""
    numbers = lambda values: {"mean": float(np.mean(values)), "ci95": 0.25, "values": list(map(float, values))}
    shares = {name: numbers(np.full(4, 0.75)) for name in ("precision", "recall", "coverage")}
    arms = {
        arm: {"players": {"student": {"fd": numbers(fd), **shares}}, "train_flops": 5e12, "train_seconds": 12.0}
        for arm, fd in DISTANCES.items()
    }
    teacher = {"main": {"players": {"teacher": {"fd": numbers([0.5, 0.5, 1.5, 1.5]), **shares}}}}
    summary = {
        "config": {"seed": 3, "population": {"seeds": 4}},
        "stages": {"teacher": {"arms": teacher}, **{stage: {"arms": arms, "steps": 600} for stage in stages}},
        "measures": {"fd": {"head": "FD-cnn"}},
        "environment": {"device": "1 × cpu", "jax": "0"},
    }
    path.mkdir()
    (path / "summary.json").write_text(json.dumps(summary))
    return path


def test_a_points_differences_are_paired_and_hold_for_all_of_its_arms_at_once(tmp_path):
    points = gan_table.read([workdir(tmp_path / "curves", ["width_8"])])
    assert (points["width_8"]["seeds"], points["width_8"]["steps"]) == ([3, 4, 5, 6], 600)
    lines = gan_table.markdown(points["width_8"]).splitlines()
    assert lines[2].startswith("| teacher | 1.00 ± 0.25 | 0.75 ± 0.25 |")
    (fused,) = [line for line in lines if line.startswith("| fused |")]
    half = stats.ttest_rel(DISTANCES["fused"], DISTANCES["scratch_matched"]).confidence_interval(1 - 0.05 / 2)
    apart = np.mean(DISTANCES["fused"] - DISTANCES["scratch_matched"])
    assert f"| {apart:+.2f} ± {(half.high - half.low) / 2:.2f} |".replace("-", "−") in fused
    assert "| 5,000 |" in fused


def test_an_overview_has_a_row_for_each_point_and_clear_differences_in_bold(tmp_path, monkeypatch):
    monkeypatch.setitem(DISTANCES, "fused", DISTANCES["scratch_matched"] - 3 + 0.1 * RNG.random(4))
    monkeypatch.setitem(DISTANCES, "scratch", DISTANCES["scratch_matched"] + [0.1, -0.1, 0.1, -0.1])
    points = gan_table.read([workdir(tmp_path / "curves", ["width_8", "width_4"])])
    del points["width_4"]["rows"]["fused"]
    head, _, *rows = gan_table.overview(points).splitlines()
    assert head == "| | distance | scratch_matched | scratch | fused |"
    name, _, _, scratch, fused = rows[0].strip("| ").split(" | ")
    half = stats.ttest_rel(DISTANCES["fused"], DISTANCES["scratch_matched"]).confidence_interval(1 - 0.05 / 2)
    apart = np.mean(DISTANCES["fused"] - DISTANCES["scratch_matched"])
    assert (name, fused) == ("width_8", f"**{apart:+.2f} ± {(half.high - half.low) / 2:.2f}**".replace("-", "−"))
    assert scratch.startswith("+0.00 ± 0.")
    assert rows[1].endswith("|  |")


def test_the_pages_tables_are_those_of_the_recorded_points():
    points, page = files.read_json(gan_table.FILE), (gan_table.FILE.parent / "gan_distill.md").read_text()
    for table in (gan_table.overview(points, against) for against in ("scratch_matched", "scratch")):
        assert table in page
    others = ("digits_gan_distill", "digits_conditional_gan", "digits_sngan", "mnist_gan_distill")
    for name in ("images_20", "lambdas", *others):
        assert gan_table.markdown(points[name]) in page


def test_points_of_other_runs_are_named_by_their_workdir(tmp_path):
    one, two = workdir(tmp_path / "sngan", ["student"]), workdir(tmp_path / "mnist", ["half", "quarter"])
    assert list(gan_table.read([one, two])) == ["sngan", "mnist half", "mnist quarter"]
    with pytest.raises(ValueError, match="sngan: the point 'sngan' stands in a workdir before it"):
        gan_table.read([one, one])


def test_the_curves_are_drawn(tmp_path):
    points = gan_table.read([workdir(tmp_path / "curves", [name for name in gan_curves.POINTS if name != "lambdas"])])
    gan_table.draw(points, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
