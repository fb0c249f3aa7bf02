"""What players cost, as columns of a table: size, operations, latency, and what their training took."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kdgan.report import latency, numbers
from kdgan.report.entries import Entry, arm_records, cost_of, cost_of_entry, split_name, training_of
from kdgan.report.table import Cell, Column, Row, Table

SIZE: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("parameters", "parameters", numbers.count),
    ("bytes", "size", numbers.size),
    ("flops", "FLOPs", numbers.count),
)
A_PIXEL = "FLOPs a pixel"
TRAINING, TIME = "training", "time"  # heads of columns


def columns(summary: Mapping[str, Any], entries: Sequence[Entry]) -> list[Column]:
    """Of all rows: parameters, bytes, operations, latencies, operations and seconds of training, where they are known."""
    costs = [cost_of_entry(summary, entry) for entry in entries]
    pixels, result = of_pixels(costs), []
    for key, head, write in SIZE:
        values = [operations(cost) if pixels and key == "flops" else cost.get(key) for cost in costs]
        result += _column(A_PIXEL if pixels and key == "flops" else head, entries, values, write)
    result += _latencies(entries, costs)
    result += _column(TRAINING, entries, [training_of(summary, entry) for entry in entries], numbers.count)
    seconds = [training_of(summary, entry, "train_seconds") for entry in entries]
    return result + _column(TIME, entries, seconds, numbers.duration)


def of_pixels(costs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether operations are given for each pixel: where all players whose operations are known make images of images."""
    known = [cost for cost in costs if numbers.is_number(cost.get("flops"))]
    return bool(known) and all(numbers.is_number(cost.get("pixels")) and cost["pixels"] > 0 for cost in known)


def operations(cost: Mapping[str, Any]) -> Any:
    """Operations for each pixel of a player's output; None where they are not known."""
    return cost["flops"] / cost["pixels"] if of_pixels([cost]) else None


def _column(head: str, entries: Sequence[Entry], values: Sequence[Any], write: Callable[[Any], str]) -> list[Column]:
    """The column with its head; [] where nothing is known."""
    if not any(map(numbers.is_number, values)):
        return []
    # A variant is another set of the same player's parameters: it costs what the row above costs.
    cells = [
        Cell("", known=False) if entry.variant
        else Cell(write(value), float(value)) if numbers.is_number(value) else Cell(numbers.MISSING, known=False)
        for entry, value in zip(entries, values, strict=True)
    ]  # fmt: skip
    return [(head, cells)]


def _latencies(entries: Sequence[Entry], costs: Sequence[Mapping[str, Any]]) -> list[Column]:
    """For each number of examples in a call, where it was timed."""
    result: list[Column] = []
    for batch in latency.BATCHES:
        values = [latency.per_example(cost, batch) for cost in costs]
        for head, cells in _column(latency.head(batch), entries, values, numbers.milliseconds):
            marks = [
                latency.is_call_overhead(cost, batch) and cell.known for cost, cell in zip(costs, cells, strict=True)
            ]
            result.append((head, [
                dataclasses.replace(cell, text=latency.MARK + cell.text) if marked else cell
                for cell, marked in zip(cells, marks, strict=True)
            ]))  # fmt: skip
    return result


def merged(table: Table) -> Table:
    """A table of costs, of many arms: rows of one player that cost the same are one, with the span of their times."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in table.rows:
        equal = [cell.text for head, cell in zip(table.columns, row.cells, strict=True) if head != TIME]
        if any(cell.known for cell in row.cells):
            groups.setdefault((row.label.partition(" · ")[0], *equal), []).append(row)
    rows = [_merged(player, rows, table.columns) for (player, *_), rows in groups.items()]
    return dataclasses.replace(table, rows=tuple(rows))


def _merged(player: str, rows: Sequence[Row], heads: Sequence[str]) -> Row:
    if len(rows) == 1:
        return rows[0]
    cells = [_span([row.cells[i] for row in rows]) if head == TIME else rows[0].cells[i]
             for i, head in enumerate(heads)]  # fmt: skip
    names = [row.label.partition(" · ")[2] for row in rows]
    return Row(f"{player} · {numbers.listed(names) if len(names) <= 3 else f'{len(rows)} arms'}", tuple(cells))


def _span(cells: Sequence[Cell]) -> Cell:
    known = sorted((cell for cell in cells if cell.mean is not None), key=lambda cell: cell.mean or 0.0)
    if not known or known[0].text == known[-1].text:
        return cells[0] if not known else known[0]
    return Cell(f"{known[0].text} to {known[-1].text}")


def also_trained(summary: Mapping[str, Any], stage: str) -> str:
    """The players that arms train beside those that are measured, as an adapter, with the arms and what they cost."""
    arms = arm_records(summary, stage)
    users: dict[str, list[str]] = {}
    for arm, record in arms.items():
        measured = {split_name(name)[0] for name, values in (record.get("players") or {}).items() if values}
        for player, origin in (record.get("origins") or {}).items():
            if origin.get("trained") and player not in measured:
                users.setdefault(player, []).append(arm)
    return "; ".join(_with_users(summary, stage, player, names, len(arms)) for player, names in users.items())


def _with_users(summary: Mapping[str, Any], stage: str, player: str, users: Sequence[str], arms: int) -> str:
    parameters = cost_of(summary, stage, player).get("parameters")
    size = f" ({numbers.count(parameters)} parameters)" if numbers.is_number(parameters) else ""
    if arms == 1:
        return f"{player}{size}"
    where = f"{len(users)} arms" if len(users) > 3 else numbers.listed(users)
    return f"{player}{size} in {where}"


def points(summary: Mapping[str, Any], entries: Iterable[Entry], key: str) -> dict[str, float]:
    """Label of an entry -> its parameters or FLOPs, where they are known; FLOPs a pixel where all of them make images."""
    costs = {entry.label: cost_of_entry(summary, entry) for entry in entries}
    pixels = key == "flops" and of_pixels(costs.values())
    values = {label: operations(cost) if pixels else cost.get(key) for label, cost in costs.items()}
    return {label: float(value) for label, value in values.items() if numbers.is_number(value) and value > 0}
