"""Partition of a training set: disjoint, balanced, repeatable, validation shared by all seeds."""

import hashlib
import itertools

import numpy as np
import pytest

from kdgan.data.splits import partition

LABELS = np.random.default_rng(0).integers(0, 10, 1_000)


def counts(labels, indices):
    return np.bincount(labels[indices], minlength=10)


@pytest.mark.parametrize(("validation", "labelled"), [(0, None), (100, None), (0, 100), (55, 137), (10, 10)])
def test_parts_are_disjoint_and_cover_everything(validation, labelled):
    parts = partition(LABELS, validation=validation, labelled=labelled, seed=4)
    assert sorted(np.concatenate(parts)) == list(range(1_000))
    assert len(parts.validation) == validation
    assert len(parts.train) == (1_000 - validation if labelled is None else labelled)
    for part in parts:
        assert part.dtype == np.int32
        assert (np.diff(part) > 0).all()


@pytest.mark.parametrize("labelled", [100, 103, 250])
def test_classes_have_equal_shares(labelled):
    parts = partition(LABELS, validation=104, labelled=labelled, seed=1)
    for part in (parts.train, parts.validation):
        assert np.ptp(counts(LABELS, part)) <= 1


def test_a_small_class_gives_all_and_the_others_fill_up():
    labels = np.array([0] * 3 + [1] * 50 + [2] * 50)
    assert np.bincount(labels[partition(labels, labelled=33).train]).tolist() == [3, 15, 15]


def test_equal_shares_are_drawn_as_ever():
    """Published numbers stand on these indices."""
    parts = partition(np.repeat([0, 1, 2], [50, 40, 30]), validation=16, labelled=7, seed=1)
    assert parts.validation.tolist() == [17, 24, 27, 33, 44, 50, 54, 63, 66, 79, 87, 90, 91, 99, 107, 114]
    assert parts.train.tolist() == [3, 4, 48, 74, 76, 109, 111]
    digest = hashlib.sha256(b"".join(map(bytes, partition(np.arange(1_000) % 10, validation=55, labelled=37, seed=3))))
    assert digest.hexdigest() == "63a3b1d7622dd3e4f84bb260e1ad711b9cbb76e8db01bfadef6a8816cf7393ac"


@pytest.mark.parametrize(
    ("sizes", "validation", "expected"),
    [
        ((206, 46, 6), 9, (3, 3, 3)),  # every class can keep as much as it gives
        ((206, 46, 6), 30, (14, 13, 3)),
        ((206, 46, 6), 129, (103, 23, 3)),
        ((20, 1), 4, (4, 0)),  # the single example is trained on
        ((3, 20), 8, (1, 7)),
    ],
)
def test_a_small_class_keeps_half_of_its_examples_to_train_on(sizes, validation, expected):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = partition(labels, validation=validation)
    given = np.bincount(labels[parts.validation], minlength=len(sizes))
    assert sorted(given) == sorted(expected)
    assert given[np.argmin(sizes)] == expected[np.argmin(sizes)]
    assert (np.bincount(labels[parts.train], minlength=len(sizes)) >= given).all()
    assert (np.bincount(labels[partition(labels, validation=validation, labelled=len(sizes)).train]) == 1).all()


def test_without_classes_the_subset_is_drawn_from_all():
    parts = partition(np.zeros(40, np.int32), validation=12, labelled=20, seed=2)
    assert [len(part) for part in parts] == [20, 12, 8]
    assert sorted(np.concatenate(parts)) == list(range(40))


def test_seeds_differ_in_labelled_but_share_validation():
    first, second = (partition(LABELS, validation=100, labelled=100, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.validation, second.validation)
    assert len(np.intersect1d(first.train, second.train)) < 40  # 100·100/900 = 11 are expected by chance
    again = partition(LABELS, validation=100, labelled=100, seed=0)
    np.testing.assert_array_equal(first.train, again.train)
    other = partition(LABELS, validation=100, labelled=100, seed=0, validation_seed=1)
    assert len(np.intersect1d(first.validation, other.validation)) < 40


def test_smaller_labelled_sets_are_nested_in_larger_ones():
    sizes = (10, 11, 57, 100, 101, 900)
    sets = [set(partition(LABELS, validation=100, labelled=size, seed=2).train.tolist()) for size in sizes]
    for small, large in itertools.pairwise(sets):
        assert small < large


def test_validation_does_not_depend_on_the_labelled_number():
    first, second = (partition(LABELS, validation=50, labelled=labelled).validation for labelled in (None, 20))
    np.testing.assert_array_equal(first, second)


def test_every_example_can_be_drawn():
    labels = np.repeat([0, 1], 10)
    hits = np.zeros(20)
    for seed in range(400):
        hits[partition(labels, labelled=4, seed=seed).train] += 1
    # Each has the probability 0.2: 80 ± 8 of 400.
    assert (np.abs(hits - 80) < 4 * 8).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"validation": 1_001}, "validation = 1001 examples asked for, 1000 available"),
        ({"validation": 100, "labelled": 901}, "labelled = 901 examples asked for, 900 available"),
        ({"labelled": 9}, "labelled = 9 is fewer than one example for each of the 10 classes"),
        ({"validation": 5}, "validation = 5 is fewer than one example"),
        ({"validation": -1}, "validation = -1 is fewer"),
        ({"labelled": 0}, "labelled must be at least one example a class"),
        (
            {"validation": 499},
            r"validation = 499: each class gives half of its examples at most.*: 498 of 1000; classes have 96, 99, 84, ",
        ),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"validation_seed": -1}, "validation_seed must be at least 0, got -1"),
    ],
)
def test_wrong_numbers(arguments, match):
    with pytest.raises(ValueError, match=match):
        partition(LABELS, **arguments)


def test_more_than_half_of_a_set_without_classes_is_refused_without_a_word_of_classes():
    with pytest.raises(
        ValueError, match=r"validation = 6: at most half of the examples, so .* left to train on: 5 of 10$"
    ):
        partition(np.zeros(10, np.int32), validation=6)


def test_labels_must_be_integers():
    with pytest.raises(ValueError, match=r"labels must be integers \[n\], got float64 \[3\]"):
        partition(np.zeros(3))
    with pytest.raises(ValueError, match=r"got int64 \[2, 3\]"):
        partition(np.zeros((2, 3), np.int64))
