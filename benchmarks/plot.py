"""The plot of how time grows: three panels, against members, batch and devices, from a suite's measured curves."""

import pathlib
from collections.abc import Mapping
from typing import Any

from benchmarks.names import NAMES
from kdgan.files import write_atomic
from kdgan.report.drawing import SERIES

AXES = {"members": "members", "batch": "examples in a batch", "devices": "devices sharing a batch"}
NARROW = 5  # times the lowest of a panel


def draw(measured: Mapping[str, Any], path: pathlib.Path) -> None:
    """Milliseconds of a step of all members, with quartiles, on logarithmic axes (few of them from 0); as a PNG."""
    from matplotlib.figure import Figure  # a figure of its own: no state of pyplot's, and no display

    figure = Figure(figsize=(12, 3.8), dpi=110, layout="constrained")
    for axes, (axis, label) in zip(figure.subplots(1, 3), AXES.items(), strict=True):
        for colour, (name, points) in zip(SERIES, measured[axis].items(), strict=False):
            x, y = [point[axis] for point in points], [point["ms"] for point in points]
            low, high = zip(*(point["quartiles"] for point in points), strict=True)
            shown = NAMES.get(name, name).replace("`", "").replace("_", " ")
            axes.plot(x, y, marker="o", markersize=3, color=colour, label=shown)
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set_xscale("log", base=2)
        bottom, top = axes.dataLim.intervaly
        if top < NARROW * bottom:  # no power of ten would stand at the axis
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
        axes.set_xticks(x, [f"{place:,}" for place in x])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    figure.axes[0].set_ylabel("ms, a step of all")
    figure.suptitle(measured["title"], fontsize=10)
    write_atomic(path, lambda file: figure.savefig(file, format="png"))
