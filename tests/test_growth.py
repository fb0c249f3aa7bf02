"""A head that grows: the old classes' logits are those of the smaller network, the new rows are as fresh as without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from configs import common
from kdgan import models
from kdgan.growth import grow
from kdgan.run import build, starts
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve
from kdgan.transfer import transfer

IMAGES = np.random.default_rng(0).random((6, 8, 8, 1), np.float32)


def made(name, classes, seed, **fields):
    module = models.build(name, num_classes=classes, **fields)
    variables = module.init(jax.random.key(seed), jnp.asarray(IMAGES))
    return module, jax.tree.map(lambda leaf: leaf + 0.01, dict(variables))  # biases and statistics that are not zero


@pytest.mark.parametrize(
    ("name", "fields"), [("mlp", dict(hidden=(7,))), ("vgg", dict(features=(4, 4, 4, 4, 4), pools=1))]
)
def test_the_old_classes_logits_stay_and_the_new_rows_are_fresh(name, fields):
    (small, given), (large, fresh) = (made(name, classes, seed, **fields) for classes, seed in ((5, 1), (8, 2)))
    grown = transfer(given, fresh, how="grow")
    before, after = (module.apply(own, jnp.asarray(IMAGES)) for module, own in ((small, given), (large, grown)))
    np.testing.assert_allclose(after[:, :5], before, rtol=1e-6, atol=1e-6)
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(grown["params"]["head"][leaf][..., 5:], fresh["params"]["head"][leaf][..., 5:])
    inside = lambda tree: {kind: {n: v for n, v in own.items() if n != "head"} for kind, own in tree.items()}
    jax.tree.map(np.testing.assert_array_equal, inside(grown), inside(given))


def test_it_works_under_vmap_over_members_and_on_shapes():
    stacked = {"kernel": jnp.arange(12.0).reshape(2, 3, 2)}
    like = {"kernel": jnp.full((2, 3, 4), -1.0)}
    found = jax.vmap(grow)(stacked, like)["kernel"]
    np.testing.assert_array_equal(found[..., :2], stacked["kernel"])
    assert (np.asarray(found[..., 2:]) == -1).all()
    assert jax.eval_shape(grow, stacked["kernel"], like["kernel"]).shape == (2, 3, 4)


SMALL = {"dense1": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}, "head": {"kernel": np.zeros((3, 2))}}


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            {"dense1": {"kernel": (4, 5), "bias": (5,)}, "head": {"kernel": (5, 4)}},
            r"head/kernel has shape \(5, 4\), and \(3, 2\) in the smaller network; a longer last axis is accepted",
        ),
        ({"head": {"kernel": (3, 1)}}, r"head/kernel has shape \(3, 1\), and \(3, 2\) in the smaller"),
        ({"head": {"kernel": (1, 3, 2)}}, r"head/kernel has shape \(1, 3, 2\)"),
        ({"tail": {"bias": (3,)}}, r"tail/bias \(3,\) has no counterpart in the smaller network"),
    ],
)
def test_what_is_more_than_a_longer_head_is_refused(like, message):
    with pytest.raises(ValueError, match=message):
        grow(SMALL, jax.tree.map(jnp.ones, like, is_leaf=lambda leaf: isinstance(leaf, tuple)))


def test_a_shape_has_no_fresh_values():
    with pytest.raises(ValueError, match="it is a shape without fresh values to keep"):
        grow(SMALL, {"head": {"kernel": jax.ShapeDtypeStruct((3, 4), jnp.float32)}})
    with pytest.raises(ValueError, match=r"selects nothing; leave out depth, scale \(= 0.5\) and missing"):
        transfer(SMALL, SMALL, how="grow", scale=0.5)


def in_steps(**start):
    """A student of five classes, then one of ten."""
    config = tiny.config(seeds=1)
    del config.players["teacher"]
    config.player.evaluate = "nothing"
    config.stage.lambdas = dict(student=dict(ce=1.0))
    config.stages = common.named(
        first=dict(data=dict(classes=(0, 1, 2, 3, 4)), players=dict(student=dict(model_args=dict(num_classes=5)))),
        second=dict(start=dict(student=dict(stage="first", **start))),
    )
    return config


def test_a_run_starts_a_student_of_ten_classes_from_its_own_of_five():
    run = resolve(in_steps(transfer="grow"))
    (first,), (second,) = build.all_programs(run, run_inputs.load(run)).values()
    small = first.local_modules["student"]
    assert (small.num_classes, second.local_modules["student"].num_classes) == (5, 10)
    given = small.init(jax.random.key(3), jnp.asarray(IMAGES))
    state, fresh = (
        starts.create_state(second, run.stages[1], "main", 0, started) for started in ({"student": dict(given)}, {})
    )
    head, new = (own.params["student"]["head"]["kernel"] for own in (state, fresh))
    np.testing.assert_array_equal(head[:, :5], given["params"]["head"]["kernel"])
    np.testing.assert_array_equal(head[:, 5:], new[:, 5:])


def test_without_it_the_message_names_it():
    run = resolve(in_steps())
    with pytest.raises(ConfigError, match=r"start\.student: .*from one with fewer classes, take transfer='grow'$"):
        build.all_programs(run, run_inputs.load(run))
