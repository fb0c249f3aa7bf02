"""Frozen players looked at as a stage trains with them: how good they are, and what is wrong with them.

Each distinct one is evaluated once, on the validation split, else on some training images; never on the test split, so
that in a stage without data none is.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan import parallel
from kdgan.around import innermost
from kdgan.evaluators import Measure
from kdgan.models import Function, LogProbabilities, SelectClasses
from kdgan.models.probabilities import first_bad_row
from kdgan.run import batches as run_batches
from kdgan.run import on_host, teacher_outputs
from kdgan.run.config import ConfigError
from kdgan.run.evaluate import Evaluation, OnData
from kdgan.run.inputs import Inputs
from kdgan.run.population import Population
from kdgan.run.program import Program, Variables, digest, variables_of
from kdgan.run.schema import Run, Stage
from kdgan.run.sources import listed
from kdgan.run.totals import make_forward

LABEL = 10  # width of the first column, as in the explanation
SEEDS_SHOWN = 6  # players of so many seeds are listed one by one
CURE = "make its logits finite, as by jnp.clip(logits, -1e4, 1e4) in its model"


@dataclasses.dataclass
class Look:
    """What was seen of one distinct player.

    Attributes:
      name: of the player.
      where: where it came from, in words.
      arms: of the stage that have it.
      seeds: that have it.
      measure: what it is compared by.
      value: of that measure, as shown.
      not_finite: examples on which an output is NaN or infinite.
      count: examples.
      advice: what its evaluators say looks wrong.
      of_run: an earlier stage of the run trained it.
    """

    name: str
    where: str
    arms: list[str]
    seeds: list[int]
    measure: Measure
    value: float
    not_finite: int
    count: int
    advice: Sequence[str]
    of_run: bool


class Frozen:
    """Looks at the frozen players of a run's stages that are judged on the data, at each once.

    Args:
      run: the run.
      evaluation: whose splits and compiled forward passes are used; a later evaluation compiles nothing again.
    """

    def __init__(self, run: Run, evaluation: Evaluation):
        self._run, self._evaluation = run, evaluation
        self._known: set[str] = set()

    def lines(self, stage: Stage, populations: Sequence[Population]) -> list[str]:
        """What is to be said of those that no earlier stage spoke of: how good they are, and warnings."""
        looks: dict[str, Look] = {}
        for population in populations:
            program = population.program
            names = [
                n for n in frozen(program) if n in program.evaluators and program.evaluators[n][0].sums is not None
            ]
            inputs = self._evaluation.on(program).inputs
            if not inputs.has_training:
                continue
            if inputs.lacking:  # nothing but the test split could judge them
                names = []
            unjudged = [n for n in frozen(program) if n not in names and _of_probabilities(program, n) is not None]
            if unjudged:
                state = population.states()[0]
                for name in unjudged:
                    self._check_probabilities(program, name, variables_of(state, name))
            states = population.states() if names else []
            for name in names:
                digests: dict[int, str] = {}  # a seed's arms share their frozen players
                for (seed, arm), state in zip(population.members, states, strict=bool(names)):
                    variables = variables_of(state, name)
                    if seed not in digests:
                        digests[seed] = f"{name} {digest(program.local_modules[name], variables)}"
                    content = digests[seed]
                    if content in self._known:
                        continue
                    if content not in looks:
                        looks[content] = self._look(program, name, arm, seed, variables)
                    _add(looks[content].arms, arm)
                    _add(looks[content].seeds, seed)
        self._known |= looks.keys()
        every = {name: sum(name in program.modules for population in populations for program in [population.program]
                           for _ in program.arms) for name in {look.name for look in looks.values()}}  # fmt: skip
        on = self._evaluation.on_data_of(stage.name)
        examples = f"{_split(on)} {'images' if 'image' in on.setting.fields else 'examples'}"
        return list(_lines(list(looks.values()), every, examples, len(self._run.seeds)))

    def _look(self, program: Program, name: str, arm: str, seed: int, variables: Variables) -> Look:
        evaluation, on = self._evaluation, self._evaluation.on(program)
        splits, split = on.splits, _split(on)
        count, measure = splits.size(split), program.measures(name)[0]
        parts = jax.device_get(evaluation.outputs(program, name, variables, split))
        on_host.check_failures([program.local_modules[name]])
        self._check_probabilities(program, name, variables, parts)
        finite = np.concatenate([_is_finite(part) for part in parts])[:count]
        numbers = evaluation.measure(program, name, variables, split).numbers
        judged = evaluation.judged(program, name, variables)
        advising = [one.advise for one in program.evaluators[name] if one.advise is not None]
        advice: list[str] = []
        if advising and "label" in on.setting.fields:
            output = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
            targets = splits.labels(split)
            advice = [sentence for advise in advising for sentence in advise(output, targets, judged)]
        of_run = name in program.start[arm] and name not in program.sources.get(arm, {})
        return Look(
            name, where(program, arm, name, seed), [], [], measure, measure.scale * numbers[measure.name],
            int((~finite).sum()), count, advice, of_run,
        )  # fmt: skip

    def _check_probabilities(
        self, program: Program, name: str, variables: Variables, parts: Sequence[Any] | None = None
    ) -> None:
        """Refuse a player of which a config says that it gives probabilities, and that does not.

        Args:
          program: that has the player.
          name: the player's.
          variables: its parameters and mutable collections.
          parts: its outputs, where they are known.
        """
        inside = _of_probabilities(program, name)
        if inside is None:
            return
        on = self._evaluation.on(program)
        split = _split(on)
        if parts is None or inside is not program.local_modules[name]:
            forward = make_forward(inside, on.inputs.config, None, program.inputs_of(name))
            parts = [forward(variables, batch) for batch in on.splits.batches(split)]
            on_host.check_failures([inside])
        logarithms = np.concatenate([np.asarray(part) for part in parts])[: on.splits.size(split)]
        if (bad := first_bad_row(logarithms)) is not None:
            raise ConfigError(
                f"config.players.{name}.outputs = 'probabilities': its output for {split} example {bad[0]} {bad[1]}; rows of"
                " numbers from 0 to 1 that sum to 1 are accepted (of logits 'logits')"
            )


def _of_probabilities(program: Program, name: str) -> nn.Module | None:
    """The module that takes the logarithm of a player's probabilities; None: it gives logits."""
    module = program.local_modules[name]
    module = module.module if isinstance(module, SelectClasses) else module
    function = innermost(module)
    gives = isinstance(module, LogProbabilities) or (isinstance(function, Function) and function.outputs != "logits")
    return module if gives else None


def _is_finite(output: Any) -> np.ndarray:
    """[b]: whether an example's outputs are all finite."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(output)]
    return np.asarray(np.stack([np.isfinite(leaf).reshape(len(leaf), -1).all(-1) for leaf in leaves]).all(0))


def _split(on: OnData) -> str:
    return "validation" if on.splits.size("validation") else "training"


def _add(items: list, item: Any) -> None:
    if item not in items:
        items.append(item)


def frozen(program: Program) -> list[str]:
    """The players that no move of a program trains."""
    return [name for name in program.modules if name not in program.method.trained]


def where(program: Program, arm: str, name: str, seed: int) -> str:
    """As "from runs/t/checkpoints/teacher/00000400, member 1"."""
    start, source = program.start[arm].get(name), program.sources.get(arm, {}).get(name)
    if source is not None:
        member = source.taken[seed]
        return f"from {source.folder}" + ("" if member is None else f", member {member}")
    if start is None:
        return getattr(innermost(program.local_modules[name]), "origin", "a function")
    return f"from {start.stage}/{start.arm}"


def _lines(looks: Sequence[Look], every: dict[str, int], examples: str, seeds: int) -> Iterator[str]:
    """How good they are, a line for each player and where it came from; then warnings."""
    groups: dict[tuple, list[Look]] = {}
    for look in looks:
        groups.setdefault((look.name, tuple(look.arms)), []).append(look)
    for (name, arms), several in groups.items():
        which = "" if len(arms) == every[name] else f" [{', '.join(arms)}]"
        measure, places = several[0].measure, several[0].measure.record["digits"][1]
        values = [f"{look.value:.{places}f}" for look in several]
        of = ""
        if len(several) > 1:
            of = f" (seeds {listed([look.seeds[0] for look in several])})"
        if len(several) > SEEDS_SHOWN:
            mean = np.mean([look.value for look in several])
            low, high = min(values, key=float), max(values, key=float)
            values = [f"{mean:.{places}f} ({low} to {high})"]
        numbers = " ".join(filter(None, [measure.head or measure.name, ", ".join(values), measure.unit]))
        yield f"{'frozen':<{LABEL}}{name}{which}: {numbers}{of} on {several[0].count:,} {examples}"
    for look in looks:
        whose = look.name if len(look.seeds) == seeds else f"{look.name} of seed {listed(look.seeds)}"
        yield from (f"warning: {whose} ({look.where}): {text}" for text in _warnings(look))


def _warnings(look: Look) -> Iterator[str]:
    if look.not_finite:
        yield f"its outputs are not finite on {look.not_finite:,} of {look.count:,} examples; {CURE}"
    for text in look.advice:
        yield text + (", or train it longer" if look.of_run and text.endswith("and its classes") else "")


def cause(
    run: Run, inputs: Inputs, arrays: Any, stage: Stage, population: Population, seed: int, arm: str, step: int
) -> str:
    """Which frozen player's outputs make a loss NaN or infinite at a step, in words; "" where none does.

    One whose outputs were not finite in the step before either is none: the loss was finite with them.
    """
    program = population.program
    names = [name for name in frozen(program) if _is_given_its_inputs_alone(program, name)]
    if not names:
        return ""
    state = population.states()[population.members.index((seed, arm))]

    def not_finite(name: str, step: int) -> tuple[int, int]:
        """(images of the step on which the player's outputs are not finite, images)."""
        forward, variables, finite = teacher_outputs.forward(run, program, name), variables_of(state, name), []
        for part in _parts(inputs, arrays, stage, program, seed, step):
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(forward(variables, part))]
            finite.append(np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(-1) for leaf in leaves], axis=0))
        return int((~np.concatenate(finite)).sum()), sum(map(len, finite))

    for name in names:
        count, of = not_finite(name, step)
        if count and not (step > 0 and not_finite(name, step - 1)[0]):
            return (
                f"The outputs of the frozen {name} ({where(program, arm, name, seed)}) are not finite on {count:,} of the"
                f" {of:,} images of this step: {CURE}"
            )
    return ""


def _is_given_its_inputs_alone(program: Program, name: str) -> bool:
    args, kwargs = program.inspection.inputs[name]
    return not kwargs and program.places_of_inputs(name) == range(len(args))


def _parts(inputs: Inputs, arrays: Any, stage: Stage, program: Program, seed: int, step: int) -> list[dict[str, Any]]:
    """The prepared batches of a seed's step, labelled and unlabelled."""
    (raw,) = run_batches.batches(
        inputs, seed=seed, stage=stage.index, batch_size=program.batch_size, start=step, steps=step + 1,
        views=program.views, spec=program.augment,
    )  # fmt: skip
    batch = parallel.compiled(program.prepare)(raw, arrays)
    parts = [batch, *([batch["unlabelled"]] if "unlabelled" in batch else [])]
    return [{name: value for name, value in part.items() if name != "unlabelled"} for part in parts]
