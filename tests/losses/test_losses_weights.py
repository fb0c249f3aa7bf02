"""The distance between parameters: by hand, zero at what was transferred, gradients on both sides, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses.weights import weight_distance
from kdgan.transfer import transfer


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


SMALL = {"a": {"bias": jnp.array([1.0, 2.0])}, "b": {"kernel": jnp.array([[3.0]])}}
WIDE = {"a": {"bias": jnp.array([0.0, 9.0, 4.0, 9.0])}, "b": {"kernel": jnp.array([[1.0, 9.0], [9.0, 9.0]])}}


def test_by_hand_over_all_numbers_together():
    # Selected: 0 and 4 of the bias, 1 of the kernel. (1 + 4 + 4) / 3, not the mean (2.5 + 4)/2 of leaf means.
    np.testing.assert_allclose(weight_distance(SMALL, WIDE), 3.0, rtol=1e-6)
    # Leading: 0 and 9. (1 + 49 + 4) / 3.
    np.testing.assert_allclose(weight_distance(SMALL, WIDE, how="first"), 18.0, rtol=1e-6)


def test_networks_of_equal_shapes_have_the_mean_squared_difference():
    first, second = ({"d": {"kernel": draw(s, 3, 4), "bias": draw(s + 9, 4)}} for s in (0, 1))
    flat = lambda tree: np.concatenate([np.float64(leaf).ravel() for leaf in jax.tree.leaves(tree)])
    expected = np.mean((flat(first) - flat(second)) ** 2)
    np.testing.assert_allclose(weight_distance(first, second), expected, rtol=1e-6)
    np.testing.assert_allclose(weight_distance(second, first), expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["uniform", "first"])
def test_zero_at_transferred_parameters_and_nowhere_near(how):
    wide = {f"block{i}": {"kernel": draw(i, 6, 5)} for i in range(1, 5)}
    like = {f"block{i}": {"kernel": jnp.zeros((4, 3))} for i in range(1, 3)}
    small = transfer(wide, like, how=how, depth=how)
    assert weight_distance(small, wide, how=how, depth=how) == 0
    moved = jax.tree.map(lambda leaf: leaf + 0.5, small)
    np.testing.assert_allclose(weight_distance(moved, wide, how=how, depth=how), 0.25, rtol=1e-5)


def test_gradients_reach_both_sides_and_only_the_selected_entries():
    to_small, to_wide = jax.grad(weight_distance, argnums=(0, 1))(SMALL, WIDE)
    # 2·(small − selected) / 3, and its negative.
    np.testing.assert_allclose(to_small["a"]["bias"], np.array([2.0, -4.0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(to_small["b"]["kernel"], [[4 / 3]], rtol=1e-6)
    np.testing.assert_allclose(to_wide["a"]["bias"], np.array([-2.0, 0.0, 4.0, 0.0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(to_wide["b"]["kernel"], [[-4 / 3, 0], [0, 0]], rtol=1e-6)


def test_low_precision_parameters_are_compared_in_float32():
    small = {"bias": jnp.ones(4, jnp.bfloat16)}
    wide = {"bias": jnp.full(8, 1 + 2.0**-10)}  # rounds to 1 in bfloat16
    found = jax.jit(weight_distance)(small, wide)
    assert found.dtype == jnp.float32
    assert found.shape == ()
    np.testing.assert_allclose(found, 2.0**-20, rtol=1e-5)


def test_the_first_path_without_a_counterpart_is_named():
    small = {"a": SMALL["a"], "c": {"kernel": jnp.zeros((1, 1))}, "d": {"bias": jnp.zeros(1)}}
    with pytest.raises(ValueError, match=r"^c/kernel \(1, 1\) has no counterpart"):
        weight_distance(small, WIDE)
    with pytest.raises(ValueError, match=r"^a/bias has shape \(4,\) in the narrow network and \(2,\)"):
        weight_distance(WIDE, SMALL)


def test_options_that_are_not_accepted():
    with pytest.raises(ValueError, match="how is 'low_rank'; it accepts 'uniform', 'first'"):
        weight_distance(SMALL, WIDE, how="low_rank")
    with pytest.raises(ValueError, match="small has no parameters"):
        weight_distance({}, WIDE)
