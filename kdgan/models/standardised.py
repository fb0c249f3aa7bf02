"""A generator whose images are standardised: no word of the data's mean is needed to make what lies where the data lie.

Where it is known what a pixel can be, after the normalisation that the teacher's inputs have, `bounds` clips to that.

Module paths to ask features for: `stage1` ([b, h/4, w/4, c], after the dense layer's batch norm), `stage2` ([b, h/2, w/2,
c]) and `stage3` ([b, h, w, c/2]), each after its activation.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.gan_layers import check_image_size, check_noise
from kdgan.models.layers import Tap, batch_norm, check_fields
from kdgan.models.sngan import upsample

_glorot = nn.initializers.glorot_uniform()


class StandardisedGenerator(nn.Module):
    """The generator of DAFL and DFAD: noise [b, d] -> image [b, h, h, channels] of mean 0 and variance 1 in each channel.

    A dense layer to h/4×h/4×c, c = `features`; twice the pixels doubled and a 3×3 convolution, to c and to c/2 channels,
    each with batch norm and leaky relu (slope 0.2); a 3×3 convolution to `channels`, tanh, and a batch norm without scale
    and bias. So images lie where data lie that are normalised by their mean and standard deviation, whatever these are. A
    layer that batch norm follows has no bias.

    With d = 100 the published c = 128 has 849,601 parameters at 28×28×1, and c = 16, of a sixtieth of its cost, 82,009.

    Attributes:
      image_size: h, a multiple of 4.
      channels: of the image.
      features: c.
      bounds: (lowest, highest) value of a pixel, each a number or one for each channel: −mean/std and (1 − mean)/std of the
        data's normalisation. The standardised image is clipped to them, so that it has a plain black and white, and no
        gradient there; None: it is not.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
    """

    image_size: int = 32
    channels: int = 3
    features: int = 128
    bounds: Sequence[float | Sequence[float]] | None = None
    axis_name: str | None = None

    @property
    def output_range(self) -> tuple[float, float] | None:
        """(lowest, highest) value of an image; None: a standardised one has none to compare with those of the data."""
        return None if self.bounds is None else (float(np.min(self.bounds[0])), float(np.max(self.bounds[1])))

    def __post_init__(self):
        check_fields(self, positive=("channels", "features"))
        check_image_size(self, multiple=4)
        self._check_bounds()
        super().__post_init__()

    def _check_bounds(self):
        if self.bounds is None:
            return
        shapes = ((), (1,), (self.channels,))
        sides = [np.asarray(side) for side in self.bounds] if isinstance(self.bounds, list | tuple) else []
        fit = [side.dtype.kind in "if" and side.shape in shapes and np.isfinite(side).all() for side in sides]
        if len(sides) != 2 or not all(fit) or not np.all(sides[0] < sides[1]):
            raise ValueError(
                f"bounds = {self.bounds!r}: (lowest, highest), numbers or {self.channels} of them, or None is accepted"
            )

    @nn.compact
    def __call__(self, noise: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:
        """Images of noise [b, d].

        Raises:
          ValueError: noise is not [b, d].
        """
        check_noise(self, noise)
        side = self.image_size // 4
        norm = lambda name: batch_norm(train=train, axis_name=self.axis_name, name=name)
        x = nn.Dense(side * side * self.features, use_bias=False, kernel_init=_glorot, name="dense")(noise)
        x = Tap(name="stage1")(norm("bn1")(x.reshape(-1, side, side, self.features)))
        for i, features in ((2, self.features), (3, max(1, self.features // 2))):
            x = nn.Conv(features, (3, 3), use_bias=False, kernel_init=_glorot, name=f"conv{i}")(upsample(x))
            x = Tap(name=f"stage{i}")(nn.leaky_relu(norm(f"bn{i}")(x), negative_slope=0.2))
        x = jnp.tanh(nn.Conv(self.channels, (3, 3), kernel_init=_glorot, name="head")(x))
        # The constants of `batch_norm`.
        image = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, use_bias=False, use_scale=False,
            axis_name=self.axis_name, name="standardise",
        )(x)  # fmt: skip
        if self.bounds is None:
            return image
        low, high = (jnp.asarray(side, x.dtype).reshape(1, 1, 1, -1) for side in self.bounds)
        return jnp.clip(image, low, high)
