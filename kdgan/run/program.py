"""What the arms of one compiled step have in common: the value that a stage's config becomes (`run/build.py` builds it)."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

from kdgan import game
from kdgan.checkpoints.players import AVERAGE, BEST, Variables
from kdgan.evaluators import Evaluator, Measure
from kdgan.player import CACHED, CACHED_FEATURES, MAIN, UNLABELLED
from kdgan.run import schema
from kdgan.state import TrainState

__all__ = ["AVERAGE", "BEST", "Program", "Variables", "digest", "player_of", "program_of", "variables_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """What the arms of one compiled step have in common, and the λ's in which they differ.

    Attributes:
      stage: that they belong to.
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
      evaluators: measured player -> what it is judged by.
      settings: arm -> {"lambdas", "method"} as its config has them.
      example: shapes of a prepared batch, without what is cached.
      prepare: host batch, data set on the device -> batch.
      augment: its augmentation, as the config has it.
      windows_first: whether windows are cut first, of images that need not be (`run/batches.py`).
      whole: whether `cached` outputs are those of whole images (`run/whole_outputs.py`).
      views: fixed augmented forms of each example (`kdgan/data/views.py`); None: augmented anew at every step.
      inputs: player -> the fields that it is given, of those that are given others than the field `image` alone.
      shared: frozen players that are the same for every seed.
      sources: arm -> player -> what it starts from, of those that start from a checkpoint.
      beside: frozen players that the method does not call, and that are measured beside those that it does.
      cached: frozen players whose outputs, and features, are computed beforehand (`run/teacher_outputs.py`) and come with
        the batch.
      read: those of them whose parameters the method reads.
    """

    stage: str
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
    evaluators: Mapping[str, tuple[Evaluator, ...]]
    settings: Mapping[str, Mapping[str, Any]]
    example: Mapping[str, Any]
    prepare: Callable
    augment: Mapping[str, Any]
    views: int | None
    cached: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    beside: tuple[str, ...] = ()
    windows_first: bool = False
    whole: bool = False
    read: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def unused(self) -> tuple[str, ...]:
        """The cached players of which a step needs no parameters."""
        return tuple(name for name in self.cached if name not in self.read)

    @property
    def step_example(self) -> dict[str, Any]:
        """Shapes of a batch as the step gets it: with the outputs and features of the cached players."""
        example = {**self.example, **self._carried(self.example)}
        if UNLABELLED in example:
            example[UNLABELLED] = {**example[UNLABELLED], **self._carried(example[UNLABELLED])}
        return example

    def _carried(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of what a part of the batch holds of the cached players."""
        shape = lambda leaf: jax.ShapeDtypeStruct((len(part[MAIN]), *leaf.shape[1:]), np.float32)
        features = {name: jax.tree.map(shape, asked) for name in self.cached if (asked := self.features_of(name))}
        outputs = {name: shape(self.inspection.outputs[name]) for name in self.cached}
        return {kind: held for kind, held in ((CACHED, outputs), (CACHED_FEATURES, features)) if held}

    def features_of(self, player: str) -> Mapping[str, Any]:
        """Module path -> shape of the feature, of those that the method asks the player for."""
        return self.inspection.features.get(player, {})

    def draws(self, player: str) -> Mapping[str, Any] | None:
        """How images are drawn from a player (`Evaluator.draws`); None where it makes none of noise."""
        given, output = self.inspection.inputs[player], self.inspection.outputs[player]
        ways = (evaluator.draws for evaluator in self.evaluators.get(player, ()) if evaluator.draws is not None)
        return next((way(given, output) for way in ways), None)

    def latent(self, player: str) -> int:
        """Dimension of the noise that a player is given which makes images of it; 0 of others."""
        drawn = self.draws(player)
        return 0 if drawn is None else drawn["latent"]

    def measures(self, player: str) -> tuple[Measure, ...]:
        """What a player is measured by, in order: the first is what its arms are compared by."""
        return tuple(measure for evaluator in self.evaluators.get(player, ()) for measure in evaluator.measures)

    def inputs_of(self, player: str) -> tuple[str, ...]:
        """The fields that a player is given."""
        return self.inputs.get(player, (MAIN,))

    def places_of_inputs(self, player: str) -> range | None:
        """At which places a method passes the player its inputs in its first call; None: it is called with others."""
        args, _ = self.inspection.inputs[player]
        if any(field not in self.example for field in self.inputs_of(player)):  # a batch without data
            return None
        shapes = [(value.shape[1:], value.dtype) if hasattr(value, "shape") else None for value in args]
        wanted = [(self.example[field].shape[1:], self.example[field].dtype) for field in self.inputs_of(player)]
        starts = (i for i in range(len(shapes)) if shapes[i : i + len(wanted)] == wanted)
        return next((range(i, i + len(wanted)) for i in starts), None)

    @property
    def lead(self) -> str:
        """The player whose loss a progress bar shows: the one that moves last."""
        return self.method.moves[-1].lead


def variables_of(state: TrainState, player: str) -> Variables:
    """A player's parameters and mutable collections."""
    return {"params": state.params[player], "model_state": state.model_state.get(player, {})}


def player_of(entry: str) -> str:
    """The player whose module an entry's parameters belong to."""
    return entry.removesuffix(AVERAGE).removesuffix(BEST)


def digest(module: nn.Module, variables: Variables) -> str:
    """Equal for equal players: a frozen teacher of many arms or seeds, a best step that is the last."""
    found = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode())  # a function's place is of no meaning
    for leaf in jax.tree.leaves(variables):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def program_of(programs: Sequence[Program], arm: str) -> Program:
    """The program of an arm; the only one where none is named."""
    return next(program for program in programs if not arm or arm in program.arms)
