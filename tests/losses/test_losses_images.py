"""Image losses by hand, against NumPy, and their refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error

from kdgan.losses import images

REFERENCE = {images.l1: mean_absolute_error, images.l2: mean_squared_error}
ALL = pytest.mark.parametrize("loss", REFERENCE, ids=lambda loss: loss.__name__)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_by_hand():
    x, y = jnp.zeros((1, 1, 2, 2)), jnp.array([[[[1.0, -1.0], [0.0, 4.0]]]])
    np.testing.assert_allclose(images.l1(x, y), [1.5])
    np.testing.assert_allclose(images.l2(x, y), [4.5])


@ALL
def test_is_scikit_learns_mean_per_example(loss):
    x, y = draw(3, 4, 5, 2), draw(3, 4, 5, 2, seed=1)
    expected = [REFERENCE[loss](one.ravel(), other.ravel()) for one, other in zip(x, y, strict=True)]
    np.testing.assert_allclose(loss(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5)


@ALL
def test_mean_does_not_depend_on_the_resolution(loss):
    x, y = jnp.asarray(draw(2, 3, 3, 1)), jnp.asarray(draw(2, 3, 3, 1, seed=1))
    larger = [jnp.repeat(jnp.repeat(one, 2, axis=1), 2, axis=2) for one in (x, y)]
    np.testing.assert_allclose(loss(*larger), loss(x, y), rtol=1e-6)


def test_gradients():
    x, y = jnp.asarray(draw(2, 2, 2, 1)), jnp.asarray(draw(2, 2, 2, 1, seed=1))
    np.testing.assert_allclose(jax.grad(lambda x: images.l1(x, y).sum())(x), np.sign(x - y) / 4)
    np.testing.assert_allclose(jax.grad(lambda y: images.l2(x, y).sum())(y), (y - x) / 2, rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda x: images.l1(x, y).sum())(y), np.zeros(y.shape))


@ALL
def test_low_precision_is_computed_on_in_float32(loss):
    x, y = jnp.asarray(draw(2, 8, 8, 1), jnp.bfloat16), jnp.asarray(draw(2, 8, 8, 1, seed=1), jnp.bfloat16)
    assert loss(x, y).dtype == jnp.float32
    np.testing.assert_array_equal(loss(x, y), loss(x.astype(jnp.float32), y.astype(jnp.float32)))


@ALL
@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (1, 4, 4, 1), (2, 4, 4)])
def test_other_shapes_are_not_broadcast(loss, shape):
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 1\) and \(" + ", ".join(map(str, shape)) + r"\)"):
        loss(jnp.zeros((2, 4, 4, 1)), jnp.zeros(shape))
