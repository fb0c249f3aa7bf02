"""Convolutions as patches times a matrix, where XLA's own are slow on a CPU; no model knows of it.

`vmap` over members turns a convolution into a grouped one, which XLA computes several times more slowly than the members
in turn would take: `by_patches` makes it a batched product. And XLA computes the gradient of a kernel as a convolution
whose window is the whole image, after transposing both: `gradient_by_patches` leaves it the convolution and makes the
gradient a product. Times of both stand in benchmarks/README.md.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

LEAST = 1e7  # operations of a gradient (a tenth of a millisecond) for which a loop is worth compiling
CHUNK_BYTES = 5 * 2**19  # of patches made at once: they are read again before they leave a cache


def by_patches(
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
    if not _is_plain(image, options):
        return jax.lax.conv_general_dilated(image, kernel, window_strides, padding, **options)
    pads = _pads(image, kernel, window_strides, padding)
    return jax.lax.dot_general(
        _patches(image, kernel.shape[:2], window_strides, pads), kernel.reshape(-1, kernel.shape[-1]),
        (((3,), (0,)), ((), ())), precision=options.get("precision"),
        preferred_element_type=options.get("preferred_element_type"),
    )  # fmt: skip


def gradient_by_patches(
    image: Array, kernel: Array, window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]], **options: Any
) -> Array:
    """The same, with the kernel's gradient alone by patches: for one step after the other, not under `vmap`.

    The gradient is a sum over chunks of the batch, Σ gᵀ·patches, each of at most `CHUNK_BYTES` of patches or one image.
    It is differentiable once more in reverse, not in forward mode.
    """

    def direct(image: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(image, kernel, window_strides, padding, **options)

    if not _is_plain(image, options):
        return direct(image, kernel)
    places = math.prod(jax.eval_shape(direct, image, kernel).shape[:-1])
    if 2 * places * kernel.size < LEAST:
        return direct(image, kernel)
    pads = _pads(image, kernel, window_strides, padding)

    @jax.custom_vjp
    def convolved(image, kernel):
        return direct(image, kernel)

    def backward(residuals, gradient):
        image, kernel = residuals
        (of_image,) = jax.linear_transpose(lambda image: direct(image, kernel), image)(gradient)
        return of_image, _kernel_gradient(image, gradient, kernel, window_strides, pads, options.get("precision"))

    convolved.defvjp(lambda image, kernel: (direct(image, kernel), (image, kernel)), backward)
    return convolved(image, kernel)


def _kernel_gradient(
    image: Array,
    gradient: Array,
    kernel: Array,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    precision: Any,
) -> Array:
    """Gradient of kernels [i, j, c, d] from images [b, h, w, c] and the gradient of what they gave, [b, h', w', d]."""
    sides, (batch, *_, channels) = kernel.shape[:2], gradient.shape
    per_image = math.prod(gradient.shape[1:3]) * math.prod(kernel.shape[:3]) * image.dtype.itemsize
    count = max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * per_image <= CHUNK_BYTES))

    def of_chunk(image, gradient):
        patches = _patches(image, sides, strides, pads)
        return jax.lax.dot_general(
            gradient.reshape(-1, channels), patches.reshape(-1, patches.shape[-1]), (((0,), (0,)), ((), ())),
            precision=precision, preferred_element_type=jnp.promote_types(gradient.dtype, jnp.float32),
        )  # fmt: skip

    chunks = [leaf.reshape(-1, count, *leaf.shape[1:]) for leaf in (image, gradient)]
    shape = jax.eval_shape(of_chunk, image[:count], gradient[:count])
    total, _ = jax.lax.scan(
        lambda total, chunk: (total + of_chunk(*chunk), None), jnp.zeros(shape.shape, shape.dtype), chunks
    )
    return total.T.reshape(kernel.shape).astype(kernel.dtype)


def _is_plain(image: Array, options: dict[str, Any]) -> bool:
    """Whether it is of images [b, h, w, c], without dilation and groups."""
    dilated = any(math.prod(options.get(name) or (1,)) != 1 for name in ("lhs_dilation", "rhs_dilation"))
    grouped = options.get("feature_group_count", 1) != 1 or options.get("batch_group_count", 1) != 1
    return image.ndim == 4 and not dilated and not grouped and _channels_last(options.get("dimension_numbers"), 4)


def _pads(image: Array, kernel: Array, strides: Sequence[int], padding: Any) -> Sequence[tuple[int, int]]:
    """(before, after) of height and width."""
    if isinstance(padding, str):
        return jax.lax.padtype_to_pads(image.shape[1:3], kernel.shape[:2], strides, padding)
    return padding


def _patches(image: Array, sides: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]]) -> Array:
    """[b, h', w', i·j·c]: what a kernel of sides (i, j) meets at each of its places."""
    padded = jnp.pad(image, ((0, 0), *pads, (0, 0)))
    # Of each axis, the pixels from the first to the last that one entry of the kernel meets.
    lengths = zip(padded.shape[1:3], sides, strides, strict=True)
    spans = [(size - side) // stride * stride + 1 for size, side, stride in lengths]
    rows, columns = strides
    return jnp.concatenate(
        [
            padded[:, i : i + spans[0] : rows, j : j + spans[1] : columns]
            for i in range(sides[0])
            for j in range(sides[1])
        ],
        axis=-1,
    )


def _channels_last(numbers: Any, ndim: int) -> bool:
    """Whether a convolution's axes are those of Linen: [b, h, w, c] and [i, j, c, d]."""
    if numbers is None:
        return False
    linen = jax.lax.ConvDimensionNumbers((0, ndim - 1, 1, 2), (3, 2, 0, 1), (0, ndim - 1, 1, 2))
    return jax.lax.conv_dimension_numbers((1,) * ndim, (1,) * ndim, numbers) == linen


def replace_convolutions(step: Callable, convolution: Callable) -> Callable:
    """`step` with `convolution` in every `nn.Conv` inside; a layer that brings its own keeps it."""

    def replace(call: Callable, args: tuple, kwargs: dict[str, Any], context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        if isinstance(layer, nn.Conv) and layer.conv_general_dilated is None:
            object.__setattr__(layer, "conv_general_dilated", convolution)  # of this call's copy of the layer
        return call(*args, **kwargs)

    @functools.wraps(step)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(replace):
            return step(*args, **kwargs)

    return replaced
