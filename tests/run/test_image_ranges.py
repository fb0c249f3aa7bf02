"""Generators and autoencoders whose images lie elsewhere than the data's pixels are refused, and others pass."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

import tiny
from kdgan import game, methods, models
from kdgan.run import ranges
from kdgan.run.config import ConfigError, resolve
from players import Critic

CIFAR = dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
GREY = dict(mean=0.5, std=0.5)
PLAIN = dict(mean=0.0, std=1.0)


class Painter(nn.Module):
    """Noise [b, d] to images [b, 4, 4, 3] through some last function."""

    last: str

    @nn.compact
    def __call__(self, noise):
        x = nn.Dense(48, name="image")(noise).reshape(-1, 4, 4, 3)
        mean, std = (jnp.asarray(value).reshape(1, 1, 1, 3) for value in CIFAR.values())
        lasts = {
            "tanh": lambda: jnp.tanh(x),
            "sigmoid": lambda: nn.sigmoid(x),
            "relu": lambda: nn.relu(x),
            "linear": lambda: x,
            "normalised": lambda: (nn.sigmoid(x) - mean) / std,
            "wide tanh": lambda: 2.2 * jnp.tanh(x),
        }
        return lasts[self.last]()


class Promised(Painter):
    output_range = None


class Coded(nn.Module):
    """An autoencoder whose decoder ends in some function."""

    last: str = "linear"
    likelihood: str = "bernoulli"

    @nn.compact
    def __call__(self, image):
        x = nn.Dense(48, name="decoder")(nn.Dense(2, name="mean")(image.reshape(len(image), -1)))
        lasts = {
            "linear": lambda x: x,
            "sigmoid": nn.sigmoid,
            "tanh": jnp.tanh,
            "clipped": lambda x: jnp.clip(x, -9, 9),
        }
        latent = jnp.zeros((len(image), 2))
        return {"mean": latent, "log_variance": latent, "decoded": lasts[self.last](x).reshape(-1, 4, 4, 3)}


class Called(nn.Module):
    """A generator that is called in some other way than on noise [b, d]."""

    painter: nn.Module

    def __call__(self, *args, noise=None):
        noise = args[-1] if noise is None else noise
        return self.painter(noise.reshape(len(noise), -1))


def by_keyword():
    def moved(players, batch, key):
        return {"adv": players.player(noise=jax.random.normal(key, (2, 2))).mean((1, 2, 3))}

    return game.Method(game.Move("player", moved))


def of_arrays(*shapes):
    """A method whose player is called with arrays [b, ...] of given shapes."""

    def moved(players, batch, key):
        return {"adv": players.player(*[jax.random.normal(key, (2, *shape)) for shape in shapes]).mean((1, 2, 3))}

    return lambda: game.Method(game.Move("player", moved))


def inspected(module, method=None):
    """A player's calls by a method; by default that of a generator, or an autoencoder."""
    coded = isinstance(module, Coded | models.VAE)
    side = 8 if isinstance(module, models.VAE) else 4
    default = lambda: methods.vae(player="player") if coded else methods.gan(generator="player", latent=2)
    modules = {"player": module, "discriminator": Critic()}
    image = jax.ShapeDtypeStruct((2, side, side, 1 if side == 8 else 3), jnp.float32)
    return game.inspect_method((method or default)(), modules, {"image": image}), modules, image.shape[1:]


def check(module, data, method=None):
    """Compare a player that makes images with data of some mean and std; nothing may be compiled."""
    inspection, modules, image_shape = inspected(module, method)
    ranges.check(inspection, modules, dataclasses.replace(resolve(tiny.config()).data, **data), image_shape)


@pytest.mark.parametrize(
    ("last", "data", "message"),
    [
        (
            "tanh",
            PLAIN,
            r"^config.players.player: it makes images in \[-1, 1\], the data's pixels lie in \[0, 1\] \(config.data.mean ="
            r" 0.0, std = 1.0\); set config.data.mean = 0.5, config.data.std = 0.5;",
        ),
        ("sigmoid", GREY, r"in \[0, 1\], the .* in \[-1, 1\] .*; set config.data.mean = 0, config.data.std = 1;"),
        (
            "tanh",
            CIFAR,
            r"pixels lie in \[-1.989, 2.059\], \[-1.98, 2.126\], \[-1.707, 2.116\] .*mean = 0.5, .*std = 0.5",
        ),
        ("relu", GREY, r"images in \[0, inf\], .*; let its last activation reach all of them;"),
        ("wide tanh", PLAIN, r"images in \[-2.2, 2.2\], .*set config.data.mean = 0.5, config.data.std = 0.2273"),
    ],
)
def test_a_generator_that_ends_elsewhere_is_refused_with_the_cure(last, data, message, monkeypatch):
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message):
        check(Painter(last), data)


@pytest.mark.parametrize(
    ("module", "data"),
    [
        (Painter("tanh"), GREY),
        (Painter("sigmoid"), PLAIN),
        (Painter("relu"), PLAIN),
        (Painter("linear"), CIFAR),
        (Painter("normalised"), CIFAR),
        (Painter("wide tanh"), CIFAR),
        (Promised("tanh"), PLAIN),
        (Coded(), PLAIN),
        (Coded("clipped"), PLAIN),
        (Coded("sigmoid", "gaussian"), PLAIN),
        (Coded("tanh", "gaussian"), GREY),
        (models.VAE(image_size=8, width=1 / 32), PLAIN),
        (models.VAE(image_size=8, width=1 / 32, likelihood="gaussian"), GREY),
    ],
)
def test_what_reaches_the_pixels_and_not_far_beyond_passes(module, data):
    check(module, data)


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        (
            Coded(),
            GREY,
            r"std = 0.5: pixels then leave \[0, 1\], which the Bernoulli .*mean = 0.0, config.data.std = 1.0",
        ),
        (models.VAE(image_size=8, width=1 / 32), GREY, r"players.player.model_args.likelihood = 'gaussian'"),
        (
            Coded("sigmoid"),
            PLAIN,
            r"decodes lies in \[0, 1\], .*pixels in \[0.5, 0.7311\]; leave out its last activation",
        ),
        (Coded("tanh", "gaussian"), PLAIN, r"makes images in \[-1, 1\], the data's pixels lie in \[0, 1\]"),
    ],
)
def test_an_autoencoder_is_compared_by_its_likelihood(module, data, message):
    with pytest.raises(ConfigError, match=message):
        check(module, data)


@pytest.mark.parametrize("method", [by_keyword, of_arrays((1, 1, 2)), of_arrays((2,)), of_arrays((), (3, 2))])
def test_a_generator_is_compared_however_it_is_given_its_noise(method):
    with pytest.raises(ConfigError, match=r"makes images in \[-1, 1\], the data's pixels lie in \[0, 1\]"):
        check(Called(Painter("tanh")), PLAIN, method)
    check(Called(Painter("tanh")), GREY, method)


def test_what_is_given_images_or_gives_no_images_of_the_datas_shape_is_not_compared():
    check(Called(Painter("tanh")), PLAIN, of_arrays((4, 4, 3)))  # such as a perturbation of an image
    inspection, modules, _ = inspected(Called(Painter("tanh")), of_arrays((2, 2, 8)))
    ranges.check(inspection, modules, resolve(tiny.config()).data, (4, 4, 1))  # features from features


def test_of_which_generators_the_range_is_not_known_is_said():
    assert ranges.unknown(*inspected(Painter("linear"))) == ["player"]
    for module in (Painter("tanh"), Painter("relu"), Promised("linear"), Coded()):
        assert ranges.unknown(*inspected(module)) == []
