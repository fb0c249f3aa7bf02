"""The data of a run: loaded, checked and split by seed. `batches.py` draws from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.data import arrays, degrade, pairs, sources, splits, windows
from kdgan.data.dataset import Dataset
from kdgan.data.degrade import Degradation
from kdgan.data.errors import ARGUMENTS, ArgumentError
from kdgan.data.fields import IMAGE, LABEL, TARGETS, Field, expect
from kdgan.data.restricted import restricted
from kdgan.data.shaping import ReaderOver, matched, numbered_as, shaped
from kdgan.data.views import MOST_PLACES
from kdgan.run.config import ConfigError, plain
from kdgan.run.schema import Data, Run

# Argument of `kdgan.data.load` and `partition` -> the field of the config that it is given by.
FIELDS = {name: f"config.data.{name}" for name in ARGUMENTS} | {
    "size": "config.data.image_size", "memory_limit": "config.data.memory_mb", "seed": "config.seed",
}  # fmt: skip
# How what was handed over in Python is called: in config.data.name, before the name of the training set, and in a player's
# `model`.
HANDED_OVER = "python:"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Data sets of a run and each seed's share of the training set.

    Attributes:
      config: the config's `data`.
      train: training set, of which `partitions` are indices; without one (`config.train` None) no example of the test set.
      test: test set.
      partitions: seed -> (train, validation, unlabelled) indices into `train`.
      on_device: whether `train` lies on the device and is indexed inside the step.
      stages: name of a stage -> its data, of those that have data of their own (`run/stage_data.py`).
    """

    config: Data
    train: Dataset
    test: Dataset
    partitions: Mapping[int, splits.Partition]
    on_device: bool
    stages: Mapping[str, "Inputs"] = dataclasses.field(default_factory=dict)

    def of(self, stage: str) -> "Inputs":
        """The data of a stage: its own, or the run's."""
        return self.stages.get(stage, self)

    @property
    def has_training(self) -> bool:
        """Whether there is a training split; without one the test split alone says what the fields are."""
        return self.config.train is not None

    @property
    def lacking(self) -> tuple[str, ...]:
        """The targets that only the test split has: what is measured by them is learned without them."""
        return _lacking(self.train, self.test)

    @property
    def fields(self) -> dict[str, Field]:
        """The fields of the data: those of the training split, and targets that only the test split has."""
        return {**self.train.fields, **{name: self.test.fields[name] for name in self.lacking}}

    @property
    def num_classes(self) -> int:
        return self.fields[LABEL].size if LABEL in self.fields else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.fields[LABEL].names if LABEL in self.fields else ()

    @property
    def examples(self) -> int:
        """How many examples a seed's batches are drawn from; where seeds differ, the most."""
        with_rest = bool(self.config.unlabelled_batch_size)
        return max(len(part.train) + with_rest * len(part.unlabelled) for part in self.partitions.values())

    @property
    def has_labels(self) -> bool:
        return self.train.has_labels

    @property
    def is_ragged(self) -> bool:
        """Whether training images differ in size."""
        return any(field.is_ragged for field in self.train.fields.values())

    @property
    def degradation(self) -> Degradation:
        """How the images that players are given are made of the data's."""
        return degrade.of(self.config.degrade)

    @property
    def forms(self) -> int | None:
        """Fixed degraded forms of each training image; None: one is drawn at every step."""
        return self.config.noises if self.degradation.is_random else 1

    @property
    def has_classes(self) -> bool:
        """Whether the label is a class, by which subsets are balanced."""
        return self.has_labels and self.train.fields[LABEL].kind == "class"

    def device_arrays(self) -> dict[str, jax.Array]:
        """What the step indexes: the training set (images as uint8), or nothing where it streams."""
        if not self.on_device:
            return {}
        return {name: jnp.asarray(windows.held(self.train, name)) for name in self.held}

    @property
    def held(self) -> tuple[str, ...]:
        """The fields that lie on the device, of a set that does: of an image and its target that are one array one."""
        one = self.config.degrade and self.degradation.scale == 1
        return tuple(name for name in self.train.arrays if not (one and name == IMAGE))


def handed_over(config: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """A config as a run on these data sets records it: `data.name` says that they were handed over in Python.

    Raises:
      ConfigError: `data` is not a training and a test set, or a test set alone.
    """
    if not isinstance(data, Mapping) or set(data) not in ({"train", "test"}, {"test"}):
        given = ", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise ConfigError(f"data = {given}: a mapping of 'train' and 'test' to data sets is accepted")
    for split, dataset in data.items():
        if not isinstance(dataset, Dataset):
            raise ConfigError(
                f"data[{split!r}] is a {type(dataset).__name__}; a data set is accepted, as"
                " kdgan.data.from_arrays(image, label) makes one of arrays"
            )
    fields = plain(config)
    return {**fields, "data": {**fields["data"], "name": HANDED_OVER + data.get("train", data["test"]).name}}


def load(run: Run, data_sets: Mapping[str, Dataset] | None = None) -> Inputs:
    """Load both splits, or take `data_sets` (train, test), and divide the training set for each seed.

    `image_size`, `channels` and `num_classes` of the config's `data` hold for both, and the test split is numbered as the
    training split is. Where `data.train` is None no training split is opened, and that of `data_sets` is not looked at.

    Raises:
      ConfigError: data set, split, size or subset that does not exist; train and test that do not fit together.
    """
    data = run.data
    if data_sets is None and data.name.startswith(HANDED_OVER):
        raise ConfigError(
            f"config.data.name = {data.name!r}: the data of this run were handed over in Python; go on with"
            " kdgan.train(config, workdir, data={'train': ..., 'test': ...})"
        )
    if data_sets is not None and data.train is not None and "train" not in data_sets:
        raise ConfigError(
            "data = test: stages of the run learn from a training set, and none was handed over; add 'train'"
        )
    try:
        if data.train is None:
            test = _split(data, "test", data_sets)
            check_finite(test)
            return test_alone(run, data, _reads_for_config(test))
        train = _split(data, "train", data_sets, may_lack=TARGETS)
        # A test split without one of the classes is numbered as the training split is.
        test = _split(data, "test", data_sets, class_names=train.class_names)
        _check_noises(data, len(train))
        train, test = matched(train, numbered_as(test, train))
        for dataset in (train, test):
            check_finite(dataset)
        partitions = {
            seed: _of_classes(
                data, train, seed,
                splits.partition(balanced_by(train), validation=data.validation, labelled=data.labelled, seed=seed),
            )
            for seed in run.seeds
        }  # fmt: skip
    except (ValueError, LookupError) as error:
        raise of_config(error) from error
    _check_alike(data, train, test)
    if data.unlabelled_batch_size and not len(next(iter(partitions.values())).unlabelled):
        raise ConfigError(
            f"config.data.unlabelled_batch_size = {data.unlabelled_batch_size}: no unlabelled examples are left;"
            " set data.labelled below the size of the training split"
        )
    # A validation image never stands in for a training image that cannot be read, nor the other way round.
    train = train.keep_apart(next(iter(partitions.values())).validation)
    train, test = (_reads_for_config(dataset) for dataset in (_with_note(data, train), test))
    fits = train.in_memory and windows.held_bytes(train) <= data.memory_mb * 2**20
    return Inputs(data, train, test, partitions, on_device=fits)


def test_alone(run: Run, data: Data, test: Dataset) -> Inputs:
    """Data without a training split: those of a stage that is measured on a test set, and trained on nothing."""
    arrays = {
        name: np.zeros(0, object) if field.is_ragged else np.zeros((0, *field.shape), field.dtype)  # type: ignore
        for name, field in test.fields.items()
    }
    nothing = splits.Partition(*[np.zeros(0, np.int32)] * 3)
    return Inputs(
        data, Dataset(test.name, test.fields, arrays), test, dict.fromkeys(run.seeds, nothing), on_device=False
    )


def _split(data: Data, split: str, data_sets: Mapping[str, Dataset] | None, **rest: Any) -> Dataset:
    """The "train" or "test" split, or the one of `data_sets`, shaped and degraded as the config's `data` say."""
    name = getattr(data, split)
    dataset = _load(data, name, **rest) if data_sets is None else _shaped(data, data_sets[split])
    return _degraded(data, name, dataset) if data.degrade else dataset


def _degraded(data: Data, split: str, dataset: Dataset) -> Dataset:
    try:
        return pairs.degraded(dataset, degrade.of(data.degrade))
    except ValueError as error:
        of_split = "" if str(error).startswith("degrade makes") else f" (split {split!r})"
        raise ValueError(f"config.data.{error}{of_split}") from error


def _check_noises(data: Data, size: int) -> None:
    """Raise ValueError where noises say nothing, or are no number of them."""
    if data.noises is None:
        return
    if data.noises < 1:
        raise ValueError(f"config.data.noises = {data.noises}: at least 1, or None, is accepted")
    if not degrade.of(data.degrade).is_random:
        raise ValueError(f"config.data.noises = {data.noises}: nothing of data.degrade is random; leave it out")
    if data.noises * size > MOST_PLACES:
        most = MOST_PLACES // size
        raise ValueError(f"config.data.noises = {data.noises}: of {size:,} examples at most {most:,} are accepted")


def balanced_by(train: Dataset) -> np.ndarray:
    """The classes [n] by which subsets of a training set are balanced: of one class all, where the label is none."""
    if train.has_labels and train.fields[LABEL].kind == "class":
        return train.label
    return np.zeros(len(train), np.int32)


def _of_classes(data: Data, train: Dataset, seed: int, parts: splits.Partition) -> splits.Partition:
    """A seed's partition, of the classes that the config names."""
    named = data.classes is not None or data.exemplars or data.exemplars_of
    if named:
        try:
            expect(train.fields, LABEL, "class")
        except ValueError as error:
            raise ArgumentError(f"{{classes}} and {{exemplars_of}} are of labels that are classes: {error}") from error
    return restricted(
        parts, balanced_by(train), num_classes=train.num_classes, classes=data.classes, exemplars=data.exemplars,
        exemplars_of=data.exemplars_of, exemplar_repeats=data.exemplar_repeats, seed=seed,
    )  # fmt: skip


def _with_note(data: Data, train: Dataset) -> Dataset:
    """The training set, with a note that its subsets are not balanced, where there are subsets and no classes."""
    subsets = [name for name in ("validation", "labelled") if getattr(data, name)]
    if not subsets or (train.has_labels and train.fields[LABEL].kind == "class"):
        return train
    kinds = {"tags": "tags", "number": "numbers", "tokens": "tokens"}
    why = f"the label holds {kinds[train.fields[LABEL].kind]}" if train.has_labels else "there are no labels"
    note = f"{' and '.join(subsets)} drawn at random, balanced by nothing: {why}, no classes"
    return dataclasses.replace(train, notes=(*train.notes, note))


def check_finite(dataset: Dataset) -> None:
    """Raise ValueError where a field of floats holds NaN or inf, with the first such example."""
    for name, array in dataset.arrays.items():
        if array.dtype == np.float32:
            arrays.finite(name, array)


def of_config(error: Exception) -> ConfigError:
    """An error about data, by the names that the config has for what it speaks of."""
    text = error.named(FIELDS) if isinstance(error, ArgumentError) else str(error)
    return ConfigError(text if text.startswith("config.data") else f"config.data: {text}")


def _lacking(train: Dataset, test: Dataset) -> tuple[str, ...]:
    return tuple(name for name in TARGETS if name in test.fields and name not in train.fields)


def _check_alike(data: Data, train: Dataset, test: Dataset) -> None:
    """The test split is made of what the training split is made of, or a ConfigError names what makes it so.

    The training split may lack targets: a teacher labels it, say.
    """
    lacking = _lacking(train, test)
    if lacking and data.validation:
        raise ConfigError(
            f"config.data.validation = {data.validation}: validation examples are drawn from split {data.train!r}, which has"
            f" no field {lacking[0]!r}, by which split {data.test!r} is measured; 0 is accepted"
        )
    of_both = f"split {data.train!r} has {', '.join(train.fields)}, split {data.test!r} {', '.join(test.fields)}"
    for name in dict.fromkeys([*train.fields, *test.fields]):
        if name in lacking:
            continue
        if name not in train.fields or name not in test.fields:
            which = data.train if name not in train.fields else data.test
            raise ConfigError(f"config.data: split {which!r} has no field {name!r}: {of_both}")
        for what, (trained, tested, cure) in _compared(data, name, train.fields[name], test.fields[name]).items():
            if trained != tested:
                raise ConfigError(
                    f"config.data: {what} of split {data.train!r} is {trained}, of split {data.test!r} {tested}{cure}"
                )


def _compared(data: Data, name: str, train: Field, test: Field) -> dict[str, tuple[Any, Any, str]]:
    """What has to agree between the splits of a field: in words, both values, and how to make them agree."""
    if train.kind != test.kind:
        return {f"the kind of {name!r}": (train.kind, test.kind, "")}
    if train.kind == "image":
        whose = "images" if name == "image" else repr(name)
        # Whole test images of any size are what a network is measured on that was trained on windows of them.
        sides = (train.shape[:2], train.shape[:2] if test.is_ragged or train.is_ragged else test.shape[:2])
        return {
            f"(h, w) of {whose}": (*sides, "; set config.data.image_size=(h, w) to scale all"),
            f"channels of {whose}": (
                train.shape[2], test.shape[2], "; set config.data.channels to 1 or 3 to convert all",
            ),
        }  # fmt: skip
    cure = "; set config.data.num_classes to that of both" if data.name.startswith(HANDED_OVER) else ""
    counted = "num_classes" if name == LABEL else f"the size of {name!r}"
    return {
        f"the shape of {name!r}": (train.shape, test.shape, "") if train.kind != "tags" else ((), (), ""),
        counted: (train.size, test.size, cure if train.kind == "class" else ""),
        f"names of {name!r}": (train.names, test.names, ""),
    }


def _reads_for_config(dataset: Dataset) -> Dataset:
    return dataset if dataset.reader is None else dataclasses.replace(dataset, reader=_ConfigReader(dataset.reader))


@dataclasses.dataclass(frozen=True, eq=False)
class _ConfigReader(ReaderOver):
    """A reader whose errors are a config's: in the middle of a run, too, they are one line."""

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        try:
            return self.reader(indices)
        except ArgumentError as error:
            raise of_config(error) from error


def _load(data: Data, split: str, class_names: Sequence[str] | None = None, may_lack: Sequence[str] = ()) -> Dataset:
    return sources.load(
        data.name,
        split,
        data_dir=data.data_dir,
        image_key=data.image_key,
        label_key=data.label_key,
        on_bad_image=data.on_bad_image,
        size=data.image_size,
        channels=data.channels,
        num_classes=data.num_classes,
        class_names=class_names,
        memory_limit=data.memory_mb * 2**20,
        fields=data.fields,
        kinds=data.kinds,
        args=data.args,
        may_lack=may_lack,
    )


def _shaped(data: Data, dataset: Dataset) -> Dataset:
    return shaped(dataset, size=data.image_size, channels=data.channels, num_classes=data.num_classes)


def rows_of(inputs: Inputs, seed: int, batch_size: int) -> list[tuple[np.ndarray, int]]:
    """(indices into the training set, examples per step) of a seed's labelled batches, and of its unlabelled ones."""
    partition, extra = inputs.partitions[seed], inputs.config.unlabelled_batch_size
    return [(partition.train, batch_size), *([(partition.unlabelled, extra)] if extra else [])]


def only_in_test(inputs: Inputs, name: str) -> str:
    """That the test split alone has a target that something is to be learned from."""
    return f"split {inputs.config.train!r} has no field {name!r}, split {inputs.config.test!r} alone has it"


def no_labels(inputs: Inputs) -> str:
    """What is to be done about data without labels."""
    if LABEL in inputs.lacking:
        return only_in_test(inputs, LABEL)
    if inputs.config.name.startswith("folder:"):
        return (
            f"the images of {inputs.config.name!r} (split {inputs.config.train!r}) have no labels: put them into one"
            " sub-folder for each class"
        )
    fields = ", ".join(inputs.train.fields)
    return f"the data {inputs.config.name!r} have no labels (a field 'label'): their fields are {fields}"
