"""A classifier whose classes came in portions (tasks): accuracy of all seen, of each task, and how much is forgotten.

Two accuracies of a task say different things, and both are measured: with all of the player's outputs open, where an image
of a task may be given to a class of another; and with the task's outputs alone, where it is known which task it is of. A
player that learned new classes last may fail by the first and know its old ones by the second.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdgan.evaluators.classifier import REFERENCE, SHARE
from kdgan.evaluators.evaluator import Evaluator, Measure, Setting
from kdgan.evaluators.figures import Figure, crossed

Task = tuple[int, ...]
FEW = 2  # tasks up to which each has its columns in a table of results
WAYS = {"open": "all outputs open", "task": "the task's outputs alone"}


def incremental(
    *,
    tasks: Sequence[Any] = (),
    seen: int | None = None,
    before: Sequence[str] = (REFERENCE,),
    compare: int | None = None,
) -> Evaluator:
    """Accuracy of all classes seen, by task with all outputs open and with the task's alone, and forgetting.

    With a_{l,j} the accuracy of task j after stage l, each of its test examples counted once:
    - `seen_accuracy`: of the examples of the tasks seen, all outputs open;
    - `task_accuracy`: the mean over the tasks seen of the accuracy with the task's outputs alone;
    - `forgetting` = 1/(k − 1)·Σ_{j<k} (max_{l<k} a_{l,j} − a_{k,j}) after the k-th (Chaudhry et al. 2018), all
      outputs open; below 0 where a task has become better; `task_forgetting`: the same of the task's outputs alone;
    - `open_1`, `open_2`, ...; `task_1`, `task_2`, ...: a_{k,j} of each task.
    Forgetting is measured where the arm has the players `before`, on the test split only.

    Args:
      tasks: the classes of each, in their order: ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)).
      seen: how many of them this player has learned, the first; None: all.
      before: players that are the same model after earlier stages, one for each or the last alone: the old model
        `teacher`, or players beside the method (`stages.x.beside`). After more than two tasks it takes all of them.
      compare: number of the task whose accuracy, of its outputs alone, arms are compared by, from 1; None: `seen_accuracy`.

    Raises:
      ValueError: no tasks, or none of that number; a class that is no number, or of two tasks.
    """
    portions = _checked(tasks)
    before = (before,) if isinstance(before, str) else tuple(before)
    count = len(portions) if seen is None else seen
    if not 1 <= count <= len(portions) or isinstance(count, bool):
        raise ValueError(f"seen = {seen}: 1 to {len(portions)} of tasks, or None, is accepted")
    if compare is not None and not 1 <= compare <= len(portions):
        raise ValueError(f"compare = {compare}: 1 to {len(portions)} of tasks, or None, is accepted")
    measures = _measures(portions)
    first = measures["seen_accuracy" if compare is None else f"task_{compare}"]

    def sums(apply, variables, batch, key, others):
        of = lambda outputs: _hits(outputs, batch["label"], batch["mask"], portions)
        earlier = {name: of(others[name](batch)) for name in before if name in others}
        return {"own": of(apply(variables, batch)), "before": earlier}

    return Evaluator(
        first,
        *(measure for measure in measures.values() if measure is not first),
        sums=sums,
        summarise=lambda sums: _summarise(sums, count),
        others=tuple(before),
        keeps=lambda apply, variables, batch, key: {"prediction": jnp.argmax(apply(variables, batch), -1)},
        fits=lambda output, fields: _fits(output, fields, portions, count),
        of_seeds=lambda setting, name, several: _figures(setting, name, several, portions, count, tuple(before)),
        gives="probabilities",
    )


def called(task: Sequence[int], names: Sequence[str] = ()) -> str:
    """A task by its classes: "0-4", where they follow each other, else the first ones."""
    shown = [names[number] if number < len(names) else str(number) for number in task]
    if len(task) > 2 and list(task) == list(range(task[0], task[-1] + 1)):
        return f"{shown[0]}-{shown[-1]}"
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")


def _checked(tasks: Any) -> tuple[Task, ...]:
    accepted = "classes of each task, as ((0, 1), (2, 3)), are accepted, each class once"
    if isinstance(tasks, str) or not tasks or any(isinstance(task, str | int) or not task for task in tasks):
        raise ValueError(f"tasks = {tasks!r}: {accepted}")
    classes = [number for task in tasks for number in task]
    if len({*classes}) != len(classes) or not all(type(number) is int and number >= 0 for number in classes):
        raise ValueError(f"tasks = {tasks!r}: {accepted}")
    return tuple(tuple(task) for task in tasks)


def _measures(tasks: Sequence[Task]) -> dict[str, Measure]:
    few = len(tasks) <= FEW
    lost: dict[str, Any] = {**SHARE, "bounds": (-1.0, 1.0), "higher_is_better": False}
    formula = "a task's highest accuracy after an earlier stage less that now, mean over the tasks before the last"
    several = [
        Measure("seen_accuracy", "accuracy", note="Accuracy: of all classes seen, all outputs open", **SHARE),
        Measure(
            "task_accuracy", "by task", note="By task: of a task's outputs alone, mean over the tasks seen", **SHARE
        ),
        Measure("forgetting", note=f"Forgetting: {formula}", **lost),
        Measure("task_forgetting", "forgetting by task", column=False, **lost),
    ]
    for way in WAYS:
        for number, task in enumerate(tasks, start=1):
            head = f"{called(task)} {'of all' if way == 'open' else 'alone'}"
            note = f"{head[0].upper()}{head[1:]}: task {number} with {WAYS[way]}" if few else ""
            several.append(Measure(f"{way}_{number}", head, column=few, note=note, **SHARE))
    return {measure.name: measure for measure in several}


def _hits(outputs: Any, label: Any, mask: Any, tasks: Sequence[Task]) -> dict[str, Any]:
    """Of each task [t]: its examples, those that are right with all outputs open, and with its outputs alone."""
    found: dict[str, list[Any]] = {"count": [], "open": [], "task": []}
    right = jnp.argmax(outputs, axis=-1) == label
    for task in tasks:
        numbers = np.asarray(task, np.int32)
        mine = mask & jnp.any(label[:, None] == numbers[None, :], axis=-1)
        known = numbers[numbers < outputs.shape[-1]]
        alone = jnp.zeros(len(label), bool)
        if len(known):
            alone = jnp.asarray(known)[jnp.argmax(outputs[:, known], axis=-1)] == label
        for name, hit in (("count", True), ("open", right), ("task", alone)):
            found[name].append(jnp.sum(mine & hit))
    return {name: jnp.stack(values) for name, values in found.items()}


def _accuracies(hits: Mapping[str, Any], way: str) -> np.ndarray:
    """Of each task [t]; NaN where there is no example."""
    count = np.asarray(hits["count"], np.float64)
    return np.where(count > 0, np.asarray(hits[way], np.float64) / np.maximum(count, 1), np.nan)


def _summarise(sums: Mapping[str, Any], seen: int) -> dict[str, Any]:
    own = sums["own"]
    count = float(np.sum(np.asarray(own["count"])[:seen]))
    result = {"seen_accuracy": float(np.sum(np.asarray(own["open"])[:seen])) / count if count else float("nan")}
    of = {way: _accuracies(own, way) for way in WAYS}
    if np.isfinite(of["task"][:seen]).all():
        result["task_accuracy"] = float(np.mean(of["task"][:seen]))
    for way in WAYS:
        result |= {f"{way}_{j}": float(value) for j, value in enumerate(of[way], start=1) if np.isfinite(value)}
        best = [_accuracies(hits, way)[: seen - 1] for hits in sums["before"].values()]
        if best and seen > 1 and np.isfinite(of[way][: seen - 1]).all():
            lost = float(np.mean(np.max(best, axis=0) - of[way][: seen - 1]))
            result["forgetting" if way == "open" else "task_forgetting"] = lost
    return result


def _fits(output: Any, fields: Mapping[str, Any], tasks: Sequence[Task], seen: int) -> str | None:
    label = fields.get("label")
    if label is None or label.kind != "class":
        have = "have no labels" if label is None else f"have a label of kind {label.kind!r}"
        return f"it is measured by classes, and the data {have}"
    largest = max(number for task in tasks for number in task)
    if largest >= label.size:
        return f"tasks name class {largest}, the data have {label.size}: 0..{label.size - 1}"
    least = 1 + max(number for task in tasks[:seen] for number in task)
    if not hasattr(output, "shape") or len(output.shape) != 2 or output.shape[-1] < least:
        shape = tuple(output.shape) if hasattr(output, "shape") else ", ".join(output)
        return (
            f"its output is {shape}, the tasks seen have classes up to {least - 1}; set {{player}}.model_args.num_classes,"
            " or seen to as many tasks as it knows"
        )
    return None


def _figures(
    setting: Setting, name: str, several: Sequence[Any], tasks: Sequence[Task], seen: int, before: Sequence[str]
) -> list[Figure]:
    """The accuracies of each task after each stage, once all tasks are seen and the models before are known."""
    earlier = [player for player in before if player in several[0]["before"]]
    if seen < len(tasks) or not earlier:
        return []
    names = setting.fields["label"].names
    portions = [called(task, names) for task in tasks]
    complete = len(earlier) == len(tasks) - 1
    after = [f"after {portions[i]}" for i in range(len(tasks))] if complete else [*earlier, "last stage"]
    made = []
    for way, words in WAYS.items():
        rows = [[_accuracies(sums["before"][player], way) for player in earlier] for sums in several]
        array = np.asarray([[*row, _accuracies(sums["own"], way)] for row, sums in zip(rows, several, strict=True)])
        # What a stage has not seen is no accuracy that it could have kept.
        array = (
            np.where(np.arange(len(tasks)) <= np.arange(array.shape[1])[:, None], array, np.nan) if complete else array
        )
        title = f"Accuracy of each task after each stage, {words}"
        made.append(crossed(title, array, after, portions, measure=_measures(tasks)["seen_accuracy"].record))
    return made
