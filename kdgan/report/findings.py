"""The sentences that say what came of a comparison of arms: the same in the terminal, in Markdown and on the page.

"Better", "worse", "above" and "below" are said by one rule, `Difference.is_clear`; all else is "no clear difference".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kdgan.report import measured as metrics
from kdgan.report import numbers
from kdgan.report.differences import Comparison, Difference, comparison
from kdgan.report.entries import ALONE, TEACHER, Entry, compared, comparisons, cost_of, last_stage, shown
from kdgan.report.measured import Measured

LISTED = 8  # arms without a clear difference from the baseline that have a sentence each


def sentence(found: Difference) -> str:
    """What a difference says, in words."""
    unit = "points" if found.measured.unit == "%" else f"in {found.measured.head}"
    if found.is_clear:
        word = "better" if found.is_improvement else "worse"
        amount = f"{_amount(abs(found.mean), found)} {unit}"
        return f"{found.arm} is {word} than {found.other} by {amount} ({numbers.plural(found.seeds, 'seed')})"
    return f"{found.arm} and {found.other}: no clear difference ({_unclear(found, f' {unit}')})"


def sentences(summary: Mapping[str, Any], stage: str | None = None) -> tuple[str, ...]:
    """A sentence for each arm against the baseline, then the chosen arm against the next where that is another pair.

    Where many arms are not clearly different from the baseline, one sentence counts them.
    """
    found = comparison(summary, stage)
    if found is None or len(found.arms) < 2:
        return ()
    pairs = [(arm, found.baseline) for arm in found.arms if arm != found.baseline]
    if found.chosen is not None and (second := found.runners_up[found.chosen.arm]) is not None:
        pair = (found.chosen.arm, second.arm)
        pairs += [pair] if found.baseline not in pair else []
    said = {pair: found.differences.of(*pair) for pair in pairs}
    unclear = [p for p, d in said.items() if d is not None and not d.is_clear and p[1] == found.baseline]
    counted = unclear if len(unclear) > LISTED else []
    lines = [
        _uncompared(found, *pair) if difference is None else sentence(difference)
        for pair, difference in said.items()
        if pair not in counted
    ]
    if counted:
        lines.append(f"{len(counted)} arms and {found.baseline}: no clear difference")
    return tuple(lines)


def headlines(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The main result of each stage that compares arms, said of which stage where there are several."""
    found = [(stage, headline(summary, stage)) for stage in comparisons(summary)]
    said = [(stage, says) for stage, says in found if says]
    return tuple(f"Stage {stage}: {says[0].lower()}{says[1:]}" if len(said) > 1 else says for stage, says in said)


def headline(summary: Mapping[str, Any], stage: str | None = None) -> str:
    """The main result of a stage (the last by default) in one or two sentences; "" where nothing comparable is known."""
    stage = last_stage(summary) if stage is None else stage
    if stage is None:
        return ""
    if compared(summary, stage)[0] is None:
        return next((f"{_reaches(only.label, says)}." for only, says in _reached(summary, stage)), "")
    found = comparison(summary, stage)
    if found is None or found.chosen is None:
        return ""
    chosen, measured = found.chosen, found.measured
    value = _value(found.arms[chosen.arm], measured)
    if not value:
        return f"Arm {chosen.arm} ({chosen.words}) has no {_name(measured)}: a seed of it diverged."
    first = _reaches(found.player, (measured, value))
    if len(found.arms) > 1:
        baseline = ", the baseline" if chosen.arm == found.baseline else ""
        first += f" in arm {chosen.arm}{baseline} ({chosen.words})"
        against = None if baseline else found.differences.of(chosen.arm, found.baseline)
        first += "" if against is None else _clause(against)
    elif chosen.arm != ALONE:
        first += f" in arm {chosen.arm}"
    return f"{first}. {_teacher(summary, stage, found.player, measured)}".strip()


def _amount(mean: float, found: Difference, *, signed: bool = False) -> str:
    digits = {"default": 1, "lowest": 1, "highest": 2}
    if found.measured.unit != "%":
        digits = {"default": found.measured.digits["default"], "lowest": 1, "highest": found.measured.digits["highest"]}
    places = numbers.decimals([found.ci95], **digits, significant=1)
    places = numbers.telling(places, [(found.mean, found.ci95)])
    return numbers.with_interval(mean, found.ci95, places, signed=signed)


def _unclear(found: Difference, unit: str) -> str:
    """A difference that is not clear, as "+0.6 ± 1.2 points, 5 seeds"; without an interval, why there is none."""
    amount = f"{_amount(found.mean, found, signed=True)}{unit}"
    if found.ci95 is not None:
        return f"{amount}, {numbers.plural(found.seeds, 'seed')}"
    if found.seeds == 1:
        return f"{amount} on one seed, which says nothing of the spread"
    return f"{amount} on each of {found.seeds} seeds, which leaves no spread to judge by"


def _uncompared(found: Comparison, arm: str, other: str) -> str:
    values = [(found.arms[name].get(found.measured.name) or {}).get("values") or [] for name in (arm, other)]
    counts = [len(each) for each in values]
    if counts[0] != counts[1]:
        return f"{arm} and {other}: not compared, for they have {counts[0]} and {numbers.plural(counts[1], 'seed')}"
    return f"{arm} and {other}: not compared, for a seed of theirs diverged"


def _name(measured: Measured) -> str:
    return "test accuracy" if measured.name == "accuracy" else measured.head


def _reaches(label: str, says: tuple[Measured, str]) -> str:
    measured, value = says
    if measured.name == "accuracy":
        return f"The {label} reaches {value} {_name(measured)}"
    return f"The {label} reaches {_name(measured)} {value}"


def _clause(found: Difference) -> str:
    """What follows the value of the chosen arm: how it stands to the baseline."""
    unit = " points" if found.measured.unit == "%" else ""
    if found.is_clear:
        return f", {_amount(abs(found.mean), found)}{unit} {'above' if found.mean > 0 else 'below'} {found.other}"
    return f"; no clear difference from {found.other} ({_unclear(found, unit)})"


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
