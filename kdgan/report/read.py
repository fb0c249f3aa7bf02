"""The files of a workdir, as the report reads them. Any may be absent: a run that still goes on has no summary yet."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan import files, older
from kdgan.report.entries import ALONE, arm_records
from kdgan.report.measured import Measured, described
from kdgan.report.numbers import plural


@dataclasses.dataclass(frozen=True)
class Results:
    """What a workdir holds.

    Attributes:
        name: the folder's name.
        summary: summary.json; empty where there is none.
        metrics: the lines of metrics.jsonl, in their order.
        explanation: explanation.txt; empty where there is none.
        evaluation: arrays of evaluation.npz by name; empty where there is none.
        recorded: measures.json, which a run writes before its first step; empty where there is none.
        unfinished: where the run stands, "stage distill at step 20 of 100", or how it diverged; "" where it is finished.
    """

    name: str
    summary: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    explanation: str
    evaluation: Mapping[str, np.ndarray]
    unfinished: str = ""
    recorded: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def measures(self) -> Mapping[str, Measured]:
        """Name -> measure: as measures.json and, of a finished run, the summary describe them; by name where it is older."""
        records = {**(self.recorded.get("measures") or {}), **(self.summary.get("measures") or {})}
        return described(records or older.MEASURES)

    def measured(self, stage: str) -> dict[str, list[str]]:
        """Player -> names of the measures that it has in any arm of a stage, in their order."""
        arms = [(record or {}).get("measured") or {} for record in arm_records(self.summary, stage).values()]
        arms += list(((self.recorded.get("measured") or {}).get(stage) or {}).values())
        players: dict[str, list[str]] = {}
        for arm in arms:
            for player, names in arm.items():
                known = players.setdefault(player, [])
                known += [name for name in names if name not in known]
        return players

    @property
    def notes(self) -> list[str]:
        """What a reader has to know before any number, a sentence each."""
        changed = self.summary.get("changed_inputs") or []
        notes = [f"Unfinished: {self.unfinished}."] if self.unfinished else []
        if self.unfinished and self.summary:
            notes.append("The tables are those of the run before it was extended.")
        if changed:
            notes.append(f"What the run is made from changed while it was under way: {'; '.join(map(str, changed))}.")
        if replaced := self.summary.get("data", {}).get("replaced"):
            notes.append(_of_replaced(replaced))
        return notes + _remarks(self.summary.get("remarks") or [])


def _remarks(remarks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each that is said of a player of a stage, with the arms and seeds of which it is."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for remark in remarks:
        seeds, of = remark["seeds"], remark["of"]
        arm = "" if remark["arm"] in ("", ALONE) else f"arm {remark['arm']}"
        which = f"{plural(len(seeds), 'seed')} of {of}" if len(seeds) < of else f"all {of} seeds" if of > 1 else ""
        place = ", ".join(part for part in (arm, which) if part)
        places.setdefault((remark["stage"], remark["player"], remark["text"]), []).append(place)
    bracketed = {key: f" ({'; '.join(where)})" if any(where) else "" for key, where in places.items()}
    return [f"Stage {key[0]}: {key[1]}{where} {key[2]}." for key, where in bracketed.items()]


def _of_replaced(replaced: Mapping[str, Any]) -> str:
    count, names = replaced["count"], replaced["names"]
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    several = f"{count:,} images" if count > 1 else "1 image"
    splits = ", ".join(f"{split} {replaced[split]:,}" for split in ("train", "test") if replaced.get(split))
    return (
        f"{several} could not be read during the run ({splits}), and others of the same class stood in:"
        f" {', '.join(names)}{more}."
    )


def read(workdir: str | pathlib.Path) -> Results:
    """What the workdir of a finished or unfinished run holds.

    Raises:
        ValueError: it is no folder, or a file in it is damaged.
    """
    folder = files.folder(workdir)
    if not folder.is_dir():
        raise ValueError(f"workdir {folder} is no folder; the folder of a run is wanted")
    explanation = folder / "explanation.txt"
    summary, metrics = _json(folder / "summary.json"), _metrics(folder / "metrics.jsonl")
    arrays = _evaluation(folder / "evaluation.npz")
    unfinished = _unfinished(folder, summary, metrics)
    if summary and "measures" not in summary:
        summary, arrays = older.upgraded(summary, arrays)
    return Results(
        name=folder.resolve().name,
        summary=summary,
        metrics=metrics,
        explanation=explanation.read_text(encoding="utf-8") if explanation.exists() else "",
        evaluation=arrays,
        unfinished=unfinished,
        recorded=_json(folder / "measures.json"),
    )


def _json(path: pathlib.Path) -> Mapping[str, Any]:
    return files.read_json(path) if path.exists() else {}


def _unfinished(folder: pathlib.Path, summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Where a run stands that has no summary yet, or only one of before it was extended."""
    config, record = _json(folder / "config.json"), _json(folder / "workdir.json")
    if not config or summary.get("config") == config:
        return ""
    if diverged := record.get("diverged"):
        return f"it diverged, {diverged['message']}"
    steps = record.get("steps") or dict.fromkeys(config.get("stages") or {})
    place = next(
        ((line["stage"], line.get("step", 0)) for line in reversed(metrics) if line.get("stage") in steps), None
    )
    if place is None:
        return "no step is logged yet"
    stage, total = place[0], steps[place[0]]
    step = max(place[1], _checkpointed(folder / "checkpoints" / stage))
    if total is not None and step >= total:
        later = list(steps)[list(steps).index(stage) + 1 :]
        return f"stage {stage} is trained, {f'stage {later[0]} is next' if later else 'its evaluation is next'}"
    return f"stage {stage} at step {step:,}" + (f" of {total:,}" if total is not None else "")


def _checkpointed(folder: pathlib.Path) -> int:
    """Step of the last checkpoint of the members that a stage trained last."""
    added = sorted(folder.glob("added-[0-9]*"), key=lambda path: int(path.name.removeprefix("added-")))
    steps = [path.name[:8] for path in (added[-1] if added else folder).glob("[0-9]*") if "." not in path.name]
    return max(map(int, steps), default=0)


def _metrics(path: pathlib.Path) -> tuple[Mapping[str, Any], ...]:
    if not path.exists():
        return ()
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue  # a run that was killed, or one that is being written now, ends in half a line
        if isinstance(content, dict):
            lines.append(content)
    return tuple(lines)


def _evaluation(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
