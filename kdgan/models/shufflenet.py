"""ShuffleNet and ShuffleNetV2 for small images: depthwise and grouped convolutions whose channels are mixed by position.

Module paths to ask features for:
  `stem`                  after the first convolution, batch norm and relu, [b, h, w, stem]
  `stage1` .. `stage3`    what each resolution ends with, after relu, [b, h', w', c]
  `stage2/block1`         one block, after relu (blocks count from 1)
  `stage2/block1/sum`     the same before relu, where V2's is before its channels are shuffled, too; V2's blocks that halve
                          the image have none
  `stage2/block1/bn1`     any layer inside
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
    check_fields,
    check_image,
    conv1x1,
    conv3x3,
    global_mean,
    torch_uniform,
)


def channel_shuffle(x: Float[Array, "... c"], groups: int) -> Float[Array, "... c"]:
    """Channels (1st of each group, 2nd of each group, ...) of x, whose channels are `groups` groups one after another.

    Channel i·(c/groups) + j goes to j·groups + i; with one group nothing moves.

    Raises:
      ValueError: the channels are no multiple of `groups`.
    """
    channels = x.shape[-1]
    if channels % groups:
        raise ValueError(
            f"channel_shuffle of {channels} channels in {groups} groups; it accepts a multiple of {groups}"
        )
    of_groups = x.reshape(*x.shape[:-1], groups, channels // groups)
    return jnp.swapaxes(of_groups, -1, -2).reshape(x.shape)


def channel_split(x: Float[Array, "... c"], first: int) -> tuple[Float[Array, "... d"], Float[Array, "... e"]]:
    """The first `first` channels of x, and the others."""
    return x[..., :first], x[..., first:]


def mean3x3(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """The mean of every second 3×3 window, [b, h, w, c] -> [b, ⌈h/2⌉, ⌈w/2⌉, c]; beyond the image there are zeros."""
    return nn.avg_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)), count_include_pad=True)


class ShuffleBlock(nn.Module):
    """bn(grouped 1×1(relu(bn(depthwise 3×3(shuffle(relu(bn(grouped 1×1(x))))))))) beside x, then relu.

    x is added; where the image is halved it is averaged (`mean3x3`) and its channels stand behind the others. Inside there
    is a quarter of the branch's channels. `first_groups` are the groups of the first convolution and of the shuffle.
    """

    features: int
    stride: int
    groups: int
    first_groups: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        features = self.features if self.stride == 1 else self.features - x.shape[-1]
        inside = features // 4
        y = conv1x1(inside, groups=self.first_groups, init=torch_uniform, name="conv1")(x)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(y))
        y = channel_shuffle(y, self.first_groups)
        y = conv3x3(inside, self.stride, groups=inside, init=torch_uniform, name="conv2")(y)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(y))
        y = conv1x1(features, groups=self.groups, init=torch_uniform, name="conv3")(y)
        y = batch_norm(train=train, axis_name=self.axis_name, name="bn3")(y)
        y = y + x if self.stride == 1 else jnp.concatenate((y, mean3x3(x)), axis=-1)
        return nn.relu(Tap(name="sum")(y))


class ShuffleStage(nn.Module):
    """`blocks` blocks at one resolution; the first one halves the image. `ungrouped`: its first convolution, too."""

    blocks: int
    features: int
    groups: int
    ungrouped: bool
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        for i in range(self.blocks):
            first = i == 0
            groups = 1 if first and self.ungrouped else self.groups
            block = ShuffleBlock(
                self.features, 2 if first else 1, self.groups, groups, self.axis_name, name=f"block{i + 1}"
            )
            x = block(x, train=train)
        return x


class ShuffleNetV1(nn.Module):
    """ShuffleNet (Zhang et al. 2018) as distillation has it at 32×32: [b, h, w, c] -> logits [b, num_classes].

    A 1×1 convolution (the paper: 3×3 of stride 2, and pooling) with batch norm and relu; three stages, each of which
    halves the image in its first block; the global mean; the head. The default is the student of published tables (Tian et
    al. 2020, `ShuffleV1`), with 949,258 parameters with 100 classes at three channels. As in that code a block has relu
    behind its depthwise convolution, which the paper's has not, and a quarter of its branch's channels inside. Convolutions
    are drawn as PyTorch draws them.

    Attributes:
      groups: of the 1×1 convolutions, but for the very first in a block, which reads the stem.
      features: channels of each stage.
      blocks: how many of each stage, with the one that halves the image.
      stem: channels of the first convolution.
      num_classes: k.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.

    Raises:
      ValueError: when it is built: a field out of its range, stages of different number, or channels that no grouped
        convolution can have.
    """

    groups: int = 3
    features: Sequence[int] = (240, 480, 960)
    blocks: Sequence[int] = (4, 8, 4)
    stem: int = 24
    num_classes: int = 10
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("groups", "features", "blocks", "stem", "num_classes"))
        _check_stages(self, self.features, self.blocks)
        widths, multiple = (self.stem, *self.features), 4 * self.groups
        grow = all(before < after for before, after in itertools.pairwise(widths))
        if not grow or any(width % multiple for width in widths):
            raise ValueError(
                f"ShuffleNetV1.stem, features = {self.stem}, {tuple(self.features)}; with groups = {self.groups} it accepts"
                f" multiples of {multiple} that grow"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        x = conv1x1(self.stem, init=torch_uniform, name="conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        x = Tap(name="stem")(x)
        for i, (blocks, features) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            stage = ShuffleStage(blocks, features, self.groups, i == 1, self.axis_name, name=f"stage{i}")
            x = stage(x, train=train)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(global_mean(x)))


class SplitBlock(nn.Module):
    """shuffle(x₁, relu(bn(1×1(bn(depthwise 3×3(relu(bn(1×1(x₂))))))))), of the two halves of x's channels."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        half = x.shape[-1] // 2
        first, second = channel_split(x, half)
        y = conv1x1(half, init=torch_uniform, name="conv1")(second)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(y))
        y = conv3x3(half, groups=half, init=torch_uniform, name="conv2")(y)
        y = batch_norm(train=train, axis_name=self.axis_name, name="bn2")(y)
        y = conv1x1(half, init=torch_uniform, name="conv3")(y)
        y = batch_norm(train=train, axis_name=self.axis_name, name="bn3")(y)
        y = Tap(name="sum")(jnp.concatenate((first, y), axis=-1))
        # Of the first half relu changes nothing: it is what a block before gave.
        return channel_shuffle(nn.relu(y), 2)


class HalvingBlock(nn.Module):
    """shuffle of two branches of x: relu(bn(1×1(bn(depthwise 3×3)))), and the same behind relu(bn(1×1)); both stride."""

    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        half = self.features // 2
        left = conv3x3(x.shape[-1], 2, groups=x.shape[-1], init=torch_uniform, name="conv1")(x)
        left = batch_norm(train=train, axis_name=self.axis_name, name="bn1")(left)
        left = conv1x1(half, init=torch_uniform, name="conv2")(left)
        left = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(left))
        right = conv1x1(half, init=torch_uniform, name="conv3")(x)
        right = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn3")(right))
        right = conv3x3(half, 2, groups=half, init=torch_uniform, name="conv4")(right)
        right = batch_norm(train=train, axis_name=self.axis_name, name="bn4")(right)
        right = conv1x1(half, init=torch_uniform, name="conv5")(right)
        right = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn5")(right))
        return channel_shuffle(jnp.concatenate((left, right), axis=-1), 2)


class SplitStage(nn.Module):
    """`blocks` blocks at one resolution; the first one halves the image."""

    blocks: int
    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        x = HalvingBlock(self.features, self.axis_name, name="block1")(x, train=train)
        for i in range(2, self.blocks + 1):
            x = SplitBlock(self.axis_name, name=f"block{i}")(x, train=train)
        return x


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 (Ma et al. 2018) as distillation has it at 32×32: [b, h, w, c] -> logits [b, num_classes].

    A 1×1 convolution (the paper: 3×3 of stride 2, and pooling) with batch norm and relu; three stages, each of which
    halves the image in its first block; a 1×1 convolution; the global mean; the head. The default is the student of
    published tables (Tian et al. 2020, `ShuffleV2`, the paper's 1×), with 1,355,528 parameters with 100 classes at three
    channels; others of that code: `features=(48, 96, 192)` 443,716, `(176, 352, 704)` 2,580,548. Convolutions are drawn as
    PyTorch draws them.

    Attributes:
      features: channels of each stage, even numbers.
      blocks: how many of each stage, with the one that halves the image.
      stem: channels of the first convolution.
      last: channels of the last one.
      num_classes: k.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.

    Raises:
      ValueError: when it is built: a field out of its range, stages of different number, or an odd number of channels.
    """

    features: Sequence[int] = (116, 232, 464)
    blocks: Sequence[int] = (4, 8, 4)
    stem: int = 24
    last: int = 1024
    num_classes: int = 10
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("features", "blocks", "stem", "last", "num_classes"))
        _check_stages(self, self.features, self.blocks)
        if any(width % 2 for width in self.features):
            raise ValueError(
                f"ShuffleNetV2.features = {tuple(self.features)}; it accepts even numbers, of two halves each"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        x = conv1x1(self.stem, init=torch_uniform, name="conv1")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        x = Tap(name="stem")(x)
        for i, (blocks, features) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            x = SplitStage(blocks, features, self.axis_name, name=f"stage{i}")(x, train=train)
        x = conv1x1(self.last, init=torch_uniform, name="conv2")(x)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(x))
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(global_mean(x)))


def _check_stages(model: nn.Module, features: Sequence[int], blocks: Sequence[int]) -> None:
    if not features or len(features) != len(blocks):
        raise ValueError(
            f"{type(model).__name__}.features, blocks = {features!r}, {blocks!r}; it accepts one number of each for every"
            " stage"
        )
