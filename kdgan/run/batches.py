"""The batches of a run: drawn on the host as indices or as streamed examples, and prepared on the device.

A batch on the host is `{"index": int32 [b]}`, each example's place in the training split, and where the set does not lie on
the device its fields (`kdgan/data/fields.py`): `{"image": uint8 [b, h, w, c], "label": [b]}`. With each example go its
`position` in the batch [b], the step's random `key` [b, 2], so that they are split over devices as the examples are, and its
`ordinal` [b]: its number among the examples that the seed's batches are drawn from, the labelled ones first.
Under "unlabelled" may stand a second batch, of all fields but the label. All of it is a function of (seed, stage, step):
arms of one seed, one device or several, a run that went through or was resumed see the same augmented images. Fields that
hold no images reach a step as they are. The step's `index` is the ordinal; where images are mixed, that of the first of two.

Under "drawn" stands what else the host draws: where windows come first (`kdgan/data/windows.py`) their `origin` [b, 2];
where images get noise (`kdgan/data/degrade.py`) the `words` [b, 2, 2] of that of the image, and of the batch's "again".

Where a stage has views (`kdgan/data/views.py`), `position` is the example's place among them and the key is theirs: the
image is then a function of this place alone, and by the same number the outputs under "cached" are found, and features
under "cached_features". Outputs of whole images are found by the example and the number of its noise, and their windows
come under `whole` there.

In a stage without data a batch is {"place": int32 [b]}, the numbers of its rows, on the host as in the step.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel
from kdgan.data import alike, augment, degrade, stream, windows
from kdgan.data.batches import gather, indices_of_step, normalise
from kdgan.data.dataset import Dataset
from kdgan.data.fields import AGAIN, IMAGE, INDEX, LABEL, ORDINAL, TARGET
from kdgan.data.views import KEY, in_turn, places
from kdgan.data.windows import Windows
from kdgan.player import CACHED, CACHED_FEATURES
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs, no_labels, rows_of
from kdgan.run.no_data import PLACE

HostBatch = dict[str, Any]
# Places of views [b], and for whole images the windows' origins and size, -> outputs of a cached player [b, ...]. It may
# have `features`: module path -> the same of features.
Lookup = Callable[..., np.ndarray]
MOVES = ("flip", "turn")  # what whole outputs go through as images do, once windows are cut
UNLABELLED_STREAM = 1 << 16  # added to a stage's number: the unlabelled examples have an order of their own
MIXED = ("class", "tags")  # labels that mixup and cutmix mix


def batches(
    inputs: Inputs, *, seed: int, stage: int, batch_size: int, start: int, steps: int, views: int | None = None,
    cached: Mapping[str, Lookup] | None = None, spec: Mapping[str, Any] | None = None, first: bool = False,
    whole: bool = False,
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
      cached: player -> its outputs by the places of views, which go with the batch under "cached"; needs views, or `whole`.
      spec: the augmentation, by which windows come first.
      first: whether they come first, too, of images that are neither degraded nor of several sizes.
      whole: whether `cached` are outputs of whole images, by their places among the noises.
    """
    if not inputs.has_training:
        rows = np.arange(batch_size, dtype=np.int32)[parallel.share_of_batch(batch_size)]
        return ({PLACE: rows} for _ in range(start, steps))
    make = functools.partial(
        _one_stream, inputs, seed=seed, start=start, steps=steps, views=views, cached=cached or {},
        cut=windows_of(inputs, spec or {}, first), whole=whole,
    )  # fmt: skip
    streams = rows_of(inputs, seed, batch_size)
    main = make(*streams[0], stage=stage)
    if len(streams) == 1:
        return main
    extra = make(*streams[1], stage=stage + UNLABELLED_STREAM, before=len(streams[0][0]))
    return ({**batch, "unlabelled": _without_label(other)} for batch, other in zip(main, extra, strict=True))


def _without_label(batch: HostBatch) -> HostBatch:
    return {name: value for name, value in batch.items() if name != LABEL}


def windows_of(inputs: Inputs, spec: Mapping[str, Any], first: bool = False) -> Windows | None:
    """The windows that come first: of images that are degraded or differ in size, and where `first` asks for it.

    Raises:
      ValueError: there is none, and images differ in size; images that it does not fit.
    """
    return windows.chosen(by_field(inputs, spec), inputs.train, first=first or bool(inputs.config.degrade))


def by_field(inputs: Inputs, spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The augmentation of each field of images (`kdgan/data/alike.py`)."""
    return alike.by_field(spec, inputs.train.fields, together=bool(inputs.config.degrade))


def _one_stream(
    inputs, rows, batch_size, *, seed, stage, start, steps, views, cached, cut, whole, before=0
) -> Iterator[HostBatch]:
    share = parallel.share_of_batch(batch_size)
    position = np.arange(batch_size, dtype=np.int32)[share]
    examples: Iterator[tuple[np.ndarray, HostBatch]]
    if inputs.on_device or inputs.is_ragged:
        rule = lambda step: rows[indices_of_step(len(rows), batch_size, seed=seed, stage=stage, step=step)][share]
        examples = ((index, {}) for index in map(rule, range(start, steps)))  # gathered on the device
    else:
        read = stream.stream(
            inputs.train.take(rows), batch_size=batch_size, seed=seed, stage=stage, start_step=start,
            steps=steps - start, workers=inputs.config.workers, prefetch=inputs.config.prefetch,
            process_index=jax.process_index(), process_count=jax.process_count(),
        )  # fmt: skip
        fields = tuple(inputs.train.fields)
        examples = ((rows[batch[INDEX]], {name: batch[name] for name in fields}) for batch in read)
    draws = cut is not None or bool(inputs.config.degrade)  # more than an order and a key
    for step, (index, batch) in zip(range(start, steps), examples, strict=True):
        if views is None:
            place, key = position, _key_data(seed, stage, step)
        else:
            view = in_turn(len(rows), batch_size, views=views, step=step)[share]
            place, key = places(index, view, len(inputs.train)), KEY
        number = _number(inputs, len(rows), batch_size, step, views)[share] if draws or whole else 0
        drawn = _drawn(inputs, cut, index, number, key, place) if draws else {}
        if cut and batch:
            batch |= {name: windows.of_rows(cut, name, batch[name], drawn["origin"]) for name in cut.scales}
        elif cut and not inputs.on_device:
            batch = windows.examples(inputs.train, index, cut, drawn["origin"])
        outputs = {}
        if whole:
            at = places(index, number, len(inputs.train)), drawn.get("origin"), cut and cut.size
            drawn["whole"] = {name: lookup(*at) for name, lookup in cached.items()}
        elif cached:
            outputs = _held(cached, place)
        outputs |= {"drawn": drawn} if drawn else {}
        ordinal = before + np.searchsorted(rows, index)  # rows ascend
        numbers = {INDEX: index, ORDINAL: ordinal, "position": place}
        of_examples = {name: np.asarray(number, np.int32) for name, number in numbers.items()}
        yield {**batch, **of_examples, "key": np.broadcast_to(key, (len(position), 2)), **outputs}


def _held(cached: Mapping[str, Lookup], place: np.ndarray) -> dict[str, Any]:
    """Of cached players their outputs at these places, and the features that their tables have."""
    of_player = {name: getattr(lookup, "features", {}) for name, lookup in cached.items()}
    features = {
        name: {path: of(place) for path, of in of_path.items()} for name, of_path in of_player.items() if of_path
    }
    outputs = {name: lookup(place) for name, lookup in cached.items()}
    return {CACHED: outputs, CACHED_FEATURES: features} if features else {CACHED: outputs}


def _number(inputs: Inputs, size: int, batch_size: int, step: int, views: int | None) -> np.ndarray:
    """The numbers [b] of the fixed noises of a step's images: that of the epoch, or with views that of the view."""
    turn = in_turn(size, batch_size, views=views or inputs.forms or 1, step=step)
    return turn % (inputs.forms or 1)


def _drawn(
    inputs: Inputs, cut: Windows | None, index: np.ndarray, number: np.ndarray | int, key: np.ndarray, place: np.ndarray
) -> dict[str, Any]:
    """Origins of windows, and the words [b, 1 or 2, 2] of each image's noise and of that which it has under "again"."""
    drawn: dict[str, Any] = {}
    if cut is not None:
        drawn["origin"] = windows.origins(cut, inputs.train, index, key=key, place=place)
    if not inputs.degradation.is_random:
        return drawn
    forms = inputs.forms
    if forms is None:
        several = [degrade.fresh(key, place, draw) for draw in range(2)]
    else:
        several = [degrade.fixed("train", index, (number + draw) % forms) for draw in range(min(forms, 2))]
    return {**drawn, "words": np.stack(several, 1)}


def _key_data(seed: int, stage: int, step: int) -> np.ndarray:
    """The step's key, [2]; the counter's second word sets it apart from the order of the epochs (`indices_of_step`)."""
    generator = np.random.Philox(key=np.array([seed, stage], np.uint64), counter=np.array([0, 1, step, 0], np.uint64))
    return generator.random_raw(1).view(np.uint32)


def _wrapped(key: jax.Array) -> jax.Array:
    """The step's random key, of two words whatever generator $JAX_DEFAULT_PRNG_IMPL names."""
    return jax.random.wrap_key_data(key[0], impl="threefry2x32")


def make_prepare(
    inputs: Inputs, spec: Mapping[str, Mapping | None], *, first: bool = False
) -> Callable[[HostBatch, Mapping], dict[str, Any]]:
    """`prepare(host_batch, device_arrays) -> batch` on the device: index, cut, degrade, augment, normalise, mix.

    Raises:
      ConfigError: unknown augmentation, or a field that it does not take; one that these data have nothing for.
    """
    fields, data = inputs.train.fields, inputs.config
    if not inputs.has_training:
        return lambda raw, arrays: dict(raw)
    try:
        augment.make_augment(spec)  # refuses the whole of it, whatever fields it names
        parts = by_field(inputs, spec)
        cut = windows_of(inputs, spec, first)
        rest = {
            name: {k: v for k, v in p.items() if cut is None or name not in cut.scales or k != "crop"}
            for name, p in parts.items()
        }
        change = {name: augment.make_augment(part) for name, part in rest.items()}
        moves = augment.make_augment({name: fields for name, fields in spec.items() if name in MOVES})
        mixes = {name: mix for name, part in parts.items() if (mix := augment.make_mix(part)) is not None}
    except ValueError as error:
        raise ConfigError(f"config.data.augment: {error}") from error
    if mixes:
        _check_mix(inputs, spec, parts)

    degradation = inputs.degradation
    held = inputs.held
    one = bool(data.degrade) and degradation.scale == 1  # image and target are one array

    def examples(raw, arrays):
        if any(name in raw for name in fields):
            return {n: raw[n] for n in fields if n in raw}
        of = lambda n: (
            gather({n: arrays[n]}, raw[INDEX])[n]
            if cut is None or n not in cut.scales
            else windows.of_array(cut, n, arrays[n], raw[INDEX], raw["drawn"]["origin"])
        )
        values = {name: of(name) for name in held}
        values |= {IMAGE: values[TARGET]} if one else {}
        return {name: values[name] for name in fields}

    def augmented(name, unit, raw) -> jax.Array:
        changed = change[name](_wrapped(raw["key"]), raw["position"], jnp.asarray(unit))
        return jnp.asarray(normalise(changed, mean=data.mean, std=data.std))

    def prepared(raw, arrays, without=()) -> dict[str, Any]:
        values = {name: value for name, value in examples(raw, arrays).items() if name not in without}
        units = {name: normalise(value) for name, value in values.items() if name in parts}
        drawn = raw.get("drawn", {})
        words = drawn.get("words", np.zeros((0, 0, 2)))
        for draw, name in enumerate((IMAGE, AGAIN)[: words.shape[1]]):
            units[name] = degradation.noisy(words[:, draw], values[IMAGE], drawn.get("origin"))
        images = {name: augmented(name if name in parts else IMAGE, unit, raw) for name, unit in units.items()}
        number = {INDEX: raw[ORDINAL]} if ORDINAL in raw else {}
        return {**values, **images, **number}

    def outputs(raw):
        held = {kind: raw[kind] for kind in (CACHED, CACHED_FEATURES) if kind in raw}
        whole = raw.get("drawn", {}).get("whole", {})
        moved = {name: moves(_wrapped(raw["key"]), raw["position"], output) for name, output in whole.items()}
        return {CACHED: moved} if moved else held

    def prepare(raw: HostBatch, arrays: Mapping) -> dict[str, Any]:
        batch = prepared(raw, arrays)
        if mixes:
            key = jax.random.fold_in(_wrapped(raw["key"]), raw["position"][0])  # differs by device
            label = batch[LABEL]
            label = jax.nn.one_hot(label, inputs.num_classes) if fields[LABEL].kind == "class" else label
            for name, mix in mixes.items():
                batch[name], batch[LABEL] = mix(key, batch[name], label)
        batch |= outputs(raw)
        if "unlabelled" in raw:
            extra = raw["unlabelled"]
            batch["unlabelled"] = {**prepared(extra, arrays, without=(LABEL,)), **outputs(extra)}
        return batch

    return prepare


def _check_mix(inputs: Inputs, spec: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Mixing makes one example of two: of the images, and of all else that there is of them."""
    where = f"config.data.augment = {dict(spec)}: mixup and cutmix mix"
    fields = inputs.train.fields
    if not inputs.has_labels:
        raise ConfigError(f"{where} labels; {no_labels(inputs)}")
    if fields[LABEL].kind not in MIXED:
        raise ConfigError(f"{where} labels that are {' or '.join(MIXED)}; the data's label is {fields[LABEL]}")
    mixing = [
        {name: part[name] for name in ("mixup", "cutmix") if part.get(name) is not None} for part in parts.values()
    ]
    if len({repr(sorted(part.items())) for part in mixing if part}) > 1:
        raise ConfigError(f"{where} the same fields; name in both the same")
    mixed = {name for name, part in zip(parts, mixing, strict=True) if part}
    left = [name for name in fields if name != LABEL and name not in mixed]
    if left:
        raise ConfigError(f"{where} images and labels, and {', '.join(left)} would stay those of one of the two")


def example_batch(
    inputs: Inputs, prepare: Callable, batch_size: int, spec: Mapping[str, Any] | None = None, *, first: bool = False
) -> dict[str, Any]:
    """Shapes of a batch that `prepare`, made with the augmentation `spec`, gives: for initialisation and inspection."""
    if not inputs.has_training:
        return {PLACE: jax.ShapeDtypeStruct((batch_size,), np.int32)}
    cut = windows_of(inputs, spec or {}, first)

    def host(size: int, without: Sequence[str] = ()) -> HostBatch:
        examples: dict[str, Any] = {}
        drawn: dict[str, Any] = {}
        for name, field in inputs.train.fields.items():
            shape: tuple[Any, ...] = field.shape
            if cut is not None and name in cut.scales:
                shape = (*cut.size_of(name), field.shape[-1])
                drawn["origin"] = np.zeros((size, 2), np.int32)
            if name not in without:
                examples[name] = np.zeros((size, *shape), field.dtype)
        if inputs.degradation.is_random:
            drawn["words"] = np.zeros((size, min(inputs.forms or 2, 2), 2), np.uint32)
        examples |= {"drawn": drawn} if drawn else {}
        numbers = {name: np.zeros(size, np.int32) for name in (INDEX, ORDINAL, "position")}
        return {**examples, **numbers, "key": np.zeros((size, 2), np.uint32)}

    raw = host(batch_size)
    if extra := inputs.config.unlabelled_batch_size:
        raw["unlabelled"] = host(extra, without=(LABEL,))
    return jax.eval_shape(lambda raw: prepare(raw, {}), raw)


def view_batch(
    inputs: Inputs, place: np.ndarray, spec: Mapping[str, Any] | None = None, *, first: bool = False
) -> HostBatch:
    """The views at these places [b], read from the set, for `prepare` to make as it makes them in a step."""
    index, view = place % len(inputs.train), place // len(inputs.train)
    cut = windows_of(inputs, spec or {}, first)
    drawn = _drawn(inputs, cut, index, view % (inputs.forms or 1), KEY, place)
    read: dict[str, Any] = (
        windows.examples(inputs.train, index, cut, drawn["origin"]) if cut else inputs.train.examples(index)
    )
    read |= {"drawn": drawn} if drawn else {}
    of_examples = {INDEX: np.asarray(index, np.int32), "position": np.asarray(place, np.int32)}
    return {**read, **of_examples, "key": np.broadcast_to(KEY, (len(place), 2))}


def evaluation_batches(
    dataset: Dataset, rows: Sequence[int] | np.ndarray, batch_size: int, *, noise: str = "", pixels: int | None = None
) -> Iterator[HostBatch]:
    """All of `rows`, each once, in their order: the last batch is filled up and its `mask` is 0 there.

    Of images that get noise `noise` names the split, by which with its row each one's is fixed (`drawn`). A batch has no
    more than so many `pixels` of its largest field, and one example at least.

    Where images differ in size a batch ends where the size changes: rows in the order of `by_shape` make the fewest.
    """
    rows = np.asarray(rows)
    for group in _of_one_shape(dataset, rows):
        size = min(batch_size, len(group), _that_fit(dataset, group, pixels))
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            mask = np.arange(size) < len(chunk)
            chunk = np.concatenate([chunk, np.repeat(chunk[:1], size - len(chunk))])
            drawn = {"drawn": {"words": degrade.fixed(noise, chunk)[:, None]}} if noise else {}
            yield {**dataset.examples(chunk), "mask": mask, **drawn}


def _that_fit(dataset: Dataset, group: np.ndarray, pixels: int | None) -> int:
    """How many examples of a group of one size have no more than so many pixels."""
    if pixels is None or not len(group):
        return len(group)
    shapes: list[Any] = [
        field.shape for field in dataset.fields.values() if field.kind == "image" and not field.is_ragged
    ]
    shapes += _shapes(dataset, group[:1])[0] if dataset.in_memory and _shapes(dataset, group[:1]) else ()
    return max(1, pixels // max(shape[0] * shape[1] for shape in shapes))


def by_shape(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The rows, those whose images have one size together, in the order in which the sizes come first."""
    first: dict[Any, int] = {}
    numbers = [first.setdefault(shape, len(first)) for shape in _shapes(dataset, rows)]
    return rows[np.argsort(numbers, kind="stable")] if numbers else rows


def _of_one_shape(dataset: Dataset, rows: np.ndarray) -> list[np.ndarray]:
    shapes = _shapes(dataset, rows)
    ends = [place for place in range(1, len(shapes)) if shapes[place] != shapes[place - 1]]
    return np.split(rows, ends)


def _shapes(dataset: Dataset, rows: np.ndarray) -> list[tuple]:
    """The shapes of each row's images of several sizes; none where all are of one."""
    ragged = [dataset.arrays[name] for name, field in dataset.fields.items() if field.is_ragged]
    return [tuple(array[row].shape for array in ragged) for row in rows] if ragged else []
