"""Frozen classifiers looked at as a stage trains with them: how accurate they are, and what is wrong with them.

Each distinct one is evaluated once, on the validation split, else on some training images; never on the test split.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import parallel
from kdgan.models.heads import SelectClasses
from kdgan.run import inputs as run_inputs
from kdgan.run import teacher_outputs
from kdgan.run.evaluate import Evaluator
from kdgan.run.inputs import Inputs
from kdgan.run.population import Population
from kdgan.run.program import Program, Variables, digest, variables_of
from kdgan.run.schema import Run, Stage
from kdgan.run.sources import listed

LABEL = 10  # width of the first column, as in the explanation
SEEDS_SHOWN = 6  # players of so many seeds are listed one by one
GAIN = 0.1  # accuracy that another order of the classes gives at least before it is spoken of
CURE = "make its logits finite, as by jnp.clip(logits, -1e4, 1e4) in its model"


@dataclasses.dataclass
class Look:
    """What was seen of one distinct player.

    Attributes:
      name: of the player.
      where: where it came from, in words.
      arms: of the stage that have it.
      seeds: that have it.
      accuracy: share of the images that it classifies right.
      chance: the accuracy of guessing, one over the number of classes.
      not_finite: images on which an output is NaN or infinite.
      count: images.
      order: `players.<name>.classes` by which it would be far better; None: it is in order.
      reordered: its accuracy by that.
      of_run: an earlier stage of the run trained it.
    """

    name: str
    where: str
    arms: list[str]
    seeds: list[int]
    accuracy: float
    chance: float
    not_finite: int
    count: int
    order: tuple[int, ...] | None
    reordered: float
    of_run: bool


class Frozen:
    """Looks at the frozen classifiers of a run's stages, at each once.

    Args:
      run: the run.
      evaluator: whose splits and compiled forward passes are used; a later evaluation compiles nothing again.
    """

    def __init__(self, run: Run, evaluator: Evaluator):
        self._run, self._evaluator = run, evaluator
        self._known: set[str] = set()

    def lines(self, stage: Stage, populations: Sequence[Population]) -> list[str]:
        """What is to be said of those that no earlier stage spoke of: their accuracy, and warnings."""
        looks: dict[str, Look] = {}
        for population in populations:
            program = population.program
            names = [n for n in frozen(program) if program.kinds.get(n) == "classifier"]
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
        return list(_lines(list(looks.values()), every, self._split(), len(self._run.seeds)))

    def _split(self) -> str:
        return "validation" if self._evaluator.splits.size("validation") else "training"

    def _look(self, program: Program, name: str, arm: str, seed: int, variables: Variables) -> Look:
        classifiers, splits, split = self._evaluator.classifiers, self._evaluator.splits, self._split()
        module, count = program.local_modules[name], splits.size(split)
        logits = np.concatenate([np.asarray(part) for part in classifiers.logits(module, variables, split)])[:count]
        labels, finite = splits.labels(split), np.isfinite(logits).all(-1)
        predictions = np.where(np.isnan(logits), -np.inf, logits).argmax(-1)
        order, reordered = better_order(labels, predictions, logits.shape[-1])
        if order is not None and isinstance(module, SelectClasses):
            order = tuple(module.classes[index] for index in order)  # as the classes of the module inside count
        accuracy = float(np.mean(predictions == labels))
        return Look(
            name, where(program, arm, name, seed), [], [], accuracy, 1 / logits.shape[-1], int((~finite).sum()), count,
            order, reordered, name in program.start[arm] and name not in program.sources.get(arm, {}),
        )  # fmt: skip


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
    return "a function" if start is None else f"from {start.stage}/{start.arm}"


def better_order(labels: np.ndarray, predictions: np.ndarray, classes: int) -> tuple[tuple[int, ...] | None, float]:
    """(for each class of the data the class that the player calls it, the accuracy by that); (None, 0) where none helps.

    The order is one of the two halves of the examples that are its test on the other: what it gains there by chance is
    little, however many classes there are. It has to gain `GAIN`, and three standard errors.

    Args:
      labels: [n].
      predictions: [n].
      classes: their number k.
    """
    if not len(labels) or np.mean(predictions == labels) > 1 - GAIN:
        return None, 0.0
    rows = np.arange(len(labels)) % 2 == 0
    right = np.zeros(len(labels), bool)
    for half in (rows, ~rows):
        right[~half] = _assign(labels[half], predictions[half], classes)[labels[~half]] == predictions[~half]
    gain = float(np.mean(right)) - float(np.mean(predictions == labels))
    if gain < max(GAIN, 3 * np.sqrt(0.25 / len(labels))):
        return None, 0.0
    order = _assign(labels, predictions, classes)
    return tuple(int(index) for index in order), float(np.mean(order[labels] == predictions))


def _assign(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """The one-to-one order [k] of predictions by which most labels are met; classes without examples keep their place."""
    from scipy.optimize import linear_sum_assignment  # not where every teacher is in order

    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, predictions), 1.0)
    _, order = linear_sum_assignment(confusion + np.eye(classes) / (classes + 1), maximize=True)
    return order


def _lines(looks: Sequence[Look], every: dict[str, int], split: str, seeds: int) -> Iterator[str]:
    """Accuracies, a line for each player and where it came from; then warnings."""
    groups: dict[tuple, list[Look]] = {}
    for look in looks:
        groups.setdefault((look.name, tuple(look.arms)), []).append(look)
    for (name, arms), several in groups.items():
        which = "" if len(arms) == every[name] else f" [{', '.join(arms)}]"
        values = [f"{100 * look.accuracy:.1f}" for look in several]
        of = ""
        if len(several) > 1:
            of = f" (seeds {listed([look.seeds[0] for look in several])})"
        if len(several) > SEEDS_SHOWN:
            mean = np.mean([look.accuracy for look in several])
            low, high = min(values, key=float), max(values, key=float)
            values = [f"{100 * mean:.1f} ({low} to {high})"]
        images = f"{several[0].count:,} {split} images"
        yield f"{'frozen':<{LABEL}}{name}{which}: accuracy {', '.join(values)} %{of} on {images}"
    for look in looks:
        whose = look.name if len(look.seeds) == seeds else f"{look.name} of seed {listed(look.seeds)}"
        yield from (f"warning: {whose} ({look.where}): {text}" for text in _warnings(look))


def _warnings(look: Look) -> Iterator[str]:
    if look.not_finite:
        yield f"its outputs are not finite on {look.not_finite:,} of {look.count:,} images; {CURE}"
    if look.order is not None:
        yield (
            f"its accuracy is {100 * look.accuracy:.1f} %, and {100 * look.reordered:.1f} % by another order of its classes;"
            f" if they are in that order: config.players.{look.name}.classes = {look.order}"
        )
    elif look.accuracy <= _little(look):
        longer = ", or train it longer" if look.of_run else ""
        yield (
            f"its accuracy of {100 * look.accuracy:.1f} % is near chance; check config.data.mean and .std, and its classes"
            f"{longer}"
        )


def _little(look: Look) -> float:
    """Twice chance; for few classes, where that is much, a ninth of the way from chance to 1."""
    return min(2 * look.chance, look.chance + (1 - look.chance) / 9)


def cause(
    run: Run, inputs: Inputs, arrays: Any, stage: Stage, population: Population, seed: int, arm: str, step: int
) -> str:
    """Which frozen player's outputs make a loss NaN or infinite at a step, in words; "" where none does.

    One whose outputs were not finite in the step before either is none: the loss was finite with them.
    """
    program = population.program
    names = [name for name in frozen(program) if _sees_images_alone(program, name)]
    if not names:
        return ""
    state = population.states()[population.members.index((seed, arm))]

    def not_finite(name: str, step: int) -> tuple[int, int]:
        """(images of the step on which the player's outputs are not finite, images)."""
        forward, variables, finite = teacher_outputs.forward(run, program, name), variables_of(state, name), []
        for image in _images(inputs, arrays, stage, program, seed, step):
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(forward(variables, {"image": image}))]
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


def _sees_images_alone(program: Program, name: str) -> bool:
    args, kwargs = program.inspection.inputs[name]
    return len(args) == 1 and not kwargs and args[0].shape[1:] == program.example["image"].shape[1:]


def _images(inputs: Inputs, arrays: Any, stage: Stage, program: Program, seed: int, step: int) -> list[jax.Array]:
    """The prepared images of a seed's step, labelled and unlabelled."""
    (raw,) = run_inputs.batches(
        inputs, seed=seed, stage=stage.index, batch_size=program.batch_size, start=step, steps=step + 1,
        views=program.views,
    )  # fmt: skip
    batch = parallel.compiled(program.prepare)(raw, arrays)
    return [part["image"] for part in (batch, batch.get("unlabelled")) if part is not None]
