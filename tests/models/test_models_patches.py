"""Convolutions by patches and by rows: the numbers of `lax.conv_general_dilated`; what is left to it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models
from kdgan.models import patches, rows
from kdgan.models.patches import convolved_by

LINEN = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


BOTH = pytest.mark.parametrize("convolve", [patches.convolve, rows.convolve])


@BOTH
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
def test_values_and_gradients_are_those_of_the_convolution(convolve, sides, strides, padding):
    keys = jax.random.split(jax.random.key(0), 3)
    image, kernel = jax.random.normal(keys[0], (2, 7, 6, 3)), jax.random.normal(keys[1], (*sides, 3, 4))
    expected, pull = jax.vjp(
        lambda x, w: jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=LINEN), image, kernel
    )
    found, pull_found = jax.vjp(lambda x, w: convolve(x, w, strides, padding, dimension_numbers=LINEN), image, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = jax.random.normal(keys[2], expected.shape)
    for a, b in zip(pull_found(gradient), pull(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@BOTH
def test_an_image_smaller_than_the_kernel_has_a_result_without_pixels(convolve):
    image, kernel = jnp.ones((2, 2, 6, 1)), jnp.ones((3, 3, 1, 4))
    assert convolve(image, kernel, (1, 1), "VALID", dimension_numbers=LINEN).shape == (2, 0, 4, 4)


@pytest.mark.parametrize(
    ("sides", "strides", "padding"),
    [
        ((3, 3), (1, 1), "SAME"),
        ((5, 5), (2, 2), "SAME"),
        ((3, 4), (2, 3), ((2, 2), (3, 1))),
        ((3, 3), (1, 2), ((1, 1), (2, 0))),
        ((4, 2), (1, 1), ((2, 1), (0, 0))),
        ((3, 3), (1, 1), ((2, 2), (-1, 3))),
        ((3, 3), (1, 1), "VALID"),
    ],
)
def test_images_of_fewer_pixels_than_the_kernel_are_read_whole(sides, strides, padding):
    keys = jax.random.split(jax.random.key(0), 3)
    image, kernel = jax.random.normal(keys[0], (5, 2, 3, 3)), jax.random.normal(keys[1], (*sides, 3, 4))
    by = lambda convolve: jax.vjp(lambda x, w: convolve(x, w, strides, padding, dimension_numbers=LINEN), image, kernel)
    (expected, pull), (convolved, pull_whole) = by(jax.lax.conv_general_dilated), by(patches.convolve)
    assert convolved.shape == expected.shape
    np.testing.assert_allclose(convolved, expected, atol=1e-5)
    gradient = jax.random.normal(keys[2], expected.shape)
    for a, b in zip(pull_whole(gradient), pull(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    text = (
        jax.jit(lambda x, w: patches.convolve(x, w, strides, padding, dimension_numbers=LINEN))
        .lower(image, kernel)
        .as_text()
    )
    assert text.count("stablehlo.slice") <= expected.shape[1] * expected.shape[2]  # a part of the kernel for each pixel


@BOTH
@pytest.mark.parametrize("options", [{"rhs_dilation": (2, 2)}, {"feature_group_count": 3}])
def test_what_they_cannot_do_is_left_to_the_convolution(convolve, options):
    image = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3 // options.get("feature_group_count", 1), 6))
    arguments = (image, kernel, (1, 1), "SAME")
    expected = jax.lax.conv_general_dilated(*arguments, dimension_numbers=LINEN, **options)
    np.testing.assert_array_equal(convolve(*arguments, dimension_numbers=LINEN, **options), expected)


def test_members_of_a_model_side_by_side_need_no_convolution():
    module = models.build("cnn", features=(2, 3), dense=4)
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    members = jax.vmap(module.init, in_axes=(0, None))(jax.random.split(jax.random.key(1), 2), image)
    forward = jax.vmap(module.apply, in_axes=(0, None))
    np.testing.assert_allclose(convolved_by(forward)(members, image), forward(members, image), atol=1e-5)
    count = lambda function: jax.jit(function).lower(members, image).as_text().count("stablehlo.convolution")
    assert count(convolved_by(forward)) == 0
    assert count(forward) > 0  # and the model itself is as it was


def test_transposed_convolutions_are_computed_by_it_too():
    """A DCGAN's generator: its values and gradients are the same, and no convolution is left of it."""
    module, noise = models.DCGANGenerator(image_size=8, channels=1, width=1 / 64), jnp.ones((2, 3))
    variables = module.init(jax.random.key(0), noise)
    forward = lambda variables, noise: module.apply(variables, noise)
    loss = lambda apply: jax.grad(lambda variables: (apply(variables, noise) ** 2).sum())(variables)["params"]
    np.testing.assert_allclose(convolved_by(forward)(variables, noise), forward(variables, noise), atol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (loss(convolved_by(forward)), loss(forward))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    text = lambda function: jax.jit(function).lower(variables, noise).as_text()
    assert "stablehlo.convolution" in text(forward)
    assert "stablehlo.convolution" not in text(convolved_by(forward))


@pytest.mark.parametrize(
    ("width", "channels", "features", "by_rows"),
    [
        (40, 1, 24, True),
        (41, 1, 24, False),
        (40, 1, 25, False),
        (15, 6, 16, True),
        (16, 6, 16, False),
        (15, 6, 17, False),
    ],
)
def test_rows_take_layers_of_few_channels_and_narrow_images(width, channels, features, by_rows):
    image, kernel = jnp.ones((1, 5, width, channels)), jnp.ones((5, 5, channels, features))
    ours = np.full((1, 1, width - 4, features), 25.0 * channels)
    convolve_few = functools.partial(rows.convolve_few, otherwise=lambda image, *given, **options: -image)
    convolved = convolve_few(image, kernel, (1, 1), "VALID", dimension_numbers=LINEN)
    np.testing.assert_allclose(convolved, ours if by_rows else -image)


def test_a_layer_with_a_convolution_of_its_own_keeps_it():
    calls = []

    def own(*args, **kwargs):
        calls.append(args)
        return jax.lax.conv_general_dilated(*args, **kwargs)

    layer = nn.Conv(2, (3, 3), conv_general_dilated=own)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    calls.clear()
    convolved_by(layer.apply)(variables, jnp.ones((1, 4, 4, 1)))
    assert len(calls) == 1
