"""The table of a run's results, as data."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan.report import choice, latency, numbers, origins
from kdgan.report import measured as metrics
from kdgan.report.choice import Choice
from kdgan.report.entries import (
    TEACHER,
    Entry,
    best_on_test_of,
    cost_of,
    shown,
    training_of,
    validation_of,
)
from kdgan.report.measured import CLASSIFIERS, DISTRIBUTIONS, Measured


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number as shown, and as it is.

    Attributes:
        text: what stands in the table.
        mean: the number behind it, in the unit shown (accuracies in per cent); None where there is none.
        ci95: half width of its 95 % interval, in the same unit; None with one seed.
        best: the number by which its arm was chosen among the others.
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
        marked: what the mark of the best cell means; "" where none is marked.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    marked: str = ""


VALIDATION, BEST_ON_TEST, PUBLISHED = "validation", "best on test", "published"  # heads of columns
COST: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("parameters", "parameters", numbers.count),
    ("bytes", "size", numbers.size),
    ("flops", "FLOPs", numbers.count),
)


def results_table(summary: Mapping[str, Any], stage: str | None = None) -> Table:
    """Teacher, then each arm's student: quality as mean ± 95 % interval over seeds, and cost.

    Beside the metric by which arms are compared stands what the same players have on the validation split. One arm is
    marked, at the number that chose it: the best mean on the validation split, or where there is none on the test split;
    the teacher and variants ("best by validation") do not compete. A column that no row fills is left out.

    Args:
        summary: the content of summary.json.
        stage: whose arms; the last one by default.
    """
    entries = shown(summary, stage)
    quality = [each for each in metrics.of(summary) if any(each.name in entry.metrics for entry in entries)]
    chosen = choice.chosen_arm(summary, stage)
    measured = [_quality_columns(summary, each, entries, chosen) for each in quality]
    classifying = sum(len(part) for each, part in zip(quality, measured, strict=True) if each.name in CLASSIFIERS)
    columns = [column for part in measured for column in part]
    beside = [*_selected_by_test(summary, entries), *_published(summary, entries)]
    groups = [classifying, len(columns) - classifying, len(beside)]
    columns += beside
    costs = [cost_of(summary, entry.source[0], entry.player) for entry in entries]
    for key, head, write in COST:
        columns += _cost_column(head, entries, [cost.get(key) for cost in costs], write)
    columns += _latency_columns(entries, costs)
    training = [training_of(summary, entry) for entry in entries]
    columns += _cost_column("training", entries, training, numbers.count)
    seconds = [training_of(summary, entry, "train_seconds") for entry in entries]
    columns += _cost_column("time", entries, seconds, numbers.duration)
    groups.append(len(columns) - sum(groups))
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
    notes = _notes(summary, quality, heads, entries, chosen)
    marked = chosen.words if chosen is not None and chosen.of > 1 else ""
    return Table(heads, rows, notes, tuple(size for size in groups if size), marked)


def _quality_columns(
    summary: Mapping[str, Any], measured: Measured, entries: Sequence[Entry], chosen: Choice | None
) -> list[tuple[str, list[Cell]]]:
    """A metric on the test split; the one that arms are compared by on the validation split, too, where it is known."""
    columns = [(measured.head, _measured_column(measured, [entry.metrics for entry in entries]))]
    if chosen is None or measured != chosen.measured:
        return columns
    validated = [validation_of(summary, entry) for entry in entries]
    if any(measured.name in of for of in validated):
        cells = _measured_column(measured, validated)
        columns.append((VALIDATION, [cell if cell.known else Cell("", known=False) for cell in cells]))
    if chosen.of > 1:
        deciding = columns[-1 if chosen.split == "validation" else 0][1]
        for i, entry in enumerate(entries):
            if (entry.player, entry.arm, entry.variant) == (chosen.player, chosen.arm, ""):
                deciding[i] = dataclasses.replace(deciding[i], best=True)
    return columns


def _measured_column(measured: Measured, players: Sequence[Mapping[str, Any]]) -> list[Cell]:
    cells = _with_intervals(measured, [of.get(measured.name) or {} for of in players])
    return [dataclasses.replace(cell, known=measured.name in of) for cell, of in zip(cells, players, strict=True)]


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
    summary: Mapping[str, Any],
    quality: Sequence[Measured],
    columns: Sequence[str],
    entries: Sequence[Entry],
    chosen: Choice | None,
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
    if VALIDATION in columns and chosen is not None:
        notes.append(_validation_note(summary, chosen.measured))
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


def _validation_note(summary: Mapping[str, Any], measured: Measured) -> str:
    """What the validation column is; of a distance its sample sizes, without which it must not be told."""
    note = f"Validation: {measured.head} on the validation split"
    examples = ((summary.get("data") or {}).get("sizes") or {}).get("validation")
    if measured.name not in DISTRIBUTIONS:
        return note + (f", {numbers.plural(examples, 'example')}" if isinstance(examples, int) else "")
    samples = (summary.get("generation") or {}).get("validation_samples")
    if isinstance(samples, int) and isinstance(examples, int):
        note += f", {samples:,} generated images against {numbers.plural(examples, 'image')}"
    return note + "; it depends on these numbers, so that it does not compare with that on the test split"


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
