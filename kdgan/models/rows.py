"""Convolutions of few channels as rows of pixels times a band matrix, which a CPU computes faster; no model knows of it.

A convolution of one or a few channels has too little to do at each pixel: Eigen, and still more the gradient of its image,
reach a tenth of the matrix product's speed. A whole row of pixels times a matrix that holds the kernel along a band does
several times the operations at that speed (benchmarks/README.md).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan.models.patches import is_plain, pads_of, sides_of_result

# (pairs of channels of image and output, widths of the kernel in a row), both at most: there rows are faster in training.
FASTER = ((24, 8), (96, 3))


def few_channels(image: Array, kernel: Array) -> bool:
    """Whether rows are faster, of images [b, h, w, c] and kernels [i, j, c, d]: where c·d and w/j are small."""
    pairs = math.prod(kernel.shape[2:])
    return any(pairs <= most and image.shape[2] <= widths * kernel.shape[1] for most, widths in FASTER)


def convolve_few(
    image: Array, kernel: Array, window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]], *,
    otherwise: Callable = jax.lax.conv_general_dilated, **options: Any,
) -> Array:  # fmt: skip
    """`convolve`, by rows where these are faster, and as `otherwise` computes it where not."""
    by_rows = is_plain(image, options) and few_channels(image, kernel)
    return (convolve if by_rows else otherwise)(image, kernel, window_strides, padding, **options)


def convolve(
    image: Array, kernel: Array, window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]], **options: Any
) -> Array:
    """`jax.lax.conv_general_dilated` of images [b, h, w, c] with kernels [i, j, c, d], by rows.

    Args:
      image: [b, h, w, c].
      kernel: [i, j, c, d].
      window_strides: of height and width.
      padding: "SAME", "VALID", or (before, after) of height and width.
      **options: the rest of its arguments. With dilation, groups, or another number of axes it is called itself.
    """
    if not is_plain(image, options):
        return jax.lax.conv_general_dilated(image, kernel, window_strides, padding, **options)
    (examples, _, width, _), (tall, wide, channels, features) = image.shape, kernel.shape
    pads = pads_of(image, kernel, window_strides, padding)
    rows, columns = sides_of_result(image, kernel, window_strides, pads)
    if min(rows, columns) < 1:  # a result without pixels
        return jax.lax.conv_general_dilated(image, kernel, window_strides, padding, **options)
    # band[j, v, w]: whether the kernel's column j meets the image's column v for the output's column w.
    starts = np.arange(columns) * window_strides[1] - pads[1][0]
    band = np.arange(width)[None, :, None] == starts + np.arange(wide)[:, None, None]
    matrix = jnp.einsum("jvw,ijcd->ivcwd", band.astype(kernel.dtype), kernel)
    lines = jnp.pad(image, ((0, 0), pads[0], (0, 0), (0, 0))).reshape(examples, -1, width * channels)
    span = (rows - 1) * window_strides[0] + 1
    lines = jnp.concatenate([lines[:, i : i + span : window_strides[0]] for i in range(tall)], axis=-1)
    convolved = jax.lax.dot_general(
        lines, matrix.reshape(-1, columns * features), (((2,), (0,)), ((), ())),
        precision=options.get("precision"), preferred_element_type=options.get("preferred_element_type"),
    )  # fmt: skip
    return convolved.reshape(examples, rows, columns, features)
