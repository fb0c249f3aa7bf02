"""Bars, one above each of several names: shares of classes, or a histogram, as inline SVG."""

from collections.abc import Sequence

from kdgan.report import numbers
from kdgan.report.drawing import INK, LINE, MUTED, SERIES, drawing, shortened, svg

SIZE = (330.0, 150.0)  # points
NAMED = 12  # names that there is room for; of more every second, third, ... stands
LONGEST = 8  # characters of a name below a bar
AT_ONCE = 24  # characters of all names up to which they stand side by side; beyond they are turned


def draw(
    values: Sequence[float],
    names: Sequence[str],
    *,
    unit: str = "",
    line: tuple[str, float] | None = None,
    label: str = "",
) -> str:
    """One bar above each name.

    Args:
        values: as shown, not negative.
        names: as many.
        unit: of the values.
        line: a line across the bars: what it is, and where it lies.
        label: what they are.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    every = -(-len(names) // NAMED)
    shown = [shortened(name, LONGEST) if i % every == 0 else "" for i, name in enumerate(names)]
    turned = sum(map(len, shown)) > 2 * AT_ONCE
    bottom = 14.0 + (5.0 * max(map(len, shown), default=0) if turned else 8.0)
    with drawing(SIZE[0], SIZE[1] + bottom, left=40.0, right=10.0, bottom=bottom, top=18.0) as (figure, axes):
        axes.bar(range(len(values)), values, width=0.8, color=SERIES[1], linewidth=0)
        if line is not None:
            axes.axhline(line[1], color=MUTED, linewidth=1, linestyle=(0, (3, 2.5)))
            axes.annotate(line[0], (1, line[1]), xycoords=("axes fraction", "data"), xytext=(0, 3),
                          textcoords="offset points", ha="right", color=MUTED, fontsize=8, parse_math=False)  # fmt: skip
        axes.set_xticks(range(len(names)), shown, rotation=90 if turned else 0, color=INK)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(0, 1.12 * max([*values, 0.0 if line is None else line[1]], default=0.0) or 1.0)
        behind = f" {unit}" if unit else ""
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:.4g}{behind}".replace("-", numbers.MINUS))
        )
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        return svg(figure, label)
