"""DCGAN: a pair of 5×5 convolutional networks, noise to image and image to score, with or without classes.

Module paths to ask features for:
  generator       `stage1` ([b, s, s, 256], what the dense layer ends with), `stage2` ([b, s, s, 128]) and `stage3`
                  ([b, 2s, 2s, 64]), each after its activation; s is a quarter of the image's side
  discriminator   `stage1` ([b, h/2, w/2, 64]), `stage2` ([b, h/4, w/4, 128]), each after its activation,
                  `embedding` ([b, d], what the head reads), `head` (the score's part that reads no label, [b, 1])
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
from kdgan.models.layers import Tap, batch_norm, check_choice, check_fields, check_image
from kdgan.models.transposed import TransposedConv

# The initialisation of the widely used tutorial; Radford et al. 2016 draw from N(0, 0.02²), too small for narrow
# networks without batch norm.
_glorot = nn.initializers.glorot_uniform()


class DCGANGenerator(nn.Module):
    """DCGAN (Radford et al. 2016) for small images: noise [b, d] -> image [b, h, h, channels] in [-1, 1], h = image_size.

    A dense layer without bias to s×s×256, s = image_size / 4; then 5×5 transposed convolutions to 128 channels
    (stride 1), 64 (stride 2) and `channels` (stride 2), and tanh. After all but the last: batch norm and leaky relu
    (slope 0.3). A convolution that batch norm follows has no bias, which it would take out again. With d = 100 it has
    2,668,099 parameters at 32×32×3, and 378,225 at 28×28×1 with `width=1/4`.

    Attributes:
      image_size: side of the image in pixels, a multiple of 4.
      channels: c of the image.
      width: factor of the hidden channels 256, 128 and 64 (rounded, at least 1).
      norm: "batch", or "none".
      classes: k where images have a class: an embedding of the label is then put beside the noise. 0: no label.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
    """

    image_size: int = 32
    channels: int = 3
    width: float = 1.0
    norm: str = "batch"
    classes: int = 0
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("channels",))
        check_image_size(self, multiple=4)
        check_width(self)
        check_choice(self, "norm", ("batch", "none"))
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
        if label is not None:
            # As many values as classes can need, on the scale of the noise.
            values = min(self.classes, noise.shape[1])
            init = nn.initializers.normal(1.0)
            embed = nn.Embed(self.classes, values, embedding_init=init, dtype=noise.dtype, name="label_embedding")
            noise = jnp.concatenate([noise, embed(label)], axis=-1)
        side = self.image_size // 4
        first, *rest = (scaled(count, self.width) for count in (256, 128, 64))
        convolve = partial(TransposedConv, kernel_size=5, kernel_init=_glorot)
        x = nn.Dense(side * side * first, use_bias=False, kernel_init=_glorot, name="dense")(noise)
        x = self._activate(x.reshape(-1, side, side, first), 1, train)
        for i, (features, stride) in enumerate(zip(rest, (1, 2), strict=True), start=2):
            x = convolve(features, stride=stride, use_bias=self.norm == "none", name=f"conv{i}")(x)
            x = self._activate(x, i, train)
        return jnp.tanh(convolve(self.channels, stride=2, name="head")(x))

    def _activate(self, x: Array, stage: int, train: bool) -> Array:
        if self.norm == "batch":
            x = batch_norm(train=train, axis_name=self.axis_name, name=f"bn{stage}")(x)
        return Tap(name=f"stage{stage}")(nn.leaky_relu(x, negative_slope=0.3))


class DCGANDiscriminator(nn.Module):
    """Discriminator of a DCGAN: image [b, h, w, c] -> score [b], a logit of being real.

    5×5 convolutions of stride 2 to 64 and 128 channels, each with leaky relu (slope 0.2) and dropout; then one dense
    layer over all positions. There is no batch norm: penalties on the gradient at one image want scores that do not
    depend on the others (Gulrajani et al. 2017). At 32×32×3 it has 217,985 parameters.

    Attributes:
      width: factor of the channels 64 and 128 (rounded, at least 1).
      dropout: rate after each activation while training; draws from the stream `dropout`.
      spectral_norm: whether every kernel is divided by its largest singular value (Miyato et al. 2018).
      classes: k where images have a class, which then enters by projection (Miyato & Koyama 2018). 0: no label.
    """

    width: float = 1.0
    dropout: float = 0.0
    spectral_norm: bool = False
    classes: int = 0

    def __post_init__(self):
        check_fields(self, rates=("dropout",))
        check_width(self)
        check_classes(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, image: Float[Array, "..."], label: Int[Array, "..."] | None = None, *, train: bool = False
    ) -> Float[Array, " b"]:
        """Scores of images [b, h, w, c], and of their classes [b] where the model has them.

        Raises:
          ValueError: images are not [b, h, w, c]; a label is given without classes, missing with them, or not [b].
        """
        check_image(self, image)
        check_label(self, label, image.shape[0])
        layer = partial(apply_layer, spectral_norm=self.spectral_norm, train=train)
        x = image
        for i, features in enumerate((scaled(count, self.width) for count in (64, 128)), start=1):
            x = layer(nn.Conv(features, (5, 5), (2, 2), kernel_init=_glorot, name=f"conv{i}"), x)
            x = Tap(name=f"stage{i}")(nn.leaky_relu(x, negative_slope=0.2))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Tap(name="embedding")(x.reshape(x.shape[0], -1))
        return projection_score(self, x, label, spectral_norm=self.spectral_norm, train=train)
