"""Maps of other sides, as by PyTorch's adaptive pooling and nearest interpolation, which the code of papers calls.

[b, h, w, c] -> [b, i, j, c] for any i and j. Entry k of n along a side of s sees s·k/n, rounded down, to s·(k + 1)/n,
rounded up: blocks where n divides s, windows that overlap by one where it does not.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

Sides = tuple[int, int]


def adaptive_average(x: Float[Array, "b h w c"], sides: Sides) -> Float[Array, "b i j c"]:
    """The mean of each window, in at least float32."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows, columns = (_averaging(side, wanted, x.dtype) for side, wanted in zip(x.shape[1:3], sides, strict=True))
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x, precision="highest")


def adaptive_max(x: Float[Array, "b h w c"], sides: Sides) -> Float[Array, "b i j c"]:
    """The largest value of each window; values that tie share the gradient."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, wanted in zip((1, 2), sides, strict=True):
        windows = [x.take(np.arange(*ends), axis) for ends in _windows(x.shape[axis], wanted)]
        x = jnp.stack([jnp.max(window, axis=axis) for window in windows], axis=axis)
    return x


def nearest(x: Float[Array, "b h w c"], sides: Sides) -> Float[Array, "b i j c"]:
    """Entry k of n shows that at s·k/n, rounded down: `F.interpolate(x, sides, mode="nearest")`.

    `jax.image.resize` takes the one at s·(k + ½)/n, which is another where sides shrink.
    """
    rows, columns = (np.arange(n) * s // n for s, n in zip(x.shape[1:3], sides, strict=True))
    return x[:, rows][:, :, columns]


POOLINGS: dict[str, Callable[[Array, Sides], Array]] = {"average": adaptive_average, "max": adaptive_max}


def smaller(one: Array, other: Array) -> Sides:
    """The smaller of each side of two maps [b, h, w, c]."""
    rows, columns = (min(pair) for pair in zip(one.shape[1:3], other.shape[1:3], strict=True))
    return rows, columns


def _windows(side: int, wanted: int) -> list[tuple[int, int]]:
    return [(side * k // wanted, -(-side * (k + 1) // wanted)) for k in range(wanted)]


def _averaging(side: int, wanted: int, dtype: np.dtype) -> Float[np.ndarray, "n s"]:
    """The matrix of which row k averages over window k."""
    matrix = np.zeros((wanted, side), dtype)
    for k, (start, stop) in enumerate(_windows(side, wanted)):
        matrix[k, start:stop] = 1 / (stop - start)
    return matrix
