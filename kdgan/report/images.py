"""The section of images that players made, per stage: strips of every entry below one another, and grids that fold.

Strips of one title have their columns in common: the k-th image of each was made of the same noise, or of the same example.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from kdgan import pictures
from kdgan.report import choice
from kdgan.report.entries import comparisons, split_name
from kdgan.report.markup import chip, folded, section, sentence
from kdgan.report.palette import marks
from kdgan.report.read import Results
from kdgan.report.tables import ordered

ACROSS = 12  # images in a row of the page
SIDE_BY_SIDE = 8  # images in a row of a picture that shares the page's width with another
ROOM, HALF_ROOM = 840, 470  # CSS pixels that such rows take at most
MOST = 16  # rows, and columns, of a grid
GAP = 4  # pixels between the columns of a grid that do not belong together
FEW = 2  # pictures up to which a part stands open
STRIP = "strip"


@dataclasses.dataclass(frozen=True)
class Made:
    """What one entry made.

    Attributes:
        label: as in the table of results.
        variant: "moving average", ... of the entry above; "" for an entry itself.
        arm: gives it its mark; None for a player that no arm compared trained.
        record: of the figure.
        images: uint8 [n, h, w, c] of a strip, [rows, columns, h, w, c] of a grid.
    """

    label: str
    variant: str
    arm: str | None
    record: Mapping[str, Any]
    images: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.label}, {self.variant}" if self.variant else self.label

    @property
    def alt(self) -> str:
        """What the picture is, in words."""
        of = str(self.record.get("alt") or f"{str(self.record.get('title', 'images')).lower()} of {{}}")
        return of.replace("{}", self.name)


def samples(results: Results, stage: str) -> str:
    """Strips of a stage's entries above the images that they are compared with, and the folded parts below them."""
    layouts = titles(results)
    strips = [(title, made_of(results, title, stage)) for title, layout in layouts.items() if layout == STRIP]
    strips = [(title, made) for title, made in strips if made]
    parts = [part for title, made in strips for part in (_strips(results, stage, made, title if len(strips) > 1 else ""),
                                                         _all_of_each(results, stage, made))]  # fmt: skip
    parts += [_grids(results, stage, title) for title, layout in layouts.items() if layout != STRIP]
    title = strips[0][0] if len(strips) == 1 else "Pictures"
    several = len(comparisons(results.summary)) > 1
    return section(f"{title}: {stage}" if several else title, "".join(parts))


def strips(results: Results) -> str:
    """The strips alone, of every stage that compares, for a notebook."""
    known = [title for title, layout in titles(results).items() if layout == STRIP]
    parts = [
        (title, stage, _strips(results, stage, made_of(results, title, stage)))
        for stage in comparisons(results.summary) for title in known
    ]  # fmt: skip
    several = len(comparisons(results.summary)) > 1
    return "".join(
        f"<h3>{escape(title)}{': ' + escape(stage) if several else ''}</h3>{part}"
        for title, stage, part in parts
        if part
    )


def _records(results: Results, kind: str = "images") -> list[Mapping[str, Any]]:
    return [record for record in results.summary.get("figures") or ()
            if record.get("kind") == kind and record.get("array") in results.evaluation]  # fmt: skip


def titles(results: Results, kind: str = "images") -> dict[str, str]:
    """Title -> layout, in the order in which the figures have them."""
    layouts: dict[str, str] = {}
    for record in _records(results, kind):
        layouts.setdefault(record["title"], record.get("layout", "grid"))
    return layouts


def made_of(results: Results, title: str, stage: str, *, again: bool = True, kind: str = "images") -> list[Made]:
    """The figures of one title of a stage's entries, in the order of its table; then what no table lists.

    Args:
        results: of the run.
        title: of the figures.
        stage: whose table.
        again: entries of earlier stages, too, where a section of an earlier stage has shown them.
        kind: of the figures.
    """
    records = {(record["stage"], record["arm"], record["entry"]): record
               for record in _records(results, kind) if record["title"] == title}  # fmt: skip
    first = stage == comparisons(results.summary)[0]
    made, taken = [], set()
    few = (None, *choice.few(results.summary, stage))
    for entry in ordered(results.summary, stage):
        taken.add((entry.arm, entry.name))
        # A frozen player may have been drawn in the stage that uses it alone.
        here = [key for key in records if key[0] == stage and key[2] == entry.name]
        keys = [key for key in ((*entry.source, entry.name), *(here if entry.arm is None else ())) if key in records]
        if keys and (again or first or entry.source[0] == stage) and entry.arm in few:
            made.append(_one(results, records[keys[0]], entry.label, entry.variant, entry.arm))
    for (of_stage, arm, name), record in records.items():
        if of_stage == stage and (None, name) not in taken and (arm, name) not in taken and arm in few:
            player, variant = split_name(name)
            label = f"{player} · {arm}" if arm in marks(results, stage) else player
            made.append(_one(results, record, label, variant, arm))
    return [one for one in made if one.images.size]


def _one(results: Results, record: Mapping[str, Any], label: str, variant: str, arm: str | None) -> Made:
    return Made(label, variant, arm, record, results.evaluation[record["array"]])


def _strips(results: Results, stage: str, made: Sequence[Made], title: str = "") -> str:
    """A row for each entry: its name, and its first images; the images that they are compared with below."""
    if not made:
        return ""
    rows = list(made)
    record = made[0].record
    reference = results.evaluation.get(record.get("reference") or "")
    if reference is not None and reference.size:
        rows.append(Made(str(record.get("reference_label") or "reference"), "", None, record, reference))
    palette = marks(results, stage)
    lines = []
    for one in rows:
        mark = "" if not palette else chip(None if one.variant else palette.get(one.arm or ""))
        kind = ' class="variant"' if one.variant else ""
        image = _image(_tiles(one.images[:ACROSS], ACROSS), one.alt, ROOM)
        lines.append(f"<dt{kind}>{mark}<span>{escape(one.variant or one.label)}</span></dt><dd>{image}</dd>")
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'{heading}<dl class="strips">{"".join(lines)}</dl>{_note(record)}'


def _all_of_each(results: Results, stage: str, made: Sequence[Made]) -> str:
    rest = [one for one in made if len(one.images) > ACROSS]
    if not rest:
        return ""
    drawn = [(one, _image(_tiles(one.images, SIDE_BY_SIDE), f"all {one.alt}", HALF_ROOM)) for one in rest]
    count, title = max(len(one.images) for one in rest), str(rest[0].record["title"]).lower()
    return folded(f"All {count} {title} of each", _figures(results, stage, drawn))


def _grids(results: Results, stage: str, title: str) -> str:
    made = made_of(results, title, stage, again=False)
    if not made:
        return ""
    drawn = [(one, _grid(one)) for one in made]
    return folded(title, _figures(results, stage, drawn) + _note(made[0].record), is_open=len(drawn) <= FEW)


def _grid(made: Made) -> str:
    images, gap = made.images[:MOST, :MOST], made.record.get("gap")
    columns = images.shape[1]
    parts = [images] if gap is None or not 0 < gap < columns else [images[:, :gap], images[:, gap:]]
    tiles = [_tiles(part.reshape(-1, *part.shape[2:]), part.shape[1]) for part in parts]
    if len(tiles) > 1:
        tiles.insert(1, np.zeros((tiles[0].shape[0], GAP, tiles[0].shape[-1]), np.uint8))
    image = _image(np.concatenate(tiles, 1), made.alt, HALF_ROOM)
    labels = list(made.record.get("rows") or ())[:MOST]
    if not labels:
        return image
    return f'<div class="progress"><ol>{"".join(f"<li>{escape(str(row))}</li>" for row in labels)}</ol>{image}</div>'


def _note(record: Mapping[str, Any]) -> str:
    note = str(record.get("note") or "").rstrip(".")
    return f'<p class="note">{sentence(note)}.</p>' if note else ""


def _figures(results: Results, stage: str, drawn: Sequence[tuple[Made, str]]) -> str:
    palette = marks(results, stage)
    figures = "".join(
        f"<figure><figcaption>{chip(palette[one.arm]) if one.arm in palette else ''}{escape(one.name)}</figcaption>"
        f"{picture}</figure>"
        for one, picture in drawn
    )
    return f'<div class="grids">{figures}</div>'


def as_shown(images: np.ndarray) -> np.ndarray:
    """The channels that a page shows of uint8 [..., c]: grey or RGB; of two, or more than four, the first."""
    return images[..., :3] if images.shape[-1] in (3, 4) else images[..., :1]


def _tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """The images in a grid whose lines are the page: uint8 [h, w, 2 or 4], the last channel being opacity."""
    colours = as_shown(images)
    opaque = np.full((*colours.shape[:-1], 1), 255, np.uint8)
    return pictures.grid(np.concatenate([colours, opaque], -1), columns, fill=0)


def _image(tiles: np.ndarray, alt: str, room: int) -> str:
    """The picture at a whole number of CSS pixels per pixel, as large as there is room for."""
    height, width = tiles.shape[:2]
    scale = max(1, room // width)
    small = ' class="small"' if scale > 1 else ""
    size = f'width="{scale * width}" height="{scale * height}"'
    return f'<img{small} alt="{escape(alt)}" {size} src="{pictures.data_url(tiles)}">'
