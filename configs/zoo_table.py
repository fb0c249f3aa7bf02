"""The zoo's tables, from finished runs: results/zoo.json, and the same in Markdown for results/zoo.md. Not a config.

    python -m configs.zoo_table mnist runs/zoo_mnist
    python -m configs.zoo_table mnist runs/zoo_a runs/zoo_b      # rows in two workdirs, of the same seeds

Rows of several workdirs are compared by seed: they have to have the same seeds, and of each a teacher of the same test
accuracy. Students of the last step; of each measure the mean with its 95 % interval. Differences to `kd` and to `scratch`
are paired by seed, with intervals that hold for all rows at once, and Holm's p among them.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from configs import zoo_rows
from configs.tables import compared, differences, origin, shown
from kdgan import files
from kdgan.metrics.intervals import mean_ci
from kdgan.report import numbers

FILE = pathlib.Path(__file__).parent.parent / "results" / "zoo.json"
MEASURES = ("accuracy", "nll", "ece", "agreement")
AGAINST, BASELINE = "kd", "scratch"
Rows = dict[str, dict[str, Any]]


def read(workdirs: Sequence[str | pathlib.Path]) -> dict[str, Any]:
    """What results/zoo.json holds of a set: its seeds, teacher and device, and of each row its values, by seed, and cost.

    Raises:
      ValueError: workdirs of other seeds, steps, or teachers; a row in two of them.
    """
    made: dict[str, Any] = {}
    rows: Rows = {}
    for workdir in workdirs:
        summary = files.read_json(pathlib.Path(workdir) / "summary.json")
        stage = summary["stages"]["distill"]
        teachers = [
            arm["players"]["teacher"]["accuracy"]["values"]
            for arm in stage["arms"].values()
            if "teacher" in arm["players"]
        ]
        common = {**origin(summary), "steps": stage["steps"], "teacher": teachers[0]}
        if made and made != common:
            raise ValueError(f"{workdir}: {common}; the workdirs before it have {made}, which is accepted")
        made = common
        if twice := sorted(rows.keys() & stage["arms"].keys()):
            raise ValueError(f"{workdir}: {twice[0]} stands in a workdir before it")
        rows |= {name: _row(arm) for name, arm in stage["arms"].items()}
    return {**made, "rows": rows}


def _row(arm: Mapping[str, Any]) -> dict[str, Any]:
    measured = arm["players"]["student"]
    values = {name: measured[name]["values"] for name in MEASURES if name in measured}
    means = {name: [measured[name]["mean"], measured[name]["ci95"]] for name in values}
    return {**means, "values": values, "operations": arm["train_flops"], "seconds": arm["train_seconds"]}


def markdown(of_set: Mapping[str, Any]) -> str:
    """Two tables: what each row reaches and costs, best accuracy first; and its differences to `kd` and `scratch`."""
    rows = dict(sorted(of_set["rows"].items(), key=lambda item: -item[1]["accuracy"][0]))
    factors = of_set.get("factors") or {}
    lines = [
        "| |" + " λ × |" * bool(factors) + " accuracy, % | NLL | ECE, % | agreement, % | training, GFLOP | seconds |",
        "|:--|" + "--:|" * bool(factors) + "--:|--:|--:|--:|--:|--:|",
    ]
    for row, made in rows.items():
        cells = [
            _mean(made, "accuracy", 100, 2), _mean(made, "nll", 1, 4), _mean(made, "ece", 100, 2),
            _mean(made, "agreement", 100, 2), f"{made['operations'] / 1e9:,.0f}", f"{made['seconds']:.0f}",
        ]  # fmt: skip
        cells = [f"{factors[row]:g}" if row in factors else "", *cells] if factors else cells
        lines.append(f"| {row} | {' | '.join(cells)} |")
    accuracy, nll = (differences(of_set["rows"], measure, AGAINST) for measure in ("accuracy", "nll"))
    gained = differences(of_set["rows"], "accuracy", BASELINE)
    lines += [
        "",
        f"| | accuracy − {AGAINST}, points | Holm's p | NLL − {AGAINST} | Holm's p"
        f" | accuracy − {BASELINE}, points | Holm's p | points over {BASELINE} per TFLOP |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            *([""] * 4 if row == AGAINST else compared(accuracy[row], 100, 2) + compared(nll[row], 1, 4)),
            *([""] * 3 if row == BASELINE else compared(gained[row], 100, 2)),
        ]
        if row != BASELINE:
            points = 100 * gained[row]["mean"] / (rows[row]["operations"] / 1e12)
            cells.append(numbers.with_interval(points, None, 2, signed=True))
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(row: Mapping[str, Any], measure: str, scale: float, digits: int) -> str:
    return shown(row.get(measure, (None, None)), scale, digits)


def main(arguments: Sequence[str]) -> None:
    dataset, *workdirs = arguments
    everything = files.read_json(FILE) if FILE.is_file() else {}
    everything[dataset] = read(workdirs)
    everything[dataset]["factors"] = {
        row: factor for row, factor in zoo_rows.chosen(dataset).items() if row != BASELINE
    }
    files.write_json(FILE, everything)
    of_set = everything[dataset]
    teacher = mean_ci(of_set["teacher"])
    print(f"Teacher {100 * teacher['mean']:.2f} ± {100 * (teacher['ci95'] or 0):.2f} %, seeds {of_set['seeds']}\n")
    print(markdown(of_set), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
