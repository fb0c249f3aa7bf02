"""A partition restricted to some classes, with a few examples of each of some others: classes that come in portions.

The classes keep their numbers. An exemplar memory holds k training examples of each class whose other examples are gone
(Rebuffi et al. 2017, iCaRL); of a task that has few labels all of its examples are such, and `classes` is ().
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdgan.data.errors import ArgumentError
from kdgan.data.splits import Partition

MOST = 2**26  # exemplars in an epoch, repeats included
_EXEMPLARS = 2**64 - 3  # second word of the Philox key, beside those of `splits.py`


def restricted(
    parts: Partition,
    labels: Any,
    *,
    num_classes: int,
    classes: Sequence[Any] | None = None,
    exemplars: int = 0,
    exemplars_of: Sequence[Any] = (),
    exemplar_repeats: int = 1,
    seed: int = 0,
) -> Partition:
    """The part of a partition that is of some classes; and exemplars of others among its training examples.

    Validation, labelled and unlabelled examples are drawn of all classes first and then restricted, so that an example set
    apart for validation is so in every stage, whatever its classes. Exemplars are training examples of `parts`, and so
    what an earlier stage with the same data may have trained on. They are drawn evenly, where iCaRL takes those nearest
    to the mean of a network's features; for one seed fewer exemplars are contained in more, and those of a class do not
    depend on which other classes have any.

    Args:
        parts: of the whole training set.
        labels: int `[n]`, the class of each of its examples.
        num_classes: of the data.
        classes: whose examples are trained on, validated with and unlabelled; None: all, () none.
        exemplars: training examples of each class of `exemplars_of`.
        exemplars_of: classes of which a few training examples remain.
        exemplar_repeats: how often each of them stands in the part to train on, so that few are drawn as often as many.
        seed: draws the exemplars.

    Returns:
        The partition, ascending as before. Its parts need not cover the training set.

    Raises:
        ArgumentError: a class that the data have not, one that stands twice or in both, exemplars without classes or the
            other way round, repeats of none, fewer examples of a class than its exemplars; or nothing is left to train on.
    """
    if classes is None and not exemplars and not len(exemplars_of) and exemplar_repeats == 1:
        return parts
    labels = np.asarray(labels)
    _check(num_classes, classes, exemplars, exemplars_of, exemplar_repeats)
    inside = lambda rows: rows if classes is None else rows[np.isin(labels[rows], np.asarray(classes, np.int64))]
    words = np.random.Philox(key=np.array([seed, _EXEMPLARS], np.uint64)).random_raw(len(labels))
    kept = [inside(parts.train)]
    for of in exemplars_of:
        rows = parts.train[labels[parts.train] == of]
        if len(rows) < exemplars:
            raise ArgumentError(
                f"{{exemplars}} = {exemplars}: class {of} of {{exemplars_of}} has {len(rows)} training examples"
            )
        kept.append(np.repeat(rows[np.argsort(words[rows], kind="stable")][:exemplars], exemplar_repeats))
    train = np.sort(np.concatenate(kept)).astype(np.int32)
    if not len(train):
        raise ArgumentError(f"{{classes}} = {tuple(classes or ())}: no training example is of any of them")
    return Partition(train, inside(parts.validation), inside(parts.unlabelled))


def present(num_classes: int, classes: Sequence[int] | None, exemplars_of: Sequence[int]) -> tuple[int, ...]:
    """The classes of which there are labelled training examples, ascending."""
    return tuple(range(num_classes)) if classes is None else tuple(sorted({*classes, *exemplars_of}))


def _check(
    num_classes: int, classes: Sequence[Any] | None, exemplars: int, exemplars_of: Sequence[Any], repeats: int
) -> None:
    for name, numbers in (("classes", classes or ()), ("exemplars_of", exemplars_of)):
        whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers)
        if not whole or len({*numbers}) != len(numbers) or not all(0 <= n < num_classes for n in numbers):
            raise ArgumentError(
                f"{{{name}}} = {tuple(numbers)}: numbers of classes in 0..{num_classes - 1}, each once, are accepted"
            )
    if exemplars < 0 or (exemplars > 0) != (len(exemplars_of) > 0):
        raise ArgumentError(
            f"{{exemplars}} = {exemplars} of {{exemplars_of}} = {tuple(exemplars_of)}: a number of examples of each of some"
            " classes is accepted, or 0 of ()"
        )
    if repeats < 1 or (repeats > 1 and not exemplars):
        raise ArgumentError(
            f"{{exemplar_repeats}} = {repeats} of {{exemplars}} = {exemplars}: 1 is accepted, or more where there are"
            " exemplars"
        )
    if exemplars * len(exemplars_of) * repeats > MOST:
        raise ArgumentError(
            f"{{exemplar_repeats}} = {repeats}: of {exemplars * len(exemplars_of):,} exemplars at most"
            f" {MOST // (exemplars * len(exemplars_of)):,} is accepted"
        )
    if both := [n for n in exemplars_of if classes is None or n in classes]:
        have = "None, which is all" if classes is None else tuple(classes)
        raise ArgumentError(
            f"{{exemplars_of}} = {tuple(exemplars_of)}: all examples of class {both[0]} are there, for {{classes}} ="
            f" {have}; leave it out of one of the two"
        )
