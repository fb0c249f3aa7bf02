"""What the training loop asks of the device: one compilation for each program, and no transfer but the batch's."""

import jax
import pytest

import tiny
from configs import common
from kdgan.run import population, train


def arms():
    """Two programs: one of two arms that differ in their λ's, and a game whose λ follows a schedule."""
    kd = lambda weight: dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=1 - weight, kd=weight)))
    game = dict(
        method=dict(name="kdgan"),
        lambdas=dict(
            discriminator=dict(real=1.0, student=0.5, teacher=0.5),
            teacher=dict(ce=1.0, kd=0.1, adv=0.5),
            student=dict(ce=0.1, kd=1.0, adv=dict(kind="linear", start=0.0, end=1.0)),
        ),
    )
    return common.named(low=kd(0.1), high=kd(0.9), game=game)


@pytest.mark.parametrize("members", ["in_turn", "vmap"])
def test_a_program_compiles_once_and_only_batches_cross_to_the_device(members, tmp_path, monkeypatch):
    config = tiny.config(steps=4, arms=arms())
    config.players.discriminator = config.players.teacher
    config.parallel.members = members
    runners, make_runner = [], population.make_runner

    def guarded(*args):
        runner = make_runner(*args)
        runners.append(runner)

        def step(packed, batch, *shared):
            batch = jax.device_put(batch)
            with jax.transfer_guard("disallow"):
                return runner.step(packed, batch, *shared)

        return runner._replace(step=step)

    monkeypatch.setattr(population, "make_runner", guarded)
    train.train(config, tmp_path)
    assert len(runners) == 3  # the teacher's, of both arms with soft labels, the game's
    assert [runner.step.compiled._cache_size() for runner in runners] == [1, 1, 1]
