"""A classifier: judged by accuracy, likelihood and calibration, and by how often it agrees with the arm's teacher."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdgan.evaluators.evaluator import Chosen, Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Card, Figure, cards, matrix, values
from kdgan.evaluators.order import better_order, drawn_of_all
from kdgan.metrics import classification, fidelity
from kdgan.models.heads import SelectClasses

REFERENCE = "teacher"  # agreement is measured with this player
DISAGREEMENTS = 24  # images of a report on which student and teacher disagree
PERCENT: tuple[int, ...] = (2, 1, 2)
SHARE: dict[str, Any] = {"unit": "%", "scale": 100.0, "digits": PERCENT, "bounds": (0.0, 1.0)}

ACCURACY = Measure("accuracy", **SHARE)
MEASURES = (
    ACCURACY,
    Measure("nll", "NLL", higher_is_better=False, digits=(3, 2, 4), bounds=(0.0, None)),
    Measure("ece", "ECE", higher_is_better=False, **SHARE),
    Measure(
        "agreement",
        note="Agreement: share of test examples on which a player predicts what its teacher predicts",
        **SHARE,
    ),
    Measure("macro_f1", "macro F1", column=False, note="Macro F1: the mean of the classes' F1", **SHARE),
    Measure("top_5", "top-5 accuracy", column=False, **SHARE),
)
BY_CLASS = Measure("class_accuracy", "accuracy of each class", elements="label", **SHARE)
TOP = 5  # classes among which the label is, for `top_5`; told where there are more


def classifier(*, columns: Sequence[str] = ()) -> Evaluator:
    """Accuracy, negative log-likelihood in nats, expected calibration error; agreement with the teacher.

    Macro F1, top-5 accuracy (of more than five classes) and the accuracy of each class are measured besides.

    Args:
      columns: of "macro_f1" and "top_5" those that have a column in the table, too.

    Raises:
      ValueError: another name.
    """
    beside = [measure.name for measure in MEASURES if not measure.column]
    if unknown := [name for name in columns if name not in beside]:
        raise ValueError(f"columns = {tuple(columns)}: {unknown[0]!r} is none of {', '.join(beside)}")
    shown = [dataclasses.replace(one, column=one.column or one.name in columns) for one in MEASURES]
    return Evaluator(
        *shown,
        BY_CLASS,
        sums=_sums,
        summarise=_summarise,
        others=(REFERENCE,),
        keeps=lambda apply, variables, batch, key: {"prediction": jnp.argmax(apply(variables, batch), -1)},
        fits=fits_classes,
        figures=_figures,
        advise=_advise,
        gives="probabilities",
    )


def _sums(apply, variables, batch, key, others):
    logits = apply(variables, batch)
    result = {"own": classification.sums(logits, batch["label"], batch["mask"])}
    if logits.shape[-1] > TOP:
        result["top"] = classification.top_sums(logits, batch["label"], batch["mask"], n=TOP)
    if REFERENCE in others:
        result["agreement"] = fidelity.sums(logits, others[REFERENCE](batch), batch["mask"])
    return result


def _summarise(sums):
    own = classification.summarise(sums["own"])
    result = {name: own[name] for name in ("accuracy", "nll", "ece")} | classification.by_class(own["confusion"])
    if "agreement" in sums:
        result["agreement"] = fidelity.summarise(sums["agreement"])["agreement"]
    if "top" in sums:
        result["top_5"] = sums["top"]["top_5"] / sums["own"]["count"]
    return result


def fits_classes(output: Any, fields: Mapping[str, Any]) -> str | None:
    """None where an output is logits [b, k] of the classes of the data's label, else why not."""
    label = fields.get("label")
    if label is None or label.kind != "class":
        have = "have no labels" if label is None else f"have a label of kind {label.kind!r}"
        return f"a classifier is measured by classes, and the data {have}"
    shape = tuple(output.shape) if hasattr(output, "shape") else None
    if shape is not None and len(shape) == 2 and 1 < shape[-1] < label.size:
        return (
            f"it tells {shape[-1]} classes apart, the data have {label.size}; set {{player}}.model_args.num_classes, or,"
            " where it knows a part of them only, {player}.evaluate = 'nothing', and match that part in a method of your own"
        )
    if shape is None or len(shape) != 2 or shape[-1] != label.size:
        return (
            f"its output is {shape if shape is not None else ', '.join(output)}, the data have {label.size} classes; set"
            f" {{player}}.model_args.num_classes, or {{player}}.classes to the {label.size} of its classes that are meant"
        )
    return None


def _figures(setting: Setting, chosen: Chosen) -> list[Figure]:
    """Of all seeds its confusion matrix and the accuracy of each class; of one what its teacher sees in another way."""
    names = setting.fields["label"].names
    counts = np.stack([sums["own"]["confusion"] for sums in chosen.sums])
    title = f"Confusion matrix of the {chosen.judged.name}"
    by_class = np.stack([classification.by_class(count)["class_accuracy"] for count in counts])
    return [
        matrix(title, counts, names, row="true", column="predicted"),
        values(f"Accuracy of each class, {chosen.judged.name}", by_class, names, measure=BY_CLASS.record),
        *_disagreements(setting, chosen),
    ]


def _disagreements(setting: Setting, chosen: Chosen) -> list[Figure]:
    if REFERENCE not in chosen.others or chosen.labels is None:
        return []
    student, teacher = chosen.kept["prediction"][chosen.seed], chosen.others[REFERENCE]["prediction"]
    index = np.flatnonzero(student != teacher)[:DISAGREEMENTS]
    if not len(index):
        return []
    names, true = setting.fields["label"].names, chosen.labels[index]
    guess = lambda who, taken, label: (who, names[taken], "right" if taken == label else "wrong")
    lines: list[Card] = [
        (("true", names[label], ""), guess(chosen.judged.name, s, label), guess(REFERENCE, t, label))
        for label, s, t in zip(true, student[index], teacher[index], strict=True)
    ]
    right = [int(np.sum(taken[index] == true)) for taken in (student, teacher)]
    neither = len(index) - sum(right)
    note = (
        f"Of the {len(index)} shown, the {chosen.judged.name} is right on {right[0]}, the teacher on {right[1]}"
        + (f", neither on {neither}" if neither else "")
        + (f". {chosen.judged.name.capitalize()}: {chosen.about}" if chosen.about else "")
    )
    images = setting.splits.images("test", index) if "image" in setting.fields else None
    captions = [f"test example {i}" for i in index]
    title = f"Where {chosen.judged.name} and teacher disagree"
    return [cards(title, images, lines, captions=captions, note=note)]


def _advise(outputs: np.ndarray, targets: np.ndarray, judged: Judged) -> Sequence[str]:
    """That its classes are in another order than the data's, or that it is no better than chance.

    Nothing where the data have a part of its classes alone, as in a stage of later ones.
    """
    predictions = np.where(np.isnan(outputs), -np.inf, outputs).argmax(-1)
    accuracy, classes = float(np.mean(predictions == targets)), outputs.shape[-1]
    if not drawn_of_all(targets, classes):
        return []
    order, reordered = better_order(targets, predictions, classes)
    if order is not None:
        if isinstance(judged.module, SelectClasses):
            order = tuple(judged.module.classes[index] for index in order)  # as the classes of the module inside count
        return [
            f"its accuracy is {100 * accuracy:.1f} %, and {100 * reordered:.1f} % by another order of its classes; if they"
            f" are in that order: config.players.{judged.name}.classes = {order}"
        ]
    if accuracy <= _little(1 / classes):
        return [
            f"its accuracy of {100 * accuracy:.1f} % is near chance; check config.data.mean and .std, and its classes"
        ]
    return []


def _little(chance: float) -> float:
    """Twice chance; for few classes, where that is much, a ninth of the way from chance to 1."""
    return min(2 * chance, chance + (1 - chance) / 9)
