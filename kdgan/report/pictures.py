"""What evaluation.npz holds, as pictures: the confusion matrix of a student, and images seen differently."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kdgan.report import grids
from kdgan.report.drawing import INK, LINE, SERIES, drawing, shortened, svg

RIGHT, WRONG = SERIES[1], SERIES[2]
WITH_NUMBERS = 14  # classes up to which a cell has room for its number
AS_SQUARES = 24  # classes up to which a cell is a square of its own; beyond, the matrix is one image


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A test image on which student and teacher differ; classes are indices."""

    image: np.ndarray
    index: int
    true: int
    student: int
    teacher: int


def confusion(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Share of each true class that is predicted as each class: float [true, predicted], rows sum to 1 or are empty.

    Args:
        label: int [n].
        predicted: int [seeds, n]; seeds are counted together.
        num_classes: at least the largest class + 1.
    """
    true = np.broadcast_to(label, predicted.shape).ravel()
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (true, predicted.ravel()), 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def most_confused(shares: np.ndarray, names: Sequence[str], most: int = 5) -> list[tuple[str, str, float]]:
    """(true, predicted, share) of the largest errors."""
    errors = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = [divmod(int(i), len(shares)) for i in order]
    return [(names[i], names[j], float(errors[i, j])) for i, j in pairs if errors[i, j] > 0]


def confusion_matrix(shares: np.ndarray, names: Sequence[str]) -> str:
    """Rows are true classes, columns predicted ones; hits in blue, errors in orange scaled to the largest of them.

    Args:
        shares: float [k, k], as `confusion` gives them.
        names: [k], of the classes.
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
        axes.set_xlabel("predicted", labelpad=3)
        axes.set_ylabel("true", labelpad=3)
        axes.tick_params(length=0)
        ticks = [i + 0.5 for i in range(k)] if k <= AS_SQUARES else []
        labels = short if k <= AS_SQUARES else []
        axes.set_xticks(ticks, labels, rotation=90 if upright else 0, parse_math=False)
        axes.set_yticks(ticks, labels, parse_math=False)
        for side in axes.spines.values():
            side.set_visible(False)
        return svg(figure, "confusion matrix")


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


def disagreements(evaluation: Mapping[str, np.ndarray]) -> list[Disagreement]:
    """The images on which student and teacher disagree; none where the arrays are absent."""
    needed = ("label", *(f"disagreement/{name}" for name in ("image", "index", "student", "teacher")))
    if any(name not in evaluation for name in needed):
        return []
    label, image, index, student, teacher = (evaluation[name] for name in needed)
    return [
        Disagreement(image[i], int(index[i]), int(label[index[i]]), int(student[i]), int(teacher[i]))
        for i in range(len(index))
    ]


def png(image: np.ndarray) -> str:
    """An image uint8 [h, w, c] as a data URL; two or more than four channels show their first."""
    pixels = np.asarray(image, np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return grids.data_url(pixels[..., :3] if pixels.shape[-1] in (3, 4) else pixels[..., :1])
