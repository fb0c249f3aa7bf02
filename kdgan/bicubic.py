"""Bicubic resampling of images by a whole factor, as MATLAB's `imresize` does it and published tables of results have it.

Kernel of Keys (1981), a = −0.5: w(x) = 1.5|x|³ − 2.5|x|² + 1 for |x| ≤ 1, −0.5|x|³ + 2.5|x|² − 4|x| + 2 for 1 < |x| ≤ 2,
else 0. Pixel j has its centre at j + 1/2. A reduction by s widens the kernel to w(x/s), normalised (antialiased); what lies
outside is the image mirrored about its edge, the outermost pixel repeated. Rows are resampled first, then columns. An uint8
image is rounded to uint8 after each of the two passes, halves upwards, and cut to 0..255. Pillow's and scikit-image's
bicubic are others: their borders, their rounding, and scikit-image's kernel differ.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

LARGEST_SCALE = 16  # of models and degradations

# Below half the smallest distance between two results (1/(16·s⁴), s <= 16), so that a tie, which is no exact number where
# s is no power of 2, goes upwards on every machine.
_TIE = 1e-7


def cubic(x: np.ndarray) -> Float64[np.ndarray, "..."]:
    """The kernel w(x), a = −0.5."""
    x = np.abs(np.asarray(x, np.float64))
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def weights(size: int, scale: int, *, enlarge: bool = False) -> Float64[np.ndarray, "n {size}"]:
    """One pass as a matrix: row i holds the weights of output pixel i; for reading and tests, `downscale` needs none.

    Args:
        size: pixels of the side that is resampled.
        scale: by which it is reduced, or enlarged.
        enlarge: whether it is enlarged.

    Returns:
        `[size / scale, size]`, or `[size·scale, size]`. Rows sum to 1.

    Raises:
        ValueError: for a scale below 1, or one that does not divide the size to be reduced.
    """
    count, stride, phases = _pass(size, scale, enlarge)
    matrix = np.zeros((count, size))
    for i in range(count):
        for offset, weight in phases[i % len(phases)]:
            place = (i // len(phases) * stride + offset) % (2 * size)
            matrix[i, min(place, 2 * size - 1 - place)] += weight
    return matrix


def downscale(image: Any, scale: int) -> Any:
    """The image reduced by `scale`.

    Args:
        image: `[..., h, w, c]`: uint8 of NumPy, which gives uint8, or floating point of NumPy or JAX, which is not rounded.
        scale: a whole number; it divides h and w.

    Returns:
        `[..., h / scale, w / scale, c]`.

    Raises:
        ValueError: for a scale below 1, or one that does not divide a side.
    """
    return _resample(image, scale, enlarge=False)


def upscale(image: Any, scale: int) -> Any:
    """The image enlarged by `scale`, `[..., h·scale, w·scale, c]`; as `downscale` else.

    Raises:
        ValueError: for a scale below 1.
    """
    return _resample(image, scale, enlarge=True)


def _resample(image: Any, scale: int, enlarge: bool) -> Any:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        for axis in (-3, -2):
            exact = _along(image.astype(np.float64), axis, scale, enlarge)
            image = np.clip(np.floor(exact + (0.5 + _TIE)), 0, 255).astype(np.uint8)
        return image
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"bicubic: images are uint8 arrays of NumPy, or floating point, got {image.dtype}")
    return _along(_along(image, -3, scale, enlarge), -2, scale, enlarge)


Taps = tuple[tuple[int, float], ...]  # of an output pixel: (offset of an input pixel, its weight)


def _pass(size: Any, scale: int, enlarge: bool) -> tuple[Any, int, tuple[Taps, ...]]:
    """(output pixels, stride, taps of each phase): output k·phases + p takes input pixels k·stride + offset."""
    if scale != int(scale) or scale < 1:
        raise ValueError(f"bicubic: scale must be a whole number of at least 1, got {scale}")
    scale = int(scale)
    if enlarge:
        centres = [(p + 0.5) / scale - 0.5 for p in range(scale)]
        return size * scale, 1, tuple(_taps(centre, 1) for centre in centres)
    if size % scale:
        raise ValueError(f"bicubic: scale {scale} does not divide a side of {size} pixels")
    return size // scale, scale, (_taps((scale - 1) / 2, scale),)


def _taps(centre: float, width: int) -> Taps:
    offsets = np.arange(math.floor(centre) - 2 * width, math.ceil(centre) + 2 * width + 1)
    values = cubic((offsets - centre) / width)
    return tuple((int(k), float(w)) for k, w in zip(offsets, values / values.sum(), strict=True) if w)


def _along(image: Any, axis: int, scale: int, enlarge: bool) -> Any:
    """One pass along an axis, whose size may be a symbol of an exported program.

    The few shifted slices of it cost less than a product with `weights`.
    """
    library: Any = np if isinstance(image, np.ndarray) else jnp
    axis += image.ndim
    count, stride, phases = _pass(image.shape[axis], scale, enlarge)
    offsets = [offset for taps in phases for offset, _ in taps]
    padded = _mirrored(library, image, axis, -min(0, *offsets), max(0, max(offsets) + 1 - stride))

    first, length = -min(0, *offsets), (count // len(phases) - 1) * stride + 1

    def shifted(offset: int) -> Any:
        start = first + offset
        if library is np:
            return padded[(*[slice(None)] * axis, slice(start, start + length, stride))]
        return jax.lax.slice_in_dim(padded, start, start + length, stride, axis)

    outputs = [sum(np.asarray(weight, image.dtype) * shifted(offset) for offset, weight in taps) for taps in phases]
    if len(outputs) == 1:
        return outputs[0]
    shape = (*image.shape[:axis], count, *image.shape[axis + 1 :])
    return library.stack(outputs, axis + 1).reshape(shape)


def _mirrored(library: Any, image: Any, axis: int, before: int, after: int) -> Any:
    """The image with so many pixels of its mirror image at both ends of an axis."""
    if isinstance(image.shape[axis], int):
        around = [(before, after) if i == axis else (0, 0) for i in range(image.ndim)]
        return library.pad(image, around, mode="symmetric")
    # Dynamic slices, since a fixed one of a side that is a symbol is not known to lie inside; ONNX has them, too.
    row = lambda array, i: jax.lax.dynamic_slice_in_dim(array, i, 1, axis)
    turned = jax.lax.rev(image, (axis,))
    start, end = [row(image, i) for i in reversed(range(before))], [row(turned, i) for i in range(after)]
    return jax.lax.concatenate([*start, image, *end], axis)
