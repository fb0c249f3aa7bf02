"""The patch discriminator: a logit for each patch of an image.

Module paths to ask features for:
  `conv1` .. `conv{n}`   convolutions, each before its norm and leaky relu; n of the field `features`
  `norm2` .. `norm{n}`   instance norms, where there are
  `head`                 scores of patches, [b, h', w', 1]
"""

from collections.abc import Sequence

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.gan_layers import apply_layer, check_width, scaled
from kdgan.models.instance_norm import InstanceNorm
from kdgan.models.layers import check_choice, check_fields, check_image

NORMS = ("instance", "spectral", "none")


class PatchCritic(nn.Module):
    """PatchGAN's discriminator (Isola et al. 2017, pix2pix): image [b, h, w, c] -> logits of being real.

    Convolutions 4×4 with leaky relu (0.2), of stride 2 but for the last of them and the one that scores; no norm after the
    first. With four of 64 to 512 channels a score sees 70×70 pixels, and an image needs 24 a side; fewer see less: (64, 128)
    sees 16×16.

    Attributes:
      features: channels.
      width: factor of them (rounded, at least 1).
      norm: "instance" (without scale and bias), "spectral" (Miyato et al. 2018: of the kernels) or "none".
      patches: whether it gives the scores of all patches, [b, h', w']; else their mean, [b].
    """

    features: Sequence[int] = (64, 128, 256, 512)
    width: float = 1.0
    norm: str = "instance"
    patches: bool = True

    def __post_init__(self):
        check_fields(self, positive=("features",))
        check_width(self)
        check_choice(self, "norm", NORMS)
        if not self.features:
            raise ValueError("PatchCritic.features = (); it accepts one width or more")
        super().__post_init__()

    @nn.compact
    def __call__(self, image: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b *patches"]:
        """Scores of images [b, h, w, c].

        Raises:
          ValueError: images are not [b, h, w, c], or smaller than what leaves one patch.
        """
        # Each of the two convolutions of stride 1 takes one pixel.
        check_image(self, image, min_size=3 * 2 ** (len(self.features) - 1))
        x, spectral = image, self.norm == "spectral"
        for i, features in enumerate(self.features, start=1):
            stride = 2 if i < len(self.features) else 1
            layer = _conv(scaled(features, self.width), stride, name=f"conv{i}")
            x = apply_layer(layer, x, spectral_norm=spectral, train=train)
            if self.norm == "instance" and i > 1:
                x = InstanceNorm(affine=False, name=f"norm{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        scores = apply_layer(_conv(1, 1, name="head"), x, spectral_norm=spectral, train=train)[..., 0]
        return scores if self.patches else scores.mean((1, 2))


def _conv(features: int, stride: int, *, name: str) -> nn.Conv:
    return nn.Conv(
        features, (4, 4), (stride, stride), padding=((1, 1), (1, 1)),
        kernel_init=nn.initializers.normal(0.02), name=name,
    )  # fmt: skip
