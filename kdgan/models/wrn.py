"""Wide residual networks, WRN-depth-widen: pre-activation blocks, dropout optional.

Module paths to ask features for:
  `stem`                  the first convolution, [b, h, w, 16]
  `stage1` .. `stage3`    what each resolution ends with: the residual sum, neither normalised nor rectified (the next
                          stage does that first), [b, h', w', c]
  `stage2/block1`         one residual block's sum (blocks count from 1); any layer inside, e.g. `stage2/block1/bn1`
  `embedding`             the global mean of the rectified last stage that the head reads, [b, c]
  `head`                  logits [b, k]
"""

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, batch_norm, check_fields, check_image, conv1x1, conv3x3, global_mean


class WideBlock(nn.Module):
    """shortcut + conv(dropout(relu(bn(conv(relu(bn(x))))))); where shapes change the shortcut projects relu(bn(x))."""

    features: int
    stride: int = 1
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        active = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn1")(x))
        if self.stride != 1 or x.shape[-1] != self.features:
            x = conv1x1(self.features, self.stride, name="shortcut_conv")(active)
        y = conv3x3(self.features, self.stride, name="conv1")(active)
        y = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn2")(y))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return x + conv3x3(self.features, name="conv2")(y)


class WideStage(nn.Module):
    """`blocks` wide blocks at one resolution; the first one strides."""

    blocks: int
    features: int
    stride: int
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        for i in range(self.blocks):
            stride = self.stride if i == 0 else 1
            x = WideBlock(self.features, stride, self.dropout, self.axis_name, name=f"block{i + 1}")(x, train=train)
        return x


class WideResNet(nn.Module):
    """Wide residual network (Zagoruyko and Komodakis 2016): [b, h, w, c] -> logits [b, num_classes].

    Three stages of 16, 32 and 64 times `widen` channels. Parameters at three channels: WRN-28-10 36,479,194 with 10
    classes; with 100 classes WRN-40-2 2,255,156, WRN-40-1 569,780, WRN-16-2 703,284.

    Attributes:
      depth: 6n + 4, n blocks of two convolutions per stage.
      widen: the paper's k.
      num_classes: number of classes.
      dropout: rate between the two convolutions of a block while training (the paper: 0.3 where there is no
        augmentation); draws from the stream `dropout`.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
    """

    depth: int = 16
    widen: int = 2
    num_classes: int = 10
    dropout: float = 0.0
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("widen", "num_classes"), rates=("dropout",))
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"WideResNet.depth = {self.depth}; it accepts 6n+4: 10, 16, 22, 28, 40, ...")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        x = conv3x3(16, name="stem")(x)
        blocks = (self.depth - 4) // 6
        for i in range(3):
            features, stride = 16 * 2**i * self.widen, 1 if i == 0 else 2
            stage = WideStage(blocks, features, stride, self.dropout, self.axis_name, name=f"stage{i + 1}")
            x = stage(x, train=train)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="bn")(x))
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(global_mean(x)))
