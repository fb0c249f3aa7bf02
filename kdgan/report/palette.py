"""Which colour an arm has: one and the same in every table, figure and row of pictures of a run."""

from collections.abc import Mapping
from typing import Any

from kdgan.report import curves, drawing
from kdgan.report.entries import ALONE, arm_names, comparisons
from kdgan.report.read import Results


def colours(results: Results) -> dict[str, str]:
    """Arm -> colour, the arms compared first; a stage that compares none has its own."""
    order = compared_arms(results.summary) or curves.arms_logged(results.metrics)
    found = drawing.colours_of(order) if order else {}
    for arm in curves.arms_logged(results.metrics):
        if arm not in found:
            found[arm] = drawing.INK if arm == ALONE else drawing.SERIES[1 + len(found) % (len(drawing.SERIES) - 1)]
    return found


def marks(results: Results, stage: str | None = None) -> dict[str, str]:
    """Arm -> colour, for the rows of a stage (the last by default); one of a single arm needs none."""
    own = arm_names(results.summary, stage)
    return {arm: colour for arm, colour in colours(results).items() if arm in own} if len(own) > 1 else {}


def css_marks(results: Results, stage: str | None = None) -> dict[str, str]:
    """The same, as the page names colours."""
    return {arm: drawing.css(colour) for arm, colour in marks(results, stage).items()}


def compared_arms(summary: Mapping[str, Any]) -> list[str]:
    """Arms of the stages that compare several, in their order; those of the last stage where none does."""
    stages = comparisons(summary)
    several = [stage for stage in stages if len(arm_names(summary, stage)) > 1]
    return list(dict.fromkeys(arm for stage in several or stages for arm in arm_names(summary, stage)))
