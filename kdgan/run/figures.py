"""The figures of a run's evaluators, made when it ends: arrays for evaluation.npz, and their records for summary.json."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.evaluators import Chosen, Figure
from kdgan.evaluators.figures import grid
from kdgan.metrics.selection import leaders
from kdgan.run import shown
from kdgan.run.evaluate import Evaluation, Result, measured_players
from kdgan.run.program import Program, Variables, player_of, program_of
from kdgan.run.schema import Run

MOMENTS, OF_EACH = 8, 6  # rows of what was drawn while training, and images of each
STUDENT, TEACHER = "student", "teacher"


class Figures:
    """Figures and their arrays, each array once.

    Attributes:
      records: what summary.json has of each: its kind and title, whose it is, and the key of its array.
      arrays: key -> array.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}
        self._known: dict[str, str] = {}

    def add(self, figure: Figure, stage: str, arm: str, entry: str, *, chosen: bool = False) -> None:
        """One of an entry; `chosen` ones are of the arm that the report singles out, and stand there alone."""
        reference = None if figure.reference is None else self._key(figure.reference)
        self.records.append({
            "kind": figure.kind, "title": figure.title, "stage": stage, "arm": arm, "entry": entry,
            "array": self._key(figure.array), "reference": reference, "chosen": chosen, **figure.about,
        })  # fmt: skip

    def _key(self, array: np.ndarray) -> str:
        content = hashlib.sha256(
            f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()
        ).hexdigest()
        if content not in self._known:
            self._known[content] = f"figure/{len(self._known)}"
            self.arrays[self._known[content]] = array
        return self._known[content]


def of_arm(
    figures: Figures, program: Program, stage: str, arm: str, finished: Mapping[str, Variables],
    results: Sequence[Mapping[str, Result]], evaluation: Evaluation, workdir: pathlib.Path,
) -> None:  # fmt: skip
    """What evaluators show of the first seed's players, also while these trained, and of all seeds' sums.

    Args:
      figures: that get them.
      program: of the arm.
      stage: its name.
      arm: its name.
      finished: entry -> variables of the first seed.
      results: of each seed entry -> what was measured on the test split.
      evaluation: that has what evaluators need.
      workdir: whose samples/ has the images of while it trained.
    """
    for entry, variables in finished.items():
        player = player_of(entry)
        for evaluator in program.evaluators.get(player, ()):
            if evaluator.pictures is not None:
                judged = evaluation.judged(program, player, variables, finished.__getitem__)
                for figure in evaluator.pictures(evaluation.on(program).setting, judged):
                    figures.add(figure, stage, arm, entry)
            if evaluator.of_seeds is not None and entry in program.method.trained:
                sums = [of_seed[entry].sums[evaluator.name] for of_seed in results]
                for figure in evaluator.of_seeds(evaluation.on(program).setting, player, sums):
                    figures.add(figure, stage, arm, entry)
        steps, images = shown.read(workdir, stage, arm, entry)
        if steps and player in program.evaluators:
            moments = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOMENTS)).round().astype(int))
            labels = [f"{steps[i]:,} step{'' if steps[i] == 1 else 's'}" for i in moments]
            figure = grid(
                "While training",
                images[moments][:, :OF_EACH],
                rows=labels,
                note="The same in every row, at another step",
            )
            figures.add(figure, stage, arm, entry)


def of_chosen(
    figures: Figures, run: Run, programs: Sequence[Program], arms: Mapping[str, Any],
    results: Mapping[str, Sequence[Mapping[str, Result]]], finished: Mapping[str, Any], evaluation: Evaluation,
    teachers: Mapping[tuple[str, int], Result],
) -> None:  # fmt: skip
    """The figures of the player by which the last stage's arms are compared, of the arm and seed that a report shows.

    Args:
      figures: that get them.
      run: the run.
      programs: of its last stage.
      arms: what the summary has of the arms of that stage.
      results: arm -> of each seed entry -> what was measured on the test split.
      finished: arm -> seed -> entry -> variables.
      evaluation: that has what evaluators need.
      teachers: (arm, seed) -> what was measured of the teacher that the arm has, or would start from.
    """
    choice = _choose(run, programs, arms)
    if choice is None:
        return
    player, arm, seed, how = choice
    stage, program, index = run.stages[-1].name, program_of(programs, arm), run.seeds.index(seed)
    of_seeds = [of_seed[player] for of_seed in results[arm]]
    others = {name: result.kept for name, result in results[arm][index].items() if name != player}
    others |= {TEACHER: teachers[arm, seed].kept} if (arm, seed) in teachers and player != TEACHER else {}
    where = f"seed {seed}, stage {stage}" if arm == "main" else f"{arm}, seed {seed}"
    on = evaluation.on(program)
    for evaluator in program.evaluators[player]:
        if evaluator.figures is not None:
            chosen = Chosen(
                judged=evaluation.judged(program, player, finished[arm][seed][player], finished[arm][seed].__getitem__),
                about=where + (f" ({how})" if how else ""),
                sums=[result.sums.get(evaluator.name) for result in of_seeds],
                kept={name: np.stack([result.kept[name] for result in of_seeds]) for name in of_seeds[0].kept},
                seed=index,
                others=others,
                labels=on.splits.labels("test") if "label" in on.setting.fields else None,
            )
            for figure in evaluator.figures(on.setting, chosen):
                figures.add(figure, stage, arm, player, chosen=True)


def _choose(run: Run, programs: Sequence[Program], arms: Mapping[str, Any]) -> tuple[str, str, int, str] | None:
    """(player, arm, seed, how they were chosen) of the player that a report shows.

    The arm is the one that the report singles out, the seed the best of it on the validation split. Without such a split
    the arm is the best on the test split, which is said, and the seed the first.
    """
    trained = {arm: measured_players(program_of(programs, arm), trained_only=True) for arm in arms}
    names = list(dict.fromkeys(name for players in trained.values() for name in players))
    player = min(names, key=lambda name: (name != STUDENT, name == TEACHER), default=None)
    if player is None:
        return None
    several = {arm: record for arm, record in arms.items() if player in trained[arm]}
    first = program_of(programs, next(iter(several))).measures(player)[0]
    validated = {
        arm: of[first.name]
        for arm, record in several.items()
        if first.name in (of := record["validation"].get(player, {}))
    }
    best = leaders({arm: of["mean"] for arm, of in validated.items()}, higher_is_better=first.higher_is_better)
    if best:
        by_seed = dict(zip(run.seeds, validated[best[0]]["values"], strict=True))
        seed = next(iter(leaders(by_seed, higher_is_better=first.higher_is_better)), run.seed)
        return player, best[0], seed, f"{'arm and ' if len(several) > 1 else ''}seed chosen on validation"
    on_test = {
        arm: of[first.name]["mean"]
        for arm, record in several.items()
        if first.name in (of := record["players"][player])
    }
    best = leaders(on_test, higher_is_better=first.higher_is_better)
    if not best:
        return None
    extreme = "highest" if first.higher_is_better else "lowest"
    how = f"arm {extreme} on the test split, of {len(several)} arms" if len(several) > 1 else ""
    return player, best[0], run.seed, how
