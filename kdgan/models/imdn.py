"""IMDN, the information multi-distillation network of super-resolution, and its small real-time form.

Module paths to ask features for:
  `stem`                       the first convolution, [b, h, w, width]
  `block1` .. `block{blocks}`  multi-distillation blocks, [b, h, w, width]
  `body`                       what the last convolution reads, [b, h, w, width]
"""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.instance_norm import ImageMoments
from kdgan.models.layers import Tap, check_fields
from kdgan.models.pixels import check_images, check_scale, conv, pixel_shuffle

_SLOPE = 0.05


class IMDN(nn.Module):
    """IMDN (Hui et al. 2019, "Lightweight image super-resolution with information multi-distillation network").

    [b, h, w, c] -> [b, s·h, s·w, c]. Blocks of four 3×3 convolutions, of which each but the last hands a quarter of its
    channels on to the block's end; 694,404 parameters of RGB at scale 2 as published. `rtc` is the authors' small form for
    real time (`imdn_rtc`: 12 wide, 5 blocks, 20,190 parameters): blocks in a row, and one 1×1 convolution in place of their
    fusion. It has no attention, whose weights depend on the whole image.

    Attributes:
      scale: s.
      width: channels, a multiple of 4.
      blocks: their number.
      rtc: whether it is the real-time form.
    """

    scale: int = 2
    width: int = 64
    blocks: int = 6
    rtc: bool = False

    def __post_init__(self):
        check_fields(self, positive=("width", "blocks"))
        check_scale(self)
        if self.width % 4:
            raise ValueError(f"IMDN.width = {self.width}; it accepts a multiple of 4")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b i j c"]:
        check_images(self, x)
        stem = conv(self.width, name="stem")(x)
        y, made = stem, []
        for i in range(1, self.blocks + 1):
            y = DistillationBlock(self.width, attention=not self.rtc, name=f"block{i}")(y)
            made.append(y)
        if self.rtc:
            y = conv(self.width, 1, name="fuse")(y) + stem
        else:
            y = nn.leaky_relu(conv(self.width, 1, name="fuse")(jnp.concatenate(made, -1)), _SLOPE)
            y = conv(self.width, name="joined")(y) + stem
        y = Tap(name="body")(y)
        last = conv(x.shape[-1] * self.scale**2, init=nn.initializers.lecun_normal(), name="up")
        return pixel_shuffle(last(y), self.scale)


class DistillationBlock(nn.Module):
    """Four convolutions; a quarter of what each of the first three gives, and the fourth's, are joined, and x is added."""

    width: int
    attention: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        kept, y, quarter = [], x, self.width // 4
        for i in range(1, 4):
            y = nn.leaky_relu(conv(self.width, name=f"conv{i}")(y), _SLOPE)
            kept.append(y[..., :quarter])
            y = y[..., quarter:]
        joined = jnp.concatenate([*kept, conv(quarter, name="conv4")(y)], -1)
        if self.attention:
            joined = ContrastAttention(max(1, self.width // 16), name="attention")(joined)
        return conv(self.width, 1, name="conv5")(joined) + x


class ContrastAttention(nn.Module):
    """Channels weighted by their contrast: x · sigmoid(W₂ relu(W₁ (standard deviation + mean over the image)))."""

    reduced: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean, variance = ImageMoments(name="moments")(x)
        # Of a channel that is the same everywhere the root has no derivative.
        deviation = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
        y = (mean + deviation).astype(x.dtype)
        y = conv(x.shape[-1], 1, name="expand")(nn.relu(conv(self.reduced, 1, name="reduce")(y)))
        return x * nn.sigmoid(y)
