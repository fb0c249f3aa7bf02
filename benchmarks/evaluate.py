"""Suite evaluate: accuracy and likelihood on a test set of 10,000 images, as a run measures them, beside the others.

kdgan counts more in the same pass (calibration, confusion), which the others do not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import bare, ours, rivals, runs, work
from benchmarks.measure import Contestant, Setting, compare
from benchmarks.steps import tell

PLAYERS = (("mlp_lenet", "teacher"), ("resnet20", "student"))
EXAMPLES = 10_000


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """Model -> its row: examples, batch, and every rival's comparison, a pass over the set a step."""
    rows = {}
    for name, player in PLAYERS:
        piece = work.named(name, quick=setting.quick)
        variables = ours.variables_of(ours.make_state(piece))
        evaluate, test = runs.make_evaluation(piece, player, variables, 64 if setting.quick else EXAMPLES)
        made: dict[str, Callable] = {"jax": bare.make_evaluation(piece, player, variables, *test)}
        module = rivals.pytorch(setting.device)
        for way in module.ways(piece, setting.device) if module else ():
            made[way] = module.make_evaluation(piece, player, way, setting.device, variables, *test)
        model = piece.models[player]
        row = rows[f"{name}/{player}"] = {
            "title": f"{model.name} ({player} of {piece.title})", "examples": len(test[0]), "batch": test[2], "rivals": {},
        }  # fmt: skip
        with rivals.in_full(setting):
            expected = evaluate()
            for way, other in made.items():
                check(expected, other(), len(test[0]), f"{name}/{player}, {way}")
        for way, other in made.items():
            row["rivals"][way] = compare(contestant(evaluate), contestant(other), setting.effort)
            say(f"{name:10s} {player:10s} {way:22s} {tell(row['rivals'][way])}")
    return rows


def contestant(evaluate: Callable[[], Any]) -> Contestant:
    """A pass over the set as a step."""

    def steps(count: int) -> None:
        for _ in range(count):
            evaluate()

    return Contestant(steps)


def check(ours: dict[str, float], other: dict[str, float], examples: int, who: str) -> None:
    """The same likelihood to rounding, and the same accuracy but for examples whose logits nearly tie.

    Raises:
      AssertionError: otherwise.
    """
    ties = max(examples // 1000, 1) / examples
    np.testing.assert_allclose(other["nll"], ours["nll"], rtol=1e-4, err_msg=who)
    np.testing.assert_allclose(other["accuracy"], ours["accuracy"], atol=ties, err_msg=who)
