"""Factor transfer by hand, what it does not see, degenerate factors, published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import factors
from published_features import check, figures, maps


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = draw(0, 2, 3, 3, 4), draw(1, 2, 3, 3, 4)
ORDERS = pytest.mark.parametrize("p", [1, 2])


def test_by_hand():
    s, t = jnp.array([[3.0, 4.0]]), jnp.array([[5.0, 0.0]])
    np.testing.assert_allclose(factors.factor_transfer([s], [t]), [(0.4 + 0.8) / 2], rtol=1e-6)
    np.testing.assert_allclose(factors.factor_transfer([s], [t], p=2), [np.sqrt(0.16 + 0.64)], rtol=1e-6)
    np.testing.assert_allclose(factors.factor_transfer([s, t], [t, t], [0.5, 9.0]), [0.3], rtol=1e-6)


@ORDERS
def test_it_sees_no_scale_and_rests_at_equality_and_at_zeros(p):
    gradient = jax.jit(jax.value_and_grad(lambda s, t: factors.factor_transfer([s], [t], p=p).sum()))
    value, pull = gradient(S, T)
    np.testing.assert_allclose(gradient(7 * S, 0.1 * T)[0], value, rtol=1e-5)
    # A scale that is not seen pulls nowhere along itself.
    np.testing.assert_allclose(jnp.sum(S * pull, (1, 2, 3)), 0, atol=1e-6)
    assert np.abs(pull).max() > 1e-3
    assert gradient(S - 1e-2 * pull, T)[0] < value
    value, pull = gradient(S, S)
    assert value == 0
    np.testing.assert_array_equal(pull, 0)
    np.testing.assert_array_equal(gradient(0 * S, T)[1], 0)


def test_refusals():
    with pytest.raises(ValueError, match="p is 3; 1 and 2 are accepted"):
        factors.factor_transfer([S], [T], p=3)
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 4\) and \(2, 3, 3, 2\); factors"):
        factors.factor_transfer([S], [T[..., :2]])


@pytest.mark.shared
@pytest.mark.parametrize(("variant", "p"), [("zoo", 1), ("torchdistill_p2", 2)])
def test_published_figures(variant, p, shared_data_dir):
    loss = lambda z: factors.factor_transfer(maps(z, "student"), maps(z, "teacher"), p=p)
    check(figures(shared_data_dir, "ft"), variant, loss, value_rtol=1e-6, gradient_rtol=5e-6)
