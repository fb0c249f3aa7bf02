"""What the arms of one compiled step have in common: the value that a stage's config becomes (`run/stage.py` builds it)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax
from flax import linen as nn

from kdgan import game
from kdgan.run import schema
from kdgan.state import TrainState

Variables = dict[str, Any]  # {"params": tree, "model_state": tree}


@dataclasses.dataclass(frozen=True)
class Program:
    """What the arms of one compiled step have in common, and the λ's in which they differ.

    Attributes:
      arms: their names.
      method: moves.
      modules: player -> Flax module, for the players that the method calls.
      local_modules: the same without a device axis to synchronise over: to initialise, inspect and measure.
      optimizers: trained player -> optax chain.
      lambdas: arm -> leading player -> term -> λ (1 where a schedule gives it).
      schedules: leading player -> term -> schedule that multiplies the λ.
      ema: player -> decay.
      start: arm -> player -> where it starts; frozen players start alike in all arms.
      steps: of each member.
      batch_size: over all devices.
      inspection: the players' inputs and outputs, and the terms.
      kinds: measured player -> "classifier", "generator" or "autoencoder".
      example: shapes of a prepared batch.
      prepare: host batch, data set on the device -> batch.
    """

    arms: tuple[str, ...]
    method: game.Method
    modules: Mapping[str, nn.Module]
    local_modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, optax.GradientTransformation]
    lambdas: Mapping[str, Mapping[str, Mapping[str, float]]]
    schedules: Mapping[str, Mapping[str, optax.Schedule]]
    ema: Mapping[str, float]
    start: Mapping[str, Mapping[str, schema.Start]]
    steps: int
    batch_size: int
    inspection: game.Inspection
    kinds: Mapping[str, str]
    example: Mapping[str, Any]
    prepare: Callable

    @property
    def lead(self) -> str:
        """The player whose loss a progress bar shows: the one that moves last."""
        return self.method.moves[-1].lead


def variables_of(state: TrainState, player: str) -> Variables:
    """A player's parameters and mutable collections."""
    return {"params": state.params[player], "model_state": state.model_state.get(player, {})}


def program_of(programs: Sequence[Program], arm: str) -> Program:
    """The program of an arm; the only one where none is named."""
    return next(program for program in programs if not arm or arm in program.arms)
