"""The networks in PyTorch, as its users write them, and their weights and gradients in Flax's names and shapes.

Modules have the names that kdgan's have, so that a parameter's path says which is which; images are [b, c, h, w]. PyTorch
pads a convolution of stride 2 at the other side than Flax's "SAME" does: the DCGAN's networks are ours in a mirror, their
kernels and dense layers reversed along h and w, and they see and make mirrored images (`MIRRORED`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.work import CLASSES, Model

MIRRORED = ("dcgan_generator", "dcgan_discriminator")
Pixels = tuple[int, int, int]  # (h, w, c) of the image that a dense layer reads or makes


class FromPixels(nn.Linear):
    """A dense layer on a flattened image."""

    def __init__(self, pixels: Pixels, features: int):
        super().__init__(int(np.prod(pixels)), features)
        self.pixels = pixels


class ToPixels(nn.Linear):
    """A dense layer, without bias, whose output becomes an image."""

    def __init__(self, features: int, pixels: Pixels):
        super().__init__(features, int(np.prod(pixels)), bias=False)
        self.pixels = pixels


class MLP(nn.Module):
    def __init__(self, image: Pixels, hidden):
        super().__init__()
        widths = (*hidden, CLASSES)
        self.dense1 = FromPixels(image, widths[0])
        for i in range(1, len(hidden)):
            setattr(self, f"dense{i + 1}", nn.Linear(widths[i - 1], widths[i]))
        self.head = nn.Linear(widths[-2], CLASSES)
        self.depth = len(hidden)

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.depth + 1):
            x = F.relu(getattr(self, f"dense{i}")(x))
        return self.head(x)


class LeNet(nn.Module):
    def __init__(self, image: Pixels, features, dense):
        super().__init__()
        h, w, c = image
        self.conv1 = nn.Conv2d(c, features[0], 5, padding=2)
        self.conv2 = nn.Conv2d(features[0], features[1], 5, padding=2)
        self.dense1 = FromPixels((h // 2 // 2, w // 2 // 2, features[1]), dense)
        self.head = nn.Linear(dense, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.head(F.relu(self.dense1(x.flatten(1))))


class Block(nn.Module):
    def __init__(self, before, features, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, features, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.projects = stride != 1 or before != features
        if self.projects:
            self.shortcut_conv = nn.Conv2d(before, features, 1, stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(features)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.shortcut_bn(self.shortcut_conv(x)) if self.projects else x))


class ResNet(nn.Module):
    def __init__(self, image: Pixels, depth, stem, features):
        super().__init__()
        self.conv1 = nn.Conv2d(image[2], stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        before = stem
        for i, width in enumerate(features, start=1):
            stage = nn.Sequential()
            for j in range((depth - 2) // 6):
                stage.add_module(f"block{j + 1}", Block(before, width, 2 if i > 1 and j == 0 else 1))
                before = width
            setattr(self, f"stage{i}", stage)
        self.head = nn.Linear(before, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.head(x.mean((2, 3)))


def scaled(width: float, *channels: int) -> list[int]:
    return [max(1, round(count * width)) for count in channels]


class Generator(nn.Module):
    def __init__(self, latent: int, image_size, channels, width):
        super().__init__()
        first, second, third = scaled(width, 256, 128, 64)
        side = image_size // 4
        self.dense = ToPixels(latent, (side, side, first))
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.ConvTranspose2d(first, second, 5, padding=2, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.conv3 = nn.ConvTranspose2d(second, third, 5, 2, padding=2, output_padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(third)
        self.head = nn.ConvTranspose2d(third, channels, 5, 2, padding=2, output_padding=1)

    def forward(self, noise):
        h, w, c = self.dense.pixels
        x = F.leaky_relu(self.bn1(self.dense(noise).view(-1, c, h, w)), 0.3)
        x = F.leaky_relu(self.bn2(self.conv2(x)), 0.3)
        x = F.leaky_relu(self.bn3(self.conv3(x)), 0.3)
        return torch.tanh(self.head(x))


class Discriminator(nn.Module):
    def __init__(self, image: Pixels, width):
        super().__init__()
        h, w, c = image
        first, second = scaled(width, 64, 128)
        self.conv1 = nn.Conv2d(c, first, 5, 2, padding=2)
        self.conv2 = nn.Conv2d(first, second, 5, 2, padding=2)
        self.head = FromPixels((-(-h // 4), -(-w // 4), second), 1)

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x), 0.2)
        x = F.leaky_relu(self.conv2(x), 0.2)
        return self.head(x.flatten(1))[:, 0]


class Unshuffle(nn.Module):
    def __init__(self, image: Pixels, width, depth):
        super().__init__()
        channels = (4 * image[2], *[width] * (depth - 1), 4 * image[2])
        for i in range(1, depth + 1):
            setattr(self, f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], 3, padding=1))
        self.depth = depth

    def forward(self, x):
        y = F.pixel_unshuffle(x, 2)
        for i in range(1, self.depth):
            y = F.relu(getattr(self, f"conv{i}")(y))
        return x + F.pixel_shuffle(getattr(self, f"conv{self.depth}")(y), 2)


def build(model: Model, image: Pixels, latent: int) -> nn.Module:
    """The module of a model, for images of this shape."""
    made = {
        "mlp": MLP, "kdgan_lenet": LeNet, "resnet": ResNet, "dcgan_discriminator": Discriminator, "unshuffle": Unshuffle,
    }  # fmt: skip
    if model.name == "dcgan_generator":
        return Generator(latent, **model.fields)
    return made[model.name](image, **model.fields)


# Weights: Flax's name of a parameter of each kind of layer, and its axes.

NAMES: Mapping[type, Mapping[str, str]] = {
    nn.BatchNorm2d: {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"},
    nn.Module: {"weight": "kernel", "bias": "bias"},
}


def _flax_names(layer: nn.Module) -> Mapping[str, str]:
    return NAMES[nn.BatchNorm2d if isinstance(layer, nn.BatchNorm2d) else nn.Module]


def to_torch(layer: nn.Module, value: np.ndarray, mirrored: bool) -> np.ndarray:
    """A layer's Flax kernel in PyTorch's axes; what is no kernel as it is."""
    if value.ndim < 2:
        return value
    if isinstance(layer, nn.ConvTranspose2d):
        # Flax correlates where PyTorch convolves: in the mirror both are the same.
        return value.transpose(2, 3, 0, 1)
    if isinstance(layer, nn.Conv2d):
        return (value[::-1, ::-1] if mirrored else value).transpose(3, 2, 0, 1)
    if isinstance(layer, FromPixels):
        value = value.reshape(*layer.pixels, -1)
        value = (value[::-1, ::-1] if mirrored else value).transpose(3, 2, 0, 1)
        return value.reshape(len(value), -1)
    if isinstance(layer, ToPixels):
        value = value.reshape(-1, *layer.pixels)
        value = (value[:, ::-1, ::-1] if mirrored else value).transpose(3, 1, 2, 0)
        return value.reshape(-1, value.shape[-1])
    return value.T


def to_flax(layer: nn.Module, value: np.ndarray, mirrored: bool) -> np.ndarray:
    """The inverse of `to_torch`."""
    if value.ndim < 2:
        return value
    if isinstance(layer, nn.ConvTranspose2d):
        return value.transpose(2, 3, 0, 1)
    if isinstance(layer, nn.Conv2d):
        value = value.transpose(2, 3, 1, 0)
        return value[::-1, ::-1] if mirrored else value
    if isinstance(layer, FromPixels):
        h, w, c = layer.pixels
        value = value.reshape(-1, c, h, w).transpose(2, 3, 1, 0)
        return (value[::-1, ::-1] if mirrored else value).reshape(h * w * c, -1)
    if isinstance(layer, ToPixels):
        h, w, c = layer.pixels
        value = value.reshape(c, h, w, -1).transpose(3, 1, 2, 0)
        return (value[:, ::-1, ::-1] if mirrored else value).reshape(-1, h * w * c)
    return value.T


def load(net: nn.Module, variables: Mapping[str, Any], mirrored: bool) -> None:
    """Give a network a player's Flax variables, {"params": tree, "batch_stats": tree or absent}."""
    with torch.no_grad():
        for path, layer in net.named_modules():
            for own, flax in _flax_names(layer).items():
                target = getattr(layer, own, None)
                if isinstance(target, torch.Tensor):
                    node = variables["params" if isinstance(target, nn.Parameter) else "batch_stats"]
                    for name in path.split("."):
                        node = node[name]
                    value = to_torch(layer, np.asarray(node[flax]), mirrored)
                    target.copy_(torch.tensor(np.ascontiguousarray(value)))


def in_flax(net: nn.Module, values: Mapping[str, torch.Tensor], mirrored: bool) -> dict[str, Any]:
    """A value for each parameter, by PyTorch's name (a gradient, the weights), as a Flax tree."""
    tree: dict[str, Any] = {}
    layers = dict(net.named_modules())
    for name, value in values.items():
        path, _, own = name.rpartition(".")
        node = tree
        for part in path.split("."):
            node = node.setdefault(part, {})
        node[_flax_names(layers[path])[own]] = to_flax(layers[path], value.detach().cpu().numpy(), mirrored)
    return tree
