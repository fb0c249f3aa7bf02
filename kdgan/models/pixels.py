"""What networks from image to image share: pixel shuffle, sides made divisible, networks of the luma applied to RGB."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan import bicubic
from kdgan.models.layers import check_fields

# MATLAB's rgb2ycbcr (ITU-R BT.601) of RGB in [0, 1]: Y in [16, 235] / 255, Cb and Cr in [16, 240] / 255.
_TO_YCC = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = np.array([16.0, 128.0, 128.0]) / 255


def pixel_shuffle(x: Float[Array, "b h w d"], factor: int) -> Float[Array, "b i j c"]:
    """[b, h, w, c·f²] -> [b, f·h, f·w, c]: channel c·f² + f·i + j becomes row i, column j (Shi et al. 2016; as PyTorch)."""
    if factor == 1:
        return x
    b, h, w, d = x.shape
    c = d // factor**2
    x = x.reshape(b, h, w, c, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(b, factor * h, factor * w, c)


def pixel_unshuffle(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b i j d"]:
    """[b, f·h, f·w, c] -> [b, h, w, c·f²], the inverse of `pixel_shuffle`; f divides the sides."""
    if factor == 1:
        return x
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h // factor, w // factor, c * factor**2)


def edge_padded(x: Float[Array, "b h w c"], multiple: int) -> Float[Array, "b i j c"]:
    """Images whose sides are multiples of a number: the last row and column are repeated as often as that takes."""
    for axis in (1, 2):
        size = x.shape[axis]
        if isinstance(size, int) and size % multiple == 0:
            continue
        # As many repeats as are ever needed, and then cut: a side may be a symbol while a program for any size is exported.
        edge = jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
        x = jax.lax.concatenate([x, *[edge] * (multiple - 1)], axis)
        x = jax.lax.slice_in_dim(x, 0, (size + multiple - 1) // multiple * multiple, axis=axis)
    return x


def cropped(x: Float[Array, "b i j c"], height: Any, width: Any) -> Float[Array, "b h w c"]:
    """The upper left of images; sides may be symbols."""
    for axis, size in ((1, height), (2, width)):
        known = isinstance(size, int) and isinstance(x.shape[axis], int)
        if not known or x.shape[axis] != size:
            x = jax.lax.slice_in_dim(x, 0, size, axis=axis)
    return x


def mirrored(x: Float[Array, "b h w c"], count: int) -> Float[Array, "b i j c"]:
    """Images with `count` more pixels on every side, mirrored about the outermost pixel ("reflect"); sides exceed it.

    Sides may be symbols, which `jnp.pad` refuses.
    """
    for axis in (1, 2):
        # A slice at a fixed place of a side that is a symbol may lie outside, as far as JAX can tell; a dynamic one may not.
        fixed = isinstance(x.shape[axis], int)
        row = jax.lax.slice_in_dim if fixed else lambda y, i, _, axis: jax.lax.dynamic_slice_in_dim(y, i, 1, axis)
        turned = jax.lax.rev(x, (axis,))
        before = [row(x, i, i + 1, axis=axis) for i in range(count, 0, -1)]
        after = [row(turned, i, i + 1, axis=axis) for i in range(1, count + 1)]
        x = jax.lax.concatenate([*before, x, *after], axis)
    return x


def enlarged(x: Float[Array, "b h w c"], scale: int) -> Float[Array, "b i j c"]:
    """Images enlarged bicubically as MATLAB does it, without rounding; of scale 1 as they are."""
    return x if scale == 1 else bicubic.upscale(x, scale)


def to_ycc(rgb: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Y'CbCr of ITU-R BT.601, as MATLAB's `rgb2ycbcr` has it, of RGB in [0, 1]."""
    matrix, offset = jnp.asarray(_TO_YCC.T, rgb.dtype), jnp.asarray(_OFFSET, rgb.dtype).reshape(1, 1, 1, 3)
    return jnp.matmul(rgb, matrix, precision="highest") + offset


def to_rgb(ycc: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """The inverse of `to_ycc`; nothing is clipped."""
    matrix, offset = (
        jnp.asarray(np.linalg.inv(_TO_YCC).T, ycc.dtype),
        jnp.asarray(_OFFSET, ycc.dtype).reshape(1, 1, 1, 3),
    )
    return jnp.matmul(ycc - offset, matrix, precision="highest")


def restored(
    network: Callable[[Array], Array], image: Float[Array, "b h w c"], *, scale: int, luma: bool
) -> Float[Array, "b i j c"]:
    """`network(image)`; of a network of the luma and an image in RGB the luma that it restores, with Cb and Cr enlarged
    bicubically.

    Args:
      network: [b, h, w, c] -> [b, s·h, s·w, c].
      image: in [0, 1].
      scale: s.
      luma: whether the network restores Y alone. Images of one channel are given to it as they are.

    Raises:
      ValueError: with `luma` an image of other channels than 1 or 3.
    """
    if not luma or image.shape[-1] == 1:
        return network(image)
    if image.shape[-1] != 3:
        raise ValueError(f"luma = True: images of 1 or 3 channels are accepted, got {image.shape[-1]}")
    ycc = to_ycc(image)
    return to_rgb(jnp.concatenate([network(ycc[..., :1]), enlarged(ycc[..., 1:], scale)], -1))


# Of the last layer of a residual network, which then starts as the image itself. From a random residual, far from the image,
# Adam's first steps at a usual rate leave units that are 0 everywhere, in some seeds all of them.
AS_GIVEN = nn.initializers.zeros


def conv(features: int, size: int = 3, *, bias: bool = True, groups: int = 1, init: Any = None, name: str) -> nn.Conv:
    """A square convolution of stride 1 that keeps the sides, padded with zeros, of an odd size; He-initialised."""
    return nn.Conv(
        features, (size, size), padding=((size // 2,) * 2,) * 2, use_bias=bias, feature_group_count=groups,
        kernel_init=init or nn.initializers.he_normal(), name=name,
    )  # fmt: skip


def check_scale(model: nn.Module, *fields: str) -> None:
    """Refuse, when a module is built, a scale, or another factor of the sides, that is no whole number up to 16."""
    check_fields(model, positive=fields or ("scale",), most=bicubic.LARGEST_SCALE)


def check_images(model: Any, x: Any, *, min_size: int = 1) -> None:
    """Refuse, while tracing, what is no batch of images; a side may be a symbol.

    Raises:
      ValueError: `x` is not [b, h, w, c], or has no pixels, or fewer than `min_size` a side.
    """
    shape = tuple(x.shape)
    known = [side for side in shape[1:3] if isinstance(side, int)]
    if len(shape) != 4 or any(side < min_size for side in known) or shape[3] < 1:
        raise ValueError(
            f"{type(model).__name__} got an image batch of shape {shape};"
            f" it accepts [b, h, w, c] with h and w of at least {min_size}"
        )
