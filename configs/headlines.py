"""The tables that docstrings of configs quote, as finished runs gave them: results/headlines.json. Not a config.

    python -m configs.headlines digits_gan_distill runs/digits_gan_distill fd recall coverage against=scratch_matched

prints and records the lines: of each player that a stage trained the measures of the last step on the test split, mean and
half of the 95 % interval over seeds; and where there is `against=`, an arm, the differences of the first measure to it,
paired by seed, with intervals that hold for all arms of the stage at once. tests/test_headlines.py holds the docstring of a
recorded config against them: the lines stand there as they are, and no other interval.
"""

import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from configs import tables
from kdgan import files
from kdgan.metrics.intervals import paired_difference
from kdgan.report import numbers
from kdgan.report.measured import Measured, described

FILE = pathlib.Path(__file__).parent.parent / "results" / "headlines.json"
INTERVAL = re.compile(r"\d\s*±\s*\d")
Row = tuple[str, Mapping[str, Any], Mapping[str, Any] | None]  # name, measures, difference


def lines(summary: Mapping[str, Any], measures: Sequence[str], against: str = "") -> list[str]:
    """The table of a run, a line each, in columns: its heads, and each player of each arm.

    Raises:
      ValueError: there is no such measure, or no player that the run trained has the first.
    """
    records = described(summary["measures"])
    if unknown := [name for name in measures if name not in records]:
        raise ValueError(f"the run has no measure {unknown[0]!r}; it has {', '.join(records)}")
    shown = [records[name] for name in measures]
    rows = [row for stage in summary["stages"].values() for row in _rows(stage, measures[0], against)]
    if not rows:
        raise ValueError(f"no player that the run trained has the measure {measures[0]!r}")
    apart = any(difference is not None for *_, difference in rows)
    table = [["", *(one.head for one in shown), *([f"{shown[0].head} − {against}"] if apart else [])]]
    widths = [[row[1].get(name, {}).get("ci95") for row in rows] for name in measures]
    widths.append([row[2]["ci95"] if row[2] else None for row in rows])
    for name, values, difference in rows:
        cells = [_cell(one, values.get(key), of) for one, key, of in zip(shown, measures, widths, strict=False)]
        beside = (
            [] if not apart else ["" if difference is None else _cell(shown[0], difference, widths[-1], signed=True)]
        )
        table.append([name, *cells, *beside])
    places = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = (
        [
            cell.ljust(place) if i == 0 else cell.rjust(place)
            for i, (cell, place) in enumerate(zip(row, places, strict=True))
        ]
        for row in table
    )
    return ["    ".join(row).rstrip() for row in padded]


def _rows(of_stage: Mapping[str, Any], first: str, against: str) -> list[Row]:
    """Of each arm the players that it trained and that have the first measure."""
    arms = of_stage["arms"]
    rows: list[Row] = []
    for arm, record in arms.items():
        trained = [name for name, origin in record["origins"].items() if origin["trained"]]
        for player in [name for name in trained if first in record["players"].get(name, {})]:
            difference = None
            if against in arms and arm != against:
                of = lambda which, player=player: arms[which]["players"][player][first]["values"]
                difference = paired_difference(of(arm), of(against), comparisons=len(arms) - 1)
            rows.append((arm if len(arms) > 1 else player, record["players"][player], difference))
    return rows


def _cell(
    measure: Measured, value: Mapping[str, Any] | None, halves: Sequence[float | None], *, signed: bool = False
) -> str:
    if value is None:
        return numbers.MISSING
    scaled = lambda number: None if number is None else measure.scale * number
    places = numbers.decimals(map(scaled, halves), **measure.digits)
    unit = "points" if signed and measure.unit == "%" else measure.unit
    return numbers.with_interval(scaled(value["mean"]), scaled(value["ci95"]), places, unit=unit, signed=signed)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) < 3:
        sys.exit("usage: python -m configs.headlines CONFIG WORKDIR MEASURE ... [against=ARM]")
    name, workdir, *rest = arguments
    against = next((text.removeprefix("against=") for text in rest if text.startswith("against=")), "")
    summary = files.read_json(pathlib.Path(workdir) / "summary.json")
    table = lines(summary, [text for text in rest if "=" not in text], against)
    record = {**tables.origin(summary), "date": summary["environment"]["date"], "lines": table}
    everything = files.read_json(FILE) if FILE.is_file() else {}
    files.write_json(FILE, {**everything, name: record})
    print("\n".join(table))


if __name__ == "__main__":
    main(sys.argv[1:])
