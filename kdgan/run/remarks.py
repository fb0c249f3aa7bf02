"""What must be said of a run before any number: a generator that collapsed, a discriminator that learned nothing or has won.

A remark is {"stage", "arm", "player", "seeds", "of", "text"}: of `of` seeds those that it is about; "arm" is "" where the
player is the same in all.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdgan.game import Move
from kdgan.run.program import AVERAGE, Program, player_of, program_of
from kdgan.run.schema import Run

LAST = 5  # logged steps by which a discriminator is judged
SCORES = np.linspace(-6.0, 6.0, 12001, dtype=np.float32)  # that are tried where all are alike
EQUAL = 1e-3  # how near terms are to those of scores that are all alike
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
    told: set[Any] = set()  # what was said: of a frozen player, that of a stage before, it is not said again
    for stage in run.stages:
        for arm in stage.arms:
            program = program_of(programs[stage.name], arm.name)
            for remark in _of_players(run, program, results[stage.name]["arms"][arm.name]["players"]):
                statement = (remark["player"], remark["text"], remark.pop("values"))
                trained = player_of(remark["player"]) in program.method.trained
                if trained or statement not in told:
                    told.add(statement)
                    remarks.append({"stage": stage.name, "arm": arm.name if trained else "", **remark})
            of_arm = {seed: steps.get((stage.name, arm.name, seed), {}) for seed in run.seeds}
            said = _of_moves(program, arm.name, of_arm)
            remarks += [{"stage": stage.name, "arm": arm.name, **remark} for remark in said]
    return [{**remark, "of": len(run.seeds)} for remark in remarks]


def of_move(move: Move, lambdas: Mapping[str, float], steps: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Whether a discriminator has learned nothing, or has won, by its terms at the last logged steps of one seed.

    The guess that it is measured by is the one score for all images of the least loss. Where λ's weigh one side of the game
    alone no score has the least, and the guess is a score of 0.

    Args:
      move: the discriminator's.
      lambdas: term -> λ; a term of λ 0 says nothing.
      steps: step -> metrics.
    """
    last = [steps[step] for step in sorted(steps)[-LAST:]]
    if move.alike is None or len(last) < LAST:
        return []
    guesses = {
        term: np.asarray(values) for term, values in move.alike(jnp.asarray(SCORES)).items() if lambdas.get(term)
    }
    if not guesses:
        return []
    weights = np.asarray([lambdas[term] for term in guesses])
    terms = np.asarray([[line.get(f"{move.lead}/{term}", math.nan) for term in guesses] for line in last])
    of_score = np.stack(list(guesses.values()), -1)  # [score, term]
    losses = of_score @ weights
    has_least = losses[1:-1].min() <= losses[[0, -1]].min()
    if has_least and all(np.abs(of_score - of_line).max(-1).min() <= EQUAL for of_line in terms):
        return ["scores all images alike: it has learned nothing, or nothing is left to tell apart"]
    guess = losses.min() if has_least else losses[len(SCORES) // 2]
    if guess > 0 and (terms @ weights < WON * guess).all():
        return [f"has won: its loss is under {WON:.0%} of that of a guess, which leaves little to learn from it"]
    return []


def _of_moves(
    program: Program, arm: str, steps: Mapping[int, Mapping[int, Mapping[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """{player, seeds, text} of what is said of each move, whose metrics are given as seed -> step -> metrics."""
    for move in program.method.moves:
        lambdas = program.lambdas[arm].get(move.lead, {})
        said = _by_text({seed: of_move(move, lambdas, of_seed) for seed, of_seed in steps.items()})
        yield from ({"player": move.lead, "seeds": seeds, "text": text} for text, seeds in said.items())


def _of_players(run: Run, program: Program, players: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """{player, seeds, text, values} of what evaluators say of the last step's players; values: all that was measured."""
    entries = [(name + of, evaluators) for name, evaluators in program.evaluators.items() for of in ("", AVERAGE)]
    for name, evaluators in entries:
        measures = {measure: record["values"] for measure, record in players.get(name, {}).items()}
        values = tuple((measure, tuple(of_seeds)) for measure, of_seeds in measures.items())
        of_places = [
            {measure: of_seeds[place] for measure, of_seeds in measures.items() if place < len(of_seeds)}
            for place in range(max(map(len, measures.values()), default=0))
        ]
        for remarks in (evaluator.remarks for evaluator in evaluators if evaluator.remarks is not None):
            said = _by_text({place: remarks(numbers) for place, numbers in enumerate(of_places)})
            for text, places in said.items():
                yield {"player": name, "seeds": _named(run, places, values), "text": text, "values": values}


def _by_text(said: Mapping[int, Iterable[str]]) -> dict[str, list[int]]:
    """Text -> of which seeds, or places of seeds, it is said."""
    by_text: dict[str, list[int]] = {}
    for number, texts in said.items():
        for text in texts:
            by_text.setdefault(text, []).append(number)
    return by_text


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
