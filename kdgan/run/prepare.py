"""A run before its first step: loaded, built, compared with what its workdir holds; everything that can be refused is."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdgan import parallel
from kdgan.run import build, explain, fingerprints, measures, stage_data
from kdgan.run import claim as claims
from kdgan.run.config import ConfigError, plain, resolve
from kdgan.run.inputs import Inputs
from kdgan.run.program import Program
from kdgan.run.schema import Run
from kdgan.run.trained import describe_players


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run that could start: whatever can be refused was looked at, nothing was compiled and nothing written.

    Attributes:
      run: its config, resolved; checkpoint folders that are gone are replaced by their copies in the workdir.
      inputs: its data.
      programs: of each stage.
      claim: what it will do in its workdir; None without one.
    """

    run: Run
    inputs: Inputs
    programs: Mapping[str, tuple[Program, ...]]
    claim: claims.Claim | None

    def explanation(self) -> str:
        return explain.explain(self.run, self.inputs, self.programs)

    def described(self) -> dict[str, Any]:
        """File of the workdir -> its content: what the players are, and what the numbers of a run mean."""
        return {
            claims.PLAYERS: describe_players(self.run, self.inputs, self.programs),
            claims.MEASURES: measures.describe(self.run, self.programs),
        }


def prepare(
    config: Any, workdir: pathlib.Path | None, *, data: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None, reset: Sequence[str] = (), accept_changed_inputs: bool = False,
    rounded: bool = True,
) -> Prepared:  # fmt: skip
    """Look at all that `train` would refuse.

    Args:
      config: of the run; where data sets are handed over, as `inputs.handed_over` makes it.
      workdir: folder of the run; None: what it holds is not looked at.
      data: the data sets, where they are handed over in Python.
      models: modules that are handed over in Python, as `train`.
      reset: as `train`.
      accept_changed_inputs: as `train`.
      rounded: whether players that learn while they are quantised are built so; exported files need them in float only.

    Raises:
      ConfigError: as `train`.
    """
    known = claims.Record() if workdir is None else claims.read(workdir)
    run = fingerprints.redirected(resolve(config), workdir, known.inputs)
    run = dataclasses.replace(run if rounded else in_float(run), models=dict(models or {}))
    inputs = stage_data.load(run, data)
    programs = build.all_programs(run, inputs)
    if workdir is None:
        return Prepared(run, inputs, programs, None)
    prints = fingerprints.of(resolve(config), run, inputs, programs)
    claim = claims.settle(
        workdir, plain(config), programs, prints, known, reset=reset, accept_changed_inputs=accept_changed_inputs
    )
    return Prepared(run, inputs, programs, claim)


def in_float(run: Run) -> Run:
    """A run none of whose players is quantised."""
    unrounded = lambda players: {name: dataclasses.replace(own, quantise=None) for name, own in players.items()}
    stages = tuple(
        dataclasses.replace(
            stage, arms=tuple(dataclasses.replace(arm, players=unrounded(arm.players)) for arm in stage.arms)
        )
        for stage in run.stages
    )
    return dataclasses.replace(run, players=unrounded(run.players), stages=stages)


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """What fails inside of it in one process of a run fails in all of them, so that none waits for another."""
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if parallel.any_process(failure is not None):
        raise failure or ConfigError("another process of this run cannot start; its message says why")
