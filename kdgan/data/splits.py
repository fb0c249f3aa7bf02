"""Which examples are for training, for validation, or unlabelled: `partition`, class-balanced and by seed."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from kdgan.data.errors import ArgumentError

# The second word of the Philox key: no stage of `indices_of_step` ever has these numbers, so the draws are independent.
_VALIDATION, _LABELLED = 2**64 - 1, 2**64 - 2


class Partition(NamedTuple):
    """Disjoint ascending indices whose union is the whole training set."""

    train: Int32[np.ndarray, " train"]
    validation: Int32[np.ndarray, " validation"]
    unlabelled: Int32[np.ndarray, " unlabelled"]


def partition(
    labels: Any, *, validation: int = 0, labelled: int | None = None, seed: int = 0, validation_seed: int = 0
) -> Partition:
    """Divide a training set into validation, labelled training examples and the unlabelled remainder.

    Validation is drawn first and depends on `validation_seed` only, never on `seed`: members of a population share it
    and their scores compare, while each member's labelled subset is its own. Classes get equal shares (counts differ
    by at most one, and which classes get one more is drawn as well). A class that is too small for that gives to
    validation half of its examples at most, so that as many are left to train on (one that has a single example keeps
    it), and to the labelled subset all that it has; the others fill up. For one seed a smaller labelled subset is
    contained in every larger one. The test set is not seen here, so nothing of it can be selected.

    Args:
        labels: int `[n]`, the class of each training example; all equal where there are no classes.
        validation: number of examples for validation, 0 or at least one a class, at most half of each class.
        labelled: number of labelled examples for training, at least one a class; None takes all that remain.
        seed: draws the labelled subset.
        validation_seed: draws the validation examples.

    Raises:
        ArgumentError: where more examples are asked for than there are or the classes can give, or fewer than one a
            class, or a seed is negative.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers [n], got {labels.dtype} {list(labels.shape)}")
    for name, value in (("seed", seed), ("validation_seed", validation_seed)):
        if value < 0:
            raise ArgumentError(f"{{{name}}} must be at least 0, got {value}")
    everything = np.arange(len(labels), dtype=np.int32)
    chosen = _balanced(labels, everything, validation, "validation", validation_seed, _VALIDATION, keep=True)
    rest = np.setdiff1d(everything, chosen)
    if labelled is None:
        return Partition(rest, chosen, rest[:0])
    if labelled == 0:
        raise ArgumentError("{labelled} must be at least one example a class, or None for all, got 0")
    train = _balanced(labels, rest, labelled, "labelled", seed, _LABELLED)
    return Partition(train, chosen, np.setdiff1d(rest, train))


def _balanced(
    labels: np.ndarray, pool: np.ndarray, count: int, name: str, seed: int, purpose: int, *, keep: bool = False
) -> np.ndarray:
    """`count` indices of `pool` with equal shares of the classes, ascending; with `keep` at most half of each class."""
    classes = np.unique(labels)
    if count < 0 or 0 < count < len(classes):
        raise ArgumentError(f"{{{name}}} = {count} is fewer than one example for each of the {len(classes)} classes")
    if count > len(pool):
        raise ArgumentError(f"{{{name}}} = {count} examples asked for, {len(pool)} available")
    # Each example and each class gets a random word that depends on nothing but the seed and its own number. Examples
    # are taken round by round, one of every class in the order of the classes' words, until there are enough.
    words = np.random.Philox(key=np.array([seed, purpose], np.uint64)).random_raw(len(labels) + len(classes))
    class_word = words[len(labels) :]
    rounds, turns = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    members = [np.zeros(0, np.int32)]
    for number, label in enumerate(classes):
        own = pool[labels[pool] == label]
        own = own[np.argsort(words[own], kind="stable")][: len(own) // 2 if keep else None]
        members.append(own)
        rounds.append(np.arange(len(own)))
        turns.append(np.full(len(own), class_word[number]))
    if count > (most := sum(map(len, members))):
        reason = "each class gives half of its examples at most" if len(classes) > 1 else "at most half of the examples"
        sizes = f"; {_sizes(labels)}" if len(classes) > 1 else ""
        raise ArgumentError(
            f"{{{name}}} = {count}: {reason}, so that as many are left to train on: {most} of {len(labels)}{sizes}"
        )
    taken = np.lexsort((np.concatenate(turns), np.concatenate(rounds)))[:count]
    return np.sort(np.concatenate(members)[taken]).astype(np.int32)


def _sizes(labels: np.ndarray) -> str:
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) <= 10:
        return "classes have " + ", ".join(map(str, counts)) + " examples"
    smallest, largest = np.argmin(counts), np.argmax(counts)
    return f"class {classes[smallest]} has {counts[smallest]} examples, class {classes[largest]} {counts[largest]}"
