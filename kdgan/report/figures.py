"""The sections of figures that evaluators leave beside their numbers: matrices, numbers per class, tables, bars, examples.

A figure that belongs to one arm among several is shown of the arm that the report singles out. Each title is a section.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from kdgan import pictures
from kdgan.metrics.intervals import mean_ci
from kdgan.report import bars, choice, images, matrix, numbers, plots, rendering
from kdgan.report.drawing import SERIES
from kdgan.report.entries import ALONE, arm_names, last_stage
from kdgan.report.markup import folded, section, sentence
from kdgan.report.measured import Measured, described
from kdgan.report.read import Results
from kdgan.report.table import Cell, Row, Table

SMALL_IMAGE = 64  # pixels up to which an image is enlarged without smoothing
LONG_NAME = 5  # characters of a card's text from which it needs a wider place
NAMES = 24  # numbers of a figure up to which each has a row of dots; beyond, the least and the largest ones do
SIGNS = {"right": " ✓", "wrong": " ✗"}


def sections(results: Results) -> list[str]:
    """The sections, in the order in which the figures' titles appear."""
    titles: dict[str, list[Mapping[str, Any]]] = {}
    for record in results.summary.get("figures") or ():
        if record.get("kind") in _DRAWN and _is_shown(results, record):
            titles.setdefault(str(record.get("title") or "Figure"), []).append(record)
    return [section(title, "".join(_DRAWN[record["kind"]](results, record) for record in records))
            for title, records in titles.items()]  # fmt: skip


def crossed(results: Results, stage: str) -> dict[str, list[tuple[str, Table]]]:
    """Title -> (what it is of, the table) of the figures of a stage that are tables, for a text without pictures."""
    tables: dict[str, list[tuple[str, Table]]] = {}
    for record in results.summary.get("figures") or ():
        if record.get("kind") == "crossed" and record.get("stage") == stage and _is_shown(results, record):
            table, caption = _crossed_table(results, record)
            if table.rows:
                tables.setdefault(str(record.get("title") or "Figure"), []).append((caption, table))
    return tables


def _is_shown(results: Results, record: Mapping[str, Any]) -> bool:
    """Whether a figure's array is there, and its player is the one that is singled out, where only this one is shown."""
    key = record.get("array")
    if key is not None and key not in results.evaluation:
        return False
    if not record.get("chosen"):
        return True
    chosen = choice.chosen_arm(results.summary, record.get("stage"))
    if chosen is None:  # nothing is compared there
        return record.get("stage") == last_stage(results.summary)
    return (record.get("arm"), record.get("entry")) == (chosen.arm, chosen.player)


def _whose(results: Results, record: Mapping[str, Any], seeds: int) -> str:
    """As "student · kd (chosen on validation), 5 seeds together, test split"."""
    entry, arm, stage = (str(record.get(name) or "") for name in ("entry", "arm", "stage"))
    alone = arm in ("", ALONE) or len(arm_names(results.summary, stage)) < 2
    whose = entry if alone else f"{entry} · {arm}"
    chosen = choice.chosen_arm(results.summary, stage) if record.get("chosen") else None
    why = f" ({chosen.words})" if chosen is not None and chosen.of > 1 else ""
    together = f", {seeds} seeds together" if seeds > 1 else ""
    return f"{whose}{why}{together}, {record.get('on') or 'test split'}"


def _matrix(results: Results, record: Mapping[str, Any]) -> str:
    counts, names = results.evaluation[record["array"]], [str(name) for name in record.get("names") or ()]
    if not counts.size:
        return ""
    names += [str(i) for i in range(len(names), counts.shape[-1])]
    shares = matrix.shares(counts)
    row, column = (str(record.get(side) or side) for side in ("row", "column"))
    rows = "".join(
        f'<tr><th scope="row">{escape(one)} → {escape(other)}</th><td>{100 * share:.1f} %</td></tr>'
        for one, other, share in matrix.most_confused(shares, names)
    )
    errors = '<p class="note">Nothing lies off the diagonal.</p>'
    if rows:
        errors = (
            '<h3 class="first">Most frequent errors</h3><table><thead><tr><td></td>'
            f'<th scope="col">share of its row</th></tr></thead><tbody>{rows}</tbody></table>'
            f'<p class="note">{escape(row.capitalize())} → {escape(column)}.</p>'
        )
    note = str(record.get("note") or "Each row sums to 100 %; errors are shaded by the largest of them").rstrip(".")
    caption = f"{_whose(results, record, len(counts))}. {note}."
    drawn = matrix.draw(shares, names, row=row, column=column, label=str(record.get("title") or "matrix"))
    by_row = (
        "" if _has_values(results, record) else folded("On the diagonal, row by row", _diagonal(results, record, names))
    )
    return (
        f'<div class="two"><figure class="matrix">{drawn}<figcaption>{sentence(caption)}</figcaption></figure>'
        f'<div class="errors">{errors}</div></div>{by_row}'
    )


def _has_values(results: Results, record: Mapping[str, Any]) -> bool:
    """Whether numbers by the same names stand in a figure of their own."""
    same = ("stage", "arm", "entry", "names")
    return any(other.get("kind") == "values" and all(other.get(key) == record.get(key) for key in same)
               for other in results.summary.get("figures") or ())  # fmt: skip


def _diagonal(results: Results, record: Mapping[str, Any], names: Sequence[str]) -> str:
    """The share of each row on the diagonal, with its interval over seeds: of a class how much of it is told as it is."""
    counts = np.asarray(results.evaluation[record["array"]], float)
    total = counts.sum(2)
    hits = np.where(total > 0, np.diagonal(counts, axis1=1, axis2=2) / np.maximum(total, 1), np.nan)
    about = {"head": "share on the diagonal", "unit": "%", "scale": 100.0}
    return _dots_and_table(results, {**record, **about, "names": names, "digits": None, "note": ""}, hits)


def _values(results: Results, record: Mapping[str, Any]) -> str:
    """Numbers by name, of each seed."""
    return _dots_and_table(results, record, np.asarray(results.evaluation[record["array"]], float))


def _dots_and_table(results: Results, record: Mapping[str, Any], array: np.ndarray) -> str:
    """Numbers [seeds, k] as dots with the interval of their mean, and as a table."""
    array = array[None] if array.ndim == 1 else array
    names = [str(name) for name in record.get("names") or range(array.shape[-1])]
    if not array.size:
        return ""
    measured = described({"": {"head": record.get("title"), **record}})[""]
    readings = [measured.reading(mean_ci(column.tolist())) for column in array.T]
    places = numbers.decimals([half for _, half in readings], **measured.digits)
    cells = [Cell(numbers.with_interval(mean, half, places, unit=measured.unit), mean, half) for mean, half in readings]
    rows = [
        (name, [measured.scaled(value) for value in column.tolist()], cell.ci95, SERIES[1])
        for name, column, cell in zip(names, array.T, cells, strict=False)
    ]
    note = str(record.get("note") or "").rstrip(".")
    picked, left_out = _picked(rows, measured)
    low, high = measured.bounds
    if measured.percent:
        low, high = (0.0 if low is None else low), (100.0 if high is None else high)
    drawn = plots.dots(picked, unit=measured.unit, lowest=low, highest=high, what=measured.head, of="class")
    better = "" if measured.obvious else f"; {measured.better} is better"
    several = "; a dot for each seed, a diamond for their mean with its 95 % interval" if len(array) > 1 else ""
    caption = f"{_whose(results, record, 1)}{better}{several}. {note + '. ' if note else ''}{left_out}".strip()
    table = Table((measured.head,), tuple(Row(name, (cell,)) for name, cell in zip(names, cells, strict=False)))
    figure = f'<figure class="seeds">{drawn}<figcaption>{sentence(caption)}</figcaption></figure>'
    return figure + folded(f"All {len(names)} as a table", rendering.as_html(table))


def _crossed(results: Results, record: Mapping[str, Any]) -> str:
    table, caption = _crossed_table(results, record)
    return f'{rendering.as_html(table)}<p class="note">{sentence(caption)}</p>' if table.rows else ""


def _crossed_table(results: Results, record: Mapping[str, Any]) -> tuple[Table, str]:
    """Numbers [seeds, rows, columns] as a table of means over seeds, without rows where there are none; and its caption."""
    array = np.asarray(results.evaluation[record["array"]], float)
    rows, columns = ([str(name) for name in record.get(side) or ()] for side in ("rows", "columns"))
    if array.shape[1:] != (len(rows), len(columns)) or not array.size:
        return Table((), ()), ""
    measured = described({"": {"head": record.get("title"), **record}})[""]
    readings = [
        [measured.reading(mean_ci(array[:, r, c].tolist())) for c in range(len(columns))] for r in range(len(rows))
    ]
    places = numbers.decimals([half for row in readings for _, half in row], **measured.digits)
    cell = lambda mean, half: (
        Cell(numbers.with_interval(mean, half, places, unit=measured.unit), mean, half)
        if numbers.is_number(mean)
        else Cell("", known=False)
    )
    filled = tuple(Row(name, tuple(cell(*one) for one in row)) for name, row in zip(rows, readings, strict=True))
    note = str(record.get("note") or "").rstrip(".")
    interval = "; mean over seeds with its 95 % interval" if len(array) > 1 else ""
    caption = f"{_whose(results, record, 1)}{interval}. {note + '.' if note else ''}".strip()
    return Table(tuple(columns), filled), caption


def _picked(rows: list[Any], measured: Measured) -> tuple[list[Any], str]:
    """The rows that are drawn: of many the worst and the best, which is said."""
    if len(rows) <= NAMES:
        return rows, ""
    known = [row for row in rows if numbers.is_number(row[1][0]) or any(map(numbers.is_number, row[1]))]
    mean = lambda row: float(np.mean([value for value in row[1] if numbers.is_number(value)]))
    order = sorted(known, key=mean, reverse=not measured.higher_is_better)
    half = NAMES // 2
    return order[:half] + order[-half:], f"Of {len(rows)} the {half} worst and the {half} best."


def _bars(results: Results, record: Mapping[str, Any]) -> str:
    """Bars of one entry; of many arms those of the few that are shown elsewhere."""
    arm, stage = str(record.get("arm") or ""), str(record.get("stage") or "")
    array = np.asarray(results.evaluation[record["array"]], float).reshape(-1)
    if not array.size or arm not in choice.few(results.summary, stage):
        return ""
    names = [str(name) for name in record.get("names") or range(len(array))]
    scale, unit, what = float(record.get("scale") or 1.0), str(record.get("unit") or ""), str(record.get("what") or "")
    line = record.get("line")
    across = None if not line else (str(line[0]), scale * float(line[1]))
    drawn = bars.draw(
        (scale * array).tolist(), names, unit=unit, line=across, label=f"{what}: {_whose(results, record, 1)}"
    )
    note = str(record.get("note") or "").rstrip(".")
    caption = f"{_whose(results, record, 1)}: {what}. {note + '.' if note else ''}".strip()
    shown = [Cell(f"{scale * value:.1f}{f' {unit}' if unit else ''}", scale * value) for value in array.tolist()]
    table = Table((what,), tuple(Row(name, (cell,)) for name, cell in zip(names, shown, strict=False)))
    figure = f'<figure class="seeds">{drawn}<figcaption>{sentence(caption)}</figcaption></figure>'
    return figure + folded(f"All {len(names)} as a table", rendering.as_html(table))


def _cards(results: Results, record: Mapping[str, Any]) -> str:
    array = results.evaluation.get(record.get("array") or "")
    cards: Sequence[Any] = record.get("cards") or ()
    captions = list(record.get("captions") or ())
    if not cards:
        return ""
    drawn = []
    for i, card in enumerate(cards):
        image = array[i] if array is not None and array.ndim == 4 and i < len(array) else None
        drawn.append(_card(card, image, str(captions[i]) if i < len(captions) else ""))
    longest = max((len(str(text)) for card in cards for _, text, *_ in card), default=0)
    wide = " wide" if longest > LONG_NAME else ""
    note = str(record.get("note") or "").rstrip(".")
    intro = f'<p class="caption">{sentence(note)}.</p>' if note else ""
    return f'{intro}<div class="images{wide}">{"".join(drawn)}</div>'


def _card(card: Sequence[Sequence[str]], image: np.ndarray | None, caption: str) -> str:
    picture = ""
    if image is not None:
        small = ' class="small"' if max(image.shape[:2]) <= SMALL_IMAGE else ""
        alt = escape(caption or "example")
        source = pictures.data_url(images.as_shown(np.asarray(image, np.uint8)))
        picture = f'<img{small} alt="{alt}" title="{alt}" src="{source}">'
    elif caption:
        picture = f"<p>{escape(caption)}</p>"
    lines = []
    for what, text, *kind in card:
        verdict = kind[0] if kind and kind[0] in SIGNS else ""
        mark = f' class="{verdict}"' if verdict else ""
        lines.append(f"<dt>{escape(str(what))}</dt><dd{mark}>{escape(str(text))}{SIGNS.get(verdict, '')}</dd>")
    return f"<figure>{picture}<dl>{''.join(lines)}</dl></figure>"


_DRAWN = {"matrix": _matrix, "values": _values, "crossed": _crossed, "bars": _bars, "cards": _cards}
