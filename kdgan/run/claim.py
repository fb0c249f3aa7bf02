"""The life of a workdir: which config may go on in it, when it is claimed, what is put aside.

What a workdir protects is its checkpoints. A run claims it when its first step is about to run: `config.json`, the config;
`workdir.json`, the form of the workdir and the fingerprints of what the run is made from; `starts/`, copies of the players
that it starts from. A mistake that is found before, and a run that never saved, leave it free.

Another config may go on where it agrees, for each portion of each stage that has a checkpoint, in everything that the
portion depends on (`run/identity.py`): its own fields, the run's data and seeds, and what the stages that it starts from
depend on. So a run is extended: by seeds, arms, and stages at its end, of which only what is missing is trained
(`run/portions.py`). A portion that does not agree is

- put aside where it diverged, or where it is asked for (`--reset=STAGE`): its checkpoints, lines and samples go to
  `aside/STAGE-N/`, with the config they were made by, and so does everything that started from it;
- else a reason to refuse: trained work is not lost silently.

Data or a checkpoint that changed under the same name are refused too, unless `--accept_changed_inputs` says to go on; the
summary and the report then say so.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan import files, parallel
from kdgan.run import fingerprints, formats, monitor, portions
from kdgan.run.comparison import Comparison
from kdgan.run.config import ConfigError, resolve
from kdgan.run.fingerprints import Fingerprints
from kdgan.run.formats import CHECKPOINTS, FORMAT, RECORD
from kdgan.run.identity import Programs
from kdgan.run.interrupt import DivergedError
from kdgan.run.portions import Portion
from kdgan.run.schema import Run, Stage

CONFIG, PLAYERS, MEASURES, ASIDE = "config.json", formats.PLAYERS, "measures.json", "aside"
OF_ALL = ("summary.json", "evaluation.npz", "report.html", "report.md")


@dataclasses.dataclass(frozen=True)
class Record:
    """What a workdir remembers beside the config; `workdir.json`.

    Attributes:
      config: as it was written, plain; None: no run has claimed the workdir.
      inputs: fingerprints of what the run is made from; None where a version before these claimed it.
      steps: stage -> its steps.
      diverged: where the run diverged last: "stage", "portion", its folder, and "message"; None: it did not.
      accepted: changes of the inputs that were accepted, a line each.
    """

    config: Mapping[str, Any] | None = None
    inputs: Fingerprints | None = None
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    diverged: Mapping[str, str] | None = None
    accepted: tuple[str, ...] = ()


def read(workdir: pathlib.Path) -> Record:
    """The record of a workdir, be it of an earlier form, or of no run yet.

    Raises:
      ConfigError: it is of a later form, or damaged.
    """
    try:
        config = files.read_json(workdir / CONFIG) if (workdir / CONFIG).exists() else None
    except ValueError as error:
        raise ConfigError(f"workdir {workdir}: {error}") from error
    if config is not None and not isinstance(config, Mapping):
        raise ConfigError(f"workdir {workdir}: {workdir / CONFIG} is damaged, it holds no config")
    content = formats.read(workdir)
    if content["format"] == 1 or config is None:
        return Record(config)
    try:
        return Record(
            config,
            fingerprints.from_json(content["inputs"]),
            content["steps"],
            content["diverged"],
            tuple(content["accepted"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"workdir {workdir}: {workdir / RECORD} is damaged") from error


def remembered(workdir: pathlib.Path) -> Run:
    """The run that claimed a workdir; it starts from copies in the workdir where checkpoint folders are gone.

    Raises:
      ConfigError: there is none, or one of another version.
    """
    record = read(workdir)
    if record.config is None:
        raise ConfigError(f"workdir {workdir} holds no run (no {CONFIG}); the folder of a trained run is wanted")
    return fingerprints.redirected(resolve(record.config), workdir, record.inputs)


@dataclasses.dataclass(frozen=True)
class Aside:
    """A portion that gives way to another config."""

    stage: str
    portion: Portion


class Claim:
    """What a config will do in a workdir; nothing is written before `take`.

    Attributes:
      portions: stage -> what it consists of: what is kept, then what is missing.
      aside: portions that will be put aside.
      record: what the workdir will remember.
      explanation: what explanation.txt will say.
      described: file -> its content: players.json (`run/trained.py`), measures.json (`run/measures.py`).
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        run: Run,
        old: Record,
        record: Record,
        portions: Mapping[str, Sequence[Portion]],
        aside: Sequence[Aside],
    ):
        self.portions, self.aside, self.record = portions, aside, record
        self._workdir, self._run, self._old = workdir, run, old
        self._taken = False
        self.explanation = ""
        self.described: Mapping[str, Any] = {}

    def take(self) -> None:
        """Write that the workdir is this run's, and put aside what gives way to it; the second call does nothing."""
        if self._taken or not parallel.is_writer():
            return
        self._taken = True
        for aside in reversed(self.aside):  # what started from a stage goes before it
            _put_aside(self._workdir, aside, self._old)
        if self.record.inputs is not None:
            fingerprints.copy(self._workdir, self.record.inputs)
        _write(self._workdir, self.record)
        files.write_json(self._workdir / CONFIG, self.record.config)
        files.write_atomic(self._workdir / "explanation.txt", self.explanation + "\n")
        for name, content in self.described.items():
            files.write_json(self._workdir / name, content)
        monitor.retain(self._workdir, {stage.name: self.members(stage.name) for stage in self._run.stages})

    def members(self, stage: str) -> frozenset[portions.Member]:
        return frozenset(member for portion in self.portions[stage] for member in portion.members)

    def diverged(self, stage: Stage, portion: Portion, error: DivergedError, saved: bool) -> DivergedError:
        """Remember that a portion diverged, so that another config may take its place; returns the error that says so.

        Args:
          stage: of the portion.
          portion: the portion.
          error: how it diverged.
          saved: whether it has a checkpoint.
        """
        where = portion.folder.relative_to(self._workdir).as_posix()
        if parallel.is_writer():
            about = {"stage": stage.name, "portion": where, "message": error.what}
            _write(self._workdir, dataclasses.replace(self.record, diverged=about))
        kept = f"the last good checkpoint is kept in {portion.folder}" if saved else "it had no checkpoint yet"
        trained = [other.name for other in self._run.stages if other.index < stage.index]
        start = f", from the trained {' and '.join(trained)}," if trained else ""
        return DivergedError(
            error.what,
            f"{error.advice}. The same command with another config of stage {stage.name} trains that stage anew{start} in"
            f" this workdir ({kept})",
        )


def _write(workdir: pathlib.Path, record: Record) -> None:
    assert record.inputs is not None
    files.write_json(
        workdir / RECORD,
        {
            "format": FORMAT,
            "inputs": record.inputs.as_json(),
            "steps": record.steps,
            "diverged": record.diverged,
            "accepted": record.accepted,
        },
    )


def settle(
    workdir: pathlib.Path,
    config: Mapping[str, Any],
    programs: Programs,
    new: Fingerprints,
    old: Record,
    *,
    reset: Sequence[str] = (),
    accept_changed_inputs: bool = False,
) -> Claim:
    """What a config may do in a workdir; nothing is written.

    Args:
      workdir: folder of the run, which need not exist.
      config: plain, as it was written.
      programs: of its stages.
      new: fingerprints of what it is made from.
      old: what the workdir remembers.
      reset: stages that are trained anew, whatever there is of them.
      accept_changed_inputs: go on though data or checkpoints are not what they were.

    Raises:
      ConfigError: the workdir holds what was trained by another config, or from other data or players; the message lists
        what differs, and what can be done.
    """
    run = resolve(config)
    before = _before(workdir, old)
    # Without a run before, whatever lies there is taken as this run's.
    configs = (old.config or config, config)
    compared = Comparison(before or run, run, configs, old.inputs if before else None, new, programs)
    names = list(dict.fromkeys(stage.name for each in (before or run, run) for stage in each.stages))
    if unknown := [name for name in reset if name not in names]:
        raise ConfigError(f"--reset={unknown[0]}: no such stage; stages are {', '.join(names)}")
    kept: dict[str, list[Portion]] = {name: [] for name in names}
    aside: list[Aside] = []
    refused: dict[str, list[str]] = {}
    changed: list[str] = []
    for name in names:
        for portion in portions.stored(workdir / CHECKPOINTS / name, (before or run).seed):
            differing = compared.differences(name, portion)
            gone = {(each.stage, arm, seed) for each in aside for seed, arm in each.portion.members}
            diverged = _is_here(workdir, old, portion) and portion.step < compared.steps(name, portion.arms)
            if name in reset or compared.needs(name, portion) & gone or (differing and diverged):
                aside.append(Aside(name, portion))
            elif differing:
                refused.setdefault(name, []).extend(differing)
            else:
                kept[name].append(portion)
                changed += compared.changed_players(name, portion)
    if refused:
        raise ConfigError(_refusal(workdir, refused))
    going_on = any(kept.values())
    changed = [*compared.changed_data(), *dict.fromkeys(changed)] if going_on else []
    if changed and not accept_changed_inputs:
        raise ConfigError(
            f"workdir {workdir}: what its run is made from has changed since it began; put it back, choose another workdir,"
            " or go on with --accept_changed_inputs, which the report will say:\n  " + "\n  ".join(changed)
        )
    accepted = (*(old.accepted if going_on else ()), *changed)
    record = Record(config, new, {stage.name: stage.steps for stage in run.stages}, None, accepted)
    plan = {
        stage.name: portions.plan(workdir / CHECKPOINTS / stage.name, stage, run.seeds, kept[stage.name])
        for stage in run.stages
    }
    return Claim(workdir, run, old, record, plan, aside)


def _is_here(workdir: pathlib.Path, old: Record, portion: Portion) -> bool:
    """Whether this is the portion in which the run diverged last."""
    return old.diverged is not None and old.diverged["portion"] == portion.folder.relative_to(workdir).as_posix()


def _before(workdir: pathlib.Path, old: Record) -> Run | None:
    """The run that claimed a workdir; None: none did, or it saved nothing."""
    folder = workdir / CHECKPOINTS
    saved = folder.is_dir() and any(path.is_dir() for path in folder.glob("*/[0-9]*"))
    if old.config is None or not saved:
        return None
    try:
        return resolve(old.config)
    except ConfigError as error:
        raise ConfigError(
            f"workdir {workdir} holds a run of another version of kdgan, whose config.json this one does not read"
            f" ({error}); choose another workdir"
        ) from error


def _refusal(workdir: pathlib.Path, refused: Mapping[str, Sequence[str]]) -> str:
    lines = dict.fromkeys(line for differing in refused.values() for line in differing)
    return (
        f"workdir {workdir} holds a run of another config; choose another workdir, undo what follows, or train anew what it"
        f" changes with --reset={','.join(refused)} (what there is of it is put aside):\n  " + "\n  ".join(lines)
    )


def _put_aside(workdir: pathlib.Path, aside: Aside, old: Record) -> None:
    """Move what there is of a portion to `aside/STAGE-N`; what a process that dies here leaves is still one or the other."""
    numbers = (workdir / ASIDE / f"{aside.stage}-{number}" for number in range(1, 10**6))
    target = next(folder for folder in numbers if not folder.exists())
    (target / CHECKPOINTS).mkdir(parents=True)
    if old.config is not None:
        files.write_json(target / CONFIG, old.config)
    members = aside.portion.members
    for name in OF_ALL:  # numbers of a run that is no more
        if (workdir / name).exists():
            os.replace(workdir / name, target / name)
    lines = [
        line for line in monitor.read_metrics(workdir)
        if line.get("stage") == aside.stage and (line.get("seed"), line.get("arm")) in members
    ]  # fmt: skip
    files.write_atomic(target / monitor.METRICS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    for arm in aside.portion.arms:
        samples = workdir / "samples" / aside.stage / arm
        if samples.is_dir():
            (target / "samples").mkdir(exist_ok=True)
            os.replace(samples, target / "samples" / arm)
    # Other portions of the stage may lie inside its folder, and stay.
    for path in sorted(aside.portion.folder.iterdir()):
        if not path.name.startswith("added-"):
            os.replace(path, target / CHECKPOINTS / path.name)
    with contextlib.suppress(OSError):
        aside.portion.folder.rmdir()
