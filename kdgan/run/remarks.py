"""What must be said of a run before any number: a generator that collapsed, a discriminator that learned nothing or has won.

A remark is {"stage", "arm", "player", "seeds", "of", "text"}: of `of` seeds those that it is about; "arm" is "" where the
player is the same in all.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdgan.game import Move
from kdgan.run.program import AVERAGE, Program, player_of, program_of
from kdgan.run.schema import Run

LAST = 5  # logged steps by which a discriminator is judged
EQUAL = 1e-3  # a term is that of scores that are all alike
WON = 0.05  # of the loss of such scores, below which a discriminator has

Steps = Mapping[tuple[str, str, int], Mapping[int, Mapping[str, Any]]]  # (stage, arm, seed) -> step -> metrics


def of_run(
    run: Run, programs: Mapping[str, Sequence[Program]], results: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every remark of a run, in the order of its stages.

    Args:
      run: all of it.
      programs: of each stage.
      results: stages of summary.json.
      lines: of metrics.jsonl.
    """
    steps = _steps(lines)
    remarks: list[dict[str, Any]] = []
    told: set[Any] = set()
    for stage in run.stages:
        for arm in stage.arms:
            program = program_of(programs[stage.name], arm.name)
            place = {"stage": stage.name, "arm": arm.name}
            for player, text, seeds, values in _of_players(program, results[stage.name]["arms"][arm.name]["players"]):
                trained = player_of(player) in program.method.trained
                if trained or (player, text, values) not in told:  # a frozen teacher is that of the stage before
                    told.add((player, text, values))
                    where = place if trained else {**place, "arm": ""}
                    remarks.append({**where, "player": player, "seeds": _named(run, seeds, values), "text": text})
            for move in program.method.moves:
                found: dict[str, list[int]] = {}
                lambdas = program.lambdas[arm.name].get(move.lead, {})
                for seed in run.seeds:
                    for text in of_move(move, lambdas, steps.get((stage.name, arm.name, seed), {})):
                        found.setdefault(text, []).append(seed)
                remarks += [
                    {**place, "player": move.lead, "seeds": seeds, "text": text} for text, seeds in found.items()
                ]
    return [{**remark, "of": len(run.seeds)} for remark in remarks]


def of_move(move: Move, lambdas: Mapping[str, float], steps: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Whether a discriminator has learned nothing, or has won, by its terms at the last logged steps of one seed.

    Args:
      move: the discriminator's.
      lambdas: term -> λ; a term of λ 0 says nothing.
      steps: step -> metrics.
    """
    last = [steps[step] for step in sorted(steps)[-LAST:]]
    if move.undecided is None or len(last) < LAST:
        return []
    guess = {term: value for term, value in move.undecided().items() if lambdas.get(term)}
    values = [{term: line.get(f"{move.lead}/{term}", math.nan) for term in guess} for line in last]
    loss = lambda terms: sum(lambdas[term] * value for term, value in terms.items())
    if guess and all(abs(terms[term] - guess[term]) <= EQUAL for terms in values for term in guess):
        return ["scores all images alike: it has learned nothing, or nothing is left to tell apart"]
    if loss(guess) > 0 and all(loss(terms) < WON * loss(guess) for terms in values):
        return [f"has won: its loss is under {WON:.0%} of that of a guess, which leaves little to learn from it"]
    return []


def _of_players(program: Program, players: Mapping[str, Any]) -> Iterator[tuple[str, str, list[int], tuple]]:
    """(player, remark, places of the seeds, all values) of what evaluators say of the last step's players."""
    entries = [(name + of, evaluators) for name, evaluators in program.evaluators.items() for of in ("", AVERAGE)]
    for name, evaluators in entries:
        measures = {measure: record["values"] for measure, record in players.get(name, {}).items()}
        values = tuple((measure, tuple(of_seeds)) for measure, of_seeds in measures.items())
        for evaluator in evaluators:
            if evaluator.remarks is None or not measures:
                continue
            found: dict[str, list[int]] = {}
            for place in range(max(map(len, measures.values()))):
                numbers = {m: of_seeds[place] for m, of_seeds in measures.items() if place < len(of_seeds)}
                for text in evaluator.remarks(numbers):
                    found.setdefault(text, []).append(place)
            yield from ((name, text, places, values) for text, places in found.items())


def _named(run: Run, places: Sequence[int], values: tuple) -> list[int]:
    """The seeds at these places; all of them, where a player is the same for all."""
    shared = len(run.seeds) > 1 and all(len(of_seeds) == 1 for _, of_seeds in values)
    return list(run.seeds) if shared else [run.seeds[place] for place in places]


def _steps(lines: Sequence[Mapping[str, Any]]) -> Steps:
    made: dict[tuple[str, str, int], dict[int, Mapping[str, Any]]] = {}
    for line in lines:
        if line.get("split") == "train":
            made.setdefault((line["stage"], line["arm"], line["seed"]), {})[line["step"]] = line
    return made
