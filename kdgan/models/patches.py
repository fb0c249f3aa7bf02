"""Convolutions as patches times a matrix, for a step whose kernels are mapped; no model knows of it.

`vmap` over members turns a convolution into a grouped one, which XLA computes several times more slowly than the members
in turn would take on a CPU (benchmarks/README.md). Patches times a matrix become a batched product, which it computes well.
An image of fewer pixels than the kernel is its own only patch: much of what a patch would hold is padding.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from kdgan.models.transposed import TransposedConv


def convolve(
    image: Array, kernel: Array, window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]], **options: Any
) -> Array:
    """`jax.lax.conv_general_dilated` of images [b, h, w, c] with kernels [i, j, c, d], by patches where it can be done so.

    Args:
      image: [b, h, w, c].
      kernel: [i, j, c, d].
      window_strides: of height and width.
      padding: "SAME", "VALID", or (before, after) of height and width.
      **options: the rest of its arguments. With dilation, groups, or another number of axes it is called itself.
    """
    if not is_plain(image, options):
        return jax.lax.conv_general_dilated(image, kernel, window_strides, padding, **options)
    sides, pads = kernel.shape[:2], pads_of(image, kernel, window_strides, padding)
    out = sides_of_result(image, kernel, window_strides, pads)
    if min(out) < 1:  # a result without pixels
        return jax.lax.conv_general_dilated(image, kernel, window_strides, padding, **options)
    if math.prod(image.shape[1:3]) < math.prod(sides):
        return _of_whole_images(image, kernel, window_strides, pads, **options)
    padded = jnp.pad(image, ((0, 0), *pads, (0, 0)))
    # Of each axis, the pixels from the first to the last that one entry of the kernel meets.
    spans = [(count - 1) * stride + 1 for count, stride in zip(out, window_strides, strict=True)]
    rows, columns = window_strides
    patches = jnp.concatenate(
        [
            padded[:, i : i + spans[0] : rows, j : j + spans[1] : columns]
            for i in range(sides[0])
            for j in range(sides[1])
        ],
        axis=-1,
    )
    return jax.lax.dot_general(
        patches, kernel.reshape(-1, kernel.shape[-1]), (((3,), (0,)), ((), ())),
        precision=options.get("precision"), preferred_element_type=options.get("preferred_element_type"),
    )  # fmt: skip


def _of_whole_images(
    image: Array, kernel: Array, window_strides: Sequence[int], pads: Sequence[tuple[int, int]], **options: Any
) -> Array:
    """The convolution as one product: images [b, h·w·c] times, for each pixel of the result, the kernel where it lies."""
    examples, height, width, channels = image.shape
    out = sides_of_result(image, kernel, window_strides, pads)
    axes = zip((height, width), kernel.shape[:2], window_strides, pads, out, strict=True)
    (rows, row_zeros), (columns, column_zeros) = (_places(*axis) for axis in axes)
    spread = jnp.pad(kernel, (row_zeros, column_zeros, (0, 0), (0, 0)))
    matrix = jnp.stack([spread[i : i + height, j : j + width] for i in rows for j in columns], axis=3)
    convolved = jax.lax.dot_general(
        image.reshape(examples, height * width * channels), matrix.reshape(height * width * channels, -1),
        (((1,), (0,)), ((), ())),
        precision=options.get("precision"), preferred_element_type=options.get("preferred_element_type"),
    )  # fmt: skip
    return convolved.reshape(examples, *out, kernel.shape[3])


def _places(size: int, side: int, stride: int, pad: tuple[int, int], count: int) -> tuple[list[int], tuple[int, int]]:
    """Along one axis: where the image begins in a kernel with zeros about it, for each pixel of the result; and these zeros.

    `size`, `side` and `count`: pixels of the image, the kernel and the result. The zeros: before the kernel, and behind it.
    """
    starts = [i * stride - pad[0] for i in range(count)]
    before, behind = max(0, *starts), max(0, size - side - min(starts))
    return [before - start for start in starts], (before, behind)


def sides_of_result(
    image: Array, kernel: Array, window_strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> tuple[int, ...]:
    """Height and width of the result, under 1 where the kernel is larger than the padded image."""
    axes = zip(image.shape[1:3], pads, kernel.shape[:2], window_strides, strict=True)
    return tuple((size + sum(pad) - side) // stride + 1 for size, pad, side, stride in axes)


def pads_of(
    image: Array, kernel: Array, window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]]
) -> Sequence[tuple[int, int]]:
    """(before, after) of height and width, where `padding` may be "SAME" or "VALID"."""
    if isinstance(padding, str):
        return jax.lax.padtype_to_pads(image.shape[1:3], kernel.shape[:2], window_strides, padding)
    return padding


def is_plain(image: Array, options: Mapping[str, Any]) -> bool:
    """Whether a convolution is of images [b, h, w, c] and kernels [i, j, c, d], without dilation and groups."""
    dilated = any(math.prod(options.get(name) or (1,)) != 1 for name in ("lhs_dilation", "rhs_dilation"))
    grouped = options.get("feature_group_count", 1) != 1 or options.get("batch_group_count", 1) != 1
    return (
        image.ndim == 4 and not dilated and not grouped and _channels_last(options.get("dimension_numbers"), image.ndim)
    )


def _channels_last(numbers: Any, ndim: int) -> bool:
    """Whether a convolution's axes are those of Linen: [b, h, w, c] and [i, j, c, d]."""
    if numbers is None:
        return False
    linen = jax.lax.ConvDimensionNumbers((0, ndim - 1, 1, 2), (3, 2, 0, 1), (0, ndim - 1, 1, 2))
    return jax.lax.conv_dimension_numbers((1,) * ndim, (1,) * ndim, numbers) == linen


def convolved_by(step: Callable, convolution: Callable = convolve) -> Callable:
    """`step` with each `nn.Conv` and `TransposedConv` inside computed by `convolution`, unless the layer brings its own."""

    def replace(call: Callable, args: tuple, kwargs: dict[str, Any], context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        if isinstance(layer, nn.Conv | TransposedConv) and layer.conv_general_dilated is None:
            object.__setattr__(layer, "conv_general_dilated", convolution)  # of this call's copy of the layer
        return call(*args, **kwargs)

    @functools.wraps(step)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(replace):
            return step(*args, **kwargs)

    return replaced
