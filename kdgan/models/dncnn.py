"""DnCNN and VDSR: deep plain networks at full resolution, which give the residual to the image.

Module paths to ask features for:
  `conv1` .. `conv{depth}`      convolutions; the last one gives the residual
  `bn2` .. `bn{depth − 1}`      batch norms of a DnCNN, before relu
  `body`                        what the last convolution reads, [b, h, w, width]
"""

import re
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields
from kdgan.models.pixels import AS_GIVEN, check_images, check_scale, conv, enlarged, restored


class DnCNN(nn.Module):
    """A denoiser (Zhang et al. 2017, "Beyond a Gaussian denoiser"), [b, h, w, c] -> the same: x − net(x).

    Convolutions 3×3, relu between them, batch norm (ε 1e-4) before the relus but the first. With batch norm only the first
    convolution has a bias, since the norm takes it out again; without it (or merged into the convolutions after training)
    all have: 555,137 parameters of grey images.

    Attributes:
      depth: convolutions, at least 2: 17 for one noise level, 20 for a range of them.
      width: channels of the hidden ones.
      batch_norm: whether there is batch norm.
      luma: whether RGB is restored in its luma alone.
      axis_name: the `pmap` axis over which batch statistics are averaged while training; None keeps them per device.
    """

    depth: int = 17
    width: int = 64
    batch_norm: bool = True
    luma: bool = False
    axis_name: str | None = None

    def __post_init__(self):
        _check_plain(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b h w c"]:
        check_images(self, x)
        return restored(lambda image: self._restore(image, train), x, scale=1, luma=self.luma)

    def _restore(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        y = nn.relu(conv(self.width, name="conv1")(x))
        for i in range(2, self.depth):
            y = conv(self.width, bias=not self.batch_norm, name=f"conv{i}")(y)
            if self.batch_norm:
                y = nn.BatchNorm(
                    use_running_average=not train, momentum=0.95, epsilon=1e-4, axis_name=self.axis_name, name=f"bn{i}"
                )(y)
            y = nn.relu(y)
        y = Tap(name="body")(y)
        return x - conv(x.shape[-1], bias=not self.batch_norm, init=AS_GIVEN, name=f"conv{self.depth}")(y)

    def rename_state_dict(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """A state dict as it is.

        Raises:
          ValueError: it has batch norms, and this network none.
        """
        if not self.batch_norm and any(name.endswith("running_mean") for name in arrays):
            raise ValueError("it has batch norms, and DnCNN.batch_norm = False; model_args.batch_norm = True reads it")
        return dict(arrays)


class VDSR(nn.Module):
    """Super-resolution (Kim et al. 2016, "Accurate image super-resolution"), [b, h, w, c] -> [b, s·h, s·w, c].

    The image is enlarged bicubically; then x + net(x), of convolutions 3×3 without bias and relu between them. One set of
    weights serves every scale: 664,704 parameters of the luma.

    Attributes:
      scale: s; 1: the image is enlarged already.
      depth: convolutions, at least 2.
      width: channels of the hidden ones.
      luma: whether RGB is restored in its luma alone, as published.
    """

    scale: int = 2
    depth: int = 20
    width: int = 64
    luma: bool = False

    def __post_init__(self):
        check_scale(self)
        _check_plain(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b i j c"]:
        check_images(self, x)
        return restored(self._restore, x, scale=self.scale, luma=self.luma)

    def _restore(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        x = enlarged(x, self.scale)
        y = x
        for i in range(1, self.depth):
            y = nn.relu(conv(self.width, bias=False, name=f"conv{i}")(y))
        y = Tap(name="body")(y)
        return x + conv(x.shape[-1], bias=False, init=AS_GIVEN, name=f"conv{self.depth}")(y)

    def rename_state_dict(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """A file that counts kernels from 0, and names no more than them, `conv0`, by the names of this module."""
        if "conv0" not in arrays:
            return dict(arrays)
        number = lambda name: int(match[1]) if (match := re.fullmatch(r"conv(\d+)", name)) else None
        return {name if (i := number(name)) is None else f"conv{i + 1}.weight": array for name, array in arrays.items()}


def _check_plain(model: DnCNN | VDSR) -> None:
    check_fields(model, positive=("width",))
    check_fields(model, positive=("depth",), least=2)
