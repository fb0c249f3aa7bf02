"""The trained players of a workdir: which there are, and one of them with its module and parameters, without the data.

A run writes players.json before its first step: what a module needs to know of the data, and what each player of each arm
is measured as. With config.json and a checkpoint that is enough to use a player elsewhere. A workdir of an earlier
version has no such file; then the data are loaded and the same is found from them.
"""

import dataclasses
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from kdgan import files
from kdgan.data.fields import Field
from kdgan.evaluators import Evaluator, way_of
from kdgan.player import MAIN
from kdgan.run import build, claim, evaluators, portions, stage_data
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError, plain
from kdgan.run.inputs import Inputs
from kdgan.run.players import build_module, sizes_of
from kdgan.run.program import AVERAGE, Program, Variables, program_of
from kdgan.run.schema import Arm, Data, Player, Run, Stage

IMAGES = "images"  # what evaluators say that a player gives (`Evaluator.gives`)


class Trained(NamedTuple):
    """One trained player.

    Attributes:
      run: its config.
      name: the player's.
      where: "stage distill, arm kd, seed 0, step 500", for messages.
      module: Flax module.
      unrounded: the same, of a player that learned while it was quantised without the rounding.
      variables: parameters and mutable collections of one member.
      record: what players.json says of it: evaluators, trained, inputs, and of what makes images how it draws them.
      data: what players.json says of the data of its stage: image_shape, num_classes, class_names, fields, degrade.
      config: `data` of the config, as it holds in its stage.
      stage: that trained it, and its arm.
      arm: of that stage.
      seed: of the run.
      step: after which its parameters are taken.
      player: what the config says of it.
      workdir: where it lies.
    """

    run: Run
    name: str
    where: str
    module: nn.Module
    unrounded: nn.Module
    variables: Variables
    record: Mapping[str, Any]
    data: Mapping[str, Any]
    config: Data
    stage: Stage
    arm: Arm
    seed: int
    step: int
    player: Player
    workdir: pathlib.Path

    @property
    def inputs(self) -> dict[str, Field]:
        """The fields that it is given, in order; of a run without such a record the images."""
        images = {"kind": "image", "shape": self.data["image_shape"]}
        fields = self.data.get("fields", {MAIN: images})
        of = {name: dict(fields[name]) for name in self.record.get("inputs", (MAIN,))}
        for about in of.values():
            if self.record.get("any_size") and about["kind"] == "image":
                about["shape"] = [None, None, about["shape"][2]]
        return {
            name: Field(about["kind"], tuple(about["shape"]), None, tuple(about.get("names", ())), about.get("size", 0))
            for name, about in of.items()
        }


class Wanted(NamedTuple):
    """Which trained players may be meant.

    Attributes:
      what: they are called, in messages.
      accepts: whether one is, by its record in players.json.
      one_arm: whether an arm must be named where several have the player; else the last one is meant.
    """

    what: str
    accepts: Callable[[Mapping[str, Any]], bool]
    one_arm: bool


def describe_players(run: Run, inputs: Inputs, programs: Mapping[str, Sequence[Program]]) -> dict[str, Any]:
    """The content of players.json: {"data": ..., "stage_data": {stage: ...}, "stages": {stage: {arm: {player: ...}}}}."""
    by_stage = {
        stage.name: {
            arm.name: _players(program_of(programs[stage.name], arm.name), inputs.of(stage.name)) for arm in stage.arms
        }
        for stage in run.stages
    }
    stages = {stage: _data(own) for stage, own in inputs.stages.items()}
    return {"data": _data(inputs), **({"stage_data": stages} if stages else {}), "stages": by_stage}


def _data(inputs: Inputs) -> dict[str, Any]:
    return {
        "image_shape": list(inputs.train.image_shape),
        "num_classes": inputs.num_classes,
        "class_names": list(inputs.class_names),
        **({"degrade": plain(inputs.config.degrade)} if inputs.config.degrade else {}),
        "fields": {
            name: {"kind": field.kind, "shape": list(field.shape), "names": list(field.names), "size": field.size}
            for name, field in inputs.train.fields.items()
        },
    }


def _players(program: Program, inputs: Inputs) -> dict[str, dict[str, Any]]:
    return {name: about_player(program, name, inputs) for name in program.modules}


def about_player(program: Program, name: str, inputs: Inputs) -> dict[str, Any]:
    """What a player is judged by, or, where it is not, what it would be judged by; and how images are drawn from it."""
    given, output = program.inspection.inputs[name], program.inspection.outputs[name]
    several = program.evaluators.get(name) or evaluators.default(
        name, given, output, evaluators.fields_of(inputs, program.example)
    )
    drawn = next((one.draws(given, output) for one in several if one.draws is not None), None)
    return {
        "evaluators": [one.name for one in several],
        "trained": name in program.method.trained,
        "inputs": list(program.inputs_of(name)),
        "sizes": sizes_of(inputs.fields, program.inputs_of(name)),
        **({"any_size": True} if _takes_any_size(program, inputs) else {}),
        **({"gives": IMAGES} if drawn is None and _gives_images(program, name, several) else {}),
        **({} if drawn is None else {"draws": dict(drawn)}),
    }


def _gives_images(program: Program, name: str, several: Sequence[Evaluator]) -> bool:
    """Whether a player makes an image of an image: its evaluators say so, or, where nothing judges it, its shapes do."""
    if several:
        return any(one.gives == IMAGES for one in several)
    output: Any
    output, place = program.inspection.outputs[name], program.places_of_inputs(name)
    if name.startswith((*evaluators.NOT_MEASURED, *evaluators.IF_IT_FITS)) or not place:
        return False
    given = program.inspection.inputs[name][0][place[0]]
    if len(place) > 1 or getattr(output, "ndim", 0) != 4 or given.ndim != 4:
        return False
    scale = output.shape[1] // given.shape[1]
    sided = scale >= 1 and output.shape[1:3] == (scale * given.shape[1], scale * given.shape[2])
    return sided and output.shape[3] in (1, 3, given.shape[3])


def _takes_any_size(program: Program, inputs: Inputs) -> bool:
    """Whether players are trained on windows, and measured on whole images, of data whose images have one size."""
    image: Any = program.example.get(MAIN)
    field = inputs.train.image_field
    if not (inputs.config.degrade or program.windows_first) or field is None or getattr(image, "ndim", 0) != 4:
        return False
    return image.shape[1:3] != inputs.train.fields[field].shape[:2]


def predicts(about: Mapping[str, Any]) -> bool:
    """Whether a player of players.json is called with data: it is judged or makes images of images, and draws none."""
    return (bool(about["evaluators"]) or about.get("gives") == IMAGES) and "draws" not in about


def restores(about: Mapping[str, Any]) -> bool:
    """Whether a player of players.json makes an image of an image."""
    return about.get("gives") == IMAGES or (
        predicts(about) and "restorer" in about["evaluators"]
    )  # of earlier versions


def makes_images(about: Mapping[str, Any]) -> bool:
    """Whether a player of players.json makes images of noise."""
    return "draws" in about


def find(
    workdir: str | pathlib.Path, wanted: Wanted, *, player: str | None, stage: str | None, arm: str | None,
    member: int | None, average: bool, best: bool = False, models: Mapping[str, nn.Module] | None = None,
) -> Trained:  # fmt: skip
    """The trained player that is meant, of those that are wanted, from the last checkpoint of its stage.

    Warns where the run is not finished.

    Args:
      workdir: of a run that has a checkpoint of that stage.
      wanted: which players may be meant.
      player: by default the one that the stage trains, `student` before others.
      stage: by default the last one that trains the player.
      arm: by default the only one of the stage, or, where that is allowed, the last one.
      member: seed of the run; by default its first.
      average: take the moving average of the parameters where there is one.
      best: take the parameters that were best on the validation split, in place of the last ones.
      models: the modules that the run was handed over in Python.

    Raises:
      ConfigError: no run or no checkpoint there, or no such player, stage, arm, seed or best; what there is, is named.
    """
    workdir = files.folder(workdir)
    run = claim.remembered(workdir)
    _check_stage(run, stage)
    record = _record(workdir, run)
    at, which, name = _choose(run, record["stages"], wanted, player, stage, arm)
    seed = run.seed if member is None else member
    if seed not in run.seeds:
        raise ConfigError(f"member {member}: the run has the seeds {', '.join(map(str, run.seeds))}")
    saved = restore_member(workdir, run, at.name, which.name, seed)
    if saved is None:
        raise ConfigError(
            f"workdir {workdir}: stage {at.name} has no checkpoint of arm {which.name}, seed {seed} yet; run --mode=train"
            " first"
        )
    step = int(saved["state"]["step"])
    if step < which.steps:
        warnings.warn(
            f"the run in {workdir} is not finished: its last checkpoint of {name} (stage {at.name}, arm {which.name}) is"
            f" taken, of step {step:,} of {which.steps:,}",
            stacklevel=3,
        )
    data = record.get("stage_data", {}).get(at.name, record["data"])
    variables = best_of(saved, name, average) if best else last_of(saved["state"], name, average)
    build_with = lambda player: build_module(
        name, player, at.data, _sizes(record, at.name, which.name, name), handed_over=models
    )
    player_fields = which.players[name]
    module = build_with(player_fields)
    return Trained(
        run=dataclasses.replace(run, models=dict(models or {})),
        name=name,
        where=f"stage {at.name}, arm {which.name}, seed {seed}, step {step:,}"
        + (" (best by validation)" if best else ""),
        module=module,
        unrounded=build_with(dataclasses.replace(player_fields, quantise=None)) if player_fields.quantise else module,
        variables=variables,
        record=record["stages"][at.name][which.name][name],
        data=data,
        config=at.data,
        stage=at,
        arm=which,
        seed=seed,
        step=step,
        player=player_fields,
        workdir=workdir,
    )


def _check_stage(run: Run, stage: str | None) -> None:
    names = [one.name for one in run.stages]
    if stage is not None and stage not in names:
        raise ConfigError(f"--stage={stage}: the run has no such stage; accepted are {', '.join(names)}")


def _sizes(record: Mapping[str, Any], stage: str, arm: str, player: str) -> dict[str, int]:
    """What a player's module takes from the data; of a run of an earlier version the number of classes."""
    classes = {"num_classes": record["data"]["num_classes"]} if record["data"]["num_classes"] else {}
    return record["stages"][stage][arm][player].get("sizes", classes)


def restore_member(workdir: pathlib.Path, run: Run, stage: str, arm: str, seed: int) -> Mapping[str, Any] | None:
    """{"state": ..., "best": ...} of one member from the last checkpoint of a stage; None where there is none."""
    several = portions.stored(workdir / claim.CHECKPOINTS / stage, run.seed)
    portion = next((portion for portion in several if (seed, arm) in portion.members), None)
    restored = None if portion is None else Checkpoints(portion.folder).restore_latest()
    if portion is None or restored is None:
        return None
    return jax.tree.map(lambda leaf: leaf[portion.seeds.index(seed)], restored.tree[arm])


def _record(workdir: pathlib.Path, run: Run) -> Mapping[str, Any]:
    path = workdir / claim.PLAYERS
    if path.exists():
        try:
            record = _of_today(files.read_json(path))
        except ValueError as error:
            raise ConfigError(f"workdir {workdir}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"workdir {workdir}: {path} is damaged") from error
        lacking = [
            f"{stage.name}/{arm.name}"
            for stage in run.stages
            for arm in stage.arms
            if arm.name not in record["stages"].get(stage.name, {})
        ]
        if lacking or "data" not in record:
            raise ConfigError(f"workdir {workdir}: {path} is damaged; it lacks {', '.join(lacking) or 'the data'}")
        return record
    inputs = stage_data.load(run)
    return describe_players(run, inputs, build.all_programs(run, inputs, read_checkpoints=False))


def _of_today(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of players.json, where an earlier version wrote {"kind", "latent", "conditional"} of a player."""

    def about(player: Mapping[str, Any]) -> Mapping[str, Any]:
        if "evaluators" in player:
            return player
        kind, (latent, conditional) = player["kind"], (player.get("latent"), player.get("conditional"))
        known = {"evaluators": [] if kind is None else [kind], "trained": player["trained"]}
        if latent is None:
            return known
        way = way_of(kind)
        return {**known, "draws": {"latent": latent, "conditional": conditional, "method": way}}

    stages = {
        stage: {arm: {name: about(player) for name, player in players.items()} for arm, players in arms.items()}
        for stage, arms in record["stages"].items()
    }
    return {**record, "stages": stages}


def last_of(state: Mapping[str, Any], player: str, average: bool) -> Variables:
    averaged = average and player in state.get("ema", {})
    params, held = ("ema", "ema_state") if averaged else ("params", "model_state")
    return {"params": state[params][player], "model_state": state.get(held, {}).get(player, {})}


def best_of(saved: Mapping[str, Any], player: str, average: bool) -> Variables:
    kept = saved.get("best", {})
    entry = player + AVERAGE if average and player + AVERAGE in kept else player
    if entry not in kept:
        raise ConfigError(
            "best = True: the run has no validation split, so none is best by validation; set data.validation and train"
            " again, or leave out best"
        )
    if not np.isfinite(kept[entry]["value"]):
        raise ConfigError("best = True: nothing is measured on the validation split yet; leave out best, or train on")
    return {"params": kept[entry]["params"], "model_state": kept[entry].get("model_state", {})}


def _choose(
    run: Run, recorded: Mapping[str, Any], wanted: Wanted, player: str | None, stage: str | None, arm: str | None
) -> tuple[Stage, Arm, str]:
    trained = [
        (at, which, name)
        for at in run.stages
        for which in at.arms
        for name, about in sorted(recorded[at.name][which.name].items(), key=lambda item: item[0] == "student")
        if about["trained"] and wanted.accepts(about)
    ]
    meant = [
        (at, which, name) for at, which, name in trained
        if stage in (None, at.name) and arm in (None, which.name) and player in (None, name)
    ]  # fmt: skip
    if not meant:
        given = (("player", player), ("stage", stage), ("arm", arm))
        asked = ", ".join(f"{field} {value!r}" for field, value in given if value is not None)
        there = "; ".join(f"{at.name}/{which.name}: {name}" for at, which, name in trained) or "none"
        raise ConfigError(
            f"no {wanted.what} for {asked or 'this run'}; those that it trained (stage/arm: player) are {there}"
        )
    at, which, name = meant[-1]
    arms = [other.name for stage_of, other, player_of in meant if (stage_of.name, player_of) == (at.name, name)]
    if len(arms) > 1 and wanted.one_arm:
        raise ConfigError(f"arm is missing: stage {at.name} trained {name} in the arms {', '.join(arms)}; say which")
    return at, which, name
