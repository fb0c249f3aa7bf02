"""Rows of the zoo: what each method is set to, which players it needs beside teacher and student, and its λ's. Not a config.

After `--config=configs/zoo.py:part=search --workdir=runs/zoo_search`,

    python -m configs.zoo_rows digits runs/zoo_search

records every trial with its accuracy and negative log-likelihood on the validation split, by which `chosen` decides.
"""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan import config as common
from kdgan import files
from kdgan.methods.published import PUBLISHED

FILE = pathlib.Path(__file__).parent.parent / "results" / "zoo_search.json"
FACTORS = (0.1, 0.3, 1.0, 3.0)  # of a method's λ's beside `ce`, or of an argument (`SCALED`): four trials for each
STAGES = ("stage1", "stage2", "stage3")
# Before the last relu of a stage, of the student's one block and the teacher's two; the teacher's batch norms there.
SUMS = tuple((f"{stage}/block1/sum", f"{stage}/block2/sum") for stage in STAGES)
NORMS = tuple(f"{stage}/block2/bn2" for stage in STAGES)

# Row -> method. Those of features take layers of three stages; one layer is that of the published comparison.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "scratch": dict(name="supervised"),
    "smoothing": dict(name="supervised"),
    "kd": dict(name="kd", temperature=4.0),
    "kd_standardised": dict(name="kd", temperature=2.0, standardised=True),
    "mimic": dict(name="mimic"),
    "dkd": dict(name="dkd", temperature=4.0),
    "dist": dict(name="dist"),
    "mlkd": dict(name="mlkd"),
    "ctkd": dict(name="ctkd", reversal=dict(kind="cosine", start=0.0, end=1.0)),
    "tfkd": dict(name="tfkd"),
    "pskd": dict(name="pskd"),
    "cskd": dict(name="cskd"),
    "byot": dict(name="byot"),
    "mean_teacher": dict(name="mean_teacher"),
    "hint": dict(name="hint", features=("stage2",)),
    "attention": dict(name="attention", features=STAGES),
    "fsp": dict(name="fsp", features=STAGES),
    "kdsvd": dict(name="kdsvd", features=STAGES),
    "nst": dict(name="nst", features=STAGES),
    "vid": dict(name="vid", features=STAGES),
    "ab": dict(name="ab", features=SUMS, weights=(0.25, 0.5, 1.0)),
    "ofd": dict(name="ofd", features=SUMS, norms=NORMS, weights=(0.25, 0.5, 1.0)),
    "review": dict(name="review", features=(*STAGES, "embedding")),
    "ickd": dict(name="ickd", features=("stage3",), adapter=True),
    "srd": dict(name="srd", features=("embedding",)),
    "ft": dict(name="ft", features=("stage3",)),
    "sp": dict(name="sp", features=("stage3",)),
    "pkt": dict(name="pkt", features=("embedding",)),
    "rkd": dict(name="rkd", features=("embedding",)),
    "cc": dict(name="cc", features=("embedding",)),
    "crd": dict(name="crd", negatives=256),
    "contrastive": dict(name="contrastive"),
}

WITHOUT_TEACHER = ("supervised", "tfkd", "pskd", "cskd", "byot", "mean_teacher")

# λ's that no publication has for our terms, or that are of one.
OWN: Mapping[str, Mapping[str, float]] = {
    "scratch": dict(ce=1.0),
    "smoothing": dict(ce=1.0),
    "kd": dict(ce=0.1, kd=0.9),
    "mimic": dict(ce=0.5, mimic=0.5),
    "fsp": dict(ce=1.0, fsp=1.0),  # published to start a student with, without labels; so is `ab`
    "ab": dict(ce=1.0, ab=3 / 1000),
    "kdsvd": dict(ce=1.0, kdsvd=1.0),
    "contrastive": dict(ce=1.0, contrastive=1.0),
}

# Row -> term -> the steps in which its λ rises to its value, where it is published to: there over five epochs.
RISING: Mapping[str, Mapping[str, int]] = {"mean_teacher": {"consistency": 60}}

# Row -> the argument that a trial's factor scales in place of λ's, and what makes it: these rows have one term to weigh.
SCALED: Mapping[str, tuple[str, Callable[[float], Any]]] = {
    "smoothing": ("label_smoothing", lambda factor: 0.1 * factor),
    "pskd": ("alpha", lambda factor: dict(kind="linear", start=0.0, end=min(1.0, 0.8 * factor))),
}

# Row -> players that learn or remember beside the student, or are given to it.
BESIDE: Mapping[str, Mapping[str, Any]] = {
    "ctkd": dict(temperature=dict(model="temperature")),
    "pskd": dict(memory_past=dict(model="past")),
    "byot": dict(adapter_heads=dict(model="block_heads")),
    "mean_teacher": dict(memory_average=dict(model="moving_parameters", model_args=dict(rate=0.97))),
    "hint": dict(adapter=dict(model="regressor", model_args=dict(bias=True, relu=True))),
    "vid": dict(adapter_vid=dict(model="variational")),
    "ab": dict(adapter_ab=dict(model="regressor")),
    "ofd": dict(adapter_ofd=dict(model="regressor")),
    "review": dict(adapter_review=dict(model="review_fusion")),
    "ickd": dict(adapter_ickd=dict(model="regressor")),
    "srd": dict(adapter_srd=dict(model="adapter")),
    "ft": dict(paraphraser=dict(model="paraphraser"), translator=dict(model="translator")),
    "crd": dict(memory_bank=dict(model="memory_bank")),
    "contrastive": dict(adapter=dict(model="adapter")),
}


def method(row: str, factor: float = 1.0) -> dict[str, Any]:
    """The method of a row, with an argument scaled where the row has one that is."""
    scaled = {name: made(factor) for name, made in [SCALED[row]]} if row in SCALED else {}
    return {**METHODS[row], **scaled}


def trials(row: str) -> tuple[float, ...]:
    """The factors that are tried: of `scratch` the one, as it has nothing to scale."""
    return (1.0,) if row == "scratch" else FACTORS


def named(text: str, rows: Sequence[str] = tuple(METHODS)) -> tuple[str, ...]:
    """The rows of `methods=` behind a config's name: "all", or names with + between them.

    Raises:
      ConfigError: a row that there is not.
    """
    return common.several("methods", text, rows)


def beside(rows: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The players of these rows beside teacher and student."""
    return {name: fields for row in rows for name, fields in BESIDE.get(row, {}).items()}


def cached(rows: Sequence[str]) -> tuple[str, ...]:
    """The players whose outputs a stage of these rows keeps: the teacher, where any row calls it."""
    return ("teacher",) if any(METHODS[row]["name"] not in WITHOUT_TEACHER for row in rows) else ()


def arm(row: str, factor: float = 1.0, **starts: str) -> dict[str, Any]:
    """The fields of a row's arm; `starts` are the stages from which frozen players come, of those that it calls."""
    called = (*cached([row]), *(("paraphraser",) if row == "ft" else ()))
    start = {player: stage for player, stage in starts.items() if player in called}
    return dict(method=method(row, factor), lambdas=dict(student=lambdas(row, factor)), start=start)


def lambdas(row: str, factor: float = 1.0) -> dict[str, Any]:
    """The student's λ's of a row, those beside `ce` times a factor, from 0 up where they are to rise first."""
    if row in SCALED:
        factor = 1.0
    name = METHODS[row]["name"]
    published = OWN[row] if row in OWN else PUBLISHED[name]["student"]
    scaled = {term: value if term == "ce" else factor * value for term, value in published.items()}
    rising = {
        term: dict(kind="constant", start=scaled[term], warmup=steps) for term, steps in RISING.get(row, {}).items()
    }
    return {**scaled, **rising}


def chosen(dataset: str) -> dict[str, float]:
    """Row -> the factor of its best recorded trial on a data set: of highest accuracy, of equal ones of lowest NLL."""
    recorded = files.read_json(FILE).get(dataset, {}) if FILE.is_file() else {}
    best = lambda trials: max(trials, key=lambda trial: (trial["accuracy"], -trial["nll"]))["factor"]
    return {row: best(trials) for row, trials in recorded.items()}


def trial_name(row: str, factor: float) -> str:
    return f"{row}_x{factor:g}".replace(".", "p")


def judged(workdir: str | pathlib.Path) -> dict[str, list[dict[str, float]]]:
    """Row -> its trials with accuracy and NLL on the validation split, from the finished search of a workdir."""
    summary = files.read_json(pathlib.Path(workdir) / "summary.json")
    arms = summary["stages"]["distill"]["arms"]
    recorded: dict[str, list[dict[str, float]]] = {}
    for row in METHODS:
        for factor in trials(row):
            arm = arms.get(trial_name(row, factor))
            if arm is not None:
                measures = arm["validation"]["student"]
                trial = {name: measures[name]["mean"] for name in ("accuracy", "nll")}
                recorded.setdefault(row, []).append({"factor": factor, **trial})
    return recorded


def main(arguments: Sequence[str]) -> None:
    dataset, workdir = arguments
    everything = files.read_json(FILE) if FILE.is_file() else {}
    files.write_json(FILE, {**everything, dataset: {**everything.get(dataset, {}), **judged(workdir)}})


if __name__ == "__main__":
    main(sys.argv[1:])
