"""What an evaluator has to show: pictures and tables as plain arrays, with the few words that a report puts beside them.

A report draws each kind of figure, and needs nothing of the evaluator that made it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Card = Sequence[tuple[str, str, str]]  # (what, text, "right", "wrong" or "")


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """One figure; `strip`, `grid`, `restored`, `matrix`, `values`, `crossed`, `bars` and `cards` make one.

    Attributes:
      kind: "images", "restored", "matrix", "values", "crossed", "bars" or "cards".
      title: of the section that it stands in, with those of the same title.
      array: what it shows.
      about: what else its record in summary.json says: numbers and words.
      reference: images that stand below those of all players, for comparison; None: none.
    """

    kind: str
    title: str
    array: np.ndarray
    about: Mapping[str, Any]
    reference: np.ndarray | None = None


def strip(
    title: str, images: np.ndarray, *, note: str = "", reference: np.ndarray | None = None, reference_label: str = ""
) -> Figure:
    """Images uint8 [n, h, w, c] in a row, below and above those of other players, so that columns belong together."""
    about = {"layout": "strip", "note": note} | ({} if reference is None else {"reference_label": reference_label})
    return Figure("images", title, images, about, reference)


def grid(title: str, images: np.ndarray, *, rows: Sequence[str] = (), gap: int | None = None, note: str = "") -> Figure:
    """Images uint8 [rows, columns, h, w, c].

    Args:
      title: of its section.
      images: to show.
      rows: a label for each row, or none.
      gap: column behind which there is a gap.
      note: a sentence below.
    """
    return Figure("images", title, images, {"layout": "grid", "rows": list(rows), "gap": gap, "note": note})


def restored(
    title: str, made: np.ndarray, given: np.ndarray, true: np.ndarray | None = None, *,
    values: Sequence[float] = (), unit: str = "", true_label: str = "clean", note: str = "",
) -> Figure:  # fmt: skip
    """Images that players made of the same given ones, side by side with these and the true ones, and how they differ.

    Args:
      title: of its section, where those of all players stand together.
      made: uint8 [n, h, w, c].
      given: of the same shape, as shown: enlarged to it where it is smaller.
      true: of the same shape; the error maps are of it, or where there is none of what the teacher makes.
      values: one number for each image made, or none.
      unit: of these.
      true_label: what the true ones are called.
      note: a sentence below.
    """
    about = {"values": [float(value) for value in values], "unit": unit, "true_label": true_label, "note": note}
    return Figure("restored", title, made, about, np.stack([given] if true is None else [given, true]))


def matrix(title: str, counts: np.ndarray, names: Sequence[str], *, row: str, column: str, note: str = "") -> Figure:
    """Counts [seeds, k, k] of `row` (true) against `column` (predicted) classes."""
    return Figure("matrix", title, counts, {"names": list(names), "row": row, "column": column, "note": note})


def values(
    title: str, numbers: np.ndarray, names: Sequence[str], *, measure: Mapping[str, Any], note: str = ""
) -> Figure:
    """Numbers [seeds, k], one for each of the names.

    Args:
      title: of its section.
      numbers: before they are scaled; NaN where there is none.
      names: [k].
      measure: the record of what they are (`Measure.record`).
      note: a sentence below.
    """
    return Figure("values", title, numbers, {"names": list(names), "note": note, **_shown(measure)})


def crossed(
    title: str, numbers: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, measure: Mapping[str, Any],
    note: str = "",
) -> Figure:  # fmt: skip
    """Numbers [seeds, r, c], one for each row and column: a table of means with their intervals.

    Args:
      title: of its section.
      numbers: before they are scaled; NaN where there is none.
      rows: [r], their names.
      columns: [c], likewise.
      measure: the record of what they are (`Measure.record`).
      note: a sentence below.
    """
    named = {"rows": list(rows), "columns": list(columns), "note": note}
    return Figure("crossed", title, numbers, {**named, **_shown(measure)})


def _shown(measure: Mapping[str, Any]) -> dict[str, Any]:
    return {key: measure[key] for key in ("head", "unit", "scale", "better", "digits")}


def bars(
    title: str, numbers: np.ndarray, names: Sequence[str], *, what: str, scale: float = 1.0, unit: str = "",
    reference: tuple[str, float] | None = None, on: str = "test split", note: str = "",
) -> Figure:  # fmt: skip
    """Numbers [k] as bars, one above each of the names: shares of classes, a histogram.

    Args:
      title: of its section.
      numbers: before they are scaled.
      names: [k].
      what: the numbers are, in words.
      scale: a number times this is what is shown.
      unit: of what is shown.
      reference: a line across the bars: what it is, and where it lies, before it is scaled.
      on: what they were taken on.
      note: a sentence below.
    """
    about = {"names": list(names), "what": what, "scale": scale, "unit": unit, "on": on, "note": note}
    line = {} if reference is None else {"line": [reference[0], float(reference[1])]}
    return Figure("bars", title, np.asarray(numbers, np.float64), {**about, **line})


def cards(
    title: str, images: np.ndarray | None, lines: Sequence[Card], *, captions: Sequence[str] = (), note: str = ""
) -> Figure:
    """Examples, each with lines of text: uint8 [n, h, w, c] and n cards; without images the lines alone."""
    empty = np.zeros((0, 0, 0, 0), np.uint8)
    about = {"cards": [[list(line) for line in card] for card in lines], "captions": list(captions), "note": note}
    return Figure("cards", title, empty if images is None else images, about)
