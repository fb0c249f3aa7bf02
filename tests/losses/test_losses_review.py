"""The hierarchical context loss by hand and against NumPy, which levels count, published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import resampling
from kdgan.losses.review import hierarchical_context
from published_features import check, figures, maps


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_by_hand():
    s = jnp.array([1.0, 3.0, 5.0, 7.0]).reshape(1, 2, 2, 1)
    # The whole map: (1 + 9 + 25 + 49)/4 = 21; of the levels only 1: 4² = 16 with ½.
    np.testing.assert_allclose(hierarchical_context([s], [0 * s]), [(21 + 8) / 1.5], rtol=1e-6)
    np.testing.assert_allclose(hierarchical_context([s], [0 * s], levels=()), [21], rtol=1e-6)
    flat = jnp.array([[3.0, 4.0]])
    np.testing.assert_allclose(hierarchical_context([s, flat], [s, 0 * flat], [1.0, 2.0]), [25.0], rtol=1e-6)


def test_windows_overlap_where_sides_do_not_divide():
    x = draw(0, 2, 7, 5, 3)
    ends = lambda s, n: [(int(np.floor(k * s / n)), int(np.ceil((k + 1) * s / n))) for k in range(n)]
    for pool, reduced in (("average", np.mean), ("max", np.max)):
        expected = [[reduced(x[:, a:b, c:d], (1, 2)) for c, d in ends(5, 2)] for a, b in ends(7, 4)]
        actual = resampling.POOLINGS[pool](x, (4, 2))
        np.testing.assert_allclose(actual, np.transpose(expected, (2, 0, 1, 3)), rtol=1e-5, atol=1e-6)
    row = jnp.arange(5.0).reshape(1, 5, 1, 1)
    np.testing.assert_array_equal(resampling.nearest(row, (2, 1)).ravel(), [0, 2])
    np.testing.assert_array_equal(resampling.nearest(row, (7, 1)).ravel(), [0, 0, 1, 2, 2, 3, 4])


def test_zero_with_no_gradient_at_equality_and_downhill_elsewhere():
    s, t = draw(1, 2, 5, 5, 2), draw(2, 2, 5, 5, 2)
    gradient = jax.jit(jax.value_and_grad(lambda s, t: hierarchical_context([s], [t]).sum()))
    value, pull = gradient(s, s)
    assert value == 0
    np.testing.assert_array_equal(pull, 0)
    value, pull = gradient(s, t)
    assert gradient(s - pull, t)[0] < value - 0.1 * jnp.sum(pull**2)
    # What is the same everywhere counts on every level, what is 0 on the average less.
    even, uneven = jnp.ones((1, 4, 4, 1)), jnp.tile(jnp.array([1.0, -1.0]), 8).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(hierarchical_context([even], [0 * even]), [1.0], rtol=1e-6)
    np.testing.assert_allclose(hierarchical_context([uneven], [0 * even]), [1 / 1.75], rtol=1e-6)


def test_refusals():
    x = draw(1, 2, 5, 5, 2)
    with pytest.raises(ValueError, match=r"levels is \(2, 0\); sides of at least 1"):
        hierarchical_context([x], [x], levels=(2, 0))
    with pytest.raises(ValueError, match=r"\(2, 5, 5, 2\) and \(2, 5, 5, 1\); .*the same"):
        hierarchical_context([x], [x[..., :1]])


@pytest.mark.shared
@pytest.mark.parametrize(("variant", "layers"), [("mdistiller", (0, 1, 2)), ("mdistiller_7x7", (7,))])
def test_published_figures(variant, layers, shared_data_dir):
    loss = lambda z: hierarchical_context(*(maps(z, *(f"{who}_{i}" for i in layers)) for who in ("student", "teacher")))
    check(figures(shared_data_dir, "reviewkd_hcl"), variant, loss, value_rtol=1e-6, gradient_rtol=1e-6)
