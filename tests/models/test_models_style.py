"""Johnson's network of one style and several, instance norm, the patch discriminator and SqueezeNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models
from kdgan.models import pixels
from kdgan.models.instance_norm import InstanceNorm

SMALL = {"contract": (3, 4), "blocks": 1, "outer": 3}


def shapes(module, *inputs):
    given = [jax.ShapeDtypeStruct(*one) if isinstance(one, tuple) else one for one in inputs]
    return jax.eval_shape(module.init_with_output, jax.random.key(0), *given)


def test_published_sizes():
    count = lambda variables: sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    image = ((1, 32, 32, 3), jnp.float32)
    # Johnson's of 32, 64, 128 channels and five blocks, with norms; the published network of 26 styles; SqueezeNet 1.0.
    assert count(shapes(models.Johnson(), image)[1]) == 1_677_638
    assert count(shapes(models.build("multistyle26"), image, ((1, 26), jnp.float32))[1]) == 166_104
    assert count(shapes(models.SqueezeNet(), image)[1]) == 1_248_424
    # pix2pix's discriminator of RGB: a score sees 70×70 pixels, and 256×256 have 30×30 of them.
    scores, variables = shapes(models.PatchCritic(), ((1, 256, 256, 3), jnp.float32))
    assert (scores.shape, count(variables)) == ((1, 30, 30), 2_764_737)


@pytest.mark.parametrize("sides", [(5, 5), (9, 14)])
def test_images_of_any_sides_stay_as_large_and_in_range(sides):
    module = models.Johnson(**{**SMALL, "contract": (3, 4, 4)}, width=0.5)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(1, *sides, 3)), jnp.float32)
    made, _ = jax.jit(module.init_with_output)(jax.random.key(0), image)
    assert made.shape == image.shape
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_a_class_is_its_own_weights_and_styles_differ():
    module = models.Johnson(**SMALL, styles=3)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), jnp.float32)
    variables = jax.jit(module.init)(jax.random.key(0), image, jnp.asarray([0, 0]))
    draw = lambda leaf: jnp.asarray(np.random.default_rng(1).normal(size=leaf.shape), jnp.float32)
    variables = jax.tree.map(draw, variables)
    forward = jax.jit(module.apply)
    classes = forward(variables, image, jnp.asarray([2, 0]))
    np.testing.assert_allclose(classes, forward(variables, image, jnp.asarray([[0.0, 0, 1], [1, 0, 0]])), atol=1e-6)
    assert np.abs(classes - forward(variables, image, jnp.asarray([1, 1]))).max() > 0.01


def test_without_an_argument_the_style_of_the_field_is_painted():
    module = models.Johnson(**SMALL, styles=3, style=2)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), image)
    draw = lambda leaf: jnp.asarray(np.random.default_rng(1).normal(size=leaf.shape), jnp.float32)
    variables = jax.tree.map(draw, variables)
    np.testing.assert_array_equal(module.apply(variables, image), module.apply(variables, image, jnp.asarray([2, 2])))


@pytest.mark.parametrize(
    ("styles", "style", "message"),
    [
        (0, ((1, 2), jnp.float32), "styles=0 got a style of shape"),
        (2, ((1, 3), jnp.float32), r"got a style of shape \(1, 3\)"),
        (2, ((1,), jnp.float32), "type float32; it accepts classes"),
    ],
)
def test_a_style_that_does_not_fit_is_refused(styles, style, message):
    with pytest.raises(ValueError, match=message):
        shapes(models.Johnson(**SMALL, styles=styles), ((1, 8, 8, 3), jnp.float32), style)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("johnson", {"contract": (3,)}, "it accepts two widths or more"),
        ("johnson", {"expand": (3,)}, "one fewer of expand"),
        ("johnson", {"outer": 4}, r"Johnson\.outer = 4; it accepts an odd number"),
        ("johnson", {"styles": -1}, r"Johnson\.styles = -1"),
        ("patch_critic", {"norm": "layer"}, r"PatchCritic\.norm = 'layer'; it accepts 'instance' or 'spectral'"),
        ("patch_critic", {"features": ()}, "it accepts one width or more"),
        ("squeezenet", {"num_classes": 0}, r"SqueezeNet\.num_classes = 0"),
    ],
)
def test_fields_are_checked(name, fields, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **fields)


def test_images_too_small_are_refused():
    for module, side in ((models.Johnson(), 4), (models.PatchCritic(), 23), (models.SqueezeNet(), 20)):
        with pytest.raises(ValueError, match=rf"{type(module).__name__} got .*h and w of at least {side + 1}"):
            shapes(module, ((1, side, side, 3), jnp.float32))


def test_instance_norm_worked_out_by_hand():
    # One channel of 1, 3, 5, 7: mean 4, variance 5.
    x = jnp.asarray([1.0, 3, 5, 7]).reshape(1, 2, 2, 1)
    plain = InstanceNorm(affine=False, epsilon=0.0).apply({}, x)
    np.testing.assert_allclose(plain.reshape(-1), np.array([-3, -1, 1, 3]) / 5**0.5, rtol=1e-6)
    params = {"gamma": jnp.asarray([[2.0], [4.0]]), "beta": jnp.asarray([[0.0], [1.0]])}
    mixed = InstanceNorm(styles=2, epsilon=0.0).apply({"params": params}, x, jnp.asarray([[0.5, 0.5]]))
    np.testing.assert_allclose(mixed.reshape(-1), 3 * np.array([-3, -1, 1, 3]) / 5**0.5 + 0.5, rtol=1e-6)


def test_borders_are_mirrored_about_the_outermost_pixel():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 2)), jnp.float32)
    np.testing.assert_array_equal(pixels.mirrored(x, 3), np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect"))


@pytest.mark.parametrize("norm", ["instance", "spectral", "none"])
def test_the_mean_of_patches_is_what_it_gives_without_them(norm):
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 12, 9, 3)), jnp.float32)
    critic = models.PatchCritic((3, 4), norm=norm)
    patches, variables = jax.jit(critic.init_with_output)(jax.random.key(0), image)
    assert patches.shape == (2, 4, 2)
    mean = jax.jit(models.PatchCritic((3, 4), norm=norm, patches=False).apply)(variables, image)
    np.testing.assert_allclose(mean, patches.mean((1, 2)), rtol=1e-5)
    assert (set(variables) - {"params"} != set()) == (norm == "spectral")


def test_squeezenet_takes_grey_images_as_three_equal_channels():
    module = models.SqueezeNet(num_classes=2)
    grey = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 24, 24, 1)), jnp.float32)
    variables = jax.jit(module.init)(jax.random.key(0), grey)
    forward = jax.jit(module.apply)
    np.testing.assert_allclose(forward(variables, grey), forward(variables, jnp.repeat(grey, 3, -1)), rtol=1e-4)
    with pytest.raises(ValueError, match="SqueezeNet got images of 2 channels; it accepts RGB, or grey"):
        shapes(module, ((1, 24, 24, 2), jnp.float32))
