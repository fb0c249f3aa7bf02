"""The files of a workdir, as the report reads them. Any may be absent: a run that still goes on has no summary yet."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdgan.run import files


@dataclasses.dataclass(frozen=True)
class Results:
    """What a workdir holds.

    Attributes:
        name: the folder's name.
        summary: summary.json; empty where there is none.
        metrics: the lines of metrics.jsonl, in their order.
        explanation: explanation.txt; empty where there is none.
        evaluation: arrays of evaluation.npz by name; empty where there is none.
    """

    name: str
    summary: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    explanation: str
    evaluation: Mapping[str, np.ndarray]


def read(workdir: str | pathlib.Path) -> Results:
    """What the workdir of a finished or unfinished run holds.

    Raises:
        ValueError: it is no folder, or a file in it is damaged.
    """
    folder = files.folder(workdir)
    if not folder.is_dir():
        raise ValueError(f"workdir {folder} is no folder; the folder of a run is wanted")
    explanation = folder / "explanation.txt"
    return Results(
        name=folder.resolve().name,
        summary=_summary(folder / "summary.json"),
        metrics=_metrics(folder / "metrics.jsonl"),
        explanation=explanation.read_text(encoding="utf-8") if explanation.exists() else "",
        evaluation=_evaluation(folder / "evaluation.npz"),
    )


def _summary(path: pathlib.Path) -> Mapping[str, Any]:
    return files.read_json(path) if path.exists() else {}


def _metrics(path: pathlib.Path) -> tuple[Mapping[str, Any], ...]:
    if not path.exists():
        return ()
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # a run that was killed, or one that is being written now, ends in half a line
        if isinstance(found, dict):
            lines.append(found)
    return tuple(lines)


def _evaluation(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
