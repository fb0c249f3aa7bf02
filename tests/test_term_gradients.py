"""Norms and cosines of terms' gradients: against closed forms, in every way of running, and without any effect on a step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import players as small
from kdgan import members, methods, parallel, term_gradients
from kdgan.game import Method, Move
from kdgan.state import TrainState
from kdgan.step import make_train_step, measuring

MODULES = {"student": small.Net(dropout=0.5), "teacher": small.Plain(7), "discriminator": small.Plain(6)}
METHOD = methods.build("kdgan", labels="expected", discriminator_repeats=2)


def step_of(method=METHOD, modules=MODULES, **options):
    return make_train_step(method, modules, {name: optax.sgd(0.1) for name in method.trained}, **options)


class Weights(nn.Module):
    """x @ w, from a known w."""

    start: tuple[float, ...]

    @nn.compact
    def __call__(self, x):
        return x @ self.param("w", lambda _: jnp.array(self.start))


def quadratic(players, batch, key):
    """½(x·w − y)² and ½(x·w − z)² of a linear model: gradients X'(Xw − y)/b and X'(Xw − z)/b."""
    output = players.student(batch["x"])
    return {"y": 0.5 * (output - batch["y"]) ** 2, "z": 0.5 * (output - batch["z"]) ** 2}


def by_hand(batch, w):
    x = np.float64(batch["x"])
    g = {name: x.T @ (x @ w - np.float64(batch[name])) / len(x) for name in ("y", "z")}
    norms = {name: np.linalg.norm(value) for name, value in g.items()}
    return norms, g["y"] @ g["z"] / norms["y"] / norms["z"]


def linear(seed=0, b=4):
    rng = np.random.default_rng(seed)
    return {
        "x": jnp.float32(rng.normal(size=(b, 2))),
        "y": jnp.float32(rng.normal(size=b)),
        "z": jnp.float32(rng.normal(size=b)),
    }


def linear_state(method, modules, lambdas):
    optimizers = {name: optax.sgd(0.1) for name in method.trained}
    return TrainState.create(method, modules, optimizers, linear(), key=jax.random.key(0), lambdas=lambdas)


@pytest.mark.parametrize("lambdas", [(1.0, 1.0), (0.0, 30.0)])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_linear_model_has_the_norms_and_the_cosine_of_its_closed_form(lambdas, repeats):
    """λ's are not in, be they 0; of a repeated move it is the last repetition's, where the others led."""
    method, modules = Method(Move("student", quadratic, repeats=repeats)), {"student": Weights((0.5, -1.0))}
    state = linear_state(method, modules, {"student": dict(zip("yz", lambdas, strict=True))})
    batch, w = linear(), np.array([0.5, -1.0])
    for _ in range(repeats - 1):
        x = np.float64(batch["x"])
        w = w - 0.1 * sum(
            λ * x.T @ (x @ w - np.float64(batch[name])) / 4 for name, λ in zip("yz", lambdas, strict=True)
        )
    norms, cosine = by_hand(batch, w)
    _, metrics = jax.jit(step_of(method, modules, gradients=True))(state, batch)
    assert metrics["student/gradient/y"] == pytest.approx(norms["y"], rel=1e-4)
    assert metrics["student/gradient/z"] == pytest.approx(norms["z"], rel=1e-4)
    assert metrics["student/cosine/y,z"] == pytest.approx(cosine, abs=1e-4)
    measured = {"student/gradient/y", "student/gradient/z", "student/cosine/y,z"}
    assert set(metrics) == {"student/y", "student/z", "student/loss", *measured}


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_neither_small_nor_large_gradients_are_lost(scale):
    gradients = {"a": {"w": scale * jnp.array([3.0, 0.0]), "b": scale * jnp.float32(4.0)}}
    gradients["b"] = {"w": jnp.array([-6.0, 0.0]), "b": jnp.float32(-8.0)}
    gradients["c"] = {"w": jnp.array([0.0, 2.0]), "b": jnp.float32(0.0)}
    norms, cosines = term_gradients.compared(gradients)
    assert norms["a"] == pytest.approx(5 * scale, rel=1e-6)
    assert norms["b"] == pytest.approx(10)
    assert cosines == {("a", "b"): pytest.approx(-1), ("a", "c"): pytest.approx(0), ("b", "c"): pytest.approx(0)}


def test_a_term_without_gradient_has_norm_zero_and_no_cosine():
    norms, cosines = term_gradients.compared({"a": {"w": jnp.zeros(2)}, "b": {"w": jnp.ones(2)}})
    assert norms["a"] == 0
    assert np.isnan(cosines["a", "b"])


def test_players_that_move_together_are_measured_each_and_those_without_parameters_not():
    def terms(players, batch, key):
        apart = players.student(batch["x"]) - players.adapter(batch["x"])
        return {"y": 0.5 * apart**2, "z": 3.0 * players.student(batch["x"]) + 0.0 * players.nothing(batch["x"])}

    modules = {
        "student": Weights((0.5, -1.0)),
        "adapter": Weights((1.0, 1.0)),
        "nothing": small.Function(lambda x: x[:, 0]),
    }
    method = Method(Move(("student", "adapter", "nothing"), terms))
    state = linear_state(method, modules, {"student": {"y": 1.0, "z": 1.0}})
    _, metrics = step_of(method, modules, gradients=True)(state, linear())
    x = np.float64(linear()["x"])
    y, z = x.T @ (x @ np.array([-0.5, -2.0])) / 4, 3 * x.mean(0)
    assert metrics["student/gradient/y"] == pytest.approx(np.linalg.norm(y), rel=1e-4)
    assert metrics["adapter/gradient/student/y"] == pytest.approx(np.linalg.norm(y), rel=1e-4)
    assert metrics["adapter/gradient/student/z"] == 0
    assert metrics["student/cosine/y,z"] == pytest.approx(y @ z / np.linalg.norm(y) / np.linalg.norm(z), abs=1e-4)
    assert np.isnan(metrics["adapter/cosine/student/y,z"])
    assert not [name for name in metrics if name.startswith("nothing/")]


def all_equal(states):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: np.array_equal(a, b), *states)))


@pytest.mark.parametrize("way", ["jit", "pmap", "vmap"])
def test_a_step_is_bitwise_the_same_with_and_without(way):
    """Three players, a repeated move, batch norm, dropout."""
    axis = parallel.BATCH_AXIS if way == "pmap" else None
    plain, measured = (step_of(axis_name=axis, gradients=gradients) for gradients in (False, True))
    state, batch = small.make_state(METHOD, MODULES), small.batch()
    if way == "vmap":
        runners = [
            members.side_by_side(step, seeds=1, arms=2, wrap=lambda step: parallel.jit(step, donate=False))
            for step in (plain, measured)
        ]
        results = [runner.step(runner.pack([state, state]), runner.pack_batch([batch, batch])) for runner in runners]
    else:
        wrap = {"jit": parallel.jit, "pmap": parallel.pmap}[way]
        results = [wrap(step, donate=False)(state, batch) for step in (plain, measured)]
    trees = [(result.params, result.opt_state, result.model_state) for result, _ in results]
    assert all_equal(trees)
    without, beside = (metrics for _, metrics in results)
    assert all(np.array_equal(without[name], beside[name]) for name in without)
    more = set(beside) - set(without)
    assert {"student/gradient/ce", "student/cosine/ce,kd", "discriminator/gradient/real"} <= more
    assert all(term_gradients.parsed(name) for name in more)
    assert all(np.isfinite(beside[name]).all() for name in more)


def test_over_devices_gradients_are_averaged_before_they_are_measured():
    """Each device alone has other norms; those of the whole batch are the closed form's."""
    method, modules = Method(Move("student", quadratic)), {"student": Weights((0.5, -1.0))}
    state, batch = linear_state(method, modules, {"student": {"y": 1.0, "z": 1.0}}), linear(3, 8)
    step = parallel.pmap(step_of(method, modules, axis_name=parallel.BATCH_AXIS, gradients=True), donate=False)
    _, metrics = step(state, batch)
    norms, cosine = by_hand(batch, np.array([0.5, -1.0]))
    assert metrics["student/gradient/y"] == pytest.approx(norms["y"], rel=1e-4)
    assert metrics["student/cosine/y,z"] == pytest.approx(cosine, abs=1e-4)


def test_several_steps_in_one_call_are_measured_in_the_last_one_and_change_nothing():
    method, modules = Method(Move("student", quadratic)), {"student": Weights((0.5, -1.0))}
    state = linear_state(method, modules, {"student": {"y": 1.0, "z": 0.5}})
    step, measured = step_of(method, modules), step_of(method, modules, gradients=True)
    batches = [linear(seed) for seed in range(3)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
    same, metrics = jax.jit(parallel.last_of_many(step, measuring(measured)))(state, together)
    assert all_equal([state.params, same.params])
    for batch in batches[:2]:
        state, _ = step(state, batch)
    _, expected = measured(state, batches[2])
    assert set(metrics) == {"student/gradient/y", "student/gradient/z", "student/cosine/y,z"}
    for name, value in metrics.items():
        assert value == pytest.approx(float(expected[name]), rel=1e-5)


def test_names_of_what_is_measured_are_told_from_others():
    assert term_gradients.parsed("student/gradient/kd") == ("student", "gradient", "kd")
    assert term_gradients.parsed("adapter/cosine/student/ce,kd") == ("adapter", "cosine", "student/ce,kd")
    for name in ("student/gradient", "student/kd", "lambda/student/kd", "lambda/gradient/kd"):
        assert term_gradients.parsed(name) is None
