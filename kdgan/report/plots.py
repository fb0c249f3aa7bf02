"""Learning curves of the arms, and what they reached seed by seed, as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.report import curves as learning
from kdgan.report import numbers
from kdgan.report.curves import Curve
from kdgan.report.drawing import INK, LINE, MUTED, REST, SERIES, colours_of, drawing, shortened, svg
from kdgan.report.measured import Measured

PANEL = (302.0, 196.0)  # points, of a learning curve
WIDE = 30.0  # times its least value: from there on a learning curve is drawn on a logarithmic scale
NAMES = 14  # arms up to which there is room for all their names at the ends of the lines
ROOMY = 12  # rows of dots up to which each has much room
_AS_IT_IS = Measured("", "")


def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    stage: str,
    player: str,
    name: str,
    *,
    split: str = "validation",
    measured: Measured | None = None,
    colours: Mapping[str, str] | None = None,
) -> str:
    """One line per arm, the mean over seeds, in a band that is its 95 % interval; "" where nothing was logged.

    Args:
        metrics: the lines of metrics.jsonl.
        stage: its name.
        player: its name, as logged.
        name: of a measure, "loss", or a term.
        split: "train" or "validation".
        measured: how the measure is shown; None for a loss.
        colours: arm -> colour; by default in the order of the lines.
    """
    lines = learning.gather(metrics, stage, split, f"{player}/{name}")
    colours = colours_of(list(lines)) if colours is None else colours
    return curves(lines, colours, measured=measured, label=f"{player} {name}, {split}, stage {stage}")


def curves(
    lines: Mapping[str, Curve],
    colours: Mapping[str, str],
    *,
    measured: Measured | None = None,
    wide: float = WIDE,
    label: str = "",
) -> str:
    """Arms over the steps, each named at the end of its line; of many arms those that have a colour of their own.

    Args:
        lines: arm -> curve.
        colours: arm -> colour.
        measured: how the values are shown; None for losses.
        wide: as `spans_decades` takes it.
        label: what the curves are.
    """
    lines = {arm: curve for arm, curve in lines.items() if np.isfinite(curve.mean).any()}
    if not lines:
        return ""
    shown = _AS_IT_IS if measured is None else measured
    logarithmic = is_logarithmic(lines, measured, wide)
    colour_of = {arm: colours.get(arm, SERIES[1]) for arm in lines}
    named = [arm for arm in lines if len(lines) <= NAMES or colour_of[arm] != REST] if len(lines) > 1 else []
    names = {arm: shortened(arm) for arm in named}
    right = 10.0 + 5.2 * max(map(len, names.values()), default=0)
    with drawing(*PANEL, left=38.0 + 5.0 * max(0, len(shown.unit) - 1), right=right, bottom=30.0, top=8.0) as (
        figure,
        axes,
    ):
        strength = min(0.16, 0.6 / len(lines))
        # Those of one colour first: the others lie above them.
        for arm, curve in sorted(lines.items(), key=lambda item: colour_of[item[0]] != REST):
            colour, is_rest = colour_of[arm], colour_of[arm] == REST
            marker = "o" if np.isfinite(curve.mean).sum() == 1 else None
            low, mean, high = (shown.scale * line for line in (curve.low, curve.mean, curve.high))
            if not is_rest:
                axes.fill_between(curve.step, low, high, color=colour, alpha=strength, linewidth=0)
            axes.plot(curve.step, mean, color=colour, marker=marker, linewidth=0.9 if is_rest else 1.6, markersize=4,
                      solid_capstyle="round", solid_joinstyle="round")  # fmt: skip
        if logarithmic:
            axes.set_yscale("log", nonpositive="clip")
            means = shown.scale * np.concatenate([curve.mean[np.isfinite(curve.mean)] for curve in lines.values()])
            axes.set_ylim(np.min(means) / 1.5, np.max(means) * 1.5)
        else:
            axes.set_ylim(*_within([shown.scale * limit for limit in _limits(lines)], shown))
        _ticks(axes, unit=shown.unit, logarithmic=logarithmic, dense=wide < WIDE)
        axes.set_xlim(left=min(0, *(int(curve.step[0]) for curve in lines.values())))
        axes.margins(x=0.02)
        axes.set_xlabel("step", loc="right", labelpad=1)
        _name_ends(axes, {arm: (names[arm], shown.scale * lines[arm].mean,
                                MUTED if colour_of[arm] == REST else colour_of[arm]) for arm in named})  # fmt: skip
        return svg(figure, label)


def _within(limits: Sequence[float], measured: Measured) -> tuple[float, float]:
    """Limits of an axis, not further than their margin beyond what the measure can be."""
    low, high = limits
    margin = 0.06 * (high - low)
    least, largest = measured.bounds
    return (low if least is None else max(low, least - margin)), (
        high if largest is None else min(high, largest + margin)
    )


def dots(
    rows: Sequence[tuple[str, Sequence[float | None], float | None, str]],
    reference: tuple[str, float] | None = None,
    *,
    unit: str = "",
    lowest: float | None = None,
    highest: float | None = None,
    what: str = "",
    of: str = "arm",
) -> str:
    """A row per arm: a dot for each seed, the mean with its 95 % interval beside them; the teacher as a line.

    Args:
        rows: (label, values over seeds as shown (None: diverged), half width of the mean's interval or None, colour).
        reference: (label, the teacher's value).
        unit: of the values.
        lowest: least value that the measure can have, if any.
        highest: largest one.
        what: the values are.
        of: what a row is.
    """
    if not rows:
        return ""
    left = 12 + 5.4 * max(len(shortened(label, 22)) for label, *_ in rows)
    height = 34.0 if len(rows) <= ROOMY else 19.0
    with drawing(330.0, 46.0 + height * len(rows), left=left, right=14.0, bottom=28.0, top=18.0) as (figure, axes):
        size = 4.5 if len(rows) <= ROOMY else 3.5
        for i, (label, values, half, colour) in enumerate(rows):
            known = [value for value in values if numbers.is_number(value)]
            axes.axhline(i, color=LINE, linewidth=0.8, zorder=0)
            axes.plot(known, [i + 0.16] * len(known), "o", color=colour, markersize=size, alpha=0.55, markeredgewidth=0)
            if len(known) == len(values) and known:
                mean = float(np.mean(known))
                if half is not None:
                    axes.plot([mean - half, mean + half], [i - 0.16] * 2, color=colour, linewidth=2.2)
                axes.plot([mean], [i - 0.16], "D", color=colour, markersize=size + 0.5, markeredgewidth=0)
            axes.annotate(shortened(label, 22), (0, i), xycoords=("axes fraction", "data"), xytext=(-8, 0), color=INK,
                          textcoords="offset points", ha="right", va="center", annotation_clip=False,
                          parse_math=False)  # fmt: skip
        if reference is not None:
            axes.axvline(reference[1], color=MUTED, linewidth=1, linestyle=(0, (3, 2.5)), zorder=1)
            axes.annotate(shortened(reference[0], 22), (reference[1], 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
                          textcoords="offset points", ha="center", color=MUTED, fontsize=8, parse_math=False)  # fmt: skip
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(*_span(rows, reference, lowest, highest))
        _ticks(axes, unit=unit, along="x")
        return svg(figure, f"{what} of each {of}, a dot per seed".strip())


def _span(
    rows: Sequence[Any], reference: tuple[str, float] | None, lowest: float | None, highest: float | None
) -> tuple[float, float]:
    """Limits of the dots: every seed and the reference, and of the intervals what does not push these together."""
    means = [(np.mean(values), half) for _, values, half, _ in rows if half is not None and None not in values]
    values = [value for _, values, _, _ in rows for value in values if numbers.is_number(value)]
    low, high = _frame([values, [reference[1]] if reference else []], [[m - h, m + h] for m, h in means])
    margin = 0.06 * (high - low) or 1.0
    low = low if lowest is None else max(low, lowest)
    return low - margin, (high if highest is None else min(high, highest)) + margin


def is_logarithmic(lines: Mapping[str, Curve], measured: Measured | None, wide: float = WIDE) -> bool:
    """Whether curves are drawn on a logarithmic scale; those of per cents never are."""
    return not (measured and measured.percent) and spans_decades(lines, wide)


def spans_decades(lines: Mapping[str, Curve], wide: float = WIDE) -> bool:
    """Whether the largest mean of the curves is over `wide` times their least."""
    values = [curve.mean[np.isfinite(curve.mean)] for curve in lines.values()]
    joined = np.concatenate(values) if values else np.zeros(0)
    return bool(len(joined) and np.min(joined) > 0 and np.max(joined) / np.min(joined) > wide)


def _limits(lines: Mapping[str, Curve]) -> tuple[float, float]:
    """Limits in which the arms can be told apart: neither the first points nor a few seeds' wide bands rule the frame."""

    def extent(skip: int) -> tuple[float, float]:
        means = [curve.mean[skip:] for curve in lines.values()]
        return _frame(means, [line[skip:] for curve in lines.values() for line in (curve.low, curve.high)])

    points = min(len(curve.step) for curve in lines.values())
    low, high = extent(0)
    if points > 4:
        later = extent(max(1, points // 8))
        # Points that alone would double the frame leave it.
        if high - low > 2 * (later[1] - later[0]) > 0:
            low, high = later
    margin = 0.06 * (high - low) or 0.02 * max(abs(high), 1e-3)
    return low - margin, high + margin


def _frame(points: Sequence[Any], bands: Sequence[Any]) -> tuple[float, float]:
    """(lowest, highest) of points and their bands, which may add as much as the points take, or all where these are flat."""

    def ends(rows: Sequence[Any]) -> tuple[float, float]:
        values = np.concatenate([np.asarray(row, float).ravel() for row in rows] or [np.zeros(0)])
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)

    low, high = ends(points)
    lowest, highest = ends([*points, *bands])
    reach = 0.5 * (high - low) or math.inf
    return max(lowest, low - reach), min(highest, high + reach)


def _name_ends(axes, ends: Mapping[str, tuple[str, np.ndarray, str]]) -> None:
    """Each arm's name at the height at which its line ends, moved apart where two would touch."""
    gap = 10.5  # points: one line of text
    height = axes.get_position().height * axes.figure.get_figheight() * 72
    low, high = axes.transData.inverted().transform(axes.transAxes.transform([(0, 0), (0, 1)]))[:, 1]
    placed = []
    for name, mean, colour in ends.values():
        last = float(mean[np.isfinite(mean)][-1])
        if axes.get_yscale() == "log":
            share = (math.log(last) - math.log(low)) / (math.log(high) - math.log(low))
        else:
            share = (last - low) / (high - low)
        placed.append([min(max(share, 0.0), 1.0) * height, name, colour])
    placed.sort(key=lambda item: item[0])
    for i in range(1, len(placed)):
        placed[i][0] = max(placed[i][0], placed[i - 1][0] + gap)
    ceiling = height + 4
    for item in reversed(placed):
        item[0] = min(item[0], ceiling)
        ceiling = item[0] - gap
    for y, name, colour in placed:
        axes.annotate(name, (1, 0), xycoords="axes fraction", xytext=(5, y), textcoords="offset points",
                      color=colour, fontsize=9, va="center", annotation_clip=False, parse_math=False)  # fmt: skip


def _ticks(axes, *, unit: str = "", logarithmic: bool = False, dense: bool = False, along: str = "y") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    measured, other = (axes.yaxis, axes.xaxis) if along == "y" else (axes.xaxis, axes.yaxis)
    if logarithmic:
        measured.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if dense else (1.0,), numticks=6))
        measured.set_minor_locator(NullLocator())
        measured.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        measured.set_major_locator(MaxNLocator(nbins=5))
        behind = f" {unit}" if unit else ""
        measured.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}{behind}".replace("-", numbers.MINUS)))
    if along == "y":
        other.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
        other.set_major_formatter(FuncFormatter(lambda value, _: _steps(value)))
    else:
        other.set_major_locator(NullLocator())
    axes.grid(axis=along, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _steps(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
