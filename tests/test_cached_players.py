"""Outputs and features of a frozen player that come with the batch: the same step without it, and no other use of them."""

import jax
import numpy as np
import pytest

import players as small
from kdgan import game, methods
from kdgan.game import Method, Move
from kdgan.metrics import cost
from kdgan.step import make_train_step

MODULES = {"student": small.Plain(), "teacher": small.Net(width=16)}


def with_outputs(batch, state, features=()):
    """The batch with the teacher's outputs, and its features of these names, by Flax alone."""
    variables = {"params": state.params["teacher"], **state.model_state["teacher"]}

    def of(image):
        outputs, found = MODULES["teacher"].apply(variables, image, capture_intermediates=True)
        wanted = {path: found["intermediates"][path]["__call__"][0] for path in features}
        return {"cached": {"teacher": outputs}} | ({"cached_features": {"teacher": wanted}} if features else {})

    batch = {**batch, **of(batch["image"])}
    if "unlabelled" in batch:
        image = batch["unlabelled"]["image"]
        batch["unlabelled"] = {"image": image, **of(image)}
    return batch


def hinted(part):
    """A student's hidden units follow means of a feature of the teacher, and its outputs those of the teacher, on a part."""

    def terms(players, batch, key):
        image = batch[part]["image"] if part else batch["image"]
        outputs, mine = players.student(image, features=("hidden",))
        wanted, theirs = players.teacher(image, features=("norm", "conv"))
        assert list(theirs) == ["norm", "conv"]
        means = theirs["conv"][..., :5].mean((1, 2)) + theirs["norm"][..., -5:].mean((1, 2))
        return {"hint": ((mine["hidden"] - means) ** 2).sum(-1), "mimic": ((outputs - wanted) ** 2).sum(-1)}

    return Method(Move("student", terms))


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


@pytest.mark.parametrize("part", [None, "unlabelled", "all"])
def test_a_step_with_cached_features_is_the_step_without_on_each_part_of_a_batch(part):
    method, batch = hinted(part), small.batch()
    batch["unlabelled"] = {"image": small.batch(4, seed=1)["image"]}
    state = small.make_state(method, MODULES, example=batch)
    optimizers = {"student": small.optax.sgd(0.1)}
    expected, metrics = jax.jit(make_train_step(method, MODULES, optimizers))(state, batch)
    alone, _ = state.set_apart(["teacher"])
    cached = with_outputs(batch, state, ("conv", "norm", "head"))
    found, same = jax.jit(make_train_step(method, {"student": MODULES["student"]}, optimizers))(alone, cached)
    assert small.largest_difference(found.params["student"], expected.params["student"]) < 1e-6
    assert small.largest_difference(same, metrics) < 1e-5
    assert metrics["student/hint"] > 0.01


def test_the_features_that_a_method_asks_for_are_found_by_tracing_it():
    batch = small.batch() | {"unlabelled": {"image": small.batch(4)["image"]}}
    asked = game.inspect_method(hinted("all"), MODULES, batch).features
    shapes = {name: {path: leaf.shape for path, leaf in of.items()} for name, of in asked.items()}
    assert shapes == {"student": {"hidden": (12, 5)}, "teacher": {"norm": (12, 4, 4, 16), "conv": (12, 4, 4, 16)}}
    assert game.inspect_method(methods.build("kd"), MODULES, batch).features == {}


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


@pytest.mark.parametrize("paths", [("head",), ("conv", "head"), ("norm", "dropout")])
def test_a_feature_that_is_not_cached_is_refused_with_those_that_are(paths):
    terms = lambda players, batch, key: {"t": players.teacher(batch["image"], features=paths)[0].mean()}
    state = small.make_state(methods.build("kd"), MODULES)
    batch = with_outputs(small.batch(), state, ("conv", "norm"))
    with pytest.raises(
        ValueError, match=r"what is known are its outputs and features conv, norm in evaluation"
    ) as error:
        game.inspect_method(Method(Move("student", terms)), MODULES, batch)
    assert f"features={paths}" in str(error.value)
    assert "\n" not in str(error.value)


def test_parameters_of_a_cached_player_are_given_where_a_method_reads_them():
    """By tracing it is found who reads; the step's state then holds them."""

    def terms(players, batch, key):
        difference = (players.student(batch["image"]) - players.teacher(batch["image"])) ** 2
        return {"t": players.teacher.params["head"]["kernel"].sum() ** 2 * difference.mean(-1)}

    method = Method(Move("student", terms))
    state = small.make_state(method, MODULES)
    batch = with_outputs(small.batch(), state)
    params = {"teacher": state.params["teacher"], "unread": {}}
    assert game.inspect_method(method, MODULES, batch, params=params).read == ("teacher",)
    assert game.inspect_method(methods.build("kd"), MODULES, batch, params=params).read == ()
    step = make_train_step(method, MODULES, {"student": small.optax.sgd(0.1)})
    running, cached = (step(state, given)[1]["student/t"] for given in (small.batch(), batch))
    assert running > 0
    np.testing.assert_allclose(cached, running, rtol=1e-5)


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
