"""The loop of a run, read top to bottom: restore -> (step* -> log -> evaluate -> checkpoint)* -> evaluate -> summary.

A run that is killed at any moment and started again ends bitwise where an uninterrupted one does: a stage's state is in
its checkpoints, its batches and random numbers are functions of (seed, stage, step), and nothing else is state.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import parallel
from kdgan.data import Dataset
from kdgan.run import costs, explain, files, shown, starts, summary
from kdgan.run import inputs as run_inputs
from kdgan.run import stage as stages
from kdgan.run.checkpoint import Checkpoints, load_player
from kdgan.run.config import ConfigError, differences, plain, resolve
from kdgan.run.evaluate import SELECTS, Evaluator, entries_of, measured_players, player_of
from kdgan.run.generators import KINDS
from kdgan.run.inputs import Inputs
from kdgan.run.interrupt import DivergedError, Interrupt, Stopped
from kdgan.run.keep import Best, first_best, outcome, pack, unpack
from kdgan.run.monitor import Monitor
from kdgan.run.phases import Phases
from kdgan.run.population import Population, intervals, memory
from kdgan.run.program import Program, Variables
from kdgan.run.schema import Run, Stage, Start
from kdgan.run.summary import Finished, Training
from kdgan.run.tables import Tables
from kdgan.run.trace import Trace
from kdgan.run.trained import PLAYERS_FILE, describe_players
from kdgan.state import TrainState

# What may change between the first start of a run and its continuation: how it runs, and what it tells of itself.
FREE_FIELDS = ("log", "checkpoint", "profile", "report")
FREE_PARALLEL = ("devices", "members", "seeds_per_chunk", "steps_per_call", "convolutions", "keep_compiled")


@dataclasses.dataclass(frozen=True)
class Context:
    """What every stage of a run is given."""

    run: Run
    inputs: Inputs
    arrays: Mapping[str, Any]
    evaluator: Evaluator
    monitor: Monitor
    interrupt: Interrupt
    workdir: pathlib.Path
    only_evaluate: bool


def train(
    config: Any, workdir: str | pathlib.Path, *, only_evaluate: bool = False, data: Mapping[str, Dataset] | None = None
) -> dict[str, Any]:
    """Train every stage of a config in `workdir`, evaluate, and write all of the run's files; returns the summary.

    Args:
      config: a `ConfigDict` or nested mapping with every field of configs/common.py.
      workdir: folder of the run; made where it is absent, gone on with where it holds a part of this run.
      only_evaluate: measure what is trained; nothing is trained further.
      data: {"train": ..., "test": ...} of `kdgan.data.Dataset`s, in place of what `config.data.name` names.

    Raises:
      ConfigError: a mistake in the config, or a workdir that holds a run of another; before anything compiles.
      DivergedError: a loss became NaN or infinite; the last good checkpoint is kept.
      Stopped: SIGTERM or Ctrl-C; the state is saved.
    """
    workdir = pathlib.Path(workdir)
    config = config if data is None else run_inputs.handed_over(config, data)
    run = resolve(config)
    inputs = run_inputs.load(run, data)
    programs = stages.build_all(run, inputs)
    if only_evaluate and not (workdir / "config.json").exists():
        raise ConfigError(f"workdir {workdir} holds no run; run --mode=train first")
    claim(workdir, plain(config))
    text = explain.explain(run, inputs, programs)
    if parallel.is_writer():
        print(text, flush=True)
        files.write_atomic(workdir / "explanation.txt", text + "\n")
        files.write_json(workdir / PLAYERS_FILE, describe_players(run, inputs, programs))
    finished: Finished = {}
    training: dict[str, Training] = {}
    with (
        Monitor(workdir, tensorboard=run.log.tensorboard, progress=run.log.progress) as monitor,
        Interrupt() as interrupt,
    ):
        evaluator = Evaluator(run, inputs, programs)
        context = Context(run, inputs, inputs.device_arrays(), evaluator, monitor, interrupt, workdir, only_evaluate)
        for stage in run.stages:
            finished[stage.name], training[stage.name] = train_stage(context, stage, programs[stage.name], finished)
            evaluator.generators.learn(stage.name, finished[stage.name])
        result, arrays = summary.summarise(run, inputs, programs, finished, training, plain(config), evaluator, workdir)
    if parallel.is_writer():
        summary.write(workdir, result, arrays)
    return result


def claim(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Write config.json, or make sure that the one there is of the same run.

    Raises:
      ConfigError: the workdir holds a run of another config; the message lists the fields that differ.
    """
    if differing := conflicts(workdir, config):
        raise ConfigError(
            f"workdir {workdir} holds a run of another config; choose another workdir, or undo:\n  "
            + "\n  ".join(differing)
        )
    if parallel.is_writer():
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / "config.json", config)


def conflicts(workdir: pathlib.Path, config: Mapping[str, Any]) -> list[str]:
    """The fields in which the run of a workdir differs from `config`, a line each; none where it holds no run."""
    path = workdir / "config.json"
    if not path.exists():
        return []
    old = files.read_json(path)
    found = differences(_fixed(old), _fixed(config))
    if not found and list(old["stages"]) != list(config["stages"]):
        found = [f"config.stages, in order: {', '.join(old['stages'])} -> {', '.join(config['stages'])}"]
    return found


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in FREE_FIELDS}
    kept["parallel"] = {name: value for name, value in config["parallel"].items() if name not in FREE_PARALLEL}
    return kept


def train_stage(
    context: Context, stage: Stage, programs: Sequence[Program], finished: Finished
) -> tuple[dict[str, dict[int, dict[str, Variables]]], Training]:
    """One stage to its last step -> (arm -> seed -> entry -> variables, what it took, with the time before a stop)."""
    run, monitor = context.run, context.monitor
    tables = Tables(run, context.inputs, context.workdir / "cached")
    populations = [
        Population(
            run,
            stage,
            program,
            context.inputs,
            context.arrays,
            initial_states(context, stage, program, finished),
            tables,
        )
        for program in programs
    ]
    validated = context.evaluator.splits.size("validation") > 0
    best = [first_best(population, validated) for population in populations]
    step, seconds, phases = 0, 0.0, Phases()
    with (
        Checkpoints(context.workdir / "checkpoints" / stage.name, keep=run.checkpoint.keep) as checkpoints,
        Trace(run, stage, context.workdir) as trace,
    ):
        if restored := checkpoints.restore_latest(pack(populations, best)):
            step, seconds = restored.step, restored.metadata["seconds"]
            phases = Phases(**restored.metadata["phases"])
            for population, spent in zip(populations, restored.metadata["members"], strict=True):
                population.seconds, population.data_seconds = spent
            best = unpack(populations, restored.tree)
        if context.only_evaluate and step < stage.steps:
            raise ConfigError(
                f"workdir {context.workdir}: stage {stage.name} is trained to step {step:,} of {stage.steps:,};"
                " run --mode=train first"
            )
        total, done = total_steps(populations), done_steps(populations)
        monitor.start_stage(stage.name, order=stage.index, total=total, done=done, step=step)
        every = intervals(run, stage)
        started = time.monotonic() - seconds
        while step < stage.steps:
            target = min(min((step // n + 1) * n for n in every.values()), stage.steps)
            step = advance(context, stage, populations, trace.before(step, target), every["log"])
            trace.after(step)
            stopping = parallel.any_process(context.interrupt())
            if step % every["evaluate"] == 0 or step == stage.steps:
                before = (step - 1) // every["evaluate"] * every["evaluate"]
                with phases.timed("evaluate"):
                    best = [
                        # Arms of fewer steps were measured when they were done.
                        evaluate(context, stage, population, own) if before < population.program.steps else own
                        for population, own in zip(populations, best, strict=True)
                    ]
            seconds = time.monotonic() - started
            if stopping or step % every["checkpoint"] == 0 or step == stage.steps:
                with phases.timed("save"):
                    tree = pack(populations, best)
                    check_parameters(context, stage, step, tree)
                    members = [(population.seconds, population.data_seconds) for population in populations]
                    metadata = {"seconds": seconds, "phases": dataclasses.asdict(phases), "members": members}
                    checkpoints.save(step, tree, metadata=metadata)
            if stopping and step < stage.steps:
                raise Stopped(
                    f"stopped in stage {stage.name} at step {step:,} of {stage.steps:,}; everything is saved."
                    " The same command goes on from there."
                )
    monitor.end_stage()
    flops: dict[str, float | None] = {}
    for population in populations:  # its arms differ in nothing that costs
        operations = costs.training_flops(context.run, population.program, context.inputs)
        flops |= dict.fromkeys(population.program.arms, operations)
    per_member = {
        arm: population.seconds / len(population.members)
        for population in populations
        for arm in population.program.arms
    }
    needed = sum(memory(context.run, [population.program for population in populations], context.inputs))
    return outcome(populations, best), Training(
        seconds, flops, per_member, phases.of_all(populations), {"estimated": needed, "peak": costs.device_peak()}
    )


def initial_states(context: Context, stage: Stage, program: Program, finished: Finished) -> list[TrainState]:
    """The members' states before their first step, seed-major."""
    read = functools.cache(from_checkpoint)  # once: every seed takes the same

    def variables(start: Start, seed: int) -> Variables:
        if start.checkpoint is not None:
            return read(start.checkpoint, start)
        return finished[start.stage or ""][start.arm or ""][seed][start.player]

    return [
        starts.create_state(
            program, stage, arm, seed, {name: variables(start, seed) for name, start in program.start[arm].items()}
        )
        for seed in context.run.seeds
        for arm in program.arms
    ]


def from_checkpoint(folder: str, start: Start) -> Variables:
    """A player's variables from a checkpoint folder: of one player, or of a population (then of its `member`).

    Raises:
      ConfigError: there is no checkpoint, or no such player in it.
    """
    part = None if start.arm is None else f"{start.arm}/state"
    try:
        params, model_state = load_player(folder, start.player, part=part)
    except (ValueError, LookupError, OSError) as error:
        raise ConfigError(f"config start from checkpoint {folder!r}: {error}") from error
    return {"params": params, "model_state": model_state}


def advance(context: Context, stage: Stage, populations: Sequence[Population], target: int, log_every: int) -> int:
    """Train every member to step `target`, or to where the run was asked to stop; returns the step reached.

    Raises:
      DivergedError: a term of some member became NaN or infinite.
    """
    # Several processes may be told at different moments: they stop at the next common one only. And so do the programs
    # of a stage: what the first did is not left behind by the others.
    stop = context.interrupt if jax.process_count() == 1 else (lambda: False)
    for population in populations:
        first, goal = population.step, min(target, population.program.steps)
        if first < goal:
            metrics = population.advance(goal, context.monitor.advance, stop)
            target = population.step if population.step < goal else target
            stop = lambda: False
            for (seed, arm), values in zip(population.members, metrics, strict=True):
                check_finite(context, stage, seed, arm, values, first)
                if target % log_every == 0 or target == stage.steps:
                    scalars = {name: float(value[-1]) for name, value in values.items()}
                    context.monitor.write(
                        stage=stage.name, arm=arm, seed=seed, step=population.step, split="train", scalars=scalars
                    )
                    context.monitor.show(loss=scalars[f"{population.program.lead}/loss"])
    return target


def check_finite(
    context: Context, stage: Stage, seed: int, arm: str, values: Mapping[str, np.ndarray], first: int
) -> None:
    bad = {name: int(np.argmin(np.isfinite(value))) for name, value in values.items() if not np.isfinite(value).all()}
    if not bad:
        return
    # The earliest step, and there a term rather than the objective that it spoils.
    name = min(bad, key=lambda name: (bad[name], name.endswith("/loss")))
    player, _, term = name.partition("/")
    raise DivergedError(
        f"{term} of {player} became {values[name][bad[name]]} at step {first + bad[name] + 1:,} of stage {stage.name}"
        f" (arm {arm}, seed {seed}). The last good checkpoint is kept in {context.workdir / 'checkpoints' / stage.name}."
        f" Try a lower learning rate for {player}, optimizer.clip_norm = 1.0, a lower λ for {term}, or a warm-up;"
        " --config.log.every=1 shows the steps before."
    )


def check_parameters(context: Context, stage: Stage, step: int, tree: Mapping[str, Any]) -> None:
    """What is about to be saved is finite: a last update may have spoiled it after a finite loss."""
    for arm, parts in tree.items():
        for player, params in parts["state"].params.items():
            if not all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
                raise DivergedError(
                    f"parameters of {player} became NaN or infinite by step {step:,} of stage {stage.name} (arm {arm})."
                    f" The last good checkpoint is kept in {context.workdir / 'checkpoints' / stage.name}."
                    f" Try a lower learning rate for {player}, or optimizer.clip_norm = 1.0"
                )


def evaluate(context: Context, stage: Stage, population: Population, best: list[Best]) -> list[Best]:
    """Measure the trained players on the validation split, keep the best of each member, and show what is generated."""
    program, evaluator = population.program, context.evaluator
    trained = measured_players(program, trained_only=True)
    shown = next((name for name in (program.lead, *trained) if name in trained), None)
    kept = []
    for (seed, arm), state, before in zip(population.members, population.states(), best, strict=True):
        entries = entries_of(state, trained)
        tell = functools.partial(context.monitor.write, stage=stage.name, arm=arm, seed=seed, step=population.step)
        if seed == context.run.seed:
            show_generated(context, stage, program, arm, population.step, entries)
        if context.run.evaluate.watch_test and shown is not None:
            measured = evaluator.measure(program, shown, entries[shown], "test")
            scalars = {f"{shown}/{name}": value for name, value in measured.items()}
            tell(split="test", scalars=scalars)
        if not evaluator.splits.size("validation"):
            continue
        scalars = {}
        now = dict(before)
        for entry, variables in entries.items():
            player = player_of(entry)
            measured = evaluator.measure(program, player, variables, "validation")
            scalars |= {f"{entry}/{name}": value for name, value in measured.items()}
            metric, sign = SELECTS[program.kinds[player]]
            if entry in now and sign * measured[metric] > now[entry]["value"]:
                value, step = np.float32(sign * measured[metric]), np.int32(population.step)
                now[entry] = jax.device_get({"value": value, "step": step, **variables})
        tell(split="validation", scalars=scalars)
        if shown is not None:
            metric, _ = SELECTS[program.kinds[shown]]
            context.monitor.show(**{metric: scalars[f"{shown}/{metric}"]})
        kept.append(now)
    return kept or best


def show_generated(
    context: Context, stage: Stage, program: Program, arm: str, step: int, entries: Mapping[str, Variables]
) -> None:
    """The first seed's samples at this step, always of the same noise: a PNG of each in `samples/`, and TensorBoard's."""
    for entry, variables in entries.items():
        if program.kinds[player_of(entry)] in KINDS:
            images = context.evaluator.generators.shown(program, player_of(entry), variables)
            if parallel.is_writer():
                shown.write(context.workdir, stage.name, arm, entry, step, images)
            tag = f"{stage.name}/{arm}/{entry}".replace(" (", "/").replace(")", "").replace(" ", "_")
            context.monitor.image(tag, shown.sheet(images), step=step)


def total_steps(populations: Sequence[Population]) -> int:
    return sum(population.program.steps * len(population.members) for population in populations)


def done_steps(populations: Sequence[Population]) -> int:
    return sum(population.step * len(population.members) for population in populations)
