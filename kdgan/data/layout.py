"""Where the channels of an image stand: last, or, by the look of its shape, first."""

from collections.abc import Sequence


def check_channels_last(name: str, shape: Sequence[int | None]) -> None:
    """Raise ValueError where images of `shape` [..., h, w, c] look like [..., c, h, w]."""
    if looks_channels_first(shape):
        order = "(1, 2, 0)" if len(shape) == 3 else "(0, 2, 3, 1)"
        raise ValueError(
            f"{name}: shape {list(shape)} looks like channels first; channels last are wanted: {name}.transpose{order}"
        )


def looks_channels_first(shape: Sequence[int | None]) -> bool:
    """Whether images of `shape` [..., h, w, c] look like [..., c, h, w].

    They do where 1 to 4 stands first, and behind it two numbers over 4 as the sides of an image are: equal; or both more
    than twice the first, and either at least 16 or neither more than four times the other.
    """
    first, *sides = (number or 0 for number in shape[-3:])
    low, high = min(sides), max(sides)
    if not (1 <= first <= 4 and low > 4):
        return False
    return low == high or (low > 2 * first and (low >= 16 or high <= 4 * low))
