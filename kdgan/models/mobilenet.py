"""MobileNetV2 for small images: inverted residual blocks of depthwise convolutions between 1×1 convolutions.

Module paths to ask features for:
  `stem`                  after the first convolution, batch norm and relu, [b, h/2, w/2, c]
  `stage1` .. `stage4`    what each resolution ends with: a block's sum, not rectified, [b, h', w', c]
  `stage2/block1`         one inverted residual block (blocks count from 1 in their stage)
  `stage2/block1/bn3`     any layer inside, here the end of the block's branch
  `embedding`             the global mean, after the last 1×1 convolution, that the head reads, [b, last]
  `head`                  logits [b, k]
"""

from collections.abc import Iterator, Sequence

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, batch_norm, check_fields, check_image, conv1x1, conv3x3, global_mean


class InvertedResidual(nn.Module):
    """bn(1×1(relu(bn(depthwise 3×3(relu(bn(1×1 of expand·c(x)))))))), to which x is added where the shape is x's."""

    features: int
    stride: int = 1
    expand: int = 6
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        inside = self.expand * x.shape[-1]
        y = conv1x1(inside, name="conv1")(x)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(y))
        y = conv3x3(inside, self.stride, groups=inside, name="conv2")(y)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(y))
        y = conv1x1(self.features, name="conv3")(y)
        y = batch_norm(train=train, axis_name=self.axis_name, name="bn3")(y)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetStage(nn.Module):
    """The blocks at one resolution, each of its own (features, stride, expand)."""

    blocks: Sequence[tuple[int, int, int]]
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        for i, (features, stride, expand) in enumerate(self.blocks, start=1):
            x = InvertedResidual(features, stride, expand, self.axis_name, name=f"block{i}")(x, train=train)
        return x


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018, table 2) as distillation has it at 32×32: [b, h, w, c] -> [b, num_classes].

    A 3×3 convolution of stride 2; groups of equal inverted residual blocks; a 1×1 convolution; the global mean; the head.
    The default is the student of published tables (Tian et al. 2020, `mobile_half`), half as wide, with 812,836 parameters
    with 100 classes at three channels. It differs from the paper as that code does: the second group does not stride, so
    that 32×32 pixels end as 2×2; relu is not cut at 6; a block with expansion 1 keeps its first 1×1 convolution; there is
    no dropout.

    Attributes:
      width: multiplies the channels of the stem and of the groups, rounded down; of `last` where it is above 1.
      channels: of each group of blocks, before `width`.
      blocks: how many of each group.
      strides: 1 or 2, of each group's first block. A stage begins with the first group and with every group of stride 2.
      expand: how many times as many channels a block has inside; 1 in the first group.
      stem: channels of the first convolution, before `width`.
      last: channels of the last one.
      num_classes: k.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.

    Raises:
      ValueError: when it is built: a field out of its range, groups of different number, or a width that leaves no channel.
    """

    width: float = 0.5
    channels: Sequence[int] = (16, 24, 32, 64, 96, 160, 320)
    blocks: Sequence[int] = (1, 2, 3, 4, 3, 3, 1)
    strides: Sequence[int] = (1, 1, 2, 2, 1, 2, 1)
    expand: int = 6
    stem: int = 32
    last: int = 1280
    num_classes: int = 10
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("channels", "blocks", "expand", "stem", "last", "num_classes"))
        check_fields(self, positive=("strides",), most=2)
        if not self.channels or not len(self.channels) == len(self.blocks) == len(self.strides):
            raise ValueError(
                f"MobileNetV2.channels, blocks, strides = {self.channels!r}, {self.blocks!r}, {self.strides!r};"
                " it accepts one number of each for every group of blocks"
            )
        narrowest = min(self.stem, *self.channels)
        if isinstance(self.width, bool) or not isinstance(self.width, int | float) or self.width * narrowest < 1:
            raise ValueError(f"MobileNetV2.width = {self.width!r}; it accepts 1/{narrowest} and more")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        x = conv3x3(int(self.stem * self.width), 2, name="conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        x = Tap(name="stem")(x)
        for i, blocks in enumerate(self._stages(), start=1):
            x = MobileNetStage(blocks, self.axis_name, name=f"stage{i}")(x, train=train)
        x = conv1x1(int(self.last * max(1.0, self.width)), name="conv2")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(x))
        x = Tap(name="embedding")(global_mean(x))
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="head")(x)

    def _stages(self) -> Iterator[tuple[tuple[int, int, int], ...]]:
        """Of every resolution its blocks."""
        stage: list[tuple[int, int, int]] = []
        for i, (channels, blocks, stride) in enumerate(zip(self.channels, self.blocks, self.strides, strict=True)):
            if stage and stride == 2:
                yield tuple(stage)
                stage = []
            features, expand = int(channels * self.width), 1 if i == 0 else self.expand
            stage += [(features, stride if j == 0 else 1, expand) for j in range(blocks)]
        yield tuple(stage)
