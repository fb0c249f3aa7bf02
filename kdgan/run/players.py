"""The players of an arm as Flax modules, and the devices over which their batches are split."""

import jax
from flax import linen as nn

from kdgan import models, parallel
from kdgan.models.heads import SelectClasses
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs
from kdgan.run.schema import Arm, Player, Run


def build_modules(run: Run, arm: Arm, inputs: Inputs, *, synchronised: bool) -> dict[str, nn.Module]:
    """Each player's Flax module; where `synchronised`, batch norm averages over the devices that split a batch, if asked.

    Raises:
      ConfigError: no such model, or a field that it does not have.
    """
    axis_name = parallel.BATCH_AXIS if synchronised and splits_batch(run) else None
    return {name: build_module(name, player, inputs.num_classes, axis_name) for name, player in arm.players.items()}


def build_module(name: str, player: Player, num_classes: int | None, axis_name: str | None = None) -> nn.Module:
    """One player's, for data of so many classes, with batch norm over `axis_name` where the config asks for it."""
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in player.model_args.items()}
    try:
        module = models.build(player.model, **arguments)
        if hasattr(module, "num_classes") and "num_classes" not in arguments and num_classes:
            module = module.clone(num_classes=num_classes)
        if player.sync_batch_norm and not hasattr(module, "axis_name"):
            raise ValueError("sync_batch_norm needs a model with a field axis_name; this one has none")
        if player.sync_batch_norm and axis_name:
            module = module.clone(axis_name=axis_name)
        return module if player.classes is None else SelectClasses(module, tuple(player.classes))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.players.{name}: {error}") from error


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
