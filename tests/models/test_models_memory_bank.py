"""CRD's memory bank: what it holds and computes after calls, over devices, and by published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import parity_figures
import players as small
from kdgan import models, parallel
from kdgan.game import Method, Move
from kdgan.losses import contrastive
from kdgan.losses.logits import kl_divergence
from kdgan.step import make_train_step

INDEX = jnp.array([4, 0, 7, 2])
ROWS = jnp.array([[4, 1, 9], [0, 3, 3], [7, 5, 1], [2, 8, 6]])


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = draw(0, 4, 3), draw(1, 4, 5)


@pytest.fixture(scope="module")
def begun():
    module = models.build("memory_bank", examples=10, features=6, temperature=0.5)
    return module, module.init(jax.random.key(0), S, T, INDEX, ROWS)


def written(module, variables, *given):
    loss, changes = module.apply(variables, *given, train=True, mutable=["memory"])
    return loss, {**variables, **changes}


def embedded(variables, name, feature):
    layer = variables["params"][f"embed_{name}"]
    return contrastive.unit(feature @ layer["kernel"] + layer["bias"][None])


def test_it_begins_as_published(begun):
    module, variables = begun
    assert module.over_devices
    banks = variables["memory"]
    assert banks["student"].shape == banks["teacher"].shape == (10, 6)
    assert not np.array_equal(banks["student"], banks["teacher"])
    assert int(banks["begun"]) == 0
    assert {name: tree["kernel"].shape for name, tree in variables["params"].items()} == {
        "embed_student": (3, 6),
        "embed_teacher": (5, 6),
    }
    large = models.build("memory_bank", examples=500, features=6).init(jax.random.key(0), S, T, INDEX, ROWS)["memory"]
    bound = 1 / np.sqrt(6 / 3)
    assert 0.99 * bound < np.abs(large["teacher"]).max() <= bound
    np.testing.assert_allclose(np.mean(np.sum(large["teacher"] ** 2, 1)), 1, atol=0.1)


def test_it_writes_the_rows_of_the_batch_and_its_constants_once(begun):
    module, variables = begun
    _, after = written(module, variables, S, T, INDEX, ROWS)
    for name, feature in (("student", S), ("teacher", T)):
        old, new = variables["memory"][name], after["memory"][name]
        moved = contrastive.moved_rows(old[INDEX], embedded(variables, name, feature))
        np.testing.assert_allclose(new[INDEX], moved, rtol=1e-5)
        others = np.setdiff1d(np.arange(10), INDEX)
        np.testing.assert_array_equal(new[others], old[others])
    scores = contrastive.bank_scores(
        embedded(variables, "student", S), variables["memory"]["teacher"][ROWS], temperature=0.5
    )
    np.testing.assert_allclose(after["memory"]["log_z"][0], contrastive.log_normaliser(scores, 10), rtol=1e-5)
    loss, again = written(module, after, 2 * S[::-1], T, INDEX, ROWS)
    np.testing.assert_array_equal(again["memory"]["log_z"], after["memory"]["log_z"])
    assert int(again["memory"]["begun"]) == 1
    scores = contrastive.bank_scores(embedded(after, "teacher", T), after["memory"]["student"][ROWS], temperature=0.5)
    of_teacher = contrastive.nce(scores, after["memory"]["log_z"][1], examples=10)
    assert loss.shape == (4,)
    assert (np.asarray(loss) > np.asarray(of_teacher)).all()


def test_in_evaluation_mode_the_loss_is_the_same_and_nothing_is_written(begun):
    module, variables = begun
    loss, changes = module.apply(variables, S, T, INDEX, ROWS, mutable=["memory"])
    np.testing.assert_array_equal(loss, written(module, variables, S, T, INDEX, ROWS)[0])
    jax.tree.map(np.testing.assert_array_equal, changes["memory"], variables["memory"])


def test_an_example_that_stands_twice_is_written_by_its_first_and_one_outside_by_none(begun):
    module, variables = begun
    _, variables = written(module, variables, S, T, INDEX, ROWS)  # else the constants would be NaN, too
    twice = jnp.array([4, 4, 10, -1])
    loss, after = written(module, variables, S, T, twice, jnp.concatenate([twice[:, None], ROWS[:, 1:]], axis=1))
    assert np.isnan(loss).tolist() == [False, False, True, True]
    _, once = written(module, variables, S[:1], T[:1], twice[:1], ROWS[:1])
    np.testing.assert_allclose(after["memory"]["student"], once["memory"]["student"], rtol=1e-6)


def test_devices_that_split_a_batch_hold_the_same(begun):
    module, variables = begun
    _, whole = written(module, variables, S, T, INDEX, ROWS)
    split = module.clone(axis_name="batch")
    halves = [x.reshape(2, 2, *x.shape[1:]) for x in (S, T, INDEX, ROWS)]
    loss, shared = jax.vmap(lambda *given: written(split, variables, *given), axis_name="batch")(*halves)
    for name in ("student", "teacher", "log_z"):
        for device in range(2):
            np.testing.assert_allclose(shared["memory"][name][device], whole["memory"][name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss.reshape(-1), written(module, variables, S, T, INDEX, ROWS)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(examples=0), "MemoryBank.examples = 0"),
        (dict(momentum=1.0), "MemoryBank.momentum = 1.0"),
        (dict(temperature=0.0), "MemoryBank.temperature = 0.0"),
    ],
)
def test_fields_that_make_no_bank(fields, words):
    with pytest.raises(ValueError, match=words):
        models.build("memory_bank", **fields)


@pytest.mark.shared
def test_values_gradients_and_banks_are_those_of_published_code(shared_data_dir):
    z, figures, preferred = parity_figures.load(shared_data_dir, "crd")
    module = models.build("memory_bank", examples=40, features=8)
    layer = lambda name, of: {
        "kernel": of[f"{name}.linear.weight"].T,
        "bias": of[f"{name}.linear.bias"],
    }
    params = {f"embed_{name}": layer(f"param.crd.embed_{name[0]}", z) for name in ("student", "teacher")}
    variants = {
        "repdistiller_first_call": {"log_z": jnp.zeros(2), "begun": jnp.int32(0)},
        "repdistiller_fixed_z": {"log_z": jnp.log(jnp.array([60.0, 90.0])), "begun": jnp.int32(1)},
    }
    assert set(variants) == preferred
    for variant, constants in variants.items():
        memory = {"student": z["in.memory_student"], "teacher": z["in.memory_teacher"], **constants}
        call = lambda params, student, memory=memory: written(
            module,
            {"params": params, "memory": memory},
            student,
            z["in.teacher"],
            z["in.index"],
            z["in.contrast_index"],
        )
        gradients = {
            f"embed_{name}": layer(f"grad64.{variant}.param.crd.embed_{name[0]}", figures)
            for name in ("student", "teacher")
        }
        parity_figures.agree(
            figures,
            variant,
            lambda params, student, call=call: call(params, student)[0],
            {"params": params, "student": z["in.student"]},
            value_rtol=1e-6,
            gradient_tolerance=1e-6,
            expected={"params": gradients},
        )
        after = jax.jit(call)(params, z["in.student"])[1]["memory"]
        for name in ("student", "teacher"):
            np.testing.assert_allclose(after[name], figures[f"aux.{variant}.memory_{name}_after"], atol=1e-6)
        np.testing.assert_allclose(np.exp(after["log_z"]), figures[f"aux.{variant}.z_student_teacher"], rtol=2e-6)


# As a player, beside a learned temperature.


def distilled(players, batch, key):
    s, t = players.student(batch["image"]), players.teacher(batch["image"])
    τ = players.temperature(0.5)
    return {"kd": kl_divergence(s, t, temperature=τ), "crd": players.bank(s, t, batch["place"], batch["rows"])}


def test_one_move_trains_student_bank_and_temperature_and_devices_agree():
    method = Method(Move(("student", "bank", "temperature"), distilled))
    modules = {
        "student": small.Plain(),
        "teacher": small.Plain(7),
        "bank": models.build("memory_bank", examples=20, features=4),
        "temperature": models.build("temperature"),
    }
    place = np.arange(3, 11, dtype=np.int32)
    rows = np.concatenate([place[:, None], np.random.default_rng(0).integers(0, 20, (8, 5))], 1).astype(np.int32)
    batch = {**small.batch(), "place": place, "rows": rows}
    before = small.make_state(method, modules, example=batch)

    def stepped(**bank):
        players = {**modules, "bank": modules["bank"].clone(**bank)}
        return make_train_step(method, players, {name: optax.sgd(0.1) for name in method.trained}, **bank)

    after, metrics = parallel.jit(stepped(), donate=False)(before, batch)
    assert all(np.isfinite(value) for value in metrics.values())
    moved = {
        name: small.largest_difference(before.params[name], after.params[name])
        for name in ("student", "teacher", "bank", "temperature")
    }
    assert moved.pop("teacher") == 0
    assert all(difference > 0 for difference in moved.values()), moved
    banks = [np.asarray(state.model_state["bank"]["memory"]["student"]) for state in (before, after)]
    assert np.flatnonzero((banks[0] != banks[1]).any(1)).tolist() == place.tolist()
    over_devices, _ = parallel.pmap(stepped(axis_name=parallel.BATCH_AXIS), donate=False)(before, batch)
    for part in ("params", "model_state"):
        assert small.largest_difference(getattr(after, part), getattr(over_devices, part)) < 1e-5
