"""Runs small enough for a test: a few steps of small players on the digits."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from configs import common
from kdgan.run import interrupt, train

# Files of configs/ that are no config.
PARTS_OF_CONFIGS = {
    *("common", "cifar100_published", "gan_arms", "gan_table", "headlines", "kdgan_rows", "kdgan_search"),
    *("methods_page", "quickstart_search", "sets", "tables", "zoo_rows", "zoo_table"),
}  # fmt: skip


def config(*, steps=4, seeds=2, arms=None, optimizer="sgd", validation=20):
    """Teacher, then students from scratch and by soft labels; everything an engine must get right, in seconds."""
    config = common.get_config()
    config.data.labelled, config.data.validation = 40, validation
    config.player.optimizer.name, config.player.optimizer.learning_rate = optimizer, 0.1
    config.players = common.named(
        teacher=dict(model="mlp", model_args=dict(hidden=(8,))), student=dict(model="mlp", model_args=dict(hidden=(4,)))
    )
    config.stage.batch_size = 8
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=steps),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=steps,
            arms=arms
            or common.named(
                scratch=dict(lambdas=dict(student=dict(ce=1.0))),
                kd=dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9))),
            ),
        ),
    )
    config.population.seeds = seeds
    config.evaluate.every, config.evaluate.latency = 2, False
    config.log.every, config.log.progress, config.log.tensorboard = 1, False, False
    return config


def on_data(**fields):
    """A run of two steps and one seed on all examples, none held out; `fields`: of config.data."""
    made = config(seeds=1, steps=2, validation=0)
    made.data.labelled = None
    with made.unlocked(), made.ignore_type():
        for name, value in fields.items():
            made.data[name] = value  # `update` would set the fields of a dict one by one
    return made


def train_until(config, workdir, stage, step):
    """Train a run that is told to stop when the first program of a stage has made its `step`-th step, and stops."""
    inside, made, advance = False, 0, train.advance

    def watched(context, own, populations, *rest):
        nonlocal inside, made
        inside = own.name == stage
        made = populations[0].step if inside else 0  # steps of other stages do not count
        reached = advance(context, own, populations, *rest)
        inside = False
        return reached

    def told(_):
        nonlocal made
        made += inside
        return made >= step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "advance", watched)
        patch.setattr(train.Interrupt, "__call__", told)
        with pytest.raises(interrupt.Stopped, match=f"in stage {stage} at step {step} of"):
            train.train(config, workdir)
