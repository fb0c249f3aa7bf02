"""RMSE, MAE and R² against scikit-learn; padding and the cut into batches change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from kdgan.metrics import regression

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(150, 70, size=(30, 2)).astype(np.float32)
OUTPUTS = TRUTH + RNG.normal(0, 40, size=(30, 2)).astype(np.float32)


def total(outputs, numbers, mask=None, **settings):
    mask = np.ones(len(outputs), bool) if mask is None else mask
    return jax.device_get(regression.sums(jnp.asarray(outputs), jnp.asarray(numbers), jnp.asarray(mask), **settings))


def test_summary_is_scikit_learns():
    found = regression.summarise(total(OUTPUTS[:, :1], TRUTH[:, 0]))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(TRUTH[:, 0], OUTPUTS[:, 0]), rel=1e-6)
    assert found["mae"] == pytest.approx(mean_absolute_error(TRUTH[:, 0], OUTPUTS[:, 0]), rel=1e-6)
    assert found["r2"] == pytest.approx(r2_score(TRUTH[:, 0], OUTPUTS[:, 0]), rel=1e-5)
    assert 0.4 < found["r2"] < 0.95


def test_several_numbers_count_alike():
    found = regression.summarise(total(OUTPUTS, TRUTH))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((OUTPUTS - TRUTH) ** 2)), rel=1e-6)
    assert found["r2"] == pytest.approx(r2_score(TRUTH, OUTPUTS), rel=1e-5)


def test_predicting_the_mean_has_an_r2_of_0_and_constant_numbers_have_none():
    mean = np.full((30, 1), TRUTH[:, 0].mean())
    assert regression.summarise(total(mean, TRUTH[:, 0]))["r2"] == pytest.approx(0, abs=1e-5)
    assert np.isnan(regression.summarise(total(np.zeros((3, 1), np.float32), np.ones(3, np.float32)))["r2"])


def test_a_centre_keeps_the_digits_of_numbers_far_from_zero():
    """Years: mean 2,000, standard deviation 1."""
    years = (2000 + RNG.normal(size=(50, 1))).astype(np.float32)
    guesses = years + RNG.normal(0, 0.5, size=(50, 1)).astype(np.float32)
    expected = r2_score(np.float64(years), np.float64(guesses))
    assert regression.summarise(total(guesses, years, centre=2000.0))["r2"] == pytest.approx(expected, rel=1e-5)


def test_padding_and_the_cut_into_batches_change_nothing():
    padded = np.concatenate([OUTPUTS, np.full((2, 2), np.nan, np.float32)])
    truth = np.concatenate([TRUTH, np.full((2, 2), np.inf, np.float32)])
    mask = np.arange(32) < 30
    added = jax.tree.map(np.add, *[total(padded[s], truth[s], mask[s]) for s in (slice(0, 11), slice(11, 32))])
    assert regression.summarise(added) == pytest.approx(regression.summarise(total(OUTPUTS, TRUTH)), rel=1e-5)


def test_members_map():
    mapped = jax.vmap(regression.sums, in_axes=(0, None, None))
    found = regression.summarise(
        jax.device_get(mapped(jnp.stack([OUTPUTS, -OUTPUTS]), jnp.asarray(TRUTH), jnp.ones(30, bool)))
    )
    assert found["rmse"].shape == (2,)
    assert found["rmse"][0] == pytest.approx(regression.summarise(total(OUTPUTS, TRUTH))["rmse"], rel=1e-6)


def test_numbers_of_another_shape():
    with pytest.raises(ValueError, match=r"numbers has shape \(4, 1\); numbers for outputs \(4, 3\)"):
        total(np.zeros((4, 3), np.float32), np.zeros(4, np.float32))
