"""The best of several numbers, and those that are equal to it."""

import math

import numpy as np
import pytest

from kdgan.metrics.selection import leaders


def test_the_best_by_either_end():
    values = {"a": 0.5, "b": 0.9, "c": 0.1}
    assert leaders(values, higher_is_better=True) == ("b",)
    assert leaders(values, higher_is_better=False) == ("c",)
    assert leaders({"a": -110.0, "b": -104.0}, higher_is_better=True) == ("b",)


def test_equal_up_to_rounding_are_all_named_in_their_order():
    thirds = float(np.float32(1 / 3))
    assert leaders({"a": 0.2, "b": 1 / 3, "c": thirds, "d": 0.3333}, higher_is_better=True) == ("b", "c")
    assert leaders({"a": 0.0, "b": 0.0}, higher_is_better=False) == ("a", "b")


def test_one_image_of_a_million_decides():
    assert leaders({"a": 0.9, "b": 0.900001}, higher_is_better=True) == ("b",)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_never_the_best(broken):
    assert leaders({"a": broken, "b": 0.1}, higher_is_better=True) == ("b",)
    assert leaders({"a": broken, "b": 0.1}, higher_is_better=False) == ("b",)
    assert leaders({"a": broken}, higher_is_better=True) == ()
    assert leaders({}, higher_is_better=True) == ()
