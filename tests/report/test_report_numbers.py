"""How numbers are written."""

import math

import pytest

from kdgan.report import numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (999, "999"), (1210, "1.21 k"), (61_706, "61.7 k"), (999_499, "999 k"), (999_501, "1.00 M"),
     (1_234_567, "1.23 M"), (25.6e9, "25.6 G"), (3.2e15, "3200 T"), (9_996, "10.0 k"), (None, "–"), (math.nan, "–")],
)  # fmt: skip
def test_counts_have_three_digits(value, shown):
    assert numbers.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (310, "310 B"), (4_120, "4.12 kB"), (61_706, "61.7 kB"), (2.5e9, "2.50 GB")],
)
def test_sizes_are_in_thousands_of_bytes(value, shown):
    assert numbers.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0312, "31.2 µs"), (0.9999, "1.00 ms"), (4.5, "4.50 ms"), (12.34, "12.3 ms"), (2300, "2.30 s"), (None, "–")],
)
def test_latency_has_a_unit_that_fits(value, shown):
    assert numbers.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(3.21, "3.21 s"), (49.3, "49 s"), (75.2, "1 min 15 s"), (7_260, "2 h 1 min"), (math.inf, "–")]
)
def test_durations(value, shown):
    assert numbers.duration(value) == shown


def test_an_interval_decides_the_digits():
    assert numbers.decimals([0.31, 0.28, 3.0], default=3, lowest=0, highest=6) == 2
    assert numbers.decimals([0.0042], default=3, lowest=0, highest=6) == 4
    assert numbers.decimals([12.0], default=3, lowest=1, highest=6) == 1
    assert numbers.decimals([None, 0.0, math.nan], default=3, lowest=0, highest=6) == 3


def test_what_is_no_number_is_a_dash():
    assert numbers.with_interval(93.421, 0.314, 2, unit="%") == "93.42 ± 0.31 %"
    assert numbers.with_interval(93.421, None, 2, unit="%") == "93.42 %"
    assert numbers.with_interval(-1.25, 0.5, 1, signed=True) == "−1.2 ± 0.5"
    assert numbers.with_interval(1.26, 0.5, 1, signed=True) == "+1.3 ± 0.5"
    assert numbers.with_interval(math.nan, 0.5, 1) == "–"
    assert numbers.with_interval(None, None, 1) == "–"


def test_a_mean_beyond_its_half_width_is_written_so():
    assert numbers.telling(1, [(1.94, 1.93)]) == 2
    assert numbers.telling(1, [(-1.94, 1.93), (5.0, 1.0)]) == 2
    assert numbers.telling(1, [(1.9400001, 1.94)]) == 7
    assert numbers.telling(1, [(1.93, 1.94), (1.0, None), (2.0, 1.0)]) == 1  # nothing to tell apart
    assert numbers.telling(1, [(1 + 2**-52, 1.0)]) == 15  # no further


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.5, "0.50"), (0.0312, "0.031"), (0.00004, "< 0.001"), (1.0, "1.00"), (0.0999, "0.10"), (None, "–")],
)
def test_probabilities(p, shown):
    assert numbers.probability(p) == shown
