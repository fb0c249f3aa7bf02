"""Labels that are classes: how many there are, which have no example, which numbers leave the range."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdgan.data.errors import ArgumentError

MOST_CLASSES = 1_000_000


def check_labels(label: np.ndarray, num_classes: int, name: str, field: str = "label") -> None:
    """Raise ValueError, with the count and the first place, where labels leave 0..num_classes-1."""
    wrong = np.flatnonzero((label < 0) | (label >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{field} of {name!r}: {len(wrong)} of {len(label)} out of range 0..{num_classes - 1}; "
            f"the first is {label[wrong[0]]} at index {wrong[0]}"
        )


def check_num_classes(num_classes: int, declared: int, name: str) -> None:
    """Raise ArgumentError where a data set itself declares another number of classes than it was told."""
    if num_classes != declared:
        raise ArgumentError(f"{{num_classes}} = {num_classes}: {name} itself says that it has {declared} classes")


def count_classes(label: np.ndarray, name: str) -> int:
    """The number of classes of labels that nothing is declared of: they must be 0..k-1.

    Raises:
        ArgumentError: one of them has no example; the message says what may be meant.
    """
    count = int(label.max()) + 1
    check_labels(label, max(count, 1), name)
    present = np.unique(label)
    if len(present) < count:
        # The first of them, without an array of all: a label may be any number.
        absent = np.setdiff1d(np.arange(min(count, len(present) + 6)), present)
        more = count - len(present)
        several = f"If there are {count} classes, say {{num_classes}}={count}; else" if count <= MOST_CLASSES else "Do"
        raise ArgumentError(
            f"labels of {name!r} are {_listed(present)}; {more} of the classes 0..{count - 1} have no example:"
            f" {_listed(absent[:more])}. {several} number the {len(present)} from 0: numpy.unique(label,"
            " return_inverse=True)[1]"
        )
    return check_count(count)


def check_count(num_classes: int) -> int:
    """`num_classes`, or ArgumentError where there can be none so many: each has a name."""
    if not 1 <= num_classes <= MOST_CLASSES:
        raise ArgumentError(
            f"{{num_classes}} must be at least 1, at most {MOST_CLASSES:,}, or None (as the data say), got {num_classes}"
        )
    return num_classes


def absent_classes(label: np.ndarray, class_names: Sequence[str], what: str = "classes") -> tuple[str, ...]:
    """A note, where there are classes (or tags, which `what` says) that no example is of."""
    absent = np.setdiff1d(np.arange(len(class_names)), label)
    if not len(absent):
        return ()
    return (
        f"no example of {len(absent):,} of {len(class_names):,} {what}: {_listed([class_names[i] for i in absent])}",
    )


def _listed(values: Sequence[Any] | np.ndarray) -> str:
    return ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
