"""Players that see images by a mean, a standard deviation and a size of their own, in a run: judged as they are by hand."""

import jax
import numpy as np
import pytest
from PIL import Image

import kdgan
import tiny
from configs import common
from kdgan.data.sources import load
from kdgan.run import build, checkpoint, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

MEAN, STD = 0.3, 0.5  # of the data; the teacher's and its size:
OWN_MEAN, OWN_STD, SIZE = 0.6, 0.2, (4, 6)


def config(**teacher):
    config = tiny.config(seeds=1, steps=4)
    config.data.mean, config.data.std = MEAN, STD
    config.evaluate.every, config.log.every = 4, 4
    with config.unlocked(), config.ignore_type():
        config.players.teacher.update(dict(mean=OWN_MEAN, std=OWN_STD, image_size=SIZE) | teacher)
        del config.stages.distill.arms.scratch
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("normalised")
    return workdir, train.train(config(), workdir)


def logits(params, pixels, mean, std):
    """Of an MLP of one hidden layer, on pixels in [0, 1]."""
    x = ((pixels - mean) / std).reshape(len(pixels), -1)
    hidden = np.maximum(x @ params["dense1"]["kernel"] + params["dense1"]["bias"], 0)
    return hidden @ params["head"]["kernel"] + params["head"]["bias"]


def scaled(images):
    """Pixels in [0, 1] at the teacher's size, by Pillow."""
    resize = lambda image: Image.fromarray(image[..., 0].astype(np.float32) / 255).resize(
        SIZE[::-1], Image.Resampling.BILINEAR
    )
    return np.stack([np.asarray(resize(image)) for image in images])[..., None]


def params_of(workdir, stage, arm, player):
    state = checkpoint.Checkpoints(workdir / "checkpoints" / stage).restore_latest().tree[arm]["state"]
    return jax.tree.map(lambda leaf: leaf[0], state["params"][player])


def test_two_classifiers_of_different_normalisation_are_each_judged_by_their_own(trained):
    workdir, summary = trained
    test = load("digits", "test")
    teacher, student = params_of(workdir, "teacher", "main", "teacher"), params_of(workdir, "distill", "kd", "student")
    assert teacher["dense1"]["kernel"].shape[0] == SIZE[0] * SIZE[1]
    assert student["dense1"]["kernel"].shape[0] == 64
    of_teacher = logits(teacher, scaled(test.image), OWN_MEAN, OWN_STD)
    of_student = logits(student, test.image / 255, MEAN, STD)
    for stage, arm, player, by_hand in (("teacher", "main", "teacher", of_teacher), ("distill", "kd", "student", of_student),
                                        ("distill", "kd", "teacher", of_teacher)):  # fmt: skip
        measured = summary["stages"][stage]["arms"][arm]["players"][player]["accuracy"]["mean"]
        assert measured == pytest.approx(np.mean(by_hand.argmax(-1) == test.label), abs=1e-6)
    predict = kdgan.run.load(workdir, player="teacher", stage="teacher")
    np.testing.assert_allclose(predict(test.image[:20]), of_teacher[:20], rtol=1e-3, atol=1e-4)


def built(config):
    run = resolve(config)
    return build.all_programs(run, run_inputs.load(run))


def refused(match, change=lambda config: None, **teacher):
    changed = config(**teacher)
    change(changed)
    with pytest.raises(ConfigError, match=match) as caught:
        built(changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        (dict(std=0.0), r"config.players.teacher.std = 0.0: a positive number"),
        (dict(mean=(0.1, float("nan"))), r"config.players.teacher.mean = .*: a number, one for each channel"),
        (dict(mean=(0.1, 0.2)), r"config.stages.teacher: .*mean has 2 numbers, the images 1 channels"),
        (dict(mean="dark"), r"config.players.teacher.mean = 'dark' \(str\): expected"),
        (dict(image_size=(4, 5, 6)), r"config.players.teacher.image_size = \(4, 5, 6\): \(height, width\)"),
        (dict(image_size=0), "config.players.teacher.image_size = 0"),
    ],
)
def test_a_normalisation_that_cannot_be_is_refused_in_a_line(fields, match):
    refused(match, **fields)


def test_a_player_that_is_given_no_images_has_none():
    def coded(config):
        with config.unlocked():
            config.players.teacher.update(dict(model="vae", evaluate="nothing"))
            config.players.teacher.model_args = dict(latent=2, image_size=8)
            config.stages.teacher.method = dict(name="vae", player="teacher")
            config.stages.teacher.lambdas = common.named(teacher=dict(reconstruction=1.0, kl=1.0))
            config.data.mean, config.data.std = 0.0, 1.0

    refused("config.players.teacher.mean = 0.6: teacher decodes images", coded, image_size=None)
