"""A run whose numbers became NaN or infinite: where it did, what is kept, and what to try."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kdgan.run.interrupt import DivergedError


def check_finite(
    stage: str, seed: int, arm: str, values: Mapping[str, np.ndarray], first: int, cause: Callable[[int], str]
) -> None:
    """Raises DivergedError where a term of a member is NaN or infinite in some step.

    Args:
      stage: its name.
      seed: of the member.
      arm: of the member.
      values: term -> values of the steps [n].
      first: step before them.
      cause: which frozen player's outputs are to blame at a step, in words; "" where none is (`run/frozen.py`).
    """
    bad = {name: int(np.argmin(np.isfinite(value))) for name, value in values.items() if not np.isfinite(value).all()}
    if not bad:
        return
    # The earliest step, and there a term rather than the objective that it spoils.
    name = min(bad, key=lambda name: (bad[name], name.endswith("/loss")))
    player, _, term = name.partition("/")
    step = first + bad[name]
    raise DivergedError(
        f"{term} of {player} became {values[name][bad[name]]} at step {step + 1:,} of stage {stage} (arm {arm},"
        f" seed {seed})",
        cause(step)
        or f"try a lower learning rate for {player}, optimizer.clip_norm = 1.0, a lower λ for {term}, or a warm-up;"
        " --config.log.every=1 shows the steps before",
    )


def check_parameters(stage: str, step: int, tree: Mapping[str, Any]) -> None:
    """Raises DivergedError where what is about to be saved is not finite: a last update may spoil it after a finite loss."""
    for arm, parts in tree.items():
        for player, params in parts["state"].params.items():
            if not all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
                raise DivergedError(
                    f"parameters of {player} became NaN or infinite by step {step:,} of stage {stage} (arm {arm})",
                    f"try a lower learning rate for {player}, or optimizer.clip_norm = 1.0",
                )
