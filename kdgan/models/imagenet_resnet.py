"""The residual networks of ImageNet, four stages from 64 channels, with the first layer that small images need.

Module paths to ask features for:
  `stem`                  after the first convolution, batch norm and relu, [b, h, w, stem]
  `stage1` .. `stage4`    what each resolution ends with, after relu, [b, h', w', c]
  `stage2/block1`         one residual block, after relu (blocks count from 1)
  `stage2/block1/sum`     the same before relu; any layer inside too, e.g. `stage2/block1/bn1`
  `embedding`             the global mean that the head reads, [b, c]
  `head`                  logits [b, k]
"""

from collections.abc import Sequence

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
from kdgan.models.resnet import BasicBlock

EXPANSION = 4  # channels that a bottleneck gives for each one inside


class Bottleneck(nn.Module):
    """relu(bn(1×1 of 4·features(relu(bn(3×3(relu(bn(1×1(x))))))) + shortcut(x)); the 3×3 convolution strides.

    Where shapes change the shortcut is bn(1×1 convolution).
    """

    features: int
    stride: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        y = conv1x1(self.features, name="conv1")(x)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(y))
        y = conv3x3(self.features, self.stride, name="conv2")(y)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(y))
        y = conv1x1(EXPANSION * self.features, name="conv3")(y)
        y = batch_norm(train=train, axis_name=self.axis_name, name="bn3")(y)
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            x = conv1x1(EXPANSION * self.features, self.stride, name="shortcut_conv")(x)
            x = batch_norm(train=train, axis_name=self.axis_name, name="shortcut_bn")(x)
        return nn.relu(Tap(name="sum")(x + y))


class ImageNetStage(nn.Module):
    """`blocks` residual blocks at one resolution; the first one strides."""

    block: str
    blocks: int
    features: int
    stride: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        make = Bottleneck if self.block == "bottleneck" else BasicBlock
        for i in range(self.blocks):
            stride = self.stride if i == 0 else 1
            x = make(self.features, stride, self.axis_name, name=f"block{i + 1}")(x, train=train)
        return x


class ImageNetResNet(nn.Module):
    """ResNet-18 to -152 (He et al. 2016, table 1) for small images: [b, h, w, c] -> logits [b, num_classes].

    One 3×3 convolution of stride 1 instead of the paper's 7×7 and pooling, as distillation's code has it on CIFAR (Tian
    et al. 2020, `resnetv2`); every stage after the first halves the image; the global mean; the head. Parameters with 100
    classes at three channels: with `block="basic"` ResNet-18 (blocks 2, 2, 2, 2) 11,220,132 and ResNet-34 (3, 4, 6, 3)
    21,328,292; with bottlenecks ResNet-50 (3, 4, 6, 3) 23,705,252, ResNet-101 (3, 4, 23, 3) 42,697,380, ResNet-152 (3, 8,
    36, 3) 58,341,028. The names `resnet20`, `resnet50` are those of `kdgan.models.resnet`: three stages from 16 channels.

    Attributes:
      blocks: residual blocks of each stage.
      features: channels of each stage; a bottleneck gives four times as many.
      stem: channels of the first convolution.
      num_classes: k.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
      block: "bottleneck" (three convolutions) or "basic" (two).

    Raises:
      ValueError: when it is built: a field out of its range, or `blocks` and `features` of different length.
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    features: Sequence[int] = (64, 128, 256, 512)
    stem: int = 64
    num_classes: int = 10
    axis_name: str | None = None
    block: str = "bottleneck"

    def __post_init__(self):
        check_fields(self, positive=("blocks", "features", "stem", "num_classes"))
        check_choice(self, "block", ("bottleneck", "basic"))
        if not self.blocks or len(self.blocks) != len(self.features):
            raise ValueError(
                f"ImageNetResNet.blocks, features = {self.blocks!r}, {self.features!r};"
                " it accepts one number of each for every stage"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        x = conv3x3(self.stem, name="conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        x = Tap(name="stem")(x)
        for i, (blocks, features) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            stage = ImageNetStage(self.block, blocks, features, 1 if i == 1 else 2, self.axis_name, name=f"stage{i}")
            x = stage(x, train=train)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(global_mean(x)))
