"""Outputs of a frozen player that come with the batch: the same step without the player, and no other use of them."""

import jax
import numpy as np
import pytest

import players as small
from kdgan import game, methods
from kdgan.game import Method, Move
from kdgan.metrics import cost
from kdgan.step import make_train_step

MODULES = {"student": small.Plain(), "teacher": small.Net(width=16)}


def with_outputs(batch, state):
    """The batch with the teacher's outputs, by Flax alone."""
    variables = {"params": state.params["teacher"], **state.model_state["teacher"]}
    outputs = lambda image: {"teacher": MODULES["teacher"].apply(variables, image)}
    batch = {**batch, "cached": outputs(batch["image"])}
    if "unlabelled" in batch:
        image = batch["unlabelled"]["image"]
        batch["unlabelled"] = {"image": image, "cached": outputs(image)}
    return batch


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_step_with_cached_outputs_is_the_step_without_and_needs_no_teacher(unlabelled):
    method, batch = methods.build("kd", unlabelled=unlabelled), small.batch()
    if unlabelled:
        batch["unlabelled"] = {"image": small.batch(4, seed=1)["image"]}
    state = small.make_state(method, MODULES, example=batch)
    optimizers = {"student": small.optax.sgd(0.1)}
    step = make_train_step(method, MODULES, optimizers)
    expected, metrics = jax.jit(step)(state, batch)
    alone, _ = state.set_apart(["teacher"])
    without = make_train_step(method, {"student": MODULES["student"]}, optimizers)
    cached = with_outputs(batch, state)
    found, same = jax.jit(without)(alone, cached)
    assert "teacher" not in found.params
    assert small.largest_difference(found.params["student"], expected.params["student"]) < 1e-6
    assert small.largest_difference(same, metrics) < 1e-5
    forward = cost.flops(lambda v, x: MODULES["teacher"].apply(v, x), {"params": state.params["teacher"],
        **state.model_state["teacher"]}, np.zeros((12 if unlabelled else 8, 4, 4, 1), np.float32))  # fmt: skip
    saved = cost.flops(step, state, batch) - cost.flops(without, alone, cached)
    assert 0.95 * forward < saved < 1.05 * forward


def refusal(terms, batch, match, trained="student"):
    state = small.make_state(methods.build("kd"), MODULES)
    with pytest.raises(ValueError, match=match):
        game.inspect_method(Method(Move(trained, terms)), MODULES, with_outputs(batch, state))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda players, x: players.teacher(x + 0), r"teacher\(an array \(8, 4, 4, 1\)\): teacher is cached"),
        (lambda players, x: players.teacher(x[::-1]), "own examples"),
        (lambda players, x: players.teacher(x, train=True), "train=True"),
        (lambda players, x: players.teacher(x, features=("conv",))[0], r"features=\('conv',\)"),
        (lambda players, x: players.teacher.stateless(x, method="decode"), "method='decode'"),
        (lambda players, x: players.teacher(), r"players.teacher\(\)"),
    ],
)
def test_a_cached_player_is_asked_for_its_outputs_on_the_batch_only(call, match):
    refusal(lambda players, batch, key: {"t": call(players, batch["image"]).mean()}, small.batch(), match)


def test_the_outputs_of_a_trained_player_cannot_be_cached():
    terms = lambda players, batch, key: {"t": players.teacher(batch["image"]).mean()}
    refusal(terms, small.batch(), "teacher is trained by this method", trained="teacher")


def test_outputs_of_a_player_in_evaluation_mode_may_be_asked_for_by_name():
    terms = lambda players, batch, key: {"t": players["teacher"](batch["image"], train=False, features=()).mean(-1)}
    state = small.make_state(methods.build("kd"), MODULES)
    found = game.inspect_method(Method(Move("student", terms)), MODULES, with_outputs(small.batch(), state))
    assert found.terms == {"student": ("t",)}
    assert "teacher" not in found.inputs


def test_a_player_set_apart_joins_again():
    state = small.make_state(methods.build("kd"), MODULES)
    rest, apart = state.set_apart(["teacher"])
    assert set(rest.params) == {"student"}
    assert "teacher" not in rest.model_state
    jax.tree.map(np.testing.assert_array_equal, rest.join(apart).params, state.params)
    jax.tree.map(np.testing.assert_array_equal, rest.join(apart).model_state, state.model_state)
