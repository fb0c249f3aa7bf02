"""The order of examples: every epoch a permutation, no memory of earlier steps."""

import numpy as np
import pytest

from kdgan.data.batches import _permutation, indices_of_step


def sequence(size, batch_size, steps, *, seed=0, stage=0):
    rows = [indices_of_step(size, batch_size, seed=seed, stage=stage, step=step) for step in range(steps)]
    return np.concatenate(rows)


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (13, 4), (10, 7), (3, 8), (1, 5), (7, 1)])
def test_every_epoch_visits_every_example_once(size, batch_size):
    seen = sequence(size, batch_size, steps=3 * size)  # batch_size · 3 epochs
    for epoch in seen.reshape(-1, size):
        assert sorted(epoch) == list(range(size))


def test_order_does_not_depend_on_the_steps_taken_before():
    forwards = [indices_of_step(50, 8, seed=3, stage=1, step=step) for step in range(40)]
    _permutation.cache_clear()
    for step in (39, 0, 17, 5, 38):
        np.testing.assert_array_equal(indices_of_step(50, 8, seed=3, stage=1, step=step), forwards[step])


def test_batch_size_does_not_change_the_sequence():
    np.testing.assert_array_equal(sequence(20, 4, 30), sequence(20, 10, 12))


def test_several_steps_at_once_are_the_single_ones():
    several = indices_of_step(11, 4, seed=2, stage=0, step=np.arange(5, 12))
    assert several.shape == (7, 4)
    assert several.dtype == np.int32
    for row, step in zip(several, range(5, 12), strict=True):
        np.testing.assert_array_equal(row, indices_of_step(11, 4, seed=2, stage=0, step=step))
    assert indices_of_step(11, 4, seed=2, stage=0, step=[]).shape == (0, 4)


def test_seeds_stages_and_epochs_have_orders_of_their_own():
    first = sequence(100, 100, 2)
    others = [sequence(100, 100, 1, seed=1), sequence(100, 100, 1, stage=1), first[100:]]
    for other in others:
        assert np.mean(other == first[:100]) < 0.1


def test_places_are_uniform():
    # Over 2,000 seeds each of 5 examples is in each place 400 times on average; chi-square, 16 degrees of freedom.
    table = np.zeros((5, 5))
    for seed in range(2_000):
        table[np.arange(5), indices_of_step(5, 5, seed=seed, stage=0, step=0)] += 1
    assert np.sum((table - 400) ** 2 / 400) < 39.3  # 0.1 % point


def test_the_order_is_the_same_on_every_machine():
    # Raw words of Philox 4x64-10 are fixed by its paper; a run's record stays repeatable with them.
    words = np.random.Philox(key=np.array([7, 2], np.uint64), counter=np.array([0, 0, 0, 0], np.uint64)).random_raw(6)
    expected = sorted(range(6), key=lambda place: int(words[place]))
    assert indices_of_step(6, 6, seed=7, stage=2, step=0).tolist() == expected == [4, 0, 1, 5, 3, 2]


def test_cached_permutations_cannot_be_changed_by_a_caller():
    first = indices_of_step(9, 9, seed=0, stage=0, step=0)
    first[:] = -1
    assert sorted(indices_of_step(9, 9, seed=0, stage=0, step=0)) == list(range(9))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"stage": -2}, "stage must be at least 0, got -2"),
        ({"step": -1}, "step must be at least 0, got -1"),
    ],
)
def test_numbers_below_their_bounds(change, match):
    arguments = {"size": 5, "batch_size": 2, "seed": 0, "stage": 0, "step": 0} | change
    with pytest.raises(ValueError, match=match):
        indices_of_step(arguments.pop("size"), arguments.pop("batch_size"), **arguments)
