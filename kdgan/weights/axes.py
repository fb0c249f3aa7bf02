"""What the axes of an array count: pixels, channels, several of them flattened, the outputs of a layer, or nothing known."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# What an axis counts: ("s", 0) the first axis of pixels, ("c", 0) channels, ("out", path) the outputs of a dense layer, or
# None; with its size. An axis is made of segments, joined; a segment of factors, of which the last counts fastest.
Factor = tuple[tuple[str, Any] | None, int]
Segment = tuple[Factor, ...]
Axis = tuple[Segment, ...]
Axes = tuple[Axis, ...]
CHANNELS = ("c", 0)


class Order(NamedTuple):
    """The entries of an axis in another order than PyTorch's."""

    axis: Axis

    def of(self, size: int, path: str) -> np.ndarray:
        """The place in PyTorch's order, channels first, of each entry.

        An axis of another size has the same pixels, and other channels.

        Raises:
          ValueError: it has not.
        """
        axis, known = self.axis, size_of(self.axis)
        if size != known:
            pixels = math.prod(n for token, n in axis[0] if token != CHANNELS)
            if len(axis) > 1 or size % pixels or not any(token == CHANNELS for token, _ in axis[0]):
                raise ValueError(
                    f"{path} reads a flattened image of {known} numbers; {size} are none of the same sides"
                )
            axis = (tuple((token, size // pixels if token == CHANNELS else n) for token, n in axis[0]),)
        starts = np.cumsum([0, *(math.prod(n for _, n in segment) for segment in axis)])
        return np.concatenate([start + _places(segment) for start, segment in zip(starts, axis, strict=False)])


def input_axes(shape: Sequence[int]) -> Axes:
    if len(shape) < 4:
        return plain(shape)
    pixels = tuple(axis_of(("s", i), size) for i, size in enumerate(shape[1:-1]))
    return (axis_of(None, shape[0]), *pixels, axis_of(CHANNELS, shape[-1]))


def axis_of(token: Any, size: int) -> Axis:
    return (((token, size),),)


def plain(shape: Sequence[int]) -> Axes:
    return tuple(axis_of(None, size) for size in shape)


def size_of(axis: Axis) -> int:
    return sum(math.prod(size for _, size in segment) for segment in axis)


def single(axis: Axis) -> Factor | None:
    """The factor of an axis that is one."""
    return axis[0][0] if len(axis) == 1 and len(axis[0]) == 1 else None


def _theirs(segment: Segment) -> list[int]:
    """The factors of a segment in PyTorch's order, channels before pixels; as they are where they are not of an image."""
    tokens = [token for token, size in segment if size > 1]
    same = list(range(len(segment)))
    if any(token is None or token[0] not in "sc" for token in tokens) or len({*tokens}) < len(tokens):
        return same
    # "c" sorts before "s", and the axes of pixels by their number; where an axis has one entry does not matter.
    return sorted(same, key=lambda i: segment[i][0] or ("", 0))


def is_reordered(segment: Segment) -> bool:
    return [i for i in _theirs(segment) if segment[i][1] > 1] != [i for i, (_, n) in enumerate(segment) if n > 1]


def _places(segment: Segment) -> np.ndarray:
    theirs = _theirs(segment)
    places = np.arange(math.prod(n for _, n in segment)).reshape([segment[i][1] for i in theirs])
    return places.transpose(np.argsort(theirs)).reshape(-1)


def leading_sides(shape: Sequence[int], total: int) -> tuple[int, ...]:
    """The leading sizes whose product this is; () where there are none."""
    for count in range(2, len(shape) + 1):
        if math.prod(shape[:count]) == total:
            return tuple(shape[:count])
    return ()


def resized(axis: Axis, size: int) -> Axis:
    if size_of(axis) == size:
        return axis
    factor = single(axis)
    return axis_of(factor[0] if factor is not None and (factor[0] or ("",))[0] != "out" else None, size)


def broadcast(axes: Axes, shape: tuple[int, ...], dimensions: Sequence[int]) -> Axes:
    out = list(plain(shape))
    for axis, dimension in zip(axes, dimensions, strict=True):
        if size_of(axis) == shape[dimension]:
            out[dimension] = axis
    return tuple(out)


def convolved(shape: tuple[int, ...], out_spec: Sequence[int]) -> Axes:
    out = list(plain(shape))
    out[out_spec[1]] = axis_of(CHANNELS, shape[out_spec[1]])
    for i, dimension in enumerate(out_spec[2:]):
        out[dimension] = axis_of(("s", i), shape[dimension])
    return tuple(out)
