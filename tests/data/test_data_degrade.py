"""Degradations: their distributions, their words, windows bitwise, what one trained for another is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import random as jax_random
from PIL import Image
from scipy import stats

from kdgan.data import degrade


def test_threefry_is_jaxs():
    words = jnp.array([123, 456], jnp.uint32)
    one, two = jnp.arange(9, dtype=jnp.uint32), jnp.arange(9, dtype=jnp.uint32) * 77
    expected = jax_random.threefry_2x32(words, jnp.concatenate([one, two]))
    np.testing.assert_array_equal(jnp.concatenate(degrade.threefry(words, one, two)), expected)


def noisy(spec, level, shape=(60, 60, 3), count=4):
    image = np.full((count, *shape), level, np.uint8)
    words = degrade.fixed("test", np.arange(count))
    return np.asarray(jax.jit(degrade.of(spec).noisy)(words, image)), image, words


def test_gaussian_noise_is_normal_unclipped_and_independent():
    made, *_ = noisy({"gaussian": {"sigma": 25.0}}, 250)
    standard = (made.astype(np.float64) - 250 / 255) / (25 / 255)
    assert stats.kstest(standard.reshape(-1), "norm").pvalue > 1e-3
    assert made.max() > 1.1
    for axis in (0, 1, 2, 3):  # of neighbours in every direction, and of other images
        first, second = (np.take(standard, range(i, standard.shape[axis] - 1 + i), axis).reshape(-1) for i in (0, 1))
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(first.size)


@pytest.mark.parametrize("peak", [0.5, 30.0, 2_000.0])
def test_poisson_noise_counts_photons(peak):
    for level in (0, 3, 128, 255):
        counts = noisy({"poisson": {"peak": peak}}, level)[0].astype(np.float64).reshape(-1) * peak
        np.testing.assert_allclose(counts, np.round(counts), atol=0.01)
        rate = peak * level / 255
        assert counts.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate / counts.size) + 1e-9)
        assert counts.var() == pytest.approx(rate, rel=0.06, abs=1e-9)
        if rate:
            at = np.unique(np.round(counts))
            shares = np.array([np.mean(np.round(counts) <= k) for k in at])
            assert np.abs(shares - stats.poisson.cdf(at, rate)).max() < 2 / np.sqrt(counts.size)


@pytest.mark.parametrize("peak", [0.5, 30.0, 2_000.0])
def test_the_last_words_of_bits_are_quantiles_of_the_distribution_like_all_others(peak):
    levels = np.arange(256)
    for word in (1, 2**31, 2**32 - 2, 2**32 - 1):
        counts = degrade._counts(peak, jnp.asarray(levels, jnp.uint8), jnp.full(256, word, jnp.uint32))
        expected = stats.poisson.ppf((min(word, 2**32 - 2) + 1) / 2**32, peak * levels / 255)
        np.testing.assert_array_equal(counts, expected)
        assert counts[0] == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"gaussian": {"sigma": 25.0}},
        {"gaussian": {"sigma": (0, 55.0)}},
        {"poisson": {"peak": 30.0}},
        {"poisson": {"peak": 30.0}, "gaussian": {"sigma": 5.0}},
    ],
)
def test_a_window_of_the_noisy_image_is_bitwise_the_noisy_window(spec):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 37, 29, 3), np.uint8)
    words = degrade.fresh(np.array([5, 2**32 - 1], np.uint32), np.arange(3))
    degradation = degrade.of(spec)
    whole = np.asarray(degradation.noisy(words, image))
    np.testing.assert_array_equal(jax.jit(degradation.noisy)(words, image), whole)
    for height, width in ((1, 1), (8, 8), (13, 7)):
        origin = np.stack([rng.integers(0, side, 3) for side in (37 - height, 29 - width)], -1).astype(np.int32)
        for call in (degradation.noisy, jax.jit(degradation.noisy)):
            made = call(words, _cut(image, origin, height, width), origin)
            np.testing.assert_array_equal(made, _cut(whole, origin, height, width))


def _cut(images, origin, height, width):
    return np.stack([x[top:, left:][:height, :width] for x, (top, left) in zip(images, origin, strict=True)])


def test_a_blind_range_is_drawn_by_image_and_evenly():
    made, image, _ = noisy({"gaussian": {"sigma": (0, 50.0)}}, 128, (24, 24, 1), 300)
    widths = 255 * (made - image / np.float32(255)).std((1, 2, 3))
    assert stats.kstest(widths / 50, "uniform").pvalue > 1e-3


def test_words_tell_splits_rows_and_numbers_apart():
    rows = np.arange(50)
    several = [degrade.fixed(split, rows, number) for split in ("train", "test", "validation") for number in range(3)]
    several += [degrade.fresh(np.array([1, 2], np.uint32), rows, number) for number in range(2)]
    assert len(np.unique(np.concatenate(several), axis=0)) == 11 * 50


def test_what_a_player_trained_for_one_degradation_is_for_another():
    gaussian = lambda sigma, **more: {"gaussian": {"sigma": sigma}, **more}
    assert degrade.difference(gaussian(25), gaussian(25.0)) is None
    assert degrade.difference(gaussian((0, 55)), gaussian(25)) is None
    assert degrade.difference(gaussian((0, 55)), {}) is None
    assert degrade.difference(gaussian(25), gaussian((20, 30))) == (
        "it was trained for Gaussian noise of σ 25, here it is 20 to 30"
    )
    assert "scale 2, here it is 3" in degrade.difference(
        {"bicubic": {"scale": 2}}, {"bicubic": {"scale": 3, "trim": True}}
    )
    assert degrade.difference({"bicubic": {"scale": 2, "trim": True}}, {"bicubic": {"scale": 2}}) is None
    assert "peak 30, here it is none" in degrade.difference({"poisson": {"peak": 30}}, {})


@pytest.mark.shared
def test_noise_of_published_width_on_bsd68(shared_data_dir):
    """PSNR of σ 25, unclipped: 20.17 dB in expectation, −20·log10(25/255)."""
    folder = shared_data_dir.parent / "raw" / "denoise" / "BSD68"
    if not folder.is_dir():
        pytest.skip("there is no BSD68 beside the data sets")
    degradation = degrade.of({"gaussian": {"sigma": 25.0}})
    measured = []
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        image = np.asarray(Image.open(file))[None, ..., None]
        made = np.asarray(degradation.noisy(degrade.fixed("test", np.array([number])), image), np.float64)
        measured.append(-10 * np.log10(np.mean((made - image / 255) ** 2)))
    assert len(measured) == 68
    assert 20.165 <= np.mean(measured) <= 20.195
