"""Bars of a report: as high as their values, named below, with a line across where one is wanted."""

import re

import numpy as np
import pytest
from test_report_measures import ARMS, figure, restoring_summary

from kdgan.report import bars, figures
from kdgan.report.read import Results


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


def test_each_arm_has_its_bars_with_what_they_were_taken_on():
    shares = {f"b/{arm}": np.array([0.125, 0.875]) for arm in ARMS}
    about = dict(
        title="Classes", names=["cat", "dog"], what="share", scale=100.0, unit="%", on="40 draws", line=["even", 0.5]
    )
    shown = [figure("bars", arm, f"b/{arm}", **about) for arm in ARMS]
    (section,) = figures.sections(Results("run", restoring_summary() | {"figures": shown}, (), "", shares))
    for arm in ARMS:
        assert f"student · {arm}, 40 draws: share." in section
    assert re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', section) == [
        ("cat", "12.5 %"), ("dog", "87.5 %")
    ] * len(ARMS)  # fmt: skip
    np.testing.assert_allclose(heights(section[: section.index("</svg>")]), [1 / 7, 1], atol=1e-3)
