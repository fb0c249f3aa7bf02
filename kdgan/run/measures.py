"""What the numbers of a run mean, for its files: measures.json beside metrics.jsonl, and the same in summary.json.

A report reads heads, units, scales and better ends from there, and knows no evaluator.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdgan.evaluators import Evaluator
from kdgan.run.evaluate import Evaluation
from kdgan.run.program import Program, program_of
from kdgan.run.schema import Run

Programs = Mapping[str, Sequence[Program]]


def describe(run: Run, programs: Programs) -> dict[str, Any]:
    """The content of measures.json: {"measures": records, "measured": {stage: {arm: {player: names of its measures}}}}."""
    measured = {
        stage.name: {arm.name: of_program(program_of(programs[stage.name], arm.name)) for arm in stage.arms}
        for stage in run.stages
    }
    return {"measures": records(programs, None), "measured": measured}


def of_program(program: Program) -> dict[str, list[str]]:
    """Player -> names of its measures; the first is what arms are compared by."""
    return {name: [measure.name for measure in program.measures(name)] for name in program.evaluators}


def records(programs: Programs, evaluation: Evaluation | None) -> dict[str, dict[str, Any]]:
    """Measure -> how it is shown, in the order of a table's columns; where evaluators have measured, by their heads."""
    several = list(_evaluators(programs))
    known = {measure.name: measure.record for evaluator, _ in several for measure in evaluator.measures}
    for evaluator, program in several:
        if evaluation is not None and evaluator.heads is not None:
            for name, head in evaluator.heads(evaluation.on(program).setting).items():
                known[name] |= {"head": head} if isinstance(head, str) else head
    return known


def notes(programs: Programs, evaluation: Evaluation) -> list[dict[str, Any]]:
    """What stands below a table of some measures, beside their notes: {"measures": names, "text": a sentence}."""
    said: dict[str, list[str]] = {}
    for evaluator, program in _evaluators(programs):
        for text, names in ({} if evaluator.notes is None else evaluator.notes(evaluation.on(program).setting)).items():
            said.setdefault(text, []).extend(names)
    return [{"measures": list(dict.fromkeys(names)), "text": text} for text, names in said.items()]


def about(programs: Programs, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Evaluator -> with what it measured, of those that say so."""
    return {
        one.name: dict(one.about(evaluation.on(program).setting))
        for one, program in _evaluators(programs)
        if one.about is not None
    }


def _evaluators(programs: Programs) -> Iterator[tuple[Evaluator, Program]]:
    """Each evaluator once, with the first program that has it."""
    known: dict[Evaluator, Program] = {}
    for several in programs.values():
        for program in several:
            for of_player in program.evaluators.values():
                for evaluator in of_player:
                    known.setdefault(evaluator, program)
    yield from known.items()
