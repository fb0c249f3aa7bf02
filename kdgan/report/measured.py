"""The measures of a run, as its summary describes them: heads, units, digits, which end is better.

A report knows of no measure beforehand: whatever the summary names has its column, curve and comparison.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdgan.report import numbers


@dataclasses.dataclass(frozen=True)
class Measured:
    """How a measure is shown, and which end of it is better.

    Attributes:
        name: its key in summary.json and metrics.jsonl.
        head: of its column.
        scale: what a number is multiplied by to be shown.
        unit: after the number.
        higher_is_better: else lower is.
        digits: arguments of `numbers.decimals`.
        bounds: (least, largest) value that it can have, as shown; None where there is no bound.
        note: a sentence below a table of it.
        column: whether the table of results has a column of it.
        traded: whether the measure that players are compared by is drawn against it.
    """

    name: str
    head: str
    scale: float = 1.0
    unit: str = ""
    higher_is_better: bool = True
    digits: Mapping[str, int] = dataclasses.field(default_factory=lambda: _digits(3))
    bounds: tuple[float | None, float | None] = (None, None)
    note: str = ""
    column: bool = True
    traded: bool = False

    @property
    def percent(self) -> bool:
        return self.unit == "%"

    @property
    def better(self) -> str:
        return "higher" if self.higher_is_better else "lower"

    @property
    def points(self) -> str:
        """The unit of a difference, in words: percentage points, "dB", or the measure's name."""
        return "points" if self.percent else self.unit if self.unit else f"in {self.head}"

    @property
    def on_test(self) -> str:
        """What it is called where a number of it stands in a sentence: a share is told of the test split."""
        return f"test {self.head}" if self.percent else self.head

    @property
    def obvious(self) -> bool:
        """Whether readers know without being told which end is better: of a share, the higher one."""
        return self.percent and self.higher_is_better

    def reading(self, record: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """(mean, half width) of a summary's record, scaled; None where there is no number.

        The half width is None for one seed, whatever the summary has there: one number says nothing of its spread.
        """
        half = record.get("ci95") if len(record.get("values") or ()) != 1 else None
        return self.scaled(record.get("mean")), self.scaled(half)

    def scaled(self, value: Any) -> float | None:
        return self.scale * value if numbers.is_number(value) else None


def of(summary: Mapping[str, Any]) -> tuple[Measured, ...]:
    """The measures of a summary, in the order of their columns."""
    return tuple(described(summary.get("measures") or {}).values())


def described(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Measured]:
    """Name -> measure, of the records that summary.json and measures.json have."""
    return {name: _measured(name, record) for name, record in records.items()}


def _measured(name: str, record: Mapping[str, Any]) -> Measured:
    scale = float(record.get("scale") or 1.0)
    low, high = (None if end is None else scale * end for end in record.get("bounds") or (None, None))
    return Measured(
        name=name,
        head=str(record.get("head") or name),
        scale=scale,
        unit=str(record.get("unit") or ""),
        higher_is_better=record.get("better") != "lower",
        digits=_digits(record.get("digits") or ([2, 1, 2] if record.get("unit") == "%" else 3)),
        bounds=(low, high),
        note=str(record.get("note") or "").rstrip("."),
        column=bool(record.get("column", True)),
        traded=bool(record.get("traded")),
    )


def _digits(digits: int | Sequence[int]) -> dict[str, int]:
    """Arguments of `numbers.decimals`: an int, or default, lowest, highest, and digits of the half width."""
    if isinstance(digits, int):
        return {"default": digits, "lowest": max(digits - 1, 0), "highest": digits + 1, "significant": 2}
    return dict(zip(("default", "lowest", "highest", "significant"), (*digits, 2)[:4], strict=False))


def primary(summary: Mapping[str, Any], players: Iterable[Mapping[str, Any]]) -> Measured | None:
    """What players are compared by: the first measure that all of them have; None where none has any.

    Args:
        summary: the content of summary.json.
        players: measure -> record of each player compared, the measures in its own order; one without any does not count.
    """
    return next(iter(shared(summary, players)), None)


def second(summary: Mapping[str, Any], players: Iterable[Mapping[str, Any]]) -> Measured | None:
    """What stands beside the primary measure: the next one that all players have."""
    return next(iter(shared(summary, players)[1:]), None)


def shared(summary: Mapping[str, Any], players: Iterable[Mapping[str, Any]]) -> list[Measured]:
    """The measures that all players have, in the order of the first; where there is none, that most of them have."""
    known = {measured.name: measured for measured in of(summary)}
    judged = [[name for name in metrics if name in known] for metrics in players]
    judged = [names for names in judged if names]
    order = list(dict.fromkeys(name for names in judged for name in names))
    common = [name for name in order if all(name in names for names in judged)]
    if not common and order:
        common = [max(order, key=lambda name: sum(name in names for names in judged))]
    return [known[name] for name in common]
