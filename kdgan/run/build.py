"""A stage from its config: players, methods and optimizers, every mistake named before anything compiles.

Arms that differ only in the values of their λ's make one `Program`, and one compiled step serves them all. Where players
start, and the states made of them, stand in `run/starts.py`.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdgan import game, methods, optim, parallel
from kdgan.around import innermost
from kdgan.data import augment
from kdgan.data.views import MOST_PLACES
from kdgan.norms import Norm
from kdgan.run import batches as run_batches
from kdgan.run import (
    checkpoint,
    evaluators,
    extractors,
    hyperparameters,
    lacking,
    normalised_for,
    on_host,
    pixels,
    ranges,
    starts,
    trained_for,
    whole_outputs,
)
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs
from kdgan.run.players import build_modules, device_count, inputs_of, splits_batch, with_main_input
from kdgan.run.program import Program
from kdgan.run.schema import Arm, Run, Stage, Weights
from kdgan.state import variable_shapes
from kdgan.step import make_train_step, measuring, on_raw

COMPUTE = {"float32": None, "bfloat16": jnp.bfloat16}


def stage_programs(run: Run, stage: Stage, inputs: Inputs) -> tuple[Program, ...]:
    """The programs of a stage, each with as many arms as differ in their λ's, and in where trained players start, only.

    Raises:
      ConfigError: anything in the stage's config that cannot run, by its field.
    """
    groups: dict[str, list[Arm]] = {}
    for arm in stage.arms:
        groups.setdefault(_signature(arm), []).append(arm)
    programs = tuple(program for arms in groups.values() for program in _programs(run, stage, inputs, arms))
    called = {name for program in programs for name in program.modules}
    for arm in stage.arms:
        for name in arm.cached:
            field = f"{_where(stage, arm)}.cached = {arm.cached}"
            if name not in called:
                there = ", ".join(sorted(called))
                raise ConfigError(
                    f"{field}: no method of the stage calls {name}; the players that are called are {there}"
                )
            if not any(name in program.cached for program in programs):
                frozen = {n for program in programs for n in program.modules if n not in program.method.trained}
                there = ", ".join(sorted(frozen)) or "none"
                raise ConfigError(f"{field}: {name} is trained in this stage; frozen players are accepted: {there}")
    return programs


def all_programs(run: Run, inputs: Inputs, *, read_checkpoints: bool = True) -> dict[str, tuple[Program, ...]]:
    """The programs of every stage, in order, with what their players start from.

    Args:
      run: whose stages.
      inputs: its data.
      read_checkpoints: whether the checkpoints that players start from are read; a run that is only looked at needs none.

    Raises:
      ConfigError: as `stage_programs`; a start that does not exist or does not fit; generators without a fit extractor.
    """
    load = functools.cache(checkpoint.read) if read_checkpoints else None  # several players of one: it is read once
    programs: dict[str, tuple[Program, ...]] = {}
    for stage in run.stages:
        built = stage_programs(run, stage, inputs.of(stage.name))
        programs[stage.name] = tuple(starts.check(stage.name, program, programs, run.seeds, load) for program in built)
        for program in programs[stage.name]:
            trained_for.check(run, stage, program)
            normalised_for.check(stage, program)
    extractors.check(run, inputs, programs)
    return programs


def _signature(arm: Arm) -> str:
    """Equal for arms that one compiled step can serve: all but the name, the starts and the values of constant λ's."""
    fields = dataclasses.asdict(arm)
    del fields["name"], fields["start"]
    for player in fields["players"].values():
        del player["weights"]  # they are starts
    fields["lambdas"] = {
        player: {term: value if isinstance(value, Mapping) else "constant" for term, value in terms.items()}
        for player, terms in arm.lambdas.items()
    }
    return json.dumps(fields, sort_keys=True, default=str)


def _programs(run: Run, stage: Stage, inputs: Inputs, arms: Sequence[Arm]) -> list[Program]:
    """One program, or several where the arms' frozen players, which they share, start at different places."""
    whole = _program(run, stage, inputs, arms)
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        frozen = {name: start for name, start in whole.start[arm.name].items() if name not in whole.method.trained}
        groups.setdefault(repr(sorted(frozen.items())), []).append(arm)
    return [whole] if len(groups) == 1 else [_program(run, stage, inputs, some) for some in groups.values()]


def _program(run: Run, stage: Stage, inputs: Inputs, arms: Sequence[Arm]) -> Program:
    arm = arms[0]
    where = _where(stage, arm)
    num_devices = device_count(run)
    sizes = {f"{where}.": arm.batch_size, "config.data.unlabelled_": inputs.config.unlabelled_batch_size}
    for prefix, size in sizes.items():
        try:
            parallel.check_batch_size(size, num_devices * jax.process_count())
        except ValueError as error:
            raise ConfigError(f"{prefix}{error}") from error
    if run.parallel.members in ("devices", "unrolled") and splits_batch(run):
        where_to = {"devices": "a member on each device", "unrolled": "a seed's arms on one device"}
        raise ConfigError(
            f"config.parallel.members = {run.parallel.members!r} puts {where_to[run.parallel.members]};"
            " set parallel.devices = 1 with it"
        )
    modules, local_modules = (
        build_modules(run, arm, inputs, synchronised=over_devices) for over_devices in (True, False)
    )
    given = inputs_of(arm, inputs.train.fields, inputs.train.inputs)
    first = any(whole_outputs.wants_windows(inputs, one) for one in stage.arms)
    prepare = with_main_input(run_batches.make_prepare(inputs, arm.augment, first=first), inputs.train.inputs)
    try:
        example = run_batches.example_batch(inputs, prepare, arm.batch_size, arm.augment, first=first)
    except ValueError as error:
        raise ConfigError(f"config.data: {error}") from error
    try:
        arguments = {name: hyperparameters.of(name, value, arm.steps) for name, value in arm.method.items()}
        method = methods.build(of_data=hyperparameters.of_data(inputs), **arguments)
        # Modules without an axis name: shapes are traced outside of any device axis.
        inspection = game.inspect_method(method, local_modules, example, inputs=given)
        lambdas = {a.name: {p: dict(terms) for p, terms in a.lambdas.items()} for a in arms}
        called = set(inspection.inputs)
        of_data = example if inputs.has_training else evaluators.test_example(inputs)
        inspection = _with_beside(inspection, arm, method, local_modules, of_data, given)
        for values in lambdas.values():
            game.check_lambdas(inspection.terms, values, method.trained)
        schedules = {
            player: {
                t: hyperparameters.schedule(value, arm.steps)
                for t, value in terms.items()
                if isinstance(value, Mapping)
            }
            for player, terms in arm.lambdas.items()
        }
        optimizers = {name: _optimizer(arm, method, name) for name in method.trained}
    except (ValueError, TypeError, game.MissingPlayerError) as error:
        missing = lacking.hint(str(error), arm.method.get("name", ""), inputs)
        raise ConfigError(f"{where}: {error}{missing}") from error
    except KeyError as error:
        mistake = lacking.looked_up(error, arm.method.get("name", ""), inputs, where)
        if mistake is None:
            raise
        raise mistake from error
    _check_norms(run, arm, inputs, where, inspection.norms)
    pixels.check(arm, where, inspection, local_modules, inputs, given)
    if inputs.train.image_field is not None:
        ranges.check(inspection, local_modules, inputs.config, ranges.image_shape(example, inputs.train))
    judged_by = evaluators.of_players(
        run, arm, inspection, local_modules, inputs, COMPUTE[run.parallel.compute], given, example
    )
    inspection = evaluators.on_data(inspection, judged_by, local_modules, given, example)
    for name in inspection.inputs:
        has_parameters = variable_shapes(local_modules[name], inspection.inputs[name]).get("params")
        brings = getattr(innermost(local_modules[name]), "brings_parameters", False)
        if name not in method.trained and has_parameters and not brings and any(name not in a.start for a in arms):
            raise ConfigError(
                f"{where}.start: {name} is frozen in this stage and starts nowhere; name an earlier stage or a checkpoint"
            )
    unused = [n for n, start in arm.start.items() if n not in inspection.inputs and not isinstance(start, Weights)]
    if unused and len(stage.arms) == 1:
        raise ConfigError(f"{where}.start.{unused[0]}: the method never calls {unused[0]}")
    program = Program(
        stage=stage.name,
        arms=tuple(a.name for a in arms),
        method=method,
        modules={name: modules[name] for name in inspection.inputs},
        local_modules={name: local_modules[name] for name in inspection.inputs},
        optimizers=optimizers,
        lambdas={
            a: {
                p: {t: 1.0 if isinstance(v, Mapping) else float(v) for t, v in terms.items()}
                for p, terms in values.items()
            }
            for a, values in lambdas.items()
        },
        schedules={player: terms for player, terms in schedules.items() if terms},
        ema={name: decay for name in method.trained if (decay := arm.players[name].ema) is not None},
        start={a.name: {name: s for name, s in a.start.items() if name in inspection.inputs} for a in arms},
        steps=arm.steps,
        batch_size=arm.batch_size,
        inspection=inspection,
        evaluators=judged_by,
        settings=_settings(arms),
        example=example,
        prepare=prepare,
        augment=arm.augment,
        views=_views(arm, inputs, where),
        windows_first=first,
        # Of a stage's arms those that train the player run it in every step.
        cached=tuple(dict.fromkeys(n for n in arm.cached if n in inspection.inputs and n not in method.trained)),
        inputs={name: fields for name, fields in given.items() if name in inspection.inputs},
        beside=tuple(name for name in arm.beside if name not in called),
    )
    program = dataclasses.replace(program, whole=bool(program.cached) and program.views is None)
    if program.whole:
        whole_outputs.check(program, inputs, where)
    program = dataclasses.replace(program, read=_check_cached(program, where))
    on_host.check(program, where)
    return program


def _with_beside(
    inspection: game.Inspection, arm: Arm, method: game.Method, modules: Mapping[str, Any], example: Mapping[str, Any],
    given: Mapping[str, Sequence[str]],
) -> game.Inspection:  # fmt: skip
    """What a method does with its players, and what those beside it give of a batch's main input."""
    if trained := [name for name in arm.beside if name in method.trained]:
        raise ValueError(
            f"beside = {tuple(arm.beside)}: {trained[0]} is trained by the method; frozen players are accepted"
        )
    names = [name for name in arm.beside if name not in inspection.inputs]
    if not names:
        return inspection

    def look(players, batch, key):
        for name in names:
            players[name](batch["image"], train=False)
        return {"beside": 0.0}

    probe = game.Method(game.Move(method.trained[0], look))
    seen = game.inspect_method(probe, modules, example, inputs=given)
    return dataclasses.replace(
        inspection, inputs={**inspection.inputs, **seen.inputs}, outputs={**inspection.outputs, **seen.outputs}
    )


def _where(stage: Stage, arm: Arm) -> str:
    return f"config.stages.{stage.name}" + ("" if arm.name == "main" else f".arms.{arm.name}")


def _views(arm: Arm, inputs: Inputs, where: str) -> int | None:
    """Forms in which each example is seen: 1 where nothing augments, None where there is no end to them.

    Several fixed noises are forms of their own, which go by the epoch.
    """
    used = [name for name, fields in arm.augment.items() if fields is not None]
    used += ["noise"] if inputs.forms != 1 else []
    if arm.views is None or not used:
        return None if used else 1
    if augment.make_mix(arm.augment) is not None:
        raise ConfigError(
            f"{where}.views = {arm.views}: mixup and cutmix of {where}.augment draw partners anew at every step, so that no"
            " image comes again; leave them out, or set views to None"
        )
    if arm.views * len(inputs.train) > MOST_PLACES:
        most = MOST_PLACES // len(inputs.train)
        raise ConfigError(
            f"{where}.views = {arm.views}: of {len(inputs.train):,} examples at most {most:,} are accepted"
        )
    return arm.views


def _check_cached(program: Program, where: str) -> tuple[str, ...]:
    """What is cached is an array, on images that come again. The cached players whose parameters the method reads."""
    for name in program.cached:
        field = f"{where}.cached = {program.cached}"
        output = program.inspection.outputs[name]
        if not hasattr(output, "shape"):
            raise ConfigError(f"{field}: {name} gives {', '.join(output)}; a player that gives one array is accepted")
        sizes = [len(part["image"]) for part in (program.example, program.example.get("unlabelled")) if part]
        for path, feature in program.features_of(name).items():
            shape = getattr(feature, "shape", ())
            if shape[:1] not in [(size,) for size in (*sizes, sum(sizes))]:
                what = f"an array {shape}" if shape else "no array"
                raise ConfigError(f"{field}: the feature {path!r} of {name} is {what}; arrays [b, ...] are accepted")
    modules, of = program.local_modules, program.inspection.inputs
    params = {name: variable_shapes(modules[name], of[name]).get("params", {}) for name in program.cached}
    try:
        known = game.inspect_method(program.method, modules, program.step_example, inputs=program.inputs, params=params)
    except ValueError as error:
        raise ConfigError(f"{where}.cached = {program.cached}: {error}") from error
    return tuple(known.read)


def _check_norms(run: Run, arm: Arm, inputs: Inputs, where: str, norms: Mapping[str, Sequence[Norm]]) -> None:
    """No layer of a player that trains takes its statistics over a single value: it would give the same for any input."""
    devices = device_count(run) * jax.process_count()
    for name, of_player in norms.items():
        synchronised = arm.players[name].sync_batch_norm
        for norm in of_player:
            if norm.values // (devices if norm.of_batch and not synchronised else 1) > 1:
                continue
            what = f"its {norm.layer} {norm.path}".rstrip() + f" has an input of shape {norm.shape}"
            if not norm.of_batch:
                raise ConfigError(
                    f"config.players.{name}: {what} and normalises each value by itself, so that its output does not"
                    " depend on its input; leave it out, or give it larger images or more channels a group"
                )
            sizes = [f"{where}.batch_size = {arm.batch_size}"]
            if extra := inputs.config.unlabelled_batch_size:
                sizes.append(f"config.data.unlabelled_batch_size = {extra}")
            least = 2 * (1 if synchronised else devices)
            sync = f", or config.players.{name}.sync_batch_norm = True" if devices > 1 and not synchronised else ""
            raise ConfigError(
                f"{', '.join(sizes)}: {name} learns nothing: {what}"
                + (f", split over {devices} devices," if devices > 1 else "")
                + " and normalises each value by itself;"
                f" accepted are batches of at least {least}, larger images{sync}"
            )


def _settings(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Arm -> the λ's and hyper-parameters that its config gives, for a report to tell arms apart by."""
    return {
        arm.name: {
            "lambdas": {player: dict(terms) for player, terms in arm.lambdas.items()},
            "method": dict(arm.method),
        }
        for arm in arms
    }


def _optimizer(arm: Arm, method: game.Method, name: str) -> optax.GradientTransformation:
    settings = {**dataclasses.asdict(arm.players[name].optimizer), **arm.optimizers.get(name, {})}
    rate = settings.pop("learning_rate")
    kind, warmup, end, boundaries, factor = (
        settings.pop(key) for key in ("schedule", "warmup", "end", "boundaries", "factor")
    )
    # A chain counts its updates; the config counts steps.
    per_step = sum(move.repeats for move in method.moves if name in move.players) / max(settings["accumulate"], 1)
    optim.make_optimizer(learning_rate=rate, **settings)  # refuses what is out of range, whatever the schedule
    if kind == "constant" and not warmup:
        return optim.make_optimizer(learning_rate=rate, **settings)
    shape = optim.make_schedule(
        kind,
        steps=arm.steps,
        warmup=warmup,
        end=end or (0.01 if kind == "exponential" else 0.0),
        boundaries=boundaries,
        factor=factor,
    )
    return optim.make_optimizer(learning_rate=lambda count: rate * shape(count / per_step), **settings)


def make_step(run: Run, program: Program, *, gradients: bool = False) -> Callable:
    """`step(state, host_batch, device_arrays) -> (state, metrics)` of one member; `gradients` as below."""
    axis_name = parallel.BATCH_AXIS if splits_batch(run) else None
    step = make_prepared_step(program, program.modules, run.parallel.compute, axis_name=axis_name, gradients=gradients)
    return on_raw(step, program.prepare)


def make_prepared_step(
    program: Program, modules: Mapping[str, Any], compute: str, *, axis_name: str | None = None, gradients: bool = False
) -> Callable:
    """`step(state, batch) -> (state, metrics)` of one member on a prepared batch, by the program's modules or local ones.

    With `gradients` it gives the state that it was given, and measures the gradients of terms alone.
    """
    step = make_train_step(
        program.method,
        modules,
        program.optimizers,
        schedules=program.schedules,
        ema=program.ema,
        compute_dtype=COMPUTE[compute],
        axis_name=axis_name,
        inputs=program.inputs,
        gradients=gradients,
    )
    return measuring(step) if gradients else step
