"""The final numbers of a run over its seeds, of the test and the validation split: summary.json and evaluation.npz."""

import datetime
import math
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import kdgan
from kdgan import files
from kdgan.metrics.intervals import mean_ci
from kdgan.run import costs, figures, measures, origins, remarks
from kdgan.run.evaluate import Evaluation, OnData, Outputs, Result, measured_players
from kdgan.run.figures import TEACHER, Figures
from kdgan.run.inputs import Inputs
from kdgan.run.latency import Latencies
from kdgan.run.monitor import read_metrics
from kdgan.run.program import BEST, Program, Variables, digest, player_of, program_of
from kdgan.run.schema import Arm, Run, Stage

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
    evaluation: Evaluation,
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
      evaluation: that measures.
      workdir: whose metrics.jsonl has what was measured while training.
      again: measure the validation split again, where it would be taken from there.
    """
    arrays: dict[str, np.ndarray] = {}
    results: dict[str, Any] = {}
    pictures, latencies, members = Figures(), Latencies(), _Members(run, programs, finished, evaluation)
    lines = read_metrics(workdir)
    watched = [line for line in lines if line.get("split") == "test"]
    validated = [] if again else [line for line in lines if line.get("split") == "validation"]
    of_arms: dict[str, list[dict[str, Result]]] = {}
    for stage in run.stages:
        of_arms = members.of_stage(stage)
        arms = {}
        for arm in stage.arms:
            program = program_of(programs[stage.name], arm.name)
            validation = _on_validation(run, programs, stage.name, arm.name, finished, evaluation, validated)
            spent = training[stage.name]
            arms[arm.name] = {
                "players": {
                    entry: _over_seeds(
                        [of_seed[entry].numbers for of_seed in _seeds(of_arms[arm.name], program, entry)]
                    )
                    for entry in of_arms[arm.name][0]
                },
                "elements": _elements(of_arms[arm.name], program),
                "measured": measures.of_program(program),
                "origins": origins.of_arm(program, arm.name),
                "settings": program.settings[arm.name],
                "validation": validation,
                "best_on_test": _best_on_test(watched, program, stage.name, arm.name),
                "train_flops": spent.flops.get(arm.name),
                "train_seconds": spent.seconds_each.get(arm.name),
            }
            for entry in of_arms[arm.name][0]:
                for name in of_arms[arm.name][0][entry].kept:
                    kept = np.stack([of_seed[entry].kept[name] for of_seed in of_arms[arm.name]])
                    kept = kept.astype(np.int32) if np.issubdtype(kept.dtype, np.integer) else kept
                    arrays[f"{name}/{stage.name}/{arm.name}/{entry}"] = kept
            first = finished[stage.name][arm.name][run.seed]
            measured = of_arms[arm.name]
            figures.of_arm(pictures, program, stage.name, arm.name, first, measured, evaluation, workdir)
        cost, other_costs = _cost(run, programs[stage.name], finished[stage.name], latencies)
        for arm_name, of_arm in other_costs.items():
            arms[arm_name]["cost"] = of_arm
        took, steps = training[stage.name].seconds, len(run.seeds) * sum(arm.steps for arm in stage.arms)
        results[stage.name] = {
            "arms": arms,
            "steps": stage.steps,
            "seconds": took,
            "phases": dict(training[stage.name].phases),
            "memory": dict(training[stage.name].memory),
            "steps_per_second": steps / took if took else None,
            "cost": cost,
            **({"data": _data(inputs.stages[stage.name])} if stage.name in inputs.stages else {}),
        }
        if "label" in inputs.of(stage.name).test.fields:
            label = "label" if stage is run.stages[-1] else f"label/{stage.name}"
            arrays[label] = evaluation.on_data_of(stage.name).splits.labels("test")
    last = run.stages[-1].name
    figures.of_chosen(
        pictures, run, programs[last], results[last]["arms"], of_arms, finished[last], evaluation, members.teachers
    )
    summary = {
        "config": config,
        "data": _data(inputs),
        "measures": measures.records(programs, evaluation),
        "notes": measures.notes(programs, evaluation),
        "evaluators": measures.about(programs, evaluation),
        "stages": results,
        "remarks": remarks.of_run(run, programs, results, lines),
        "figures": pictures.records,
        # Of a player that differs between stages, the first stage's.
        "cost": {name: cost for stage in reversed(results.values()) for name, cost in stage["cost"].items()},
        "environment": environment(),
    }
    return summary, arrays | pictures.arrays


def _data(inputs: Inputs) -> dict[str, Any]:
    """Name, classes and sizes of data."""
    partition = next(iter(inputs.partitions.values()))
    return {
        "name": inputs.config.name,
        "class_names": list(inputs.class_names),
        "sizes": {
            "train": len(partition.train),
            "validation": len(partition.validation),
            "unlabelled": len(partition.unlabelled),
            "test": len(inputs.test),
        },
    }


def _seeds(of_seeds: Sequence[Any], program: Program, entry: str) -> Sequence[Any]:
    """One of a player that is the same for all seeds: its numbers have no interval."""
    return of_seeds[:1] if entry in program.shared else of_seeds


def _over_seeds(per_seed: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Measure -> its mean and interval over seeds; of a seed that has none NaN."""
    names = dict.fromkeys(name for numbers in per_seed for name in numbers)
    return {name: mean_ci([numbers.get(name, math.nan) for numbers in per_seed]) for name in names}


def _elements(of_seeds: Sequence[Mapping[str, Result]], program: Program) -> dict[str, Any]:
    """Entry -> measure -> mean and interval of each of its elements: of the accuracy of every class."""
    found: dict[str, Any] = {}
    for entry, first in of_seeds[0].items():
        results = [of_seed[entry] for of_seed in _seeds(of_seeds, program, entry)]
        for name in first.vectors:
            rows = np.stack([result.vectors[name] for result in results])
            found.setdefault(entry, {})[name] = [mean_ci(list(map(float, column))) for column in rows.T]
    return found


class _Members:
    """What is measured of every member on the test split.

    Nothing is computed twice: neither an entry that several arms have, nor the output of a teacher that several of a seed's
    arms are compared with, nor a best step that is the last.

    Attributes:
      teachers: (arm, seed) -> what was measured of the teacher that an arm of the last stage has, or would start from.
    """

    def __init__(self, run: Run, programs: Programs, finished: Finished, evaluation: Evaluation):
        self._run, self._programs, self._finished, self._evaluation = run, programs, finished, evaluation
        self._known: dict[Any, Result] = {}
        self.teachers: dict[tuple[str, int], Result] = {}

    def of_stage(self, stage: Stage) -> dict[str, list[dict[str, Result]]]:
        """Arm -> of each seed entry -> what was measured."""
        members: dict[str, list[dict[str, Result]]] = {arm.name: [] for arm in stage.arms}
        for seed in self._run.seeds:
            outputs: dict[str, Outputs] = {}  # digest -> those of players that others are compared with
            for arm in stage.arms:
                members[arm.name].append(self._of_arm(stage, arm, seed, outputs))
        return members

    def _of_arm(self, stage: Stage, arm: Arm, seed: int, outputs: dict[str, Outputs]) -> dict[str, Result]:
        program, on = program_of(self._programs[stage.name], arm.name), self._evaluation.on_data_of(stage.name)
        wanted = {name for several in program.evaluators.values() for one in several for name in one.others}
        others = {name: other for name in sorted(wanted) if (other := self._other(stage, arm, seed, name)) is not None}
        results = {}
        of_arm = self._finished[stage.name][arm.name][seed]
        for entry, variables in of_arm.items():
            player = player_of(entry)
            if player in program.evaluators:
                asked = {name for evaluator in program.evaluators[player] for name in evaluator.others} - {player}
                given = {name: other for name, other in others.items() if name in asked}
                results[entry] = self._measure(program, player, variables, given, outputs, on, of_arm)
        if TEACHER in others and stage is self._run.stages[-1]:
            source, player, variables = others[TEACHER]
            self.teachers[arm.name, seed] = self._measure(source, player, variables, {}, outputs, on, of_arm)
        return results

    def _measure(
        self, program: Program, player: str, variables: Variables, others: Mapping[str, tuple[Program, str, Variables]],
        outputs: dict[str, Outputs], on: OnData, of_arm: Mapping[str, Variables],
    ) -> Result:  # fmt: skip
        digests = {name: _digest(*other) for name, other in others.items()}
        evaluators = program.evaluators[player]
        called = {name for evaluator in evaluators for name in evaluator.calls}
        there = called <= of_arm.keys()  # a teacher of an earlier stage may have been judged by a player of that stage
        asked = digests | {f"{name} (called)": _digest(program, name, of_arm[name]) for name in called if there}
        key = _digest(program, player, variables), evaluators, tuple(sorted(asked.items())), id(on.inputs)
        if key not in self._known:
            for name, other in others.items():
                if digests[name] not in outputs:
                    outputs[digests[name]] = self._evaluation.outputs(*other, "test", on=on)
            given = {name: outputs[content] for name, content in digests.items()}
            self._known[key] = self._evaluation.measure(
                program, player, variables, "test", given, keep=True, on=on, arm=of_arm.__getitem__ if there else None
            )
        return self._known[key]

    def _other(self, stage: Stage, arm: Arm, seed: int, name: str) -> tuple[Program, str, Variables] | None:
        """(program, player, variables) of another player of an arm; None where there is none that is judged.

        It is the arm's own, or the one that it would start from, though its method never asks.
        """
        program = program_of(self._programs[stage.name], arm.name)
        variables = self._finished[stage.name][arm.name][seed].get(name)
        if variables is not None:
            return (program, name, variables) if name in program.evaluators else None
        start = arm.start.get(name)
        if start is None:
            return None
        if start.stage is None:
            return self._from_checkpoint(stage, seed, name, start)
        source, player = program_of(self._programs[start.stage], start.arm or ""), player_of(start.player or name)
        if self._evaluation.on(source).inputs is not self._evaluation.on(program).inputs:
            return None  # it speaks of other data
        variables = self._finished[start.stage][start.arm or source.arms[0]][seed].get(start.player or name)
        return None if variables is None or player not in source.evaluators else (source, player, variables)

    def _from_checkpoint(self, stage: Stage, seed: int, name: str, start: Any) -> tuple[Program, str, Variables] | None:
        """The same of a checkpoint, which another arm of the stage has read."""
        for program in self._programs[stage.name]:
            for arm in program.arms:
                same = program.start[arm].get(name) == start and name in program.evaluators
                if same and name in program.sources.get(arm, {}) and name not in program.method.trained:
                    return program, name, self._finished[stage.name][arm][seed][name]
        return None


def _digest(program: Program, player: str, variables: Variables) -> str:
    return digest(program.local_modules[player], variables)


def _on_validation(
    run: Run, programs: Programs, stage: str, arm: str, finished: Finished, evaluation: Evaluation,
    validated: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Entry -> measure -> its record on the validation split, of the players that an arm trained and their averages.

    They were measured when the last step was done: what metrics.jsonl has of it is taken, the rest is measured.
    """
    if not evaluation.on_data_of(stage).splits.size("validation"):
        return {}
    program = program_of(programs[stage], arm)
    trained = measured_players(program, trained_only=True)
    told = {line["seed"]: line for line in validated
            if (line["stage"], line["arm"], line["step"]) == (stage, arm, program.steps)}  # fmt: skip
    values: dict[str, list[Mapping[str, float]]] = {}
    for seed in run.seeds:
        for entry, variables in finished[stage][arm][seed].items():
            player = player_of(entry)
            if player in trained and not entry.endswith(BEST):
                numbers = _told(told.get(seed, {}), entry)
                of_arm = finished[stage][arm][seed].__getitem__
                numbers = numbers or evaluation.measure(program, player, variables, "validation", arm=of_arm).numbers
                values.setdefault(entry, []).append(numbers)
    return {entry: _over_seeds(per_seed) for entry, per_seed in values.items()}


def _told(line: Mapping[str, Any], entry: str) -> dict[str, float]:
    """An entry's numbers in a line of metrics.jsonl, where null stands for what is no finite number."""
    prefix = f"{entry}/"
    numbers = {name.removeprefix(prefix): value for name, value in line.items() if name.startswith(prefix)}
    return {name: float("nan") if value is None else value for name, value in numbers.items()}


def _best_on_test(watched: Sequence[Mapping[str, Any]], program: Program, stage: str, arm: str) -> dict[str, Any]:
    """Player -> the best number on the test split of any evaluation of the stage: what the test split itself selects."""
    best: dict[str, dict[int, float]] = {}
    for line in watched:
        if (line["stage"], line["arm"]) != (stage, arm):
            continue
        for player in program.evaluators:
            first = program.measures(player)[0]
            value = line.get(f"{player}/{first.name}")
            if value is not None:
                of_seeds, choose = best.setdefault(player, {}), max if first.higher_is_better else min
                of_seeds[line["seed"]] = choose(value, of_seeds.get(line["seed"], value))
    return {player: mean_ci([of_seeds[seed] for seed in sorted(of_seeds)]) for player, of_seeds in best.items()}


def _cost(
    run: Run, several: Sequence[Program], finished: Mapping[str, Any], latencies: Latencies
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Parameters and their bytes, and operations per example, of every player of a stage; latencies of those measured.

    Returns:
      (player -> its cost in the first arm that has it, arm -> player -> its cost where it is another network there).
    """
    costs_of: dict[str, Any] = {}
    other: dict[str, dict[str, Any]] = {}
    networks: dict[str, Any] = {}
    for program in several:
        for name, module in program.local_modules.items():
            if networks.setdefault(name, module) == module and name in costs_of:
                continue
            parameters, operations = costs.player_cost(program, name)
            variables = finished[program.arms[0]][run.seed].get(name)
            cost = {"parameters": parameters, "bytes": costs.parameter_bytes(program, name), "flops": operations}
            if pixels := costs.output_pixels(program, name):
                cost["pixels"] = pixels
            # What learns or remembers beside others, as a memory of parameters does, need not be called with examples.
            if run.evaluate.latency and variables is not None and name in program.evaluators:
                cost |= latencies.of(program, name, variables)
            if name not in costs_of:
                costs_of[name] = cost
            else:
                for arm in program.arms:
                    other.setdefault(arm, {})[name] = cost
    return costs_of, other


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
