"""The table of a run's results, as data, and its renderings: text for a terminal, Markdown, HTML."""

import dataclasses
import html
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan.report import latency, numbers, origins
from kdgan.report import measured as metrics
from kdgan.report.entries import TEACHER, Entry, best_on_test_of, cost_of, shown, training_of
from kdgan.report.measured import CLASSIFIERS, DISTRIBUTIONS, Measured


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number as shown, and as it is.

    Attributes:
        text: what stands in the table.
        mean: the number behind it, in the unit shown (accuracies in per cent); None where there is none.
        ci95: half width of its 95 % interval, in the same unit; None with one seed.
        best: the best mean of its column.
        known: False where the row has no such number at all, which is other than one that diverged.
    """

    text: str
    mean: float | None = None
    ci95: float | None = None
    best: bool = False
    known: bool = True


@dataclasses.dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]
    arm: str | None = None  # gives the row its colour on the page
    secondary: bool = False  # shown beside the row above, and lighter


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        columns: their heads.
        rows: with a cell for each column.
        notes: what stands below.
        groups: how many columns belong together, from the left: a table too wide goes on below between two groups,
            with the rows that have anything there. () is one group of all.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()


TERMINAL = 120  # characters
BEST_ON_TEST, PUBLISHED = "best on test", "published"  # heads of columns
PAGE_COLUMNS = 7  # columns that a page has room for
COST: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("parameters", "parameters", numbers.count),
    ("bytes", "size", numbers.size),
    ("flops", "FLOPs", numbers.count),
)


def results_table(summary: Mapping[str, Any], stage: str | None = None) -> Table:
    """Teacher, then each arm's student: quality as mean ± 95 % interval over seeds, and cost.

    The best mean of the stage's arms is marked in each column of quality; the teacher and variants ("best by
    validation") do not compete. A column that no row fills is left out.

    Args:
        summary: the content of summary.json.
        stage: whose arms; the last one by default.
    """
    entries = shown(summary, stage)
    quality = [each for each in metrics.of(summary) if any(each.name in entry.metrics for entry in entries)]
    columns = [(each.head, _measured_column(each, entries)) for each in quality]
    classifying = sum(each.name in CLASSIFIERS for each in quality)
    beside = [*_selected_by_test(summary, entries), *_published(summary, entries)]
    columns += beside
    costs = [cost_of(summary, entry.source[0], entry.player) for entry in entries]
    for key, head, write in COST:
        columns += _cost_column(head, entries, [cost.get(key) for cost in costs], write)
    columns += _latency_columns(entries, costs)
    training = [training_of(summary, entry) for entry in entries]
    columns += _cost_column("training", entries, training, numbers.count)
    seconds = [training_of(summary, entry, "train_seconds") for entry in entries]
    columns += _cost_column("time", entries, seconds, numbers.duration)
    rows = tuple(
        Row(
            label=entry.variant or entry.label,
            cells=tuple(column[i] for _, column in columns),
            arm=entry.arm,
            secondary=bool(entry.variant),
        )
        for i, entry in enumerate(entries)
    )
    heads = tuple(head for head, _ in columns)
    costs_shown = len(columns) - len(quality) - len(beside)
    groups = (classifying, len(quality) - classifying, len(beside), costs_shown)
    return Table(heads, rows, _notes(summary, quality, heads, entries), tuple(size for size in groups if size))


def _measured_column(measured: Measured, entries: Sequence[Entry]) -> list[Cell]:
    cells = _with_intervals(measured, [entry.metrics.get(measured.name) or {} for entry in entries])
    competing = [entry.arm is not None and not entry.variant and entry.player != TEACHER for entry in entries]
    contest = [cell.mean for cell, competes in zip(cells, competing, strict=True) if competes and cell.mean is not None]
    best = (max if measured.higher_is_better else min)(contest) if len(contest) > 1 else None
    return [
        dataclasses.replace(
            cell,
            best=competes and cell.mean is not None and cell.mean == best,
            known=measured.name in entry.metrics,
        )
        for entry, cell, competes in zip(entries, cells, competing, strict=True)
    ]


def _with_intervals(measured: Measured, records: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """A cell of each record, mean ± half width, all to the same decimal place; a dash where there is no number."""
    means = [_scaled(record.get("mean"), measured.scale) for record in records]
    halves = [_half_width(record, measured.scale) for record in records]
    places = numbers.decimals(halves, **measured.digits)
    return [
        Cell(numbers.with_interval(mean, half, places, unit=measured.unit), mean, half)
        for mean, half in zip(means, halves, strict=True)
    ]


def _selected_by_test(summary: Mapping[str, Any], entries: Sequence[Entry]) -> list[tuple[str, list[Cell]]]:
    """The highest test accuracy of any evaluation, where the test split was watched; it never competes."""
    found = [{} if entry.variant else best_on_test_of(summary, entry) for entry in entries]
    cells = _with_intervals(metrics.MEASURED[0], found)
    if all(cell.mean is None for cell in cells):
        return []
    return [(BEST_ON_TEST, [Cell("", known=False) if cell.mean is None else cell for cell in cells])]


def _published(summary: Mapping[str, Any], entries: Sequence[Entry]) -> list[tuple[str, list[Cell]]]:
    """What a publication reports for an arm, as the config quotes it."""
    quoted = ((summary.get("config") or {}).get("report") or {}).get("published") or {}
    texts = [
        "" if entry.variant or entry.trained is None or (entry.player == TEACHER and entry.arm is not None)
        else str((quoted.get(entry.source[0]) or {}).get(entry.source[1], ""))
        for entry in entries
    ]  # fmt: skip
    return [(PUBLISHED, [Cell(text, known=bool(text)) for text in texts])] if any(texts) else []


def _cost_column(
    head: str, entries: Sequence[Entry], values: Sequence[Any], write: Callable[[Any], str]
) -> list[tuple[str, list[Cell]]]:
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


def _latency_columns(entries: Sequence[Entry], costs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Cell]]]:
    """For each number of examples in a call, where it was timed."""
    found = []
    for batch in latency.BATCHES:
        values = [latency.per_example(cost, batch) for cost in costs]
        for head, cells in _cost_column(latency.head(batch), entries, values, numbers.milliseconds):
            marks = [
                latency.is_call_overhead(cost, batch) and cell.known for cost, cell in zip(costs, cells, strict=True)
            ]
            found.append((head, [
                dataclasses.replace(cell, text=latency.MARK + cell.text) if marked else cell
                for cell, marked in zip(cells, marks, strict=True)
            ]))  # fmt: skip
    return found


def _scaled(value: Any, scale: float) -> float | None:
    return scale * value if numbers.is_number(value) else None


def _half_width(record: Mapping[str, Any], scale: float) -> float | None:
    """None for one seed, whatever the summary has there: one number says nothing of its spread."""
    return _scaled(record.get("ci95"), scale) if len(record.get("values") or ()) != 1 else None


def _notes(
    summary: Mapping[str, Any], quality: Sequence[Measured], columns: Sequence[str], entries: Sequence[Entry]
) -> tuple[str, ...]:
    seeds = max((len(record.get("values") or ()) for entry in entries for record in entry.metrics.values()), default=0)
    spread = f"mean ± 95 % interval over {seeds} seeds (Student's t)" if seeds > 1 else "one seed"
    parameters = "the last step's parameters"
    names = {each.name for each in quality}
    if names & {*CLASSIFIERS, "elbo"} or not quality:
        test = ((summary.get("data") or {}).get("sizes") or {}).get("test")
        where = "Test split" + (f", {numbers.plural(test, 'example')}" if isinstance(test, int) else "")
        notes = [f"{where}; {spread}; {parameters}"]
    else:
        notes = [f"{spread[0].upper()}{spread[1:]}; {parameters}"]
    if any(entry.arm is not None for entry in entries) and "agreement" in names:
        notes.append("Agreement: share of test examples on which a player predicts what its teacher predicts")
    notes += _generation_notes(summary.get("generation") or {}, quality)
    if "elbo" in names:
        notes.append("ELBO: nats per example; higher is better")
    notes += origins.notes(summary, entries)
    if "FLOPs" in columns:
        notes.append("FLOPs: one forward pass of one example")
    notes += latency.notes(summary, [cost_of(summary, entry.source[0], entry.player) for entry in entries])
    if BEST_ON_TEST in columns:
        notes.append(
            "Best on test: the highest test accuracy of any evaluation; some papers report it, nothing uses it"
        )
    if PUBLISHED in columns:
        source = ((summary.get("config") or {}).get("report") or {}).get("source")
        notes.append(f"Published: {source}" if source else "Published: as the config quotes it")
    if "training" in columns:
        notes.append("Training: floating-point operations of all players' updates, of one seed")
    if "time" in columns:
        notes.append("Time: seconds of one seed's steps, compilation shared among the members")
    return tuple(notes)


def _generation_notes(settings: Mapping[str, Any], quality: Sequence[Measured]) -> list[str]:
    """What a distance between distributions must not be told without: sample sizes, extractor, neighbours."""
    distributions = [each for each in quality if each.name in DISTRIBUTIONS]
    if not distributions:
        return []
    samples, reference, features = (settings.get(name) for name in ("samples", "reference", "features"))
    sizes = ""
    if isinstance(samples, int) and isinstance(reference, int):
        split = f" of the {settings['reference_split']} split" if settings.get("reference_split") else ""
        heads = ", ".join(each.head for each in distributions)
        sizes = f"{heads}: {samples:,} generated images against {reference:,} images{split}"
    extractor = f"Features: {settings['extractor']}" if settings.get("extractor") else ""
    extractor += f" ({settings['extractor_from']})" if extractor and settings.get("extractor_from") else ""
    extractor += f", {numbers.plural(features, 'dimension')}" if extractor and isinstance(features, int) else ""
    names = {each.name for each in distributions}
    most = settings.get("manifold")
    among = f" among {most:,} of either side" if isinstance(most, int) else ""
    neighbours = [
        f"{' and '.join(measured)} by {settings[key]} nearest neighbours{among}"
        for measured, key in ((("precision", "recall"), "k_precision"), (("density", "coverage"), "k_density"))
        if key in settings and names & set(measured)
    ]
    how = "; ".join(part for part in (extractor, ", ".join(neighbours)) if part)
    lower = " and ".join(each.head for each in distributions if not each.higher_is_better)
    notes = (sizes, how[:1].upper() + how[1:], f"Lower is better for {lower}" if lower else "")
    return [note for note in notes if note]


def as_text(table: Table, *, bold: bool = False, width: int = TERMINAL) -> str:
    """Aligned columns for a terminal; a table that is too wide goes on below, between groups of columns.

    Args:
        table: what to show.
        bold: mark the best means by ANSI bold, and dim secondary rows; else a star follows them.
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
    parts = _blocks(table.groups or (len(columns),), [each + 2 for each in widths], width - label_width)
    blocks = []
    for chosen in parts:
        lines = ["  ".join([" " * label_width, *(heads[i] for i in chosen)]).rstrip()]
        lines.append("─" * (label_width + sum(widths[i] + 2 for i in chosen)))
        for label, row, *cells in zip(labels, table.rows, *(columns[i] for i in chosen), strict=True):
            if len(parts) == 1 or any(row.cells[i].known for i in chosen):
                lines.append(_line(label.ljust(label_width), row, cells, [widths[i] for i in chosen], chosen, bold))
        blocks.append("\n".join(lines))
    notes = [*table.notes, *(["*: best mean of the arms"] if mark else [])]
    return "\n".join(["\n\n".join(blocks), *(textwrap.fill(note, width, subsequent_indent="  ") for note in notes)])


def _blocks(groups: Sequence[int], widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns of each block: as many groups as there is room for, and one at least."""
    blocks: list[list[int]] = []
    start = 0
    for size in groups:
        group = list(range(start, start + size))
        start += size
        if blocks and sum(widths[i] for i in (*blocks[-1], *group)) <= room:
            blocks[-1] += group
        else:
            blocks.append(group)
    return blocks


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
    """A GitHub-flavoured table; the best means bold, secondary rows in italics."""
    lines = ["| | " + " | ".join(map(_markdown, table.columns)) + " |", "|:--|" + "--:|" * len(table.columns)]
    for row in table.rows:
        label = f"*{_markdown(row.label)}*" if row.secondary else _markdown(row.label)
        cells = [f"**{_markdown(cell.text)}**" if cell.best else _markdown(cell.text) for cell in row.cells]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    notes = ["", *(_markdown(note) + "  " for note in table.notes)] if table.notes else []
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
    parts = _blocks(table.groups or (len(table.columns),), [1] * len(table.columns), PAGE_COLUMNS)
    notes = f'<p class="note">{" ".join(f"{escape(note)}." for note in table.notes)}</p>' if table.notes else ""
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
