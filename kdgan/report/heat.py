"""A grid of two hyper-parameters: the measure that arms are compared by, as a table and as a heat map."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.report import choice, numbers, settings
from kdgan.report.choice import Choice
from kdgan.report.drawing import INK, LINE, SERIES, drawing, shortened, svg
from kdgan.report.entries import compared
from kdgan.report.measured import Measured, primary
from kdgan.report.settings import Grid
from kdgan.report.table import Cell, Row, Table

COLOUR = SERIES[1]
CELL = (52.0, 30.0)  # points
LETTER = 5.2  # points that a letter of a label takes


@dataclasses.dataclass(frozen=True)
class Heat:
    """The means of one grid on one split.

    Attributes:
        grid: which arm stands where.
        split: "validation" or "test".
        measured: the measure.
        means: float [rows, columns], as shown; NaN where there is none.
        places: decimals of them.
        chosen: the arm that the report singles out, if it is among them.
    """

    grid: Grid
    split: str
    measured: Measured
    means: np.ndarray
    places: int
    chosen: str | None

    @property
    def texts(self) -> list[list[str]]:
        return [[numbers.with_interval(float(mean), None, self.places) if np.isfinite(mean) else "" for mean in row]
                for row in self.means]  # fmt: skip

    @property
    def goodness(self) -> np.ndarray:
        """How good each mean is among them: float [rows, columns] in [0, 1], NaN where there is none."""
        known = self.means[np.isfinite(self.means)]
        if not len(known) or known.max() == known.min():
            return np.where(np.isfinite(self.means), 0.5, np.nan)
        share = (self.means - known.min()) / (known.max() - known.min())
        return share if self.measured.higher_is_better else 1 - share


def heats(summary: Mapping[str, Any], stage: str) -> list[Heat]:
    """Every grid of a stage's arms on the validation split, where there is one, and on the test split."""
    player, arms = compared(summary, stage)
    measured = primary(summary, arms.values())
    if player is None or measured is None:
        return []
    chosen = choice.chosen_arm(summary, stage)
    splits = {"validation": choice.on_validation(summary, stage, player, arms), "test": arms}
    drawn = [
        _heat(grid, split, measured, records, chosen)
        for grid in settings.grids(summary, stage) for split, records in splits.items()
    ]  # fmt: skip
    return [heat for heat in drawn if np.isfinite(heat.means).any()]


def _heat(
    grid: Grid, split: str, measured: Measured, records: Mapping[str, Mapping[str, Any]], chosen: Choice | None
) -> Heat:
    readings = [[measured.reading((records.get(arm or "") or {}).get(measured.name) or {}) for arm in row]
                for row in grid.arms]  # fmt: skip
    means = np.array([[np.nan if mean is None else mean for mean, _ in row] for row in readings])
    halves = [half for row in readings for _, half in row]
    places = numbers.decimals(halves, **{**measured.digits, "significant": 1})
    framed = chosen.arm if chosen is not None and any(chosen.arm in row for row in grid.arms) else None
    return Heat(grid, split, measured, means, places, framed)


def grid_table(heat: Heat) -> Table:
    """The means under the values of one hyper-parameter, a row for each value of the other."""
    rows_head, rows = heat.grid.rows
    columns_head, columns = heat.grid.columns
    cells = [
        [Cell(text, float(mean) if text else None, best=arm is not None and arm == heat.chosen)
         for text, mean, arm in zip(*of_row, strict=True)]
        for of_row in zip(heat.texts, heat.means, heat.grid.arms, strict=True)
    ]  # fmt: skip
    filled = tuple(Row(f"{rows_head} {value}", tuple(row)) for value, row in zip(rows, cells, strict=True))
    notes = (title(heat), *(() if heat.measured.higher_is_better else ("Lower is better",)))
    return Table(tuple(f"{columns_head} {value}" for value in columns), filled, notes)


def title(heat: Heat) -> str:
    """What the numbers are: the measure, its unit and the split."""
    unit = f" in {heat.measured.unit}" if heat.measured.unit else ""
    what = f"{heat.measured.head}{unit} on the {heat.split} split, mean over seeds"
    return what[0].upper() + what[1:]


def draw(heat: Heat) -> str:
    """The table as a heat map: the better, the stronger; the chosen arm has a frame."""
    from matplotlib.patches import Rectangle

    (rows_head, rows), (columns_head, columns) = heat.grid.rows, heat.grid.columns
    shape = heat.means.shape
    width = max(CELL[0], 10 + LETTER * max(map(len, columns)))
    left = 30.0 + LETTER * max(len(shortened(value)) for value in rows)
    size = (left + width * shape[1] + 6, 42.0 + CELL[1] * shape[0])
    with drawing(*size, left=left, right=6.0, bottom=4.0, top=38.0) as (figure, axes):
        for (r, c), goodness in np.ndenumerate(heat.goodness):
            arm = heat.grid.arms[r][c]
            axes.add_patch(Rectangle((c + 0.03, r + 0.04), 0.94, 0.92, color=LINE, alpha=0.35, linewidth=0))
            if np.isfinite(goodness):
                # The worst is faint and the best no darker than its number can be read on.
                alpha = 0.04 + 0.46 * goodness
                axes.add_patch(Rectangle((c + 0.03, r + 0.04), 0.94, 0.92, color=COLOUR, alpha=alpha, linewidth=0))
            if arm is not None and arm == heat.chosen:
                axes.add_patch(Rectangle((c + 0.03, r + 0.04), 0.94, 0.92, fill=False, edgecolor=INK, linewidth=1.4))
            axes.text(c + 0.5, r + 0.52, heat.texts[r][c], color=INK, fontsize=8.5, ha="center", va="center")
        axes.set_xlim(0, shape[1])
        axes.set_ylim(shape[0], 0)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(columns_head, labelpad=4, parse_math=False)
        axes.set_ylabel(rows_head, labelpad=4, parse_math=False)
        axes.tick_params(length=0)
        axes.set_xticks([i + 0.5 for i in range(shape[1])], _short(columns), parse_math=False)
        axes.set_yticks([i + 0.5 for i in range(shape[0])], _short(rows), parse_math=False)
        for side in axes.spines.values():
            side.set_visible(False)
        return svg(figure, f"{title(heat)}, by {rows_head} and {columns_head}")


def _short(values: Sequence[str]) -> list[str]:
    return [shortened(value) for value in values]
