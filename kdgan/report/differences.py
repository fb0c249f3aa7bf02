"""Arms compared seed by seed: every pair's difference, the one rule of when it is called clear, and the table of them.

Arms of one seed share their batches and the players they start from, so a difference is taken within each seed; its
interval is that of the differences, not of the two means. Arms are compared by the primary metric of their player:
accuracy, else the Fréchet distance of what it generates, else the ELBO.

Of more than two arms, all pairs are one family of comparisons: the intervals hold all at once (Bonferroni), and p-values
are adjusted by Holm's procedure. All pairs, and not only those that a table shows, since which arm is set against the
others is chosen by numbers of these very seeds: for eleven equal arms of five seeds, intervals that count the pairs shown
would hold at once in 92 % of runs only.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from kdgan.metrics.intervals import holm, paired_difference
from kdgan.report import choice, numbers
from kdgan.report import measured as metrics
from kdgan.report.choice import Choice
from kdgan.report.entries import compared, last_stage
from kdgan.report.measured import Measured
from kdgan.report.tables import Cell, Row, Table


@dataclasses.dataclass(frozen=True)
class Difference:
    """`arm` minus `other` in one metric, paired over seeds, in the unit shown (accuracies in points of a per cent).

    Attributes:
        arm, other: their names.
        mean: over the seeds.
        ci95: half width of the interval that holds with 95 %, at once with those of all other pairs; None for one seed,
            and where every seed has the same difference.
        p: of Student's paired t, adjusted by Holm's procedure for all pairs; None where ci95 is.
        seeds: how many.
        measured: the metric.
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
    """All pairs of the arms of a stage, in one metric.

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
        arms: arm -> the player's metrics on the test split; the first is the baseline.
        measured: the primary metric.
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
    """The comparison of a stage (the last one by default); None where its players have no metric to be compared by."""
    stage = last_stage(summary) if stage is None else stage
    player, arms = compared(summary, stage)
    measured = metrics.primary(summary, arms.values())
    if stage is None or player is None or measured is None:
        return None
    runners_up = {arm: choice.choose(summary, stage, player, arms, measured, but=arm) for arm in arms}
    chosen = choice.choose(summary, stage, player, arms, measured)
    return Comparison(player, arms, measured, compare(arms, measured), chosen, runners_up)


def compare(arms: Mapping[str, Mapping[str, Any]], measured: Measured) -> Comparisons:
    """The differences of all pairs of arms in a metric, adjusted for their number.

    Args:
        arms: arm -> metric -> record with "values", one a seed.
        measured: the metric.
    """
    names = [(arm, other) for other, arm in itertools.combinations(arms, 2)]
    pairs = {pair: difference(arms, *pair, measured, comparisons=len(names)) for pair in names}
    adjusted = holm([None if pair is None else pair.p for pair in pairs.values()])
    return Comparisons(
        {
            pair: found and dataclasses.replace(found, p=p)
            for (pair, found), p in zip(pairs.items(), adjusted, strict=True)
        },
        len(names),
    )


def difference(
    arms: Mapping[str, Mapping[str, Any]], arm: str, other: str, measured: Measured, *, comparisons: int = 1
) -> Difference | None:
    """`arm` minus `other`, its p not adjusted; None where a seed is missing or diverged, or the metric is absent.

    Args:
        arms: arm -> metric -> record with "values", one a seed.
        arm: the name of one.
        other: and of another.
        measured: the metric.
        comparisons: as `paired_difference` takes them.
    """
    a, b = (((arms.get(name) or {}).get(measured.name) or {}).get("values") or [] for name in (arm, other))
    if len(a) != len(b) or not a or not all(map(numbers.is_number, (*a, *b))):
        return None
    # Scaled first: the differences of percentages are points.
    scaled = ([measured.scale * x for x in values] for values in (a, b))
    result = paired_difference(*scaled, comparisons=comparisons)
    return Difference(arm, other, result["mean"], result["ci95"], result["p"], len(a), measured)


def differences_table(summary: Mapping[str, Any], stage: str | None = None) -> Table | None:
    """Each arm minus the baseline (the first arm) and minus the best other arm; None where there is nothing to compare.

    Args:
        summary: the content of summary.json.
        stage: whose arms; the last one by default.
    """
    found = comparison(summary, stage)
    if found is None or len(found.arms) < 2:
        return None
    measured, baseline, head = found.measured, found.baseline, found.measured.head
    several = len(found.arms) > 2
    p_head = "p (Holm)" if several else "p"
    to_baseline = {arm: found.differences.of(arm, baseline) for arm in found.arms if arm != baseline}
    columns = _difference_columns(f"{head} − {baseline}", p_head, [to_baseline.get(arm) for arm in found.arms])
    columns[0][1][0] = Cell("baseline")
    groups = [len(columns)]
    if several:
        split = "validation" if found.chosen is None else found.chosen.split
        best = "best other on validation" if split == "validation" else f"{choice.extreme(measured)} other on test"
        others = [found.best_other(arm) for arm in found.arms]
        ties = [bool(other and other.tied) for other in found.runners_up.values()]
        columns += _difference_columns(f"{head} − {best}", p_head, others, ties)
        groups.append(len(columns) - groups[0])
    second = metrics.second(summary, measured)
    if second is not None:
        count = found.differences.count
        beside = [None if arm == baseline else difference(found.arms, arm, baseline, second, comparisons=count)
                  for arm in found.arms]  # fmt: skip
        if any(beside):
            columns.append((f"{second.head} − {baseline}", [Cell("", known=False), *_cells(beside)[1:]]))
            groups.append(1)
    rows = tuple(
        Row(f"{found.player} · {arm}", tuple(cells[i] for _, cells in columns), arm) for i, arm in enumerate(found.arms)
    )
    heads = tuple(head for head, _ in columns)
    return Table(heads, rows, _notes(found, with_p=p_head in heads), tuple(groups))


def _difference_columns(
    head: str, p_head: str, found: list[Difference | None], ties: list[bool] | None = None
) -> list[tuple[str, list[Cell]]]:
    """A column of differences, and one of their p-values where there are any.

    Args:
        head: of the first column.
        p_head: of the second.
        found: a difference for each row.
        ties: whether the other arm is one of several equal ones; given where each row has another such arm, to be named.
    """
    columns = [(head, _cells(found, ties))]
    if any(each is not None and each.p is not None for each in found):
        texts = [numbers.probability(each.p) if each is not None else "" for each in found]
        columns.append((p_head, [Cell(text, known=bool(text)) for text in texts]))
    return columns


def _cells(found: list[Difference | None], ties: list[bool] | None = None) -> list[Cell]:
    known = [each for each in found if each is not None]
    if not known:
        return [Cell(numbers.MISSING) for _ in found]
    places = numbers.decimals([each.ci95 for each in known], **known[0].measured.digits)
    places = numbers.telling(places, [(each.mean, each.ci95) for each in known])
    cells = []
    for i, each in enumerate(found):
        if each is None:
            cells.append(Cell(numbers.MISSING))
            continue
        text = numbers.with_interval(each.mean, each.ci95, places, signed=True)
        other = "" if ties is None else f" ({each.other}, tied)" if ties[i] else f" ({each.other})"
        cells.append(Cell(text + other, each.mean, each.ci95))
    return cells


def _notes(found: Comparison, with_p: bool) -> tuple[str, ...]:
    measured, count = found.measured, found.differences.count
    unit = " in percentage points" if measured.unit == "%" else ""
    seeds = max((pair.seeds for pair in found.differences.pairs.values() if pair), default=0)
    spread = "one seed"
    if seeds > 1:
        spread = f"paired over {seeds} seeds, mean ± 95 % interval"
        if count > 1:
            spread += (
                f", simultaneous over the {count} comparisons of {len(found.arms)} arms"
                f" (Bonferroni: each holds with {100 * (1 - 0.05 / count):.4g} %)"
            )
    direction = (
        "" if measured.name == "accuracy" else f"; {'higher' if measured.higher_is_better else 'lower'} is better"
    )
    notes = [f"Differences of {measured.head}{unit}; {spread}{direction}"]
    if with_p and count == 1:
        notes.append("p: Student's paired t. Better or worse is said only where the interval excludes zero")
    elif with_p:
        notes.append(
            f"p: Student's paired t, adjusted by Holm's procedure for the {count} comparisons. Better or worse is said only"
            " where the interval excludes zero, which asks for more than p < 0.05"
        )
    return tuple(notes)
