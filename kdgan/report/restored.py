"""The section of restored images: what all players made of the same ones, side by side, with error maps and a slider.

Each image has a row of tiles: what is given, what each player makes of it, and what is true; below each its error map. A
slider lays any two of a row over each other: its controls act by attributes of their own, and where a page may not act it
shows half of the one and half of the other.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from kdgan import pictures
from kdgan.report import choice, images, numbers
from kdgan.report.entries import TEACHER, comparisons
from kdgan.report.markup import folded, section, sentence
from kdgan.report.read import Results

KIND = "restored"
FACTORS = (1, 2, 3, 5, 10, 20, 50)
MOST_SATURATED = 0.005  # of an error map's pixels: the factor is the largest at which no more are white

# What a control of the slider does; pages have no script beside.
MOVE = "this.closest('.compare').style.setProperty('--at',this.value+'%')"
CHOOSE = (
    "const box=this.closest('.restored'),tile=box.querySelectorAll('.tile')[this.value],image=box.querySelector('.{}');"
    "image.src=tile.src;image.alt=tile.alt"
)


class Column(NamedTuple):
    """What stands below one another, of all images.

    Attributes:
        name: as in the table of results.
        images: uint8 [n, h, w, c].
        words: below each name, of each image; "" for none.
        is_made: whether a player made it, so that its error is shown.
    """

    name: str
    images: np.ndarray
    words: Sequence[str]
    is_made: bool


def samples(results: Results, stage: str) -> str:
    """The sections of a stage, one for each title."""
    several = len(comparisons(results.summary)) > 1
    parts = []
    for title in images.titles(results, KIND):
        made = images.made_of(results, title, stage, kind=KIND)
        if made:
            parts.append(section(f"{title}: {stage}" if several else title, _of_title(results, stage, made)))
    return "".join(parts)


def _of_title(results: Results, stage: str, made: Sequence[images.Made]) -> str:
    columns, true = _columns(results, made)
    made_columns = [column for column in columns if column.is_made]
    errors = {} if true is None else {column.name: _error(column.images, true) for column in made_columns}
    factor = _factor(list(errors.values()))
    chosen = choice.chosen_arm(results.summary, stage)
    best = next((i for i, column in enumerate(columns) if chosen is not None and column.is_made
                 and any(one.name == column.name and one.arm == chosen.arm for one in made)), None)  # fmt: skip
    right = best if best is not None else max((i for i, column in enumerate(columns) if column.is_made), default=0)
    rows = "".join(
        f'<div class="restored">{_tiles(columns, errors, factor, k)}{_compared(columns, right, k)}</div>'
        for k in range(min(len(column.images) for column in columns))
    )
    said = "A window of images of the test split"
    if any(word for column in columns for word in column.words):
        said += "; numbers are of the whole image"
    if errors:
        of = made[0].record.get("true_label") or "true"
        whom = (
            f"the {of} image" if made[0].record.get("true_label") and _has_true(results, made[0]) else "the teacher's"
        )
        said += f". Below each the absolute difference to {whom}, ×{factor}; black is none"
    note = str(made[0].record.get("note") or "").rstrip(".")
    return f'{rows}<p class="note">{sentence(said)}.{" " + sentence(note) + "." if note else ""}</p>'


def _has_true(results: Results, made: images.Made) -> bool:
    reference = results.evaluation.get(made.record.get("reference") or "")
    return reference is not None and len(reference) > 1


def _columns(results: Results, made: Sequence[images.Made]) -> tuple[list[Column], np.ndarray | None]:
    """(input, players, true in their order; what errors are taken to: the true images, else the teacher's)."""
    columns: list[Column] = []
    reference = results.evaluation.get(made[0].record.get("reference") or "")
    shape = made[0].images.shape
    for one in made:
        if one.images.shape == shape and not one.variant:
            unit = str(one.record.get("unit") or "")
            words = [
                f"{value:.2f} {unit}".strip() for value in one.record.get("values") or () if numbers.is_number(value)
            ]
            columns.append(Column(one.name, one.images, words, True))
    if reference is not None and len(reference):
        # A player that gives back what it is given stands for it, with what is measured of it.
        same = [column for column in columns if np.array_equal(column.images, reference[0])]
        columns = [
            *(same or [Column("input", reference[0], (), False)]),
            *(c for c in columns if all(c is not one for one in same)),
        ]
    if reference is not None and len(reference) > 1:
        columns.append(Column(str(made[0].record.get("true_label") or "true"), reference[1], (), False))
        return columns, reference[1]
    teacher = next((one.images for one in made if one.record.get("entry") == TEACHER), None)
    return columns, teacher


def _error(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean absolute difference over channels [n, h, w], in levels."""
    return np.abs(made.astype(np.float32) - true).mean(-1)


def _factor(errors: Sequence[np.ndarray]) -> int:
    """The largest factor at which next to no pixel of any map is cut off."""
    several = [error for error in errors if error.any()]
    if not several:
        return FACTORS[0]
    high = max(float(np.quantile(error, 1 - MOST_SATURATED)) for error in several)
    return max((factor for factor in FACTORS if factor * high <= 255), default=FACTORS[0])


def _tiles(columns: Sequence[Column], errors: dict[str, np.ndarray], factor: int, k: int) -> str:
    figures = []
    for column in columns:
        words = f"<span>{escape(column.words[k])}</span>" if k < len(column.words) else "<span>&nbsp;</span>"
        picture = _image(images.as_shown(column.images[k]), f"{column.name}, image {k + 1}", "tile")
        if column.is_made and column.name in errors:
            shown = np.clip(np.round(factor * errors[column.name][k]), 0, 255).astype(np.uint8)[..., None]
            picture += _image(shown, f"error of {column.name} ×{factor}, image {k + 1}", "error")
        elif errors:  # keeps the row's images at one height
            picture += _image(np.zeros((*column.images[k].shape[:2], 2), np.uint8), "", "none")
        figures.append(f"<figure><figcaption>{escape(column.name)}{words}</figcaption>{picture}</figure>")
    return f'<div class="tiles">{"".join(figures)}</div>'


def _compared(columns: Sequence[Column], right: int, k: int) -> str:
    """The slider of an image, open of the first."""
    slider = _slider(columns, right, k)
    return slider if k == 0 or not slider else folded("Two of them over each other", slider)


def _slider(columns: Sequence[Column], right: int, k: int) -> str:
    if len(columns) < 2:
        return ""

    def select(chosen: int, what: str, kind: str) -> str:
        options = "".join(
            f'<option value="{i}"{" selected" if i == chosen else ""}>{escape(column.name)}</option>'
            for i, column in enumerate(columns)
        )
        return f'<select aria-label="{what} image {k + 1}" onchange="{CHOOSE.format(kind)}">{options}</select>'

    left = 0 if right else 1
    shown = [_image(images.as_shown(columns[i].images[k]), f"{columns[i].name}, {side} half of image {k + 1}", kind)
             for i, side, kind in ((right, "right", "under"), (left, "left", "over"))]  # fmt: skip
    return (
        f'<div class="compare"><div class="pair">{"".join(shown)}</div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="Where the two meet, image {k + 1}" oninput="{MOVE}">'
        f'<div class="ends">{select(left, "Left of", "over")}{select(right, "Right of", "under")}</div></div>'
    )


def _image(image: np.ndarray, alt: str, kind: str) -> str:
    height, width = image.shape[:2]
    size = f'width="{width}" height="{height}"'
    return f'<img class="{kind}" alt="{escape(alt)}" {size} src="{pictures.data_url(image)}">'
