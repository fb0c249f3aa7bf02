"""What must be said of a run before any number: a generator that collapsed, a discriminator that learned nothing or has won.

A remark is {"stage", "arm", "player", "seeds", "of", "text"}: of `of` seeds those that it is about; "arm" is "" where the
player is the same in all.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdgan.game import Move
from kdgan.run.program import AVERAGE, Program, player_of, program_of
from kdgan.run.schema import Run

LAST = 5  # logged steps by which a discriminator is judged
SCORES = np.linspace(-12.0, 12.0, 24001, dtype=np.float32)  # that one may give to all images
INSIDE = slice(1000, -1000)  # those more than 1 from the ends: a least loss that stands here is one of all scores
EQUAL = 1e-3  # how near its terms are to those of such a score
FLAT = 1e-5  # how near losses are that count as equal
WON = 0.05  # of the loss of the best such score, below which it has won
SAYS = {
    "alike": "scores all images alike: it has learned nothing, or nothing is left to tell apart",
    "won": f"has won: its loss is under {WON:.0%} of that of a guess, which leaves little to learn from it",
}

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

    Args:
      move: the discriminator's.
      lambdas: term -> λ, unless a line of metrics has another, which a schedule moves; a term of λ 0 says nothing.
      steps: step -> metrics.
    """
    last = [steps[step] for step in sorted(steps)[-LAST:]]
    if move.alike is None or len(last) < LAST:
        return []
    alike, verdicts = _of_equal_scores(move.alike), set()
    for line in last:
        weights = {term: _number(line, f"lambda/{move.lead}/{term}", lambdas.get(term, 0.0)) for term in alike}
        weighed = [term for term, weight in weights.items() if weight]
        if not weighed:
            return []
        verdicts.add(
            verdict(
                np.stack([alike[term] for term in weighed]),
                np.asarray([weights[term] for term in weighed]),
                np.asarray([_number(line, f"{move.lead}/{term}") for term in weighed]),
            )
        )
    return [text for said, text in SAYS.items() if verdicts == {said}]


def verdict(alike: np.ndarray, weights: np.ndarray, terms: np.ndarray) -> str:
    """Of one line: "alike" where a discriminator learned nothing, "won" where it has, "" where neither can be said.

    It is "alike" where its terms are those of a best guess: of a score for all images that has the least loss. By the hinge
    loss several have; in a game without a least loss (Wasserstein's with unequal λ's) any score is one. Where λ's weigh real
    images alone, or made ones, each value is that of some score, and it is never "alike". It has "won" where its loss is
    nearer to the least possible one than `WON` of what lies between that and a guess's.

    Args:
      alike: [t, s] terms where all scores are the s-th of `SCORES`.
      weights: [t] their λ's, not 0.
      terms: [t] what was measured.
    """
    if (weights < 0).any() or not np.isfinite(terms).all():
        return ""
    losses, lowest = weights @ alike, alike.min(1)
    varies = alike.max(1) - lowest > FLAT
    slope = alike[:, _place(0.1)] - alike[:, _place(0.0)]  # a term of real images falls, one of made ones rises
    both_sides = ((slope[varies] < 0).any() and (slope[varies] > 0).any()) or (~varies & (lowest > FLAT)).any()
    near = losses <= losses.min() + FLAT * weights.sum()
    guesses = alike[:, near] if near[INSIDE].any() else alike
    if both_sides and np.abs(guesses - terms[:, None]).max(0).min() <= EQUAL:
        return "alike"
    guess = losses.min() if both_sides else losses[_place(0.0)]
    floor = weights @ np.where(varies, lowest, 0.0)  # of terms that see differences of scores alone it is 0
    has_floor = (alike[:, INSIDE].min(1) <= lowest + EQUAL).all()
    return "won" if has_floor and guess > floor and weights @ terms - floor < WON * (guess - floor) else ""


@functools.lru_cache(maxsize=8)
def _of_equal_scores(alike: Callable[[Any], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Term -> [s], of a move's `alike`: the same for all seeds and arms of a method."""
    return {term: np.asarray(values, float) for term, values in alike(jnp.asarray(SCORES)).items()}


def _number(line: Mapping[str, Any], key: str, otherwise: float = math.nan) -> float:
    value = line.get(key)
    return otherwise if value is None else float(value)


def _place(score: float) -> int:
    return int(np.searchsorted(SCORES, score))


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
