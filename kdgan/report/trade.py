"""What a measure costs: each entry's mean with its interval against its parameters or operations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.report import choice, costs, numbers
from kdgan.report.drawing import INK, LINE, SERIES, drawing, shortened, svg
from kdgan.report.entries import Entry, compared, cost_of_entry
from kdgan.report.measured import Measured, primary
from kdgan.report.measured import of as measures_of
from kdgan.report.plots import PANEL
from kdgan.report.tables import rows_of

COSTS = {"parameters": "parameters", "flops": "FLOPs"}
OF_PIXELS = "operations a pixel of the output"
LINE_OF_TEXT = 10.5  # points
STEP = 0.022  # of the axis, between dots of one cost
LETTER = 4.8  # points that a letter of a name takes


def shown(summary: Mapping[str, Any], stage: str) -> tuple[Measured, list[Entry]] | None:
    """(the measure, the entries that have it): of many arms the baseline and the best few; None where it is of no one."""
    _, arms = compared(summary, stage)
    entries, _ = rows_of(summary, stage)
    few = (None, *choice.few(summary, stage))
    measured = primary(summary, arms.values() if arms else [entry.metrics for entry in entries])
    if measured is None:
        return None
    kept = [entry for entry in entries if not entry.variant and entry.arm in few
            and measured.reading(entry.metrics.get(measured.name) or {})[0] is not None]  # fmt: skip
    return measured, kept


def draw(summary: Mapping[str, Any], stage: str, cost: str, colours: Mapping[str, str]) -> str:
    """A dot for each entry on a logarithmic axis of costs, named beside it; "" where all cost the same.

    Args:
        summary: the content of summary.json.
        stage: whose entries.
        cost: "parameters" or "flops".
        colours: arm -> colour.
    """
    what = shown(summary, stage)
    if what is None:
        return ""
    measured, entries = what
    prices = costs.points(summary, entries, cost)
    entries = [entry for entry in entries if entry.label in prices]
    if len(set(prices.values())) < 2:
        return ""
    x = [prices[entry.label] for entry in entries]
    return _dots(measured, entries, x, head(summary, stage, cost), colours, log=True)


def traded(summary: Mapping[str, Any], stage: str) -> list[Measured]:
    """The measures against which the one that players are compared by is drawn."""
    what = shown(summary, stage)
    several = [] if what is None else [one for one in measures_of(summary) if one.traded and one.name != what[0].name]
    return [one for one in several if len(_places(what[1], one)) > 1]  # type: ignore[index]


def draw_traded(summary: Mapping[str, Any], stage: str, other: Measured, colours: Mapping[str, str]) -> str:
    """A dot for each entry that has both measures, on the axis of the other's numbers."""
    what = shown(summary, stage)
    if what is None:
        return ""
    places = _places(what[1], other)
    entries = [entry for entry in what[1] if entry.label in places]
    return _dots(what[0], entries, [places[entry.label] for entry in entries], other.head, colours, log=False)


def _places(entries: Sequence[Entry], other: Measured) -> dict[str, float]:
    means = {entry.label: other.reading(entry.metrics.get(other.name) or {})[0] for entry in entries}
    return {label: mean for label, mean in means.items() if mean is not None}


def _dots(
    measured: Measured, entries: Sequence[Entry], values: Sequence[float], label: str, colours: Mapping[str, str], *,
    log: bool,
) -> str:  # fmt: skip
    readings = [measured.reading(entry.metrics[measured.name]) for entry in entries]
    x = np.log10(values) if log else np.asarray(values, float)
    back = (lambda at: 10**at) if log else (lambda at: at)
    placed = x + STEP * np.ptp(x) * _offsets(x)
    names = [shortened(entry.label, 20) for entry in entries]
    far = [name for name, at in zip(names, x, strict=True) if at >= x.min() + 0.6 * np.ptp(x)]
    right = 20.0 + LETTER * max(map(len, far))
    with drawing(PANEL[0] + right, PANEL[1], left=38.0 + 5 * max(0, len(measured.unit) - 1), right=right, bottom=30.0,
                 top=8.0) as (figure, axes):  # fmt: skip
        axes.set_xscale("log" if log else "linear")
        shades = [INK if entry.arm is None else colours.get(entry.arm, SERIES[1]) for entry in entries]
        for at, (mean, half), colour in zip(back(placed), readings, shades, strict=True):
            if mean is not None and half is not None:
                axes.plot([at, at], [mean - half, mean + half], color=colour, linewidth=1.8, solid_capstyle="round")
            axes.plot([at], [mean], "o", color=colour, markersize=6, markeredgewidth=0)
        axes.margins(x=0.08, y=0.08)
        _axes(axes, measured, label, log=log)
        ends = np.array([placed[x == at].max() for at in x])
        _name(axes, back(ends), [mean for mean, _ in readings], names, shades)
        return svg(figure, f"{measured.head} against {label}")


def head(summary: Mapping[str, Any], stage: str, cost: str) -> str:
    """What a cost is called: of players that make images of images operations are those of a pixel."""
    what = shown(summary, stage)
    records = [cost_of_entry(summary, entry) for entry in what[1]] if what else []
    return OF_PIXELS if cost == "flops" and costs.of_pixels(records) else COSTS[cost]


def _offsets(x: np.ndarray) -> np.ndarray:
    """Where dots of one cost stand beside one another: −1, 0, 1 for three."""
    result = np.zeros(len(x))
    for value in set(x.tolist()):
        same = np.flatnonzero(x == value)
        result[same] = np.arange(len(same)) - (len(same) - 1) / 2
    return result


def _axes(axes, measured: Measured, label: str, *, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    behind = f" {measured.unit}" if measured.unit else ""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}{behind}".replace("-", numbers.MINUS)))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7) if log else MaxNLocator(nbins=5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value) if log else f"{value:.4g}"))
    axes.set_xlabel(label, loc="right", labelpad=1)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _tick(value: float) -> str:
    number, _, unit = numbers.count(value).partition(" ")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {unit}".strip()


def _name(axes, x: np.ndarray, y: Sequence[float | None], names: Sequence[str], shades: Sequence[str]) -> None:
    """Each name to the right of the dots of its cost, in the colour of its own; names of one place are moved apart."""
    height = axes.get_position().height * axes.figure.get_figheight() * 72
    width = axes.get_position().width * axes.figure.get_figwidth() * 72
    axes.autoscale_view()  # places follow from the limits
    to_axes = axes.transData + axes.transAxes.inverted()
    spots = [to_axes.transform((a, b)) for a, b in zip(x, y, strict=True)]
    order = sorted(range(len(names)), key=lambda i: spots[i][1])
    taken: list[tuple[float, float, float]] = []
    for i in order:
        left, level = spots[i][0] * width + 7, spots[i][1] * height
        end = left + LETTER * len(names[i])
        while any(
            left < other_end and start < end and abs(level - at) < LINE_OF_TEXT for start, other_end, at in taken
        ):
            level += 1.5
        taken.append((left, end, level))
        axes.annotate(names[i], (0, 0), xycoords="axes fraction", xytext=(left, level), textcoords="offset points",
                      color=shades[i], fontsize=8, va="center", annotation_clip=False, parse_math=False)  # fmt: skip
