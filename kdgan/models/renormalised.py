"""A network that sees images by a mean, a standard deviation and a size of its own."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.image import resize

from kdgan.models.heads import training_switch

Statistic = float | Sequence[float]  # one number, or one a channel


class Renormalised(nn.Module):
    """`network` on images as it was trained on them, of images as the data's other players see them.

    A pixel p in [0, 1] comes as x = (p − data_mean)/data_std and is given on as (p − mean)/std; images of another size are
    scaled to `image_size`, bilinearly, and where they shrink over all the pixels that a new one covers. Every
    floating-point array [b, h, w, c] that the network is called with is such an image; all else is given on as it is. The
    parameter tree, and the module paths of features, are those of `network` itself: its checkpoints fit unchanged.

    (The field has another name than in `SelectClasses`, which may lie around this: Linen's shared scopes would clash.)

    Attributes:
      network: any Linen module. Its training switch may have any of the usual names, or be missing.
      mean, std: the network's own, of pixels in [0, 1].
      data_mean, data_std: those by which the images come.
      image_size: (height, width) of the network's images; None: as they come.
    """

    network: nn.Module
    mean: Statistic
    std: Statistic
    data_mean: Statistic
    data_std: Statistic
    image_size: tuple[int, int] | None = None

    def __post_init__(self):
        for name in ("mean", "std", "data_mean", "data_std"):
            value = np.asarray(getattr(self, name), np.float64)
            if not np.isfinite(value).all() or value.ndim > 1 or (name.endswith("std") and not (value > 0).all()):
                wanted = "a positive number" if name.endswith("std") else "a number"
                raise ValueError(f"{name} = {getattr(self, name)}: {wanted}, or one for each channel, is accepted")
        super().__post_init__()

    def setup(self):
        nn.share_scope(self, self.network)

    def __call__(self, *args, train: bool = False, **kwargs) -> Any:
        """What `network` gives; only images are changed.

        Raises:
          ValueError: a mean or a standard deviation of another number of channels than the images have.
        """
        args = tuple(self.seen(value) for value in args)
        kwargs = {name: self.seen(value) for name, value in kwargs.items()}
        return self.network(*args, **training_switch(self.network, train), **kwargs)

    def seen(self, value: Any) -> Any:
        """Images [b, h, w, c] as the network sees them; anything else as it is."""
        is_array = hasattr(value, "shape") and hasattr(value, "dtype")
        if not is_array or len(value.shape) != 4 or not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return self._resized(self._renormalised(jnp.asarray(value)))

    def _renormalised(self, image: Array) -> Array:
        for name in ("mean", "std"):
            count = np.size(getattr(self, name))
            if count not in (1, image.shape[-1]):
                raise ValueError(f"{name} has {count} numbers, the images {image.shape[-1]} channels")
        mean, std, data_mean, data_std = (
            np.asarray(value, np.float64) for value in (self.mean, self.std, self.data_mean, self.data_std)
        )
        scale, shift = (data_std / std).reshape(-1), ((data_mean - mean) / std).reshape(-1)
        if (scale == 1).all() and (shift == 0).all():
            return image
        place = lambda value: jnp.asarray(value.reshape(1, 1, 1, -1), image.dtype)
        return image * place(scale) + place(shift)

    def _resized(self, image: Array) -> Array:
        if self.image_size is None or image.shape[1:3] == tuple(self.image_size):
            return image
        # By its own name: converters that replace `jax.image.resize` want a known number of images.
        return resize(image, (image.shape[0], *self.image_size, image.shape[-1]), "bilinear")
