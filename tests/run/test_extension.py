"""A run asked for more seeds, arms and stages trains what is missing, and ends as one that was asked for it at first."""

import json
import shutil

import jax
import numpy as np
import pytest

import tiny
from benchmarks import kills
from configs import common
from kdgan.run import checkpoint, modes, population, sampling, train
from kdgan.run.config import ConfigError


def config(*, seeds=2, more=False):
    """Two steps of a teacher and of students; with `more` an arm and a stage that the first run has not."""
    kd = lambda weight: dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=weight)))
    arms = dict(scratch=dict(lambdas=dict(student=dict(ce=1.0))), kd=kd(0.9))
    made = tiny.config(steps=2, seeds=seeds, arms=common.named(**arms, **(dict(harder=kd(2.0)) if more else {})))
    made.evaluate.every = 1
    if more:
        made.stages.last = dict(start=dict(student="distill/kd"), lambdas=dict(student=dict(ce=1.0)), steps=2)
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The run before it was extended."""
    workdir = tmp_path_factory.mktemp("first")
    train.train(config(), workdir)
    return workdir


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run asked for everything at first."""
    workdir = tmp_path_factory.mktemp("whole")
    train.train(config(seeds=3, more=True), workdir)
    return workdir


@pytest.fixture(scope="module")
def extended(first, tmp_path_factory):
    """(workdir, members whose steps were made): the extension is stopped amid what it adds, and goes on."""
    workdir = shutil.copytree(first, tmp_path_factory.mktemp("extended") / "run")
    made = []
    advance = population.Population.advance

    def watched(self, *args, **kwargs):
        before = self.step
        result = advance(self, *args, **kwargs)
        made.extend((self.program.arms, member, step) for member in self.members for step in range(before, self.step))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population.Population, "advance", watched)
        tiny.train_until(config(seeds=3, more=True), workdir, "distill", 1)
        assert not modes.is_complete(workdir)  # the summary there is the first run's
        train.train(config(seeds=3, more=True), workdir)
    return workdir, made


def last_state(workdir, stage):
    with checkpoint.Checkpoints(workdir / "checkpoints" / stage) as checkpoints:
        return checkpoints.restore_latest()


def test_only_what_is_missing_was_trained_and_that_once(extended):
    steps = [(member, step, arms == ("main",)) for arms, member, step in extended[1]]
    old = {(seed, arm) for seed in (0, 1) for arm in ("scratch", "kd")}
    assert not {member for member, _, _ in steps} & old
    teachers = [(seed, step) for (seed, arm), step, _ in steps if arm == "main"]
    # the teacher's new seed, and the last stage of all seeds
    assert sorted(teachers) == sorted([(2, 0), (2, 1)] + [(seed, step) for seed in range(3) for step in range(2)])
    students = [(seed, arm, step) for (seed, arm), step, _ in steps if arm != "main"]
    new = [(2, "scratch"), (2, "kd"), *((seed, "harder") for seed in range(3))]
    assert sorted(students) == sorted((seed, arm, step) for seed, arm in new for step in range(2))


@pytest.mark.parametrize("stage", ["teacher", "distill", "last"])
def test_it_ends_bitwise_as_the_run_asked_for_it_at_first(stage, extended, whole):
    ours, theirs = last_state(extended[0], stage), last_state(whole, stage)
    assert ours.step == theirs.step
    assert list(ours.tree) == list(theirs.tree)
    for a, b in zip(jax.tree.leaves(ours.tree), jax.tree.leaves(theirs.tree), strict=True):
        np.testing.assert_array_equal(a, b)
    assert ours.metadata["seeds"] == theirs.metadata["seeds"] == [0, 1, 2]
    # what was trained apart lies together, and nothing else is left
    assert [path.name[:8] for path in (extended[0] / "checkpoints" / stage).iterdir() if path.is_dir()][-1:] == [
        "00000002"
    ]
    assert not list((extended[0] / "checkpoints" / stage).glob("added-*"))


def test_its_files_say_the_same(extended, whole):
    lines = [sorted((workdir / "metrics.jsonl").read_text().splitlines()) for workdir in (extended[0], whole)]
    assert lines[0] == lines[1]
    summaries = [kills.timeless(json.loads((workdir / "summary.json").read_text())) for workdir in (extended[0], whole)]
    for summary in summaries:
        for stage in summary["stages"].values():
            stage.pop("memory")  # a portion holds fewer members
    assert summaries[0] == summaries[1]
    with np.load(extended[0] / "evaluation.npz") as ours, np.load(whole / "evaluation.npz") as theirs:
        assert sorted(ours.files) == sorted(theirs.files)
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert (extended[0] / "explanation.txt").read_text() == (whole / "explanation.txt").read_text()
    assert modes.is_complete(extended[0])


def test_started_again_it_finds_nothing_to_train(extended, capsys, monkeypatch):
    monkeypatch.setattr(population.Population, "advance", None)
    modes.train(config(seeds=3, more=True), extended[0])
    assert "is complete" in capsys.readouterr().out


def test_side_by_side_it_ends_in_the_same_numbers(first, whole, tmp_path):
    workdir = shutil.copytree(first, tmp_path / "run")
    made = config(seeds=4)
    made.parallel.members, made.parallel.seeds_per_chunk = "vmap", 4  # two new seeds: together, where four would be
    made.stages.distill.arms.harder = config(more=True).stages.distill.arms.harder
    train.train(made, workdir)
    ours, theirs = last_state(workdir, "distill").tree, last_state(whole, "distill").tree
    for arm in ("scratch", "kd", "harder"):
        for a, b in zip(
            jax.tree.leaves(ours[arm]["state"]["params"]), jax.tree.leaves(theirs[arm]["state"]["params"]), strict=True
        ):
            np.testing.assert_allclose(a[:3], b, atol=1e-5)


def test_a_process_that_dies_while_it_unites_the_portions_loses_nothing(first, tmp_path, monkeypatch):
    workdir = shutil.copytree(first, tmp_path / "run")

    class Killed(BaseException):
        pass

    def die(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("kdgan.run.portions.rmtree", die)
        with pytest.raises(Killed):
            train.train(config(seeds=3), workdir)
    assert (workdir / "checkpoints" / "teacher" / "added-1").is_dir()
    summary = train.train(config(seeds=3), workdir)
    assert len(summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"]["values"]) == 3


def test_what_an_extension_has_not_trained_yet_cannot_be_drawn_from(first):
    with pytest.raises(ConfigError, match="no player that makes images for this run"):
        sampling.load(first)
