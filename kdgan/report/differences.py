"""Arms compared seed by seed, and the sentences that say what came of it.

Arms of one seed share their batches and the players they start from, so a difference is taken within each seed; its
interval is that of the differences, not of the two means. Arms are compared by the primary metric of their player:
accuracy, else the Fréchet distance of what it generates, else the ELBO.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kdgan.metrics.intervals import paired_difference
from kdgan.report import measured as metrics
from kdgan.report import numbers
from kdgan.report.entries import ALONE, TEACHER, Entry, compared, comparisons, cost_of, last_stage, shown
from kdgan.report.measured import Measured
from kdgan.report.tables import Cell, Row, Table

# A difference is called one beyond this many standard errors.
STANDARD_ERRORS = 2.0


@dataclasses.dataclass(frozen=True)
class Difference:
    """`arm` minus `other` in one metric, paired over seeds, in the unit shown (accuracies in points of a per cent)."""

    arm: str
    other: str
    mean: float
    ci95: float | None
    standard_error: float | None
    seeds: int
    measured: Measured

    @property
    def is_improvement(self) -> bool:
        return self.mean > 0 if self.measured.higher_is_better else self.mean < 0

    @property
    def is_beyond(self) -> bool:
        """Beyond two standard errors; with one seed nothing is."""
        return self.standard_error is not None and abs(self.mean) > STANDARD_ERRORS * self.standard_error

    @property
    def excludes_zero(self) -> bool:
        """Whether the 95 % interval leaves zero out, which for few seeds asks for more than two standard errors."""
        return self.is_beyond and self.ci95 is not None and abs(self.mean) > self.ci95


def difference(arms: Mapping[str, Mapping[str, Any]], arm: str, other: str, measured: Measured) -> Difference | None:
    """`arm` minus `other`; None where a seed is missing or diverged, or the metric is absent."""
    a, b = (((arms.get(name) or {}).get(measured.name) or {}).get("values") or [] for name in (arm, other))
    if len(a) != len(b) or not a or not all(map(numbers.is_number, (*a, *b))):
        return None
    # Scaled first: the differences of percentages are points.
    found = paired_difference([measured.scale * x for x in a], [measured.scale * x for x in b])
    error = found["std"] / math.sqrt(len(a)) if len(a) > 1 else None
    return Difference(arm, other, found["mean"], found["ci95"], error, len(a), measured)


def best_other(arms: Mapping[str, Mapping[str, Any]], arm: str, measured: Measured) -> str | None:
    """The arm with the best mean but this one."""
    sign = 1 if measured.higher_is_better else -1
    found = {name: (record.get(measured.name) or {}).get("mean") for name, record in arms.items() if name != arm}
    means = {name: sign * mean for name, mean in found.items() if numbers.is_number(mean)}
    return max(means, key=lambda name: means[name], default=None)


def differences_table(summary: Mapping[str, Any], stage: str | None = None) -> Table | None:
    """Each arm minus the baseline (the first arm) and minus the best other arm; None where there is nothing to compare.

    Args:
        summary: the content of summary.json.
        stage: whose arms; the last one by default.
    """
    player, arms = compared(summary, stage)
    measured = metrics.primary(summary, arms.values())
    if player is None or measured is None or len(arms) < 2:
        return None
    second = metrics.second(summary, measured)
    baseline = next(iter(arms))
    to_baseline = {arm: difference(arms, arm, baseline, measured) for arm in arms if arm != baseline}
    to_best: dict[str, Difference | None] = {}
    for arm in arms:
        other = best_other(arms, arm, measured)
        to_best[arm] = None if other is None else difference(arms, arm, other, measured)
    beside = {} if second is None else {a: difference(arms, a, baseline, second) for a in arms if a != baseline}
    places = numbers.decimals(
        [found.ci95 for found in (*to_baseline.values(), *to_best.values()) if found], **measured.digits
    )
    shows_second = second is not None and any(beside.values())
    second_places = 0 if second is None else numbers.decimals([d.ci95 for d in beside.values() if d], **second.digits)
    rows = []
    for arm in arms:
        cells = [Cell("baseline") if arm == baseline else _cell(to_baseline[arm], places)]
        if len(arms) > 2:
            cells.append(_cell(to_best[arm], places, named=True))
        if shows_second:
            cells.append(Cell("") if arm == baseline else _cell(beside[arm], second_places))
        rows.append(Row(f"{player} · {arm}", tuple(cells), arm))
    columns = [f"{measured.head} − {baseline}", *([f"{measured.head} − best other arm"] if len(arms) > 2 else [])]
    columns += [f"{second.head} − {baseline}"] if second is not None and shows_second else []
    seeds = max((found.seeds for found in to_baseline.values() if found), default=0)
    return Table(tuple(columns), tuple(rows), (_note(measured, seeds),))


def _note(measured: Measured, seeds: int) -> str:
    unit = " in percentage points" if measured.unit == "%" else ""
    spread = f"paired over {seeds} seeds, mean ± 95 % interval" if seeds > 1 else "one seed"
    direction = (
        "" if measured.name == "accuracy" else f"; {'higher' if measured.higher_is_better else 'lower'} is better"
    )
    return f"Differences of {measured.head}{unit}; {spread}{direction}"


def _cell(found: Difference | None, places: int, *, named: bool = False) -> Cell:
    if found is None:
        return Cell(numbers.MISSING)
    text = numbers.with_interval(found.mean, found.ci95, places, signed=True)
    return Cell(f"{text} ({found.other})" if named else text, found.mean, found.ci95)


def _amount(mean: float, found: Difference, *, signed: bool = False) -> str:
    digits = {"default": 1, "lowest": 1, "highest": 2}
    if found.measured.unit != "%":
        digits = {"default": found.measured.digits["default"], "lowest": 1, "highest": found.measured.digits["highest"]}
    places = numbers.decimals([found.ci95], **digits, significant=1)
    return numbers.with_interval(mean, found.ci95, places, signed=signed)


def sentence(found: Difference) -> str:
    """What a difference says, in words."""
    unit = "points" if found.measured.unit == "%" else f"in {found.measured.head}"
    amount = f"{_amount(abs(found.mean), found)} {unit}"
    seeds = numbers.plural(found.seeds, "seed")
    better = "better" if found.is_improvement else "worse"
    if found.ci95 is None:
        if found.mean == 0:
            return f"{found.arm} equals {found.other} (one seed, which says nothing of the spread)"
        return f"{found.arm} is {better} than {found.other} by {amount} on one seed, which says nothing of the spread"
    if found.excludes_zero:
        return f"{found.arm} is {better} than {found.other} by {amount} ({seeds})"
    if found.is_beyond:
        return (
            f"{found.arm} is {better} than {found.other} by {amount} ({seeds}):"
            " beyond two standard errors, though the 95 % interval includes zero"
        )
    signed = _amount(found.mean, found, signed=True)
    return f"{found.arm} and {found.other}: no difference beyond two standard errors ({signed} {unit}, {seeds})"


def sentences(summary: Mapping[str, Any], stage: str | None = None) -> tuple[str, ...]:
    """One sentence per arm against the baseline, then the best arm against the next best where that is another pair."""
    _, arms = compared(summary, stage)
    measured = metrics.primary(summary, arms.values())
    if measured is None or len(arms) < 2:
        return ()
    baseline = next(iter(arms))
    found = [difference(arms, arm, baseline, measured) for arm in arms if arm != baseline]
    best = best_other(arms, "", measured)
    second = None if best is None else best_other(arms, best, measured)
    if best is not None and second is not None and baseline not in (best, second):
        found.append(difference(arms, best, second, measured))
    return tuple(sentence(each) for each in found if each is not None)


def headlines(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The main result of each stage that compares arms, said of which stage where there are several."""
    found = [(stage, headline(summary, stage)) for stage in comparisons(summary)]
    said = [(stage, says) for stage, says in found if says]
    return tuple(f"Stage {stage}: {says[0].lower()}{says[1:]}" if len(said) > 1 else says for stage, says in said)


def headline(summary: Mapping[str, Any], stage: str | None = None) -> str:
    """The main result of a stage (the last by default) in one or two sentences; "" where nothing comparable is known."""
    stage = last_stage(summary) if stage is None else stage
    player, arms = compared(summary, stage)
    if stage is None:
        return ""
    if player is None:
        return next((f"{_reaches(only.label, says)}." for only, says in _reached(summary, stage)), "")
    measured = metrics.primary(summary, arms.values())
    best = None if measured is None else best_other(arms, "", measured)
    if measured is None or best is None:
        return ""
    baseline = next(iter(arms))
    first = _reaches(player, (measured, _value(arms[best], measured))) + ("" if best == ALONE else f" in arm {best}")
    if best != baseline:
        found = difference(arms, best, baseline, measured)
        first += "" if found is None else _clause(found, baseline)
    elif len(arms) > 1:
        first += ": no arm has a better mean than the baseline"
    return f"{first}. {_teacher(summary, stage, player, measured)}".strip()


def _reaches(label: str, says: tuple[Measured, str]) -> str:
    measured, value = says
    if measured.name == "accuracy":
        return f"The {label} reaches {value} test accuracy"
    return f"The {label} reaches {measured.head} {value}"


def _clause(found: Difference, baseline: str) -> str:
    unit = " points" if found.measured.unit == "%" else ""
    amount = f"{_amount(abs(found.mean), found)}{unit} {'above' if found.mean > 0 else 'below'} {baseline}"
    if found.ci95 is None:
        return f", {amount} (one seed)"
    if found.excludes_zero:
        return f", {amount}"
    if found.is_beyond:
        return f", {amount}: beyond two standard errors, though the 95 % interval includes zero"
    signed = _amount(found.mean, found, signed=True)
    return f"; that is no difference from {baseline} beyond two standard errors ({signed}{unit})"


def _teacher(summary: Mapping[str, Any], stage: str, player: str, measured: Measured) -> str:
    """What the student is measured by: the teacher's accuracy or distance, and how much larger it is."""
    if player == TEACHER:
        return ""
    of_teacher = ((e, says) for e, says in _reached(summary, stage) if e.player == TEACHER and says[0] == measured)
    teacher, says = next(of_teacher, (None, None))
    if teacher is None or says is None:
        return ""
    large = cost_of(summary, teacher.source[0], TEACHER).get("parameters")
    small = cost_of(summary, stage, player).get("parameters")
    ratio = large / small if numbers.is_number(large) and numbers.is_number(small) and small > 0 else 0.0
    larger = f", with {ratio:.0f} times the parameters" if ratio >= 1.5 else ""
    return f"Its teacher reaches {says[1]}{larger}."


def _reached(summary: Mapping[str, Any], stage: str) -> Iterator[tuple[Entry, tuple[Measured, str]]]:
    """Entries at the last step, with their primary metric and its value as written."""
    for entry in shown(summary, stage):
        measured = metrics.primary(summary, [entry.metrics])
        if not entry.variant and measured is not None and _value(entry.metrics, measured):
            yield entry, (measured, _value(entry.metrics, measured))


def _value(of: Mapping[str, Any], measured: Measured) -> str:
    """As "93.4 ± 0.3 %"; "" where it is unknown."""
    record = of.get(measured.name) or {}
    if not numbers.is_number(record.get("mean")):
        return ""
    half = record.get("ci95") if len(record.get("values") or ()) != 1 else None
    half = measured.scale * half if numbers.is_number(half) else None
    digits = {"default": 1, "lowest": 1, "highest": 2} if measured.unit == "%" else {**measured.digits, "lowest": 1}
    places = numbers.decimals([half], **{**digits, "significant": 1})
    return numbers.with_interval(measured.scale * record["mean"], half, places, unit=measured.unit)
