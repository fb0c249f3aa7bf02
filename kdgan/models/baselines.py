"""What restoration is measured against, without parameters: the image as it is given, and bicubic enlargement."""

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.pixels import check_images, check_scale, enlarged


class Identity(nn.Module):
    """The image as it is given, [b, h, w, c]: what a table of denoisers calls noisy."""

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "..."]:
        return x


class Bicubic(nn.Module):
    """Bicubic enlargement as MATLAB's, [b, h, w, c] -> [b, s·h, s·w, c], not rounded: see `kdgan.bicubic`.

    Attributes:
      scale: s.
    """

    scale: int = 2

    def __post_init__(self):
        check_scale(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b i j c"]:
        check_images(self, x)
        return enlarged(x, self.scale)
