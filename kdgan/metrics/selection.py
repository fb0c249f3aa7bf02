"""Which of several arms is the best by a number: the one rule of the run and of its report."""

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

from kdgan.metrics.intervals import ROUNDING

Name = TypeVar("Name", bound=Hashable)


def leaders(values: Mapping[Name, float], *, higher_is_better: bool) -> tuple[Name, ...]:
    """The names whose value is the best, in the order given: several where values are equal up to rounding.

    Args:
        values: name -> value; one that is NaN or infinite is never the best.
        higher_is_better: else lower is.

    Returns:
        Empty where no value is a finite number.
    """
    sign = 1.0 if higher_is_better else -1.0
    finite = {name: sign * value for name, value in values.items() if math.isfinite(value)}
    if not finite:
        return ()
    best = max(finite.values())
    return tuple(name for name, value in finite.items() if value >= best - ROUNDING * abs(best))
