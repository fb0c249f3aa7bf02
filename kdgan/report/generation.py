"""The section of what generators make, per stage: samples of every entry from one noise, and what is looked at next.

Entries stand below one another and see the same noise, so that the k-th image of each is the same draw: a student is
faithful where its images are its teacher's.
"""

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

from kdgan.report import grids, numbers
from kdgan.report.entries import comparisons, shown, split_name
from kdgan.report.markup import chip, folded, section
from kdgan.report.palette import marks
from kdgan.report.read import Results

ACROSS = 12  # images in a row of the page
SIDE_BY_SIDE = 8  # images in a row of a picture that shares the page's width with another
ROOM, HALF_ROOM = 840, 470  # CSS pixels that such rows take at most
MOMENTS, OF_EACH = 8, 6  # rows of what was drawn while training, and images of each
PAIRS = 8  # rows of nearest training images
GAP = 4  # pixels between what is generated and its neighbours
FEW = 2  # pictures up to which a part stands open


@dataclasses.dataclass(frozen=True)
class Made:
    """What one entry made.

    Attributes:
        label: as in the table of results.
        variant: "moving average", ... of the entry above; "" for an entry itself.
        arm: gives it its mark; None for a player that no arm compared trained.
        images: uint8, as evaluation.npz has them.
        steps: int [t], of images taken while training.
    """

    label: str
    variant: str
    arm: str | None
    images: np.ndarray
    steps: np.ndarray | None = None

    @property
    def name(self) -> str:
        return f"{self.label}, {self.variant}" if self.variant else self.label


def samples(results: Results, stage: str) -> str:
    """Samples of a stage's entries from one noise above the real images, and the folded parts below them."""
    made = _made(results, "sample", stage)
    parts = [
        _strips(results, stage, made),
        _all_samples(results, stage, made),
        _reconstructions(results, stage),
        _interpolations(results, stage),
        _neighbours(results, stage),
        _progress(results, stage),
    ]
    several = len(comparisons(results.summary)) > 1
    return section(f"Samples: {stage}" if several else "Samples", "".join(parts))


def strips(results: Results) -> str:
    """The samples alone, of every stage that compares, for a notebook."""
    parts = [
        (stage, _strips(results, stage, _made(results, "sample", stage))) for stage in comparisons(results.summary)
    ]
    several = len(parts) > 1
    return "".join(f"<h3>Samples{': ' + escape(stage) if several else ''}</h3>{part}" for stage, part in parts if part)


def _made(results: Results, kind: str, stage: str, *, again: bool = True) -> list[Made]:
    """What `kind` of images the entries of a stage made, in the order of its table; then what no table lists.

    Args:
        results: of the run.
        kind: "sample", "interpolation", ...
        stage: whose table.
        again: entries of earlier stages, too, where a section of an earlier stage has shown them.
    """
    arrays = results.evaluation
    first = stage == comparisons(results.summary)[0]
    found, taken = [], set()
    for entry in shown(results.summary, stage):
        taken.add(entry.name if entry.arm is None else f"{entry.arm}/{entry.name}")
        key = f"{'/'.join(entry.source)}/{entry.name}"
        # A frozen player may have been drawn in the stage that uses it alone.
        here = [name for name in arrays if name.startswith(f"{kind}/{stage}/") and name.endswith(f"/{entry.name}")]
        keys = [name for name in (f"{kind}/{key}", *(here if entry.arm is None else ())) if name in arrays]
        if keys and (again or first or entry.source[0] == stage):
            found.append(_one(results, keys[0], entry.label, entry.variant, entry.arm))
    for key in arrays:
        if key.startswith(f"{kind}/{stage}/"):
            arm, _, name = key.removeprefix(f"{kind}/{stage}/").partition("/")
            if name not in taken and f"{arm}/{name}" not in taken:
                player, variant = split_name(name)
                label = f"{player} · {arm}" if arm in marks(results, stage) else player
                found.append(_one(results, key, label, variant, arm))
    return [made for made in found if made.images.size]


def _one(results: Results, key: str, label: str, variant: str, arm: str | None) -> Made:
    kind, _, rest = key.partition("/")
    return Made(label, variant, arm, results.evaluation[key], results.evaluation.get(f"{kind}_step/{rest}"))


def _strips(results: Results, stage: str, made: Sequence[Made]) -> str:
    if not made:
        return ""
    real = results.evaluation.get("real")
    rows = [*made, *([Made("test images", "", None, real)] if real is not None and real.size else [])]
    note = "Each column is one noise, given to every entry; the test images stand for comparison."
    note = note if len(rows) > len(made) else "Each column is one noise, given to every entry."
    return _rows(results, stage, rows) + f'<p class="note">{note}</p>'


def _rows(results: Results, stage: str, made: Sequence[Made]) -> str:
    """A row for each entry: its name, and its first images."""
    palette = marks(results, stage)
    rows = []
    for each in made:
        mark = "" if not palette else chip(None if each.variant else palette.get(each.arm or ""))
        kind = ' class="variant"' if each.variant else ""
        image = _image(_tiles(each.images[:ACROSS], ACROSS), f"samples of {each.name}", ROOM)
        rows.append(f"<dt{kind}>{mark}<span>{escape(each.variant or each.label)}</span></dt><dd>{image}</dd>")
    return f'<dl class="strips">{"".join(rows)}</dl>'


def _all_samples(results: Results, stage: str, made: Sequence[Made]) -> str:
    rest = [each for each in made if len(each.images) > ACROSS]
    if not rest:
        return ""
    shown_here = [
        (each, _image(_tiles(each.images, SIDE_BY_SIDE), f"all samples of {each.name}", HALF_ROOM)) for each in rest
    ]
    count = max(len(each.images) for each in rest)
    return folded(f"All {count} samples of each", _figures(results, stage, shown_here))


def _reconstructions(results: Results, stage: str) -> str:
    made = _made(results, "reconstruction", stage, again=False)
    if not made:
        return ""
    # [n, 2, h, w, c]: the images in the upper row, what became of them below.
    pictures = []
    for each in made:
        pairs = each.images[:SIDE_BY_SIDE].swapaxes(0, 1)
        tiles = _tiles(pairs.reshape(-1, *pairs.shape[2:]), pairs.shape[1])
        pictures.append((each, _image(tiles, f"reconstructions by {each.name}", HALF_ROOM)))
    note = '<p class="note">Upper row: test images. Lower row: their reconstructions.</p>'
    return _part("Reconstructions", _figures(results, stage, pictures) + note, len(pictures))


def _interpolations(results: Results, stage: str) -> str:
    pictures = [
        (each, _image(_tiles(each.images.reshape(-1, *each.images.shape[2:]), each.images.shape[1]),
                      f"interpolations by {each.name}", HALF_ROOM))
        for each in _made(results, "interpolation", stage, again=False)
    ]  # fmt: skip
    note = '<p class="note">Each row goes from one noise to another; the rows are the same for every entry.</p>'
    return _part("Interpolations", _figures(results, stage, pictures) + note, len(pictures)) if pictures else ""


def _neighbours(results: Results, stage: str) -> str:
    pictures = []
    for each in _made(results, "neighbour", stage, again=False):
        images = each.images[:PAIRS]
        near = images[:, 1:]
        tiles = [_tiles(images[:, 0], 1)]
        if near.shape[1]:
            tiles.append(_tiles(near.reshape(-1, *near.shape[2:]), near.shape[1]))
            tiles.insert(1, np.zeros((tiles[0].shape[0], GAP, tiles[0].shape[-1]), np.uint8))
        picture = _image(np.concatenate(tiles, 1), f"nearest training images of {each.name}", HALF_ROOM)
        pictures.append((each, picture))
    if not pictures:
        return ""
    extractor = (results.summary.get("generation") or {}).get("extractor")
    space = f"in the features of {extractor}" if extractor else "in feature space"
    note = f'<p class="note">First a generated image, then the training images nearest to it {escape(space)}.</p>'
    return _part("Nearest training images", _figures(results, stage, pictures) + note, len(pictures))


def _progress(results: Results, stage: str) -> str:
    pictures = []
    for each in _made(results, "progress", stage, again=False):
        t = len(each.images)
        rows = np.unique(np.linspace(0, t - 1, min(t, MOMENTS)).round().astype(int))
        images = each.images[rows][:, :OF_EACH]
        steps = rows if each.steps is None else each.steps[rows]
        tiles = _tiles(images.reshape(-1, *images.shape[2:]), images.shape[1])
        labels = "".join(f"<li>{escape(numbers.plural(int(step), 'step'))}</li>" for step in steps)
        image = _image(tiles, f"samples of {each.name} while training", HALF_ROOM)
        pictures.append((each, f'<div class="progress"><ol>{labels}</ol>{image}</div>'))
    note = '<p class="note">The same noise in every row.</p>'
    return _part("While training", _figures(results, stage, pictures) + note, len(pictures)) if pictures else ""


def _part(title: str, body: str, pictures: int) -> str:
    return folded(title, body, is_open=pictures <= FEW)


def _figures(results: Results, stage: str, pictures: Sequence[tuple[Made, str]]) -> str:
    palette = marks(results, stage)
    figures = "".join(
        f"<figure><figcaption>{chip(palette[each.arm]) if each.arm in palette else ''}{escape(each.name)}</figcaption>"
        f"{picture}</figure>"
        for each, picture in pictures
    )
    return f'<div class="grids">{figures}</div>'


def _tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """The images in a grid whose lines are the page: uint8 [h, w, 2 or 4], the last channel being opacity."""
    # As a page shows colours: grey, or RGB; of other channels the first.
    colours = images[..., :3] if images.shape[-1] in (3, 4) else images[..., :1]
    opaque = np.full((*colours.shape[:-1], 1), 255, np.uint8)
    return grids.grid(np.concatenate([colours, opaque], -1), columns, fill=0)


def _image(tiles: np.ndarray, alt: str, room: int) -> str:
    """The picture at a whole number of CSS pixels per pixel, as large as there is room for."""
    height, width = tiles.shape[:2]
    scale = max(1, room // width)
    small = ' class="small"' if scale > 1 else ""
    size = f'width="{scale * width}" height="{scale * height}"'
    return f'<img{small} alt="{escape(alt)}" {size} src="{grids.data_url(tiles)}">'
