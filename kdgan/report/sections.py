"""The sections of any run's page: each takes a run's results and gives its HTML, or "" where its input is missing."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from kdgan.report import choice, differences, findings, heat, numbers, plots, rendering, tables, trade
from kdgan.report import measured as measures
from kdgan.report.entries import TEACHER, arm_names, compared, comparisons, shown
from kdgan.report.markup import folded, section, sentence
from kdgan.report.palette import colours, css_marks
from kdgan.report.read import Results

LINE_WIDTH = 110  # characters of a line of the config


def header(results: Results) -> str:
    summary = results.summary
    data = summary.get("data") or {}
    what = " · ".join(part for part in (str(data.get("name") or ""), _compares(summary)) if part)
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(summary))
    return (
        f'<header><p class="eyebrow">Report of a run</p><h1>{escape(results.name)}</h1>'
        + (f'<p class="what">{escape(what)}</p>' if what else "")
        + notes(results)
        + headline(results)
        + (f'<dl class="facts">{facts}</dl>' if facts else "")
        + "</header>"
    )


def _compares(summary: Mapping[str, Any]) -> str:
    """Which arms stand against each other, and where; stages of the same arms are named together."""
    stages: dict[str, list[str]] = {}
    for stage in comparisons(summary):
        arms = arm_names(summary, stage)
        named = ", ".join(arms) if len(arms) <= choice.MANY else f"{len(arms)} arms"
        stages.setdefault(f"{named} compared in" if len(arms) > 1 else "", []).append(stage)
    parts = [(arms, "stages" if len(names) > 1 else "stage", " and ".join(names)) for arms, names in stages.items()]
    return "; ".join(" ".join(word for word in part if word) for part in parts)


def notes(results: Results) -> str:
    """What has to be known before any number: that a run is unfinished, or that its inputs changed."""
    return "".join(f'<p class="headline several">{sentence(note)}</p>' for note in results.notes)


def headline(results: Results) -> str:
    """The main result, in words; a paragraph for each stage that compares."""
    said = findings.headlines(results.summary)
    several = " several" if len(said) > 1 else ""
    return "".join(f'<p class="headline{several}">{sentence(says)}</p>' for says in said)


def _facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sizes = (summary.get("data") or {}).get("sizes") or {}
    given = [f"{size:,}\u00a0{split}" for split, size in sizes.items() if isinstance(size, int) and size]
    if given:
        yield "examples", ", ".join(given)
    stages = summary.get("stages") or {}
    steps = [f"{name} {stage['steps']:,}" for name, stage in stages.items() if isinstance(stage.get("steps"), int)]
    if steps:
        yield "steps", ", ".join(steps)
    seeds = _seeds(summary)
    if seeds:
        yield "seeds", f"{seeds}"
    seconds = [stage.get("seconds") for stage in stages.values()]
    if seconds and all(map(numbers.is_number, seconds)):
        yield "training time", numbers.duration(sum(seconds))
    environment = summary.get("environment") or {}
    for name in ("device", "date"):
        if environment.get(name):
            yield name, str(environment[name])


def _seeds(summary: Mapping[str, Any]) -> int:
    entries = (entry for stage in comparisons(summary) for entry in shown(summary, stage))
    return max((len(r.get("values") or ()) for e in entries for r in e.metrics.values()), default=0)


def title(results: Results, of: str, stage: str) -> str:
    """A section's title, which says the stage where several have such a section."""
    return f"{of}: {stage}" if len(comparisons(results.summary)) > 1 else of


def results(results: Results, stage: str) -> str:
    """The tables of results, then what the measure costs where costs differ, and what has no column of its own."""
    summary = results.summary
    drawn = [table for table in tables.results_tables(summary, stage) if table.rows]
    if not drawn:
        return ""
    html = "".join(
        f'<div class="part">{rendering.as_html(table, colours=css_marks(results, stage))}</div>' for table in drawn
    )
    further = tables.further_table(summary, stage)
    html += folded("Further measures", rendering.as_html(further, colours=css_marks(results, stage))) if further else ""
    return section(title(results, "Results", stage), html + _trade(results, stage))


def _trade(results: Results, stage: str) -> str:
    """The measure against size and operations, of every entry."""
    drawn = {cost: trade.draw(results.summary, stage, cost, colours(results)) for cost in trade.COSTS}
    what = trade.shown(results.summary, stage)
    if what is None or not any(drawn.values()):
        return ""
    measured, _ = what
    better = "" if measured.obvious else f", {measured.better} is better"
    heads = {cost: trade.head(results.summary, stage, cost) for cost in drawn}
    figures = "".join(
        f"<figure><figcaption>{escape(measured.head)} <span>against {escape(heads[cost])}{better}</span></figcaption>"
        f"{figure}</figure>"
        for cost, figure in drawn.items() if figure
    )  # fmt: skip
    interval = " A line is the 95 % interval of the mean." if _seeds(results.summary) > 1 else ""
    note = f"Test split; costs on a logarithmic scale; dots of one cost stand side by side.{interval}"
    return folded("Quality against cost", f'<div class="two trade">{figures}</div><p class="note">{sentence(note)}</p>',
                  is_open=True)  # fmt: skip


def tables_of(results: Results) -> str:
    """The tables of each stage that compares, without sections around them."""
    stages = comparisons(results.summary)
    parts = []
    for stage in stages:
        drawn = [table for table in tables.results_tables(results.summary, stage) if table.rows]
        paired = differences.differences_table(results.summary, stage)
        chips = css_marks(results, stage)
        if drawn and len(stages) > 1:
            parts.append(f"<h3>Stage {escape(stage)}</h3>")
        parts += [rendering.as_html(table, colours=chips) for table in drawn]
        if paired is not None:
            said = _findings(results.summary, stage)
            parts.append("<h3>Paired differences</h3>" + said + rendering.as_html(paired, colours=chips))
    return "".join(parts)


def _findings(summary: Mapping[str, Any], stage: str) -> str:
    said = "".join(f"<li>{sentence(says)}.</li>" for says in findings.sentences(summary, stage))
    return f'<ul class="findings">{said}</ul>' if said else ""


def comparison(results: Results, stage: str) -> str:
    """Each arm against the baseline and the best other, beside a dot for every seed; grids of hyper-parameters."""
    paired = differences.differences_table(results.summary, stage)
    if paired is None:
        return ""
    said, picture, chips = _findings(results.summary, stage), _dots(results, stage), css_marks(results, stage)
    many = len(arm_names(results.summary, stage)) > choice.MANY
    picture, whole = (folded("Every arm, seed by seed", picture), picture) if many and picture else (picture, "")
    beside = said if many else f'<div class="two">{picture}<div>{said}</div></div>' if picture else said
    table = rendering.as_html(paired, colours=chips)
    if many:
        longer = differences.differences_table(results.summary, stage, whole=True)
        every = "" if longer is None else folded("Differences of every arm", rendering.as_html(longer, colours=chips))
        table += every + (picture if whole else "")
    return section(title(results, "Differences between the arms", stage), beside + _heats(results, stage) + table)


def _heats(results: Results, stage: str) -> str:
    """A heat map for each grid of two hyper-parameters, on each split."""
    figures = []
    for one in heat.heats(results.summary, stage):
        lower = "" if one.measured.higher_is_better else "; lower is better"
        framed = "; the frame is around the arm that is singled out" if one.chosen is not None else ""
        caption = sentence(f"{heat.title(one)}{lower}{framed}.")
        figures.append(f'<figure class="heat">{heat.draw(one)}<figcaption>{caption}</figcaption></figure>')
    return f'<div class="two heats">{"".join(figures)}</div>' if figures else ""


def _dots(results: Results, stage: str) -> str:
    _, arms = compared(results.summary, stage)
    measured = measures.primary(results.summary, arms.values())
    if measured is None:
        return ""
    palette, rows = colours(results), []
    for arm in choice.in_order(results.summary, stage):
        record = (arms.get(arm) or {}).get(measured.name) or {}
        values = [measured.scaled(value) for value in record.get("values") or ()]
        if any(value is not None for value in values):
            rows.append((arm, values, measured.reading(record)[1], palette[arm]))
    entries = shown(results.summary, stage)
    teacher = next((entry for entry in entries if entry.player == TEACHER and not entry.variant), None)
    mean = None if teacher is None else measured.reading(teacher.metrics.get(measured.name) or {})[0]
    reference = (teacher.label, mean) if teacher is not None and mean is not None else None
    low, high = measured.bounds
    name = measured.on_test
    drawn = plots.dots(rows, reference, unit=measured.unit, lowest=low, highest=high, what=name)
    better = "" if measured.obvious else f" ({measured.better} is better)"
    several = "a dot for each seed, a diamond for their mean with its 95 % interval"
    caption = f"{name[0].upper()}{name[1:]}{better}: {several if _seeds(results.summary) > 1 else 'one seed'}."
    return f'<figure class="seeds">{drawn}<figcaption>{sentence(caption)}</figcaption></figure>' if drawn else ""


def explanation(results: Results) -> str:
    return section("The run, as it explained itself", f"<pre>{escape(results.explanation.rstrip())}</pre>"
                    if results.explanation.strip() else "")  # fmt: skip


def config(results: Results) -> str:
    content = results.summary.get("config")
    if not content:
        return ""
    return f"<section><details><summary>Config</summary><pre>{escape(_compact(content))}</pre></details></section>"


def _compact(value: Any, indent: str = "", used: int = 0) -> str:
    """JSON with a mapping or list on one line where it fits."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    if not isinstance(value, dict | list) or len(indent) + used + len(line) <= LINE_WIDTH or not value:
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        keys = [f"{json.dumps(str(key), ensure_ascii=False)}: " for key in value]
        parts = [key + _compact(item, deeper, len(key)) for key, item in zip(keys, value.values(), strict=True)]
    else:
        parts = [_compact(item, deeper) for item in value]
    inner = f",\n{deeper}".join(parts)
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{deeper}{inner}\n{indent}{end}"


def environment(results: Results) -> str:
    recorded = results.summary.get("environment") or {}
    stages = results.summary.get("stages") or {}
    facts = [
        (name, value if isinstance(value, str) else json.dumps(value, default=str)) for name, value in recorded.items()
    ]
    for name, stage in stages.items():
        if numbers.is_number(stage.get("seconds")):
            rate = stage.get("steps_per_second")
            speed = f", {rate:,.0f} steps/s" if numbers.is_number(rate) else ""
            facts.append((f"stage {name}", numbers.duration(stage["seconds"]) + speed))
    body = "".join(f"<div><dt>{escape(str(name))}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return section("Environment", f'<dl class="facts" style="margin:0">{body}</dl>' if body else "")
