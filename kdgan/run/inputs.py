"""The data of a run: loaded, split by seed, and handed to steps as batches of indices or of streamed images.

A batch on the host is `{"index": [b]}` where the set lies on the device, `{"image": uint8 [b, h, w, c], "label": [b]}`
where it streams; a set without labels has none. With each example go its `position` in the batch [b] and the step's
random `key` [b, 2], so that they are split over devices as the examples are. Under "unlabelled" may stand a second batch.
All of it is a function of (seed, stage, step): arms of one seed, one device or several, a run that went through or was
resumed see the same augmented images.

Where a stage has views (`kdgan/data/views.py`), `position` is the example's place among them and the key is theirs: the
image is then a function of this place alone, and by the same number the outputs under "cached" are found.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel
from kdgan.data import augment, order, sources, splits, stream
from kdgan.data.batches import gather, normalise
from kdgan.data.dataset import Dataset
from kdgan.data.errors import ARGUMENTS, ArgumentError
from kdgan.data.shaping import ReaderOver, numbered_as, shaped
from kdgan.data.views import KEY, in_turn, places
from kdgan.run.config import ConfigError, plain
from kdgan.run.schema import Data, Run

HostBatch = dict[str, Any]
Lookup = Callable[[np.ndarray], np.ndarray]  # places of views [b] -> outputs of a cached player [b, ...]
# Argument of `kdgan.data.load` and `partition` -> the field of the config that it is given by.
FIELDS = {name: f"config.data.{name}" for name in ARGUMENTS} | {
    "size": "config.data.image_size", "memory_limit": "config.data.memory_mb", "seed": "config.seed",
}  # fmt: skip
HANDED_OVER = "python:"  # of config.data.name: data sets handed over in Python; behind it the name of the training set
UNLABELLED_STREAM = 1 << 16  # added to a stage's number: the unlabelled images have an order of their own


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Data sets of a run and each seed's share of the training set.

    Attributes:
      config: the config's `data`.
      train: training set, of which `partitions` are indices.
      test: test set.
      partitions: seed -> (train, validation, unlabelled) indices into `train`.
      on_device: whether `train` fits the device and is indexed inside the step.
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
    def num_classes(self) -> int:
        return self.train.num_classes

    @property
    def has_labels(self) -> bool:
        return self.train.has_labels

    def device_arrays(self) -> dict[str, jax.Array]:
        """What the step indexes: the training set as uint8, or nothing where it streams."""
        if not self.on_device:
            return {}
        return {name: jnp.asarray(array) for name, array in self.train.arrays.items()}


def handed_over(config: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """A config as a run on these data sets records it: `data.name` says that they were handed over in Python.

    Raises:
      ConfigError: `data` is not a training and a test set.
    """
    if not isinstance(data, Mapping) or set(data) != {"train", "test"}:
        given = ", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise ConfigError(f"data = {given}: a mapping of 'train' and 'test' to data sets is accepted")
    for split, dataset in data.items():
        if not isinstance(dataset, Dataset):
            raise ConfigError(
                f"data[{split!r}] is a {type(dataset).__name__}; a data set is accepted, as"
                " kdgan.data.from_arrays(image, label) makes one of arrays"
            )
    fields = plain(config)
    return {**fields, "data": {**fields["data"], "name": HANDED_OVER + data["train"].name}}


def load(run: Run, data_sets: Mapping[str, Dataset] | None = None) -> Inputs:
    """Load both splits, or take `data_sets` (train, test), and divide the training set for each seed.

    `image_size`, `channels` and `num_classes` of the config's `data` hold for both, and the test split is numbered as the
    training split is.

    Raises:
      ConfigError: data set, split, size or subset that does not exist; train and test that do not fit together.
    """
    data = run.data
    if data_sets is None and data.name.startswith(HANDED_OVER):
        raise ConfigError(
            f"config.data.name = {data.name!r}: the data of this run were handed over in Python; go on with"
            " kdgan.train(config, workdir, data={'train': ..., 'test': ...})"
        )
    try:
        if data_sets is None:
            train = _load(data, data.train)
            # A test split without one of the classes is numbered as the training split is.
            test = _load(data, data.test, class_names=train.class_names)
        else:
            train, test = (
                shaped(data_sets[split], size=data.image_size, channels=data.channels, num_classes=data.num_classes)
                for split in ("train", "test")
            )
            test = numbered_as(test, train)
        label = train.label if train.has_labels else np.zeros(len(train), np.int32)
        partitions = {
            seed: splits.partition(label, validation=data.validation, labelled=data.labelled, seed=seed)
            for seed in run.seeds
        }
    except (ValueError, LookupError) as error:
        raise of_config(error) from error
    _check_alike(data, train, test)
    if data.unlabelled_batch_size and not len(next(iter(partitions.values())).unlabelled):
        raise ConfigError(
            f"config.data.unlabelled_batch_size = {data.unlabelled_batch_size}: no unlabelled images are left;"
            " set data.labelled below the size of the training split"
        )
    # A validation image never stands in for a training image that cannot be read, nor the other way round.
    train = train.keep_apart(next(iter(partitions.values())).validation)
    train, test = (_reads_for_config(dataset) for dataset in (train, test))
    return Inputs(data, train, test, partitions, on_device=train.image is not None)


def of_config(error: Exception) -> ConfigError:
    """An error about data, by the names that the config has for what it speaks of."""
    text = error.named(FIELDS) if isinstance(error, ArgumentError) else str(error)
    return ConfigError(text if text.startswith("config.data") else f"config.data: {text}")


def _check_alike(data: Data, train: Dataset, test: Dataset) -> None:
    """The test split is made of what the training split is made of, or a ConfigError names what makes it so."""
    (*size, channels), (*other_size, other_channels) = train.image_shape, test.image_shape
    cure = "; set config.data.num_classes to that of both" if data.name.startswith(HANDED_OVER) else ""
    about = {
        "(h, w) of images": (tuple(size), tuple(other_size), "; set config.data.image_size=(h, w) to scale all"),
        "channels of images": (channels, other_channels, "; set config.data.channels to 1 or 3 to convert all"),
        "num_classes": (train.num_classes, test.num_classes, cure),
    }
    for what, (trained, tested, cure) in about.items():
        if trained != tested:
            raise ConfigError(
                f"config.data: {what} of split {data.train!r} is {trained}, of split {data.test!r} {tested}{cure}"
            )


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


def _load(data: Data, split: str, class_names: Sequence[str] | None = None) -> Dataset:
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
    )


def batches(
    inputs: Inputs, *, seed: int, stage: int, batch_size: int, start: int, steps: int, views: int | None = None,
    cached: Mapping[str, Lookup] | None = None,
) -> Iterator[HostBatch]:  # fmt: skip
    """This process's share of the batches of steps `start` .. `steps`−1.

    Args:
      inputs: the run's data.
      seed: the member's.
      stage: its number.
      batch_size: labelled examples of all processes.
      start: first step.
      steps: of the stage.
      views: fixed augmented forms of each example; None: augmented anew at every step.
      cached: player -> its outputs by the places of views, which go with the batch under "cached"; needs views.
    """
    make = functools.partial(_one_stream, inputs, seed=seed, start=start, steps=steps, views=views, cached=cached or {})
    streams = rows_of(inputs, seed, batch_size)
    main = make(*streams[0], stage=stage)
    if len(streams) == 1:
        return main
    extra = make(*streams[1], stage=stage + UNLABELLED_STREAM)
    return ({**batch, "unlabelled": _without_label(other)} for batch, other in zip(main, extra, strict=True))


def _without_label(batch: HostBatch) -> HostBatch:
    return {name: value for name, value in batch.items() if name != "label"}


def rows_of(inputs: Inputs, seed: int, batch_size: int) -> list[tuple[np.ndarray, int]]:
    """(indices into the training set, examples per step) of a seed's labelled batches, and of its unlabelled ones."""
    partition, extra = inputs.partitions[seed], inputs.config.unlabelled_batch_size
    return [(partition.train, batch_size), *([(partition.unlabelled, extra)] if extra else [])]


def _one_stream(inputs, rows, batch_size, *, seed, stage, start, steps, views, cached) -> Iterator[HostBatch]:
    share = parallel.share_of_batch(batch_size)
    position = np.arange(batch_size, dtype=np.int32)[share]
    if inputs.on_device:
        rule = lambda step: rows[order.indices(len(rows), batch_size, seed=seed, stage=stage, step=step)][share]
        examples = ((index, {"index": index}) for index in map(rule, range(start, steps)))
    else:
        read = stream.stream(
            inputs.train.take(rows), batch_size=batch_size, seed=seed, stage=stage, start_step=start,
            steps=steps - start, workers=inputs.config.workers, prefetch=inputs.config.prefetch,
            process_index=jax.process_index(), process_count=jax.process_count(),
        )  # fmt: skip
        examples = ((rows[batch["index"]], {name: batch[name] for name in inputs.train.fields}) for batch in read)
    for step, (index, batch) in zip(range(start, steps), examples, strict=True):
        if views is None:
            place, key = position, _key_data(seed, stage, step)
        else:
            view = in_turn(len(rows), batch_size, views=views, step=step)[share]
            place, key = places(index, view, len(inputs.train)), KEY
        outputs = {"cached": {name: lookup(place) for name, lookup in cached.items()}} if cached else {}
        key = np.broadcast_to(key, (len(position), 2))
        yield {**batch, "position": np.asarray(place, np.int32), "key": key, **outputs}


def _key_data(seed: int, stage: int, step: int) -> np.ndarray:
    """The step's key, [2]; the counter's second word sets it apart from the order of the epochs (`data/order.py`)."""
    generator = np.random.Philox(key=np.array([seed, stage], np.uint64), counter=np.array([0, 1, step, 0], np.uint64))
    return generator.random_raw(1).view(np.uint32)


def _wrapped(key: jax.Array) -> jax.Array:
    """The step's random key, of two words whatever generator $JAX_DEFAULT_PRNG_IMPL names."""
    return jax.random.wrap_key_data(key[0], impl="threefry2x32")


def no_labels(inputs: Inputs) -> str:
    """What is to be done about data without labels."""
    return (
        f"the images of {inputs.config.name!r} (split {inputs.config.train!r}) have no labels: put them into one"
        " sub-folder for each class"
    )


def make_prepare(inputs: Inputs, spec: Mapping[str, Mapping | None]) -> Callable[[HostBatch, Mapping], dict[str, Any]]:
    """`prepare(host_batch, device_arrays) -> batch` on the device: index, normalise, augment, mix.

    Raises:
      ConfigError: unknown augmentation, or a field that it does not take.
    """
    try:
        change, mix = augment.make_augment(spec), augment.make_mix(spec)
    except ValueError as error:
        raise ConfigError(f"config.data.augment: {error}") from error
    if mix is not None and not inputs.has_labels:
        raise ConfigError(f"config.data.augment = {dict(spec)}: mixup and cutmix mix labels; {no_labels(inputs)}")
    mean, std = inputs.config.mean, inputs.config.std

    def examples(raw, arrays):
        return gather(arrays, raw["index"]) if "index" in raw else raw

    def augmented(image, raw) -> jax.Array:
        changed = change(_wrapped(raw["key"]), raw["position"], jnp.asarray(normalise(image)))
        return jnp.asarray(normalise(changed, mean=mean, std=std))

    def outputs(raw):
        return {"cached": raw["cached"]} if "cached" in raw else {}

    def prepare(raw: HostBatch, arrays: Mapping) -> dict[str, Any]:
        found = examples(raw, arrays)
        image, label = augmented(found["image"], raw), found.get("label")
        if mix is not None:
            key = jax.random.fold_in(_wrapped(raw["key"]), raw["position"][0])  # differs by device
            image, label = mix(key, image, jax.nn.one_hot(label, inputs.num_classes))
        batch = {"image": image, **({} if label is None else {"label": label}), **outputs(raw)}
        if "unlabelled" in raw:
            extra = raw["unlabelled"]
            batch["unlabelled"] = {"image": augmented(examples(extra, arrays)["image"], extra), **outputs(extra)}
        return batch

    return prepare


def example_batch(inputs: Inputs, prepare: Callable, batch_size: int) -> dict[str, Any]:
    """Shapes of a prepared batch, for initialisation and inspection."""
    host: HostBatch = {"image": np.zeros((batch_size, *inputs.train.image_shape), np.uint8)}
    if inputs.has_labels:
        host["label"] = np.zeros(batch_size, np.int32)
    extras = lambda size: {"position": np.zeros(size, np.int32), "key": np.zeros((size, 2), np.uint32)}
    raw = {**host, **extras(batch_size)}
    if extra := inputs.config.unlabelled_batch_size:
        raw["unlabelled"] = {"image": np.zeros((extra, *inputs.train.image_shape), np.uint8), **extras(extra)}
    return jax.eval_shape(lambda raw: prepare(raw, {}), raw)


def view_batch(inputs: Inputs, place: np.ndarray) -> HostBatch:
    """The views at these places [b], read from the set, for `prepare` to make as it makes them in a step."""
    index = place % len(inputs.train)
    key = np.broadcast_to(KEY, (len(place), 2))
    label = {"label": inputs.train.label[index]} if inputs.has_labels else {}
    return {"image": inputs.train.fetch(index), **label, "position": np.asarray(place, np.int32), "key": key}


def evaluation_batches(dataset: Dataset, rows: Sequence[int] | np.ndarray, batch_size: int) -> Iterator[HostBatch]:
    """All of `rows`, each once: the last batch is filled up and its `mask` is 0 there."""
    rows = np.asarray(rows)
    size = min(batch_size, len(rows))
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        mask = np.arange(size) < len(chunk)
        chunk = np.concatenate([chunk, np.repeat(chunk[:1], size - len(chunk))])
        label = {"label": dataset.label[chunk]} if dataset.has_labels else {}
        yield {"image": dataset.fetch(chunk), **label, "mask": mask}
