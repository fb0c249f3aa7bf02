"""CARN and its mobile form: a cascading residual network of super-resolution.

Module paths to ask features for:
  `entry`                 the first convolution, [b, h, w, width]
  `block1` .. `block3`    cascading blocks, [b, h, w, width]
  `fuse1` .. `fuse3`      convolutions 1×1 of all before them, each before its relu
  `up`                    enlarged features, [b, s·h, s·w, width]
  `body`                  what the last convolution reads, the same
"""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields
from kdgan.models.pixels import check_images, conv, pixel_shuffle

MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K's pixels in RGB, taken away before the network
SCALES = (2, 3, 4)

# Names of the published state dict -> those of the module.
_RENAMED = (
    (r"b(\d)\.b1\.body\.0", r"block\1.residual.conv1"), (r"b(\d)\.b1\.body\.2", r"block\1.residual.conv2"),
    (r"b(\d)\.b1\.body\.4", r"block\1.residual.conv3"), (r"b(\d)\.c(\d)\.body\.0", r"block\1.fuse\2"),
    (r"c(\d)\.body\.0", r"fuse\1"), (r"entry", r"entry"), (r"exit", r"exit"),
    (r"upsample\.up\d?\.body\.0", r"up.conv1"), (r"upsample\.up\d?\.body\.3", r"up.conv2"),
)  # fmt: skip


class CARN(nn.Module):
    """CARN-M (Ahn et al. 2018, "Fast, accurate and lightweight super-resolution"), [b, h, w, 3] -> [b, s·h, s·w, 3].

    Three cascading blocks, each of one residual block (two 3×3 convolutions of groups and a 1×1) called three times; all
    that came before is joined and reduced by 1×1. The published file has one trunk and the heads of scales 2, 3 and 4,
    414,811 numbers; the head of `scale` is read.

    Attributes:
      scale: s: 2, 3 or 4.
      width: channels.
      groups: of the 3×3 convolutions; 4 as published.
    """

    scale: int = 2
    width: int = 64
    groups: int = 4

    unit_pixels = True

    def __post_init__(self):
        check_fields(self, positive=("width", "groups"))
        if self.scale not in SCALES:
            raise ValueError(f"CARN.scale = {self.scale}; it accepts {', '.join(map(str, SCALES))}")
        if self.width % self.groups:
            raise ValueError(f"CARN.width = {self.width}; it accepts a multiple of groups = {self.groups}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b i j c"]:
        check_images(self, x)
        mean = jnp.asarray(MEAN if x.shape[-1] == len(MEAN) else np.mean(MEAN), x.dtype).reshape(1, 1, 1, -1)
        y = conv(self.width, name="entry")(x - mean)
        joined = y
        for i in range(1, 4):
            made = CascadingBlock(self.width, self.groups, name=f"block{i}")(y)
            joined = jnp.concatenate([joined, made], -1)
            y = nn.relu(conv(self.width, 1, name=f"fuse{i}")(joined))
        y = Tap(name="body")(Enlarging(self.width, self.scale, self.groups, name="up")(y))
        return conv(x.shape[-1], init=nn.initializers.lecun_normal(), name="exit")(y) + mean

    def rename_state_dict(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """A published state dict by the names of this module, with the head of its scale alone.

        Raises:
          ValueError: it has heads, and none of this scale; or it takes away another mean.
        """
        heads = {int(match[1]) for name in arrays if (match := re.match(r"upsample\.up(\d)\.", name))}
        if heads and self.scale not in heads:
            raise ValueError(f"it has heads of scale {', '.join(map(str, sorted(heads)))}; CARN.scale = {self.scale}")
        renamed: dict[str, Any] = {}
        for name, array in arrays.items():
            layer, _, leaf = name.rpartition(".")
            if layer.endswith("_mean.shifter"):
                _check_shift(layer, leaf, np.asarray(array))
                continue
            if (match := re.match(r"upsample\.up(\d)\.", name)) and int(match[1]) != self.scale:
                continue
            for pattern, other in _RENAMED:
                if re.fullmatch(pattern, layer):
                    layer = re.sub(pattern, other, layer)
                    break
            renamed[f"{layer}.{leaf}"] = array
        return renamed


class CascadingBlock(nn.Module):
    """One residual block called three times, each result joined to all before it and reduced by 1×1."""

    width: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        residual = ResidualBlock(self.width, self.groups, name="residual")
        joined = x
        for i in range(1, 4):
            joined = jnp.concatenate([joined, residual(x)], -1)
            x = nn.relu(conv(self.width, 1, name=f"fuse{i}")(joined))
        return x


class ResidualBlock(nn.Module):
    """relu(x + conv 1×1 (relu conv (relu conv x))), the 3×3 ones of groups."""

    width: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = nn.relu(conv(self.width, groups=self.groups, name="conv1")(x))
        y = nn.relu(conv(self.width, groups=self.groups, name="conv2")(y))
        return nn.relu(conv(self.width, 1, name="conv3")(y) + x)


class Enlarging(nn.Module):
    """Features enlarged by 2, 3 or 4: convolution of groups, relu, pixel shuffle; by 4 twice by 2."""

    width: int
    scale: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        for i, factor in enumerate((2, 2) if self.scale == 4 else (self.scale,), start=1):
            x = nn.relu(conv(self.width * factor**2, groups=self.groups, name=f"conv{i}")(x))
            x = pixel_shuffle(x, factor)
        return x


def _check_shift(layer: str, leaf: str, array: np.ndarray) -> None:
    """The 1×1 convolutions that take the mean away and add it are constants here."""
    sign = 1 if layer.startswith("add") else -1
    expected = np.eye(3)[:, :, None, None] if leaf == "weight" else sign * np.asarray(MEAN)
    if array.shape != expected.shape or not np.allclose(array, expected, atol=1e-6):
        raise ValueError(f"its {layer}.{leaf} is another shift than by the mean {MEAN}, which CARN has")
