"""What is measured of a run's players: each by its evaluators, on a run's splits, every example once.

An entry is a player, or another set of its parameters under a name of its own: the moving average, or the best by
validation.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kdgan import parallel
from kdgan.data.cache import cache_dir
from kdgan.evaluators import Evaluator, Judged, Setting
from kdgan.run import build, extractors
from kdgan.run.inputs import Inputs
from kdgan.run.program import AVERAGE, Program, Variables, program_of, variables_of
from kdgan.run.schema import Data, Run
from kdgan.run.splits import Splits
from kdgan.run.totals import as_players_see, make_forward, make_totals
from kdgan.state import TrainState

KEYS = {"training": 0, "validation": 1, "test": 2}  # of the random numbers that an evaluator may draw

Outputs = list[Any]  # of each evaluation batch
OfArm = Callable[[str], Variables]  # name of a player of an arm -> its variables


def entries_of(state: TrainState, players) -> dict[str, Variables]:
    """The evaluated entries of a state: `players`, and the moving averages among them."""
    entries = {name: variables_of(state, name) for name in players}
    averages = {
        name + AVERAGE: {"params": state.ema[name], "model_state": state.ema_state.get(name, {})}
        for name in players
        if name in state.ema
    }
    return {**entries, **averages}


def measured_players(program: Program, trained_only: bool = False) -> tuple[str, ...]:
    """The players of a program that are measured."""
    names = program.method.trained if trained_only else tuple(program.modules)
    return tuple(name for name in names if name in program.evaluators)


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured of an entry.

    Attributes:
      numbers: measure -> number.
      vectors: measure -> one number for each class or tag [k].
      sums: evaluator -> its sums of the split.
      kept: name -> what its evaluators keep of each example [n, ...].
    """

    numbers: dict[str, float]
    vectors: dict[str, np.ndarray]
    sums: dict[str, Any]
    kept: dict[str, np.ndarray]


class OnData(NamedTuple):
    """Data that players are measured on: the run's, or those of a stage of its own.

    Attributes:
      inputs: the data.
      splits: what is evaluated of them.
      setting: what evaluators are offered beside their batches.
    """

    inputs: Inputs
    splits: Splits
    setting: Setting


class Evaluation:
    """Everything that measures, shared by all stages. Compiled programs are kept: one of each module and evaluator.

    A player is measured on the data of the stage that its program belongs to.
    """

    def __init__(self, run: Run, inputs: Inputs, programs: Mapping[str, Sequence[Program]]):
        self._run, self._inputs, self._programs = run, inputs, programs
        self._compute = build.COMPUTE[run.parallel.compute]
        self._forward: dict[Any, Callable] = {}
        self._totals: dict[Any, Callable] = {}
        self._known: dict[int, OnData] = {}
        everyone = [program for several in programs.values() for program in several]
        self._latent = max((program.latent(name) for program in everyone for name in program.evaluators), default=0)
        first = extractors.first_stage(programs)
        self.samples = first is not None
        self._extractor = None if first is None else extractors.from_files(run, inputs.of(first))

    def on(self, program: Program) -> OnData:
        """The data of a program's stage."""
        return self.on_data_of(program.stage)

    def on_data_of(self, stage: str) -> OnData:
        """The same, by the name of the stage."""
        inputs = self._inputs.of(stage)
        if id(inputs) not in self._known:
            splits = Splits(self._run, inputs)
            self._known[id(inputs)] = OnData(inputs, splits, self._make_setting(inputs, splits))
        return self._known[id(inputs)]

    def _make_setting(self, inputs: Inputs, splits: Splits) -> Setting:
        data, run = inputs.config, self._run
        extractor, whose = self._extractor or (None, "")
        return Setting(
            splits=splits,
            fields=inputs.fields,
            data=data.name,
            mean=data.mean,
            std=data.std,
            samples={"validation": run.evaluate.validation_samples, "test": run.evaluate.samples},
            latent=self._latent,
            extractor=extractor,
            extractor_from=whose,
            extractor_pixels=extractors.pixels_of(run, self._inputs, self._programs),
            training=(inputs.train.fetch, next(iter(inputs.partitions.values())).train),
            compute_dtype=self._compute,
            cache=cache_dir(),
            see=functools.partial(as_players_see, data),
        )

    def learn(self, stage: str, finished: Mapping[str, Mapping[int, Mapping[str, Variables]]]) -> None:
        """Take the extractor from the stage that trains it, now that it is done: the first seed's."""
        spec = self._run.evaluate.extractor
        name, _, arm = (spec.stage or "").partition("/")
        if name != stage or not self.samples:
            return
        program = program_of(self._programs[stage], arm)
        variables = finished[arm or program.arms[0]][self._run.seed][spec.player]
        channels = program.inspection.inputs[spec.player][0][0].shape[-1]
        extractor = extractors.of_player(self._run, program.local_modules[spec.player], variables, channels)
        self._extractor = extractor, f"{spec.player} of stage {spec.stage}, seed {self._run.seed}"
        self._known = {
            place: on._replace(setting=self._make_setting(on.inputs, on.splits)) for place, on in self._known.items()
        }

    def judged(self, program: Program, player: str, variables: Variables, arm: OfArm | None = None) -> Judged:
        """A player with these variables, as an evaluator is given it; with the players of its arm that evaluators call."""
        inspection = program.inspection
        called = {name for evaluator in program.evaluators.get(player, ()) for name in evaluator.calls}
        return Judged(
            player, program.local_modules[player], variables, inspection.inputs[player], inspection.outputs[player],
            self._forward_of(program, player, self.on(program)),
            {} if arm is None else {name: self.judged(program, name, arm(name)) for name in sorted(called)},
        )  # fmt: skip

    def outputs(
        self, program: Program, player: str, variables: Variables, split: str, *, on: OnData | None = None
    ) -> Outputs:
        """A player's output on each evaluation batch of a split."""
        on = on or self.on(program)
        forward = self._forward_of(program, player, on)
        return [forward(variables, batch) for batch in on.splits.batches(split)]

    def measure(
        self, program: Program, player: str, variables: Variables, split: str, others: Mapping[str, Outputs] | None = None,
        *, keep: bool = False, on: OnData | None = None, arm: OfArm | None = None,
    ) -> Result:  # fmt: skip
        """All measures of a player with these variables.

        Args:
          program: that has the player.
          player: its name.
          variables: its parameters and mutable collections.
          split: "training", "validation" or "test".
          others: outputs of other players of the arm, which an evaluator may ask for.
          keep: also keep what evaluators keep of each example.
          on: the data; those of the program's stage by default.
          arm: name -> variables of the players of its arm, of which evaluators may call some; without it those are left out.
        """
        on = on or self.on(program)
        result = Result({}, {}, {}, {})
        summed = [evaluator for evaluator in program.evaluators[player] if evaluator.sums is not None]
        totals, kept = (
            self._sum(program, player, variables, split, summed, others or {}, keep, on) if summed else ({}, {})
        )
        for evaluator in program.evaluators[player]:
            measured: dict[str, Any] = {}
            if evaluator.summarise is not None:
                result.sums[evaluator.name] = totals[evaluator.name]
                measured |= evaluator.summarise(totals[evaluator.name])
            if evaluator.measure is not None and (arm is not None or not evaluator.calls):
                measured |= evaluator.measure(on.setting, self.judged(program, player, variables, arm), split)
            for measure in evaluator.measures:
                if measure.name in measured and measure.elements:
                    result.vectors[measure.name] = np.asarray(measured[measure.name], np.float64)
                elif measure.name in measured:
                    result.numbers[measure.name] = float(measured[measure.name])
        result.kept.update(kept)
        return result

    def _sum(self, program, player, variables, split, evaluators, others, keep, on) -> tuple[dict, dict]:
        forward = self._forward_of(program, player, on)
        totals = self._totals_of(program, player, tuple(evaluators), keep, on)
        key, batches = jax.random.key(KEYS[split]), []
        for i, batch in enumerate(on.splits.batches(split)):
            given = {name: outputs[i] for name, outputs in others.items()}
            output = forward(variables, batch)
            batches.append(totals(variables, batch, jax.random.fold_in(key, i), output, given))
        # Fetched when all is dispatched: the device computes while the host makes the next batch.
        fetched = jax.device_get(batches)
        sums = functools.reduce(lambda some, more: jax.tree.map(np.add, some, more), [sums for sums, _ in fetched])
        size, parts = on.splits.size(split), [kept for _, kept in fetched]
        return sums, {name: np.concatenate([part[name] for part in parts])[:size] for name in parts[0]}

    def _forward_of(self, program: Program, player: str, on: OnData) -> Callable:
        module, inputs, data = program.local_modules[player], program.inputs_of(player), on.inputs.config
        key = module, inputs, _pixels(data)
        if key not in self._forward:
            self._forward[key] = make_forward(module, data, self._compute, inputs)
        return self._forward[key]

    def _totals_of(
        self, program: Program, player: str, evaluators: tuple[Evaluator, ...], keep: bool, on: OnData
    ) -> Callable:
        module, inputs, data = program.local_modules[player], program.inputs_of(player), on.inputs.config
        key = module, inputs, evaluators, keep, _pixels(data)
        if key not in self._totals:
            self._totals[key] = parallel.compiled(
                make_totals(module, evaluators, data, self._compute, inputs, keep=keep)
            )
        return self._totals[key]


def _pixels(data: Data) -> str:
    """By what images are made what players see."""
    return repr((data.mean, data.std, data.degrade))
