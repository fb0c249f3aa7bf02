"""ESPCN and FSRCNN: small networks of super-resolution, all but the last layer at the low resolution.

Module paths to ask features for:
  `conv1`, `conv2`, ...   convolutions in order, before their tanh or PReLU; of an ESPCN the last one gives pixels
  `body`                  what the last layer reads, [b, h, w, channels]
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields
from kdgan.models.pixels import check_images, check_scale, conv, pixel_shuffle, restored
from kdgan.models.transposed import TransposedConv


class ESPCN(nn.Module):
    """Super-resolution by sub-pixel convolution (Shi et al. 2016), [b, h, w, c] -> [b, s·h, s·w, c].

    Convolutions 5×5 and 3×3 with tanh, then 3×3 to c·s² channels, whose pixels are shuffled.

    Attributes:
      scale: s.
      features: channels of the hidden convolutions; the first one is 5×5.
      luma: whether RGB is restored in its luma alone, as published.
    """

    scale: int = 2
    features: Sequence[int] = (64, 32)
    luma: bool = False

    def __post_init__(self):
        check_fields(self, positive=("features",))
        check_scale(self)
        if not self.features:
            raise ValueError("ESPCN.features = (); it accepts one width or more")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b i j c"]:
        check_images(self, x)
        return restored(self._restore, x, scale=self.scale, luma=self.luma)

    def _restore(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        y, init = x, nn.initializers.lecun_normal()
        for i, features in enumerate(self.features, start=1):
            y = jnp.tanh(conv(features, 5 if i == 1 else 3, init=init, name=f"conv{i}")(y))
        y = Tap(name="body")(y)
        last = conv(x.shape[-1] * self.scale**2, init=init, name=f"conv{len(self.features) + 1}")
        return pixel_shuffle(last(y), self.scale)


class FSRCNN(nn.Module):
    """FSRCNN(d, s, m) (Dong et al. 2016, "Accelerating the super-resolution convolutional neural network").

    [b, h, w, c] -> [b, s·h, s·w, c]: convolutions 5×5 to d channels, 1×1 to s, m of 3×3, 1×1 to d, each with a PReLU for
    each channel, and a transposed convolution 9×9, whose stride is the scale: 12,464 weights of the luma as (56, 12, 4),
    biases and slopes beside them. Their shapes are the same at every scale: a file does not say which it is for.

    Attributes:
      scale: of the sides.
      d, s, m: the paper's: channels outside and inside, and convolutions inside.
      luma: whether RGB is restored in its luma alone, as published.
    """

    scale: int = 2
    d: int = 56
    s: int = 12
    m: int = 4
    luma: bool = False

    def __post_init__(self):
        check_fields(self, positive=("d", "s", "m"))
        check_scale(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b i j c"]:
        check_images(self, x)
        return restored(self._restore, x, scale=self.scale, luma=self.luma)

    def _restore(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        sizes = [(self.d, 5), (self.s, 1), *[(self.s, 3)] * self.m, (self.d, 1)]
        y = x
        for i, (features, size) in enumerate(sizes, start=1):
            y = ChannelPReLU(name=f"prelu{i}")(conv(features, size, name=f"conv{i}")(y))
        y = Tap(name="body")(y)
        # Padding 4 of PyTorch's layer, as implementations have it: pixel s·i is under the kernel's centre.
        return TransposedConv(
            x.shape[-1], kernel_size=9, stride=self.scale, before=4, kernel_init=nn.initializers.normal(0.001),
            name="deconv",
        )(y)  # fmt: skip


class ChannelPReLU(nn.Module):
    """max(x, 0) + a·min(x, 0) with a slope a for each channel (He et al. 2015), 0.25 at first."""

    @nn.compact
    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        slope = self.param("negative_slope", nn.initializers.constant(0.25), (x.shape[-1],))
        slope = slope.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        return jnp.where(x >= 0, x, slope * x)
