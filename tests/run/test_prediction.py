"""`run.load`: a trained classifier as a function of images, from its workdir alone."""

import json

import jax
import numpy as np
import pytest

import tiny
from kdgan import data, run
from kdgan.run import inputs as run_inputs
from kdgan.run import train
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError

MEAN, STD = 0.4, 0.25


def config():
    config = tiny.config(steps=6, seeds=2)
    config.data.mean, config.data.std = MEAN, STD
    config.players.student.ema = 0.5
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("prediction")
    train.train(config(), workdir)
    return workdir


@pytest.fixture(scope="module")
def images():
    return data.load("digits", "test").image


def by_hand(tree, pixels):
    """Logits of an MLP of one hidden layer, on pixels in [0, 1]."""
    x = ((pixels - MEAN) / STD).reshape(len(pixels), -1)
    hidden = np.maximum(x @ tree["dense1"]["kernel"] + tree["dense1"]["bias"], 0)
    return hidden @ tree["head"]["kernel"] + tree["head"]["bias"]


def saved(workdir, stage, arm):
    return Checkpoints(workdir / "checkpoints" / stage).restore_latest().tree[arm]


def member(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def test_logits_are_those_of_the_saved_parameters_and_normalisation(workdir, images):
    state = saved(workdir, "distill", "kd")["state"]
    few = images[:9]
    for i, seed in enumerate((0, 1)):
        predict = run.load(workdir, player="student", arm="kd", member=seed, average=False)
        expected = by_hand(member(state["params"]["student"], i), few / 255)
        np.testing.assert_allclose(predict(few), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(predict(few / 255), expected, rtol=1e-4, atol=1e-5)
    average = run.load(workdir, player="student", arm="kd", member=1)
    expected = by_hand(member(state["ema"]["student"], 1), few / 255)
    np.testing.assert_allclose(average(few), expected, rtol=1e-4, atol=1e-5)


def test_its_classes_are_those_that_the_run_measured(workdir, images):
    with np.load(workdir / "evaluation.npz") as arrays:
        for arm in ("scratch", "kd"):
            predict = run.load(workdir, player="student", arm=arm, member=1, average=False)
            measured = arrays[f"prediction/distill/{arm}/student"][1]
            np.testing.assert_array_equal(predict(images).argmax(-1), measured)
        teacher = run.load(workdir, player="teacher")
        np.testing.assert_array_equal(teacher(images).argmax(-1), arrays["prediction/teacher/main/teacher"][0])
        best = run.load(workdir, arm="kd", average=False, best=True)
        measured = arrays["prediction/distill/kd/student (best by validation)"][0]
        np.testing.assert_array_equal(best(images).argmax(-1), measured)


def test_any_number_of_images_goes_through_one_program(workdir, images):
    predict = run.load(workdir, arm="kd", batch_size=4)
    whole = predict(images[:11])
    assert whole.shape == (11, 10)
    assert whole.dtype == np.float32
    for n in (0, 1, 4, 7):
        np.testing.assert_array_equal(predict(images[:n]), whole[:n])
    np.testing.assert_array_equal(predict(images[2]), whole[2])
    assert predict._forward._cache_size() == 1


def test_it_says_what_it_takes_and_gives(workdir):
    predict = run.load(workdir, arm="kd")
    assert predict.image_shape == (8, 8, 1)
    assert predict.class_names == tuple("0123456789")
    assert predict.about == "student: stage distill, arm kd, seed 0, step 6"


def test_neither_the_data_nor_the_method_is_needed(workdir, images, monkeypatch):
    def gone(run):
        raise ConfigError("config.data: no such folder")

    expected = run.load(workdir, arm="kd")(images[:5])
    with monkeypatch.context() as patch:
        patch.setattr(run_inputs, "load", gone)
        patch.setattr("kdgan.methods.BY_NAME", {})
        np.testing.assert_array_equal(run.load(workdir, arm="kd")(images[:5]), expected)
    text = (workdir / "players.json").read_text()
    assert json.loads(text)["stages"]["distill"]["kd"]["teacher"] == {
        "evaluators": ["classifier"], "trained": False, "inputs": ["image"], "sizes": {"num_classes": 10},
    }  # fmt: skip
    (workdir / "players.json").unlink()  # as an earlier version left it
    try:
        np.testing.assert_array_equal(run.load(workdir, arm="kd")(images[:5]), expected)
    finally:
        (workdir / "players.json").write_text(text)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            dict(player="discriminator"),
            r"no player that predicts for player 'discriminator'; those that it trained \(stage/arm: player\) are"
            r" teacher/main: teacher; distill/scratch: student; distill/kd: student",
        ),
        (dict(player="teacher", stage="distill"), "no player that predicts for player 'teacher', stage 'distill'"),
        (dict(arm="nope"), "no player that predicts for arm 'nope'"),
        (dict(player="student"), "arm is missing: stage distill trained student in the arms scratch, kd; say which"),
        (dict(arm="kd", member=2), "member 2: the run has the seeds 0, 1"),
        (dict(arm="kd", batch_size=0), "batch_size = 0"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(workdir, asked, message):
    with pytest.raises(ConfigError, match=message):
        run.load(workdir, **asked)


def test_a_folder_without_a_run_or_a_checkpoint_is_refused(workdir, tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        run.load(tmp_path)
    for file in ("config.json", "players.json"):
        (tmp_path / file).write_text((workdir / file).read_text())
    with pytest.raises(ConfigError, match="stage distill has no checkpoint of arm kd, seed 0 yet"):
        run.load(tmp_path, arm="kd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., 0], r"shape \[3, 8, 8\].*add the channel, images\[\.\.\., None\]"),
        (lambda x: x.transpose(0, 3, 1, 2), r"\[3, 1, 8, 8\].*channels last .*, images\.transpose\(0, 2, 3, 1\)$"),
        (lambda x: x[0].transpose(2, 0, 1), r"\[1, 8, 8\].*channels last .*, images\.transpose\(1, 2, 0\)$"),
        (lambda x: np.zeros((3, 3, 28, 28), np.uint8), r"channels last are wanted, images\.transpose\(0, 2, 3, 1\)$"),
        (lambda x: np.stack([x[..., 0]] * 2, 1), r"\[3, 2, 8, 8\].*channels last are wanted"),
        (lambda x: x[:, :4], r"shape \[3, 4, 8, 1\]; the player was trained on images \[n, h, w, c\] of \[8, 8, 1\]"),
        (lambda x: x.astype(np.int32), "images are int32; uint8"),
        (lambda x: x.astype(np.float32), r"images have values 0\.\.255; floating-point images lie in \[0, 1\]"),
        (lambda x: np.full(x.shape, np.nan), "images have values nan"),
    ],
)
def test_images_that_the_player_cannot_take_are_refused(workdir, images, change, message):
    images = np.concatenate([images[:2], np.full((1, 8, 8, 1), 255, np.uint8)])
    with pytest.raises(ValueError, match=message):
        run.load(workdir, arm="kd")(change(images))


def test_of_an_unfinished_run_the_last_checkpoint_is_taken_and_said(tmp_path, images):
    config = tiny.config(steps=6, seeds=1, validation=0)
    config.stages.teacher.steps = 2
    tiny.train_until(config, tmp_path, "distill", 4)
    with pytest.warns(UserWarning, match=r"not finished.*student \(stage distill, arm kd\) is taken, of step 4 of 6"):
        predict = run.load(tmp_path, arm="kd")
    assert predict(images[:2]).shape == (2, 10)
    with (
        pytest.warns(UserWarning, match="not finished"),
        pytest.raises(ConfigError, match="best = True: the run has no validation split"),
    ):
        run.load(tmp_path, arm="kd", best=True)
