"""The players of an arm as Flax modules, what each is given, and the devices over which their batches are split."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan import models, parallel
from kdgan.data.fields import LABEL, TARGETS, Field, with_masks
from kdgan.models.heads import SelectClasses
from kdgan.models.probabilities import LogProbabilities
from kdgan.models.quantised import quantised
from kdgan.models.renormalised import Renormalised
from kdgan.models.text import out_of_range
from kdgan.player import MAIN, UNLABELLED
from kdgan.run.config import ConfigError
from kdgan.run.inputs import HANDED_OVER, Inputs
from kdgan.run.schema import Arm, Data, Player, Run


def build_modules(run: Run, arm: Arm, inputs: Inputs, *, synchronised: bool) -> dict[str, nn.Module]:
    """Each player's Flax module; where `synchronised`, batch norm averages over the devices that split a batch, if asked.

    Raises:
      ConfigError: no such model, or a field that it does not have; a vocabulary that lacks tokens of the data.
    """
    axis_name = parallel.BATCH_AXIS if synchronised and splits_batch(run) else None
    modules = {}
    for name, player in arm.players.items():
        given = tuple(player.inputs) or inputs.train.inputs
        sizes = sizes_of(inputs.fields, given)
        if inputs.has_training:  # for what remembers something of each
            sizes["examples"] = inputs.examples
        modules[name] = build_module(name, player, inputs.config, sizes, axis_name, run.models)
        _check_vocabulary(name, player, given, inputs)
    return modules


def sizes_of(fields: Mapping[str, Field], given: Sequence[str]) -> dict[str, int]:
    """Fields of a module that follow from the data: how many outputs, and how many tokens there are in what it is given."""
    label = fields.get(LABEL)
    outputs = 0 if label is None else math.prod(label.shape) if label.kind == "number" else label.size  # type: ignore
    read = [fields[name].size for name in (*given, TARGETS[1]) if name in fields and fields[name].kind == "tokens"]
    sizes = {"num_classes": outputs, "vocabulary": max(read, default=0)}
    return {name: size for name, size in sizes.items() if size}


def _check_vocabulary(name: str, player: Player, given: Sequence[str], inputs: Inputs) -> None:
    """Refuse a vocabulary of the config that lacks a token of the data."""
    vocabulary = player.model_args.get("vocabulary")
    if not isinstance(vocabulary, int):
        return
    for split, dataset in ((inputs.config.train, inputs.train), (inputs.config.test, inputs.test)):
        for field in given:
            if field not in dataset.fields or dataset.fields[field].kind != "tokens":
                continue
            if (wrong := out_of_range(dataset.arrays[field], vocabulary)) is not None:
                raise ConfigError(
                    f"config.players.{name}.model_args.vocabulary = {vocabulary}: example {wrong[0]} of split {split!r} has"
                    f" the token {wrong[1]} in {field!r}; {dataset.fields[field].size} or more are accepted"
                )


def build_module(
    name: str, player: Player, data: Data, sizes: Mapping[str, int], axis_name: str | None = None,
    handed_over: Mapping[str, nn.Module] | None = None,
) -> nn.Module:  # fmt: skip
    """One player's, with the sizes that follow from the data, and batch norm over `axis_name` where the config asks.

    Args:
      name: of the player.
      player: what the config says of it.
      data: by which images are normalised.
      sizes: fields of the module that follow from the data, as `sizes_of` gives them.
      axis_name: of the devices that split a batch.
      handed_over: modules from Python, by the names under which players' `model`s know them.

    Raises:
      ConfigError: no such model, a field that it does not have, or a value that it refuses.
    """
    arguments = {key: models.hashable(value) for key, value in player.model_args.items()}
    try:
        follows = {**sizes, "player": name}  # the last for messages
        module = _handed_over(player.model, arguments, handed_over or {}) or _built(player.model, arguments, follows)
        if player.sync_batch_norm and not hasattr(module, "axis_name"):
            raise ValueError("sync_batch_norm needs a model with a field axis_name; this one has none")
        if axis_name and (player.sync_batch_norm or getattr(module, "over_devices", False)):
            module = module.clone(axis_name=axis_name)
        module = module if player.quantise is None else quantised(module, player.quantise)
        gives_logarithms = getattr(module, "outputs", None) == "probabilities"  # a function that says so itself
        module = _renormalised(module, player, data)
        if player.outputs == "probabilities" and not gives_logarithms:
            module = LogProbabilities(module)
        return module if player.classes is None else SelectClasses(module, tuple(player.classes))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.players.{name}: {error}") from error


def _built(model: str, arguments: Mapping[str, Any], sizes: Mapping[str, Any]) -> nn.Module:
    module = models.build(model, **arguments)
    unsaid = {name: size for name, size in sizes.items() if hasattr(module, name) and name not in arguments}
    return module.clone(**unsaid) if unsaid else module


def _handed_over(model: str, arguments: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> nn.Module | None:
    """The module from Python that a model names; None: it names none."""
    if not model.startswith(HANDED_OVER):
        return None
    if model not in modules:
        raise ValueError(
            f"model = {model!r} was handed over in Python; give it again, models={{{model!r}: module}}, or call"
            " kdgan.compare as before"
        )
    if arguments:
        raise ValueError(
            f"model_args = {dict(arguments)}: {model!r} was handed over in Python as it is; leave them out"
        )
    return modules[model]


def _renormalised(module: nn.Module, player: Player, data: Data) -> nn.Module:
    """The module, seeing images by the mean, standard deviation and size that the config gives it."""
    if player.mean is None and player.std is None and player.image_size is None:
        return module
    size = player.image_size
    return Renormalised(
        module,
        mean=data.mean if player.mean is None else player.mean,
        std=data.std if player.std is None else player.std,
        data_mean=data.mean,
        data_std=data.std,
        image_size=None if size is None else (size, size) if isinstance(size, int) else (size[0], size[1]),
    )


def inputs_of(arm: Arm, fields: Collection[str], default: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Player -> the fields that it is given, tokens with their masks, of those whose inputs are not `image` alone.

    Args:
      arm: whose players.
      fields: of the data.
      default: what a player is given whose config does not say it.

    Raises:
      ConfigError: a field that the data do not have, or data without any but targets.
    """
    if not default:
        raise ConfigError(f"config.data: of the fields {', '.join(fields)} none can be given to a player; add one")
    inputs = {name: tuple(player.inputs) or tuple(default) for name, player in arm.players.items()}
    for name, own in inputs.items():
        absent = [field for field in own if field not in fields]
        if absent:
            raise ConfigError(
                f"config.players.{name}.inputs = {own}: the data have no field {absent[0]!r}; their fields are"
                f" {', '.join(fields)}"
            )
    whole = {name: with_masks(own, fields) for name, own in inputs.items()}
    return {name: own for name, own in whole.items() if own != (MAIN,)}


def with_main_input(prepare: Callable, inputs: Sequence[str]) -> Callable:
    """`prepare` of data without a field `image`: the first of these fields stands for it, under that name."""

    def prepared(raw, arrays):
        batch = prepare(raw, arrays)
        for part in (batch, batch.get(UNLABELLED, {})):
            if MAIN not in part and inputs[0] in part:
                part[MAIN] = jnp.array(part[inputs[0]], copy=True)
        return batch

    return prepare if MAIN in inputs else prepared


def device_count(run: Run) -> int:
    """Local devices over which a batch is split.

    Raises:
      ConfigError: more are asked for than there are.
    """
    count = run.parallel.devices or jax.local_device_count()
    if count > jax.local_device_count():
        raise ConfigError(f"config.parallel.devices = {count}: this process has {jax.local_device_count()} devices")
    if jax.process_count() > 1 and count != jax.local_device_count():
        raise ConfigError(
            f"config.parallel.devices = {count}: of several processes each uses all of its {jax.local_device_count()}"
            " devices; set it to 0"
        )
    return count


def splits_batch(run: Run) -> bool:
    return device_count(run) * jax.process_count() > 1
