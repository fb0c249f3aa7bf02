"""The network by whose features made images are measured: found in the config, and checked before anything compiles."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan import weights
from kdgan.evaluators.critic import RGB, SIDE, Critic
from kdgan.game import call_module
from kdgan.metrics.features import Extractor, inception_extractor, make_extractor
from kdgan.models.inception import InceptionV3
from kdgan.player import MAIN
from kdgan.run import evaluators as run_evaluators
from kdgan.run import sources
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs
from kdgan.run.players import build_module, sizes_of
from kdgan.run.program import Program, Variables, program_of
from kdgan.run.schema import Run, Start
from kdgan.run.sources import Source
from kdgan.state import check_same_shapes, variable_shapes

WHERE = "config.evaluate.extractor"
INCEPTION_FEATURES = 2048
INCEPTION_PIXELS = (0.5, 0.5)  # mean and std by which Inception's images are normalised


def needed(program: Program, players: Sequence[str] | None = None) -> bool:
    """Whether some player of a program, or of these of it, is measured by features of an extractor."""
    names = program.evaluators if players is None else players
    return any(evaluator.samples or evaluator.critic for name in names for evaluator in program.evaluators[name])


def _draws(programs: Mapping[str, Sequence[Program]]) -> bool:
    """Whether distributions are compared somewhere, for which as many images as features are too few."""
    players = (several for of in programs.values() for program in of for several in program.evaluators.values())
    return any(evaluator.samples for several in players for evaluator in several)


def first_stage(programs: Mapping[str, Sequence[Program]]) -> str | None:
    """The first stage that has a player measured so; None: there is none."""
    return next((stage for stage, several in programs.items() if any(map(needed, several))), None)


def check(run: Run, inputs: Inputs, programs: Mapping[str, Sequence[Program]]) -> None:
    """Where distributions are measured: there is an extractor before the first of them, and there are enough images for it.

    Raises:
      ConfigError: none is named, it does not exist, comes too late, lacks the layer, or has as many features as images.
    """
    first = first_stage(programs)
    if first is None:
        return
    all_inputs, inputs = inputs, inputs.of(first)
    spec = run.evaluate.extractor
    check_looks = functools.partial(_check_looks, all_inputs, programs)
    check_counts = functools.partial(_check_counts, run, inputs) if _draws(programs) else lambda features: None
    if (spec.stage, spec.checkpoint, spec.inception) == (None, None, None):
        raise ConfigError(
            f"{WHERE}: stage {first} makes images, which are measured by a network's features, and none is named;"
            " set .stage to an earlier stage that trains one, .checkpoint or .inception; or players.<name>.evaluate ="
            " 'nothing', or 'virtual' where a teacher of the arm is to judge them"
        )
    for field, path in (("checkpoint", spec.checkpoint), ("inception", spec.inception)):
        if path is not None and not pathlib.Path(path).exists():
            raise ConfigError(f"{WHERE}.{field} = {path!r}: there is no such file or folder")
    if spec.inception is not None:
        check_counts(INCEPTION_FEATURES)
        inception = InceptionV3(head_bias=False)
        image = jax.ShapeDtypeStruct((1, SIDE, SIDE, RGB), jnp.float32)
        check_looks(lambda: Critic(inception, variable_shapes(inception, ((image,), {}))))
    if spec.checkpoint is not None:
        (module, source), image = from_checkpoint(run, inputs), _image_of(inputs)
        check_counts(_features(spec.layer, module, source.shapes(), image))
        check_looks(lambda: Critic(module, source.shapes(), channels=image.shape[-1]))
    if spec.stage is None:
        return
    name, _, arm = spec.stage.partition("/")
    order = [stage.name for stage in run.stages]
    if name not in order or order.index(name) >= order.index(first):
        raise ConfigError(
            f"{WHERE}.stage = {spec.stage!r}: must be a stage before {first}, where images are measured first;"
            f" those are {', '.join(order[: order.index(first)]) or 'none'}"
        )
    arms = [a for program in programs[name] for a in program.arms]
    if arm and arm not in arms:
        raise ConfigError(f"{WHERE}.stage = {spec.stage!r}: stage {name} has the arms {', '.join(arms)}")
    program = program_of(programs[name], arm)
    if spec.player not in program.modules:
        raise ConfigError(
            f"{WHERE}.player = {spec.player!r}: stage {name} has the players {', '.join(program.modules)}"
        )
    _check_inputs(spec.player, program.inputs_of(spec.player))
    module, shapes = program.local_modules[spec.player], program.inspection.inputs[spec.player]
    variables, image = variable_shapes(module, shapes), shapes[0][0]
    check_counts(_features(spec.layer, module, variables, image))
    check_looks(lambda: Critic(module, variables, channels=image.shape[-1]))


def _check_looks(inputs: Inputs, programs: Mapping[str, Sequence[Program]], network: Callable[[], Critic]) -> None:
    """The extractor has the layers that evaluators compare images by, of images of the size that they are given."""
    looking = {
        (stage, evaluator): (player, evaluator.looks)
        for stage, several in programs.items()
        for program in several
        for player, of_player in program.evaluators.items()
        for evaluator in of_player
        if evaluator.critic and evaluator.looks is not None
    }
    critic = network() if looking else None
    for (stage, evaluator), (player, looks) in looking.items():
        reason = looks(critic, run_evaluators.whole_fields(inputs.of(stage).test))
        if reason is not None:
            raise ConfigError(f"config.players.{player}.evaluate = {evaluator.name!r}: by {WHERE}, {reason}")


def _check_inputs(player: str, fields: Sequence[str]) -> None:
    if tuple(fields) != (MAIN,):
        raise ConfigError(
            f"{WHERE}.player = {player!r}: it is given {', '.join(fields)}, and made images come alone; name a player that"
            " is given image"
        )


def _features(layer: str, module: nn.Module, variables: Any, image: Any) -> int:
    """How many features the layer has."""
    try:
        return jax.eval_shape(lambda variables, image: call_module(
            module, variables, image, train=False, features=(layer,)
        )[2][layer], variables, image).shape[-1]  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"{WHERE}.layer = {layer!r}: {error}") from error


def _check_counts(run: Run, inputs: Inputs, features: int) -> None:
    counts = {
        "evaluate.samples": run.evaluate.samples,
        "evaluate.validation_samples": run.evaluate.validation_samples,
        "data.validation": len(next(iter(inputs.partitions.values())).validation),
        f"data.test (split {inputs.test.split!r})": len(inputs.test),
    }
    for field, count in counts.items():
        if count and count <= features:
            raise ConfigError(
                f"config.{field} = {count}: a Fréchet distance of {features} features ({WHERE}) needs more images than"
                " that; with fewer, their covariance is singular"
            )


def from_files(run: Run, inputs: Inputs) -> tuple[Extractor, str] | None:
    """(the extractor of a checkpoint folder, or InceptionV3; whose it is); None where a stage of the run trains it.

    Raises:
      ConfigError: the files do not hold what they should.
    """
    spec = run.evaluate.extractor
    if spec.inception is not None:
        try:
            return inception_extractor(spec.inception), ""
        except (ValueError, OSError, ImportError) as error:
            raise ConfigError(f"{WHERE}.inception = {spec.inception!r}: {error}") from error
    if spec.checkpoint is None:
        return None
    module, source = from_checkpoint(run, inputs)
    whose = ", ".join(filter(None, [f"{spec.player} of {source.folder}", source.whose(spec.player)]))
    return of_player(run, module, source.of(run.seed), int(inputs.train.image_shape[-1])), whose


def from_checkpoint(run: Run, inputs: Inputs) -> tuple[nn.Module, Source]:
    """The module, and the player of the checkpoint: of a population the member of the run's first seed, else the first."""
    spec = run.evaluate.extractor
    if spec.player not in run.players:
        raise ConfigError(f"{WHERE}.player = {spec.player!r}: players are {', '.join(run.players)}")
    _check_inputs(spec.player, tuple(run.players[spec.player].inputs) or inputs.train.inputs)
    module = build_module(
        spec.player, run.players[spec.player], inputs.config, sizes_of(inputs.fields, inputs.train.inputs)
    )
    image = _image_of(inputs)
    try:
        shapes = variable_shapes(module, ((image,), {}))
    except ValueError as error:
        raise ConfigError(f"{WHERE}.player = {spec.player!r}: {str(error).splitlines()[0]}") from error
    start = Start(checkpoint=spec.checkpoint, player=spec.player)
    path = spec.checkpoint or ""
    try:
        if weights.is_foreign(path):
            source = sources.from_elsewhere(path, start, module, ((image,), {}))
        else:
            source = sources.read(path, start, shapes["params"])
        check_same_shapes(source.shapes()["params"], shapes["params"], spec.player)
    except (ValueError, LookupError, OSError) as error:
        raise ConfigError(f"{WHERE}.checkpoint = {spec.checkpoint!r}: {error}") from error
    seeds = source.seeds or (None,)
    return module, dataclasses.replace(source, taken={run.seed: run.seed if run.seed in seeds else seeds[0]})


def _image_of(inputs: Inputs) -> jax.ShapeDtypeStruct:
    """[1, h, w, c], an image that a checkpoint's network is laid out with."""
    return jax.ShapeDtypeStruct((1, *(side or SIDE for side in inputs.train.image_shape)), jnp.float32)


def pixels_of(run: Run, inputs: Inputs, programs: Mapping[str, Sequence[Program]]) -> tuple[Any, Any]:
    """(mean, std) by which the extractor's images are normalised: those of the data that it was, or is, trained on."""
    spec, first = run.evaluate.extractor, first_stage(programs)
    if spec.inception is not None:
        return INCEPTION_PIXELS
    data = inputs.of(spec.stage.partition("/")[0] if spec.stage is not None else first or "").config
    return data.mean, data.std


def of_player(run: Run, module: nn.Module, variables: Variables, channels: int) -> Extractor:
    """The extractor that a network with these variables is, of images of so many channels."""
    spec = run.evaluate.extractor
    extractor = make_extractor(
        module,
        {"params": variables["params"], **variables.get("model_state", {})},
        layer=spec.layer,
        name=spec.name or type(module).__name__.lower(),
        batch_size=run.evaluate.batch_size,
    )
    return dataclasses.replace(extractor, channels=channels)
