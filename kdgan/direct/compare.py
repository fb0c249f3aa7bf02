"""A student learned in several ways from a teacher, compared: from Python, with what is at hand there.

    result = kdgan.compare(teacher=teacher, student="resnet8", train=(images, labels), test=(more, labels_of_more))
    result.show()
    result.best("student").export("student.onnx")

It is a run underneath: `result.config` is its config, `result.workdir` its folder; whatever is not said is filled in, and
printed. What may be given as a teacher or a student says `kdgan/direct/given.py`.
"""

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from kdgan import config as common
from kdgan import data as data_sets
from kdgan import files
from kdgan.data import Dataset
from kdgan.direct import given, presets
from kdgan.direct.given import Given
from kdgan.metrics.selection import leaders
from kdgan.run.claim import CHECKPOINTS
from kdgan.run.config import ConfigError
from kdgan.run.export import Exported
from kdgan.run.prediction import Predictor
from kdgan.run.schema import Data
from kdgan.run.totals import as_players_see

TEACHER, STUDENT, DISCRIMINATOR = "teacher", "student", "discriminator"  # players; the first stage has the first's name
DISTILL = "distill"  # the stage of the arms
VALIDATED, MOST_VALIDATED = 0.1, 1_000  # share of the training set that is set apart to choose by, and how many at most


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What `compare` measured, and where it lies.

    Attributes:
      summary: as summary.json has it.
      config: of the run; a file of one's own may start from it.
      workdir: of the run: report.html, checkpoints, ...
      models: the modules that were handed over from Python, by the names that the config has for them.
      data: {"train", "test"}, the data sets.
    """

    summary: Mapping[str, Any] = dataclasses.field(repr=False)
    config: ConfigDict = dataclasses.field(repr=False)
    workdir: pathlib.Path
    models: Mapping[str, nn.Module] = dataclasses.field(repr=False, default_factory=dict)
    data: Mapping[str, Dataset] = dataclasses.field(repr=False, default_factory=dict)

    def show(self) -> None:
        """Show the table and the sentences below it; in a notebook the curves, too. The page is `workdir/report.html`."""
        from kdgan import report

        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if hasattr(shell, "kernel"):
            from IPython.display import display

            display(report.show(self.workdir))
        else:
            print(report.text(self.workdir))

    def best(self, player: str = STUDENT) -> Predictor:
        """The player of the arm that is best on the validation split, of the seed that is best there.

        Raises:
          ConfigError: no arm has such a player, or there is no validation split: a test set chooses nothing.
        """
        arm, member = self._best(player)
        return self.load(player, arm=arm, member=member)

    def _best(self, player: str) -> tuple[str, int]:
        """(arm, seed)."""
        from kdgan.report import choice, measured

        records = self.summary["stages"][DISTILL]["arms"]
        arms = {arm: record["players"][player] for arm, record in records.items() if player in record["players"]}
        if not arms:
            trained = sorted({name for record in records.values() for name in record["players"]})
            raise ConfigError(f"best({player!r}): the arms have {', '.join(trained)}")
        measure = measured.primary(self.summary, arms.values())
        chosen = None if measure is None else choice.choose(self.summary, DISTILL, player, arms, measure)
        if measure is None or chosen is None or chosen.split != "validation":
            raise ConfigError(
                f"best({player!r}): there is no validation split to choose by, and the test split chooses nothing; give"
                f" compare(validation=...), or take an arm by its name, load({player!r}, arm={next(iter(arms))!r})"
            )
        values = records[chosen.arm]["validation"][player][measure.name]["values"]
        seeds = leaders(dict(enumerate(values)), higher_is_better=measure.higher_is_better)
        return chosen.arm, self.config.seed + seeds[0]

    def export(self, out: str | pathlib.Path, *, player: str = STUDENT, **which: Any) -> Exported:
        """Files of a player, each judged on the test set, in `out`; the table is printed.

        `formats`, `quantise`, `arm`, ... as `kdgan.run.export.export` takes them; without `arm` the player of `best`.
        """
        from kdgan.run import export

        if "arm" not in which:
            which["arm"], which["member"] = self._best(player)
        exported = export.export(self.workdir, out, player=player, data=self.data, models=self.models, **which)
        print(exported.table)
        return exported

    def load(self, player: str = STUDENT, **which: Any) -> Predictor:
        """`predict(images) -> logits` of a player; `arm`, `member`, ... as `kdgan.load` takes them."""
        from kdgan.run import prediction

        predict: Any = prediction.load(self.workdir, player=player, models=self.models, **which)
        return predict


def compare(
    *, teacher: Any, student: Any, train: Any, test: Any, arms: Any = ("scratch", "kd"), seeds: int = 5,
    steps: int = 2_000, teacher_steps: int | None = None, batch_size: int = 64, learning_rate: float = 3e-3,
    validation: int | None = None, fields: Mapping[str, Any] | None = None,
    workdir: str | pathlib.Path | None = None, name: str | None = None,
) -> Result:  # fmt: skip
    """Train a student in several ways from a teacher, several seeds each, and compare them on the test set.

    Args:
      teacher: a workdir; a Flax module with parameters, `(module, variables)` or `("resnet20", "weights.pth")`; an .onnx
        file; a PyTorch module; any function of arrays; or a module or name alone: it is then trained first.
      student: name of a model, or a Flax module.
      train: `(images, labels)`: uint8 [n, h, w, c], or floats in [0, 1], and classes [n]; a mapping of fields as
        `kdgan.data.from_fields` takes it; or a data set.
      test: the same, to measure on; nothing is chosen by it.
      arms: names of `kdgan.direct.presets` ("scratch", "kd", "mimic", "kdgan"), or name -> fields of an arm as a config has
        them, None for a preset.
      seeds: how many times each arm is trained.
      steps: updates of each.
      teacher_steps: of a teacher that is trained here; None: as many.
      batch_size: examples of a step.
      learning_rate: of Adam, at its start; it falls to 0 along a cosine.
      validation: examples of the training set that are set apart to choose by; None: a tenth, at most 1,000.
      fields: further fields of the config by their names, {"data.augment": {"flip": {}}}.
      workdir: where the run lies, and goes on when it is called again; None: a new temporary folder.
      name: what stands for functions and modules that a config cannot hold. A run with such goes on only under a name, which
        says that they are the same.

    Raises:
      ConfigError: whatever cannot run, by its argument or field, before anything compiles.
    """
    from kdgan.run import modes

    folder = pathlib.Path(tempfile.mkdtemp(prefix="kdgan-")) if workdir is None else files.folder(workdir)
    sets = _data_sets(train, test)
    example = _example(sets["train"], fields or {})
    players = {TEACHER: given.player(TEACHER, teacher, example, name)}
    players[STUDENT] = given.player(STUDENT, student, example, name)
    models = {**players[TEACHER].modules, **players[STUDENT].modules}
    if models and name is None and (folder / CHECKPOINTS).exists():
        what = " and ".join(role for role, own in players.items() if own.modules)
        raise ConfigError(
            f"workdir {folder} holds a run, and nothing says that its {what} is the one that is given now; give it a name,"
            " compare(name=...), the same at each call"
        )
    if validation is None:
        tenth = int(VALIDATED * len(sets["train"]))
        validation = min(max(tenth, sets["train"].num_classes), MOST_VALIDATED)
    optimizer = {"learning_rate": learning_rate, "schedule": "cosine"}
    filled: dict[str, Any] = {
        "data": {"validation": validation},
        "player": {"optimizer": optimizer},
        "players": {role: dict(own.player) for role, own in players.items()},
        "stage": {"batch_size": batch_size},
        "stages": _stages(
            players[TEACHER], presets.arms(arms, players[TEACHER], learning_rate), steps, teacher_steps or steps
        ),
        "population": {"seeds": seeds},
    }
    if any(DISCRIMINATOR in arm.get("lambdas", {}) for arm in filled["stages"][DISTILL]["arms"].values()):
        filled["players"][DISCRIMINATOR] = dict(players[TEACHER if players[TEACHER].trains else STUDENT].player)
    config = _config(filled, fields or {})
    print("\n".join(["Filled in, as a config says it:", *_lines(filled), ""]), flush=True)
    summary = modes.train(config, folder, data=sets, models=models, show=False)
    return Result(summary, config, folder, models, sets)


def _stages(teacher: Given, arms: Mapping[str, Any], steps: int, teacher_steps: int) -> dict[str, Any]:
    """The stage that trains the teacher, where it does not come trained, and the stage of the arms."""
    stages: dict[str, Any] = {}
    start = dict(teacher.start)
    if not teacher.is_frozen:
        supervised = {"name": "supervised", "player": TEACHER}
        stages[TEACHER] = {"method": supervised, "lambdas": {TEACHER: {"ce": 1.0}}, "steps": teacher_steps}
        start = {"stage": TEACHER, "player": TEACHER}
    distill: dict[str, Any] = {"start": {TEACHER: start}} if start else {}
    distill |= {"cached": (TEACHER,)} if teacher.cached else {}
    distill |= {"steps": steps, "arms": {name: dict(arm) for name, arm in arms.items()}}
    for arm in distill["arms"].values():
        if start and DISCRIMINATOR in arm.get("lambdas", {}):  # as KDGAN's authors have it: a copy of the teacher
            arm["start"] = {DISCRIMINATOR: start, **arm.get("start", {})}
    return {**stages, DISTILL: distill}


def _config(filled: Mapping[str, Any], fields: Mapping[str, Any]) -> ConfigDict:
    """A config with these fields, then with further ones by their dotted names."""
    config = common.get_config()
    for section in ("data", "player", "stage", "population"):
        _update(config[section], filled[section])
    config.players = common.named(**filled["players"])
    config.stages = common.named(
        **{
            name: {**stage, **({"arms": common.named(**stage["arms"])} if "arms" in stage else {})}
            for name, stage in filled["stages"].items()
        }
    )
    for name, value in fields.items():
        *path, last = name.removeprefix("config.").split(".")
        section = config
        for part in path:
            if part not in section:
                raise ConfigError(
                    f"compare(fields={{{name!r}: ...}}): config has no {part!r}; there are {', '.join(section)}"
                )
            section = section[part]
        try:
            section[last] = value
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"compare(fields={{{name!r}: {value!r}}}): {error}") from error
    return config


def _update(section: ConfigDict, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            _update(section[name], value)
        else:
            section[name] = value


def _lines(fields: Mapping[str, Any], path: str = "config") -> Iterator[str]:
    """Each field as an assignment, `config.population.seeds = 5`."""
    for name, value in fields.items():
        if (
            isinstance(value, Mapping)
            and value
            and name not in ("model_args", "method", "start", "lambdas", "optimizers")
        ):
            yield from _lines(value, f"{path}.{name}")
        else:
            yield f"  {path}.{name} = {value!r}"


def _example(train: Dataset, fields: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """What a player is given of the first two examples."""
    pixels = {name: fields[f"data.{name}"] for name in ("mean", "std") if f"data.{name}" in fields}
    seen = as_players_see(Data(**pixels), train.examples(np.arange(min(2, len(train))), train.inputs))
    return tuple(np.asarray(seen[name]) for name in train.inputs)


def _data_sets(train: Any, test: Any) -> dict[str, Dataset]:
    pair = {"train": train, "test": test}
    classes = None
    if all(isinstance(one, tuple) and len(one) == 2 for one in pair.values()):
        labels = [np.asarray(label) for _, label in pair.values()]
        if all(label.ndim == 1 and label.dtype.kind in "iu" and len(label) for label in labels):
            classes = 1 + max(int(label.max()) for label in labels)
    made = {}
    for name, one in pair.items():
        try:
            made[name] = _data_set(one, classes)
        except ValueError as error:
            raise ConfigError(f"compare({name}=...): {error}") from error
    return made


def _data_set(one: Any, classes: int | None) -> Dataset:
    if isinstance(one, Dataset):
        return one
    if isinstance(one, tuple) and len(one) == 2:
        inputs, labels = one
        shape = np.shape(inputs)
        if len(shape) == 4 and classes is not None:
            return data_sets.from_arrays(inputs, labels, classes)
        return data_sets.from_fields(
            {"image" if len(shape) == 4 else "x": inputs, "label": labels},
            sizes={} if classes is None else {"label": classes},
        )
    return data_sets.from_fields(one)
