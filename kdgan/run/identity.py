"""What the numbers of a stage's arm follow from, field by field: configs that agree in it may share what was trained.

Everything is compared as a config is resolved, with its defaults merged, so that an equal config written in another way is
equal. Left out is what changes no number that training makes: how members run, workers, paths, what is logged and
reported, and players beside a method. The contents behind paths are compared by `run/fingerprints.py`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kdgan.run.extractors import needed
from kdgan.run.population import intervals
from kdgan.run.program import Program, program_of
from kdgan.run.schema import Run, Stage

ABSENT = "absent"
# Of config.data: how images are read and held, and where they lie; what they are has a fingerprint.
FREE_DATA = ("name", "data_dir", "memory_mb", "workers", "prefetch", "on_bad_image", "augment")
FREE_START = (
    "checkpoint",
    "names",
    "field",
    "any_degradation",
)  # where a player is read; what was read has a fingerprint
OF_TRAINED = ("optimizer", "ema", "sync_batch_norm")  # fields of a player that is trained

Path = tuple[str, ...]
Programs = Mapping[str, Sequence[Program]]


def of_arm(run: Run, stage: Stage, arm: str, programs: Programs) -> dict[str, Any]:
    """What an arm depends on, but for its seeds, and for what the stages that it starts from depend on.

    Args:
      run: the run.
      stage: one of its stages.
      arm: name of an arm of it.
      programs: of every stage of this run, or of one with the same arm: which players it calls, trains and measures.

    Returns:
      Nested mappings: under "arm" its own fields, as a config has them, beside them those of the run.
    """
    program = program_of(programs[stage.name], arm)
    fields = dataclasses.asdict(next(other for other in stage.arms if other.name == arm))
    trained = program.method.trained
    called = [name for name in program.modules if name in fields["players"] and name not in program.beside]
    own = {
        "players": {
            name: {
                f: value
                for f, value in fields["players"][name].items()
                if f != "weights" and (name in trained or f not in OF_TRAINED)
            }
            for name in called
        },
        "start": {
            name: {f: value for f, value in fields["start"][name].items() if f not in FREE_START}
            for name in called
            if name in fields["start"]
        },
        "optimizers": {name: settings for name, settings in fields["optimizers"].items() if name in trained},
        "augment": {name: settings for name, settings in fields["augment"].items() if settings is not None},
        **{name: fields[name] for name in ("method", "lambdas", "steps", "batch_size", "views", "cached")},
    }
    evaluate: dict[str, Any] = {"watch_test": run.evaluate.watch_test}
    if stage.data.validation or run.evaluate.watch_test:  # else nothing is chosen, and nothing told, by an evaluation
        evaluate["every"] = intervals(run, stage)["evaluate"]
    if samples(programs[stage.name]):
        extractor = dataclasses.asdict(run.evaluate.extractor)
        evaluate["validation_samples"] = run.evaluate.validation_samples
        evaluate["extractor"] = {f: value for f, value in extractor.items() if f not in ("checkpoint", "inception")}
    return {
        "arm": own,
        "seed": run.seed,
        "data": _data(run, stage),
        "parallel": {"compute": run.parallel.compute},
        "evaluate": evaluate,
        "order": stage.index,
    }


def _data(run: Run, stage: Stage) -> dict[str, Any]:
    """The fields of a stage's data that numbers follow from; the name where it is not the run's."""
    fields = {f: value for f, value in dataclasses.asdict(stage.data).items() if f not in FREE_DATA}
    return fields if stage.data.name == run.data.name else {**fields, "name": stage.data.name}


def samples(programs: Sequence[Program]) -> bool:
    """Whether a stage's players are measured by features of an extractor, so that it depends on it; not those beside it."""
    return any(needed(program, tuple(n for n in program.evaluators if n not in program.beside)) for program in programs)


def latent(programs: Programs, arms: Callable[[str, str], bool]) -> int:
    """Dimension of the noise that players of some arms (`arms(stage, arm)`) share: the largest that one takes."""
    sizes = [
        program.latent(player)
        for stage, several in programs.items()
        for program in several
        if any(arms(stage, arm) for arm in program.arms)
        for player in program.evaluators
    ]
    return max(sizes, default=0)


def differences(stage: str, arm: str, old: Any, new: Any, configs: tuple[Any, Any]) -> list[str]:
    """Lines `config.field: old value -> new value` for what differs between two identities of an arm.

    Args:
      stage: of the arm.
      arm: its name.
      old: as `of_arm` gives it.
      new: the same of the other config.
      configs: both, plain and as they were written: they say where a field was set.
    """
    return [_line(path, before, after, stage, arm, configs) for path, before, after in _changes(old, new, ())]


def _changes(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    for name in dict.fromkeys([*old, *new]):
        a, b = _plain(old.get(name, ABSENT)), _plain(new.get(name, ABSENT))
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _changes(a, b, (*path, name))
        elif a != b:
            yield (*path, name), a, b


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _line(path: Path, before: Any, after: Any, stage: str, arm: str, configs: tuple[Any, Any]) -> str:
    if path == ("order",):
        return f"config.stages: {stage} is number {before + 1} -> {after + 1}"
    set_at = _set_at(path, stage, arm)
    changed = [place for place in set_at if _at(configs[0], place) != _at(configs[1], place)]
    text = f"config.{'.'.join((changed or set_at)[0])}: {_shown(before)} -> {_shown(after)}"
    if path == ("evaluate", "every") and _at(configs[1], path) is None:
        text += f" (a tenth of the steps of stage {stage}; set it to {before})"
    return text


def _set_at(path: Path, stage: str, arm: str) -> list[Path]:
    """Where in a config a field of an identity may be set, what overrides first."""
    if path[0] != "arm":
        return [path]
    path = path[1:]
    places = [("stages", stage, "arms", arm, *path)] if arm != "main" else []
    places += [("stages", stage, *path)]
    if path[0] == "players":
        places += [path, ("player", *path[2:])]
    if path[0] == "augment":
        places += [("data", *path)]
    return [*places, ("stage", *path)]


def _at(config: Any, path: Path) -> Any:
    """What stands at a path, or the value above it at which the path ends."""
    for name in path:
        if not isinstance(config, Mapping):
            return config
        config = config.get(name, ABSENT)
    return config


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):  # what says something: no field that is left at "nothing"
        return str({name: inside for name, inside in value.items() if inside not in (None, [], (), "", 0, {})})
    return str(value)
