"""The search for the quickstart's hyper-parameters: on validation accuracy, of seeds that its table does not use.

Not a config of its own: configs/quickstart.py with other stages. First the teacher, whose best trial goes into
quickstart.py, then the students; soft labels and KDGAN have as many trials as training from scratch:

    python -m kdgan.main --config=configs/quickstart_search.py:rows=teacher --workdir=runs/search_teacher
    python -m kdgan.main --config=configs/quickstart_search.py:rows=scratch+kd --workdir=runs/search_students
    python -m kdgan.main --config=configs/quickstart_search.py:rows=kdgan --workdir=runs/search_kdgan
    python -m configs.quickstart_search runs/search_teacher runs/search_students runs/search_kdgan

The last line prints every trial with the mean validation accuracy of its last step, and marks what is chosen: of each row
the trial of highest mean, of equal ones the lowest negative log-likelihood. The test split is not read.
results/quickstart.md has what was found, and how the student's width was chosen (`width=8` is the other one).
"""

import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from configs import kdgan_rows, quickstart
from configs.kdgan_rows import cosine
from kdgan import config as common

SEED, SEEDS = 100, 5
WIDTHS = (4, 8)  # channels of the first convolution
PLAYERS = {"teacher": "teacher"}  # whom a row is judged by; else the student
# row -> hyper-parameter -> the values that a trial draws from
SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "teacher": dict(rate=(5e-4, 1e-3, 2e-3, 4e-3), weight_decay=(0.0, 1e-3)),
    "scratch": dict(rate=(5e-3, 1e-2, 2e-2, 5e-2), weight_decay=(0.0, 1e-3)),
    "kd": dict(rate=(2e-2, 5e-2), temperature=(1.0, 4.0), ce=(0.1, 0.5)),
    "kdgan": dict(
        rate=(2e-2, 5e-2), temperature=(1.0, 4.0), ce=(0.1, 0.5), alpha=(0.1, 0.3, 0.5, 0.7), beta=(0.3, 1.0, 3.0),
        gamma=(1e-3, 1e-2), teacher_rate=(1e-4, 5e-4), judge_rate=(1e-4, 5e-4),
    ),
}  # fmt: skip
Chosen = Mapping[str, Any]


def _supervised(player: str) -> Callable[[Chosen], dict]:
    return lambda chosen: dict(
        method=dict(name="supervised", player=player),
        lambdas={player: dict(ce=1.0)},
        optimizers={player: cosine(chosen["rate"], weight_decay=chosen["weight_decay"])},
    )


def _kd(chosen: Chosen) -> dict:
    return dict(
        method=dict(name="kd", temperature=chosen["temperature"], unlabelled=True),
        lambdas=dict(student=dict(ce=chosen["ce"], kd=round(1 - chosen["ce"], 3))),
        optimizers=dict(student=cosine(chosen["rate"])),
        start=dict(teacher="teacher"),
    )


def _kdgan(chosen: Chosen) -> dict:
    alpha = chosen["alpha"]
    return dict(
        start=dict(teacher="teacher", discriminator=dict(stage="teacher", player="teacher")),
        method=dict(name="kdgan", distillation="kl", temperature=chosen["temperature"], unlabelled=True),
        optimizers=dict(
            student=cosine(chosen["rate"]),
            teacher=cosine(chosen["teacher_rate"]),
            discriminator=cosine(chosen["judge_rate"]),
        ),
        lambdas=dict(
            discriminator=dict(real=1.0, student=alpha, teacher=round(1 - alpha, 3)),
            teacher=dict(ce=1.0, kd=chosen["gamma"], adv=round(1 - alpha, 3)),
            student=dict(ce=chosen["ce"], kd=chosen["beta"], adv=alpha),
        ),
    )


ARMS: Mapping[str, Callable[[Chosen], dict]] = {
    "teacher": _supervised("teacher"), "scratch": _supervised("student"), "kd": _kd, "kdgan": _kdgan,
}  # fmt: skip


def trials(row: str) -> list[Chosen]:
    """The hyper-parameters of a row's trials, always the same; `kdgan_rows.draws` says how they are drawn."""
    return kdgan_rows.draws(row, SPACES[row])


def get_config(arguments=""):
    given = common.arguments(arguments, width=WIDTHS, rows="scratch+kd")
    rows = kdgan_rows.named(given["rows"], SPACES)
    config = quickstart.get_config()
    config.seed, config.population.seeds = SEED, SEEDS
    config.data.test = "train"  # the test split is not read
    config.evaluate.latency = False
    config.evaluate.every = config.stage.steps = 500
    width = given["width"]
    config.players.student.model_args = dict(features=(width, 2 * width), dense=4 * width)
    # Trials are the arms of one stage, the second: all students of a seed start alike, whatever the row.
    arms = {f"{row}{number}": ARMS[row](chosen) for row in rows for number, chosen in enumerate(trials(row))}
    teacher = {} if rows == ("teacher",) else {"teacher": config.stages.teacher}
    config.stages = common.named(**teacher, search=dict(arms=common.named(**arms)))
    return config


def judged(workdir: str | pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """Row -> its trials, each with its mean validation accuracy, that mean's standard error, and its mean NLL."""
    last: dict[str, dict[int, dict[str, float]]] = {}
    for line in map(json.loads, (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()):
        if line["split"] == "validation" and line["stage"] == "search":
            last.setdefault(line["arm"], {})[line["seed"]] = line
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in SPACES:
        player = PLAYERS.get(row, "student")
        for number, chosen in enumerate(trials(row)):
            if lines := last.get(f"{row}{number}", {}).values():
                accuracy, nll = ([line[f"{player}/{name}"] for line in lines] for name in ("accuracy", "nll"))
                error = np.std(accuracy, ddof=1) / len(accuracy) ** 0.5 if len(accuracy) > 1 else 0.0
                scores = dict(accuracy=np.mean(accuracy), error=error, nll=np.mean(nll))
                rows.setdefault(row, []).append({**chosen, **{name: float(value) for name, value in scores.items()}})
    return rows


def best(of_row: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The trial of highest mean validation accuracy; of equal ones, of the lowest NLL."""
    return max(of_row, key=lambda trial: (round(trial["accuracy"], 6), -trial["nll"]))


def _line(trial: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{name} {value:g}" for name, value in trial.items() if name not in ("accuracy", "error", "nll"))
    return f"{trial['accuracy']:.2%} ± {trial['error']:.2%} (NLL {trial['nll']:.3f}): {chosen}"


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        for row, of_row in judged(folder).items():
            for number, trial in enumerate(of_row):
                mark = "*" if trial is best(of_row) else " "
                print(f"{folder} {row:8} {number} {mark} {_line(trial)}")
