"""Arms compared seed by seed: every pair's difference, the one rule of when it is called clear, and the table of them.

Arms of one seed share their batches and the players they start from, so a difference is taken within each seed; its
interval is that of the differences, not of the two means. Arms are compared by the first measure of their player that all
of them have.

Of more than two arms, all pairs are one family of comparisons: the intervals hold all at once (Bonferroni), and p-values
are adjusted by Holm's procedure. All pairs, and not only those that a table shows, since which arm is set against the
others is chosen by numbers of these very seeds: for eleven equal arms of five seeds, intervals that count the pairs shown
would hold at once in 92 % of runs only.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.metrics.intervals import holm, paired_difference
from kdgan.report import choice, numbers
from kdgan.report import measured as measures
from kdgan.report.choice import Choice
from kdgan.report.entries import compared, last_stage
from kdgan.report.measured import Measured
from kdgan.report.table import Cell, Column, Row, Table, of_columns


@dataclasses.dataclass(frozen=True)
class Difference:
    """`arm` minus `other` in one measure, paired over seeds, in the unit shown (of per cents in points).

    Attributes:
        arm, other: their names.
        mean: over the seeds.
        ci95: half width of the interval that holds with 95 %, at once with those of all other pairs; None for one seed,
            and where every seed has the same difference.
        p: of Student's paired t, adjusted by Holm's procedure for all pairs; None where ci95 is.
        seeds: how many.
        measured: the measure.
    """

    arm: str
    other: str
    mean: float
    ci95: float | None
    p: float | None
    seeds: int
    measured: Measured

    @property
    def is_clear(self) -> bool:
        """Whether "better" or "worse" may be said: only where the interval excludes zero. Without one, never."""
        return self.ci95 is not None and abs(self.mean) > self.ci95

    @property
    def is_improvement(self) -> bool:
        return self.mean > 0 if self.measured.higher_is_better else self.mean < 0


@dataclasses.dataclass(frozen=True)
class Comparisons:
    """All pairs of the arms of a stage, in one measure.

    Attributes:
        pairs: (arm, an earlier arm) -> their difference; None where a seed is missing or diverged.
        count: number of pairs: what intervals and p-values are adjusted for.
    """

    pairs: Mapping[tuple[str, str], Difference | None]
    count: int

    def of(self, arm: str, other: str) -> Difference | None:
        """`arm` minus `other`."""
        if (arm, other) in self.pairs:
            return self.pairs[arm, other]
        reverse = self.pairs[other, arm]
        return reverse and dataclasses.replace(reverse, arm=arm, other=other, mean=-reverse.mean)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a stage compares, and how.

    Attributes:
        player: whose arms.
        arms: arm -> the player's measures on the test split; the first is the baseline.
        measured: the primary measure.
        differences: of all pairs, by that metric.
        chosen: the arm that a report singles out.
        runners_up: arm -> the best of the other arms, by the split that `chosen` goes by.
    """

    player: str
    arms: Mapping[str, Mapping[str, Any]]
    measured: Measured
    differences: Comparisons
    chosen: Choice | None
    runners_up: Mapping[str, Choice | None]

    @property
    def baseline(self) -> str:
        return next(iter(self.arms))

    def best_other(self, arm: str) -> Difference | None:
        """An arm minus the best of the others."""
        other = self.runners_up[arm]
        return None if other is None else self.differences.of(arm, other.arm)


def comparison(summary: Mapping[str, Any], stage: str | None = None) -> Comparison | None:
    """The comparison of a stage (the last one by default); None where its players have no measure to be compared by."""
    stage = last_stage(summary) if stage is None else stage
    player, arms = compared(summary, stage)
    measured = measures.primary(summary, arms.values())
    if stage is None or player is None or measured is None:
        return None
    runners_up = {arm: choice.choose(summary, stage, player, arms, measured, but=arm) for arm in arms}
    chosen = choice.choose(summary, stage, player, arms, measured)
    return Comparison(player, arms, measured, compare(arms, measured), chosen, runners_up)


def compare(arms: Mapping[str, Mapping[str, Any]], measured: Measured) -> Comparisons:
    """The differences of all pairs of arms in a measure, adjusted for their number.

    Args:
        arms: arm -> measure -> record with "values", one a seed.
        measured: the measure.
    """
    names = [(arm, other) for other, arm in itertools.combinations(arms, 2)]
    pairs = {pair: difference(arms, *pair, measured, comparisons=len(names)) for pair in names}
    adjusted = holm([None if difference is None else difference.p for difference in pairs.values()])
    return Comparisons(
        {
            pair: difference and dataclasses.replace(difference, p=p)
            for (pair, difference), p in zip(pairs.items(), adjusted, strict=True)
        },
        len(names),
    )


def difference(
    arms: Mapping[str, Mapping[str, Any]], arm: str, other: str, measured: Measured, *, comparisons: int = 1
) -> Difference | None:
    """`arm` minus `other`, its p not adjusted; None where a seed is missing or diverged, or the measure is absent.

    Args:
        arms: arm -> measure -> record with "values", one a seed.
        arm: the name of one.
        other: and of another.
        measured: the measure.
        comparisons: as `paired_difference` takes them.
    """
    a, b = (((arms.get(name) or {}).get(measured.name) or {}).get("values") or [] for name in (arm, other))
    if len(a) != len(b) or not a or not all(map(numbers.is_number, (*a, *b))):
        return None
    # Scaled first: the differences of percentages are points.
    scaled = ([measured.scale * x for x in values] for values in (a, b))
    result = paired_difference(*scaled, comparisons=comparisons)
    return Difference(arm, other, result["mean"], result["ci95"], result["p"], len(a), measured)


def differences_table(summary: Mapping[str, Any], stage: str | None = None, *, whole: bool = False) -> Table | None:
    """Each arm minus the baseline (the first arm) and minus the best other arm; None where there is nothing to compare.

    Args:
        summary: the content of summary.json.
        stage: whose arms; the last one by default.
        whole: all arms, where there are many; else the baseline and the best few of them.
    """
    stage = last_stage(summary) if stage is None else stage
    compares = comparison(summary, stage)
    if stage is None or compares is None or len(compares.arms) < 2:
        return None
    ordered = choice.in_order(summary, stage) if whole else choice.few(summary, stage)
    arms = [arm for arm in ordered if arm in compares.arms]
    columns, sizes = _columns(compares, arms, measures.second(summary, compares.arms.values()))
    rows = [Row(f"{compares.player} · {arm}", (), arm) for arm in arms]
    notes = _notes(compares, with_p=any(head in ("p", HOLM) for head, _ in columns))
    if len(arms) < len(compares.arms):
        split = "" if compares.chosen is None else f" on the {compares.chosen.split} split"
        notes = (*notes, f"The baseline and the best {len(arms) - 1}{split}; {_others(compares, arms)}")
    return of_columns(columns, rows, notes=notes, groups=tuple(sizes))


HOLM = "p (Holm)"


def _columns(compares: Comparison, arms: Sequence[str], second: Measured | None) -> tuple[list[Column], list[int]]:
    """(the columns, how many of them belong together): against the baseline, the best other arm, and the second measure."""
    baseline, head = compares.baseline, compares.measured.head
    several = len(compares.arms) > 2
    to_baseline = [None if arm == baseline else compares.differences.of(arm, baseline) for arm in arms]
    columns = _difference_columns(f"{head} − {baseline}", HOLM if several else "p", to_baseline)
    if arms[0] == baseline:
        columns[0][1][0] = Cell("baseline")
    sizes = [len(columns)]
    if several:
        split = "validation" if compares.chosen is None else compares.chosen.split
        best = (
            "best other on validation"
            if split == "validation"
            else f"{choice.extreme(compares.measured)} other on test"
        )
        runners_up = (compares.runners_up[arm] for arm in arms)
        ties = [bool(other and other.tied) for other in runners_up]
        columns += _difference_columns(f"{head} − {best}", HOLM, [compares.best_other(arm) for arm in arms], ties)
        sizes.append(len(columns) - sizes[0])
    if second is not None:
        count = compares.differences.count
        beside = [None if arm == baseline else difference(compares.arms, arm, baseline, second, comparisons=count)
                  for arm in arms]  # fmt: skip
        if any(beside):
            columns.append((f"{second.head} − {baseline}", [Cell("", known=False), *_cells(beside)[1:]]))
            sizes.append(1)
    return columns, sizes


def _difference_columns(
    head: str, p_head: str, differences: Sequence[Difference | None], ties: Sequence[bool] | None = None
) -> list[Column]:
    """A column of differences, and one of their p-values where there are any.

    Args:
        head: of the first column.
        p_head: of the second.
        differences: one for each row.
        ties: whether the other arm is one of several equal ones; given where each row has another such arm, to be named.
    """
    columns = [(head, _cells(differences, ties))]
    if any(difference is not None and difference.p is not None for difference in differences):
        texts = [numbers.probability(difference.p) if difference is not None else "" for difference in differences]
        columns.append((p_head, [Cell(text, known=bool(text)) for text in texts]))
    return columns


def _cells(differences: Sequence[Difference | None], ties: Sequence[bool] | None = None) -> list[Cell]:
    known = [difference for difference in differences if difference is not None]
    if not known:
        return [Cell(numbers.MISSING) for _ in differences]
    places = numbers.decimals([difference.ci95 for difference in known], **known[0].measured.digits)
    places = numbers.telling(places, [(difference.mean, difference.ci95) for difference in known])
    cells = []
    for i, difference in enumerate(differences):
        if difference is None:
            cells.append(Cell(numbers.MISSING))
            continue
        text = numbers.with_interval(difference.mean, difference.ci95, places, signed=True)
        other = "" if ties is None else f" ({difference.other}, tied)" if ties[i] else f" ({difference.other})"
        cells.append(Cell(text + other, difference.mean, difference.ci95))
    return cells


def _others(compares: Comparison, arms: Sequence[str]) -> str:
    """How the arms stand to the baseline that a short table leaves out."""
    rest = [compares.differences.of(arm, compares.baseline) for arm in compares.arms if arm not in arms]
    clear = [difference for difference in rest if difference is not None and difference.is_clear]
    better = sum(difference.is_improvement for difference in clear)
    counts = {"better": better, "worse": len(clear) - better, "not clearly different": len(rest) - len(clear)}
    said = [f"{count} {word}" for word, count in counts.items() if count]
    counted = f"{numbers.plural(len(rest), 'further arm')} against {compares.baseline}: {', '.join(said)}"
    return f"{counted}; all of them: report.html, Differences of every arm"


def _notes(compares: Comparison, with_p: bool) -> tuple[str, ...]:
    measured, count = compares.measured, compares.differences.count
    unit = " in percentage points" if measured.percent else f" in {measured.unit}" if measured.unit else ""
    seeds = max((pair.seeds for pair in compares.differences.pairs.values() if pair), default=0)
    spread = "one seed"
    if seeds > 1:
        spread = f"paired over {seeds} seeds, mean ± 95 % interval"
        if count > 1:
            spread += (
                f", simultaneous over the {count} comparisons of {len(compares.arms)} arms"
                f" (Bonferroni: each holds with {100 * (1 - 0.05 / count):.4g} %)"
            )
    direction = "" if measured.obvious else f"; {measured.better} is better"
    notes = [f"Differences of {measured.head}{unit}; {spread}{direction}"]
    if with_p and count == 1:
        notes.append("p: Student's paired t. Better or worse is said only where the interval excludes zero")
    elif with_p:
        notes.append(
            f"p: Student's paired t, adjusted by Holm's procedure for the {count} comparisons. Better or worse is said only"
            " where the interval excludes zero, which asks for more than p < 0.05"
        )
    return tuple(notes)
