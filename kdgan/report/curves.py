"""Learning curves from the lines of metrics.jsonl: at each step the mean over seeds, and its 95 % interval."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.metrics.intervals import mean_ci
from kdgan.report import numbers
from kdgan.report.entries import split_name

NOT_METRICS = ("step", "stage", "arm", "seed", "split")
OBJECTIVE = "loss"
GRADIENTS = ("gradient", "cosine")  # what is logged of terms' gradients: norms, and cosines of each two
Logged = tuple[str, str]  # (split, key) of what metrics.jsonl has


@dataclasses.dataclass(frozen=True)
class Curve:
    """One measure or loss of one arm over the steps of a stage.

    Attributes:
        step: [n].
        mean: [n], over the seeds measured at that step; NaN where one diverged.
        low, high: [n], the 95 % interval of the mean; NaN where fewer than two seeds were measured.
        seeds: most seeds measured at a step.
    """

    step: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


def gather(metrics: Iterable[Mapping[str, Any]], stage: str, split: str, key: str) -> dict[str, Curve]:
    """Arm -> its curve of `key` ("student/loss") in a stage and split.

    Where a member logged a step twice, as a run that was killed after logging does, the later line counts.
    """
    arms: dict[str, dict[int, dict[Any, float]]] = {}
    for line in metrics:
        if (
            line.get("stage") == stage
            and line.get("split") == split
            and key in line
            and numbers.is_number(line.get("step"))
        ):
            value = float(line[key]) if numbers.is_number(line[key]) else math.nan
            arms.setdefault(str(line.get("arm")), {}).setdefault(int(line["step"]), {})[line.get("seed")] = value
    return {arm: _curve(steps) for arm, steps in arms.items()}


def _curve(steps: Mapping[int, Mapping[Any, float]]) -> Curve:
    order = sorted(steps)
    intervals = [mean_ci(list(steps[step].values())) for step in order]
    mean = np.array([interval["mean"] for interval in intervals])
    half = np.array([math.nan if interval["ci95"] is None else interval["ci95"] for interval in intervals])
    return Curve(np.array(order), mean, mean - half, mean + half, max(len(steps[step]) for step in order))


def stage_names(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(line["stage"]) for line in metrics if "stage" in line))


def arms_logged(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(line["arm"]) for line in metrics if "arm" in line))


def keys(metrics: Iterable[Mapping[str, Any]], stage: str, split: str) -> list[str]:
    """What is logged in a stage and split, in the order in which they first appear."""
    lines = (line for line in metrics if line.get("stage") == stage and line.get("split") == split)
    return list(dict.fromkeys(key for line in lines for key in line if key not in NOT_METRICS and "/" in key))


def player_and_name(key: str) -> tuple[str, str]:
    """Of "student (moving average)/loss": ("student, moving average", "loss")."""
    entry, _, name = key.rpartition("/")
    player, variant = split_name(entry)
    return (f"{player}, {variant}" if variant else player), name


def is_gradient(key: str) -> bool:
    """Whether what is logged was measured of terms' gradients: "student/gradient/kd", "student/cosine/ce,kd"."""
    return key.count("/") > 1 and key.split("/")[1] in GRADIENTS and not key.startswith("lambda/")


def in_words(key: str) -> tuple[str, str]:
    """(player, name) as a figure is headed: "lambda/student/kd" is the "λ of kd" of "student"."""
    if is_gradient(key):
        player, kind, terms = key.split("/", 2)
        return player, f"{kind} of {terms.replace(',', ', ')}"
    player, name = player_and_name(key)
    return (player.removeprefix("lambda/"), f"λ of {name}") if player.startswith("lambda/") else (player, name)


def varies(curves: Mapping[str, Curve]) -> bool:
    """Whether any arm's mean changes over the steps: a λ that stands still needs no curve."""
    return any(len(set(curve.mean[np.isfinite(curve.mean)].tolist())) > 1 for curve in curves.values())


def looked_at(
    metrics: Iterable[Mapping[str, Any]], stage: str, measured: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[Logged], list[Logged]]:
    """(what a reader looks at first, the further measures), player by player; each by its split and key.

    First come a player's first two measures on the validation split, by which arms are compared, and its objective.

    Args:
        metrics: the lines of metrics.jsonl.
        stage: its name.
        measured: player -> names of its measures in order; by default as they were logged.
    """
    lines = list(metrics)
    logged = {split: keys(lines, stage, split) for split in ("validation", "train")}
    players = dict.fromkeys(key.rpartition("/")[0] for split in logged for key in logged[split])
    first: list[Logged] = []
    further: list[Logged] = []
    for player in players:
        names = [key for key in logged["validation"] if key.rpartition("/")[0] == player]
        order = [f"{player}/{name}" for name in (measured or {}).get(split_name(player)[0], ())]
        names.sort(key=lambda key, order=order: order.index(key) if key in order else len(order))  # type: ignore[misc]
        first += [("validation", key) for key in names[:2]]
        further += [("validation", key) for key in names[2:]]
        if f"{player}/{OBJECTIVE}" in logged["train"]:
            first.append(("train", f"{player}/{OBJECTIVE}"))
    return first, further
