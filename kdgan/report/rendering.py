"""A table as text for a terminal, as Markdown, and as HTML."""

import html
import textwrap
from collections.abc import Mapping, Sequence

from kdgan.report import numbers
from kdgan.report.table import Cell, Row, Table

TERMINAL = 120  # characters
PAGE_COLUMNS = 7  # columns that a page has room for
SLACK = 2  # characters by which one group of columns may be too wide, rather than fall apart


def as_text(table: Table, *, bold: bool = False, width: int = TERMINAL) -> str:
    """Aligned columns for a terminal; a table that is too wide goes on below, between groups of columns.

    Args:
        table: what to show.
        bold: mark the number that chose an arm by ANSI bold, and dim secondary rows; else a star follows it.
        width: characters of a line; names of arms and columns are not shortened for it.
    """
    if not table.rows:
        return ""
    mark = any(cell.best for row in table.rows for cell in row.cells) and not bold
    labels = [("  " + row.label) if row.secondary else row.label for row in table.rows]
    label_width = max(map(len, labels))
    columns = [_aligned([row.cells[i] for row in table.rows], mark) for i in range(len(table.columns))]
    widths = [max(len(head), *map(len, column)) for head, column in zip(table.columns, columns, strict=True)]
    heads = [head.center(width) if "±" in "".join(column) else head.rjust(width)
             for head, width, column in zip(table.columns, widths, columns, strict=True)]  # fmt: skip
    parts = _blocks(table.groups or (len(columns),), [size + 2 for size in widths], width - label_width)
    blocks = []
    for chosen in parts:
        lines = ["  ".join([" " * label_width, *(heads[i] for i in chosen)]).rstrip()]
        lines.append("─" * (label_width + sum(widths[i] + 2 for i in chosen)))
        for label, row, *cells in zip(labels, table.rows, *(columns[i] for i in chosen), strict=True):
            if len(parts) == 1 or any(row.cells[i].known for i in chosen):
                lines.append(_line(label.ljust(label_width), row, cells, [widths[i] for i in chosen], chosen, bold))
        blocks.append("\n".join(lines))
    notes = _all_notes(table, "Bold" if bold else "*")
    return "\n".join(["\n\n".join(blocks), *(textwrap.fill(note, width, subsequent_indent="  ") for note in notes)])


def _all_notes(table: Table, mark: str) -> list[str]:
    """The notes, with what the mark means."""
    return [*table.notes, *([f"{mark}: {table.marked}"] if table.marked else [])]


def _blocks(groups: Sequence[int], widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns of each block: as many groups as there is room for; a group that has no room goes on in the next block."""
    blocks: list[list[int]] = []
    start = 0
    for size in groups:
        group = list(range(start, start + size))
        start += size
        if blocks and sum(widths[i] for i in (*blocks[-1], *group)) <= room:
            blocks[-1] += group
        else:
            blocks += _pieces(group, widths, room)
    return blocks


def _pieces(group: Sequence[int], widths: Sequence[int], room: int) -> list[list[int]]:
    """A group in as many parts as it needs, each of one column at least."""
    pieces: list[list[int]] = [[]]
    room += SLACK if sum(widths[i] for i in group) <= room + SLACK else 0
    for i in group:
        if pieces[-1] and sum(widths[j] for j in (*pieces[-1], i)) > room:
            pieces.append([])
        pieces[-1].append(i)
    return pieces


def _line(label: str, row: Row, cells: Sequence[str], widths: Sequence[int], chosen: Sequence[int], bold: bool) -> str:
    shown = [text.rjust(width) for text, width in zip(cells, widths, strict=True)]
    if bold and not row.secondary:
        shown = [f"\033[1m{text}\033[0m" if row.cells[i].best else text for text, i in zip(shown, chosen, strict=True)]
    line = "  ".join([label, *shown]).rstrip()
    return f"\033[2m{line}\033[0m" if bold and row.secondary else line


def _aligned(cells: Sequence[Cell], mark: bool) -> list[str]:
    """The cells' texts with "±" under "±" and units under units, and a place for the star."""
    parts = [cell.text.partition(" ± ") for cell in cells]
    if not any(sign for _, sign, _ in parts):
        return [cell.text + ("*" if cell.best else " ") * mark for cell in cells]
    halves = [after.partition(" ") for _, _, after in parts]
    half_width = max(len(half) for half, _, _ in halves)
    rest_width = max(len(space + rest) for _, space, rest in halves)
    shown = []
    for cell, (before, sign, _), (half, space, rest) in zip(cells, parts, halves, strict=True):
        if sign:
            text = f"{before} ± {half.rjust(half_width)}{(space + rest).ljust(rest_width)}"
        elif cell.mean is None and cell.text not in ("", numbers.MISSING):
            text = cell.text  # a word
        else:
            # "97.2 %" among "93.4 ± 0.3 %": the number keeps its column, and the unit stands where units do.
            number, space, unit = before.partition(" ")
            text = number + " " * (3 + half_width) + (space + unit).ljust(rest_width)
        shown.append(text + ("*" if cell.best else " ") * mark)
    return shown


def as_markdown(table: Table) -> str:
    """A GitHub-flavoured table; the number that chose an arm bold, secondary rows in italics."""
    lines = ["| | " + " | ".join(map(_markdown, table.columns)) + " |", "|:--|" + "--:|" * len(table.columns)]
    for row in table.rows:
        label = f"*{_markdown(row.label)}*" if row.secondary else _markdown(row.label)
        cells = [f"**{_markdown(cell.text)}**" if cell.best else _markdown(cell.text) for cell in row.cells]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    shown_notes = _all_notes(table, "Bold")
    notes = ["", *(_markdown(note) + "  " for note in shown_notes)] if shown_notes else []
    return "\n".join([*lines, *notes])


def _markdown(text: str) -> str:
    for special in ("\\", "|", "*", "_", "`", "<", ">", "[", "]"):
        text = text.replace(special, "\\" + special)
    return text.replace("\n", " ")


def as_html(table: Table, *, colours: Mapping[str, str] | None = None, caption: str = "") -> str:
    """An HTML table in a box that scrolls sideways on a narrow screen; one of many columns goes on in a second table.

    Args:
        table: what to show.
        colours: arm -> CSS colour of the mark before its rows.
        caption: a caption above, as text.
    """
    escape = html.escape
    # A box scrolls sideways, so that only whole groups go on below.
    parts = _blocks(
        table.groups or (len(table.columns),), [1] * len(table.columns), max(PAGE_COLUMNS, *table.groups, 0)
    )
    shown_notes = _all_notes(table, "Bold")
    notes = f'<p class="note">{" ".join(f"{escape(note)}." for note in shown_notes)}</p>' if shown_notes else ""
    boxes = []
    for i, chosen in enumerate(parts):
        title = f"<caption>{escape(caption)}</caption>" if caption and i == 0 else ""
        head = "".join(f'<th scope="col">{escape(table.columns[j])}</th>' for j in chosen)
        rows = [row for row in table.rows if len(parts) == 1 or any(row.cells[j].known for j in chosen)]
        body = "".join(_html_row(row, [row.cells[j] for j in chosen], colours or {}) for row in rows)
        boxes.append(
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption or "table")}"><table>{title}'
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
    return "".join(boxes) + notes


def _html_row(row: Row, cells: Sequence[Cell], colours: Mapping[str, str]) -> str:
    escape = html.escape
    colour = colours.get(row.arm or "")
    chip = (
        f'<i class="chip" style="background:{escape(colour or "none")}"></i>' if colours and not row.secondary else ""
    )
    shown = "".join(
        f'<td class="best">{escape(cell.text)}</td>' if cell.best else f"<td>{escape(cell.text)}</td>" for cell in cells
    )
    kind = ' class="secondary"' if row.secondary else ""
    return f'<tr{kind}><th scope="row">{chip}{escape(row.label)}</th>{shown}</tr>'
