"""SNGAN: residual generator and discriminator, with conditional batch norm and projection where there are classes.

Module paths to ask features for:
  generator       `stage1`, `stage2`, ...: each block's sum, [b, s·2^i, s·2^i, 256]; `final`, what the last convolution
                  reads
  discriminator   `stage1` .. `stage4`: each block's sum, [b, h', w', 128] (the first two halve the image);
                  `embedding`, what the head reads, [b, 128]; `head` (the score's part that reads no label, [b, 1])
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from kdgan.models.gan_layers import (
    apply_layer,
    check_classes,
    check_image_size,
    check_label,
    check_noise,
    check_width,
    projection_score,
    scaled,
)
from kdgan.models.layers import Tap, batch_norm, check_fields, check_image

# The authors' code: Glorot's uniform, with gain √2 inside a block, where a relu follows.
_glorot = nn.initializers.glorot_uniform()
_glorot_relu = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """Every pixel as a 2×2 square of itself: [b, h, w, c] -> [b, 2h, 2w, c]."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """The mean of each 2×2 window, [b, h, w, c] -> [b, h//2, w//2, c]; an odd last row or column is left out."""
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and bias are looked up by class (Dumoulin et al. 2017); shared ones without classes.

    Attributes:
      classes: k; 0 is ordinary batch norm.
      axis_name: the `pmap` axis over which batch statistics are averaged while training.
    """

    classes: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        if not self.classes:
            return batch_norm(train=train, axis_name=self.axis_name, name="bn")(x)
        # The constants of `batch_norm`, whose own scale and bias the looked-up ones stand in for.
        x = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, use_bias=False, use_scale=False,
            axis_name=self.axis_name, name="bn",
        )(x)  # fmt: skip
        table = partial(nn.Embed, self.classes, x.shape[-1], dtype=x.dtype)
        scale = table(embedding_init=nn.initializers.ones, name="scale")(label)
        bias = table(embedding_init=nn.initializers.zeros, name="bias")(label)
        return x * scale[:, None, None, :] + bias[:, None, None, :]


class UpBlock(nn.Module):
    """conv(relu(bn(conv(up(relu(bn(x))))))) + up(1×1 convolution of x), up doubling the image.

    The shortcut's 1×1 convolution comes before the doubling: the order of the two does not matter to the result, and
    this one costs a quarter.
    """

    features: int
    classes: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool = False
    ) -> Float[Array, "b i j d"]:
        norm = partial(ConditionalBatchNorm, self.classes, self.axis_name)
        conv = partial(nn.Conv, self.features, (3, 3), kernel_init=_glorot_relu)
        y = upsample(nn.relu(norm(name="norm1")(x, label, train=train)))
        y = conv(name="conv1")(y)
        y = conv(name="conv2")(nn.relu(norm(name="norm2")(y, label, train=train)))
        return y + upsample(nn.Conv(self.features, (1, 1), kernel_init=_glorot, name="shortcut")(x))


class DownBlock(nn.Module):
    """conv(relu(conv(relu(x)))) + shortcut(x), both sides halved by averaging where `halve`.

    The shortcut is a 1×1 convolution where shapes change. The first block reads the image itself, without the first
    relu (`first`).
    """

    features: int
    halve: bool = False
    first: bool = False
    spectral_norm: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j d"]:
        layer = partial(apply_layer, spectral_norm=self.spectral_norm, train=train)
        conv = partial(nn.Conv, self.features, (3, 3), kernel_init=_glorot_relu)
        y = layer(conv(name="conv1"), x if self.first else nn.relu(x))
        y = layer(conv(name="conv2"), nn.relu(y))
        resized = self.halve or x.shape[-1] != self.features
        if self.halve:
            x, y = average_pool(x), average_pool(y)
        if resized:
            x = layer(nn.Conv(self.features, (1, 1), kernel_init=_glorot, name="shortcut"), x)
        return x + y


class SNGANGenerator(nn.Module):
    """SNGAN (Miyato et al. 2018, table 4): noise [b, d] -> image [b, h, h, channels] in [-1, 1], h = image_size.

    A dense layer to s×s×256, then residual blocks that each double the image, batch norm, relu, a 3×3 convolution and
    tanh. s is what halving `image_size` arrives at while it stays whole and at least 4: three blocks from 4×4 at 32,
    two from 7×7 at 28, one from 4×4 at 8. With d = 128 it has 4,276,739 parameters at 32×32×3.

    Attributes:
      image_size: side of the image in pixels, a multiple of 4 and at least 8.
      channels: c of the image.
      width: factor of the 256 channels (rounded, at least 1).
      classes: k where images have a class, which then chooses scale and bias of every batch norm. 0: no label.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
    """

    image_size: int = 32
    channels: int = 3
    width: float = 1.0
    classes: int = 0
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("channels",))
        check_image_size(self, multiple=4, smallest=8)
        check_width(self)
        check_classes(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, noise: Float[Array, "..."], label: Int[Array, "..."] | None = None, *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """Images of noise [b, d], and of classes [b] where the model has them.

        Raises:
          ValueError: noise is not [b, d]; a label is given without classes, missing with them, or not [b].
        """
        check_noise(self, noise)
        check_label(self, label, noise.shape[0])
        side, blocks = self.image_size, 0
        while side % 2 == 0 and side >= 8:
            side, blocks = side // 2, blocks + 1
        features = scaled(256, self.width)
        x = nn.Dense(side * side * features, kernel_init=_glorot, name="dense")(noise)
        x = x.reshape(-1, side, side, features)
        for i in range(1, blocks + 1):
            x = UpBlock(features, self.classes, self.axis_name, name=f"stage{i}")(x, label, train=train)
        x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name="norm")(x))
        x = Tap(name="final")(x)
        return jnp.tanh(nn.Conv(self.channels, (3, 3), kernel_init=_glorot, name="head")(x))


class SNGANDiscriminator(nn.Module):
    """Discriminator of an SNGAN: image [b, h, w, c], h and w at least 4 -> score [b], a logit of being real.

    Four residual blocks of 128 channels, the first two halving the image; relu, the sum over positions, a dense layer.
    At 32×32×3 it has 1,053,825 parameters.

    Attributes:
      width: factor of the 128 channels (rounded, at least 1).
      spectral_norm: whether every kernel is divided by its largest singular value.
      classes: k where images have a class, which then enters by projection (Miyato & Koyama 2018). 0: no label.
    """

    width: float = 1.0
    spectral_norm: bool = True
    classes: int = 0

    def __post_init__(self):
        check_width(self)
        check_classes(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, image: Float[Array, "..."], label: Int[Array, "..."] | None = None, *, train: bool = False
    ) -> Float[Array, " b"]:
        """Scores of images [b, h, w, c], and of their classes [b] where the model has them.

        Raises:
          ValueError: images are not [b, h, w, c] of at least 4×4; a label is given without classes, missing with
            them, or not [b].
        """
        check_image(self, image, min_size=4)
        check_label(self, label, image.shape[0])
        block = partial(DownBlock, scaled(128, self.width), spectral_norm=self.spectral_norm)
        x = image
        for i in range(1, 5):
            x = block(halve=i <= 2, first=i == 1, name=f"stage{i}")(x, train=train)
        x = Tap(name="embedding")(nn.relu(x).sum((1, 2)))
        return projection_score(self, x, label, spectral_norm=self.spectral_norm, train=train)
