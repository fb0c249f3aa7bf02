"""Runs on degraded images for tests: random images, batches as a step sees them, restorers and methods named by a path."""

import jax
import numpy as np
from flax import linen as nn

import tiny
from configs import common
from kdgan import bicubic, data
from kdgan.game import Method, Move
from kdgan.losses import images as image_losses
from kdgan.run import batches as run_batches
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve

RNG = np.random.default_rng(0)
N, BATCH = 6, 4
SEVERAL = ((16, 12), (12, 18), (12, 12))  # sides
NOISY = dict(degrade={"gaussian": {"sigma": 25.0}})


def clean(count=N, sizes=((16, 12),), channels=1):
    """So many images, their sides (height, width) in turn."""
    images = [RNG.integers(0, 256, (*sizes[i % len(sizes)], channels), np.uint8) for i in range(count)]
    return data.from_fields({"image": np.stack(images) if len(sizes) == 1 else images})


def load(train=None, test=None, **fields):
    """The inputs of such a run."""
    data_sets = {"train": train or clean(), "test": test or clean(3)}
    return run_inputs.load(resolve(run_inputs.handed_over(tiny.on_data(**fields), data_sets)), data_sets)


def draw(inputs, spec, *, steps=4, **more):
    """[(a batch of the host, the batch that a step sees)]; `spec`: the augmentation."""
    prepare = jax.jit(run_batches.make_prepare(inputs, spec))
    raw = run_batches.batches(
        inputs, seed=0, stage=0, batch_size=BATCH, start=0, steps=steps, spec=spec, **more
    )  # fmt: skip
    return [(one, jax.device_get(prepare(one, inputs.device_arrays()))) for one in raw]


class Doubles(nn.Module):
    """A restorer of scale 1 or 2 that sees two pixels around each."""

    scale: int = 1

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(self.scale**2, (5, 5))(x)
        b, h, w, _ = y.shape
        y = y.reshape(b, h, w, self.scale, self.scale).transpose(0, 1, 3, 2, 4)
        return bicubic.upscale(x, self.scale) + y.reshape(b, h * self.scale, w * self.scale, 1)


def speckled(key, image, strength=0.1):
    return image * (1 + strength * jax.random.normal(key, image.shape))


def everything() -> Method:
    """Uses all that a batch of degraded images has."""

    def terms(players, batch, key):
        restored = players.student(batch["image"])
        lone = players.student(batch["unlabelled"]["image"])
        of = {
            "clean": image_losses.l2(restored, batch["target"]),
            "teacher": image_losses.l2(restored, players.teacher(batch["image"])),
            "others": image_losses.l2(lone, players.teacher(batch["unlabelled"]["image"])),
        }
        if restored.shape == batch["image"].shape:
            of["again"] = image_losses.l2(restored, batch["again"])
        return of

    return Method(Move("student", terms))


def first_stage() -> Method:
    """Trains the teacher on the target."""
    terms = lambda players, batch, key: {"clean": image_losses.l2(players.teacher(batch["image"]), batch["target"])}
    return Method(Move("teacher", terms))


def halves() -> Method:
    """Learns from the target and the teacher."""

    def terms(players, batch, key):
        restored = players.student(batch["image"])
        of_teacher = image_losses.l2(restored, players.teacher(batch["image"]))
        return {"clean": image_losses.l2(restored, batch["target"]), "teacher": of_teacher}

    return Method(Move("student", terms))


def whole_run(cached, scale=1, **fields):
    """A teacher trained, then a student of it by `everything`; `fields`: of config.data."""
    made = tiny.on_data(**fields)
    made.players = common.named(
        teacher=dict(model="degraded.Doubles", model_args=dict(scale=scale)),
        student=dict(model="degraded.Doubles", model_args=dict(scale=scale)),
    )
    terms = dict(clean=0.5, teacher=0.3, others=0.2) | (dict(again=0.1) if scale == 1 else {})
    made.stages = common.named(
        teacher=dict(method=dict(name="degraded.first_stage"), lambdas=dict(teacher=dict(clean=1.0)), steps=2),
        main=dict(
            method=dict(name="degraded.everything"), lambdas=dict(student=terms), start=dict(teacher="teacher"),
            steps=6, cached=cached,
        ),
    )  # fmt: skip
    made.player.optimizer.learning_rate = 0.01
    made.data.labelled, made.data.unlabelled_batch_size = 4, 2
    made.stage.augment = {"crop": {"size": 6}, "flip": {}, "turn": {}}
    return made
