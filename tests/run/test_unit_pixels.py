"""Images in [0, 1]: what is made for them alone is refused on other pixels, the data's or a player's own."""

import numpy as np
import pytest
from PIL import Image

import tiny
from configs import common
from kdgan import data
from kdgan.game import Method, Move
from kdgan.losses import images as image_losses
from kdgan.run import build, stage_data
from kdgan.run.config import ConfigError, resolve

RNG = np.random.default_rng(0)


def pairs(channels):
    image = RNG.integers(0, 256, (6, 24, 24, channels), np.uint8)
    return data.from_fields({"image": image, "target": image}, kinds=dict(image="image", target="image"))


SETS = {channels: {"train": pairs(channels), "test": pairs(channels)} for channels in (1, 3)}


def seen_by_a_critic():
    def terms(players, batch, key):
        made = players.student(batch["image"])
        _, own = players.critic(made, features=("relu1",))
        return {"pixel": image_losses.l1(made, batch["target"]), "seen": (own["relu1"] ** 2).mean((1, 2, 3))}

    return Method(Move("student", terms))


def own_method():
    def terms(players, batch, key):
        return {"pixel": image_losses.l1(players.student(batch["image"]), batch["target"])}

    return Method(Move("student", terms))


def without_a_target():
    """For players whose output has no target of its size."""

    def terms(players, batch, key):
        return {"pixel": (players.student(batch["image"]) ** 2).mean((1, 2, 3))}

    return Method(Move("student", terms))


DNCNN = dict(model="dncnn", model_args=dict(depth=2, width=2, batch_norm=False))
OWN, RESTORE = dict(name="test_unit_pixels.own_method"), dict(name="restore")
ALONE = dict(name="test_unit_pixels.without_a_target")
SEEN = dict(name="test_unit_pixels.seen_by_a_critic")


def programs(method, mean=0.0, std=1.0, channels=1, stage=None, terms=("pixel",), **players):
    made = tiny.config(seeds=1, steps=2, validation=0)
    made.data.labelled, made.data.mean, made.data.std = None, mean, std
    made.players = common.named(**players)
    critics = [name for name in players if name == "critic"]
    made.stages = common.named(
        main=dict(
            method=method, lambdas=dict(student=dict.fromkeys(terms, 1.0)), steps=2,
            start={name: dict(checkpoint="unread") for name in critics},
        )
    )  # fmt: skip
    sets = dict(SETS[channels])
    if stage is not None:
        with made.unlocked(), made.ignore_type():
            made.stages.main.data = stage
        sets["main"] = SETS[channels]
    run = resolve(stage_data.handed_over(made, sets))
    return build.all_programs(run, stage_data.load(run, sets), read_checkpoints=False)


CRITIC = dict(model="squeezenet", model_args=dict(num_classes=2))
CARN = dict(model="carn_m", model_args=dict(width=4), evaluate="nothing")
LUMA = dict(model="dncnn", model_args=dict(depth=2, width=2, batch_norm=False, luma=True))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(method=RESTORE, mean=0.5, student=DNCNN), "config.data.mean = 0.5, std = 1.0: the method 'restore' of"),
        (dict(method=RESTORE, std=0.5, student=DNCNN), "std = 0.5: .* of config.stages.main is of images in"),
        (
            dict(method=RESTORE, stage=dict(mean=(0.1,)), student=DNCNN),
            r"config.data.mean = .*0.1.*: the method 'restore'",
        ),
        (
            dict(method=RESTORE, student=dict(DNCNN, mean=0.5)),
            "config.players.student.mean = 0.5: student makes images of",
        ),
        (
            dict(method=ALONE, mean=0.4, student=CARN),
            "the model .carn_m. of student is of images in",
        ),
        (dict(method=OWN, mean=0.4, channels=3, student=LUMA), "the model 'dncnn' of student is of images in"),
        (
            dict(method=OWN, student=dict(model="johnson", std=0.5)),
            "config.players.student.std = 0.5: student makes images of images",
        ),
        (
            dict(method=SEEN, terms=("pixel", "seen"), mean=0.4, student=DNCNN, critic=CRITIC),
            "the model 'squeezenet' of critic .*; set config.data.mean = 0.0, .* or config.players.critic.mean = 0.0, std",
        ),
        (
            dict(method=SEEN, terms=("pixel", "seen"), student=DNCNN, critic=dict(CRITIC, mean=0.4)),
            "config.players.critic.mean = 0.4, std = 1.0: the model 'squeezenet' of critic is of images in",
        ),
    ],
)
def test_what_is_of_images_in_0_to_1_is_refused_on_others(fields, words):
    with pytest.raises(ConfigError, match=words) as error:
        programs(**fields)
    assert "\n" not in str(error.value)


def test_style_images_lie_in_0_to_1(tmp_path):
    Image.fromarray(RNG.integers(0, 256, (24, 24), np.uint8)).save(tmp_path / "style.png")

    painting = dict(model="style_images", model_args=dict(images=str(tmp_path / "style.png"), size=24, channels=1))
    players = dict(student=dict(DNCNN, evaluate="nothing"), style_images=painting)
    method = dict(name="test_unit_pixels.beside_a_painting")
    assert programs(method, **players)
    with pytest.raises(ConfigError, match="the model 'style_images' of style_images is of images in"):
        programs(method, mean=0.5, **players)


def beside_a_painting():
    def terms(players, batch, key):
        return {"pixel": ((players.student(batch["image"]) - players.style_images()) ** 2).mean((1, 2, 3))}

    return Method(Move("student", terms))


@pytest.mark.parametrize(
    "fields",
    [
        dict(method=OWN, mean=0.4, std=0.3, student=DNCNN),  # of a method that says nothing of its pixels
        dict(method=OWN, mean=0.4, channels=1, student=LUMA),  # grey has no other luma
        dict(method=RESTORE, student=dict(DNCNN, mean=0.0, std=1.0)),
        dict(
            method=SEEN, terms=("pixel", "seen"), mean=0.4, student=DNCNN, critic=dict(CRITIC, mean=0.0, std=1.0)
        ),  # a critic's own normalisation brings pixels back
    ],
)
def test_what_is_right_stays(fields):
    assert programs(**fields)["main"]
