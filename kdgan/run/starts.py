"""Where a stage's players start: fresh, as an earlier stage or a checkpoint left them, whole, in part, or cut to size.

Every mistake is found from shapes alone, before anything compiles; `create_state` then makes a member's first state.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdgan import game, weights
from kdgan.around import innermost
from kdgan.checkpoints import players
from kdgan.run import schema, sources
from kdgan.run.config import ConfigError
from kdgan.run.program import Program, Variables, player_of
from kdgan.run.schema import Stage
from kdgan.run.sources import Reader, Source, takes
from kdgan.state import TrainState, check_same_shapes, initialise, variable_shapes
from kdgan.transfer import transfer


def stage_key(seed: int, stage: Stage) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), stage.index)


def check(
    stage: str, program: Program, earlier: Mapping[str, Sequence[Program]], seeds: Sequence[int], load: Reader | None
) -> Program:
    """The program with what its players start from: each start exists, in an earlier stage or a checkpoint, and fits.

    Args:
      stage: the program's.
      program: as its config says.
      earlier: programs of the stages before.
      seeds: of the run.
      load: reads a checkpoint; None: those that start from one are not looked at.

    Raises:
      ConfigError: a start that does not exist or fit; the message says how, and what would.
    """
    read: dict[str, dict[str, Source]] = {}
    # Weights from elsewhere are laid out once for all arms: the network is traced for it.
    elsewhere = functools.cache(lambda name, start: _from_elsewhere(program, name, start.value))
    shared = {name for name in program.modules if not _shapes(program, name) or _is_itself(program, name)}
    # Where frozen players start is the same in all arms.
    for arm, name, start in [(arm, *pair) for arm, pairs in program.start.items() for pair in pairs.items()]:
        where = f"config.stages.{stage}.start.{name}"
        if start.transfer is not None and (start.only or start.skip):
            raise ConfigError(f"{where}: transfer cuts a whole network to size; leave out only and skip")
        if start.transfer is None and start.scale:
            raise ConfigError(
                f"{where}.scale = {start.scale:g}: only a start with transfer is scaled; set transfer, too"
            )
        if start.checkpoint is None:
            one = _check_stage(where, program, name, start, earlier)
        elif load is None:
            continue
        else:
            source = _check_checkpoint(where, program, name, start, seeds, load, elsewhere)
            read.setdefault(arm, {})[name] = source
            one = source.is_one
        if one and name not in program.method.trained and not (start.only or start.skip):
            shared.add(name)
    return dataclasses.replace(program, sources=read, shared=tuple(n for n in program.modules if n in shared))


def _shapes(program: Program, name: str) -> dict[str, Any]:
    return variable_shapes(program.local_modules[name], program.inspection.inputs[name])


def _check_stage(
    where: str, program: Program, name: str, start: schema.Start, earlier: Mapping[str, Sequence[Program]]
) -> bool:
    """Whether what an earlier stage left is the same for every seed, once it is there and fits."""
    source = next(other for other in earlier[start.stage or ""] if start.arm in other.arms)
    player = player_of(start.player)
    if player not in source.modules:
        raise ConfigError(
            f"{where}: stage {start.stage} (arm {start.arm}) has no player {start.player!r};"
            f" it has {', '.join(source.modules)}"
        )
    try:
        _check_fits(_shapes(program, name), _shapes(source, player), start, name)
    except ValueError as error:
        inputs, own_inputs = source.inspection.inputs[player], program.inspection.inputs[name]
        shapes = [[tuple(leaf.shape[1:]) for leaf in jax.tree.leaves(i)] for i in (inputs, own_inputs)]
        hint = _hint(start)
        if shapes[0] != shapes[1]:
            hint = (
                f"; it was given {shapes[0]} there and is given {shapes[1]} here"
                " (for noise: method.latent, and method.teacher_latent where the teacher's differs)"
            )
        raise ConfigError(f"{where}: {error}{hint}") from error
    return start.player in source.shared


def _is_itself(program: Program, name: str) -> bool:
    """Whether a frozen player is as its module brings it."""
    brings = getattr(innermost(program.local_modules[name]), "brings_parameters", False)
    return brings and name not in program.method.trained and not any(name in of for of in program.start.values())


class _Same:
    """A start, equal to those of the same fields: it has mappings, and so no hash."""

    def __init__(self, value: schema.Start):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.value.checkpoint, self.value.player))


def _from_elsewhere(program: Program, name: str, start: schema.Start) -> Source:
    inputs = program.inspection.inputs[name]
    return sources.from_elsewhere(start.checkpoint or "", start, program.local_modules[name], inputs)


def _check_checkpoint(
    where: str, program: Program, name: str, start: schema.Start, seeds: Sequence[int], load: Reader,
    elsewhere: Callable[[str, _Same], Source],
) -> Source:  # fmt: skip
    """The player of a checkpoint, or of a file, once it was read and fits."""
    shapes = _shapes(program, name)
    field = f"{where}.checkpoint"
    if isinstance(start, schema.Weights):
        where, field = start.field, start.field
    path = start.checkpoint or ""
    if not shapes.get("params"):
        raise ConfigError(f"{field} = {start.checkpoint!r}: {name} has no parameters to start with; leave it out")
    try:
        if weights.is_foreign(path):
            source = elsewhere(name, _Same(start))
        elif isinstance(start, schema.Weights) and not pathlib.Path(path).exists():
            raise ValueError("there is no such file or folder")
        elif start.names and players.is_of_a_run(pathlib.Path(path)):
            raise ValueError("names is of a file of weights of PyTorch; this is a run's")
        else:
            source = sources.read(path, start, shapes["params"], load)
    except (ValueError, LookupError, OSError) as error:
        raise ConfigError(f"{field} = {start.checkpoint!r}: {' '.join(str(error).splitlines())}") from error
    try:
        source = dataclasses.replace(source, taken=sources.taken(source, start, seeds, name, where))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    given = source.shapes()
    try:
        _check_fits(shapes, given, start, name)
    except ValueError as error:
        raise ConfigError(f"{where} (from {source.folder}): {error}{_hint(start)}") from error
    whole = not (start.only or start.skip or start.transfer)
    missing = [kind for kind, tree in shapes.items() if jax.tree.leaves(tree) and kind not in given]
    if missing and whole and name not in program.method.trained:
        raise ConfigError(
            f"{where}: the checkpoint {source.folder} has no {', '.join(missing)} of {name}, which is frozen"
        )
    return source


def _check_fits(here: Mapping[str, Any], there: Mapping[str, Any], start: schema.Start, name: str) -> None:
    jax.eval_shape(functools.partial(_fitted, start=start, name=name), here, there)


def _hint(start: schema.Start) -> str:
    if start.only or start.skip or start.transfer:
        return ""
    return (
        "; take a part of it with only or skip, or cut it to size with transfer='uniform', or, from one with fewer classes,"
        " take transfer='grow'"
    )


def create_state(program: Program, stage: Stage, arm: str, seed: int, started: Mapping[str, Variables]) -> TrainState:
    """A member's state before its first step; `started` holds the variables of the players that do not start fresh."""
    key = stage_key(seed, stage)
    params, model_state = {}, {}
    for name, variables in started.items():
        start = program.start[arm][name]
        fresh = initialise(program.local_modules[name], program.inspection.inputs[name], game.fold_in_name(key, name))
        try:
            fitted = _fitted(fresh, {"params": variables["params"], **variables.get("model_state", {})}, start, name)
        except ValueError as error:
            raise ConfigError(f"config.stages.{stage.name}.start.{name} (arm {arm}): {error}") from error
        params[name] = fitted.pop("params")
        model_state[name] = fitted
    try:
        return TrainState.create(
            program.method,
            program.local_modules,
            program.optimizers,
            program.example,
            key=key,
            lambdas=program.lambdas[arm],
            params=params,
            model_state=model_state,
            ema=tuple(program.ema),
            inspection=program.inspection,
        )
    except ValueError as error:
        raise ConfigError(f"config.stages.{stage.name} (arm {arm}): {error}") from error


def _fitted(fresh: Mapping[str, Any], given: Mapping[str, Any], start: schema.Start, name: str) -> dict[str, Any]:
    """`fresh` variables replaced by `given` ones as `start` says; ValueError where they do not fit."""
    fresh, given = ({"params": {}, **variables} for variables in (fresh, given))  # a memory has no parameters
    if start.transfer is not None:
        return dict(transfer(given, fresh, how=start.transfer, scale=start.scale))
    if start.only or start.skip:
        params = merge_parameters(fresh["params"], given["params"], start, name)
        # The statistics of the layers that are taken, and of no others.
        return {
            kind: params if kind == "params" else take_matching(tree, given.get(kind, {}), start)[0]
            for kind, tree in fresh.items()
        }
    check_same_shapes(given["params"], fresh["params"], name)
    for kind in fresh.keys() & given.keys() - {"params"}:
        check_same_shapes(given[kind], fresh[kind], f"{kind} of {name}")
    return given


def merge_parameters(fresh: Any, source: Any, start: schema.Start, player: str) -> Any:
    """`fresh` with the leaves of `source` whose path (`conv1/kernel`) matches `only` (all if empty) and not `skip`.

    Raises:
      ConfigError: nothing matches, or a matching leaf has another shape.
    """
    try:
        merged, taken = take_matching(fresh, source, start)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not taken:
        there = sorted(_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(source))
        raise ConfigError(
            f"only={tuple(start.only)}, skip={tuple(start.skip)} leave nothing to take; the parameters of {player} are"
            f" {', '.join(there)}"
        )
    return merged


def take_matching(fresh: Any, source: Any, start: schema.Start) -> tuple[Any, list[str]]:
    """(`fresh` with the wanted leaves of `source`, their paths); ValueError where one has another shape."""
    given = {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(source)}
    taken = []

    def choose(path, leaf):
        name = _path(path)
        if not takes(start, name) or name not in given:
            return leaf
        if given[name].shape != leaf.shape:
            raise ValueError(f"{name} is {given[name].shape} there and {leaf.shape} here; add it to skip")
        taken.append(name)
        return jnp.asarray(given[name])

    return jax.tree_util.tree_map_with_path(choose, fresh), taken


def _path(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
