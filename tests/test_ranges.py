"""The intervals that are read off a program: those of functions whose range is known, and never one that is left."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models
from kdgan.data.batches import normalise
from kdgan.ranges import output_ranges, pixel_ranges

INF = math.inf
X = jax.ShapeDtypeStruct((4, 3), jnp.float32)
STD = jnp.array([[0.25, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (jnp.tanh, -1, 1),
        (nn.sigmoid, 0, 1),
        (nn.relu, 0, INF),
        (nn.relu6, 0, 6),
        (nn.hard_sigmoid, 0, 1),
        (jnp.sin, -1, 1),
        (jnp.exp, 0, INF),
        (lambda x: jnp.clip(x, -2, 3), -2, 3),
        (lambda x: (jnp.tanh(x) + 1) / 2, 0, 1),
        (lambda x: 1 - 2 * nn.sigmoid(x), -1, 1),
        (lambda x: jnp.tanh(x) * jnp.tanh(-x), -1, 1),
        (lambda x: jnp.square(jnp.tanh(x)) - 1, -1, 0),
        (lambda x: jnp.abs(jnp.clip(x, -2, 1)) ** 3, 0, 8),
        (lambda x: (nn.sigmoid(x) - 0.5) / STD, -2, 2),  # of the whole array, not of each channel
        (lambda x: jnp.where(x > 0, jnp.tanh(x), 5.0), -1, 5),
        (lambda x: jnp.concatenate([nn.sigmoid(x), jnp.tanh(x)]).T.reshape(2, 12), -1, 1),
        (jax.checkpoint(jnp.tanh), -1, 1),
        (jax.jit(lambda x: jnp.tanh(x).astype(jnp.bfloat16)), -1, 1),
        (nn.hard_tanh, -1, 1),
        (nn.soft_sign, -1, 1),
        (lambda x: jnp.where(x > 2, 2.0, jnp.where(-3.0 > x, -3.0, x)), -3, 2),
        (lambda x: jnp.where(x >= 0, x, 0.0), 0, INF),
        (lambda x: jnp.where(x < 0, x, 0.0), -INF, 0),
        (lambda x: jnp.where(x + 1 > 0, 0.0, x), -INF, INF),  # compared is something else
        (lambda x: x / (0.5 + jnp.abs(x + 1)), -INF, INF),
        (lambda x: jnp.tanh(x).mean(-1, keepdims=True), -1, 1),
        (lambda x: nn.sigmoid(x).sum(), 0, 12),
        (lambda x: jnp.tanh(x)[jnp.arange(4)[::-1]], -1, 1),
        (lambda x: jnp.take(jnp.tanh(x), jnp.array([0, 9]), axis=0, mode="fill", fill_value=7.0), -1, 7),
        (lambda x: jax.lax.dynamic_slice(jnp.tanh(x), (0, 1), (2, 2)), -1, 1),
        (lambda x: jnp.tanh(x).at[0].set(3.0), -INF, INF),  # scatter is not listed
        (lambda x: nn.max_pool(jnp.tanh(x)[..., None], (2,), (2,)), -1, 1),
        (lambda x: nn.avg_pool(nn.sigmoid(x)[..., None], (2,)), 0, 1),
        (lambda x: nn.avg_pool(1 + nn.sigmoid(x)[..., None], (2,), padding="SAME"), 0, 2),  # the edge counts as zeros
        (lambda x: jax.image.resize(jnp.tanh(x), (8, 6), "nearest"), -1, 1),
        (lambda x: jax.lax.cond(x.sum() > 0, jnp.tanh, nn.relu6, x), -1, 6),
        (lambda x: jax.lax.map(jnp.tanh, x), -1, 1),
        (lambda x: jax.lax.scan(lambda c, r: (jnp.tanh(c + r), c), jnp.full(3, 2.0), x)[0], -1, 1),
        (lambda x: jax.lax.scan(lambda c, r: (jnp.tanh(c + r), c), jnp.full(3, 2.0), x)[1], -1, 2),
        (lambda x: jax.lax.scan(lambda c, r: (c + nn.sigmoid(r), c), jnp.zeros(3), x)[0], -INF, INF),
        (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, jnp.sin, jnp.full((3,), 5.0)), -1, 5),
        (lambda x: jax.lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c), x), -1, 1),
        (lambda x: jnp.tanh(x) / jnp.tanh(x), -INF, INF),
        (lambda x: x, -INF, INF),
        (lambda x: jnp.tanh(x) @ jnp.ones((3, 2)), -INF, INF),  # what is not listed is not known
        (lambda x: 0 * x, -INF, INF),  # 0·∞
    ],
)
def test_intervals_of_functions_that_are_known(function, low, high):
    assert output_ranges(function, X) == pytest.approx((low, high))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.tanh(x) * jnp.exp(-jnp.abs(x)) - 0.3,
        lambda x: jnp.sqrt(nn.sigmoid(x)) / (1.5 + jnp.cos(x)),
        lambda x: jnp.clip(jnp.floor(x), -3, 4) ** 3,
        lambda x: jnp.log1p(nn.relu6(x)) - jnp.maximum(-x, jnp.tanh(x)),
        lambda x: jnp.expm1(jnp.minimum(x, 1.0)) + jnp.arctan(x),
        lambda x: -jnp.square(jnp.clip(x, -3, 2)),
        lambda x: jnp.where(x < -1, -2.0, jnp.where(x > 3, jnp.tanh(x), x)),
        lambda x: nn.soft_sign(jnp.clip(x, -1, 4)) + nn.hard_tanh(x).mean(-1, keepdims=True),
        lambda x: nn.avg_pool(nn.sigmoid(x)[..., None] - 2, (3,), padding="SAME"),
        lambda x: jax.lax.scan(lambda c, r: (0.5 * jnp.tanh(c) + nn.sigmoid(r), c), jnp.full(3, 4.0), x)[1],
    ],
)
def test_no_value_leaves_its_interval(function):
    low, high = output_ranges(function, X)
    values = function(jnp.asarray(np.random.default_rng(0).normal(0, 5, (500, 3)), jnp.float32))
    assert low - 1e-5 <= values.min()
    assert values.max() <= high + 1e-5
    assert math.isfinite(low) or math.isfinite(high)


def test_of_a_module_by_its_variables_and_of_each_output():
    generator = models.build("sngan_generator", image_size=8, channels=1, width=1 / 64)
    vae = models.build("vae", image_size=8, latent=2, width=1 / 32)
    for module, x in ((generator, (2, 4)), (vae, (2, 8, 8, 1))):
        x = jax.ShapeDtypeStruct(x, jnp.float32)
        variables = jax.eval_shape(module.init, jax.random.key(0), x)
        ranges = output_ranges(module.apply, variables, x)
        assert ranges == (
            (-1, 1) if module is generator else dict.fromkeys(("mean", "log_variance", "decoded"), (-INF, INF))
        )


def test_pixels_lie_where_they_are_normalised_to():
    ends = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    mean, std = (0.5, 0.4, 0.1), (0.25, 0.5, 2.0)
    ours = np.array(pixel_ranges(mean, std)).T
    np.testing.assert_allclose(ours, normalise(np.repeat(ends, 3, axis=-1), mean=mean, std=std)[:, 0, 0], rtol=1e-6)
    assert pixel_ranges(0.5, 0.5) == [(-1, 1)]
    assert len(pixel_ranges(0.0, (1.0, 2.0))) == 2
