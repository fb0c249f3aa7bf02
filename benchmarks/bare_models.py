"""The networks as one writes them by hand in Flax, with the parameters that kdgan's have, so that weights are exchanged.

Nothing of kdgan is imported. What kdgan does for speed (`layers.max_pool`, `transposed.TransposedConv`) is not repeated:
here stand Linen's own pooling and transposed convolution.
"""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from benchmarks.work import CLASSES, Model, Work


class MLP(nn.Module):
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(width, name=f"dense{i}")(x))
        return nn.Dense(CLASSES, name="head")(x)


class LeNet(nn.Module):
    features: Sequence[int]
    dense: int

    @nn.compact
    def __call__(self, x, train=False):
        for i, features in enumerate(self.features, start=1):
            x = nn.max_pool(nn.relu(nn.Conv(features, (5, 5), name=f"conv{i}")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(self.dense, name="dense1")(x.reshape(x.shape[0], -1)))
        return nn.Dense(CLASSES, name="head")(x)


class Block(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train=False):
        conv = partial(nn.Conv, padding=((1, 1), (1, 1)), use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        y = nn.relu(norm(name="bn1")(conv(self.features, (3, 3), self.stride, name="conv1")(x)))
        y = norm(name="bn2")(conv(self.features, (3, 3), name="conv2")(y))
        if x.shape != y.shape:
            x = nn.Conv(self.features, (1, 1), self.stride, use_bias=False, name="shortcut_conv")(x)
            x = norm(name="shortcut_bn")(x)
        return nn.relu(x + y)


class Stage(nn.Module):
    blocks: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train=False):
        for i in range(self.blocks):
            x = Block(self.features, self.stride if i == 0 else 1, name=f"block{i + 1}")(x, train)
        return x


class ResNet(nn.Module):
    depth: int
    stem: int
    features: Sequence[int]

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(self.stem, (3, 3), padding=((1, 1), (1, 1)), use_bias=False, name="conv1")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn1")(x))
        for i, features in enumerate(self.features, start=1):
            x = Stage((self.depth - 2) // 6, features, 1 if i == 1 else 2, name=f"stage{i}")(x, train)
        return nn.Dense(CLASSES, name="head")(x.mean((1, 2)))


class Generator(nn.Module):
    image_size: int
    channels: int
    width: float

    @nn.compact
    def __call__(self, noise, train=False):
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        first, second, third = (max(1, round(count * self.width)) for count in (256, 128, 64))
        side = self.image_size // 4
        x = nn.Dense(side * side * first, use_bias=False, name="dense")(noise).reshape(-1, side, side, first)
        x = nn.leaky_relu(norm(name="bn1")(x), 0.3)
        x = nn.ConvTranspose(second, (5, 5), use_bias=False, name="conv2")(x)
        x = nn.leaky_relu(norm(name="bn2")(x), 0.3)
        x = nn.ConvTranspose(third, (5, 5), (2, 2), use_bias=False, name="conv3")(x)
        x = nn.leaky_relu(norm(name="bn3")(x), 0.3)
        return jnp.tanh(nn.ConvTranspose(self.channels, (5, 5), (2, 2), name="head")(x))


class Discriminator(nn.Module):
    width: float

    @nn.compact
    def __call__(self, x, train=False):
        for i, count in enumerate((64, 128), start=1):
            x = nn.Conv(max(1, round(count * self.width)), (5, 5), (2, 2), name=f"conv{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        return nn.Dense(1, name="head")(x.reshape(x.shape[0], -1))[:, 0]


class Unshuffle(nn.Module):
    width: int
    depth: int

    @nn.compact
    def __call__(self, x, train=False):
        b, h, w, c = x.shape
        y = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, 4 * c)
        for i in range(1, self.depth):
            y = nn.relu(nn.Conv(self.width, (3, 3), name=f"conv{i}")(y))
        y = nn.Conv(4 * c, (3, 3), name=f"conv{self.depth}")(y)
        y = y.reshape(b, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(b, h, w, c)
        return x + y


def build(model: Model) -> nn.Module:
    """The module of a model."""
    made = {
        "mlp": MLP,
        "kdgan_lenet": LeNet,
        "resnet": ResNet,
        "dcgan_generator": Generator,
        "dcgan_discriminator": Discriminator,
        "unshuffle": Unshuffle,
    }
    return made[model.name](**model.fields)


def modules(work: Work) -> dict[str, nn.Module]:
    """Player -> module; a memory bank is arrays."""
    return {name: build(model) for name, model in work.models.items() if model.name != "memory_bank"}
