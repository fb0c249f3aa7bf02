"""A memory in a run: written by the moves that name it, the same however the batch is split, and resumed bitwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from configs import common
from kdgan.game import Method, Move
from kdgan.losses.logits import half_squared_error
from kdgan.models import build as build_model
from kdgan.run import build, explain, stage_data, train, trained
from kdgan.run.config import resolve
from same import assert_same

SIZE, BATCH = 20, 8
NOISE = np.random.default_rng(0).normal(size=(BATCH, 4)).astype(np.float32)


def remembers(*, every=1):
    """A generator's images are kept, and a student learns the teacher's logits on those that are drawn."""

    def made(players, batch):
        return players.generator(jnp.asarray(NOISE)[batch["place"]])

    def generator(players, batch, key):
        image = made(players, batch)
        players.memory(image, write=players.step % every == 0)
        return {"bright": -image.mean((1, 2, 3))}

    def student(players, batch, key):
        image = players.memory(made(players, batch), write=False)
        return {"mimic": half_squared_error(players.student(image), players.teacher(image))}

    return Method(Move(("generator", "memory"), generator), Move("student", student))


def config(*, steps=3, bright=0.0, **method):
    made = tiny.config(seeds=1, steps=steps)
    made.evaluate.every = 1
    made.players.generator = dict(model="players.Scribbles", evaluate="nothing")
    made.players.memory = dict(model="memory", model_args=dict(size=SIZE))
    fields = dict(
        data=None,
        method=dict(name="test_memory.remembers", **method),
        lambdas=dict(generator=dict(bright=bright), student=dict(mimic=0.5)),
        steps=steps,
    )
    made.stages = common.named(
        teacher=made.stages.teacher, make=dict(fields, start=dict(teacher="teacher")),
        more=dict(fields, start=dict(teacher="teacher", memory="make", generator="make")),
    )  # fmt: skip
    return made


def state_of(workdir, made, stage):
    return trained.restore_member(workdir, resolve(made), stage, "main", 0)["state"]


def images_of(state):
    module = build_model("players.Scribbles")
    return np.asarray(module.apply({"params": state["params"]["generator"]}, NOISE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("memory")
    train.train(config(every=2), workdir)
    return workdir


def test_it_holds_what_was_written_and_goes_on_in_a_later_stage(finished):
    """The generator's λ is 0: it makes the same eight images at every step; written are those of steps 0 and 2."""
    first, second = (state_of(finished, config(every=2), stage) for stage in ("make", "more"))
    images = images_of(first)
    held = first["model_state"]["memory"]["memory"]
    assert int(held["count"]) == 2 * BATCH
    np.testing.assert_allclose(held["pixels"][: 2 * BATCH], np.concatenate([images, images]), rtol=1e-5)
    np.testing.assert_array_equal(held["pixels"][2 * BATCH :], 0)
    held = second["model_state"]["memory"]["memory"]
    assert int(held["count"]) == 4 * BATCH
    in_turn = np.concatenate([images] * 4)
    np.testing.assert_allclose(
        held["pixels"], np.concatenate([in_turn[SIZE:], in_turn[4 * BATCH - SIZE : SIZE]]), rtol=1e-5
    )


def test_a_run_that_was_stopped_goes_on_bitwise(tmp_path):
    made = config(bright=1.0)
    train.train(made, tmp_path / "whole")
    tiny.train_until(made, tmp_path / "cut", "make", 2)
    train.train(made, tmp_path / "cut")
    for stage in ("make", "more"):
        whole, cut = (state_of(tmp_path / name, made, stage) for name in ("whole", "cut"))
        assert int(whole["model_state"]["memory"]["memory"]["count"]) == {"make": 3, "more": 6}[stage] * BATCH
        assert_same(cut, whole)


@pytest.mark.parametrize("parallel", [dict(devices=2), dict(devices=4, steps_per_call=3), dict(members="vmap")])
def test_it_holds_the_same_however_the_batch_is_split(parallel, tmp_path):
    made = config(bright=1.0)
    made.evaluate.every = made.log.every = 3
    del made.stages["more"]
    train.train(made, tmp_path / "one")
    made.parallel.update(parallel)
    train.train(made, tmp_path / "split")
    whole, split = (
        state_of(tmp_path / name, made, "make")["model_state"]["memory"]["memory"] for name in ("one", "split")
    )
    assert (split["count"].dtype, int(split["count"])) == (np.int32, 3 * BATCH)
    np.testing.assert_allclose(split["pixels"], whole["pixels"], rtol=1e-5, atol=1e-6)
    assert np.ptp(whole["pixels"][:, 0, 0, 0]) > 0


def test_the_explanation_says_that_it_is_written():
    run = resolve(config())
    inputs = stage_data.load(run)
    programs = build.all_programs(run, inputs)
    text = explain.explain(run, inputs, programs)
    assert text.count("written in its moves") == 2
    assert "memory" not in programs["make"][0].evaluators
    shapes = jax.tree.map(lambda leaf: leaf.shape, programs["make"][0].inspection.outputs["memory"])
    assert shapes == (BATCH, 8, 8, 1)
