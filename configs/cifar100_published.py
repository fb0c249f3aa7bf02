"""What was published of the pairs of `configs/cifar100_zoo.py`: accuracy on CIFAR-100 in per cent. Not a config.

    python -m configs.cifar100_published resnet32x4-resnet8x4 runs/cifar100_zoo

prints a table of a finished run beside it. Two kinds of numbers stand in publications, and are commonly mixed. `LAST`: of
the last epoch, the mean of five runs. `BEST`: the highest on the test split of any epoch, so that the test split itself
chooses; of one log that its authors ship the best epoch is 0.38 points above the last.
"""

import json
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PAIRS = (
    "resnet32x4-resnet8x4", "resnet56-resnet20", "wrn_40_2-wrn_16_2", "vgg13-vgg8", "resnet32x4-shufflenet_v1",
    "vgg13-mobilenet_v2",
)  # fmt: skip
TEACHER = dict(zip(PAIRS, (79.42, 72.34, 75.61, 74.64, 79.42, 74.64), strict=True))

# Row -> accuracy of the student, by the pairs above; None: none was published.
_LAST: Mapping[str, Sequence[float | None]] = {
    "scratch": (72.50, 69.06, 73.26, 70.36, 70.50, 64.60),
    "kd": (73.33, 70.66, 74.92, 72.98, 74.07, 67.37),
    "hint": (73.50, 69.21, 73.58, 71.02, 73.59, 64.14),
    "attention": (73.44, 70.55, 74.08, 71.43, 71.73, 59.40),
    "fsp": (72.62, 69.95, 72.91, 70.23, None, None),
    "nst": (73.30, 69.60, 73.68, 71.53, 74.12, 58.16),
    "vid": (73.09, 70.38, 74.11, 71.23, 73.38, 65.56),
    "ab": (73.17, 69.47, 72.50, 70.94, 73.55, 66.06),
    "ft": (72.86, 69.84, 73.25, 70.58, 71.75, 61.78),
    "sp": (72.94, 69.67, 73.83, 72.68, 73.48, 66.30),
    "pkt": (73.64, 70.34, 74.54, 72.88, 74.10, 67.13),
    "rkd": (71.90, 69.61, 73.35, 71.48, 72.28, 64.52),
    "cc": (72.97, 69.63, 73.56, 70.71, 71.14, 64.86),
    "crd": (75.51, 71.16, 75.48, 73.94, 75.11, 69.73),
}
_BEST: Mapping[str, Sequence[float | None]] = {
    "kd_standardised": (76.62, 71.43, 76.11, 74.36, None, 68.61),
    "dkd": (76.32, 71.97, 76.23, 74.68, 76.45, 69.71),
    "dist": (76.31, 71.75, 75.51, 73.89, 76.34, 68.50),
    "ctkd": (73.39, 71.19, 75.45, 73.52, None, 68.50),
    "review": (75.63, 71.89, 76.12, 74.85, 77.45, 70.37),
}


def _by_pair(rows: Mapping[str, Sequence[float | None]]) -> dict[str, dict[str, float]]:
    """Pair -> row -> accuracy."""
    return {
        pair: {row: value for row, values in rows.items() if (value := values[place]) is not None}
        for place, pair in enumerate(PAIRS)
    }


LAST, BEST = _by_pair(_LAST), _by_pair(_BEST)

# Whose the numbers of `BEST` are. Those of `LAST` are all of one table.
OF_LAST = "RepDistiller's README (Tian et al. 2020): last epoch, mean of five runs, one teacher for all"
OF_BEST: Mapping[str, str] = {
    "kd_standardised": "Sun et al. 2024, README of their code, a fork of mdistiller",
    "dkd": "mdistiller's README (Zhao et al. 2022); users report 75.8 to 76.2 of the first pair",
    "dist": "Huang et al. 2022, as the README of TTM has it; last or best is not said",
    "ctkd": "Li et al. 2023, as the README of Sun et al. 2024 has it",
    "review": "Chen et al. 2021, as the README of ITRD has it",
}
# Rows whose published number is of another loss than ours.
OTHER_LOSS: Mapping[str, str] = {
    "cc": "RepDistiller's `correlation` multiplies errors of neighbours in a batch; ours is the paper's",
    "ft": "RepDistiller makes attention maps of the factors first; ours is the paper's",
}


def texts(pair: str) -> dict[str, str]:
    """Row -> what a report quotes beside it, "73.33 (last)"."""
    quoted = {row: f"{value:.2f} (last)" for row, value in LAST[pair].items()}
    return quoted | {row: f"{value:.2f} (best on test)" for row, value in BEST[pair].items()}


def table(pair: str, summary: Mapping[str, Any]) -> str:
    """The students of a finished run beside what was published of them, as Markdown.

    Args:
      pair: of `PAIRS`.
      summary: content of the run's summary.json.

    Raises:
      ValueError: a pair that there is not, or a run that has no stage `distill`.
    """
    if pair not in PAIRS:
        raise ValueError(f"{pair!r}: no such pair; accepted are {', '.join(PAIRS)}")
    if "distill" not in summary["stages"]:
        raise ValueError(f"a run with stages {', '.join(summary['stages'])}: one with a stage 'distill' is accepted")
    head = ("method", "last", "best by validation", "best on test", "published, last", "published, best on test")
    lines = [_line(head), "|" + "---|" * len(head)]
    taught = summary["stages"].get("teacher", {}).get("arms", {}).get("main")
    if taught is not None:
        lines.append(_line(("teacher", *_measured(taught, "teacher"), f"{TEACHER[pair]:.2f}", "")))
    arms = summary["stages"]["distill"]["arms"]
    for row, arm in arms.items():
        quoted = (f"{numbers[row]:.2f}" if row in (numbers := of[pair]) else "" for of in (LAST, BEST))
        lines.append(_line((row, *_measured(arm, "student"), *quoted)))
    return "\n".join([*lines, "", *_notes(arms)])


def _measured(arm: Mapping[str, Any], player: str) -> tuple[str, str, str]:
    """A player's accuracy at the last step, of the best by validation, and of the best on test."""
    of_player = lambda name: arm["players"].get(name, {}).get("accuracy")
    best = of_player(f"{player} (best by validation)")
    return _percent(of_player(player)), _percent(best), _percent(arm.get("best_on_test", {}).get(player))


def _percent(number: Mapping[str, Any] | None) -> str:
    """A mean and half of its 95 % interval, "73.33 ± 0.12"; without the latter where there is one seed."""
    if number is None:
        return ""
    interval = "" if number["ci95"] is None else f" ± {100 * number['ci95']:.2f}"
    return f"{100 * number['mean']:.2f}{interval}"


def _notes(rows: Iterable[str]) -> list[str]:
    there = tuple(rows)
    notes = [
        "Ours: mean over seeds ± half of the 95 % interval. Best by validation is there where the run has a validation"
        " split (`:validation=5000`). Best on test stands beside published numbers of that kind and selects nothing.",
        f"Published, last: {OF_LAST}. Published, best on test:",
    ]
    sources = [f"- {row}: {text}" for row, text in OF_BEST.items() if row in there]
    others = [f"- {row}, published of another loss: {text}" for row, text in OTHER_LOSS.items() if row in there]
    return ["\n\n".join(notes), "", *sources, *others]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str]) -> None:
    pair, workdir = arguments
    print(table(pair, json.loads((pathlib.Path(workdir) / "summary.json").read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
