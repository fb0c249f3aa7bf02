"""Random parts of images, scaled: against SciPy's bilinear interpolation, and by what a ramp tells of the window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.data.resized_crop import resized_crop


def ramp(side):
    """Rows and columns as two channels: what a part shows of them is where it lies."""
    places = jnp.arange(side, dtype=jnp.float32)
    return jnp.stack(jnp.meshgrid(places, places, indexing="ij"), axis=-1)


def test_the_whole_image_is_itself():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7, 2)), jnp.float32)
    found = resized_crop(jax.random.key(0), image, least=1.0, ratio=1.0)
    np.testing.assert_allclose(found, image, rtol=1e-5, atol=1e-5)


def test_windows_lie_inside_and_have_the_areas_and_ratios_that_are_asked_for():
    side = 32
    image, keys = ramp(side), jax.random.split(jax.random.key(1), 200)
    parts = jax.jit(jax.vmap(lambda key: resized_crop(key, image, least=0.25, most=0.5)))(keys)
    assert parts.shape == (200, side, side, 2)
    assert parts.min() >= -1e-3
    assert parts.max() <= side - 1 + 1e-3
    inner = np.asarray(parts[:, side // 4 : -side // 4, side // 4 : -side // 4])
    # Inside of the image one pixel of the part is h/side rows, and w/side columns, of it.
    height = inner[:, 1:, :, 0] - inner[:, :-1, :, 0]
    width = inner[:, :, 1:, 1] - inner[:, :, :-1, 1]
    np.testing.assert_allclose(height, np.broadcast_to(height[:, :1, :1], height.shape), atol=1e-3)
    shares, ratios = height[:, 0, 0] * width[:, 0, 0], height[:, 0, 0] / width[:, 0, 0]
    assert shares.min() >= 0.25 - 1e-2
    assert shares.max() <= 0.5 + 1e-2
    assert shares.std() > 0.05
    assert ratios.min() >= 0.75 - 1e-2
    assert ratios.max() <= 4 / 3 + 1e-2
    assert np.ptp(inner[:, 0, 0, 0]) > side / 4  # at many places


def test_gradients_reach_the_image():
    image = jnp.ones((6, 6, 1))
    gradient = jax.grad(lambda image: resized_crop(jax.random.key(2), image).sum())(image)
    np.testing.assert_allclose(gradient.sum(), 36.0, rtol=1e-4)  # each pixel of the part is a mean of some of the image


@pytest.mark.parametrize("wrong", [{"least": 0.0}, {"most": 1.5}, {"least": 0.9, "most": 0.5}, {"ratio": 0.5}])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="0 < least <= most <= 1 <= ratio"):
        resized_crop(jax.random.key(0), jnp.zeros((4, 4, 1)), **wrong)
