"""The CNN and the LeNets against convolutions by SciPy in float64, their counts by hand, features and gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.signal import correlate

from kdgan.models import CNN, KDGANLeNet, LeNet5
from kdgan.models.layers import max_pool


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, *inputs, **kwargs):
    """Variables of `module`, biases too, drawn by numpy: compiling JAX's samplers takes longer than the tests."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs, **kwargs), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, leaf.dtype), shapes)


def conv(x, layer, mode):
    """[b, h, w, c] with kernel [k, k, c, d], unit stride, as a sum of two-dimensional correlations."""
    kernel, bias = np.float64(layer["kernel"]), np.float64(layer["bias"])
    return (
        np.stack(
            [
                np.stack([sum(correlate(im[..., c], kernel[..., c, d], mode) for c in range(im.shape[-1])) for im in x])
                for d in range(kernel.shape[-1])
            ],
            axis=-1,
        )
        + bias
    )


def relu_pool(x):
    """Relu, then the maximum of each 2×2 window; an odd last row or column is dropped."""
    b, h, w, c = x.shape
    x = np.maximum(x, 0)[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def dense(x, layer):
    return x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])


@pytest.mark.parametrize("make", [CNN, KDGANLeNet])
def test_cnn_is_its_equation(make):
    module, x = make((3, 2), 5, 4), draw(0, 2, 9, 8, 2)
    variables = drawn(module, x)
    p, y = variables["params"], np.float64(x)
    y = relu_pool(conv(y, p["conv1"], "same"))
    y = relu_pool(conv(y, p["conv2"], "same"))
    y = np.maximum(dense(y.reshape(2, -1), p["dense1"]), 0)
    np.testing.assert_allclose(module.apply(variables, x), dense(y, p["head"]), rtol=1e-4, atol=1e-5)
    assert p["conv1"]["kernel"].shape[:2] == {CNN: (3, 3), KDGANLeNet: (5, 5)}[make]


def test_lenet5_is_its_equation_with_the_digit_centred_in_32():
    module, x = LeNet5((2, 3), (6, 5), num_classes=4), draw(0, 2, 28, 27, 1)
    variables = drawn(module, x)
    p, y = variables["params"], np.zeros((2, 32, 32, 1))
    y[:, 2:30, 2:29] = x
    y = relu_pool(conv(y, p["conv1"], "valid"))
    assert y.shape == (2, 14, 14, 2)
    y = relu_pool(conv(y, p["conv2"], "valid"))
    assert y.shape == (2, 5, 5, 3)
    y = np.maximum(dense(y.reshape(2, -1), p["dense1"]), 0)
    y = np.maximum(dense(y, p["dense2"]), 0)
    np.testing.assert_allclose(module.apply(variables, x), dense(y, p["head"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "shape", "by_hand"),
    [
        # Each line: the layers' kernels and biases.
        (CNN(), (28, 28, 1), (9 * 32 + 32) + (9 * 32 * 64 + 64) + (7 * 7 * 64 * 64 + 64) + (64 * 10 + 10)),
        (CNN(), (8, 8, 1), (9 * 32 + 32) + (9 * 32 * 64 + 64) + (2 * 2 * 64 * 64 + 64) + (64 * 10 + 10)),
        (
            LeNet5(),
            (28, 28, 1),
            (25 * 6 + 6) + (25 * 6 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10),
        ),
        (
            LeNet5((3, 8), (60, 42)),
            (32, 32, 3),
            (75 * 3 + 3) + (75 * 8 + 8) + (200 * 60 + 60) + (60 * 42 + 42) + (42 * 10 + 10),
        ),
        (
            KDGANLeNet((20, 20), 500),
            (28, 28, 1),
            (25 * 20 + 20) + (25 * 20 * 20 + 20) + (980 * 500 + 500) + (500 * 10 + 10),
        ),
        (
            KDGANLeNet((64, 128)),
            (32, 32, 3),
            (75 * 64 + 64) + (25 * 64 * 128 + 128) + (64 * 128 * 1024 + 1024) + (1024 * 10 + 10),
        ),
    ],
)
def test_parameters_by_hand(module, shape, by_hand):
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == by_hand


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (CNN(), {"stage1": (2, 28, 28, 32), "stage2": (2, 14, 14, 64), "hidden1": (2, 64)}),
        (KDGANLeNet(), {"stage1": (2, 28, 28, 32), "stage2": (2, 14, 14, 64), "hidden1": (2, 1024)}),
        (
            LeNet5(),
            {"stage1": (2, 28, 28, 6), "stage2": (2, 10, 10, 16), "hidden1": (2, 120), "hidden2": (2, 84)},
        ),
    ],
)
def test_features_by_path(module, expected):
    x = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    _, state = jax.eval_shape(
        lambda key, x: module.init_with_output(key, x, capture_intermediates=True, mutable=["params", "intermediates"]),
        jax.random.key(0),
        x,
    )
    assert {path: state["intermediates"][path]["__call__"][0].shape for path in expected} == expected


@pytest.mark.parametrize("module", [CNN((3, 4), 5, dropout=0.5), LeNet5((2, 3), (6, 5), dropout=0.5)])
def test_gradients_dropout_and_rectified_features(module):
    x, weights = draw(0, 8, 8, 8, 1), draw(1, 8, 10)
    variables = drawn(module, x)

    def loss(params, key, train):
        logits, state = module.apply(
            {"params": params},
            x,
            train=train,
            rngs={"dropout": key},
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        return jnp.sum(weights * logits), (logits, state["intermediates"]["stage2"]["__call__"][0])

    run = jax.jit(jax.grad(loss, has_aux=True), static_argnums=2)
    gradients, (still, stage2) = run(variables["params"], jax.random.key(0), False)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
    assert stage2.min() == 0 < stage2.max()
    _, (again, _) = run(variables["params"], jax.random.key(1), False)
    np.testing.assert_array_equal(still, again)
    _, (first, _) = run(variables["params"], jax.random.key(0), True)
    _, (second, _) = run(variables["params"], jax.random.key(1), True)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (2, 5, 7, 1)])
def test_max_pool_and_its_gradient_are_linen_s(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.permutation(keys[0], math.prod(shape)).reshape(shape).astype(jnp.float32)  # without ties
    expected, pull_expected = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    found, pull = jax.vjp(max_pool, x)
    np.testing.assert_array_equal(found, expected)
    gradient = jax.random.normal(keys[1], expected.shape)
    np.testing.assert_array_equal(pull(gradient)[0], pull_expected(gradient)[0])
    change = jax.random.normal(keys[2], shape)
    pushed = jax.jvp(max_pool, (x,), (change,))[1]
    np.testing.assert_allclose((pushed * gradient).sum(), (change * pull(gradient)[0]).sum(), rtol=1e-5)  # the adjoint


def test_values_of_a_pooled_window_that_tie_share_its_gradient():
    x = jnp.float32([[3, 3, 0, 7], [1, 3, 7, 7]])[None, :, :, None]
    gradient = jax.grad(lambda x: (max_pool(x) * jnp.float32([6, 12])[None, None, :, None]).sum())(x)
    np.testing.assert_allclose(gradient[0, :, :, 0], [[2, 2, 0, 4], [0, 2, 4, 4]], rtol=1e-6)
