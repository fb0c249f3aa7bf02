"""Which colour an arm has: one and the same in every table, figure and row of pictures of a run."""

from collections.abc import Mapping
from typing import Any

from kdgan.report import choice, curves, drawing
from kdgan.report.entries import ALONE, arm_names, comparisons
from kdgan.report.read import Results


def colours(results: Results) -> dict[str, str]:
    """Arm -> colour, the arms compared first; a stage that compares none has its own. No colour stands for two arms."""
    order = compared_arms(results.summary) or curves.arms_logged(results.metrics)
    several = [stage for stage in comparisons(results.summary) if len(arm_names(results.summary, stage)) > 1]
    best = choice.standing(results.summary, several[-1]) if several else ()
    palette = drawing.colours_of(order, best) if order else {}
    free = [colour for colour in drawing.SERIES[1:] if colour not in palette.values()]
    for arm in curves.arms_logged(results.metrics):
        if arm not in palette:
            palette[arm] = drawing.INK if arm == ALONE else free.pop(0) if free else drawing.REST
    return palette


def marks(results: Results, stage: str | None = None) -> dict[str, str]:
    """Arm -> colour, for the rows of a stage (the last by default); one of a single arm needs none."""
    arms = arm_names(results.summary, stage)
    return {arm: colour for arm, colour in colours(results).items() if arm in arms} if len(arms) > 1 else {}


def css_marks(results: Results, stage: str | None = None) -> dict[str, str]:
    """The same, as the page names colours."""
    return {arm: drawing.css(colour) for arm, colour in marks(results, stage).items()}


def compared_arms(summary: Mapping[str, Any]) -> list[str]:
    """Arms of the stages that compare several, in their order; those of the last stage where none does."""
    stages = comparisons(summary)
    several = [stage for stage in stages if len(arm_names(summary, stage)) > 1]
    return list(dict.fromkeys(arm for stage in several or stages for arm in arm_names(summary, stage)))
