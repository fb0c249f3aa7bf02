"""Attacks in a run: accuracies under FGSM by hand, in pixels whatever the normalisation; docs/robust.md as it stands."""

import pathlib
import re

import jax
import numpy as np
import pytest

import tiny
from configs import common
from kdgan.data.sources import load
from kdgan.run import checkpoint, export, train
from kdgan.run.config import ConfigError

DOCS = (pathlib.Path(__file__).parents[2] / "docs" / "robust.md").read_text()
MEAN, STD = 0.3, 0.5  # of the data; the teacher's:
OWN_MEAN, OWN_STD = 0.6, 0.2
EPSILON = 0.05
JUDGED = (dict(name="robust", epsilon=EPSILON, steps=3, measures=("pgd", "fgsm")), "classifier")


def config(**evaluate):
    arms = common.named(
        ard=dict(
            method=dict(name="ard", epsilon=EPSILON, steps=2, temperature=2.0),
            lambdas=dict(student=dict(ce=0.1, robust_kd=0.9)),
            cached=("teacher",),
        ),
        copy=dict(method=dict(name="copy", answers="labels", noise=0.5), lambdas=dict(student=dict(copy=1.0))),
    )
    # Students of every seed come well above chance: what is right on nothing cannot be attacked.
    made = tiny.config(steps=240, seeds=2, arms=arms, optimizer="adam", validation=40)
    made.players.student.model_args.hidden = (8,)
    made.data.labelled, made.data.mean, made.data.std = 200, MEAN, STD
    made.player.optimizer.learning_rate = 0.02
    made.evaluate.every = 120
    with made.unlocked(), made.ignore_type():
        made.evaluate.update(evaluate)
        made.players.teacher.update(dict(mean=OWN_MEAN, std=OWN_STD, evaluate=JUDGED))
        made.players.student.evaluate = JUDGED
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("robust")
    return workdir, train.train(config(), workdir)


def params_of(workdir, stage, arm, player, seed):
    state = checkpoint.Checkpoints(workdir / "checkpoints" / stage).restore_latest().tree[arm]["state"]
    return jax.tree.map(lambda leaf: np.float64(leaf[seed]), state["params"][player])


def right_under_fgsm(params, pixels, labels, mean, std):
    """Of a network of one hidden layer: which examples are right on the image and on that of one step."""

    def forward(pixels):
        before = ((pixels - mean) / std).reshape(len(pixels), -1) @ params["dense1"]["kernel"] + params["dense1"][
            "bias"
        ]
        return before, np.maximum(before, 0) @ params["head"]["kernel"] + params["head"]["bias"]

    before, logits = forward(pixels)
    p = np.exp(logits - logits.max(1, keepdims=True))
    slope = p / p.sum(1, keepdims=True) - np.eye(10)[labels]
    slope = ((slope @ params["head"]["kernel"].T) * (before > 0)) @ params["dense1"]["kernel"].T
    moved = np.clip(pixels + EPSILON * np.sign(slope).reshape(pixels.shape), 0, 1)
    return (logits.argmax(1) == labels) & (forward(moved)[1].argmax(1) == labels)


@pytest.mark.parametrize(
    ("stage", "arm", "player", "mean", "std"),
    [("teacher", "main", "teacher", OWN_MEAN, OWN_STD), ("distill", "ard", "student", MEAN, STD)],
)
def test_accuracies_under_attack_are_those_by_hand_in_each_players_normalisation(
    trained, stage, arm, player, mean, std
):
    workdir, summary = trained
    test = load("digits", "test")
    found = summary["stages"][stage]["arms"][arm]["players"][player]
    for seed in (0, 1):
        params = params_of(workdir, stage, arm, player, seed)
        right = right_under_fgsm(params, np.float64(test.image) / 255, test.label, mean, std)
        assert found["fgsm_accuracy"]["values"][seed] == pytest.approx(right.mean(), abs=0.0041)
        assert 0 < right.mean() < found["accuracy"]["values"][seed] - 0.01
        assert found["pgd_accuracy"]["values"][seed] <= found["accuracy"]["values"][seed]


def test_the_first_measure_compares_and_a_frozen_teacher_has_it_too(trained):
    _, summary = trained
    arm = summary["stages"]["distill"]["arms"]["ard"]
    assert arm["measured"]["student"][0] == "pgd_accuracy"
    assert arm["validation"]["student"].keys() >= {"pgd_accuracy", "accuracy"}
    of_teacher = summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]
    assert of_teacher["pgd_accuracy"]["values"] == arm["players"]["teacher"]["pgd_accuracy"]["values"]
    assert "within 0.05 of each pixel" in summary["measures"]["pgd_accuracy"]["note"]


def test_numbers_depend_on_no_batch(trained, tmp_path):
    """All but the batches of evaluation is the same; the last one is filled up."""
    players = lambda summary: summary["stages"]["distill"]["arms"]["ard"]["players"]["student"]
    again = players(train.train(config(batch_size=170), tmp_path))
    for name in ("pgd_accuracy", "fgsm_accuracy"):
        # One example of 500 may lie on the line, where another order of additions decides.
        assert again[name]["values"] == pytest.approx(players(trained[1])[name]["values"], abs=0.0021)


@pytest.mark.extra("flatbuffers")
def test_a_file_is_not_attacked_and_that_is_said(trained, tmp_path):
    exported = export.export(trained[0], tmp_path, formats=["stablehlo"], arm="ard", member=0, average=False)
    rows = {row["label"]: row["measures"] for row in exported.record["rows"]}
    assert set(rows["student.stablehlo"]) >= {"accuracy"}
    assert "pgd_accuracy" not in rows["student.stablehlo"]
    assert "Not measured of files: robust" in exported.record["notes"]


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [
        (dict(name="robust", epsilon=-1.0), r"config\.players\.student\.evaluate = .*epsilon = -1\.0"),
        (("classifier", dict(name="robust", noise=1.0)), "evaluator 'robust' takes no 'noise'"),
        (
            dict(name="incremental", tasks=((0, 1), (2, 3)), before=("nobody",)),
            "it names the player 'nobody'; accepted are student, teacher",
        ),
    ],
)
def test_mistakes_name_the_players_field(evaluate, message, tmp_path):
    made = config()
    with made.unlocked(), made.ignore_type():
        made.players.student.evaluate = evaluate
    with pytest.raises(ConfigError, match=message):
        train.train(made, tmp_path)


def test_a_radius_that_falls_below_0_is_refused(tmp_path):
    made = config()
    with made.unlocked(), made.ignore_type():
        made.stages.distill.arms.ard.method.epsilon = dict(kind="linear", start=0.1, end=-0.1)
    with pytest.raises(ConfigError, match=r"method\.epsilon = .*a radius must not fall below 0"):
        train.train(made, tmp_path)


def test_tables_are_not_attacked(tmp_path):
    made = tiny.config(steps=2, seeds=1)
    made.data.name, made.data.labelled = "sklearn:wine", None
    with made.unlocked(), made.ignore_type():
        made.players.student.evaluate = "robust"
    with pytest.raises(ConfigError, match=r"config\.players\.student is judged as 'robust': .*the data have none"):
        train.train(made, tmp_path)
    made.players.student.evaluate = "classifier"
    made.stages.distill.arms = common.named(
        trades=dict(method=dict(name="trades"), lambdas=dict(student=dict(ce=1.0, robust_kl=6.0)))
    )
    with pytest.raises(ConfigError, match=r"config\.stages\.distill\.arms\.trades: an attack moves images"):
        train.train(made, tmp_path)


def test_the_documentation_runs(tmp_path):
    made = tiny.config(steps=2, seeds=1, arms=common.named(scratch=dict(lambdas=dict(student=dict(ce=1.0)))))
    snippets = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    assert len(snippets) == 3
    with made.unlocked(), made.ignore_type():
        for snippet in snippets:
            exec(snippet, {"config": made})
    summary = train.train(made, tmp_path)
    arms = summary["stages"]["distill"]["arms"]
    assert set(arms) == {"scratch", "ard", "thief", "defended"}
    assert "answered_accuracy_2" in arms["defended"]["players"]["teacher"]
    assert "agreement" in arms["thief"]["players"]["student"]
