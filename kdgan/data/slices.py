"""Splits as TFDS writes them, "train[:80%]+test": the parts, and the range of each among so many examples."""

import re
from typing import NamedTuple

_SLICE = re.compile(r"^([\w.\-]+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?$")


class Part(NamedTuple):
    """A split's name, and the bounds of its slice as they are written."""

    name: str
    start: str | None
    stop: str | None


def parse(split: str) -> list[Part]:
    """The parts of a split, which "+" joins.

    Raises:
        ValueError: it is not written so.
    """
    parts = []
    for text in split.split("+"):
        match = _SLICE.match(text.strip())
        if not match:
            raise ValueError(
                f"split {split!r} is no valid split; write e.g. train, train[:80%], all[1000:], train+test"
            )
        parts.append(Part(match[1], match[2], match[3]))
    return parts


def bounds(part: Part, count: int, where: str, what: str = "examples") -> tuple[int, int]:
    """The first example of a part, and the first behind it.

    Args:
        part: of a split.
        count: examples of the whole split, of which percentages are rounded.
        where: what an error calls the split.
        what: what it calls the examples.

    Raises:
        ValueError: a bound lies outside.
    """

    def bound(text: str | None, default: int) -> int:
        if text is None:
            return default
        number = round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)
        number = number + count if number < 0 else number
        if not 0 <= number <= count:
            raise ValueError(f"{where}: {text} lies outside its {count} {what}")
        return number

    return bound(part.start, 0), bound(part.stop, count)
