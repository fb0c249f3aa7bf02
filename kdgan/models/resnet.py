"""Residual networks for small images: depth 6n+2, post-activation, shortcuts with or without parameters, ×4 widths.

Module paths to ask features for:
  `stem`                  after the first convolution, batch norm and relu, [b, h, w, stem]
  `stage1` .. `stage3`    what each resolution ends with, after relu, [b, h', w', c]
  `stage2/block1`         one residual block, after relu (blocks count from 1)
  `stage2/block1/sum`     the same before relu; any layer inside too, e.g. `stage2/block1/bn1`
  `embedding`             the global mean that the head reads, [b, c]
  `head`                  logits [b, k]
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import (
    Tap,
    batch_norm,
    check_choice,
    check_fields,
    check_image,
    conv1x1,
    conv3x3,
    global_mean,
)


def pad_shortcut(x: Float[Array, "b h w c"], features: int, stride: int) -> Float[Array, "b i j d"]:
    """Option A: every `stride`-th pixel, its channels between zeros: [b, h, w, c] -> [b, ⌈h/s⌉, ⌈w/s⌉, features].

    Half of the zeros stand on either side, the odd one behind.
    """
    more = features - x.shape[-1]
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)).

    Where shapes change the shortcut is bn(1×1 convolution) ("B"), or `pad_shortcut` ("A").
    """

    features: int
    stride: int = 1
    axis_name: str | None = None
    shortcut: str = "B"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        y = conv3x3(self.features, self.stride, name="conv1")(x)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(y))
        y = conv3x3(self.features, name="conv2")(y)
        y = batch_norm(train=train, axis_name=self.axis_name, name="bn2")(y)
        changes = self.stride != 1 or x.shape[-1] != self.features
        if changes and self.shortcut == "A":
            x = pad_shortcut(x, self.features, self.stride)
        elif changes:
            x = conv1x1(self.features, self.stride, name="shortcut_conv")(x)
            x = batch_norm(train=train, axis_name=self.axis_name, name="shortcut_bn")(x)
        return nn.relu(Tap(name="sum")(x + y))


class ResNetStage(nn.Module):
    """`blocks` residual blocks at one resolution; the first one strides."""

    blocks: int
    features: int
    stride: int
    axis_name: str | None = None
    shortcut: str = "B"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        for i in range(self.blocks):
            stride = self.stride if i == 0 else 1
            block = BasicBlock(self.features, stride, self.axis_name, self.shortcut, name=f"block{i + 1}")
            x = block(x, train=train)
        return x


class ResNet(nn.Module):
    """He et al. 2016, section 4.2, with projection shortcuts (option B) as distillation's published tables have it.

    [b, h, w, c] -> logits [b, num_classes]. One 3×3 convolution, then a stage per width with n blocks of two
    convolutions each, every stage after the first halving the image; the global mean; the head. With three stages,
    depth = 6n + 2. Parameters with 100 classes at three channels: resnet20 278,324, resnet56 861,620, resnet110
    1,736,564. The ×4 variants of Tian et al. 2020 are `stem=32, features=(64, 128, 256)`: resnet8x4 1,233,540,
    resnet32x4 7,433,860.

    With `shortcut="A"` it is the network of the paper's own CIFAR-10 results, and of the checkpoints most used there:
    2,752 parameters fewer, with 10 classes resnet20 269,722, resnet56 853,018, resnet110 1,727,962. (The running variance
    of batch norm needs care between libraries: `kdgan.models.layers.batch_norm`.)

    Attributes:
      depth: layers with weights, not counting projections: 2 + 2·n·(number of stages).
      stem: channels of the first convolution.
      features: channels of each stage.
      num_classes: k.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
      stem_stride: of the first convolution; 2 halves the image before the first stage, a quarter of the operations.
      shortcut: where a block changes the image's size or the channels: "B", a projection with batch norm; "A", every
        second pixel with zeros for the new channels, without parameters (the widths must then not fall).

    Raises:
      ValueError: when it is built: a field out of its range, or widths that fall with `shortcut="A"`.
    """

    depth: int = 20
    stem: int = 16
    features: Sequence[int] = (16, 32, 64)
    num_classes: int = 10
    axis_name: str | None = None
    shortcut: str = "B"
    stem_stride: int = 1

    def __post_init__(self):
        check_fields(self, positive=("stem", "features", "num_classes", "stem_stride"))
        check_choice(self, "shortcut", ("A", "B"))
        if not self.features:
            raise ValueError("ResNet.features = (); it accepts one width per stage, e.g. (16, 32, 64)")
        per_block = 2 * len(self.features)
        if self.depth < 2 + per_block or (self.depth - 2) % per_block:
            raise ValueError(
                f"ResNet.depth = {self.depth}; with {len(self.features)} stages it accepts {per_block}n+2: "
                + ", ".join(str(2 + per_block * n) for n in (1, 2, 3, 5, 7, 9, 18))
                + ", ...; the four stages of ResNet-18 to -152 are imagenet_resnet"
            )
        widths = (self.stem, *self.features)
        if self.shortcut == "A" and any(before > after for before, after in itertools.pairwise(widths)):
            raise ValueError(
                f"ResNet.stem, features = {self.stem}, {tuple(self.features)}; with shortcut='A', which adds channels of"
                " zeros, it accepts widths that do not fall; shortcut='B' projects to any"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        x = conv3x3(self.stem, self.stem_stride, name="conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        x = Tap(name="stem")(x)
        blocks = (self.depth - 2) // (2 * len(self.features))
        for i, features in enumerate(self.features):
            stride = 1 if i == 0 else 2
            stage = ResNetStage(blocks, features, stride, self.axis_name, self.shortcut, name=f"stage{i + 1}")
            x = stage(x, train=train)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(global_mean(x)))
