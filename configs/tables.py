"""What tables of results/ share: seeds and machine of a run, differences between rows, numbers as text. Not a config."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.metrics.intervals import holm, paired_difference
from kdgan.report import numbers

Rows = Mapping[str, Mapping[str, Any]]  # row -> {"values": measure -> of each seed, ...}


def origin(summary: Mapping[str, Any]) -> dict[str, Any]:
    """{seeds, device, jax} of a run's summary."""
    first, count = summary["config"]["seed"], summary["config"]["population"]["seeds"]
    environment = summary["environment"]
    return {"seeds": list(range(first, first + count)), "device": environment["device"], "jax": environment["jax"]}


def differences(rows: Rows, measure: str, against: str) -> dict[str, Any]:
    """Row -> its difference to another by seed, with an interval that holds for all rows at once and Holm's p."""
    others = [row for row in rows if row != against]
    of = lambda row: rows[row]["values"][measure]
    apart = {row: paired_difference(of(row), of(against), comparisons=len(others)) for row in others}
    adjusted = holm([one["p"] for one in apart.values()])
    return {row: {**one, "holm": p} for (row, one), p in zip(apart.items(), adjusted, strict=True)}


def shown(record: Sequence[float | None], scale: float, digits: int, **how: Any) -> str:
    """A mean and half its interval, times a scale; "–" where there is none. `how`: as of `numbers.with_interval`."""
    mean, half = (None if value is None else scale * value for value in record)
    return numbers.with_interval(mean, half, digits, **how)


def compared(difference: Mapping[str, Any], scale: float, digits: int) -> list[str]:
    """A difference with its interval, and Holm's p, as they are shown."""
    return [shown((difference["mean"], difference["ci95"]), scale, digits, signed=True), _p(difference)]


def _p(difference: Mapping[str, Any]) -> str:
    return numbers.MISSING if difference["holm"] is None else f"{difference['holm']:.2g}"
