"""LeNets: LeNet-5 and its half, and the two-convolution LeNets of KDGAN that also serve as its label discriminators.

Module paths to ask features for: `stage1`, `stage2` (each resolution's activation before it is pooled, [b, h, w, c]),
`hidden1`, `hidden2` (the dense layers' activations), `embedding` (what the head reads), `head` (logits, or the scores
of the k labels).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.cnn import CNN
from kdgan.models.layers import Tap, check_fields, check_image, max_pool

_CANVAS = 32  # the side LeNet-5 is made for; LeCun et al. 1998 centre their 28×28 digits in it


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with relu and maximum pooling, as DAFL (Chen et al. 2019) uses it.

    [b, h, w, c] -> logits [b, num_classes]: two unpadded 5×5 convolutions, each with a 2×2 maximum, then two dense
    layers. Images below 32×32 are centred in 32×32 zeros, which for 28×28 is the same as padding the first
    convolution; so the default has 61,706 parameters for any one-channel image up to 32×32. Its half is
    `features=(3, 8), dense=(60, 42)`, 15,738 parameters.

    Attributes:
      features: channels of the two convolutions.
      dense: widths of the dense layers.
      num_classes: k.
      dropout: rate after each dense layer while training; draws from the stream `dropout`.
    """

    features: Sequence[int] = (6, 16)
    dense: Sequence[int] = (120, 84)
    num_classes: int = 10
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("features", "dense", "num_classes"), rates=("dropout",))
        if len(self.features) != 2:
            raise ValueError(f"LeNet5.features = {self.features!r}; it accepts two widths, e.g. (6, 16)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        check_image(self, x)
        missing = [max(0, _CANVAS - side) for side in x.shape[1:3]]
        x = jnp.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))
        for i, features in enumerate(self.features, start=1):
            x = nn.relu(nn.Conv(features, (5, 5), padding="VALID", name=f"conv{i}")(x))
            x = max_pool(Tap(name=f"stage{i}")(x))
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.dense, start=1):
            x = Tap(name=f"hidden{i}")(nn.relu(nn.Dense(width, name=f"dense{i}")(x)))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(x))


class KDGANLeNet(CNN):
    """The LeNets of KDGAN (Wang et al. 2018): padded 5×5 convolutions with relu and 2×2 maxima, one dense layer.

    The default, 32/64/1024, is the published code's teacher on MNIST (3,274,634 parameters at 28×28×1); the paper's
    draft has 20/20/500, and its CIFAR-10 student 64/128/1024.

    KDGAN's discriminator is the same network with weights of its own: [b, h, w, c] -> [b, k], one score per label, the
    y-th being the logit of D(x, y).

    Attributes: as `kdgan.models.cnn.CNN`.
    """

    features: Sequence[int] = (32, 64)
    dense: int = 1024
    kernel_size: int = 5
