"""Losses against the figures that their authors' code gave, which lie outside of the project."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity_figures
from kdgan.losses import images

pytestmark = pytest.mark.shared


def test_total_variation_is_deep_inversions_in_value_and_gradient(shared_data_dir):
    figures = parity_figures.read(shared_data_dir, "deepinversion")
    image, value, gradient = (figures[name] for name in ("in.image", "value64.tv_l1", "grad64.tv_l1.image"))
    x = jnp.asarray(image.transpose(0, 2, 3, 1))
    of = lambda x: images.total_variation(x, diagonals=True).mean()
    np.testing.assert_allclose(of(x), value, rtol=1e-6)
    ours = np.asarray(jax.grad(of)(x)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(ours, gradient, atol=1e-6 * np.abs(gradient).max())
