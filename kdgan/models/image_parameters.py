"""Images that are learned themselves, as DeepInversion learns them: a player in a generator's place."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from kdgan.models.layers import check_fields


class Images(nn.Module):
    """Images that are the parameters themselves, [number, h, h, c], at first N(0, 1): place [b] -> image [b, h, h, c].

    Attributes:
      number: of images; the place is taken modulo it.
      image_size: h.
      channels: c.
      axis_name: of the devices that split a batch, so that all images have their turn.
    """

    number: int = 256
    image_size: int = 32
    channels: int = 3
    axis_name: str | None = None

    over_devices = True
    output_range = None

    def __post_init__(self):
        check_fields(self, positive=("number", "image_size", "channels"))
        super().__post_init__()

    @nn.compact
    def __call__(self, place: Int[Array, "..."]) -> Float[Array, "b h w c"]:
        """The images at these places.

        Raises:
          ValueError: places are no whole numbers [b].
        """
        if place.ndim != 1 or not jnp.issubdtype(place.dtype, jnp.integer):
            raise ValueError(
                f"Images got places of shape {place.shape} and type {place.dtype}; it accepts whole numbers [b]"
            )
        shape = (self.number, self.image_size, self.image_size, self.channels)
        return self.param("images", nn.initializers.normal(1.0), shape)[place % self.number]
