"""Whether a classifier's classes are in another order than those of the data."""

import numpy as np

GAIN = 0.1  # accuracy that another order of the classes gives at least before it is spoken of


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


def drawn_of_all(labels: np.ndarray, classes: int) -> bool:
    """Whether labels [n] look drawn from all of the classes, evenly or nearly so.

    They miss some by chance, and rare ones; those of a portion miss more than a quarter of what n even draws meet, and more
    than four standard deviations. Of an old model, which knows other classes, they tell nothing.
    """
    n = len(labels)
    missed, both_missed = (1 - 1 / classes) ** n, (1 - 2 / classes) ** n
    met = classes * (1 - missed)
    variance = classes * missed + classes * (classes - 1) * both_missed - (classes * missed) ** 2
    return bool(len(np.unique(labels)) >= min(3 / 4 * met, met - 4 * np.sqrt(max(variance, 0.0))))


def _assign(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """The one-to-one order [k] of predictions by which most labels are met; classes without examples keep their place."""
    from scipy.optimize import linear_sum_assignment  # not where every teacher is in order

    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, predictions), 1.0)
    _, order = linear_sum_assignment(confusion + np.eye(classes) / (classes + 1), maximize=True)
    return order
