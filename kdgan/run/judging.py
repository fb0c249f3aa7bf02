"""What the files of one player are judged on and beside: its test split, its evaluators, the other players of its arm."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kdgan import files
from kdgan.evaluators import Evaluator, Measure
from kdgan.export import onnx, page, pages
from kdgan.export.exportable import Exportable
from kdgan.run import claim, exportables, starts, trained
from kdgan.run.inputs import Inputs
from kdgan.run.judged import Judge
from kdgan.run.prepare import prepare
from kdgan.run.program import AVERAGE, BEST, Program, Variables, program_of, variables_of
from kdgan.run.splits import Splits
from kdgan.run.totals import make_forward, rounded
from kdgan.run.trained import Trained

SHOWN = 24  # test images of a page
ROUNDED = "Noisy images are rounded to 256 levels here, for files and for the players beside them"
LIKE = 256  # training images that a drawing on a page is scaled and placed as


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """Data, evaluators and other players, each found when it is first asked for.

    Attributes:
      own: the player.
      data: data sets that were handed over in Python, as `kdgan.train` takes them.
    """

    own: Trained
    data: Mapping[str, Any] | None = None

    @functools.cached_property
    def _prepared(self) -> Any:
        config = files.read_json(self.own.workdir / claim.CONFIG)
        return prepare(config, self.own.workdir, data=self.data, models=self.own.run.models, rounded=False)

    def inputs_of_stage(self) -> Inputs:
        """The data of the player's stage.

        Raises:
          ConfigError: they cannot be loaded, or are not those that the run was trained on.
        """
        return self._prepared.inputs.of(self.own.stage.name)

    @functools.cached_property
    def _program(self) -> Program:
        return program_of(self._prepared.programs[self.own.stage.name], self.own.arm.name)

    @property
    def split(self) -> str:
        return "draws of noise" if self._makes_images_of_noise else "test split"

    @property
    def _makes_images_of_noise(self) -> bool:
        return "draws" in self.own.record

    @functools.cached_property
    def judge(self) -> Judge:
        if self._makes_images_of_noise:
            latent = max(int(one.inputs["noise"].shape[0] or 0) for one in (self._mine, *self.others.values()))
            raw: dict[str, Any] = exportables.noise(self._mine, latent=latent)
            label = next((one.inputs["label"] for one in self.others.values() if "label" in one.inputs), None)
            if label is not None and "label" not in raw:
                raw["label"] = exportables.in_turn(label)
            return Judge([{**raw, "mask": np.ones(len(raw["noise"]), bool)}], self.own.config, ())
        splits = Splits(self._prepared.run, self.inputs_of_stage())
        seen = (rounded(self.own.config, raw) for raw in splits.batches("test"))
        batches = [{name: np.asarray(value) for name, value in raw.items()} for raw in seen]
        return Judge(batches, self.own.config, self._summing)

    @functools.cached_property
    def _mine(self) -> Exportable:
        return exportables.of(self.own)

    @property
    def _evaluators(self) -> tuple[Evaluator, ...]:
        return self._program.evaluators.get(self.own.name, ())

    @property
    def _summing(self) -> tuple[Evaluator, ...]:
        return tuple(one for one in self._evaluators if one.sums is not None and not one.differentiates)

    @property
    def first_measures(self) -> tuple[Measure, ...]:
        """The first measure of each evaluator that sums: what a table of files shows."""
        return () if self._makes_images_of_noise else tuple(one.measures[0] for one in self._summing)

    @property
    def notes(self) -> list[str]:
        """What is not measured of files."""
        if self._makes_images_of_noise:
            return [
                "Images of the same noise are compared; distances between distributions are those of the run's report"
            ]
        left = [one.name for one in self._evaluators if one not in self._summing]
        absent = [name for name in self.others if name not in self.outputs_of_others]
        noise = not self._makes_images_of_noise and self.inputs_of_stage().degradation.is_random
        return [
            *([ROUNDED] if noise else []),
            *([f"Not measured of files: {', '.join(left)}"] if left else []),
            *([f"Not measured here, for it runs in no program: {', '.join(absent)}"] if absent else []),
        ]

    @functools.cached_property
    def others(self) -> dict[str, Exportable]:
        """The other players of the arm that are judged as this one is, and give what it gives: its teacher."""
        program = self._program
        if self._makes_images_of_noise:
            names = [name for name in program.modules if name != self.own.name and self._draws(name) is not None]
        else:
            kinds = {one.name for one in self._evaluators}
            named = {name for one in self._evaluators for name in one.others}
            alike = {name for name, several in program.evaluators.items() if {one.name for one in several} == kinds}
            names = [name for name in program.modules if name != self.own.name and name in named | alike]
        if not names:
            return {}
        variables = self._variables()
        return {name: self._other(name, variables[name]) for name in names}

    def _other(self, name: str, variables: Variables) -> Exportable:
        drawn = self._draws(name)
        fields = self.inputs_of_stage().train.fields
        return dataclasses.replace(
            self._mine,
            name=name,
            module=self._program.local_modules[name],
            variables=variables,
            inputs={field: fields[field] for field in self._program.inputs_of(name)}
            if drawn is None
            else exportables.noise_fields(drawn, self.own.data),
            method=None if drawn is None else drawn.get("method"),
        )

    def _draws(self, name: str) -> Mapping[str, Any] | None:
        """How images are drawn from another player of the arm; None where they are not."""
        return trained.about_player(self._program, name, self.inputs_of_stage()).get("draws")

    def _variables(self) -> dict[str, Variables]:
        """Parameters of the arm's players: of those trained in the stage as its checkpoint has them."""
        own, program, run = self.own, self._program, self._prepared.run
        saved = trained.restore_member(own.workdir, run, own.stage.name, own.arm.name, own.seed)
        assert saved is not None

        def started(name: str) -> Variables:
            start = program.start[own.arm.name][name]
            if start.checkpoint is not None:
                return program.sources[own.arm.name][name].of(own.seed)
            before = trained.restore_member(own.workdir, run, start.stage or "", start.arm or "", own.seed)
            assert before is not None
            return _entry(before, start.player)

        first = {name: started(name) for name in program.start[own.arm.name]}
        state = starts.create_state(program, own.stage, own.arm.name, own.seed, first)
        now = saved["state"]
        return jax.device_get({
            name: trained.last_of(now, name, average=False) if name in now["params"] else variables_of(state, name)
            for name in program.modules
        })  # fmt: skip

    @functools.cached_property
    def outputs_of_others(self) -> dict[str, list[Any]]:
        """Name -> what the module of another player gives on each batch, of those that can be run outside of a step."""
        made: dict[str, list[Any]] = {}
        for name, other in ({} if self._makes_images_of_noise else self.others).items():
            forward = make_forward(other.module, self.own.config, None, tuple(other.inputs))
            with contextlib.suppress(Exception):  # whatever a function of the user's own, or another runtime, raises
                made[name] = [forward(other.variables, batch) for batch in self.judge.batches]
        return made

    def comparable(self, name: str, kind: str) -> bool:
        """Whether a row's outputs decide what the player's decide."""
        return kind != "teacher" or self.others[name].output == exportables.gives(self.own)

    def page(self, path: pathlib.Path, exportable: Exportable, networks: Mapping[str, bytes]) -> None:
        """A page of the player's networks, and of its teacher where one file holds it."""
        shown = {} if self._makes_images_of_noise else self._examples(exportable)
        alike = [one for one in self.others.values() if list(one.inputs) == list(exportable.inputs)]
        teachers, converted = [], {}
        for other in alike[:1]:
            try:
                converted[other.name] = onnx.convert(other)
                teachers.append(other)
            except ValueError as error:
                shown["description"] = f"{other.name} is not shown: {error}"
        pages.write(path, exportable, {**converted, **networks}, others=teachers, **shown)

    def _examples(self, exportable: Exportable) -> dict[str, Any]:
        (name, field), *more = exportable.inputs.items()
        if more or field.kind != "image":
            return {}
        inputs = self.inputs_of_stage()
        rows = np.arange(min(SHOWN, len(inputs.test)))
        test = inputs.test.examples(rows)
        target = inputs.test.fields.get("target")
        examples = page.Examples(
            images=test[name],
            labels=test["label"] if exportable.output in ("probabilities", "tags") and "label" in test else None,
            targets=test["target"] if target is not None and target.kind == "image" else None,
        )
        if field.is_ragged or not inputs.has_training:
            return {"examples": examples}
        training = inputs.partitions[self.own.seed].train[:LIKE]
        return {"examples": examples, "like": inputs.train.examples(training, [name])[name]}


def _entry(saved: Mapping[str, Any], entry: str) -> Variables:
    """A player of a member, its moving average, or the best of it by validation."""
    if entry.endswith(BEST):
        return trained.best_of(saved, entry.removesuffix(BEST), average=False)
    return trained.last_of(saved["state"], entry.removesuffix(AVERAGE), average=entry.endswith(AVERAGE))
