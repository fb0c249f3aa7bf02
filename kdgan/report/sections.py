"""The sections of any run's page: each takes a run's results and gives its HTML, or "" where its input is missing."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from kdgan.report import differences, findings, numbers, plots, rendering, tables
from kdgan.report import measured as metrics
from kdgan.report.entries import TEACHER, arm_names, compared, comparisons, shown
from kdgan.report.markup import section, sentence
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
        stages.setdefault(f"{', '.join(arms)} compared in" if len(arms) > 1 else "", []).append(stage)
    parts = [(arms, "stages" if len(names) > 1 else "stage", " and ".join(names)) for arms, names in stages.items()]
    return "; ".join(" ".join(word for word in part if word) for part in parts)


def notes(results: Results) -> str:
    """What has to be known before any number: that a run is unfinished, or that its inputs changed."""
    return "".join(f'<p class="headline several">{sentence(note)}</p>' for note in results.notes)


def headline(results: Results) -> str:
    """The main result, in words; a paragraph for each stage that compares."""
    said = findings.headlines(results.summary)
    several = " several" if len(said) > 1 else ""
    return "".join(f'<p class="headline{several}">{sentence(each)}</p>' for each in said)


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
    table = tables.results_table(results.summary, stage)
    html = rendering.as_html(table, colours=css_marks(results, stage))
    return section(title(results, "Results", stage), html) if table.rows else ""


def tables_of(results: Results) -> str:
    """Both tables of each stage that compares, without sections around them."""
    stages = comparisons(results.summary)
    parts = []
    for stage in stages:
        table = tables.results_table(results.summary, stage)
        paired = differences.differences_table(results.summary, stage)
        chips = css_marks(results, stage)
        if table.rows and len(stages) > 1:
            parts.append(f"<h3>Stage {escape(stage)}</h3>")
        if table.rows:
            parts.append(rendering.as_html(table, colours=chips))
        if paired is not None:
            said = _findings(results.summary, stage)
            parts.append("<h3>Paired differences</h3>" + said + rendering.as_html(paired, colours=chips))
    return "".join(parts)


def _findings(summary: Mapping[str, Any], stage: str) -> str:
    said = "".join(f"<li>{sentence(each)}.</li>" for each in findings.sentences(summary, stage))
    return f'<ul class="findings">{said}</ul>' if said else ""


def comparison(results: Results, stage: str) -> str:
    """Each arm against the baseline and the best other, beside a dot for every seed."""
    paired = differences.differences_table(results.summary, stage)
    if paired is None:
        return ""
    said, picture = _findings(results.summary, stage), _dots(results, stage)
    beside = f'<div class="two">{picture}<div>{said}</div></div>' if picture else said
    table = rendering.as_html(paired, colours=css_marks(results, stage))
    return section(title(results, "Differences between the arms", stage), beside + table)


def _dots(results: Results, stage: str) -> str:
    _, arms = compared(results.summary, stage)
    measured = metrics.primary(results.summary, arms.values())
    if measured is None:
        return ""
    scale, palette = measured.scale, colours(results)
    rows = []
    for arm, records in arms.items():
        record = records.get(measured.name) or {}
        values = [scale * value if numbers.is_number(value) else None for value in record.get("values") or ()]
        half = record.get("ci95") if len(values) > 1 else None
        if any(value is not None for value in values):
            rows.append((arm, values, scale * half if numbers.is_number(half) else None, palette[arm]))
    entries = shown(results.summary, stage)
    teacher = next((e for e in entries if e.player == TEACHER and not e.variant), None)
    mean = None if teacher is None else (teacher.metrics.get(measured.name) or {}).get("mean")
    reference = (teacher.label, scale * mean) if teacher is not None and numbers.is_number(mean) else None
    name = "test accuracy" if measured.name == "accuracy" else measured.head
    if measured.unit == "%":
        drawn = plots.dots(rows, reference, percent=True, lowest=0.0, highest=100.0, what=name)
    else:
        drawn = plots.dots(rows, reference, lowest=None if measured.higher_is_better else 0.0, what=name)
    better = "" if measured.name == "accuracy" else f" ({'higher' if measured.higher_is_better else 'lower'} is better)"
    several = "a dot for each seed, a diamond for their mean with its 95 % interval"
    caption = f"{name[0].upper()}{name[1:]}{better}: {several if _seeds(results.summary) > 1 else 'one seed'}."
    return f'<figure class="seeds">{drawn}<figcaption>{sentence(caption)}</figcaption></figure>' if drawn else ""


def explanation(results: Results) -> str:
    return section("The run, as it explained itself", f"<pre>{escape(results.explanation.rstrip())}</pre>"
                    if results.explanation.strip() else "")  # fmt: skip


def config(results: Results) -> str:
    found = results.summary.get("config")
    if not found:
        return ""
    return f"<section><details><summary>Config</summary><pre>{escape(_compact(found))}</pre></details></section>"


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
    found = results.summary.get("environment") or {}
    stages = results.summary.get("stages") or {}
    facts = [
        (name, value if isinstance(value, str) else json.dumps(value, default=str)) for name, value in found.items()
    ]
    for name, stage in stages.items():
        if numbers.is_number(stage.get("seconds")):
            rate = stage.get("steps_per_second")
            speed = f", {rate:,.0f} steps/s" if numbers.is_number(rate) else ""
            facts.append((f"stage {name}", numbers.duration(stage["seconds"]) + speed))
    body = "".join(f"<div><dt>{escape(str(name))}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return section("Environment", f'<dl class="facts" style="margin:0">{body}</dl>' if body else "")
