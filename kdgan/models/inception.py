"""The Inception network that FID is defined by: Inception-v3 (Szegedy et al. 2016) as TensorFlow released it in 2015.

Not the Inception-v3 of model zoos: this one has 1008 outputs, average pooling that leaves the padding out of its mean,
and maximum pooling in its last block (an oddity of the release that every published FID contains). Modules are called
as in the PyTorch port of the weights, whose files `kdgan.models.inception_weights` reads.

Module paths to ask features for: `pool3` (the global mean that FID reads, [b, 2048]), `Mixed_5b` .. `Mixed_7c` (the
blocks, [b, h, w, c]), any convolution inside, as `Mixed_6a/branch3x3`, and `fc` (logits).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields, check_image, global_mean

SIDE = 299  # pixels


class ConvNorm(nn.Module):
    """relu(bn(conv(x))) with the stored statistics; at stride 1 the image keeps its size unless `padding` says "VALID".

    Attributes:
      features: channels out.
      kernel: height and width.
      stride: of both.
      padding: "SAME" or "VALID". Kernels have odd sides, so that "SAME" pads both ends alike.
    """

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        strides = (self.stride, self.stride)
        x = nn.Conv(self.features, self.kernel, strides, padding=self.padding, use_bias=False, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


class InceptionA(nn.Module):
    """1×1, 5×5, twice 3×3, and the mean of 3×3: [b, h, w, c] -> [b, h, w, 224 + pool_features]."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        one = ConvNorm(64, name="branch1x1")(x)
        five = ConvNorm(48, name="branch5x5_1")(x)
        five = ConvNorm(64, (5, 5), name="branch5x5_2")(five)
        double = ConvNorm(64, name="branch3x3dbl_1")(x)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_3")(double)
        pool = ConvNorm(self.pool_features, name="branch_pool")(_mean3x3(x))
        return jnp.concatenate([one, five, double, pool], axis=-1)


class InceptionB(nn.Module):
    """Halves the image: 3×3, twice 3×3, and a maximum, [b, h, w, c] -> [b, (h − 1)//2, (w − 1)//2, 480 + c]."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        three = ConvNorm(384, (3, 3), 2, "VALID", name="branch3x3")(x)
        double = ConvNorm(64, name="branch3x3dbl_1")(x)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double)
        double = ConvNorm(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double)
        return jnp.concatenate([three, double, _halving_max(x)], axis=-1)


class InceptionC(nn.Module):
    """1×1, 7×7 and twice 7×7 as rows and columns of `channels`, and the mean of 3×3: [b, h, w, c] -> [b, h, w, 768]."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        row, column = (1, 7), (7, 1)
        one = ConvNorm(192, name="branch1x1")(x)
        seven = ConvNorm(self.channels, name="branch7x7_1")(x)
        seven = ConvNorm(self.channels, row, name="branch7x7_2")(seven)
        seven = ConvNorm(192, column, name="branch7x7_3")(seven)
        double = ConvNorm(self.channels, name="branch7x7dbl_1")(x)
        double = ConvNorm(self.channels, column, name="branch7x7dbl_2")(double)
        double = ConvNorm(self.channels, row, name="branch7x7dbl_3")(double)
        double = ConvNorm(self.channels, column, name="branch7x7dbl_4")(double)
        double = ConvNorm(192, row, name="branch7x7dbl_5")(double)
        pool = ConvNorm(192, name="branch_pool")(_mean3x3(x))
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class InceptionD(nn.Module):
    """Halves the image: 3×3, 7×7 with 3×3, and a maximum, [b, h, w, c] -> [b, (h − 1)//2, (w − 1)//2, 512 + c]."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        three = ConvNorm(192, name="branch3x3_1")(x)
        three = ConvNorm(320, (3, 3), 2, "VALID", name="branch3x3_2")(three)
        seven = ConvNorm(192, name="branch7x7x3_1")(x)
        seven = ConvNorm(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = ConvNorm(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = ConvNorm(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, _halving_max(x)], axis=-1)


class InceptionE(nn.Module):
    """1×1, 3×3 forked into row and column, twice 3×3 so forked, and a pooling: [b, h, w, c] -> [b, h, w, 2048].

    Attributes:
      pool: "mean", or "max" as the last block has it.
    """

    pool: str = "mean"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        one = ConvNorm(320, name="branch1x1")(x)
        row, column = (1, 3), (3, 1)
        three = ConvNorm(384, name="branch3x3_1")(x)
        three_row = ConvNorm(384, row, name="branch3x3_2a")(three)
        three_column = ConvNorm(384, column, name="branch3x3_2b")(three)
        double = ConvNorm(448, name="branch3x3dbl_1")(x)
        double = ConvNorm(384, (3, 3), name="branch3x3dbl_2")(double)
        double_row = ConvNorm(384, row, name="branch3x3dbl_3a")(double)
        double_column = ConvNorm(384, column, name="branch3x3dbl_3b")(double)
        pooled = {"mean": _mean3x3, "max": _max3x3}[self.pool](x)
        pool = ConvNorm(192, name="branch_pool")(pooled)
        return jnp.concatenate([one, three_row, three_column, double_row, double_column, pool], axis=-1)


class InceptionV3(nn.Module):
    """Inception-v3 of FID: [b, h, w, 3] in [−1, 1] -> logits [b, num_classes]; 23,850,960 parameters.

    An instrument rather than a player: it always runs with its stored statistics and without dropout. Images that are
    not 299×299 are resized as pytorch-fid does it, bilinearly with half-pixel centres and no smoothing before; published
    numbers made with other resizing (TensorFlow's, or a smoothing one) differ, by whole points of FID in Parmar et al.
    2022. Images of one channel are given three equal ones.

    Attributes:
      num_classes: 1008, those of the released weights.
      head_bias: whether the logits have their bias. The inception score of Salimans et al. 2016 is computed without.
    """

    num_classes: int = 1008
    head_bias: bool = True

    def __post_init__(self):
        check_fields(self, positive=("num_classes",))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        if x.shape[-1] not in (1, 3):
            raise ValueError(f"InceptionV3 got an image batch of shape {tuple(x.shape)}; it accepts 1 or 3 channels")
        x = jnp.broadcast_to(x, (*x.shape[:3], 3))
        x = resize_bilinear(x, SIDE)
        x = ConvNorm(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = ConvNorm(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _halving_max(x)
        x = ConvNorm(80, name="Conv2d_3b_1x1")(x)
        x = ConvNorm(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _halving_max(x)
        for block in (
            InceptionA(32, name="Mixed_5b"),  # 35×35
            InceptionA(64, name="Mixed_5c"),
            InceptionA(64, name="Mixed_5d"),
            InceptionB(name="Mixed_6a"),  # 17×17
            InceptionC(128, name="Mixed_6b"),
            InceptionC(160, name="Mixed_6c"),
            InceptionC(160, name="Mixed_6d"),
            InceptionC(192, name="Mixed_6e"),
            InceptionD(name="Mixed_7a"),  # 8×8
            InceptionE(name="Mixed_7b"),
            InceptionE("max", name="Mixed_7c"),
        ):
            x = block(x)
        x = Tap(name="pool3")(global_mean(x))
        return nn.Dense(self.num_classes, use_bias=self.head_bias, name="fc")(x)


def resize_bilinear(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b s s c"]:
    """[b, side, side, c] by linear interpolation between the centres of the four nearest pixels, the border repeated.

    What PyTorch calls bilinear with align_corners=False. Shrinking reads four pixels too, and so aliases.
    """
    return jax.image.resize(x, (x.shape[0], side, side, x.shape[3]), "bilinear", antialias=False)


def _mean3x3(x: Array) -> Array:
    """Mean over 3×3, at the border over what is inside the image."""
    return nn.avg_pool(x, window_shape=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)), count_include_pad=False)


def _max3x3(x: Array) -> Array:
    return nn.max_pool(x, window_shape=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))


def _halving_max(x: Array) -> Array:
    return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))
