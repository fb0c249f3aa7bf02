"""A workdir's run beside the one that wants to go on in it: what of it is the same, and what differs, field by field."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from kdgan.run import fingerprints, identity
from kdgan.run.fingerprints import Fingerprints, Place
from kdgan.run.identity import Programs
from kdgan.run.portions import Portion
from kdgan.run.program import program_of
from kdgan.run.schema import Arm, Run, Stage, Start

Trained = tuple[str, str, int]  # (stage, arm, seed)


class Comparison:
    """Two runs.

    Args:
      before: the one whose checkpoints lie in a workdir.
      run: the one that wants to go on there.
      configs: of both, plain, as they were written.
      known: what `before` was made from; None where nobody noted it.
      new: what `run` is made from.
      programs: of `run`.
    """

    def __init__(
        self,
        before: Run,
        run: Run,
        configs: tuple[Mapping[str, Any], Mapping[str, Any]],
        known: Fingerprints | None,
        new: Fingerprints,
        programs: Programs,
    ):
        self._before, self._run, self._configs = before, run, configs
        self._known, self._new, self._programs = known, new, programs

    def differences(self, stage: str, portion: Portion) -> list[str]:
        """In what a portion is not the new run's, a line for each field; none where it is."""
        old, new = self._stages(stage)
        if old is None:
            return []
        if new is None:
            return [f"config.stages.{stage}: present -> absent"]
        lines = []
        if self._before.seed == self._run.seed and not set(portion.seeds) <= set(self._run.seeds):
            lines.append(f"config.population.seeds: {len(self._before.seeds)} -> {len(self._run.seeds)}")
        if self._other_data():
            lines.append(f"config.data.name: {self._before.data.name} -> {self._run.data.name}")
        for arm in portion.arms:
            if _arm(new, arm) is None:
                lines.append(f"config.stages.{stage}.arms.{arm}: present -> absent")
            elif _arm(old, arm) is not None:
                lines += self._of_arm(old, new, arm)
        return lines

    def changed_data(self) -> list[str]:
        """In what the data sets are not what they were, a line each."""
        return [] if self._known is None else fingerprints.data_changes(self._known, self._new)

    def changed_players(self, stage: str, portion: Portion) -> list[str]:
        """In what the players that a portion starts from are not what they were under the same path, a line each."""
        old, new = self._stages(stage)
        if old is None or new is None:
            return []
        pairs = [pair for arm in portion.arms for pair in (*self._starts(old, new, arm), *self._modules(old, new, arm))]
        pairs += [("the extractor", *both) for both in self._extractors(stage)]
        return [
            f"{name} of stage {stage}: {b.path} holds another one than when the run began"
            for name, a, b in pairs
            if a.path == b.path and not self._same(a, b)
        ]

    def needs(self, stage: str, portion: Portion) -> set[Trained]:
        """What of earlier stages a portion was made from: where its players started, whose features measured it."""
        old, _ = self._stages(stage)
        if old is None:
            return set()
        starts = [
            start
            for arm in old.arms
            if arm.name in portion.arms
            for name, start in arm.start.items()
            if name not in self._beside(stage, arm.name)
        ]
        places = {(s.stage, s.arm or "", seed) for s in starts if s.stage is not None for seed in portion.seeds}
        name, _, arm_name = (self._before.evaluate.extractor.stage or "").partition("/")
        source = _stage(self._before, name)
        if source is not None and stage in self._programs and identity.samples(self._programs[stage]):
            places.add((name, arm_name or source.arms[0].name, self._before.seed))
        return places

    def steps(self, stage: str, arms: Collection[str]) -> int:
        """Steps after which these arms of the run before are done."""
        old, _ = self._stages(stage)
        return max((arm.steps for arm in old.arms if arm.name in arms), default=0) if old is not None else 0

    def _of_arm(self, old: Stage, new: Stage, arm: str) -> list[str]:
        pairs = ((self._before, old), (self._run, new))
        a, b = (identity.of_arm(run, stage, arm, self._programs) for run, stage in pairs)
        lines = identity.differences(new.name, arm, a, b, self._configs)
        sources = [
            (f"stages.{new.name}.start.{name}.checkpoint", before, after)
            for name, before, after in self._starts(old, new, arm)
            if name not in self._beside(new.name, arm)
        ]
        sources += [("evaluate.extractor", before, after) for before, after in self._extractors(new.name)]
        lines += [
            f"config.{field}: {before.path} -> {after.path}"
            for field, before, after in sources
            if before.path != after.path and not self._same(before, after)
        ]
        if identity.samples(self._programs[new.name]):
            before, after = (identity.latent(self._programs, arms) for arms in (self._had, lambda *arm: True))
            if before != after:
                lines.append(f"dimension of the noise that all generators share: {before} -> {after}")
        return lines

    def _beside(self, stage: str, arm: str) -> tuple[str, ...]:
        """The players that an arm of the run measures and its method does not call: no member was made from them."""
        several = self._programs.get(stage, ())
        return next((program.beside for program in several if arm in program.arms), ())

    def _had(self, stage: str, arm: str) -> bool:
        old, _ = self._stages(stage)
        return old is not None and _arm(old, arm) is not None

    def _other_data(self) -> bool:
        """Whether the data set has another name; one that only moved is the same by its contents."""
        renamed = self._before.data.name != self._run.data.name
        return renamed and (self._known is None or bool(self.changed_data()))

    def _starts(self, old: Stage, new: Stage, arm: str) -> Iterator[tuple[str, Place, Place]]:
        """(player, its place before, its place now) of the players of an arm that start from checkpoints in both."""
        a, b = _arm(old, arm), _arm(new, arm)
        if a is None or b is None:
            return
        for name in program_of(self._programs[new.name], arm).modules:
            before, after = a.start.get(name, Start()), b.start.get(name, Start())
            if before.checkpoint is not None and after.checkpoint is not None:
                yield name, fingerprints.place_of(before), fingerprints.place_of(after)

    def _modules(self, old: Stage, new: Stage, arm: str) -> Iterator[tuple[str, Place, Place]]:
        """The same of those whose module has a content of its own."""
        a, b = _arm(old, arm), _arm(new, arm)
        if a is None or b is None:
            return
        for name in program_of(self._programs[new.name], arm).modules:
            if name in a.players and name in b.players and name not in a.start and name not in b.start:
                yield name, fingerprints.place_of_module(a, name), fingerprints.place_of_module(b, name)

    def _extractors(self, stage: str) -> Iterable[tuple[Place, Place]]:
        """The same of the extractor that players of a stage are measured by."""
        if not identity.samples(self._programs[stage]):
            return ()
        return zip(*map(fingerprints.extractor_places, (self._before, self._run)), strict=False)

    def _same(self, old: Place, new: Place) -> bool:
        known = None if self._known is None else self._known.players.get(old)
        here = self._new.players.get(new)
        return old == new if known is None or here is None else known.is_of_same(here)

    def _stages(self, name: str) -> tuple[Stage | None, Stage | None]:
        return _stage(self._before, name), _stage(self._run, name)


def _stage(run: Run, name: str) -> Stage | None:
    return next((stage for stage in run.stages if stage.name == name), None)


def _arm(stage: Stage, name: str) -> Arm | None:
    return next((arm for arm in stage.arms if arm.name == name), None)
