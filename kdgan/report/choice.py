"""Which arm a report singles out: the best on the validation split, so that the test split chooses nothing.

A run without a validation split, or a summary of before validation metrics were kept in it, leaves the test split only;
the words that stand beside the choice say so.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdgan.metrics.selection import leaders
from kdgan.report import numbers
from kdgan.report.entries import arm_records, compared, last_stage
from kdgan.report.measured import Measured, primary

NAMED = 3  # tied arms up to which they are named, and not counted


@dataclasses.dataclass(frozen=True)
class Choice:
    """The arm that is best by the mean over seeds of one metric.

    Attributes:
        player: that is compared.
        arm: its name; of arms that are equal, the first of the config.
        split: "validation" or "test".
        tied: the other arms that are equal to it there.
        of: number of arms it was chosen among.
        measured: the metric.
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
        return f"{how}, tied with {f'{len(self.tied)} other arms' if several else _listed(self.tied)}"


def chosen_arm(summary: Mapping[str, Any], stage: str | None = None) -> Choice | None:
    """The arm of a stage (the last one by default) by the primary metric of the player compared; None: there is none."""
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
    """The arm of a stage that is best by a metric, on the validation split where any arm was measured there.

    Args:
        summary: the content of summary.json.
        stage: whose arms.
        player: that is compared.
        arms: arm -> metrics of the player on the test split, in the order of the config.
        measured: the metric.
        but: an arm that is left out, to find the best other one.

    Returns:
        None where no arm has a finite mean.
    """
    split, records = "validation", on_validation(summary, stage, player, arms)
    means = _means(records, measured)
    if not means:
        split, means = "test", _means(arms, measured)
    means = {arm: mean for arm, mean in means.items() if arm != but}
    best = leaders(means, higher_is_better=measured.higher_is_better)
    return Choice(player, best[0], split, best[1:], len(means), measured) if best else None


def on_validation(
    summary: Mapping[str, Any], stage: str, player: str, arms: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Arm -> the player's metrics on the validation split at the last step; {} where it was not measured there."""
    records = arm_records(summary, stage)
    return {arm: ((records.get(arm) or {}).get("validation") or {}).get(player) or {} for arm in arms}


def extreme(measured: Measured) -> str:
    return "highest" if measured.higher_is_better else "lowest"


def _means(records: Mapping[str, Mapping[str, Any]], measured: Measured) -> dict[str, float]:
    means = {arm: (metrics.get(measured.name) or {}).get("mean") for arm, metrics in records.items()}
    return {arm: mean for arm, mean in means.items() if numbers.is_number(mean)}


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
