"""Feed-forward style transfer: Johnson's network with instance norm, of one style or, by conditional norm, of several.

Module paths to ask features for:
  `contract1` .. `contract{n}`   convolutions with norm and relu, at 1, 1/2, 1/4, ... of the sides; n of the field `contract`
  `block1` .. `block{blocks}`    residual blocks at the lowest resolution
  `expand1` .. `expand{n − 1}`   convolutions with norm and relu after each doubling
  `body`                         what the last convolution reads, [b, h', w', c]
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.gan_layers import check_width, scaled
from kdgan.models.instance_norm import InstanceNorm
from kdgan.models.layers import Tap, check_fields
from kdgan.models.pixels import check_images, cropped, edge_padded, mirrored


class Johnson(nn.Module):
    """Style transfer in one pass (Johnson et al. 2016), image [b, h, w, c] -> [b, h, w, c] in [0, 1], of any sides.

    Convolutions of stride 2 down, residual blocks, nearest doubling and convolutions up; instance norm after each, a sigmoid
    at the end. Borders are reflected; sides are padded by their edge to a multiple of what the contraction divides them by.
    With `styles` norms are conditional (Dumoulin et al. 2017): a style, [b] classes or [b, k] weights of a mixture, is the
    second argument. `multistyle26` are the fields of the published network of 26 styles, 166,104 numbers.

    Attributes:
      contract: channels of the convolutions down; the first one keeps the sides, each other halves them.
      blocks: residual blocks.
      expand: channels of the convolutions up; None: those down in reverse, without the last.
      styles: k; 0: one style, and no second argument.
      style: of k, the one that is painted where no second argument is given.
      width: factor of all channels but those of the image (rounded, at least 1).
      outer: sides of the first and the last kernel, odd. They lie at the full resolution: 3 or 5 makes a network cheaper.
    """

    contract: Sequence[int] = (32, 64, 128)
    blocks: int = 5
    expand: Sequence[int] | None = None
    styles: int = 0
    width: float = 1.0
    outer: int = 9
    style: int = 0

    unit_pixels = True

    def __post_init__(self):
        check_fields(self, positive=("contract", "blocks", *(("expand",) if self.expand is not None else ())))
        check_width(self)
        if len(self.contract) < 2 or (self.expand is not None and len(self.expand) != len(self.contract) - 1):
            raise ValueError(
                f"Johnson.contract = {self.contract!r}, expand = {self.expand!r}; it accepts two widths or more, and one"
                " fewer of expand"
            )
        if self.styles < 0:
            raise ValueError(f"Johnson.styles = {self.styles}; it accepts 0 (one style) or a number of styles")
        if not 0 <= self.style < max(self.styles, 1):
            raise ValueError(
                f"Johnson.style = {self.style}; with styles={self.styles} it accepts 0 to {max(self.styles, 1) - 1}"
            )
        if self.outer < 1 or self.outer % 2 == 0:
            raise ValueError(f"Johnson.outer = {self.outer}; it accepts an odd number")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "..."], style: Array | None = None, *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        """The image in a style.

        Args:
          x: [b, h, w, c].
          style: with `styles`, classes [b] or weights [b, k]; None: the field `style`.
          train: has no effect.

        Raises:
          ValueError: images too small to be reflected; a style that is not wanted, or of another shape.
        """
        multiple = 2 ** (len(self.contract) - 1)
        check_images(self, x, min_size=max(self.outer // 2, multiple) + 1)
        weights = self._weights(style, x)
        _, h, w, channels = x.shape
        down = [scaled(count, self.width) for count in self.contract]
        up = [scaled(count, self.width) for count in (self.expand or tuple(self.contract)[-2::-1])]
        make = lambda features, size, name, **more: Normed(features, size, self.styles, name=name, **more)
        y = edge_padded(x, multiple)
        for i, features in enumerate(down, start=1):
            first = i == 1
            y = make(features, self.outer if first else 3, f"contract{i}", stride=1 if first else 2)(y, weights)
        for i in range(1, self.blocks + 1):
            y = Residual(down[-1], self.styles, name=f"block{i}")(y, weights)
        for i, features in enumerate(up, start=1):
            y = make(features, 3, f"expand{i}")(doubled(y), weights)
        y = make(channels, self.outer, "last", relu=False)(Tap(name="body")(y), weights)
        return nn.sigmoid(cropped(y, h, w))

    def _weights(self, style: Array | None, x: Array) -> Array | None:
        if not self.styles:
            if style is not None:
                raise ValueError(f"Johnson with styles=0 got a style of shape {jnp.shape(style)}; it accepts none")
            return None
        if style is None:
            style = jnp.full(len(x), self.style)
        if style.ndim == 1 and jnp.issubdtype(style.dtype, jnp.integer):
            return jax.nn.one_hot(style, self.styles, dtype=x.dtype)
        if style.ndim == 2 and style.shape[1] == self.styles:
            return style.astype(x.dtype)
        raise ValueError(
            f"Johnson with styles={self.styles} got a style of shape {style.shape} and type {style.dtype}; it accepts"
            f" classes [b], or weights [b, {self.styles}]"
        )

    def rename_state_dict(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """A file of the 26-style network by the names of this module: `contract.0.w`, `res.0.1.gamma`, `expand.2.beta`."""
        last = max((int(match[1]) for name in arrays if (match := re.match(r"expand\.(\d+)\.w$", name))), default=-1)
        renamed = {}
        for name, array in arrays.items():
            match = re.fullmatch(r"(contract|expand|res)\.(\d+)(?:\.([01]))?\.(w|gamma|beta)", name)
            if match is None:
                renamed[name] = array
                continue
            kind, i, j, leaf = match.groups()
            layer = f"block{int(i) + 1}.conv{int(j or 0) + 1}" if kind == "res" else f"{kind}{int(i) + 1}"
            layer = "last" if kind == "expand" and int(i) == last else layer
            renamed[f"{layer}.conv.weight" if leaf == "w" else f"{layer}.norm.{leaf}"] = array
        return renamed


class Normed(nn.Module):
    """A convolution without bias, its border reflected; instance norm, conditional where there are styles; relu if asked."""

    features: int
    size: int
    styles: int
    stride: int = 1
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], weights: Array | None) -> Float[Array, "b i j d"]:
        around = self.size // 2
        x = mirrored(x, around) if around else x
        x = nn.Conv(
            self.features, (self.size,) * 2, (self.stride,) * 2, padding="VALID", use_bias=False,
            kernel_init=nn.initializers.he_normal(), name="conv",
        )(x)  # fmt: skip
        x = InstanceNorm(self.styles, name="norm")(x, weights)
        return nn.relu(x) if self.relu else x


class Residual(nn.Module):
    """x + norm conv relu norm conv x."""

    features: int
    styles: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], weights: Array | None) -> Float[Array, "b h w c"]:
        y = Normed(self.features, 3, self.styles, name="conv1")(x, weights)
        return x + Normed(self.features, 3, self.styles, relu=False, name="conv2")(y, weights)


def doubled(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """Each pixel as four."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
