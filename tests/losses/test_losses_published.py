"""Losses against the figures that their authors' code gave, which lie outside of the project."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import images

pytestmark = pytest.mark.shared


def test_total_variation_is_deep_inversions_in_value_and_gradient(shared_data_dir):
    path = shared_data_dir.parent / "parity" / "deepinversion.npz"
    if not path.is_file():
        pytest.skip("there are no published figures, parity/deepinversion.npz, beside the data sets")
    with np.load(path) as figures:
        image, value, gradient = (figures[name] for name in ("in.image", "value64.tv_l1", "grad64.tv_l1.image"))
    x = jnp.asarray(image.transpose(0, 2, 3, 1))
    of = lambda x: images.total_variation(x, diagonals=True).mean()
    np.testing.assert_allclose(of(x), value, rtol=1e-6)
    ours = np.asarray(jax.grad(of)(x)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(ours, gradient, atol=1e-6 * np.abs(gradient).max())
