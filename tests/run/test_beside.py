"""Players beside a stage's method: measured in every arm, and nothing else is changed by them; and style in a whole run."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import kdgan
import tiny
from configs import common
from kdgan import evaluators
from kdgan.config import ConfigError
from kdgan.run import build, costs, extractors, identity, stage_data
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve


def with_beside(config, *names):
    config.players.constant = dict(model="players.constant", model_args=dict(classes=10))
    config.stages.distill.beside = names
    return config


def programs(config):
    run = resolve(config)
    return run, build.all_programs(run, run_inputs.load(run))["distill"]


def test_a_player_beside_is_measured_and_changes_no_number(tmp_path):
    config = tiny.config(seeds=1, steps=2)
    plain = kdgan.train(config, tmp_path / "plain")["stages"]["distill"]
    summary = kdgan.train(with_beside(config, "constant"), tmp_path / "beside")
    stage = summary["stages"]["distill"]
    test = kdgan.data.load("digits", "test")
    for arm, record in stage["arms"].items():
        accuracy = record["players"].pop("constant")["accuracy"]["mean"]
        assert accuracy == pytest.approx(np.mean(test.label == 0))
        assert record["origins"]["constant"]["start"] == "function"
        assert record["players"] == plain["arms"][arm]["players"]
        assert record["train_flops"] == plain["arms"][arm]["train_flops"]
    text = (tmp_path / "beside" / "report.md").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| constant")] == ["constant"]


def test_a_finished_run_measures_a_player_beside_it_and_trains_nothing_again(tmp_path):
    config = tiny.config(seeds=1, steps=2)
    first = kdgan.train(config, tmp_path)["stages"]["distill"]["arms"]
    saved = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    arms = kdgan.train(with_beside(config, "constant"), tmp_path)["stages"]["distill"]["arms"]
    assert saved == {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    for arm, record in arms.items():
        assert record["players"].pop("constant")["accuracy"]["mean"] > 0
        assert record["players"] == first[arm]["players"]


def test_an_arm_is_the_same_with_and_without_a_player_beside_it():
    config = with_beside(tiny.config(seeds=1), "constant", "teacher")
    config.players.critic = dict(model="players.logits_of_means")
    several = []
    for names in ((), ("constant", "teacher"), ("critic",)):
        config.stages.distill.beside = names
        run = resolve(config)
        built = build.all_programs(run, run_inputs.load(run))
        several.append({
            arm.name: identity.of_arm(run, run.stages[1], arm.name, built) for arm in run.stages[1].arms
        })  # fmt: skip
    assert several[0] == several[1] == several[2]
    assert set(several[1]["kd"]["arm"]["players"]) == {"student", "teacher"}  # called by the method, too
    assert set(several[1]["scratch"]["arm"]["players"]) == {"student"}
    by_features = evaluators.build("restorer", perceptual=dict(layers=("dense1",)))
    for name, depends in (("student", True), ("critic", False)):
        own = [dataclasses.replace(program, evaluators={name: (by_features,)}) for program in built["distill"]]
        assert identity.samples(own) == depends


def test_what_it_would_cost_is_no_part_of_a_step():
    config = with_beside(tiny.config(seeds=1), "constant")
    config.players.constant = dict(model="players.logits_of_means")
    shares = []
    for beside in ((), ("constant",)):
        config.stages.distill.beside = beside
        run, several = programs(config)
        shares.append([costs.frozen_share(run, program) for program in several])
        assert all(program.beside == beside for program in several)
    assert shares[0] == shares[1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("student",), r"beside = \('student',\): student is trained by the method; frozen players are accepted"),
        (("nobody",), r"config\.stages\.distill.*beside.*nobody"),
        (("other",), r"start: other is frozen in this stage and starts nowhere"),
    ],
)
def test_what_cannot_stand_beside_is_refused(names, words):
    config = with_beside(tiny.config(seeds=1), *names)
    config.players.other = dict(model="mlp")
    with pytest.raises(ConfigError, match=words):
        programs(config)


def test_an_extractor_sees_pixels_as_the_data_of_its_stage_give_them():
    config = tiny.config(seeds=1)
    with config.unlocked(), config.ignore_type():
        config.stages.teacher.data = dict(mean=0.5)
    config.evaluate.extractor = dict(stage="teacher", player="teacher", layer="dense1")
    run = resolve(config)
    inputs = stage_data.load(run)
    assert inputs.config.mean == 0.0
    assert extractors.pixels_of(run, inputs, {}) == (0.5, 1.0)


def test_a_style_is_learned_and_judged_by_a_classifier_of_the_run(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(tmp_path / "style.png")
    painting = dict(images=str(tmp_path / "style.png"), size=8, channels=1)
    layers = dict(content=("stage2",), style=("stage1", "stage2"))
    config = tiny.config(seeds=1, validation=20)
    network = dict(contract=(2, 4), blocks=1, outer=3)
    config.players = common.named(
        critic=dict(model="resnet8", model_args=dict(stem=2, features=(2, 2, 4))),
        style_images=dict(model="style_images", model_args=painting),
        student=dict(
            model="johnson", model_args=network, evaluate=dict(name="stylist", **layers, **painting, weight=2.0)
        ),
    )
    config.evaluate.extractor = dict(stage="critic", player="critic", layer="stage1")
    config.stages = common.named(
        critic=dict(method=dict(name="supervised", player="critic"), lambdas=dict(critic=dict(ce=1.0)), steps=2),
        paint=dict(
            start=dict(critic="critic"),
            method=dict(name="style", **layers, tv=True),
            lambdas=dict(student=dict(content=1.0, style=2.0, tv=0.1)),
            steps=3,
        ),
    )
    wrong = config.copy_and_resolve_references()
    wrong.players.student.evaluate.content = ("nonsense",)
    with pytest.raises(ConfigError, match=r"student\.evaluate = 'stylist': by config\.evaluate\.extractor.*'nonsense'"):
        kdgan.train(wrong, tmp_path / "wrong")
    summary = kdgan.train(config, tmp_path / "run")
    players = summary["stages"]["paint"]["arms"]["main"]["players"]
    assert "style_images" not in players
    means = {name: of["mean"] for name, of in players["student"].items()}
    assert means["objective"] == pytest.approx(means["content"] + 2 * means["style"], rel=1e-6)
    assert "teacher_psnr" not in means
    assert summary["stages"]["paint"]["cost"]["style_images"]["parameters"] == 0
    assert summary["stages"]["paint"]["cost"]["student"]["pixels"] == 64
    painted = {one["entry"]: one["kind"] for one in summary["figures"] if one["title"] == "Painted images"}
    assert painted["student"] == "restored"
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Painted images" in text
    assert "FLOPs a pixel" not in text  # the critic makes no images
