"""Bars of a report: as high as their values, named below, with a line across where one is wanted."""

import re

import numpy as np
import pytest

from kdgan.report import bars


def heights(svg):
    """Heights of the bars in the order in which they stand, as shares of the highest."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--s1', svg)
    points = [np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path), float) for path in paths]
    found = np.array([np.ptp(corners[:, 1]) for corners in points])
    assert list(np.argsort([corners[0, 0] for corners in points])) == list(range(len(points)))
    return found / found.max()


def test_bars_are_as_high_as_their_values():
    svg = bars.draw([10.0, 40.0, 20.0], ["one", "two", "three"], unit="%", line=("even", 23.3), label="shares & more")
    np.testing.assert_allclose(heights(svg), [0.25, 1.0, 0.5], atol=1e-3)
    assert 'aria-label="shares &amp; more"' in svg
    assert all(f">{text}</text>" in svg for text in ("one", "two", "three", "even"))
    assert re.search(r">\d+ %</text>", svg)


@pytest.mark.parametrize(("count", "named"), [(10, 10), (100, 12)])
def test_of_many_names_as_many_stand_as_there_is_room_for(count, named):
    svg = bars.draw([1.0] * count, [f"class{i}" for i in range(count)])
    assert len(re.findall(r">class\d+</text>", svg)) == named


def test_nothing_but_zeros_is_drawn_too():
    assert "<svg" in bars.draw([0.0, 0.0], ["a", "b"])
