"""A run's report: report.html, one page that needs no network, and its tables as text and as Markdown (report.md).

A section whose input is missing is left out.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping
from html import escape
from typing import Any

from kdgan import files
from kdgan.report import differences, figures, findings, heat, images, rendering, restored, sections, tables, training
from kdgan.report.entries import comparisons
from kdgan.report.read import Results, read
from kdgan.report.style import CSS

MOST_GRIDS = 4  # tables of two hyper-parameters, beyond which the page alone has them


def write(workdir: str | pathlib.Path) -> pathlib.Path:
    """Write report.html, and report.md with its tables, into a workdir; return the path of the page.

    Of an unfinished run they hold what is known: its learning curves so far.

    Raises:
        ValueError: the workdir holds no run, or a damaged file.
    """
    path = files.folder(workdir) / "report.html"
    files.write_atomic(path, page(_known(workdir)))
    files.write_atomic(path.with_suffix(".md"), markdown(workdir))
    return path


def text(workdir: str | pathlib.Path) -> str:
    """The tables of a run for a terminal: results, paired differences, and what they say; how far an unfinished one is.

    The number that chose an arm is bold where standard output is a terminal (and NO_COLOR is unset), starred elsewhere.

    Raises:
        ValueError: the workdir holds no run, or a damaged file.
    """
    results = _known(workdir)
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return "\n\n".join(part for part in ("\n".join(results.notes), _text(results.summary, bold)) if part)


def markdown(workdir: str | pathlib.Path) -> str:
    """The tables of a run and what they say, as they would be pasted into a README.

    Raises:
        ValueError: the workdir holds no run, or a damaged file.
    """
    results = _known(workdir)
    summary = results.summary
    stages = comparisons(summary)
    blocks = list(results.notes)
    for stage in stages:
        of_stage = [rendering.as_markdown(table) for table in _tables(summary, stage)]
        of_stage.append("\n".join(f"- {sentence}" for sentence in findings.sentences(summary, stage)))
        for title, several in figures.crossed(results, stage).items():
            of_stage += [
                f"### {title}",
                *(f"{caption}\n\n{rendering.as_markdown(table)}" for caption, table in several),
            ]
        blocks += ([f"## {stage}"] if len(stages) > 1 else []) + [block for block in of_stage if block]
    return "\n\n".join(blocks) + "\n"


def tables_html(workdir: str | pathlib.Path) -> str:
    """The tables of a run as HTML that brings its own style, for a notebook."""
    results = _known(workdir)
    return _standalone(sections.notes(results) + sections.tables_of(results))


def curves_html(workdir: str | pathlib.Path) -> str:
    """The learning curves as HTML that brings its own style; of a run that still goes on, too."""
    return _standalone(training.all_curves(read(workdir)))


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a notebook displays; a plain prompt prints its text."""

    html: str
    plain: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.plain


def show(workdir: str | pathlib.Path) -> Shown:
    """Headline, tables, samples and curves of a run, as the last line of a notebook's cell; curves alone while it goes on.

    Raises:
        ValueError: the workdir is no folder, or holds a damaged file.
    """
    results = read(workdir)
    parts = (sections.notes, sections.headline, sections.tables_of, images.strips, training.all_curves)
    body = "".join(part(results) for part in parts)
    tables = _text(results.summary, bold=False) or f"{results.name}: no summary yet"
    plain = "\n\n".join(part for part in ("\n".join(results.notes), tables) if part)
    return Shown(_standalone(body or f"<p>{escape(results.name)}: nothing to show yet</p>"), plain)


def page(results: Results) -> str:
    """The whole page."""
    compared = [
        part(results, stage)
        for stage in comparisons(results.summary)
        for part in (sections.results, sections.comparison, images.samples, restored.samples)
    ]
    sheets = [
        *compared,
        *training.curves(results),
        *figures.sections(results),
        sections.explanation(results),
        sections.config(results),
        sections.environment(results),
    ]
    version = (results.summary.get("environment") or {}).get("kdgan")
    foot = "kdgan" + (f" {version}" if version else "")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(results.name)} · kdgan</title>\n<style>{CSS}</style>\n</head>\n"
        f'<body class="kdgan">\n<main>\n{sections.header(results)}\n'
        + "\n".join(sheet for sheet in sheets if sheet)
        + f"\n<footer>{escape(foot)}</footer>\n</main>\n</body>\n</html>\n"
    )


def _known(workdir: str | pathlib.Path) -> Results:
    results = read(workdir)
    if not results.summary and not results.metrics and not results.unfinished:
        raise ValueError(f"workdir {workdir} holds no run: neither summary.json nor metrics.jsonl")
    return results


def _standalone(body: str) -> str:
    return f'<div class="kdgan"><style>{CSS}</style>{body}</div>'


def _text(summary: Mapping[str, Any], bold: bool) -> str:
    stages = comparisons(summary)
    blocks = [_text_of(summary, stage, bold) for stage in stages]
    if len(stages) > 1:
        blocks = [f"stage {stage}\n\n{block}" for stage, block in zip(stages, blocks, strict=True) if block]
    return "\n\n\n".join(block for block in blocks if block)


def _text_of(summary: Mapping[str, Any], stage: str, bold: bool) -> str:
    blocks = [rendering.as_text(table, bold=bold) for table in _tables(summary, stage)]
    blocks.append("\n".join(findings.sentences(summary, stage)))
    return "\n\n".join(block for block in blocks if block)


def _tables(summary: Mapping[str, Any], stage: str) -> list[tables.Table]:
    """Results, grids of hyper-parameters, and paired differences where there are arms to compare."""
    heats = [heat.grid_table(one) for one in heat.heats(summary, stage)[:MOST_GRIDS]]
    paired = differences.differences_table(summary, stage)
    return [*tables.results_tables(summary, stage), *heats, *([] if paired is None else [paired])]
