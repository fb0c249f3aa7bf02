"""A matrix of counts as a figure: rows that sum to one, hits and errors in two colours."""

from collections.abc import Sequence

import numpy as np

from kdgan.report.drawing import INK, LINE, SERIES, drawing, shortened, svg

RIGHT, WRONG = SERIES[1], SERIES[2]
WITH_NUMBERS = 14  # names up to which a cell has room for its number
AS_SQUARES = 24  # names up to which a cell is a square of its own; beyond, the matrix is one image


def shares(counts: np.ndarray) -> np.ndarray:
    """Share of each row in each column: float [k, k], rows sum to 1 or are empty.

    Args:
        counts: [seeds, k, k]; seeds are counted together.
    """
    total = np.asarray(counts, float).sum(0)
    return total / np.maximum(total.sum(1, keepdims=True), 1e-12)


def most_confused(shares: np.ndarray, names: Sequence[str], most: int = 5) -> list[tuple[str, str, float]]:
    """(row, column, share) of the largest entries off the diagonal."""
    errors = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = [divmod(int(i), len(shares)) for i in order]
    return [(names[i], names[j], float(errors[i, j])) for i, j in pairs if errors[i, j] > 0]


def draw(
    shares: np.ndarray, names: Sequence[str], *, row: str = "true", column: str = "predicted", label: str = ""
) -> str:
    """Hits in blue on the diagonal, errors in orange scaled to the largest of them.

    Args:
        shares: float [k, k], as `shares` gives them.
        names: [k], of rows and columns.
        row: what a row is.
        column: what a column is.
        label: what the matrix is.
    """
    k = len(shares)
    size = 300.0
    short = [shortened(name, 12) for name in names]
    margin = 22.0 + 5.0 * max(map(len, short)) if k <= AS_SQUARES else 24.0
    upright = max(map(len, short)) > 3
    opacity = _opacity(shares)
    top = margin if upright else 32.0
    width, height = size + margin + 6, size + top + 6
    with drawing(width, height, left=margin, right=6.0, bottom=6.0, top=top) as (figure, axes):
        if k > AS_SQUARES:
            axes.imshow(_rgba(opacity), interpolation="none", extent=(0, k, k, 0), aspect="auto")
        else:
            _squares(axes, shares, opacity)
        axes.set_xlim(0, k)
        axes.set_ylim(k, 0)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(column, labelpad=3)
        axes.set_ylabel(row, labelpad=3)
        axes.tick_params(length=0)
        ticks = [i + 0.5 for i in range(k)] if k <= AS_SQUARES else []
        labels = short if k <= AS_SQUARES else []
        axes.set_xticks(ticks, labels, rotation=90 if upright else 0, parse_math=False)
        axes.set_yticks(ticks, labels, parse_math=False)
        for side in axes.spines.values():
            side.set_visible(False)
        return svg(figure, label)


def _opacity(shares: np.ndarray) -> np.ndarray:
    """How strongly each cell is painted; faint enough that its number is read on a light and on a dark page."""
    diagonal = np.eye(len(shares), dtype=bool)
    worst = shares[~diagonal].max() if len(shares) > 1 else 0.0
    return np.where(diagonal, 0.5 * shares, 0.65 * shares / worst if worst else 0.0)


def _squares(axes, shares: np.ndarray, opacity: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    k = len(shares)
    for i in range(k):
        for j in range(k):
            axes.add_patch(Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, color=LINE, alpha=0.35, linewidth=0))
            if shares[i, j] > 0:
                colour = RIGHT if i == j else WRONG
                axes.add_patch(
                    Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, color=colour, alpha=opacity[i, j], linewidth=0)
                )
            if k <= WITH_NUMBERS and shares[i, j] >= 0.005:
                axes.text(j + 0.5, i + 0.53, f"{100 * shares[i, j]:.0f}", color=INK, fontsize=9 if k <= 10 else 7.5,
                          ha="center", va="center")  # fmt: skip


def _rgba(opacity: np.ndarray) -> np.ndarray:
    from matplotlib.colors import to_rgb

    diagonal = np.eye(len(opacity), dtype=bool)[..., None]
    colour = np.where(diagonal, np.array(to_rgb(RIGHT)), np.array(to_rgb(WRONG)))
    return np.concatenate([colour, np.clip(1.5 * opacity, 0, 1)[..., None]], axis=-1)
