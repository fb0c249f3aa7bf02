"""Measuring two that do the same work: by blocks in turn, so that whatever else the machine does meets both.

Each pair of neighbouring blocks gives one ratio. The median of the ratios is told with an interval from order
statistics, which assumes nothing of how they are spread, and with its quartiles.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Contestant(NamedTuple):
    """One of two that do the same work.

    Attributes:
      steps: makes so many steps and returns when the last is done.
      losses: moving player -> its objective at the last step, a float.
      params: the trained players' parameters, player -> tree; None where nobody asks.
      per_call: steps are made so many at a time.
      members: networks that each step trains.
    """

    steps: Callable[[int], None]
    losses: Callable[[], Mapping[str, float]] = dict
    params: Callable[[], Any] = lambda: None
    per_call: int = 1
    members: int = 1


class Effort(NamedTuple):
    """How long is measured.

    Attributes:
      blocks: of each of the two.
      block_seconds: what a block takes at least, where a step takes less.
      pair_seconds: what all the blocks of both may take about; fewer than `blocks` are made beyond, at least `MIN_BLOCKS`.
    """

    blocks: int = 30
    block_seconds: float = 0.3
    pair_seconds: float = 180.0


class Setting(NamedTuple):
    """What holds for all that one command measures.

    Attributes:
      effort: how long is measured.
      device: "cpu" or "cuda", as PyTorch names it.
      precision: of float32 matrix products: "float32" in full, or "tf32".
      quick: the small pieces of work, to check that all of it works.
      pieces: names of the pieces of work, of a suite that has several; none: all of them.
      fresh: whether compile time and memory are measured too, each in a process of its own.
    """

    effort: Effort
    device: str
    precision: str
    quick: bool
    pieces: tuple[str, ...] = ()
    fresh: bool = True

    def of(self, names: Iterable[str]) -> list[str]:
        """Those of a suite's pieces that are measured."""
        return [name for name in names if not self.pieces or name in self.pieces]


MIN_BLOCKS = 6  # the fewest of which the extremes are a 95 % interval of the median: 1 − 2·0.5⁶ = 0.97
QUICK = Effort(blocks=MIN_BLOCKS, block_seconds=0.01, pair_seconds=2.0)


def seconds_per_step(contestant: Contestant, count: int) -> float:
    """Seconds of each of `count` steps, by the wall clock."""
    start = time.perf_counter()
    contestant.steps(count)
    return (time.perf_counter() - start) / count


def steps_in_block(contestant: Contestant, seconds: float) -> int:
    """As many steps as take `seconds`, a whole number of calls; the contestant is warm afterwards."""
    contestant.steps(contestant.per_call)  # compiles
    contestant.steps(contestant.per_call)
    count = contestant.per_call
    while (one := seconds_per_step(contestant, count)) * count < seconds / 4:
        count *= 2
    calls = max(round(seconds / (one * contestant.per_call)), 1)
    return calls * contestant.per_call


def compare(ours: Contestant, other: Contestant, effort: Effort, *, steps: int | None = None) -> dict[str, Any]:
    """Milliseconds of one member's step of both, and how many times as fast ours is: other / ours, block by block.

    Args:
      ours: kdgan's.
      other: who does the same work.
      effort: blocks, and how long they are.
      steps: in a block of each; by default as many as the effort says.

    Returns:
      "kdgan_ms" and "other_ms", medians; "speedup" with its "median", "interval95" and "quartiles"; "speedups" of the
      blocks; "whole", of the sums of their times, in which rare pauses count; "blocks" and the "steps" in a block of each.
    """
    counts = tuple(steps or steps_in_block(each, effort.block_seconds) for each in (ours, other))
    both = (ours, other)
    once = sum(seconds_per_step(each, count) * count for each, count in zip(both, counts, strict=True))
    blocks = int(min(effort.blocks, max(effort.pair_seconds / once, MIN_BLOCKS)))
    times = np.empty((blocks, 2))
    for block in range(blocks):
        for i in (0, 1) if block % 2 else (1, 0):  # each goes first in turn, so that a steady drift cancels
            times[block, i] = seconds_per_step(both[i], counts[i]) / both[i].members
    ratios = times[:, 1] / times[:, 0]
    return {
        "kdgan_ms": 1e3 * float(np.median(times[:, 0])),
        "other_ms": 1e3 * float(np.median(times[:, 1])),
        "speedup": spread(ratios),
        "speedups": ratios.round(4).tolist(),
        "whole": float(times[:, 1].sum() / times[:, 0].sum()),
        "blocks": blocks,
        "steps": list(counts),
    }


def several(contestant: Contestant, effort: Effort, *, blocks: int = 10) -> dict[str, Any]:
    """Milliseconds of one step of all members, of one contestant alone: median and quartiles over blocks."""
    count = steps_in_block(contestant, effort.block_seconds)
    times = np.array([seconds_per_step(contestant, count) for _ in range(min(blocks, effort.blocks))])
    low, middle, high = (1e3 * float(x) for x in np.quantile(times, [0.25, 0.5, 0.75]))
    return {"ms": middle, "quartiles": [low, high]}


def spread(values: np.ndarray) -> dict[str, Any]:
    """Median of `values` [n], a 95 % interval of it by order statistics, and their quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    rank = max(int(len(values) / 2 - 1.96 * np.sqrt(len(values)) / 2), 0)
    interval = np.sort(values)[[rank, len(values) - 1 - rank]].tolist()
    return {"median": float(middle), "interval95": interval, "quartiles": [float(low), float(high)]}
