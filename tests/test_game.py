"""Moves, methods and what a method sees of its players."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import players as small
from kdgan import game
from kdgan.game import Method, MissingPlayerError, Move


def ce_terms(players, batch, key):
    return {"ce": players.student(batch["image"]).sum(-1)}


def bound(module, *, train, moves, x, dtype=None):
    variables = dict(module.init(jax.random.key(0), x))
    params = variables.pop("params")
    return game.Player(
        "student", module, params, variables, key=jax.random.key(1), train=train, moves=moves, compute_dtype=dtype
    )


def test_the_first_named_player_leads_and_trained_keeps_the_order_of_moves():
    method = Method(Move(("student", "adapter"), ce_terms), Move("discriminator", ce_terms, repeats=2))
    assert method.moves[0].lead == "student"
    assert method.trained == ("student", "adapter", "discriminator")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Move((), ce_terms),
        lambda: Move(("student", "student"), ce_terms),
        lambda: Move("student", ce_terms, repeats=0),
        lambda: Method(),
    ],
)
def test_moves_and_methods_refuse_what_cannot_be_one(make):
    with pytest.raises(ValueError, match=r"Move|Method"):
        make()


def test_a_moving_player_records_batch_statistics_by_the_momentum_rule_and_others_do_not():
    x = small.batch()["image"]
    moving = bound(small.Net(), train=True, moves=True, x=x)
    watching = bound(small.Net(), train=True, moves=False, x=x)
    before = moving.model_state
    _, found = moving(x, features=("conv",))
    watching(x)
    expected = 0.9 * np.asarray(before["batch_stats"]["norm"]["mean"]) + 0.1 * np.mean(found["conv"], axis=(0, 1, 2))
    np.testing.assert_allclose(moving.model_state["batch_stats"]["norm"]["mean"], expected, atol=1e-6)
    assert small.largest_difference(watching.model_state, before) == 0


def test_a_frozen_player_runs_in_evaluation_mode_and_train_overrides():
    x = small.batch()["image"]
    frozen = bound(small.Net(dropout=0.5), train=False, moves=False, x=x)
    np.testing.assert_array_equal(frozen(x), frozen(x))
    trained = bound(small.Net(dropout=0.5), train=True, moves=True, x=x)
    assert np.abs(trained(x) - trained(x)).max() > 0  # each call draws its own numbers
    np.testing.assert_array_equal(trained(x, train=False), trained(x, train=False))


def test_stateless_calls_serve_inner_transforms_and_record_nothing():
    x = small.batch()["image"]
    player = bound(small.Net(), train=True, moves=True, x=x)
    before = player.model_state
    gradient = jax.grad(lambda x: player.stateless(x).sum())(jnp.asarray(x))
    assert gradient.shape == x.shape
    assert player.model_state is before


def test_features_are_taken_by_module_path_and_an_unknown_path_is_named():
    x = small.batch()["image"]
    player = bound(small.Net(), train=False, moves=False, x=x)
    logits, found = player(x, features=("conv", "head"))
    np.testing.assert_array_equal(found["head"], logits)
    assert found["conv"].shape == (8, 4, 4, 4)
    with pytest.raises(ValueError, match="no module at path 'block9'"):
        player(x, features=("block9",))


class Halves(nn.Module):
    """Two functions of a module, one of which has a training mode: what `method=` has to find out."""

    def setup(self):
        self.encoder, self.decoder = nn.Dense(2), nn.Dense(3)

    def __call__(self, x):
        return self.decode(self.encoder(x))

    def decode(self, z, *, train: bool = False):
        return self.decoder(z) + (1.0 if train else 0.0)

    def generate(self, z):
        return self.decode(z) * 2.0


def test_another_function_of_a_module_is_called_by_its_name_and_in_its_mode():
    x, z = jnp.ones((4, 5)), jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
    frozen, trained = (bound(Halves(), train=train, moves=train, x=x) for train in (False, True))
    decoder = jax.tree.map(np.float64, frozen.params["decoder"])
    plain = np.float64(z) @ decoder["kernel"] + decoder["bias"]
    np.testing.assert_allclose(frozen(z, method="decode"), plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trained(z, method="decode"), plain + 1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trained(z, method="decode", train=False), plain, rtol=1e-5, atol=1e-6)
    # A function without a mode is given none; whatever it calls takes its default.
    np.testing.assert_allclose(trained(z, method="generate"), 2 * plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trained.stateless(z, method="decode"), plain + 1, rtol=1e-5, atol=1e-6)
    _, found = trained(z, method="decode", features=("decoder",))
    np.testing.assert_allclose(found["decoder"], plain, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="Halves has no function 'encode'"):
        frozen(z, method="encode")


def test_inspection_initialises_a_player_by_its_first_call_whatever_is_called_after():
    def both(players, batch, key):
        z = players.student(batch["x"])[:, :2]
        return {"decoder": players.student(z, method="decode").sum(-1)}

    found = game.inspect_method(Method(Move("student", both)), {"student": Halves()}, {"x": jnp.ones((4, 5))})
    (given,), kwargs = found.inputs["student"]
    assert (given.shape, dict(kwargs)) == ((4, 5), {})
    assert found.outputs["student"].shape == (4, 3)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("decode", r"players.student\(..., method='decode'\) comes before any players.student\(...\)"),
        ("encode", r"players.student \(Halves\) cannot take inputs of shape \(4, 2\): Halves has no function 'encode'"),
    ],
)
def test_a_player_is_called_before_its_other_functions_are_and_unknown_ones_are_named(first, message):
    terms = lambda players, batch, key: {"decoder": players.student(batch["z"], method=first).sum(-1)}
    with pytest.raises(ValueError, match=message):
        game.inspect_method(Method(Move("student", terms)), {"student": Halves()}, {"z": jnp.ones((4, 2))})


def test_bfloat16_compute_keeps_float32_outputs_and_statistics():
    x = small.batch()["image"]
    full = bound(small.Net(), train=True, moves=True, x=x)
    half = bound(small.Net(), train=True, moves=True, x=x, dtype=jnp.bfloat16)
    a, b = full(x), half(x)
    assert b.dtype == jnp.float32
    assert half.model_state["batch_stats"]["norm"]["var"].dtype == jnp.float32
    assert 0 < np.abs(a - b).max() < 0.05  # eight bits of mantissa: computed in bfloat16, and not far off


def test_inspection_finds_terms_inputs_and_outputs_without_a_batch_of_numbers():
    def both(players, batch, key):
        s = players.student(batch["image"])
        return {"ce": s.sum(-1), "adv": players.discriminator(s).mean()}

    shapes = {
        "image": jax.ShapeDtypeStruct((8, 4, 4, 1), jnp.float32),
        "label": jax.ShapeDtypeStruct((8,), jnp.int32),
    }
    modules = {"student": small.Net(), "discriminator": small.Judge(), "unused": small.Net()}
    found = game.inspect_method(Method(Move("student", both)), modules, shapes)
    assert found.terms == {"student": ("ce", "adv")}
    assert set(found.inputs) == {"student", "discriminator"}
    assert found.inputs["discriminator"][0][0].shape == (8, 3)
    assert found.outputs["discriminator"].shape == (8,)


def test_a_missing_role_is_named_with_those_there_are():
    with pytest.raises(MissingPlayerError, match="needs a player 'student'; the players are: teacher"):
        game.inspect_method(Method(Move("teacher", ce_terms)), {"teacher": small.Net()}, small.batch())
    with pytest.raises(MissingPlayerError, match="moves 'student'; the players are: teacher"):
        game.inspect_method(Method(Move("student", ce_terms)), {"teacher": small.Net()}, small.batch())


def test_a_player_that_cannot_take_its_input_is_named_with_the_shape():
    def wrong(players, batch, key):
        return {"ce": players.student(batch["label"])}

    with pytest.raises(ValueError, match=r"players.student \(Net\) cannot take inputs of shape \(8,\)"):
        game.inspect_method(Method(Move("student", wrong)), {"student": small.Net()}, small.batch())


@pytest.mark.parametrize(
    ("terms", "message"), [({}, "at least one term"), ({"ce": jnp.ones((2, 2))}, r"shape \(2, 2\)")]
)
def test_terms_must_be_scalars_or_per_example(terms, message):
    with pytest.raises(ValueError, match=message):
        game.inspect_method(Method(Move("student", lambda p, b, k: terms)), {"student": small.Net()}, small.batch())


@pytest.mark.parametrize(
    ("lambdas", "message"),
    [
        ({"student": {"ce": 1.0}}, "lambdas.student.kd is missing"),
        ({"student": {"ce": 1.0, "kd": 1.0, "hint": 1.0}}, "lambdas.student.hint: the method has no such term"),
        ({"student": {"ce": 1.0, "kd": 1.0}, "teacher": {"ce": 1.0}}, "teacher is frozen"),
    ],
)
def test_terms_and_lambdas_must_match_both_ways(lambdas, message):
    with pytest.raises(ValueError, match=message):
        game.check_lambdas({"student": ("ce", "kd")}, lambdas, ("student",))


def test_names_have_keys_of_their_own():
    key = jax.random.key(0)
    data = [jax.random.key_data(game.fold_in_name(key, name)).tolist() for name in ("student", "teacher", "student")]
    assert data[0] == data[2] != data[1]
