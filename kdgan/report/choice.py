"""Which arm a report singles out: the best on the validation split, so that the test split chooses nothing.

A run without a validation split, or a summary of before validation metrics were kept in it, leaves the test split only;
the words that stand beside the choice say so.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from kdgan.metrics.selection import leaders
from kdgan.report import numbers
from kdgan.report.entries import arm_records, compared, last_stage
from kdgan.report.measured import Measured, primary

NAMED = 3  # tied arms up to which they are named, and not counted
MANY = 12  # arms beyond which they stand in the order of their results, and the best few are singled out
FEW = 5  # how many


@dataclasses.dataclass(frozen=True)
class Choice:
    """The arm that is best by the mean over seeds of one measure.

    Attributes:
        player: that is compared.
        arm: its name; of arms that are equal, the first of the config.
        split: "validation" or "test".
        tied: the other arms that are equal to it there.
        of: number of arms it was chosen among.
        measured: the measure.
    """

    player: str
    arm: str
    split: str
    tied: tuple[str, ...]
    of: int
    measured: Measured

    @property
    def words(self) -> str:
        """How it was chosen: "chosen on validation", "highest on the test split, of 3 arms"."""
        how = "chosen on validation" if self.split == "validation" else (
            f"{extreme(self.measured)} on the test split, of {numbers.plural(self.of, 'arm')}"
        )  # fmt: skip
        if not self.tied:
            return how
        several = len(self.tied) > NAMED
        return f"{how}, tied with {f'{len(self.tied)} other arms' if several else numbers.listed(self.tied)}"


def chosen_arm(summary: Mapping[str, Any], stage: str | None = None) -> Choice | None:
    """The arm of a stage (the last one by default) by the primary measure of the player compared; None: there is none."""
    stage = last_stage(summary) if stage is None else stage
    player, arms = compared(summary, stage)
    measured = primary(summary, arms.values())
    if stage is None or player is None or measured is None:
        return None
    return choose(summary, stage, player, arms, measured)


def choose(
    summary: Mapping[str, Any], stage: str, player: str, arms: Mapping[str, Mapping[str, Any]], measured: Measured,
    *, but: str | None = None,
) -> Choice | None:  # fmt: skip
    """The arm of a stage that is best by a measure, on the validation split where any arm was measured there.

    Args:
        summary: the content of summary.json.
        stage: whose arms.
        player: that is compared.
        arms: arm -> measures of the player on the test split, in the order of the config.
        measured: the measure.
        but: an arm that is left out, to find the best other one.

    Returns:
        None where no arm has a finite mean.
    """
    split, means = _deciding(summary, stage, player, arms, measured)
    means = {arm: mean for arm, mean in means.items() if arm != but}
    best = leaders(means, higher_is_better=measured.higher_is_better)
    return Choice(player, best[0], split, best[1:], len(means), measured) if best else None


def standing(summary: Mapping[str, Any], stage: str) -> tuple[str, ...]:
    """The arms of a stage from the best to the worst, by the split that choosing goes by; those without a number last."""
    player, arms = compared(summary, stage)
    measured = primary(summary, arms.values())
    if player is None or measured is None:
        return tuple(arm_records(summary, stage))
    _, means = _deciding(summary, stage, player, arms, measured)
    sign = -1.0 if measured.higher_is_better else 1.0
    value = lambda arm: sign * means[arm] if arm in means else math.inf
    return tuple(sorted(arm_records(summary, stage), key=value))


def in_order(summary: Mapping[str, Any], stage: str) -> tuple[str, ...]:
    """The arms in the order in which they are shown: the config's, and of many the baseline, then from the best on."""
    arms = tuple(arm_records(summary, stage))
    if len(arms) <= MANY:
        return arms
    return (arms[0], *(arm for arm in standing(summary, stage) if arm != arms[0]))


def few(summary: Mapping[str, Any], stage: str, count: int = FEW) -> tuple[str, ...]:
    """The baseline and the best `count` other arms, in the order in which many are shown; of few arms all."""
    arms = in_order(summary, stage)
    return arms if len(arms) <= MANY else arms[: count + 1]


def _deciding(
    summary: Mapping[str, Any], stage: str, player: str, arms: Mapping[str, Mapping[str, Any]], measured: Measured
) -> tuple[str, dict[str, float]]:
    """(split that choosing goes by, arm -> mean there): the validation split where any arm was measured on it."""
    means = _means(on_validation(summary, stage, player, arms), measured)
    return ("validation", means) if means else ("test", _means(arms, measured))


def on_validation(
    summary: Mapping[str, Any], stage: str, player: str, arms: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Arm -> the player's measures on the validation split at the last step; {} where it was not measured there."""
    records = arm_records(summary, stage)
    return {arm: ((records.get(arm) or {}).get("validation") or {}).get(player) or {} for arm in arms}


def extreme(measured: Measured) -> str:
    return "highest" if measured.higher_is_better else "lowest"


def _means(records: Mapping[str, Mapping[str, Any]], measured: Measured) -> dict[str, float]:
    means = {arm: (metrics.get(measured.name) or {}).get("mean") for arm, metrics in records.items()}
    return {arm: mean for arm, mean in means.items() if numbers.is_number(mean)}
