"""The tables of a run's results, as data: what players reached, and what they cost."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.report import choice, costs, notes, numbers, settings
from kdgan.report import measured as measures
from kdgan.report.choice import Choice
from kdgan.report.entries import TEACHER, Entry, arm_names, best_on_test_of, last_stage, shown, validation_of
from kdgan.report.measured import Measured
from kdgan.report.table import Cell, Column, Row, Table, of_columns

VALIDATION, BEST_ON_TEST, PUBLISHED = notes.VALIDATION, notes.BEST_ON_TEST, notes.PUBLISHED


def results_table(summary: Mapping[str, Any], stage: str | None = None) -> Table:
    """The first of the tables that `results_tables` gives: of few arms the only one."""
    return results_tables(summary, stage)[0]


def results_tables(summary: Mapping[str, Any], stage: str | None = None) -> list[Table]:
    """Teacher, then each arm's student: quality as mean ± 95 % interval over seeds, and cost.

    Beside the measure by which arms are compared stands what the same players have on the validation split. One arm is
    marked, at the number that chose it: the best mean on the validation split, or where there is none on the test split;
    the teacher and variants ("best by validation") do not compete. A column that no row fills is left out. Many arms stand
    in the order of their results behind the baseline, without variants, and costs have a table of their own, each once.

    Args:
        summary: the content of summary.json.
        stage: whose arms; the last one by default.
    """
    stage = last_stage(summary) if stage is None else stage
    if stage is None:
        return [Table((), ())]
    many = len(arm_names(summary, stage)) > choice.MANY
    entries, left_out = rows_of(summary, stage)
    chosen = choice.chosen_arm(summary, stage)
    quality = _groups(
        [measured for measured in measures.of(summary)
         if measured.column and any(measured.name in entry.metrics for entry in entries)], entries,
    )  # fmt: skip
    groups = [[column for measured in group for column in _quality(summary, measured, entries, chosen)]
              for group in quality]  # fmt: skip
    set_to = _settings(summary, stage, entries)
    groups = [set_to + groups[0], *groups[1:]] if groups else [set_to]
    groups.append([*_selected_by_test(summary, entries), *_published(summary, entries)])
    cost = costs.columns(summary, entries)
    rows = [Row(entry.variant or entry.label, (), entry.arm, bool(entry.variant)) for entry in entries]
    said = notes.of_quality(
        summary, stage, [measured for group in quality for measured in group],
        [head for group in groups for head, _ in group], entries, chosen,
    )  # fmt: skip
    if (more := len(settings.varying(summary, stage)) - settings.MOST) > 0:
        said = (
            *said,
            f"{numbers.plural(more, 'further setting')} of arms {'varies' if more == 1 else 'vary'}; the config has them",
        )
    if left_out:
        said = (*said, "Variants, as each player's best by validation, are left out; summary.json has them")
    marked = chosen.words if chosen is not None and chosen.of > 1 else ""
    about_cost = notes.of_cost(summary, stage, [head for head, _ in cost], entries)
    if not many:
        columns = [column for group in (*groups, cost) for column in group]
        sizes = tuple(len(group) for group in (*groups, cost) if group)
        return [of_columns(columns, rows, notes=(*said, *about_cost), groups=sizes, marked=marked)]
    columns = [column for group in groups for column in group]
    sizes = tuple(len(group) for group in groups if group)
    tables = [of_columns(columns, rows, notes=said, groups=sizes, marked=marked)]
    return tables + ([costs.merged(of_columns(cost, rows, notes=about_cost))] if cost else [])


def further_table(summary: Mapping[str, Any], stage: str) -> Table | None:
    """The measures that have no column in the table of results; None where there are none."""
    entries, _ = rows_of(summary, stage)
    has = lambda measured: any(
        measured.reading(entry.metrics.get(measured.name) or {})[0] is not None for entry in entries
    )
    further = [measured for measured in measures.of(summary) if not measured.column and has(measured)]
    if not further:
        return None
    columns = [column for measured in further for column in _quality(summary, measured, entries, None)]
    rows = [Row(entry.variant or entry.label, (), entry.arm, bool(entry.variant)) for entry in entries]
    table = of_columns(columns, rows, notes=tuple(measured.note for measured in further if measured.note))
    return dataclasses.replace(table, rows=tuple(row for row in table.rows if any(cell.known for cell in row.cells)))


def rows_of(summary: Mapping[str, Any], stage: str) -> tuple[list[Entry], bool]:
    """(the entries of a stage's table in their order, whether variants are left out: of many arms they are)."""
    entries = ordered(summary, stage)
    if len(arm_names(summary, stage)) <= choice.MANY:
        return entries, False
    kept = [entry for entry in entries if not entry.variant]
    return kept, len(kept) < len(entries)


def ordered(summary: Mapping[str, Any], stage: str) -> list[Entry]:
    """The entries that a stage shows, of many arms each player's with the baseline first and then from the best on."""
    entries, arms = list(shown(summary, stage)), choice.in_order(summary, stage)
    if len(arms) <= choice.MANY:
        return entries
    players = list(dict.fromkeys(entry.player for entry in entries))
    place = lambda entry: (players.index(entry.player), -1 if entry.arm is None else arms.index(entry.arm))
    return sorted(entries, key=place)


def _groups(shown_measures: Sequence[Measured], entries: Sequence[Entry]) -> list[list[Measured]]:
    """The measures in groups that go together: those that some player has both of."""
    groups: list[list[Measured]] = []
    for measured in shown_measures:
        players = [entry for entry in entries if measured.name in entry.metrics]
        joins = [group for group in groups
               if any(other.name in entry.metrics for entry in players for other in group)]  # fmt: skip
        joined = [*(other for group in joins for other in group), measured]
        groups = [group for group in groups if group not in joins] + [joined]
    order = list(shown_measures)
    return sorted(([m for m in order if m in group] for group in groups), key=lambda group: order.index(group[0]))


def _quality(
    summary: Mapping[str, Any], measured: Measured, entries: Sequence[Entry], chosen: Choice | None
) -> list[Column]:
    """A measure on the test split; the one that arms are compared by on the validation split, too, where it is known."""
    columns = [(measured.head, _measured_column(measured, [entry.metrics for entry in entries]))]
    if chosen is None or measured != chosen.measured:
        return columns
    validated = [validation_of(summary, entry) for entry in entries]
    if any(measured.name in metrics for metrics in validated):
        cells = _measured_column(measured, validated)
        columns.append((VALIDATION, [cell if cell.known else Cell("", known=False) for cell in cells]))
    if chosen.of > 1:
        deciding = columns[-1 if chosen.split == "validation" else 0][1]
        for i, entry in enumerate(entries):
            if (entry.player, entry.arm, entry.variant) == (chosen.player, chosen.arm, ""):
                deciding[i] = dataclasses.replace(deciding[i], best=True)
    return columns


def _measured_column(measured: Measured, players: Sequence[Mapping[str, Any]]) -> list[Cell]:
    cells = _with_intervals(measured, [metrics.get(measured.name) or {} for metrics in players])
    return [dataclasses.replace(cell, known=measured.name in of) for cell, of in zip(cells, players, strict=True)]


def _with_intervals(measured: Measured, records: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """A cell of each record, mean ± half width, all to the same decimal place; a dash where there is no number."""
    readings = [measured.reading(record) for record in records]
    places = numbers.decimals([half for _, half in readings], **measured.digits)
    return [Cell(numbers.with_interval(mean, half, places, unit=measured.unit), mean, half) for mean, half in readings]


def _settings(summary: Mapping[str, Any], stage: str, entries: Sequence[Entry]) -> list[Column]:
    """What arms are set to, where it varies among arms of the same settings."""
    set_to = lambda setting, entry: "" if entry.variant else setting.values.get(entry.arm, "")
    return [
        (setting.head, [Cell(set_to(setting, entry), known=False) for entry in entries])
        for setting in settings.varying(summary, stage)[: settings.MOST]
    ]


def _selected_by_test(summary: Mapping[str, Any], entries: Sequence[Entry]) -> list[Column]:
    """The best number of any evaluation on the test split, where it was watched; it never competes."""
    columns: list[Column] = []
    records = [{} if entry.variant else best_on_test_of(summary, entry) for entry in entries]
    firsts = [measures.primary(summary, [entry.metrics]) for entry in entries]
    for measured in [m for m in measures.of(summary) if m in firsts]:
        cells = _with_intervals(
            measured, [record if first == measured else {} for record, first in zip(records, firsts, strict=True)]
        )
        if any(cell.mean is not None for cell in cells):
            head = f"{BEST_ON_TEST}, {measured.head}" if columns else BEST_ON_TEST
            columns.append((head, [Cell("", known=False) if cell.mean is None else cell for cell in cells]))
    return columns


def _published(summary: Mapping[str, Any], entries: Sequence[Entry]) -> list[Column]:
    """What a publication reports for an arm, as the config quotes it."""
    quoted = ((summary.get("config") or {}).get("report") or {}).get("published") or {}
    texts = [
        "" if entry.variant or entry.trained is None or (entry.player == TEACHER and entry.arm is not None)
        else str((quoted.get(entry.source[0]) or {}).get(entry.source[1], ""))
        for entry in entries
    ]  # fmt: skip
    return [(PUBLISHED, [Cell(text, known=bool(text)) for text in texts])] if any(texts) else []
