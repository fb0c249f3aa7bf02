"""The final numbers of a run over its seeds, of the test and the validation split: summary.json and evaluation.npz."""

import datetime
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

import kdgan
from kdgan import files
from kdgan.metrics.intervals import mean_ci
from kdgan.metrics.selection import leaders
from kdgan.run import costs, origins, shown
from kdgan.run.evaluate import DISAGREEMENTS, REFERENCE, Evaluator, measured_players
from kdgan.run.generators import KINDS, SHOWN
from kdgan.run.inputs import Inputs
from kdgan.run.latency import Latencies
from kdgan.run.monitor import read_metrics
from kdgan.run.program import BEST, Program, Variables, digest, player_of, program_of
from kdgan.run.schema import Arm, Run, Stage

Metrics = dict[str, float]
Measured = tuple[dict[str, Metrics], dict[str, np.ndarray]]  # ({entry: metrics}, {entry: predicted classes})
Logits = list[jax.Array]  # [b, k] of each evaluation batch
Programs = Mapping[str, Sequence[Program]]
# stage -> arm -> seed -> entry -> variables
Finished = dict[str, dict[str, dict[int, dict[str, Variables]]]]


class Training(NamedTuple):
    """What training a stage took.

    Attributes:
      seconds: from its start to its end: of all members together, evaluations and checkpoints included.
      flops: arm -> floating-point operations of one member.
      seconds_each: arm -> seconds of one member's steps, its share of their compilation included.
      phases: data, step, evaluate, save -> seconds, of all members together.
      memory: bytes a device was estimated to need, and the most it had in use so far (None where it does not say).
    """

    seconds: float
    flops: Mapping[str, float | None]
    seconds_each: Mapping[str, float]
    phases: Mapping[str, float]
    memory: Mapping[str, int | None]


def summarise(
    run: Run,
    inputs: Inputs,
    programs: Programs,
    finished: Finished,
    training: Mapping[str, Training],
    config: Mapping[str, Any],
    evaluator: Evaluator,
    workdir: pathlib.Path,
    *,
    again: bool = False,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(summary, arrays for the report) of a finished run; every number of the last step.

    Args:
      run: all of it.
      inputs: its data.
      programs: of each stage.
      finished: what each stage left.
      training: what each stage took.
      config: as it was given.
      evaluator: that measures.
      workdir: whose metrics.jsonl has what was measured while training.
      again: measure the validation split again, where it would be taken from there.
    """
    arrays: dict[str, np.ndarray] = {}
    results: dict[str, Any] = {}
    latencies = Latencies()
    known: dict[str, Metrics] = {}
    lines = read_metrics(workdir)
    watched = [line for line in lines if line.get("split") == "test"]
    validated = [] if again else [line for line in lines if line.get("split") == "validation"]
    for stage in run.stages:
        members: dict[str, list[Measured]] = {arm.name: [] for arm in stage.arms}
        for seed in run.seeds:
            taught: dict[str, Logits] = {}
            for arm in stage.arms:
                found = _measure(run, programs, stage, arm, seed, finished, evaluator, known, taught)
                members[arm.name].append(found)
        arms = {}
        for arm in stage.arms:
            program = program_of(programs[stage.name], arm.name)
            values: dict[str, list[Metrics]] = {}
            classes: dict[str, list[np.ndarray]] = {}
            for measured, predicted in members[arm.name]:
                for entry, metrics in measured.items():
                    values.setdefault(entry, []).append(metrics)
                for entry, labels in predicted.items():
                    classes.setdefault(entry, []).append(labels)
            for entry, per_seed in classes.items():
                arrays[f"prediction/{stage.name}/{arm.name}/{entry}"] = np.stack(per_seed).astype(np.int32)
            arms[arm.name] = {
                "players": {
                    entry: _over_seeds(per_seed[:1] if entry in program.shared else per_seed)
                    for entry, per_seed in values.items()
                },
                "origins": origins.of_arm(program, arm.name),
                "validation": _on_validation(run, programs, stage.name, arm.name, finished, evaluator, validated),
                "best_on_test": _best_on_test(watched, stage.name, arm.name),
                "train_flops": training[stage.name].flops.get(arm.name),
                "train_seconds": training[stage.name].seconds_each.get(arm.name),
            }
            arrays |= _pictures(run, programs, stage.name, arm.name, finished, evaluator, workdir)
        took = training[stage.name].seconds
        steps = len(run.seeds) * sum(arm.steps for arm in stage.arms)
        results[stage.name] = {
            "arms": arms,
            "steps": stage.steps,
            "seconds": took,
            "phases": dict(training[stage.name].phases),
            "memory": dict(training[stage.name].memory),
            "steps_per_second": steps / took if took else None,
            "cost": _cost(run, programs[stage.name], finished[stage.name], latencies),
        }
    partition = next(iter(inputs.partitions.values()))
    summary = {
        "config": config,
        "data": {
            "name": inputs.config.name,
            "class_names": list(inputs.train.class_names),
            "sizes": {
                "train": len(partition.train),
                "validation": len(partition.validation),
                "unlabelled": len(partition.unlabelled),
                "test": len(inputs.test),
            },
        },
        "stages": results,
        # Of a player that differs between stages, the first stage's.
        "cost": {name: cost for stage in reversed(results.values()) for name, cost in stage["cost"].items()},
        "environment": environment(),
    }
    if inputs.has_labels:
        arrays["label"] = evaluator.splits.labels("test")
    arrays |= _disagreements(run, programs, finished, evaluator, arrays, results)
    if evaluator.generators.extractor is not None:
        summary["generation"] = evaluator.generators.about()
        arrays["real"] = evaluator.splits.images("test", np.arange(min(SHOWN, evaluator.splits.size("test"))))
    return summary, arrays


def _over_seeds(per_seed: Sequence[Metrics]) -> dict[str, Any]:
    """Metric -> its mean and interval; of a player that is the same for all seeds one value, which has no interval."""
    return {name: mean_ci([metrics[name] for metrics in per_seed]) for name in per_seed[0]}


def _measure(
    run: Run, programs: Programs, stage: Stage, arm: Arm, seed: int, finished: Finished, evaluator: Evaluator,
    known: dict[str, Metrics], taught: dict[str, Logits],
) -> Measured:  # fmt: skip
    """What is measured of one member.

    Nothing is computed twice: neither what generates (`known` has its metrics), nor a teacher that several of a seed's arms
    have (`taught` has its logits), nor a best step that is the last.
    """
    program, classifiers = program_of(programs[stage.name], arm.name), evaluator.classifiers
    teacher = _teacher(run, programs, stage.name, arm.name, seed, finished)
    reference = None if teacher is None else _logits(evaluator, taught, *teacher)
    computed = dict(taught)
    measured: dict[str, Metrics] = {}
    predicted: dict[str, np.ndarray] = {}
    for entry, variables in finished[stage.name][arm.name][seed].items():
        player = player_of(entry)
        kind = program.kinds.get(player)
        if kind == "classifier":
            logits = _logits(evaluator, computed, program.local_modules[player], variables)
            measured[entry] = classifiers.measure(logits, "test", None if player == REFERENCE else reference)
            predicted[entry] = classifiers.predictions(logits, "test")
        elif kind is not None:
            content = digest(program.local_modules[player], variables)
            if content not in known:
                known[content] = evaluator.measure(program, player, variables, "test")
            measured[entry] = known[content]
    return measured, predicted


def _on_validation(
    run: Run, programs: Programs, stage: str, arm: str, finished: Finished, evaluator: Evaluator,
    validated: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Entry -> metric -> its record on the validation split, of the players that an arm trained and their averages.

    They were measured when the last step was done: what metrics.jsonl has of it is taken, the rest is measured.
    """
    if not evaluator.splits.size("validation"):
        return {}
    program = program_of(programs[stage], arm)
    trained = measured_players(program, trained_only=True)
    told = {line["seed"]: line for line in validated
            if (line["stage"], line["arm"], line["step"]) == (stage, arm, program.steps)}  # fmt: skip
    values: dict[str, list[Metrics]] = {}
    for seed in run.seeds:
        for entry, variables in finished[stage][arm][seed].items():
            player = player_of(entry)
            if player in trained and not entry.endswith(BEST):
                metrics = _told(told.get(seed, {}), entry)
                values.setdefault(entry, []).append(
                    metrics or evaluator.measure(program, player, variables, "validation")
                )
    return {
        entry: {name: mean_ci([metrics[name] for metrics in per_seed]) for name in per_seed[0]}
        for entry, per_seed in values.items()
    }


def _told(line: Mapping[str, Any], entry: str) -> Metrics:
    """An entry's metrics in a line of metrics.jsonl, where null stands for what is no finite number."""
    own = {name.removeprefix(f"{entry}/"): value for name, value in line.items() if name.startswith(f"{entry}/")}
    return {name: float("nan") if value is None else value for name, value in own.items()}


def _best_on_test(watched: Sequence[Mapping[str, Any]], stage: str, arm: str) -> dict[str, Any]:
    """Player -> the highest test accuracy of any evaluation of the stage: what the test split itself selects."""
    found: dict[str, dict[int, float]] = {}
    for line in watched:
        if (line["stage"], line["arm"]) != (stage, arm):
            continue
        for name, value in line.items():
            player, _, metric = name.partition("/")
            if metric == "accuracy":
                of_seeds = found.setdefault(player, {})
                of_seeds[line["seed"]] = max(value, of_seeds.get(line["seed"], value))
    return {player: mean_ci([of_seeds[seed] for seed in sorted(of_seeds)]) for player, of_seeds in found.items()}


def _pictures(
    run: Run, programs: Programs, stage: str, arm: str, finished: Finished, evaluator: Evaluator, workdir: pathlib.Path
) -> dict[str, np.ndarray]:
    """What the first seed's generators make: samples, interpolations, neighbours, and the samples of while it trained."""
    program, found = program_of(programs[stage], arm), {}
    for entry, variables in finished[stage][arm][run.seed].items():
        player = player_of(entry)
        if program.kinds.get(player) in KINDS:
            for name, images in evaluator.generators.pictures(program, player, variables).items():
                found[f"{name}/{stage}/{arm}/{entry}"] = images
            steps, images = shown.read(workdir, stage, arm, entry)
            if steps:
                found[f"progress/{stage}/{arm}/{entry}"] = images
                found[f"progress_step/{stage}/{arm}/{entry}"] = np.array(steps)
    return found


def _teacher(
    run: Run, programs: Programs, stage: str, arm: str, seed: int, finished: Finished
) -> tuple[nn.Module, Variables] | None:
    """(module, variables) of an arm's teacher: its own, or the one it would start from, though its method never asks."""
    program = program_of(programs[stage], arm)
    own = finished[stage][arm][seed].get(REFERENCE)
    if own is not None and program.kinds.get(REFERENCE) == "classifier":
        return program.local_modules[REFERENCE], own
    start = next(a for s in run.stages if s.name == stage for a in s.arms if a.name == arm).start.get(REFERENCE)
    if start is None or start.stage is None:
        return None
    source = program_of(programs[start.stage], start.arm or "")
    player = player_of(start.player or REFERENCE)
    variables = finished[start.stage][start.arm or "main"][seed].get(start.player or REFERENCE)
    if variables is None or source.kinds.get(player) != "classifier":
        return None
    return source.local_modules[player], variables


def _logits(evaluator: Evaluator, computed: dict[str, Logits], module: nn.Module, variables: Variables) -> Logits:
    """Test logits of a classifier; `computed` has those of players seen before, and gets what it has not."""
    content = digest(module, variables)
    if content not in computed:
        computed[content] = evaluator.classifiers.logits(module, variables, "test")
    return computed[content]


def _cost(
    run: Run, several: Sequence[Program], finished: Mapping[str, Any], latencies: Latencies
) -> dict[str, dict[str, Any]]:
    """Parameters and their bytes, operations per example, and latencies of every player of a stage."""
    found: dict[str, dict[str, Any]] = {}
    for program in several:
        for name in program.modules:
            if name in found:
                continue
            parameters, operations = costs.player_cost(program, name)
            variables = finished[program.arms[0]][run.seed].get(name)
            found[name] = {"parameters": parameters, "bytes": costs.parameter_bytes(program, name), "flops": operations}
            if run.evaluate.latency and variables is not None:
                found[name] |= latencies.of(program, name, variables)
    return found


def _disagreements(
    run: Run, programs: Programs, finished: Finished, evaluator: Evaluator, arrays: Mapping[str, np.ndarray],
    results: Mapping[str, Any],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Test images that a student of the last stage and its teacher see differently."""
    stage = run.stages[-1].name
    chosen = _shown_student(run, programs[stage], results[stage]["arms"])
    if chosen is None:
        return {}
    arm, seed, how = chosen
    taught = _teacher(run, programs, stage, arm, seed, finished)
    if taught is None:
        return {}
    student = arrays[f"prediction/{stage}/{arm}/student"][run.seeds.index(seed)]
    teacher = evaluator.classifiers.predictions(evaluator.classifiers.logits(*taught, "test"), "test")
    index = np.flatnonzero(student != teacher)[:DISAGREEMENTS]
    if not len(index):
        return {}
    return {
        "disagreement/image": evaluator.splits.images("test", index),
        "disagreement/index": index,
        "disagreement/student": student[index],
        "disagreement/teacher": teacher[index],
        "disagreement/about": np.array(f"{stage}/{arm}/{seed}"),
        "disagreement/chosen": np.array(how),
    }


def _shown_student(run: Run, several: Sequence[Program], arms: Mapping[str, Any]) -> tuple[str, int, str] | None:
    """(arm, seed, how they were chosen) of the student that a report shows.

    The arm is the one that the report singles out, the seed the best of it on the validation split. Without such a split
    the arm is the best on the test split, which is said, and the seed the first.
    """
    students = {
        arm: record
        for arm, record in arms.items()
        if "student" in record["players"] and program_of(several, arm).kinds.get("student") == "classifier"
    }
    validated = {arm: of["accuracy"] for arm, record in students.items() if (of := record["validation"].get("student"))}
    best = leaders({arm: of["mean"] for arm, of in validated.items()}, higher_is_better=True)
    if best:
        by_seed = dict(zip(run.seeds, validated[best[0]]["values"], strict=True))
        seed = next(iter(leaders(by_seed, higher_is_better=True)), run.seed)
        return best[0], seed, f"{'arm and ' if len(students) > 1 else ''}seed chosen on validation"
    on_test = {arm: record["players"]["student"]["accuracy"]["mean"] for arm, record in students.items()}
    best = leaders(on_test, higher_is_better=True)
    if not best:
        return None
    how = f"arm highest on the test split, of {len(students)} arms" if len(students) > 1 else ""
    return best[0], run.seed, how


def environment() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": f"{jax.device_count()} × {device.device_kind} ({device.platform})",
        "processes": jax.process_count(),
        "date": datetime.date.today().isoformat(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "kdgan": kdgan.__version__,
    }


def write(workdir: pathlib.Path, summary: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """summary.json and evaluation.npz, each whole or not at all."""
    files.write_arrays(workdir / "evaluation.npz", arrays, compressed=True)
    files.write_json(workdir / "summary.json", summary)
