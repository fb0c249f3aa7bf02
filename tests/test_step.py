"""One step: gradients, λ's, moves, averages and states, against numbers derived by hand or by plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import players as small
from kdgan import methods, parallel
from kdgan.game import Method, MissingPlayerError, Move
from kdgan.state import TrainState
from kdgan.step import make_eval_step, make_train_step


class Point(small.nn.Module):
    """One number w; the output is w·x."""

    @small.nn.compact
    def __call__(self, x):
        return self.param("w", small.nn.initializers.constant(2.0), ()) * x


def half_square(players, batch, key):
    return {"square": 0.5 * players.student(batch["x"]) ** 2, "line": players.student(batch["x"])}


def point_state(method, lambdas, optimizers, **options):
    names = set(method.trained)
    return TrainState.create(
        method,
        dict.fromkeys(names, Point()),
        optimizers,
        {"x": jnp.ones(2)},
        key=jax.random.key(0),
        lambdas=lambdas,
        **options,
    )


def test_an_objective_is_the_weighted_sum_of_the_terms_means():
    method, optimizers = Method(Move("student", half_square)), {"student": optax.sgd(0.5)}
    state = point_state(method, {"student": {"square": 3.0, "line": -1.0}}, optimizers)
    state, metrics = make_train_step(method, {"student": Point()}, optimizers)(state, {"x": jnp.array([1.0, 3.0])})
    # w = 2: square = mean(2, 18) = 10, line = mean(2, 6) = 4; d/dw = 3·2·mean(1, 9) − mean(1, 3) = 28
    assert metrics["student/square"] == 10
    assert metrics["student/line"] == 4
    assert metrics["student/loss"] == 3 * 10 - 4
    assert state.params["student"]["w"] == 2 - 0.5 * 28
    assert state.step == 1


def test_a_repeated_move_is_made_again_from_where_it_arrived():
    method, optimizers = Method(Move("student", half_square, repeats=3)), {"student": optax.sgd(0.1)}
    state = point_state(method, {"student": {"square": 1.0, "line": 0.0}}, optimizers)
    state, _ = make_train_step(method, {"student": Point()}, optimizers)(state, {"x": jnp.ones(2)})
    np.testing.assert_allclose(state.params["student"]["w"], 2 * 0.9**3, rtol=1e-6)
    assert state.step == 1


def test_later_moves_see_earlier_ones_and_only_the_movers_move():
    def toward(me, other):
        return lambda players, batch, key: {"apart": 0.5 * (players[me](batch["x"]) - players[other](batch["x"])) ** 2}

    method = Method(Move("a", toward("a", "b")), Move("b", toward("b", "a")))
    optimizers = {"a": optax.sgd(0.5), "b": optax.sgd(0.5)}
    state = point_state(
        method, {"a": {"apart": 1.0}, "b": {"apart": 1.0}}, optimizers, params={"b": {"w": jnp.float32(6.0)}}
    )
    state, _ = make_train_step(method, {"a": Point(), "b": Point()}, optimizers)(state, {"x": jnp.ones(1)})
    assert state.params["a"]["w"] == 4  # 2 + 0.5·(6 − 2)
    assert state.params["b"]["w"] == 5  # 6 + 0.5·(4 − 6), from the new a


def test_players_that_move_together_share_one_gradient_evaluation():
    def apart(players, batch, key):
        return {"apart": 0.5 * (players.a(batch["x"]) - players.b(batch["x"])) ** 2}

    method, optimizers = Method(Move(("a", "b"), apart)), {"a": optax.sgd(0.5), "b": optax.sgd(0.25)}
    state = point_state(method, {"a": {"apart": 1.0}}, optimizers, params={"b": {"w": jnp.float32(6.0)}})
    state, metrics = make_train_step(method, {"a": Point(), "b": Point()}, optimizers)(state, {"x": jnp.ones(1)})
    assert state.params["a"]["w"] == 4
    assert state.params["b"]["w"] == 5  # each by its own chain, both from where they were
    assert set(metrics) == {"a/apart", "a/loss"}


def test_a_scheduled_lambda_multiplies_the_leaf_and_is_logged():
    method, optimizers = Method(Move("student", half_square)), {"student": optax.sgd(0.0)}
    state = point_state(method, {"student": {"square": 1.0, "line": 10.0}}, optimizers)
    schedule = optax.linear_schedule(0.0, 1.0, 4)
    step = jax.jit(make_train_step(method, {"student": Point()}, optimizers, schedules={"student": {"line": schedule}}))
    seen = []
    for _ in range(3):
        state, metrics = step(state, {"x": jnp.ones(1)})
        seen.append(float(metrics["lambda/student/line"]))
    assert seen == [0.0, 2.5, 5.0]


def test_the_step_number_and_the_key_are_the_only_source_of_noise():
    def noise(players, batch, key):
        return {"square": players.student(batch["x"]) + jax.random.normal(key)}

    method, optimizers = Method(Move("student", noise)), {"student": optax.sgd(0.0)}
    step = jax.jit(make_train_step(method, {"student": Point()}, optimizers))
    state = point_state(method, {"student": {"square": 1.0}}, optimizers)
    first = [float(step(state, {"x": jnp.ones(1)})[1]["student/square"]) for _ in range(2)]
    later = float(step(step(state, {"x": jnp.ones(1)})[0], {"x": jnp.ones(1)})[1]["student/square"])
    assert first[0] == first[1] != later


def test_moving_average_follows_its_recursion():
    method, optimizers = Method(Move("student", half_square)), {"student": optax.sgd(0.1)}
    state = point_state(method, {"student": {"square": 1.0, "line": 0.0}}, optimizers, ema=("student",))
    step = jax.jit(make_train_step(method, {"student": Point()}, optimizers, ema={"student": 0.5}))
    w, average = 2.0, 2.0
    for n in range(12):
        state, _ = step(state, {"x": jnp.ones(1)})
        w *= 0.9
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * w
    np.testing.assert_allclose(state.ema["student"]["w"], average, rtol=1e-5)
    assert state.ema_state == {}


def test_the_moving_average_has_batch_statistics_of_its_own():
    modules = {"student": small.Net(dropout=0.0)}
    method = Method(
        Move("student", lambda players, batch, key: {"square": players.student(batch["image"]).sum(1) ** 2})
    )
    optimizers = {"student": optax.sgd(0.01)}
    state = small.make_state(method, modules, optimizers=optimizers, example=small.batch(), ema=("student",))
    step = jax.jit(make_train_step(method, modules, optimizers, ema={"student": 0.5}))
    average = state.model_state["student"]
    for n in range(3):
        state, _ = step(state, small.batch())
        decay = min(0.5, (1 + n) / (10 + n))
        mixed = lambda a, b, decay=decay: decay * a + (1 - decay) * b
        average = jax.tree.map(mixed, average, state.model_state["student"])
    assert small.largest_difference(average, state.model_state["student"]) > 1e-4
    assert small.largest_difference(average, state.ema_state["student"]) < 1e-6


def test_eval_step_runs_in_evaluation_mode():
    modules, example = {"student": small.Net(dropout=0.5)}, small.batch()
    variables = dict(modules["student"].init(jax.random.key(0), example["image"]))
    own = {"params": variables["params"], "model_state": {"batch_stats": variables["batch_stats"]}}
    step = make_eval_step(modules, lambda outputs, batch: outputs["student"])
    expected = modules["student"].apply(variables, example["image"])
    np.testing.assert_array_equal(step({"student": own}, example), expected)


def test_a_frozen_player_is_bitwise_unchanged_and_has_no_optimizer_state():
    method, modules = methods.build("kd"), {"student": small.Plain(), "teacher": small.Net()}
    state = small.make_state(method, modules)
    before = jax.device_get((state.params["teacher"], state.model_state["teacher"]))
    step = parallel.jit(make_train_step(method, modules, {"student": optax.adam(0.1)}))
    state = small.make_state(method, modules, optimizers={"student": optax.adam(0.1)})
    for i in range(3):
        state, _ = step(state, small.batch(seed=i))
    assert set(state.opt_state) == {"student"}
    for a, b in zip(
        jax.tree.leaves(before), jax.tree.leaves((state.params["teacher"], state.model_state["teacher"])), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_state_refuses_what_does_not_fit_before_anything_compiles():
    method, modules = methods.build("kd"), {"student": small.Plain(), "teacher": small.Net()}
    lambdas, example = {"student": {"ce": 1.0, "kd": 1.0}}, small.batch()
    make = lambda **changes: TrainState.create(
        **{
            "method": method,
            "modules": modules,
            "optimizers": {"student": optax.sgd(1.0)},
            "batch": example,
            "key": jax.random.key(0),
            "lambdas": lambdas,
            **changes,
        }
    )
    with pytest.raises(ValueError, match="'teacher' is frozen in this method: pass its parameters"):
        make()
    with pytest.raises(ValueError, match=r"optimizers for \['teacher'\], but the method trains \['student'\]"):
        make(optimizers={"teacher": optax.sgd(1.0)})
    with pytest.raises(MissingPlayerError):
        make(modules={"student": small.Plain()})
    wrong = small.Net(width=7).init(jax.random.key(0), example["image"])["params"]
    with pytest.raises(
        ValueError, match=r"parameters given for Net do not fit it: conv/bias is \(7,\), expected \(4,\)"
    ):
        make(params={"teacher": wrong})


def test_adding_a_player_changes_no_other_players_initialisation():
    alone = small.make_state(methods.build("supervised"), {"student": small.Net()})
    beside = small.make_state(methods.build("joint"), {"student": small.Net(), "teacher": small.Net()})
    assert small.largest_difference(alone.params["student"], beside.params["student"]) == 0
    assert small.largest_difference(beside.params["teacher"], beside.params["student"]) > 0
