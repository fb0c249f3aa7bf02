"""The sections of the learning curves, one per stage."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from kdgan.report import choice, plots
from kdgan.report import curves as learning
from kdgan.report.drawing import REST
from kdgan.report.markup import folded, legend, section, sentence
from kdgan.report.measured import Measured
from kdgan.report.palette import colours
from kdgan.report.read import Results

TITLES = {learning.OBJECTIVE: "objective"}
GRADIENTS = (
    "Norms are of the terms' gradients without their λ's. "
    "A cosine below 0: what lowers one of the two terms raises the other."
)
# A distance falls by an order of magnitude in the first steps; what tells arms apart comes after.
FALLING = 10.0


def curves(results: Results) -> list[str]:
    """A section per stage: a row per player of its first measures and its objective, then all else that was logged."""
    return [section(f"Learning curves: {stage}", body) for stage, body in _curves(results)]


def all_curves(results: Results) -> str:
    return "".join(f"<h3>Learning curves: {escape(stage)}</h3>{body}" for stage, body in _curves(results))


def _curves(results: Results) -> Iterator[tuple[str, str]]:
    """(stage, its figures)."""
    palette = colours(results)
    for stage in learning.stage_names(results.metrics):
        lines = [line for line in results.metrics if line.get("stage") == stage]
        order = dict.fromkeys([*choice.in_order(results.summary, stage), *palette])
        arms = [arm for arm in order if arm in palette and any(line.get("arm") == arm for line in lines)]
        first, further = learning.looked_at(lines, stage, results.measured(stage))
        logged = [("train", key) for key in learning.keys(lines, stage, "train")]
        slopes = [(split, key) for split, key in logged if learning.is_gradient(key)]
        terms = [pair for pair in logged if pair not in (*first, *slopes) and _is_term(lines, stage, pair[1])]
        draw = lambda wanted, lines=lines, stage=stage: _panels(lines, palette, stage, wanted, results.measures)
        panels, others, losses, gradients = draw(first), draw(further), draw(terms), draw(slopes)
        if not (panels or others or losses or gradients):
            continue
        body = legend({arm: palette[arm] for arm in arms}) + _rows(panels)
        if others:
            body += folded(f"Further measures ({len(further)})", _rows(others))
        if losses and len(terms) > 1:  # a single term is its objective again
            body += folded(f"Every loss term ({len(terms)})", _rows(losses))
        if gradients:
            note = f'<p class="note">{GRADIENTS}</p>'
            body += folded(f"Gradients of the terms ({len(slopes)})", _rows(gradients) + note)
        yield stage, body + f'<p class="note">{sentence(_note(lines, [palette[arm] for arm in arms]))}</p>'


def _note(lines: Sequence[Mapping[str, Any]], palette: Sequence[str]) -> str:
    seeds = len({str(line.get("seed")) for line in lines})
    note = f"Lines: mean over {seeds} seeds; bands: 95 % interval of the mean." if seeds > 1 else "One seed."
    if REST in palette:
        note += " The baseline and the best arms have a colour, all others one grey, without their bands."
    if len(palette) > 1:
        note += " Objectives of different arms are sums of different terms and do not compare."
    return note


def _rows(rows: Sequence[str]) -> str:
    return "".join(f'<div class="panels">{row}</div>' for row in rows)


def _is_term(lines: Sequence[Mapping[str, Any]], stage: str, key: str) -> bool:
    """A loss term, or a λ that moves; one that stands still is in the explanation."""
    return not key.startswith("lambda/") or learning.varies(learning.gather(lines, stage, "train", key))


def _panels(
    lines: Sequence[Mapping[str, Any]],
    palette: Mapping[str, str],
    stage: str,
    wanted: Sequence[learning.Logged],
    measures: Mapping[str, Measured],
) -> list[str]:
    """Figures of the (split, key) wanted, a string per player."""
    rows: dict[str, list[str]] = {}
    for split, key in wanted:
        player, name = learning.in_words(key)
        measured = measures.get(name) if split == "validation" else None
        arms = learning.gather(lines, stage, split, key)
        label, wide = f"{player} {name}, {split}, stage {stage}", _wide(measured)
        figure = plots.curves(arms, palette, measured=measured, wide=wide, label=label)
        if figure:
            title = TITLES.get(name, name) if measured is None else measured.head
            where = "validation" if split == "validation" else "training"
            where += "" if measured is None or measured.higher_is_better else ", lower is better"
            where += ", log scale" if plots.is_logarithmic(arms, measured, wide) else ""
            caption = f"<figcaption>{escape(player)} · {escape(title)} <span>{where}</span></figcaption>"
            rows.setdefault(player, []).append(f"<figure>{caption}{figure}</figure>")
    return ["".join(row) for row in rows.values()]


def _wide(measured: Measured | None) -> float:
    """How many times its least value a curve must reach to be drawn on a logarithmic scale."""
    falls = measured is not None and not measured.higher_is_better and measured.bounds[0] == 0
    return FALLING if falls else plots.WIDE
