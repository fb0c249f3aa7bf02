"""The convolutional variational autoencoder: encoder, decoder, and the two bound into one player.

Module paths to ask features for: `encoder/stage1` ([b, h/2, w/2, 32]), `encoder/stage2` ([b, h/4, w/4, 64]) and
`encoder/embedding` (flattened), `encoder/mean`, `encoder/log_variance` ([b, d]); `decoder/stage1` ([b, s, s, 64]) and
`decoder/stage2` ([b, 2s, 2s, 32]), each after its relu; `decoder` ([b, h, w, c], before the likelihood's link).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.gan_layers import check_image_size, check_noise, check_width, scaled
from kdgan.models.layers import Tap, check_choice, check_fields, check_image
from kdgan.models.transposed import TransposedConv


class Encoder(nn.Module):
    """Image [b, h, w, c] -> (mean [b, d], log-variance [b, d]) of the posterior q(z | image), a diagonal Gaussian.

    Attributes:
      latent: d.
      features: channels of the 3×3 convolutions of stride 2.
    """

    latent: int
    features: tuple[int, ...]

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        x = image
        for i, features in enumerate(self.features, start=1):
            x = Tap(name=f"stage{i}")(nn.relu(nn.Conv(features, (3, 3), (2, 2), name=f"conv{i}")(x)))
        x = Tap(name="embedding")(x.reshape(x.shape[0], -1))
        return nn.Dense(self.latent, name="mean")(x), nn.Dense(self.latent, name="log_variance")(x)


class Decoder(nn.Module):
    """z [b, d] -> [b, image_size, image_size, channels]: a dense layer, then 3×3 transposed convolutions of stride 2.

    Attributes:
      image_size: side of the image in pixels.
      channels: c of the image.
      features: channels at a quarter and at half of the image's side.
    """

    image_size: int
    channels: int
    features: tuple[int, int]

    @nn.compact
    def __call__(self, z: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b h w c"]:
        side, (first, second) = self.image_size // 4, self.features
        x = nn.relu(nn.Dense(side * side * first, name="dense")(z)).reshape(-1, side, side, first)
        x = Tap(name="stage1")(x)
        x = Tap(name="stage2")(nn.relu(TransposedConv(second, 3, 2, name="conv2")(x)))
        return TransposedConv(self.channels, 3, 2, name="head")(x)


class VAE(nn.Module):
    """Convolutional variational autoencoder (Kingma & Welling 2014): z ~ N(0, I), image ~ p(image | z).

    The default has 191,265 parameters, of which 72,065 decode.

    Attributes:
      latent: d, the number of latent variables.
      width: factor of the channels 32 and 64 on either side (rounded, at least 1).
      image_size: side of the image in pixels, a multiple of 4.
      channels: c of the image.
      likelihood: what the decoder's output stands for: "bernoulli", logits of pixels in [0, 1]; or "gaussian", the
        mean of pixels on any scale.
      scale: standard deviation of the Gaussian, which the loss reads here.
    """

    latent: int = 16
    width: float = 1.0
    image_size: int = 28
    channels: int = 1
    likelihood: str = "bernoulli"
    scale: float = 1.0

    def __post_init__(self):
        check_fields(self, positive=("latent", "channels"))
        check_image_size(self, multiple=4)
        check_width(self)
        check_choice(self, "likelihood", ("bernoulli", "gaussian"))
        if not self.scale > 0:
            raise ValueError(f"VAE.scale = {self.scale!r}; it accepts a standard deviation above 0")
        super().__post_init__()

    def setup(self):
        small, large = scaled(32, self.width), scaled(64, self.width)
        self.encoder = Encoder(self.latent, (small, large))
        self.decoder = Decoder(self.image_size, self.channels, (large, small))

    def __call__(self, image: Float[Array, "..."], *, train: bool = False) -> dict[str, Float[Array, "b ..."]]:
        """`{"mean": [b, d], "log_variance": [b, d], "decoded": [b, h, w, c]}` of images [b, h, w, c].

        `decoded` is what `decode` gives of z = mean + exp(log_variance / 2)·ε in training mode, ε ~ N(0, I) from the
        stream `posterior`, and of the mean otherwise.

        Raises:
          ValueError: images are not [b, image_size, image_size, channels].
        """
        mean, log_variance = self.encode(image, train=train)
        z = mean
        if train:
            z += jnp.exp(log_variance / 2) * jax.random.normal(self.make_rng("posterior"), mean.shape, mean.dtype)
        return {"mean": mean, "log_variance": log_variance, "decoded": self.decode(z, train=train)}

    def encode(
        self, image: Float[Array, "..."], *, train: bool = False
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """Mean and log-variance [b, d] of the posterior of images [b, h, w, c].

        Raises:
          ValueError: images are not [b, image_size, image_size, channels].
        """
        check_image(self, image)
        expected = (self.image_size, self.image_size, self.channels)
        if image.shape[1:] != expected:
            raise ValueError(
                f"VAE got an image batch of shape {image.shape}; with image_size={self.image_size} and"
                f" channels={self.channels} it accepts [b, {', '.join(map(str, expected))}]"
            )
        return self.encoder(image, train=train)

    def decode(self, z: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The decoder's raw output [b, h, w, c] of z [b, d]: Bernoulli logits, or the Gaussian's mean.

        Raises:
          ValueError: z is not [b, latent].
        """
        check_noise(self, z)
        if z.shape[1] != self.latent:
            raise ValueError(f"VAE got z of shape {z.shape}; with latent={self.latent} it accepts [b, {self.latent}]")
        if self.is_initializing() and not self.has_variable("params", "encoder"):
            # A VAE that is made only to be sampled has all its parameters, as checkpoints hold them.
            self.encoder(jnp.zeros((1, self.image_size, self.image_size, self.channels), z.dtype))
        return self.decoder(z, train=train)

    def generate(self, z: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:
        """The expected image [b, h, w, c] of z [b, d], in the space of the data: the sigmoid of logits, or the mean.

        Raises:
          ValueError: z is not [b, latent].
        """
        decoded = self.decode(z, train=train)
        return nn.sigmoid(decoded) if self.likelihood == "bernoulli" else decoded


class VAEGenerator(VAE):
    """A VAE as a generator: z [b, d] -> the expected image [b, h, w, c]; its parameters are those of the VAE.

    It starts from the VAE of an earlier stage, and stands where a method or an evaluator calls a generator.

    Attributes: as of `VAE`.
    """

    def __call__(self, z: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:  # type: ignore[override]
        """`generate` of z [b, d].

        Raises:
          ValueError: z is not [b, latent].
        """
        return self.generate(z, train=train)
