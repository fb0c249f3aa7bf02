"""How images were normalised for a player in training, as its workdir says, against how they are where it is frozen.

A teacher of other means than those of the data answers, and answers wrongly; so one is refused before anything compiles.
"""

import pathlib
from typing import Any

import jax
import numpy as np

from kdgan import files
from kdgan.run import sources
from kdgan.run.config import ConfigError
from kdgan.run.program import Program, player_of
from kdgan.run.schema import Stage, Start, Weights
from kdgan.run.sources import Source

TOLERANCE = 5e-3  # of a mean or standard deviation of pixels in [0, 1]: published ones are rounded
CONFIG = "config.json"


def check(stage: Stage, program: Program) -> None:
    """Refuse frozen players of a workdir that knew images of another normalisation, where the config has no word of it.

    Raises:
      ConfigError: one is; `players.x.mean` and `std` say it, whichever they are.
    """
    arms = {arm.name: arm for arm in stage.arms}
    for arm, starts in program.start.items():
        for name, start in starts.items():
            player, source = arms[arm].players.get(name), program.sources.get(arm, {}).get(name)
            if source is None or player is None or name in program.method.trained:
                continue
            given = jax.tree.leaves(program.inspection.inputs.get(name, ()))
            said = player.mean is not None or player.std is not None
            if said or not any(getattr(leaf, "ndim", 0) == 4 for leaf in given):
                continue
            then, now = recorded(start, source), (stage.data.mean, stage.data.std)
            if then is not None and not all(map(_alike, then, now)):
                where = start.field if isinstance(start, Weights) else f"config.stages.{stage.name}.start.{name}"
                raise ConfigError(
                    f"{where} = {start.checkpoint!r}: it was trained with images of data.mean = {then[0]}, std = {then[1]},"
                    f" and here they have {now[0]} and {now[1]}; set config.players.{name}.mean and .std to the first, or,"
                    " if they are right, to the second"
                )


def recorded(start: Start, source: Source) -> tuple[Any, Any] | None:
    """(mean, std) of the images that a player of a workdir was trained with; None: it is not known."""
    workdir, stage = sources.of_run(source, CONFIG) or (None, "")
    return None if workdir is None else _of_config(workdir / CONFIG, stage, player_of(start.player or ""))


def _of_config(path: pathlib.Path, stage: str, name: str) -> tuple[Any, Any] | None:
    try:
        config = files.read_json(path)
        of_stage = config.get("stages", {}).get(stage) or {}
        data = {**config["data"], **(of_stage.get("data") or {})}
        player = {**config["players"].get(name, {}), **(of_stage.get("players") or {}).get(name, {})}
        chosen = [_first(player.get(field), data.get(field), unset) for field, unset in (("mean", 0.0), ("std", 1.0))]
        return chosen[0], chosen[1]
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None  # of an earlier version, or no run's


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _alike(then: Any, now: Any) -> bool:
    """Whether two means, or two standard deviations, are the same for every channel."""
    one, other = np.atleast_1d(np.asarray(then, np.float64)), np.atleast_1d(np.asarray(now, np.float64))
    fit = len(one) == len(other) or 1 in (len(one), len(other))
    return fit and bool(np.all(np.abs(one - other) <= TOLERANCE))
