"""SqueezeNet 1.0, a small classifier of photographs, whose features perceptual losses and distances compare.

Module paths to ask features for:
  `relu1`                     the first convolution after relu, [b, h', w', 96], about half of the sides
  `fire2` .. `fire9`          fire modules: 128, 128, 256 channels at a quarter of the sides, 256, 384, 384, 512 at an
                              eighth, 512 at a sixteenth
  `fire2/squeeze`             a layer inside one: `squeeze`, `expand1`, `expand3`, each before relu
  `embedding`                 the global mean of the last fire module, [b, 512]
  `conv_final`                scores of each class at each place, [b, h', w', k], before relu
  `head`                      logits [b, k], the mean of relu of them
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields, global_mean
from kdgan.models.pixels import check_images

MEAN = (104.0, 117.0, 123.0)  # of Caffe's pixels, blue, green, red in 0..255
SMALLEST = 21  # pixels a side, of which every layer has one left

# Squeezed and twice expanded channels of fire 2 to 9, and where a maximum comes before.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POOLED = (2, 5, 9)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 (Iandola et al. 2016): image [b, h, w, 3] in [0, 1] -> logits [b, num_classes]; 1,248,424 parameters.

    It takes RGB in [0, 1] and gives its layers what Caffe's networks take, blue, green and red in 0..255 less their means;
    grey images are three equal channels to it. Any sides of 21 pixels or more; it was trained at 227×227.

    Attributes:
      num_classes: k; 1000 of the published weights.
      bgr: whether pixels are given on as Caffe's networks take them; else as they come.
    """

    num_classes: int = 1000
    bgr: bool = True

    def __post_init__(self):
        check_fields(self, positive=("num_classes",))
        super().__post_init__()

    @property
    def unit_pixels(self) -> bool:
        """Whether it takes pixels in [0, 1] and no others."""
        return self.bgr

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_images(self, x, min_size=SMALLEST)
        if self.bgr:
            x = _as_caffe(x)
        x = nn.relu(nn.Conv(96, (7, 7), (2, 2), padding="VALID", kernel_init=_INIT, name="conv1")(x))
        x = Tap(name="relu1")(x)
        for i, (squeezed, expanded) in enumerate(_FIRES, start=2):
            if i in _POOLED:
                x = _pooled(x)
            x = Fire(squeezed, (expanded, expanded), name=f"fire{i}")(x)
        Tap(name="embedding")(global_mean(x))
        # A 1×1 convolution of padding 1, as published: a border of biases.
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        scores = nn.Conv(self.num_classes, (1, 1), kernel_init=_INIT, name="conv_final")(x)
        return Tap(name="head")(global_mean(nn.relu(scores)))


class Fire(nn.Module):
    """1×1 convolution and relu; of it 1×1 and 3×3 convolutions, joined, and relu."""

    squeezed: int
    expanded: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        make = lambda count, size, name: nn.Conv(count, (size, size), kernel_init=_INIT, name=name)
        x = nn.relu(make(self.squeezed, 1, "squeeze")(x))
        ones, threes = self.expanded
        return nn.relu(jnp.concatenate([make(ones, 1, "expand1")(x), make(threes, 3, "expand3")(x)], -1))


_INIT = nn.initializers.he_normal()


def _as_caffe(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    if x.shape[-1] not in (1, 3):
        raise ValueError(f"SqueezeNet got images of {x.shape[-1]} channels; it accepts RGB, or grey")
    x = jnp.concatenate([x] * 3, -1) if x.shape[-1] == 1 else x[..., ::-1]
    return 255 * x - jnp.asarray(MEAN, x.dtype).reshape(1, 1, 1, 3)


def _pooled(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """Maxima of 3×3 pixels by steps of 2, the last ones over what is left of them (Caffe's rounding up).

    Behind a relu zeros are as good a padding as the least number, and ONNX files of it are right.
    """
    rows, columns = ((side - 1) % 2 for side in x.shape[1:3])
    return nn.max_pool(jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0))), (3, 3), (2, 2))
