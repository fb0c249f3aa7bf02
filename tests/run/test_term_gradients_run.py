"""A run with log.gradients: what it logs, draws and explains, and that it trains as one without."""

import jax
import numpy as np
import pytest

import tiny
from configs import common
from kdgan.report import curves, page
from kdgan.run import build, explain, monitor, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve

NAMES = {"student/gradient/ce", "student/gradient/kd", "student/cosine/ce,kd"}


def config(*, members="in_turn", per_call=1, gradients=True, every=2):
    weights = lambda kd: dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=1 - kd, kd=kd)))
    made = tiny.config(steps=4, seeds=1, arms=common.named(low=weights(0.0), high=weights(0.9)))
    made.parallel.members, made.parallel.steps_per_call = members, per_call
    made.log.every, made.log.gradients = every, gradients
    return made


def state(workdir):
    return train.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree


def logged(workdir):
    """(arm, step) -> what the distilling stage's training logged."""
    lines = monitor.read_metrics(workdir)
    lines = [line for line in lines if line["stage"] == "distill" and line["split"] == "train"]
    return {(line["arm"], line["step"]): line for line in lines}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("measured")
    train.train(config(), workdir)
    return workdir


def test_each_logged_step_has_the_terms_gradients(measured):
    lines = logged(measured)
    assert set(lines) == {(arm, step) for arm in ("low", "high") for step in (2, 4)}
    for line in lines.values():
        assert set(line) >= NAMES
        assert line["student/gradient/kd"] > 0  # also of the arm where its λ is 0
        assert -1 <= line["student/cosine/ce,kd"] <= 1
    alone = [line for line in monitor.read_metrics(measured) if line["stage"] == "teacher"]
    names = {name for line in alone for name in line if curves.is_gradient(name)}
    assert names == {"teacher/gradient/ce"}  # a term alone has no cosine


def test_a_run_that_measures_trains_bitwise_as_one_that_does_not(measured, tmp_path):
    train.train(config(gradients=False), tmp_path)
    equal = jax.tree.map(
        lambda a, b: (
            np.array_equal(jax.random.key_data(a), jax.random.key_data(b))
            if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)
            else np.array_equal(a, b)
        ),
        state(measured),
        state(tmp_path),
    )
    assert all(jax.tree.leaves(equal))
    lines, others = logged(measured), logged(tmp_path)
    for place, line in others.items():
        assert lines[place] == {**line, **{name: lines[place][name] for name in NAMES}}


@pytest.mark.parametrize(("members", "per_call"), [("vmap", 2), ("unrolled", 1)])
def test_members_in_one_program_measure_the_same(measured, tmp_path, members, per_call):
    train.train(config(members=members, per_call=per_call), tmp_path)
    expected = logged(measured)
    for place, line in logged(tmp_path).items():
        for name in NAMES:
            assert line[name] == pytest.approx(expected[place][name], rel=1e-3, abs=1e-4)


def test_a_report_draws_them(measured):
    page.write(measured)
    text = (measured / "report.html").read_text()
    assert "Gradients of the terms (3)" in text
    for name in ("gradient of ce", "gradient of kd", "cosine of ce, kd"):
        assert f"student · {name}" in text
    assert "A cosine below 0" in text


def explained(config):
    run = resolve(config)
    loaded = run_inputs.load(run)
    return explain.explain(run, loaded, build.all_programs(run, loaded))


def test_an_explanation_says_what_it_costs():
    text = explained(config(every=2))
    assert "gradients of terms, every 2 steps, by a program of its own: " in text
    assert "more operations in the stage" in text
    assert "gradients of terms" not in explained(config(gradients=False))
