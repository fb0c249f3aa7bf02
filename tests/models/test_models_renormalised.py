"""A network of its own normalisation: what it sees is worked out from pixels, on its own parameter tree and paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from kdgan import game
from kdgan.models import CNN, MLP, ResNet, SelectClasses
from kdgan.models.renormalised import Renormalised

PIXELS = np.random.default_rng(0).uniform(size=(3, 4, 6, 2)).astype(np.float32)
MEAN, STD, DATA_MEAN, DATA_STD = (0.4, 0.1), (0.2, 0.5), 0.25, (0.5, 2.0)


class Sees(nn.Module):
    """What it is given, and a parameter."""

    @nn.compact
    def __call__(self, *values, scale=None, train: bool = False):
        self.param("unused", nn.initializers.zeros, (1,))
        return (*values, scale)


def wrapped(module, **fields):
    return Renormalised(module, **{"mean": 0.0, "std": 1.0, "data_mean": 0.0, "data_std": 1.0, **fields})


def seen(module, *values, **kwargs):
    return module.apply({"params": {"unused": jnp.zeros(1)}}, *values, **kwargs)


def test_images_are_normalised_as_pixels_would_be():
    given = (PIXELS - DATA_MEAN) / np.float32(DATA_STD)
    module = wrapped(Sees(), mean=MEAN, std=STD, data_mean=DATA_MEAN, data_std=DATA_STD)
    label, text, tokens = np.arange(3), np.ones((3, 5), np.float32), np.ones((3, 4, 6, 2), np.int32)
    found = seen(module, label, given, text, tokens, scale=given)
    expected = (PIXELS - np.float32(MEAN)) / np.float32(STD)
    for image in (found[1], found[4]):
        np.testing.assert_allclose(image, expected, rtol=1e-5, atol=1e-6)
    for value, same in zip((label, text, tokens), (found[0], *found[2:4]), strict=True):
        np.testing.assert_array_equal(value, same)


def test_equal_statistics_leave_the_images_bitwise():
    module = wrapped(Sees(), mean=MEAN, std=STD, data_mean=MEAN, data_std=STD, image_size=(4, 6))
    np.testing.assert_array_equal(seen(module, PIXELS)[0], PIXELS)


@pytest.mark.parametrize("size", [(2, 3), (8, 12), (7, 4)])
def test_images_are_scaled_as_pillow_scales_them(size):
    found = seen(wrapped(Sees(), image_size=size), PIXELS)[0]
    by_channel = lambda image: [
        Image.fromarray(image[..., c]).resize(size[::-1], Image.Resampling.BILINEAR) for c in (0, 1)
    ]
    expected = np.stack([np.stack([np.asarray(channel) for channel in by_channel(image)], -1) for image in PIXELS])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("module", [MLP((5,)), CNN((2,), 3), ResNet(8, 2, (2, 3, 4), axis_name="batch")])
def test_parameter_tree_is_the_modules_own(module):
    x, large = (jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32) for size in (8, 20))
    outer = SelectClasses(wrapped(module, mean=0.5, image_size=(8, 8)), (3, 1))
    expected = jax.eval_shape(module.init, jax.random.key(0), x)
    found = jax.eval_shape(outer.init, jax.random.key(0), large)
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    assert jax.tree.leaves(expected) == jax.tree.leaves(found)


def test_features_training_and_batch_statistics_pass_through():
    module, x = ResNet(8, 2, (2, 3, 4)), jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    call = lambda variables, x: game.call_module(
        wrapped(module, mean=0.5),
        variables,
        x,
        train=True,
        mutable=["batch_stats"],
        features=("stage2/block1", "embedding"),
    )
    logits, updates, features = jax.eval_shape(call, variables, x)
    assert logits.shape == (2, 10)
    assert jax.tree.leaves(updates["batch_stats"]) == jax.tree.leaves(variables["batch_stats"])
    assert {path: leaf.shape for path, leaf in features.items()} == {"stage2/block1": (2, 4, 4, 3), "embedding": (2, 4)}


class Foreign(nn.Module):
    """Somebody else's module, whose training switch has another name."""

    @nn.compact
    def __call__(self, x, deterministic: bool):
        return nn.Dropout(0.5, deterministic=deterministic)(nn.Dense(40)(x.reshape(len(x), -1)))


def test_the_training_switch_is_handed_on_by_its_name():
    module, key = wrapped(Foreign(), std=0.5), jax.random.key(1)
    variables = module.init(key, PIXELS)
    still, again = (module.apply(variables, PIXELS) for _ in range(2))
    np.testing.assert_array_equal(still, again)
    assert np.mean(np.asarray(module.apply(variables, PIXELS, train=True, rngs={"dropout": key})) == 0) > 0.2


def test_gradients_run_through_the_renormalisation():
    module = wrapped(Sees(), std=0.25, image_size=(2, 3))
    slope = jax.grad(lambda x: seen(module, x)[0].sum())(PIXELS)
    np.testing.assert_allclose(np.asarray(slope).sum(), 2 * 3 * 2 * 3 / 0.25, rtol=1e-4)  # of each new pixel one


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"std": 0.0}, "std = 0.0: a positive number"),
        ({"data_std": (1.0, -1.0)}, "data_std = "),
        ({"mean": float("nan")}, "mean = nan: a number"),
        ({"mean": (0.1, 0.2, 0.3)}, "mean has 3 numbers, the images 2 channels"),
    ],
)
def test_statistics_that_fit_no_images_are_refused(fields, match):
    with pytest.raises(ValueError, match=match):
        seen(wrapped(Sees(), **fields), PIXELS)
