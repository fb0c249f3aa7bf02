"""The loop of a run, read top to bottom: restore -> (step* -> log -> evaluate -> checkpoint)* -> evaluate -> summary.

A run that is killed at any moment and started again ends bitwise where an uninterrupted one does: a stage's state is in
its checkpoints, its batches and random numbers are functions of (seed, stage, step), and nothing else is state.
"""

import contextlib
import dataclasses
import functools
import pathlib
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import files, parallel
from kdgan.models.host import HostError
from kdgan.run import claim as claims
from kdgan.run import costs, frozen, lock, portions, replaced, shown, stage_data, starts, summary
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError, plain, resolve
from kdgan.run.divergence import check_finite, check_parameters
from kdgan.run.evaluate import Evaluation, OfArm, entries_of, measured_players
from kdgan.run.frozen import Frozen
from kdgan.run.inputs import Inputs
from kdgan.run.interrupt import DivergedError, Interrupt, Stopped
from kdgan.run.keep import Best, first_best, outcome, pack, unpack
from kdgan.run.monitor import Monitor
from kdgan.run.phases import Phases
from kdgan.run.population import Population, intervals, memory
from kdgan.run.portions import Portion, Trained, Whole
from kdgan.run.prepare import Prepared, failing_together, prepare
from kdgan.run.program import Program, Variables, player_of, variables_of
from kdgan.run.schema import Run, Stage
from kdgan.run.summary import Finished, Training
from kdgan.run.teacher_outputs import Tables
from kdgan.run.trace import Trace
from kdgan.state import TrainState


@dataclasses.dataclass(frozen=True)
class Context:
    """What every stage of a run is given."""

    run: Run
    inputs: Inputs
    arrays: dict[int, Mapping[str, Any]]  # of each of the data sets, what of it lies on the device
    evaluation: Evaluation
    monitor: Monitor
    interrupt: Interrupt
    workdir: pathlib.Path
    only_evaluate: bool
    claim: claims.Claim
    frozen: Frozen

    def arrays_of(self, stage: str) -> Mapping[str, Any]:
        """What lies on the device of the data of a stage, placed there once."""
        inputs = self.inputs.of(stage)
        if id(inputs) not in self.arrays:
            self.arrays[id(inputs)] = inputs.device_arrays()
        return self.arrays[id(inputs)]


def train(
    config: Any, workdir: str | pathlib.Path, *, only_evaluate: bool = False, data: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None, reset: Sequence[str] = (), accept_changed_inputs: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train every stage of a config in `workdir`, evaluate, and write all of the run's files; returns the summary.

    Args:
      config: a `ConfigDict` or nested mapping of the fields of kdgan/run/schema.py.
      workdir: folder of the run; made where it is absent, gone on with where it holds a part of this run, or one that this
        run extends (`run/claim.py`).
      only_evaluate: measure what is trained; nothing is trained further.
      data: {"train": ..., "test": ...} of `kdgan.data.Dataset`s, in place of what `config.data.name` names; and under the
        name of a stage the same for data of its own.
      models: modules that players' `model`s name, handed over in Python: {"python:mine": module}.
      reset: stages to train anew; what there is of them, and of what started from them, is put aside.
      accept_changed_inputs: go on though data or start checkpoints are not what they were; the summary says so.

    Raises:
      ConfigError: a mistake in the config, or a workdir that is in use or holds a run of another; before anything compiles.
      DivergedError: a loss became NaN or infinite; the last good checkpoint is kept.
      Stopped: SIGTERM or Ctrl-C; the state is saved.
    """
    workdir = files.folder(workdir)
    with contextlib.ExitStack() as open_until_the_end:
        with failing_together():
            config = config if data is None else stage_data.handed_over(config, data)
            resolve(config)  # a mistake in it leaves no folder behind
            if only_evaluate and not (workdir / claims.CONFIG).exists():
                raise ConfigError(f"workdir {workdir} holds no run; run --mode=train first")
            if parallel.is_writer():
                open_until_the_end.enter_context(lock.held(workdir))
            prepared = prepare(
                config, workdir, data=data, models=models, reset=reset, accept_changed_inputs=accept_changed_inputs
            )
        try:
            return _train(prepared, config, workdir, only_evaluate)
        except HostError as error:
            raise ConfigError(str(error)) from error


def _train(prepared: Prepared, config: Any, workdir: pathlib.Path, only_evaluate: bool) -> dict[str, Any]:
    run, inputs, programs, claim = prepared.run, prepared.inputs, prepared.programs, prepared.claim
    assert claim is not None
    claim.explanation, claim.described = prepared.explanation(), prepared.described()
    if parallel.is_writer():
        print(claim.explanation, flush=True)
    finished: Finished = {}
    training: dict[str, Training] = {}
    with (
        Monitor(workdir, tensorboard=run.log.tensorboard, progress=run.log.progress) as monitor,
        Interrupt() as interrupt,
    ):
        evaluation = Evaluation(run, inputs, programs)
        context = Context(
            run, inputs, {}, evaluation, monitor, interrupt, workdir, only_evaluate, claim,
            Frozen(run, evaluation),
        )  # fmt: skip
        for stage in run.stages:
            finished[stage.name], training[stage.name] = train_stage(context, stage, programs[stage.name], finished)
            evaluation.learn(stage.name, finished[stage.name])
        claim.take()
        result, arrays = summary.summarise(
            run, inputs, programs, finished, training, plain(config), evaluation, workdir, again=only_evaluate
        )
        if parallel.is_writer():
            replaced.keep(workdir, inputs)
        result["data"] |= replaced.summarised(workdir, inputs)
        result |= {"changed_inputs": list(claim.record.accepted)} if claim.record.accepted else {}
    if parallel.is_writer():
        summary.write(workdir, result, arrays)
    return result


def train_stage(
    context: Context, stage: Stage, programs: Sequence[Program], finished: Finished
) -> tuple[dict[str, dict[int, dict[str, Variables]]], Training]:
    """One stage to its last step -> (arm -> seed -> entry -> variables, what it took, with the time before a stop)."""
    inputs = context.inputs.of(stage.name)
    told = context.monitor.progress_of("outputs")
    tables = Tables(context.run, inputs, context.workdir / "cached", told, programs)
    several = context.claim.portions[stage.name]
    whole = Whole(
        [train_portion(context, stage, portion, programs, finished, tables) for portion in several],
        arms=[arm for program in programs for arm in program.arms],
    )
    if not context.only_evaluate:
        parallel.any_process(False)  # every process has read the portions before they are united
        whole.unite(context.workdir / claims.CHECKPOINTS / stage.name, stage.steps)
    flops: dict[str, float | None] = {}
    for program in programs:  # its arms differ in nothing that costs
        flops |= dict.fromkeys(program.arms, costs.training_flops(context.run, program, inputs))
    seconds_each = {arm: spent[0] / len(context.run.seeds) for arm, spent in whole.times.items()}
    used = {"estimated": whole.memory, "peak": costs.device_peak()}
    return whole.outcome, Training(whole.seconds, flops, seconds_each, whole.phases, used)


def train_portion(
    context: Context, stage: Stage, portion: Portion, programs: Sequence[Program], finished: Finished, tables: Tables
) -> Trained:
    """The members of one portion of a stage to their last step; of most stages there is but one."""
    run, monitor = portion.run(context.run), context.monitor
    programs = portion.programs(programs)
    populations = [
        Population(
            run,
            stage,
            program,
            context.inputs.of(stage.name),
            context.arrays_of(stage.name),
            initial_states(dataclasses.replace(context, run=run), stage, program, finished),
            tables,
        )
        for program in programs
    ]
    last = max(program.steps for program in programs)
    validated = context.evaluation.on(programs[0]).splits.size("validation") > 0
    best = [first_best(population, validated) for population in populations]
    step, seconds, phases = 0, 0.0, Phases()
    with (
        Checkpoints(portion.folder, keep=run.checkpoint.keep) as checkpoints,
        Trace(run, stage, context.workdir) as trace,
    ):
        # Where the portion is new, what lies in its folder is another's, which will be put aside.
        if portion.step and (restored := checkpoints.restore_latest(pack(populations, best))):
            step, seconds = restored.step, restored.metadata["seconds"]
            phases = Phases(**restored.metadata["phases"])
            portions.set_times(populations, restored.metadata)
            best = unpack(populations, restored.tree)
        if context.only_evaluate and step < last:
            raise ConfigError(
                f"workdir {context.workdir}: stage {stage.name} is trained to step {step:,} of {last:,}"
                f"{of_members(context, stage, portion)}; run --mode=train first"
            )
        if step < last:
            for line in context.frozen.lines(stage, populations):
                if parallel.is_writer():
                    print(line, flush=True)
            context.claim.take()
        monitor.start_stage(
            stage.name, order=stage.index, total=total_steps(populations), done=done_steps(populations), step=step,
            title=stage.name + of_members(context, stage, portion),
            others=context.claim.members(stage.name) - portion.members,
        )  # fmt: skip
        every = intervals(run, stage)
        started = time.monotonic() - seconds
        while step < last:
            target = min(min((step // n + 1) * n for n in every.values()), last)
            try:
                step = advance(context, stage, populations, trace.before(step, target), every["log"], last)
                trace.after(step)
                told = (context.interrupt.number or signal.SIGTERM) if context.interrupt() else 0
                stop_by = parallel.largest(told)
                if step % every["evaluate"] == 0 or step == last:
                    before = (step - 1) // every["evaluate"] * every["evaluate"]
                    with phases.timed("evaluate"):
                        best = [
                            # Arms of fewer steps were measured when they were done.
                            evaluate(context, stage, population, own) if before < population.program.steps else own
                            for population, own in zip(populations, best, strict=True)
                        ]
                seconds = time.monotonic() - started
                if stop_by or step % every["checkpoint"] == 0 or step == last:
                    with phases.timed("save"):
                        tree = pack(populations, best)
                        check_parameters(stage.name, step, tree)
                        spent = portions.times(populations), seconds, dataclasses.asdict(phases)
                        if parallel.is_writer():
                            replaced.keep(context.workdir, context.inputs)
                        checkpoints.save(step, tree, metadata=portions.metadata(portion.seeds, *spent))
            except DivergedError as error:
                checkpoints.wait()
                raise context.claim.diverged(stage, portion, error, bool(checkpoints.steps())) from None
            if stop_by and step < last:
                raise Stopped(
                    f"stopped in stage {stage.name} at step {step:,} of {last:,}; everything is saved."
                    " The same command goes on from there.",
                    stop_by,
                )
    monitor.end_stage()
    return Trained(
        portion,
        pack(populations, best) if len(context.claim.portions[stage.name]) > 1 else {},
        outcome(populations, best),
        seconds,
        dataclasses.asdict(phases),
        portions.times(populations),
        sum(memory(run, programs, context.inputs.of(stage.name))),
    )


def of_members(context: Context, stage: Stage, portion: Portion) -> str:
    """` (seeds 2 to 3, arm kd)` where a portion is not the whole stage."""
    if len(context.claim.portions[stage.name]) == 1:
        return ""
    seeds = (
        f"seed {portion.seeds[0]}" if len(portion.seeds) == 1 else f"seeds {portion.seeds[0]} to {portion.seeds[-1]}"
    )
    return f" ({seeds}, {'arm' if len(portion.arms) == 1 else 'arms'} {', '.join(portion.arms)})"


def initial_states(context: Context, stage: Stage, program: Program, finished: Finished) -> list[TrainState]:
    """The members' states before their first step, seed-major."""

    def variables(arm: str, name: str, seed: int) -> Variables:
        start = program.start[arm][name]
        if start.checkpoint is not None:
            return program.sources[arm][name].of(seed)
        return finished[start.stage or ""][start.arm or ""][seed][start.player]

    return [
        starts.create_state(
            program, stage, arm, seed, {name: variables(arm, name, seed) for name in program.start[arm]}
        )
        for seed in context.run.seeds
        for arm in program.arms
    ]


def advance(
    context: Context, stage: Stage, populations: Sequence[Population], target: int, log_every: int, last: int
) -> int:
    """Train every member to step `target`, or to where the run was asked to stop; returns the step reached.

    Args:
      context: of the run.
      stage: that is trained.
      populations: its members, of each program.
      target: step to go to.
      log_every: steps between logged lines.
      last: step after which all are done, which is logged whatever it is.

    Raises:
      DivergedError: a term of some member became NaN or infinite.
    """
    # Several processes may be told at different moments: they stop at the next common one only. And so do the programs
    # of a stage: what the first did is not left behind by the others.
    stop = context.interrupt if jax.process_count() == 1 else (lambda: False)
    for population in populations:
        first, goal = population.step, min(target, population.program.steps)
        if first < goal:
            gradients = context.run.log.gradients and (target % log_every == 0 or target == last)
            metrics = population.advance(goal, context.monitor.advance, stop, gradients=gradients)
            target = population.step if population.step < goal else target
            stop = lambda: False
            measured = population.measured or [{}] * len(metrics)
            for (seed, arm), values, slopes in zip(population.members, metrics, measured, strict=True):
                inputs, arrays = context.inputs.of(stage.name), context.arrays_of(stage.name)
                cause = functools.partial(frozen.cause, context.run, inputs, arrays, stage, population, seed, arm)
                check_finite(stage.name, seed, arm, values, first, cause)
                if target % log_every == 0 or target == last:
                    scalars = {name: float(value[-1]) for name, value in values.items()}
                    scalars |= {name: float(value) for name, value in slopes.items()}
                    context.monitor.write(
                        stage=stage.name, arm=arm, seed=seed, step=population.step, split="train", scalars=scalars
                    )
                    context.monitor.show(loss=scalars[f"{population.program.lead}/loss"])
    return target


def evaluate(context: Context, stage: Stage, population: Population, best: list[Best]) -> list[Best]:
    """Measure the trained players on the validation split, keep the best of each member, and show what they make."""
    program, evaluation = population.program, context.evaluation
    trained = measured_players(program, trained_only=True)
    lead = next((name for name in (program.lead, *trained) if name in trained), None)
    kept = []
    for (seed, arm), state, before in zip(population.members, population.states(), best, strict=True):
        entries = entries_of(state, trained)
        of_arm = functools.partial(variables_of, state)
        tell = functools.partial(context.monitor.write, stage=stage.name, arm=arm, seed=seed, step=population.step)
        if seed == context.run.seed:
            show_made(context, stage, program, arm, population.step, entries, of_arm)
        if context.run.evaluate.watch_test and lead is not None:
            numbers = evaluation.measure(program, lead, entries[lead], "test", arm=of_arm).numbers
            tell(split="test", scalars={f"{lead}/{name}": value for name, value in numbers.items()})
        if not evaluation.on(program).splits.size("validation"):
            continue
        scalars: dict[str, float] = {}
        now = dict(before)
        for entry, variables in entries.items():
            player = player_of(entry)
            numbers = evaluation.measure(program, player, variables, "validation", arm=of_arm).numbers
            scalars |= {f"{entry}/{name}": value for name, value in numbers.items()}
            first = program.measures(player)[0]
            value = np.float32((1.0 if first.higher_is_better else -1.0) * numbers[first.name])
            if entry in now and value > now[entry]["value"]:
                now[entry] = jax.device_get({"value": value, "step": np.int32(population.step), **variables})
        tell(split="validation", scalars=scalars)
        if lead is not None:
            first = program.measures(lead)[0]
            context.monitor.show(**{first.head or first.name: scalars[f"{lead}/{first.name}"]})
        kept.append(now)
    return kept or best


def show_made(
    context: Context,
    stage: Stage,
    program: Program,
    arm: str,
    step: int,
    entries: Mapping[str, Variables],
    of_arm: OfArm,
) -> None:
    """What evaluators show of the first seed's players at this step: a PNG of each in `samples/`, and TensorBoard's."""
    for entry, variables in entries.items():
        player = player_of(entry)
        for evaluator in program.evaluators[player]:
            judged = context.evaluation.judged(program, player, variables, of_arm)
            figure = (
                None if evaluator.watch is None else evaluator.watch(context.evaluation.on(program).setting, judged)
            )
            if figure is None:
                continue
            if parallel.is_writer():
                shown.write(context.workdir, stage.name, arm, entry, step, figure.array)
            tag = f"{stage.name}/{arm}/{entry}".replace(" (", "/").replace(")", "").replace(" ", "_")
            context.monitor.image(tag, shown.sheet(figure.array), step=step)


def total_steps(populations: Sequence[Population]) -> int:
    return sum(population.program.steps * len(population.members) for population in populations)


def done_steps(populations: Sequence[Population]) -> int:
    return sum(population.step * len(population.members) for population in populations)
