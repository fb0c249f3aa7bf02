"""What the search for the hyper-parameters of KDGAN's table found, and the choice by it: `results/kdgan_search.json`.

Not a config. After `--config=configs/kdgan_mnist.py:n=100,part=search,rows=kd+mimic --workdir=runs/search`,

    python -m configs.kdgan_search mnist 100 runs/search

records every trial with the accuracy and negative log-likelihood of its last step, by both judges.
"""

import json
import math
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs.kdgan_rows import ROWS, TRIALS, trials

FILE = pathlib.Path(__file__).parent.parent / "results" / "kdgan_search.json"
JUDGES = ("extra", "fifth")  # 1,000 images more; a fifth of the n labels


def chosen(dataset: str, n: int, judge: str = "extra") -> dict[str, dict[str, Any]]:
    """Row -> its hyper-parameters: those of the best recorded trial.

    Where n was not searched, of the nearest n that was; where the row was not (`unsearched`), its first trial.

    Raises:
      FileNotFoundError: there is no `results/kdgan_search.json` beside configs/: the table would be another one.
    """
    recorded = _recorded(dataset, n)
    return {row: best(recorded[row], judge) if row in recorded else trials(row)[0] for row in ROWS}


def unsearched(dataset: str, n: int, rows: Iterable[str]) -> list[str]:
    """Of some rows, those without a recorded trial at the nearest n that was searched."""
    recorded = _recorded(dataset, n)
    return [row for row in rows if row not in recorded]


def _recorded(dataset: str, n: int) -> dict[str, list[dict[str, Any]]]:
    """Row -> its recorded trials on a data set, at the nearest n that was searched."""
    sizes = read().get(dataset, {})
    return min(sizes.items(), key=lambda found: abs(math.log(int(found[0]) / n)), default=("", {}))[1]


def best(judged: Sequence[Mapping[str, Any]], judge: str) -> dict[str, Any]:
    """The hyper-parameters of the trial of highest accuracy by a judge; of equal ones, of the lowest NLL."""
    trial = max(judged, key=lambda trial: (trial[judge][0], -trial[judge][1]))
    return {name: value for name, value in trial.items() if name not in JUDGES}


def judged(workdir: str | pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """Row -> its trials, each with (accuracy, NLL) by each judge, from the finished search of a workdir."""
    folder = pathlib.Path(workdir)
    summary = json.loads((folder / "summary.json").read_text())
    last = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        if line["split"] == "validation":
            last[line["stage"], line["arm"]] = line
    found: dict[str, list[dict[str, Any]]] = {}
    for stage, record in summary["stages"].items():
        row = stage.removeprefix("search_")
        if row == stage:
            continue
        player = "teacher" if row == "teacher" else "student"
        found[row] = []
        for number in range(TRIALS):
            fifth = last[stage, f"trial{number}"]
            extra = record["arms"][f"trial{number}"]["players"][player]
            scores = dict(
                extra=[round(extra[name]["mean"], 4) for name in ("accuracy", "nll")],
                fifth=[round(fifth[f"{player}/{name}"], 4) for name in ("accuracy", "nll")],
            )
            found[row].append({**trials(row)[number], **scores})
    return found


def read() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def record(dataset: str, n: int, workdirs: Sequence[str]) -> dict[str, Any]:
    """Add the trials of some workdirs to the file; returns all that it has for this data set and n."""
    everything = read() if FILE.exists() else {}
    rows = everything.setdefault(dataset, {}).setdefault(str(n), {})
    for workdir in workdirs:
        rows |= judged(workdir)
    FILE.write_text(_written(everything))
    return rows


def _written(everything: Mapping[str, Any]) -> str:
    """JSON with a line for each trial."""
    blocks = []
    for dataset, sizes in everything.items():
        inner = []
        for n, rows in sizes.items():
            each = [
                f'   "{row}": [\n' + ",\n".join(f"    {json.dumps(trial)}" for trial in of_row) + "\n   ]"
                for row, of_row in rows.items()
            ]
            inner.append(f'  "{n}": {{\n' + ",\n".join(each) + "\n  }")
        blocks.append(f' "{dataset}": {{\n' + ",\n".join(inner) + "\n }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


if __name__ == "__main__":
    for row, of_row in record(sys.argv[1], int(sys.argv[2]), sys.argv[3:]).items():
        for judge in JUDGES:
            print(f"{row:10} by {judge}: {best(of_row, judge)}")
