"""A small U-Net: features at halved sides, joined with those of the same sides on the way back.

Module paths to ask features for:
  `down1` .. `down{levels}`   two convolutions each, at 1, 1/2, 1/4, ... of the sides; the last is the bottom
  `up1` .. `up{levels − 1}`   two convolutions each, on the way back to the full sides
  `body`                      what the last convolution reads, [b, h', w', width], h' and w' multiples of 2^(levels − 1)
"""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields
from kdgan.models.pixels import AS_GIVEN, check_images, conv, cropped, edge_padded, restored
from kdgan.models.transposed import TransposedConv


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) for restoration, [b, h, w, c] -> the same, of any sides: x + net(x).

    Two 3×3 convolutions with relu at each level, 2×2 maxima between them; back by transposed convolutions 2×2, joined with
    what the level had, and two convolutions. The level below has twice the channels. Sides are padded by their edge to a
    multiple of 2^(levels − 1).

    Attributes:
      width: channels at the full sides.
      levels: resolutions, at least 2.
      residual: whether the image is added to what the network gives.
      luma: whether RGB is restored in its luma alone.
    """

    width: int = 16
    levels: int = 3
    residual: bool = True
    luma: bool = False

    def __post_init__(self):
        check_fields(self, positive=("width",))
        check_fields(self, positive=("levels",), least=2)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:
        check_images(self, x)
        return restored(self._restore, x, scale=1, luma=self.luma)

    def _restore(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        _, h, w, channels = x.shape
        y, kept = edge_padded(x, 2 ** (self.levels - 1)), []
        for level in range(self.levels):
            y = TwoConvolutions(self.width * 2**level, name=f"down{level + 1}")(y)
            if level < self.levels - 1:
                kept.append(y)
                y = _halved(y)
        for i, same in enumerate(reversed(kept), start=1):
            features = same.shape[-1]
            y = TransposedConv(features, kernel_size=2, stride=2, name=f"enlarge{i}")(y)
            y = TwoConvolutions(features, name=f"up{i}")(jnp.concatenate([same, y], -1))
        y = Tap(name="body")(y)
        y = conv(channels, 1, init=AS_GIVEN if self.residual else nn.initializers.lecun_normal(), name="last")(y)
        y = cropped(y, h, w)
        return x + y if self.residual else y


class TwoConvolutions(nn.Module):
    """3×3 convolution and relu, twice."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        for name in ("conv1", "conv2"):
            x = nn.relu(conv(self.features, name=name)(x))
        return x


def _halved(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """Maxima of 2×2 pixels, of even sides; as an array's maximum its sides stay exact where they are symbols."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
