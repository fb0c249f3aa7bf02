"""Convolutions by patches, or their gradients alone: the numbers of `lax.conv_general_dilated`; what vmap makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models
from kdgan.models import patches
from kdgan.models.patches import by_patches, gradient_by_patches, replace_convolutions

LINEN = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


@pytest.fixture
def small_chunks(monkeypatch):
    """Gradients by patches for the smallest convolution, two images of the tests' at a time."""
    monkeypatch.setattr(patches, "LEAST", 0)
    monkeypatch.setattr(patches, "CHUNK_BYTES", 2 * 7 * 6 * 27 * 4)


@pytest.mark.parametrize("convolution", [by_patches, gradient_by_patches])
@pytest.mark.parametrize(
    ("sides", "strides", "padding"),
    [
        ((1, 1), (1, 1), "SAME"),
        ((3, 3), (1, 1), "SAME"),
        ((3, 3), (2, 3), "SAME"),
        ((5, 2), (2, 3), "VALID"),
        ((5, 2), (2, 1), ((1, 2), (0, 1))),
    ],
)
def test_values_and_gradients_are_those_of_the_convolution(sides, strides, padding, convolution, small_chunks):
    keys = jax.random.split(jax.random.key(0), 3)
    image, kernel = jax.random.normal(keys[0], (6, 7, 6, 3)), jax.random.normal(keys[1], (*sides, 3, 4))
    expected, pull = jax.vjp(
        lambda x, w: jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=LINEN), image, kernel
    )
    found, pull_found = jax.vjp(
        lambda x, w: convolution(x, w, strides, padding, dimension_numbers=LINEN), image, kernel
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = jax.random.normal(keys[2], expected.shape)
    for a, b in zip(pull_found(gradient), pull(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_gradient_of_a_gradient_is_that_of_the_convolution(small_chunks):
    keys = jax.random.split(jax.random.key(0), 2)
    image, kernel = jax.random.normal(keys[0], (4, 5, 4, 2)), jax.random.normal(keys[1], (3, 3, 2, 3))

    def penalty(convolution, kernel):
        """Of the squared gradient with respect to the image, as a discriminator's."""
        score = lambda x: jnp.sin(convolution(x, kernel, (1, 1), "SAME", dimension_numbers=LINEN)).sum()
        return jnp.square(jax.grad(score)(image)).sum()

    expected, found = (
        jax.grad(lambda kernel, of=of: penalty(of, kernel))(kernel)
        for of in (jax.lax.conv_general_dilated, gradient_by_patches)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_a_gradient_in_bfloat16_is_summed_in_float32(small_chunks, monkeypatch):
    """Of 512 ones one by one, which a sum in bfloat16 would leave at 256."""
    monkeypatch.setattr(patches, "CHUNK_BYTES", 2)
    image, kernel = jnp.ones((512, 1, 1, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    total = lambda kernel: gradient_by_patches(image, kernel, (1, 1), "SAME", dimension_numbers=LINEN).sum()
    found = jax.grad(total)(kernel)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32).ravel(), [512.0])


def test_a_small_gradient_is_left_to_the_convolution():
    def loops(batch):
        image, kernel = jnp.ones((batch, 16, 16, 8)), jnp.ones((3, 3, 8, 8))
        total = lambda kernel: gradient_by_patches(image, kernel, (1, 1), "SAME", dimension_numbers=LINEN).sum()
        return str(jax.make_jaxpr(jax.grad(total))(kernel)).count("scan[")

    assert [loops(batch) for batch in (8, 64)] == [0, 1]  # 2·8·16²·576 operations are 2.4 million


@pytest.mark.parametrize("convolution", [by_patches, gradient_by_patches])
@pytest.mark.parametrize("options", [{"rhs_dilation": (2, 2)}, {"feature_group_count": 3}])
def test_what_patches_cannot_do_is_left_to_the_convolution(options, convolution, small_chunks):
    image = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3 // options.get("feature_group_count", 1), 6))
    arguments = (image, kernel, (1, 1), "SAME")
    expected = jax.lax.conv_general_dilated(*arguments, dimension_numbers=LINEN, **options)
    np.testing.assert_array_equal(convolution(*arguments, dimension_numbers=LINEN, **options), expected)


def test_members_of_a_model_side_by_side_need_no_convolution():
    module = models.build("cnn", features=(2, 3), dense=4)
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    members = jax.vmap(module.init, in_axes=(0, None))(jax.random.split(jax.random.key(1), 2), image)
    forward = jax.vmap(module.apply, in_axes=(0, None))
    np.testing.assert_allclose(
        replace_convolutions(forward, by_patches)(members, image), forward(members, image), atol=1e-5
    )
    count = lambda function: jax.jit(function).lower(members, image).as_text().count("stablehlo.convolution")
    assert count(replace_convolutions(forward, by_patches)) == 0
    assert count(forward) > 0  # and the model itself is as it was


def test_a_layer_with_a_convolution_of_its_own_keeps_it():
    calls = []

    def own(*args, **kwargs):
        calls.append(args)
        return jax.lax.conv_general_dilated(*args, **kwargs)

    layer = nn.Conv(2, (3, 3), conv_general_dilated=own)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    calls.clear()
    replace_convolutions(layer.apply, by_patches)(variables, jnp.ones((1, 4, 4, 1)))
    assert len(calls) == 1
