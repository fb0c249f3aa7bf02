"""The perceptual distance by hand, against NumPy, and its file of weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.metrics import perceptual

RNG = np.random.default_rng(0)


def test_by_hand():
    """Unit vectors (1, 0) and (0, 1) are apart by (1, −1); (3, 4)/5 and itself by nothing: a mean over two positions."""
    x = jnp.array([2.0, 0.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
    y = jnp.array([0.0, 5.0, 6.0, 8.0]).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(perceptual.distance([x], [y]), [(0.5 + 0.5) / 2], rtol=1e-6)
    np.testing.assert_allclose(perceptual.distance([x], [y], [np.array([3.0, 1.0])]), [(3 + 1) / 2], rtol=1e-6)


def test_is_numpys_and_sees_no_scale_of_a_feature():
    x, y = (RNG.normal(size=(3, 4, 5, 6)).astype(np.float32) for _ in range(2))
    unit = lambda a: a / np.linalg.norm(a, axis=-1, keepdims=True)
    expected = ((unit(x) - unit(y)) ** 2).mean((1, 2, 3))
    for pair in ((x, y), (7 * x, y)):
        np.testing.assert_allclose(perceptual.distance(*([jnp.asarray(a)] for a in pair)), expected, rtol=1e-5)
    both = perceptual.distance({"a": jnp.asarray(x), "b": jnp.asarray(y)}, {"a": jnp.asarray(y), "b": jnp.asarray(y)})
    np.testing.assert_allclose(both, expected, rtol=1e-5)


def test_features_of_zeros_are_no_nan():
    zeros = jnp.zeros((1, 2, 2, 3))
    assert float(perceptual.distance([zeros], [zeros])[0]) == 0


def test_weights_of_channels_come_by_name_or_in_order(tmp_path):
    first, second = RNG.random(2), RNG.random(3)
    np.savez(
        tmp_path / "w.npz", **{"lin0.weight": first.reshape(1, 2, 1, 1), "lin1.weight": second.reshape(1, 3, 1, 1)}
    )
    for own, given in zip(perceptual.read_linear(tmp_path / "w.npz", ("relu1", "fire2")), (first, second), strict=True):
        np.testing.assert_allclose(own, given)
    with pytest.raises(ValueError, match=r"w.npz: it holds 2 arrays for 1 layers"):
        perceptual.read_linear(tmp_path / "w.npz", ("relu1",))


def test_what_does_not_go_together_is_refused():
    x = jnp.ones((1, 2, 2, 3))
    with pytest.raises(ValueError, match="the same"):
        perceptual.distance([x], [x[..., :2]])
    with pytest.raises(ValueError, match=r"3 channels, and weights of shape \(2,\)"):
        perceptual.distance([x], [x], [np.ones(2)])
