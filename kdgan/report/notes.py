"""What stands below the tables of results: on what was measured, by what was chosen, and how costs were taken."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.report import costs, latency, numbers, origins
from kdgan.report.choice import Choice, extreme
from kdgan.report.entries import Entry, best_on_test_of, cost_of_entry
from kdgan.report.measured import Measured, primary

VALIDATION, BEST_ON_TEST, PUBLISHED = "validation", "best on test", "published"  # heads of columns


def of_quality(
    summary: Mapping[str, Any], stage: str, shown: Sequence[Measured], heads: Sequence[str], entries: Sequence[Entry],
    chosen: Choice | None,
) -> tuple[str, ...]:  # fmt: skip
    """Below what players reached.

    Args:
        summary: the content of summary.json.
        stage: whose table.
        shown: the measures that have columns.
        heads: of all columns.
        entries: of the rows.
        chosen: the arm that is singled out.
    """
    written = [note for note in summary.get("notes") or () if {m.name for m in shown} & set(note.get("measures") or ())]
    result = [_basis(summary, stage, shown, entries, written)]
    if VALIDATION in heads and chosen is not None:
        result.append(_validation(summary, stage, chosen.measured, written))
    for measured in shown:
        texts = [str(note.get("text") or "") for note in written
                 if measured.name in note["measures"] and note.get("split") != "validation"]  # fmt: skip
        texts = [text for text in texts if VALIDATION in heads or not text.startswith("Validation:")]
        told = dict.fromkeys(text.rstrip(".") for text in (*texts, measured.note) if text)
        result += [text for text in told if text not in result]
    lower = [measured.head for measured in shown if not measured.higher_is_better]
    if lower:
        result.append(f"Lower is better for {numbers.listed(lower)}")
    result += origins.notes(summary, entries)
    if BEST_ON_TEST in heads:
        result.append(_best_on_test(summary, entries))
    if PUBLISHED in heads:
        source = ((summary.get("config") or {}).get("report") or {}).get("source")
        result.append(f"Published: {source}" if source else "Published: as the config quotes it")
    return tuple(result)


def of_cost(summary: Mapping[str, Any], stage: str, heads: Sequence[str], entries: Sequence[Entry]) -> tuple[str, ...]:
    """Below what players cost; arguments as of `of_quality`."""
    result = ["FLOPs: one forward pass of one example"] if "FLOPs" in heads else []
    if costs.A_PIXEL in heads:
        result.append("FLOPs a pixel: of one training window, over the pixels of what is made of it")
    result += latency.notes(summary, [cost_of_entry(summary, entry) for entry in entries])
    if costs.TRAINING in heads:
        result.append("Training: floating-point operations of all players' updates, of one seed")
    if costs.TIME in heads:
        result.append("Time: seconds of one seed's steps, compilation shared among the members")
    also = costs.also_trained(summary, stage)
    if also and heads:
        result.append(f"Trained beside them: {also}")
    return tuple(result)


def sizes(summary: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """Examples of each split of a stage's data, which are the run's unless the stage has its own."""
    of_stage = ((summary.get("stages") or {}).get(stage) or {}).get("data") or {}
    return of_stage.get("sizes") or (summary.get("data") or {}).get("sizes") or {}


def _basis(
    summary: Mapping[str, Any], stage: str, shown: Sequence[Measured], entries: Sequence[Entry],
    written: Sequence[Mapping[str, Any]],
) -> str:  # fmt: skip
    """The split and its size, unless notes say for every measure what it was taken on; seeds; which parameters."""
    seeds = max((len(record.get("values") or ()) for entry in entries for record in entry.metrics.values()), default=0)
    spread = f"mean ± 95 % interval over {seeds} seeds (Student's t)" if seeds > 1 else "one seed"
    told = {name for note in written if note.get("split") == "test" for name in note["measures"]}
    parameters = "the last step's parameters"
    if shown and all(measured.name in told for measured in shown):
        return f"{spread[0].upper()}{spread[1:]}; {parameters}"
    test = sizes(summary, stage).get("test")
    where = "Test split" + (f", {numbers.plural(test, 'example')}" if isinstance(test, int) else "")
    return f"{where}; {spread}; {parameters}"


def _validation(
    summary: Mapping[str, Any], stage: str, measured: Measured, written: Sequence[Mapping[str, Any]]
) -> str:
    """What the validation column is: as a note says, or the measure and the size of the split."""
    for note in written:
        if note.get("split") == "validation" and measured.name in note["measures"]:
            return str(note["text"]).rstrip(".")
    examples = sizes(summary, stage).get("validation")
    size = f", {numbers.plural(examples, 'example')}" if isinstance(examples, int) and examples else ""
    return f"Validation: {measured.head} on the validation split{size}"


def _best_on_test(summary: Mapping[str, Any], entries: Sequence[Entry]) -> str:
    watched = [entry for entry in entries if not entry.variant and best_on_test_of(summary, entry)]
    firsts = (primary(summary, [entry.metrics]) for entry in watched)
    numbers_of = {first.name: first for first in firsts if first is not None}
    what = " or ".join(f"{extreme(first)} {first.on_test}" for first in numbers_of.values())
    return f"Best on test: the {what} of any evaluation; some papers report it, nothing uses it"
