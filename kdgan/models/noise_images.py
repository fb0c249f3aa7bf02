"""Images of noise, as a generator that makes nothing of it: what a student learns on where there are no images at all."""

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.gan_layers import check_noise
from kdgan.models.layers import check_fields


class NoiseImages(nn.Module):
    """Noise as it is, in the shape of images: [b, h·h·channels] -> [b, h, h, channels]; without parameters.

    Standard normal noise has the mean and variance of standardised data.

    Attributes:
      image_size: h.
      channels: of the image.
    """

    image_size: int = 32
    channels: int = 3

    output_range = None  # noise has no bounds that the data's pixels could be compared with

    def __post_init__(self):
        check_fields(self, positive=("image_size", "channels"))
        super().__post_init__()

    def __call__(self, noise: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Images of noise [b, h·h·channels].

        Raises:
          ValueError: noise has another dimension.
        """
        check_noise(self, noise)
        shape = self.image_size, self.image_size, self.channels
        if noise.shape[1] != (wanted := self.image_size**2 * self.channels):
            raise ValueError(
                f"NoiseImages got noise of dimension {noise.shape[1]}; for images {shape} it is {wanted} (method.latent)"
            )
        return noise.reshape(-1, *shape)
