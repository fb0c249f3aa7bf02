"""VGG with batch norm in the form used on CIFAR: five stages of convolutions, a global mean, one dense layer.

Module paths to ask features for:
  `stage1` .. `stage5`    what each stage ends with, after relu and before it is pooled, [b, h', w', c]
  `stage2/bn1`            a layer inside a stage (they count from 1); a stage's last `bn` is its feature before relu
  `embedding`             the global mean that the head reads, [b, c]
  `head`                  logits [b, k]
"""

from collections.abc import Mapping, Sequence

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, batch_norm, check_fields, check_image, conv3x3, global_mean, max_pool

# Convolutions per stage. 11 to 19 are A, B, D and E of Simonyan and Zisserman 2015, 8 is the small one of Tian et al.
# 2020; the published depth counts three dense layers, of which the CIFAR form keeps one.
_CONVOLUTIONS: Mapping[int, tuple[int, ...]] = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGGStage(nn.Module):
    """`convolutions` times convolution, batch norm, relu at one resolution."""

    convolutions: int
    features: int
    axis_name: str | None = None
    bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w d"]:
        for i in range(1, self.convolutions + 1):
            x = conv3x3(self.features, bias=self.bias, name=f"conv{i}")(x)
            x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name=f"bn{i}")(x))
        return x


class VGG(nn.Module):
    """VGG (Simonyan and Zisserman 2015) with batch norm: [b, h, w, c] -> logits [b, num_classes].

    Five stages; a 2×2 maximum follows each of the first `pools`, the global mean the last. With three poolings (Tian et
    al. 2020 at 32×32) the last two stages share a resolution. Convolutions have no bias, since batch norm takes it
    out again; published code keeps one of each channel, as `bias=True` does. Parameters with 100 classes at three
    channels, without and with: VGG-8 3,963,556 and 3,965,028, VGG-11 9,274,532 and 9,277,284, VGG-13 9,459,236 and
    9,462,180, VGG-16 14,770,212 and 14,774,436, VGG-19 20,081,188 and 20,086,692.

    Attributes:
      depth: 8, 11, 13, 16 or 19.
      features: channels of each of the five stages.
      num_classes: k.
      pools: how many of the five stages are pooled, the first ones: 3 for 32×32, 4 for 64×64. An image must have at
        least 2**pools pixels a side.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
      bias: whether convolutions have one, which changes no output while training: batch norm takes it out.
    """

    depth: int = 8
    features: Sequence[int] = (64, 128, 256, 512, 512)
    num_classes: int = 10
    pools: int = 3
    axis_name: str | None = None
    bias: bool = False

    def __post_init__(self):
        check_fields(self, positive=("features", "num_classes"))
        if self.depth not in _CONVOLUTIONS:
            raise ValueError(f"VGG.depth = {self.depth}; it accepts {', '.join(map(str, _CONVOLUTIONS))}")
        stages = len(_CONVOLUTIONS[self.depth])
        if len(self.features) != stages:
            raise ValueError(f"VGG.features = {self.features!r}; it accepts {stages} widths, one per stage")
        if not 0 <= self.pools <= stages:
            raise ValueError(f"VGG.pools = {self.pools}; it accepts 0 to {stages}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x, min_size=2**self.pools)
        stages = zip(_CONVOLUTIONS[self.depth], self.features, strict=True)
        for i, (convolutions, features) in enumerate(stages, start=1):
            x = VGGStage(convolutions, features, self.axis_name, self.bias, name=f"stage{i}")(x, train=train)
            if i <= self.pools:
                x = max_pool(x)
        x = Tap(name="embedding")(global_mean(x))
        # As published implementations draw it.
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="head")(x)
