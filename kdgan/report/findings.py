"""The sentences that say what came of a comparison of arms: the same in the terminal, in Markdown and on the page.

"Better", "worse", "above" and "below" are said by one rule, `Difference.is_clear`; all else is "no clear difference".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kdgan.report import choice, numbers
from kdgan.report import measured as measures
from kdgan.report.differences import Comparison, Difference, comparison
from kdgan.report.entries import ALONE, TEACHER, Entry, compared, comparisons, cost_of, last_stage, shown
from kdgan.report.measured import Measured

LISTED = 8  # arms better, worse, or not clearly different from the baseline that have a sentence each
NEXT = 3  # of many arms that follow the chosen one, named in the headline


def sentence(difference: Difference) -> str:
    """What a difference says, in words."""
    unit = difference.measured.points
    if difference.is_clear:
        word = "better" if difference.is_improvement else "worse"
        amount = f"{_amount(abs(difference.mean), difference)} {unit}"
        seeds = numbers.plural(difference.seeds, "seed")
        return f"{difference.arm} is {word} than {difference.other} by {amount} ({seeds})"
    return f"{difference.arm} and {difference.other}: no clear difference ({_unclear(difference, f' {unit}')})"


def sentences(summary: Mapping[str, Any], stage: str | None = None) -> tuple[str, ...]:
    """A sentence for each arm against the baseline, then the chosen arm against the next where that is another pair.

    Of many arms that are better, worse, or not clearly different, the best few are named, and a sentence counts the others.
    """
    stage = last_stage(summary) if stage is None else stage
    compares = comparison(summary, stage)
    if stage is None or compares is None or len(compares.arms) < 2:
        return ()
    order = [arm for arm in choice.in_order(summary, stage) if arm in compares.arms]
    pairs = [(arm, compares.baseline) for arm in order if arm != compares.baseline]
    if compares.chosen is not None and (second := compares.runners_up[compares.chosen.arm]) is not None:
        pair = (compares.chosen.arm, second.arm)
        pairs += [pair] if compares.baseline not in pair else []
    said = {pair: compares.differences.of(*pair) for pair in pairs}
    counted = _counted(said, compares.baseline)
    lines = [
        _uncompared(compares, *pair) if difference is None else sentence(difference)
        for pair, difference in said.items()
        if not any(pair in group for group in counted.values())
    ]
    lines += [f"{numbers.plural(len(group), noun)} {says}" for (noun, says), group in counted.items() if group]
    return tuple(lines)


Pair = tuple[str, str]


def _counted(said: Mapping[Pair, Difference | None], baseline: str) -> dict[Pair, list[Pair]]:
    """(noun, what is said of a number of arms) -> the pairs that it counts: those that are too many for a sentence each."""
    against = {pair: d for pair, d in said.items() if d is not None and pair[1] == baseline}
    better = [pair for pair, difference in against.items() if difference.is_clear and difference.is_improvement]
    worse = [pair for pair, difference in against.items() if difference.is_clear and not difference.is_improvement]
    unclear = [pair for pair, difference in against.items() if not difference.is_clear]
    further = lambda pairs, few: pairs[few:] if len(pairs) > LISTED else []
    return {
        ("further arm", f"are better than {baseline}"): further(better, choice.FEW),
        ("arm", f"are worse than {baseline}"): further(worse, 0),
        ("arm", f"and {baseline}: no clear difference"): further(unclear, 0),
    }


def headlines(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The main result of each stage that compares arms, said of which stage where there are several."""
    results = [(stage, headline(summary, stage)) for stage in comparisons(summary)]
    said = [(stage, says) for stage, says in results if says]
    return tuple(f"Stage {stage}: {says[0].lower()}{says[1:]}" if len(said) > 1 else says for stage, says in said)


def headline(summary: Mapping[str, Any], stage: str | None = None) -> str:
    """The main result of a stage (the last by default) in one to three sentences; "" where nothing comparable is known."""
    stage = last_stage(summary) if stage is None else stage
    if stage is None:
        return ""
    if compared(summary, stage)[0] is None:
        return next((f"{_reaches(only.label, says)}." for only, says in _reached(summary, stage)), "")
    compares = comparison(summary, stage)
    if compares is None or compares.chosen is None:
        return ""
    chosen, measured = compares.chosen, compares.measured
    value = _value(compares.arms[chosen.arm], measured)
    if not value:
        return f"Arm {chosen.arm} ({chosen.words}) has no {measured.on_test}: a seed of it diverged."
    first = _reaches(compares.player, (measured, value))
    if len(compares.arms) > 1:
        baseline = ", the baseline" if chosen.arm == compares.baseline else ""
        first += f" in arm {chosen.arm}{baseline} ({chosen.words})"
        against = None if baseline else compares.differences.of(chosen.arm, compares.baseline)
        first += "" if against is None else _clause(against)
    elif chosen.arm != ALONE:
        first += f" in arm {chosen.arm}"
    said = (f"{first}.", _next_best(summary, stage, compares), _teacher(summary, stage, compares.player, measured))
    return " ".join(part for part in said if part)


def _next_best(summary: Mapping[str, Any], stage: str, compares: Comparison) -> str:
    """The arms that follow the chosen one, where there are many."""
    chosen = compares.chosen
    if chosen is None or len(compares.arms) <= choice.MANY:
        return ""
    rest = [arm for arm in choice.standing(summary, stage) if arm in compares.arms and arm != chosen.arm][:NEXT]
    where = "on validation" if chosen.split == "validation" else "on the test split"
    return f"Next best {where}: {numbers.listed(rest)}."


def _amount(mean: float, difference: Difference, *, signed: bool = False) -> str:
    places = numbers.decimals([difference.ci95], **_in_words(difference.measured))
    places = numbers.telling(places, [(difference.mean, difference.ci95)])
    return numbers.with_interval(mean, difference.ci95, places, signed=signed)


def _in_words(measured: Measured) -> dict[str, int]:
    """Digits of a number in a sentence, where one significant digit of the interval is enough."""
    lowest = min(1, measured.digits["highest"])
    default = lowest if measured.percent else measured.digits["default"]
    return {**measured.digits, "default": default, "lowest": lowest, "significant": 1}


def _unclear(difference: Difference, unit: str) -> str:
    """A difference that is not clear, as "+0.6 ± 1.2 points, 5 seeds"; without an interval, why there is none."""
    amount = f"{_amount(difference.mean, difference, signed=True)}{unit}"
    if difference.ci95 is not None:
        return f"{amount}, {numbers.plural(difference.seeds, 'seed')}"
    if difference.seeds == 1:
        return f"{amount} on one seed, which says nothing of the spread"
    return f"{amount} on each of {difference.seeds} seeds, which leaves no spread to judge by"


def _uncompared(compares: Comparison, arm: str, other: str) -> str:
    records = (compares.arms[name].get(compares.measured.name) for name in (arm, other))
    values = [(record or {}).get("values") or [] for record in records]
    if not all(values):
        missing = arm if not values[0] else other
        return f"{arm} and {other}: not compared, for {missing} has no {compares.measured.head}"
    if len(values[0]) != len(values[1]):
        return (f"{arm} and {other}: not compared, for they have {len(values[0])} and"
                f" {numbers.plural(len(values[1]), 'seed')}")  # fmt: skip
    return f"{arm} and {other}: not compared, for a seed of theirs diverged"


def _reaches(label: str, says: tuple[Measured, str]) -> str:
    measured, value = says
    said = f"{value} {measured.on_test}" if measured.percent else f"{measured.on_test} {value}"
    return f"The {label} reaches {said}"


def _clause(difference: Difference) -> str:
    """What follows the value of the chosen arm: how it stands to the baseline."""
    measured = difference.measured
    unit = f" {measured.points}" if measured.unit else ""
    if difference.is_clear:
        word = "above" if difference.mean > 0 else "below"
        return f", {_amount(abs(difference.mean), difference)}{unit} {word} {difference.other}"
    return f"; no clear difference from {difference.other} ({_unclear(difference, unit)})"


def _teacher(summary: Mapping[str, Any], stage: str, player: str, measured: Measured) -> str:
    """What the student is measured by: the same measure of the teacher, and how much larger it is."""
    if player == TEACHER:
        return ""
    of_teacher = (
        (entry, value)
        for entry in shown(summary, stage)
        if entry.player == TEACHER and not entry.variant and (value := _value(entry.metrics, measured))
    )
    teacher, value = next(of_teacher, (None, ""))
    if teacher is None:
        return ""
    large = cost_of(summary, teacher.source[0], TEACHER).get("parameters")
    small = cost_of(summary, stage, player).get("parameters")
    ratio = large / small if numbers.is_number(large) and numbers.is_number(small) and small > 0 else 0.0
    larger = f", with {ratio:.0f} times the parameters" if ratio >= 1.5 else ""
    return f"Its teacher reaches {value}{larger}."


def _reached(summary: Mapping[str, Any], stage: str) -> Iterator[tuple[Entry, tuple[Measured, str]]]:
    """Entries at the last step, with their primary measure and its value as written."""
    for entry in shown(summary, stage):
        measured = measures.primary(summary, [entry.metrics])
        if not entry.variant and measured is not None and _value(entry.metrics, measured):
            yield entry, (measured, _value(entry.metrics, measured))


def _value(metrics: Mapping[str, Any], measured: Measured) -> str:
    """As "93.4 ± 0.3 %"; "" where it is unknown."""
    mean, half = measured.reading(metrics.get(measured.name) or {})
    if mean is None:
        return ""
    return numbers.with_interval(mean, half, numbers.decimals([half], **_in_words(measured)), unit=measured.unit)
