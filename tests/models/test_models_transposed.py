"""The transposed convolution against its definition in float64, and against Linen's layer, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan.models.transposed import TransposedConv, transposed_convolution


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def by_definition(x, kernel, stride):
    """The input spread out with zeros, padded as "SAME" has it, then a correlation: loops over pixels in float64."""
    x, kernel, k = np.float64(x), np.float64(kernel), kernel.shape[0]
    b, h, w, c = x.shape
    total = k + stride - 2
    before = k - 1 if stride > k - 1 else int(np.ceil(total / 2))
    spread = np.zeros((b, stride * (h - 1) + 1 + total, stride * (w - 1) + 1 + total, c))
    spread[:, before : before + stride * (h - 1) + 1 : stride, before : before + stride * (w - 1) + 1 : stride] = x
    out = np.zeros((b, spread.shape[1] - k + 1, spread.shape[2] - k + 1, kernel.shape[-1]))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = np.einsum("bmnc,mncd->bd", spread[:, i : i + k, j : j + k], kernel)
    return out


@pytest.mark.parametrize(("k", "stride"), [(5, 1), (5, 2), (3, 1), (3, 2), (4, 2), (2, 3), (1, 2), (5, 3)])
def test_it_is_its_definition(k, stride):
    x, kernel = draw(0, 2, 3, 4, 2), draw(1, k, k, 2, 3)
    out = transposed_convolution(x, kernel, stride=stride)
    assert out.shape == (2, 3 * stride, 4 * stride, 3)
    np.testing.assert_allclose(out, by_definition(x, kernel, stride), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_layer_equals_linens_in_parameters_values_and_gradients(stride):
    x, weights = draw(0, 2, 4, 4, 3), draw(1, 2, 4 * stride, 4 * stride, 2)
    ours, linens = TransposedConv(2, stride=stride), nn.ConvTranspose(2, (5, 5), (stride, stride))
    params = {"kernel": draw(2, 5, 5, 3, 2), "bias": draw(3, 2)}
    shapes = [jax.tree.map(jnp.shape, jax.eval_shape(m.init, jax.random.key(0), x)) for m in (ours, linens)]
    assert shapes[0] == shapes[1] == {"params": jax.tree.map(jnp.shape, params)}

    def loss(module):
        return lambda params, x: jnp.sum(weights * module.apply({"params": params}, x) ** 2)

    found, expected = (jax.jit(jax.value_and_grad(loss(m), (0, 1)))(params, x) for m in (ours, linens))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), found, expected)
    assert TransposedConv(2, use_bias=False).init(jax.random.key(0), x)["params"].keys() == {"kernel"}


def test_half_precision_stays():
    x, layer = draw(0, 2, 3, 3, 2).astype(jnp.bfloat16), TransposedConv(3, stride=2)
    params = {"kernel": draw(1, 5, 5, 2, 3).astype(jnp.bfloat16), "bias": jnp.zeros(3, jnp.bfloat16)}
    out = layer.apply({"params": params}, x)
    assert out.dtype == jnp.bfloat16
    exact = by_definition(x.astype(jnp.float32), params["kernel"].astype(jnp.float32), 2)
    np.testing.assert_allclose(np.float64(out), exact, rtol=0.02, atol=0.1)
