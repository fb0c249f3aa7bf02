"""Latency in tables: wall time of a call over its examples, nothing subtracted; what times the call itself is marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.report import numbers

BATCHES = (1, 64)  # examples of a call
MARK = "†"
EMPTY_CALLS = 2.0  # a call of less than so many empty ones times the call more than the player


def head(batch: int) -> str:
    return f"latency, {batch}"


def per_example(cost: Mapping[str, Any], batch: int) -> Any:
    """Milliseconds for each example of a call of so many; None where it was not timed."""
    timed = cost.get("latency_ms")
    if isinstance(timed, Mapping):
        return timed.get(str(batch))
    return timed if batch == 1 else None  # an older version timed a batch of one alone


def is_call_overhead(cost: Mapping[str, Any], batch: int) -> bool:
    """Whether a call took under twice an empty one."""
    time, empty = per_example(cost, batch), cost.get("empty_call_ms")
    return numbers.is_number(time) and numbers.is_number(empty) and time * batch < EMPTY_CALLS * empty


def notes(summary: Mapping[str, Any], costs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the columns mean, and what the mark says, where there is one."""
    batches = [batch for batch in BATCHES if any(numbers.is_number(per_example(cost, batch)) for cost in costs)]
    if not batches:
        return []
    device = (summary.get("environment") or {}).get("device")
    sizes = "1 example" if batches == [1] else f"{' or '.join(map(str, batches))} examples over their number"
    on = f", on {device}" if device else ""
    lines = [f"Latency: wall time of a call of {sizes}, nothing subtracted{on}"]
    marked = [cost for cost in costs for batch in batches if is_call_overhead(cost, batch)]
    if marked:
        empty = numbers.milliseconds(marked[0]["empty_call_ms"])
        lines.append(f"{MARK}: call overhead, under twice an empty call, which takes {empty}")
    return lines
