"""Image losses by hand, against NumPy, scikit-learn and published figures, and their refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error

from kdgan.losses import images

REFERENCE = {
    images.l1: mean_absolute_error,
    images.l2: mean_squared_error,
    images.charbonnier: lambda x, y: np.mean(np.hypot(x - y, 1e-3)),
}
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


def test_charbonnier_by_hand_and_its_gradient():
    x, y = jnp.zeros((1, 1, 2, 1)), jnp.array([[[[3.0], [0.0]]]])
    np.testing.assert_allclose(images.charbonnier(x, y, epsilon=4.0), [(5 + 4) / 2])
    gradient = jax.grad(lambda x: images.charbonnier(x, y, epsilon=4.0).sum())(x)
    np.testing.assert_allclose(gradient.ravel(), [-3 / 5 / 2, 0.0])
    with pytest.raises(ValueError, match="epsilon is 0"):
        images.charbonnier(x, y, epsilon=0)


def test_every_distance_has_a_name():
    assert list(images.DISTANCES.values()) == list(REFERENCE)


def test_total_variation_by_hand():
    x = jnp.array([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]).reshape(1, 2, 3, 1)
    rows, columns = [2, 1, -1], [1, 2, 0, 0]  # differences down, and to the right
    falling, rising = [2, 1], [1, -1]  # along the diagonals: (2 − 0, 2 − 1), (2 − 1, 2 − 3)
    mean = lambda d: np.mean(np.abs(d))
    np.testing.assert_allclose(images.total_variation(x), [mean(rows) + mean(columns)])
    np.testing.assert_allclose(
        images.total_variation(x, squared=True), [np.mean(np.square(rows)) + np.mean(np.square(columns))], rtol=1e-6
    )
    four = sum(map(mean, (rows, columns, falling, rising)))
    np.testing.assert_allclose(images.total_variation(x, diagonals=True), [four])


def test_total_variation_of_a_flat_image_is_0_and_pulls_nowhere():
    flat = jnp.full((2, 4, 5, 3), 0.7)
    for squared in (False, True):
        of = lambda x, squared=squared: images.total_variation(x, squared=squared).sum()
        assert of(flat) == 0
        np.testing.assert_array_equal(jax.grad(of)(flat), np.zeros(flat.shape))


def test_total_variation_is_of_each_image_by_itself():
    x = jnp.asarray(draw(3, 5, 6, 2))
    one_by_one = [images.total_variation(x[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(images.total_variation(x), one_by_one, rtol=1e-6)


def test_total_variation_needs_neighbours():
    with pytest.raises(ValueError, match=r"\(1, 4, 1\).*2×2"):
        images.total_variation(jnp.zeros((1, 1, 4, 1)))
