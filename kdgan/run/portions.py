"""Portions of a stage: rectangles of seeds × arms that were trained together, each with checkpoints of its own.

A run trains a stage as one portion. One that is asked for more seeds or arms later trains what is missing as further
portions, in `checkpoints/<stage>/added-1`, `added-2`, ...; once the stage is whole they are united into
`checkpoints/<stage>`, as if they had been trained together: members are independent by contract.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from shutil import rmtree
from typing import Any

import jax
import numpy as np

from kdgan import parallel
from kdgan.run import schema
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.population import Population
from kdgan.run.program import Program, Variables
from kdgan.run.schema import Run, Stage

Member = tuple[int, str]  # (seed, arm)


@dataclasses.dataclass(frozen=True)
class Portion:
    """Members of a stage that are trained together.

    Attributes:
      folder: of their checkpoints.
      seeds: ascending, without a gap.
      arms: their names.
      step: of the last checkpoint; 0: there is none.
    """

    folder: pathlib.Path
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    step: int = 0

    @property
    def members(self) -> frozenset[Member]:
        return frozenset((seed, arm) for seed in self.seeds for arm in self.arms)

    def run(self, run: Run) -> Run:
        """The run as if it had this portion's seeds only."""
        chunk = run.parallel.seeds_per_chunk
        fitting = None if chunk is None else int(np.gcd(chunk, len(self.seeds)))
        return dataclasses.replace(
            run,
            seed=self.seeds[0],
            population=schema.Population(len(self.seeds)),
            parallel=dataclasses.replace(run.parallel, seeds_per_chunk=fitting),
        )

    def programs(self, programs: Sequence[Program]) -> list[Program]:
        """The programs of a stage, with this portion's arms only."""
        chosen = [(program, tuple(arm for arm in program.arms if arm in self.arms)) for program in programs]
        return [
            program
            if arms == program.arms
            else dataclasses.replace(
                program,
                arms=arms,
                lambdas={arm: program.lambdas[arm] for arm in arms},
                start={arm: program.start[arm] for arm in arms},
            )
            for program, arms in chosen
            if arms
        ]


def stored(folder: pathlib.Path, first_seed: int) -> list[Portion]:
    """The portions of a stage that have a checkpoint; `folder` is the stage's.

    Args:
      folder: `checkpoints/<stage>`.
      first_seed: of the run: checkpoints of earlier versions do not say which seeds they have.
    """
    added = sorted(folder.glob("added-*"), key=_number) if folder.is_dir() else []
    found: list[Portion] = []
    for place in [folder, *added]:
        portion = _of(place, first_seed)
        # One that was united with those before it is left over where the process died before removing it.
        if portion is not None and not portion.members <= _members(found):
            found.append(portion)
    return found


def plan(folder: pathlib.Path, stage: Stage, seeds: Sequence[int], kept: Sequence[Portion]) -> list[Portion]:
    """The portions that make a stage: those kept, and what is missing for all seeds and arms."""
    have = _members(kept)
    missing: dict[tuple[int, ...], list[str]] = {}
    for arm in stage.arms:
        missing.setdefault(tuple(seed for seed in seeds if (seed, arm.name) not in have), []).append(arm.name)
    portions = list(kept)
    for gaps, arms in missing.items():
        for part in _without_gaps(gaps):
            portions.append(Portion(_free(folder, portions), part, tuple(arms)))
    return portions


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a portion.

    Attributes:
      portion: the portion.
      tree: what its last checkpoint holds.
      outcome: arm -> seed -> entry -> variables.
      seconds: that it took, evaluations and checkpoints included.
      phases: evaluate, save -> seconds.
      times: arm -> (seconds of its steps, of them for making host batches), of its members together.
      memory: bytes that a device was estimated to need.
    """

    portion: Portion
    tree: Mapping[str, Any]
    outcome: Mapping[str, Mapping[int, Mapping[str, Variables]]]
    seconds: float
    phases: Mapping[str, float]
    times: Mapping[str, tuple[float, float]]
    memory: int


def times(populations: Sequence[Population]) -> dict[str, tuple[float, float]]:
    """Arm -> (seconds of its steps, of them for making host batches); the arms of a program have equal shares."""
    return {
        arm: (population.seconds / len(population.program.arms), population.data_seconds / len(population.program.arms))
        for population in populations
        for arm in population.program.arms
    }


def set_times(populations: Sequence[Population], metadata: Mapping[str, Any]) -> None:
    """Go on counting from what a checkpoint's metadata say."""
    for i, population in enumerate(populations):
        if "times" in metadata:
            spent = np.sum([metadata["times"][arm] for arm in population.program.arms], axis=0).tolist()
        else:  # of a version before portions: of each program
            spent = metadata["members"][i]
        population.seconds, population.data_seconds = spent


def metadata(seeds: Sequence[int], times: Mapping[str, Sequence[float]], seconds: float, phases: Any) -> dict[str, Any]:
    """What a checkpoint says of itself, beside its arrays."""
    return {"seeds": list(seeds), "arms": list(times), "times": dict(times), "seconds": seconds, "phases": dict(phases)}


class Whole:
    """A stage of which all portions are trained."""

    def __init__(self, parts: Sequence[Trained], arms: Sequence[str]):
        self._parts, self._arms = parts, arms
        self.seconds = sum(part.seconds for part in parts)
        self.times = {
            arm: tuple(sum(part.times[arm][i] for part in parts if arm in part.times) for i in (0, 1)) for arm in arms
        }
        self._own = {name: sum(part.phases[name] for part in parts) for name in parts[0].phases}

    @property
    def outcome(self) -> dict[str, dict[int, dict[str, Variables]]]:
        """Arm -> seed -> entry -> variables, seeds in order."""
        of_arm = lambda arm: {seed: v for part in self._parts for seed, v in part.outcome.get(arm, {}).items()}
        return {arm: {seed: dict(v) for seed, v in sorted(of_arm(arm).items())} for arm in self._arms}

    @property
    def phases(self) -> dict[str, float]:
        """Phase -> seconds: data (making host batches), step (their compilation included), evaluate, save."""
        data = sum(spent[1] for spent in self.times.values())
        return {"data": data, "step": sum(spent[0] for spent in self.times.values()) - data, **self._own}

    @property
    def memory(self) -> int:
        return max(part.memory for part in self._parts)

    def unite(self, folder: pathlib.Path, step: int) -> None:
        """Write one checkpoint of the whole stage in place of those of its portions; process 0 only."""
        if len(self._parts) == 1:
            return
        tree = {arm: self._stacked(arm) for arm in self._arms}
        seeds = sorted({seed for part in self._parts for seed in part.portion.seeds})
        with Checkpoints(folder, keep=1) as checkpoints:  # the earlier ones hold fewer members
            checkpoints.save(step, tree, metadata=metadata(seeds, self.times, self.seconds, self._own))
        if parallel.is_writer():
            for part in self._parts:
                if part.portion.folder != folder:
                    rmtree(part.portion.folder)

    def _stacked(self, arm: str) -> Any:
        """What all portions hold of an arm, stacked over the seeds in their order."""
        parts = sorted((part for part in self._parts if arm in part.tree), key=lambda part: part.portion.seeds)
        return jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *[part.tree[arm] for part in parts])


def _of(folder: pathlib.Path, first_seed: int) -> Portion | None:
    latest = Checkpoints(folder).latest()
    if latest is None:
        return None
    seeds, arms = latest.metadata.get("seeds"), latest.metadata.get("arms")
    if seeds is None or arms is None:  # of a version before portions
        arms = list(dict.fromkeys(name.partition("/")[0] for name in latest.shapes))
        count = latest.shapes[f"{arms[0]}/state/step"][0]
        seeds = range(first_seed, first_seed + count)
    return Portion(folder, tuple(seeds), tuple(arms), latest.step)


def _members(portions: Iterable[Portion]) -> set[Member]:
    return {member for portion in portions for member in portion.members}


def _without_gaps(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    parts: list[tuple[int, ...]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1] = (*parts[-1], seed)
        else:
            parts.append((seed,))
    return parts


def _free(folder: pathlib.Path, taken: Sequence[Portion]) -> pathlib.Path:
    """Where the next portion's checkpoints go: the stage's folder, or the first number that is free."""
    used = {portion.folder for portion in taken}
    names = [folder, *(folder / f"added-{number}" for number in range(1, len(used) + 2))]
    return next(place for place in names if place not in used)


def _number(path: pathlib.Path) -> int:
    match = re.fullmatch(r"added-(\d+)", path.name)
    return int(match[1]) if match else 0
