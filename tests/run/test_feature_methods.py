"""Runs whose students learn from features: several ways at once, factor transfer in two stages, resumed bitwise, refused."""

import json

import jax
import numpy as np
import pytest

import tiny
from configs import common
from kdgan.run import build, stage_data, train, trained
from kdgan.run.config import ConfigError, resolve
from same import assert_same

RESNET = dict(model="resnet8")
PARTS = ("kd", dict(name="hint", features=("stage2",)), dict(name="review", features=("stage1", "stage2", "stage3")))


def config():
    made = tiny.config(steps=3, validation=0)
    made.evaluate.every = 3
    made.players = common.named(
        teacher=dict(RESNET, model_args=dict(stem=2, features=(3, 4, 4))),
        student=dict(RESNET, model_args=dict(stem=2, features=(2, 2, 3))),
        adapter=dict(model="adapter"),
        adapter_review=dict(model="review_fusion"),
        paraphraser=dict(model="paraphraser"),
        translator=dict(model="translator"),
    )
    terms = lambda *names: dict.fromkeys(names, 0.5)
    factors = dict(features=("stage3",))
    made.stages = common.named(
        teacher=made.stages.teacher,
        combined=dict(
            method=dict(name="combine", parts=PARTS), start=dict(teacher="teacher"), steps=3,
            lambdas=dict(student=terms("ce", "kd", "hint", "review")),
        ),
        paraphrase=dict(
            method=dict(name="paraphrase", **factors), start=dict(teacher="teacher"), steps=3,
            lambdas=dict(paraphraser=terms("reconstruction")),
        ),
        ft=dict(
            method=dict(name="ft", **factors), start=dict(teacher="teacher", paraphraser="paraphrase"), steps=3,
            lambdas=dict(student=terms("ce", "ft")),
        ),
    )  # fmt: skip
    return made


def state_of(workdir, stage, seed=1):
    return trained.restore_member(workdir, resolve(config()), stage, "main", seed)["state"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("features")
    return workdir, train.train(config(), workdir)


def test_students_are_measured_and_what_they_learn_by_is_not(finished):
    workdir, summary = finished
    measured = {
        stage: summary["stages"][stage]["arms"]["main"]["players"] for stage in ("combined", "paraphrase", "ft")
    }
    assert {stage: set(players) for stage, players in measured.items()} == {
        "combined": {"teacher", "student"}, "paraphrase": {"teacher"}, "ft": {"teacher", "student"}
    }  # fmt: skip
    assert len(measured["combined"]["student"]["accuracy"]["values"]) == 2
    explanation = (workdir / "explanation.txt").read_text()
    assert "0.5·hint(stage2) + 0.5·review(stage1, stage2, stage3)" in explanation
    assert "student+adapter+adapter_review" in explanation


def test_a_frozen_paraphraser_is_the_one_that_learned(finished):
    workdir, summary = finished
    origins = {stage: summary["stages"][stage]["arms"]["main"]["origins"] for stage in ("paraphrase", "ft")}
    assert origins["paraphrase"]["paraphraser"]["trained"]
    assert not origins["ft"]["paraphraser"]["trained"]
    assert origins["ft"]["paraphraser"]["stage"] == "paraphrase"
    assert origins["ft"]["translator"] == {"trained": True, "shared": False, "start": "fresh"}
    assert set(state_of(workdir, "paraphrase")["params"]) == {"paraphraser"}
    assert set(state_of(workdir, "ft")["params"]) == {"student", "translator"}
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["paraphraser/reconstruction"] for line in lines if "paraphraser/reconstruction" in line]
    assert len(losses) == 6
    assert np.all(np.asarray(losses) > 0)


def test_a_run_that_was_stopped_goes_on_bitwise(finished, tmp_path):
    whole, _ = finished
    made = config()
    del made.stages["paraphrase"], made.stages["ft"]
    tiny.train_until(made, tmp_path, "combined", 2)
    train.train(made, tmp_path)
    for seed in (0, 1):
        state = state_of(tmp_path, "combined", seed)
        assert set(state["params"]) == {"student", "adapter", "adapter_review"}
        assert_same(state, state_of(whole, "combined", seed))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (dict(name="hint"), r"combined: method.features = \(\): paths of modules"),
        (
            dict(name="attention", features={"stage1": "embedding"}),
            "combined: method.features: attention: .*'stage1'",
        ),
        (dict(name="hint", features=("stage4",)), "combined: .*no module at path 'stage4'"),
        (dict(name="srd", features=("stage3",)), "combined: the method moves 'adapter_srd'; the players are: adapter,"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_compiles(part, message, monkeypatch):
    made = config()
    made.stages.combined.method.parts = (part,)
    run = resolve(made)
    inputs = stage_data.load(run)
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message) as refused:
        build.all_programs(run, inputs)
    assert "\n" not in str(refused.value)
