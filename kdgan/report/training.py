"""The sections of the learning curves, one per stage."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from kdgan.report import curves as learning
from kdgan.report import measured, plots
from kdgan.report.markup import folded, legend, section, sentence
from kdgan.report.palette import colours
from kdgan.report.read import Results

TITLES = {"loss": "objective"}
# Distances fall by an order of magnitude in the first steps; what tells arms apart comes after.
WIDE = {"fd": 3.0}


def curves(results: Results) -> list[str]:
    """A section per stage: a row per player of its validation metrics and objective, then every loss term."""
    return [section(f"Learning curves: {stage}", body) for stage, body in _curves(results)]


def all_curves(results: Results) -> str:
    return "".join(f"<h3>Learning curves: {escape(stage)}</h3>{body}" for stage, body in _curves(results))


def _curves(results: Results) -> Iterator[tuple[str, str]]:
    """(stage, its figures)."""
    palette = colours(results)
    for stage in learning.stage_names(results.metrics):
        lines = [line for line in results.metrics if line.get("stage") == stage]
        own = [arm for arm in palette if any(line.get("arm") == arm for line in lines)]
        first = learning.first_looked_at(lines, stage)
        logged = [("train", key) for key in learning.keys(lines, stage, "train")]
        terms = [pair for pair in logged if pair not in first and _is_term(lines, stage, pair[1])]
        titles = TITLES | {each.name: each.head for each in measured.of(results.summary)}
        panels, others = (_panels(lines, palette, stage, wanted, titles) for wanted in (first, terms))
        if not panels and not others:
            continue
        body = legend({arm: palette[arm] for arm in own})
        body += "".join(f'<div class="panels">{row}</div>' for row in panels)
        if others and len(terms) > 1:  # a single term is its objective again
            drawn = "".join(f'<div class="panels">{row}</div>' for row in others)
            body += folded(f"Every loss term ({len(terms)})", drawn)
        seeds = len({str(line.get("seed")) for line in lines})
        note = f"Lines: mean over {seeds} seeds; bands: 95 % interval of the mean." if seeds > 1 else "One seed."
        if len(own) > 1:
            note += " Objectives of different arms are sums of different terms and do not compare."
        yield stage, body + f'<p class="note">{sentence(note)}</p>'


def _is_term(lines: Sequence[Mapping[str, Any]], stage: str, key: str) -> bool:
    """A loss term, or a λ that moves; one that stands still is in the explanation."""
    return not key.startswith("lambda/") or learning.varies(learning.gather(lines, stage, "train", key))


def _panels(
    lines: Sequence[Mapping[str, Any]],
    palette: Mapping[str, str],
    stage: str,
    wanted: Sequence[tuple[str, str]],
    titles: Mapping[str, str],
) -> list[str]:
    """Figures of the (split, key) wanted, a string per player."""
    rows: dict[str, list[str]] = {}
    for split, key in wanted:
        player, name = learning.player_and_name(key)
        percent = name in ("accuracy", "agreement", "ece")
        if player.startswith("lambda/"):
            player, name = player.removeprefix("lambda/"), f"λ of {name}"
        found = learning.gather(lines, stage, split, key)
        label, wide = f"{player} {name}, {split}, stage {stage}", WIDE.get(name, plots.WIDE)
        figure = plots.curves(found, palette, percent=percent, wide=wide, label=label)
        if figure:
            title = titles.get(name, name)
            where = "validation" if split == "validation" else "training"
            where += ", log scale" if not percent and plots.spans_decades(found, wide) else ""
            caption = f"<figcaption>{escape(player)} · {escape(title)} <span>{where}</span></figcaption>"
            rows.setdefault(player, []).append(f"<figure>{caption}{figure}</figure>")
    return ["".join(row) for row in rows.values()]
