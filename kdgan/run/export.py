"""`--mode=export`: a trained player as files of other programs, each run and judged on the test split as the player is.

from kdgan.run import export

export.export("runs/phone", "exported", formats=["onnx", "litert"], player="student", arm="kd", quantise="int8")
"""

import dataclasses
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan import files
from kdgan.evaluators import Measure
from kdgan.export import Artefact, artefacts, running
from kdgan.export.exportable import Exportable
from kdgan.export.outputs import OUTPUTS
from kdgan.metrics import cost
from kdgan.report import choice, rendering
from kdgan.run import exportables, trained
from kdgan.run.config import ConfigError
from kdgan.run.exportables import WANTED
from kdgan.run.judged import Call, Judgement, agreement, difference, in_jax
from kdgan.run.judging import Bench
from kdgan.run.trained import Trained

FOLDER = "exported"  # in the workdir, where nothing else is said
TABLE, RECORD = "exported.md", "exported.json"
POINT = 0.001  # of a share, or of another measure's own value: a larger difference is said
CLOSE = 1e-4  # of a float32 file's outputs, likewise


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """What was written, and what was measured of it.

    Attributes:
      artefacts: the files.
      record: content of exported.json: the player, a row for each file, sentences; None where nothing was judged.
      table: the same as text; "" likewise.
    """

    artefacts: tuple[Artefact, ...]
    record: Mapping[str, Any] | None
    table: str


@dataclasses.dataclass(frozen=True, eq=False)
class _Row:
    label: str
    kind: str  # "teacher", "float" or "artefact"
    judgement: Judgement
    bytes: int
    artefact: Artefact | None = None


def export(
    workdir: str | pathlib.Path, out: str | pathlib.Path | None = None, *, formats: Sequence[str] | None = None,
    player: str | None = None, arm: str | None = None, stage: str | None = None, member: int | None = None,
    average: bool = True, best: bool = False, quantise: str | None = None, batch: int | None = None,
    normalise: bool = True, unfinished: bool = False, data: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None, judge: bool = True,
) -> Exported:  # fmt: skip
    """Write a trained player's files, and judge each on the test split; the table lies in exported.md and exported.json.

    Args:
      workdir: of the run.
      out: a folder, or, without `formats`, a file, whose suffix says the format; "exported" in the workdir by default.
      formats: of `kdgan.export.FORMATS`; "onnx" by default.
      player: as `kdgan.load` takes it, and so are `arm`, `stage`, `member`, `average` and `best`.
      arm: by default, of several that have the player, the one that is best on the validation split; without such a split it
        must be named.
      stage: by default the last one that trains the player.
      member: seed of the run; by default its first.
      average: take the moving average of its parameters where there is one.
      best: take the parameters that were best on the validation split.
      quantise: "int8": of ONNX and LiteRT a file of int8, too, by calibration on training examples.
      batch: examples of a call, of a LiteRT file.
      normalise: whether files take pixels as they are.
      unfinished: whether a player may be taken whose training is not finished.
      data: the data sets of a run to which they were handed over, as `kdgan.train` takes them.
      models: modules that were handed over, likewise.
      judge: whether the files are judged, for which the data are loaded.

    Raises:
      ConfigError: no such player; a run that is not finished; formats and options that do not go together; a network that
        a format cannot hold, by its operation; an absent package.
    """
    try:
        target = files.folder(workdir) / FOLDER if out is None else files.folder(out)
        place, several = artefacts.where(target, formats)
        artefacts.check(several, quantise=quantise, batch=batch)
        chosen = chosen_arm(files.folder(workdir), player, stage) if arm is None else None
        arm = arm if chosen is None else chosen.arm
        own = find(workdir, player=player, arm=arm, stage=stage, member=member, average=average, best=best,
                   unfinished=unfinished, models=models)  # fmt: skip
        exportable = exportables.of(own, parameters=exportables.kept(own, average=average, best=best))
        bench = Bench(own, data)
        examples = None
        if quantise is not None:
            examples = exportables.training_examples(own, exportable, bench.inputs_of_stage if judge or data else None)
        written = artefacts.write(
            exportable, target, formats=formats and several, quantise=quantise, calibration=examples, batch=batch,
            normalise=normalise, page=bench.page if judge else None,
        )  # fmt: skip
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(str(error)) from error
    if not judge:
        return Exported(written, None, "")
    folder = place.parent if place.suffix and not place.is_dir() else place
    rows, notes = _judged(bench, exportable, written, normalise)
    if chosen is not None and chosen.of > 1:
        notes.insert(0, f"Arm {chosen.arm}: {chosen.words}, of {chosen.of} arms")
    measures = bench.first_measures
    record = _record(bench, exportable, rows, notes, measures)
    table = _table(exportable, rows, notes, measures, bench)
    files.write_json(folder / RECORD, record)
    files.write_atomic(folder / TABLE, rendering.as_markdown(table) + "\n")
    return Exported(written, record, rendering.as_text(table))


def chosen_arm(workdir: pathlib.Path, player: str | None, stage: str | None) -> choice.Choice | None:
    """The arm whose player is best on validation; None where nothing was measured there, or it is another player."""
    try:
        summary = files.read_json(workdir / "summary.json")
    except (OSError, ValueError):
        return None
    if not isinstance(summary, Mapping):
        return None
    if stage is not None and stage not in (summary.get("stages") or {}):  # who looks for the player says so
        return None
    best = choice.chosen_arm(summary, stage)
    return best if best is not None and best.split == "validation" and player in (None, best.player) else None


def find(
    workdir: str | pathlib.Path, *, player: str | None = None, arm: str | None = None, stage: str | None = None,
    member: int | None = None, average: bool = True, best: bool = False, unfinished: bool = False,
    models: Mapping[str, Any] | None = None,
) -> Trained:  # fmt: skip
    """The player that is meant, of a stage that trained it to the end.

    Raises:
      ConfigError: as `trained.find`; and where its training is not finished, unless that is asked for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the run in .* is not finished", category=UserWarning)
        own = trained.find(
            workdir,
            WANTED,
            player=player,
            stage=stage,
            arm=arm,
            member=member,
            average=average,
            best=best,
            models=models,
        )
    if own.step < own.arm.steps and not unfinished:
        raise ConfigError(
            f"the run in {own.workdir} is not finished: {own.name} ({own.where}) is trained to step {own.step:,} of"
            f" {own.arm.steps:,}; run --mode=train first, or export it as it is: --unfinished, in Python unfinished=True"
        )
    return own


def _judged(
    bench: Bench, exportable: Exportable, written: Sequence[Artefact], normalise: bool
) -> tuple[list[_Row], list[str]]:
    judge, others = bench.judge, bench.outputs_of_others
    rows = []
    for name, other in bench.others.items():
        if name not in others and not exportable.makes_images_of_noise:
            continue
        seen = {who: outputs for who, outputs in others.items() if who != name}
        rows.append(_Row(name, "teacher", judge.judge(other, in_jax(other), others=seen), cost.size(other.full)))
    own = judge.judge(exportable, in_jax(exportable, normalise=normalise), normalise=normalise, others=others)
    rows.append(_Row(exportable.name, "float", own, cost.size(exportable.full)))
    for artefact in written:
        if artefact.is_program:
            call: Call = running.open(artefact.path)
            judged = judge.judge(exportable, call, normalise=normalise, others=others)
            rows.append(_Row(artefact.path.name, "artefact", judged, artefact.bytes, artefact))
    return rows, [*_sentences(bench, exportable, rows), *bench.notes]


def _sentences(bench: Bench, exportable: Exportable, rows: Sequence[_Row]) -> list[str]:
    """Of each file what differs from the float player by more than it should."""
    own = next(row for row in rows if row.kind == "float")
    said = []
    for row in rows:
        if row.artefact is None:
            continue
        for measure in bench.first_measures:
            before, after = (one.judgement.measures.get(measure.name) for one in (own, row))
            if before is None or after is None:
                continue
            share = measure.unit == "%"
            change = after - before
            if abs(change) > POINT * (1 if share else max(abs(before), 1e-12)) * (1 + 1e-9):
                unit = " points" if share else f" {measure.unit}".rstrip()
                said.append(
                    f"{row.label}: {measure.head or measure.name} differs from the float {exportable.name}'s by"
                    f" {change * measure.scale:+.4g}{unit}".replace("-", "−")
                )
        far = difference(row.judgement, own.judgement)
        if row.artefact.quantised is None and not far <= CLOSE:
            said.append(f"{row.label}: its outputs differ from the float {exportable.name}'s by up to {far:.2g}")
    return said


def _record(
    bench: Bench, exportable: Exportable, rows: Sequence[_Row], notes: Sequence[str], measures: Sequence[Measure]
) -> dict[str, Any]:
    own = next(row for row in rows if row.kind == "float")
    return {
        "player": exportable.name,
        "about": dict(exportable.about),
        "examples": bench.judge.size,
        "split": bench.split,
        "measures": {one.name: one.record for one in measures},
        "rows": [
            {
                "label": row.label,
                "kind": row.kind,
                "format": None if row.artefact is None else row.artefact.format,
                "quantised": None if row.artefact is None else row.artefact.quantised,
                "measures": row.judgement.measures,
                "agreement": _agreement(exportable, bench, row, own),
                "difference": _difference(bench, row, own),
                "bytes": row.bytes,
                "milliseconds": {str(count): value for count, value in row.judgement.milliseconds.items()},
            }
            for row in rows
        ],
        "notes": list(notes),
    }


def _agreement(exportable: Exportable, bench: Bench, row: _Row, own: _Row) -> float | None:
    return agreement(exportable, row.judgement, own.judgement) if bench.comparable(row.label, row.kind) else None


def _difference(bench: Bench, row: _Row, own: _Row) -> float | None:
    return difference(row.judgement, own.judgement) if row.kind == "artefact" else None


def _table(
    exportable: Exportable, rows: Sequence[_Row], notes: Sequence[str], measures: Sequence[Measure], bench: Bench
) -> Any:
    from kdgan.report import numbers
    from kdgan.report.table import Cell, Row, Table

    own = next(row for row in rows if row.kind == "float")
    decides = OUTPUTS[exportable.output].decides is not None
    heads = [one.head or one.name for one in measures]
    heads += [f"as the float {exportable.name}"] * decides
    heads += ["largest difference", "size", *(f"batch {count}" for count in own.judgement.milliseconds)]

    def cell(text: str | None) -> Cell:
        return Cell(numbers.MISSING if text is None else text, known=text is not None)

    def cells(row: _Row) -> tuple[Cell, ...]:
        judged = row.judgement
        texts: list[str | None] = [_shown(one, judged.measures.get(one.name)) for one in measures]
        if decides:
            share = _agreement(exportable, bench, row, own)
            texts.append(None if share is None or row is own else f"{100 * share:.2f} %")
        far = _difference(bench, row, own)
        texts.append(None if far is None else f"{far:.1e}".replace("-", numbers.MINUS))
        texts.append(numbers.size(row.bytes))
        texts += [numbers.milliseconds(value) for value in judged.milliseconds.values()]
        return tuple(cell(text) for text in texts)

    below = [
        f"{bench.split.capitalize()}, {bench.judge.size:,} examples; {exportable.name}: {exportable.about['stage']},"
        f" arm {exportable.about['arm']}, seed {exportable.about['seed']}, step {exportable.about['step']},"
        f" {exportable.about['parameters']}",
        "Largest difference: of one output, from the float player's in JAX",
        "Batch: time of one call of so many examples, the median of some, on this processor; of a LiteRT file of fewer"
        " examples a call as many calls as that takes",
        *notes,
    ]
    return Table(tuple(heads), tuple(Row(row.label, cells(row)) for row in rows), notes=tuple(below))


def _shown(measure: Measure, value: float | None) -> str | None:
    if value is None or not np.isfinite(value):
        return None
    default, *_ = measure.record["digits"]
    return f"{value * measure.scale:.{default}f} {measure.unit}".rstrip().replace("-", "−")
