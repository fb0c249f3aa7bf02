"""Which evaluators a player is judged by: those that its config names, or the one that fits its output.

Every mistake is found from shapes alone, before anything compiles.
"""

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan import evaluators
from kdgan.data.dataset import Dataset
from kdgan.data.fields import Field
from kdgan.evaluators import Evaluator
from kdgan.evaluators.check import check_measures
from kdgan.game import Inspection
from kdgan.player import MAIN
from kdgan.run import batches as run_batches
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs
from kdgan.run.schema import Arm, Run
from kdgan.run.totals import as_players_see, make_apply, make_totals
from kdgan.state import variable_shapes

# Players whose names begin so are measured only where config says so.
NOT_MEASURED = ("discriminator", "adapter", "style_images", "memory", "paraphraser", "translator", "temperature")
IF_IT_FITS = ("critic",)  # likewise, on data that have nothing by which what they give is judged
NOTHING = "nothing"


def of_players(
    run: Run, arm: Arm, inspection: Inspection, modules: Mapping[str, nn.Module], inputs: Inputs, compute_dtype: Any,
    given: Mapping[str, Sequence[str]], example: Mapping[str, Any],
) -> dict[str, tuple[Evaluator, ...]]:  # fmt: skip
    """Player -> its evaluators, of the players that are measured.

    Args:
      run: whose data is measured on.
      arm: that has the players.
      inspection: of its method.
      modules: player -> module without a device axis.
      inputs: the run's data.
      compute_dtype: in which players compute.
      given: player -> the fields that it is given, where they are not the field `image` alone.
      example: shapes of a prepared batch.

    Raises:
      ConfigError: an evaluator that does not exist, or cannot judge what the player gives on these data; a measure that two
        evaluators have.
    """
    chosen: dict[str, tuple[Evaluator, ...]] = {}
    fields = fields_of(inputs, example)
    for name, output in inspection.outputs.items():
        several = _named(name, arm.players[name].evaluate)
        if several is None:
            several = default(name, inspection.inputs[name], output, fields)
            if not inputs.has_training:
                several = _without_data(several, name, inspection)
        if several:
            chosen[name] = several
            _check_calls(name, several, inspection)
            _check_others(name, several, arm)
    inspection = on_data(inspection, chosen, modules, given, example)
    for name, several in chosen.items():
        for evaluator in several:
            _check(evaluator, name, inspection, modules[name], inputs, compute_dtype, given.get(name, (MAIN,)), fields)
    _check_measures(chosen)
    return chosen


def _without_data(several: tuple[Evaluator, ...], player: str, inspection: Inspection) -> tuple[Evaluator, ...]:
    """Those that fit the player, or the one that judges without data what it makes."""
    beside = {name: output for name, output in inspection.outputs.items() if name != player}
    names = [one.name for one in several]
    fitting = evaluators.without_data(names, inspection.inputs[player], inspection.outputs[player], beside)
    return several if fitting is None else (_built(fitting, "{}"),)


def _check_calls(player: str, several: Sequence[Evaluator], inspection: Inspection) -> None:
    """Refuse evaluators that call players which are not there, or give something else; and images that cannot be drawn."""
    where = f"config.players.{player}.evaluate"
    for evaluator in several:
        for name, look in evaluator.calls.items():
            there = [other for other in inspection.outputs if other != player]
            if name not in there:
                raise ConfigError(
                    f"{where} = {evaluator.name!r}: it asks the player {name!r}, which the method does not call and which is"
                    f" not beside it; there are {', '.join(there) or 'none'}"
                )
            if reason := look(inspection.outputs[name]):
                raise ConfigError(f"{where} = {evaluator.name!r}: it asks the player {name!r}, which {reason}")
        if evaluator.draws is not None and evaluator.calls:
            try:
                evaluator.draws(inspection.inputs[player], inspection.outputs[player])
            except ValueError as error:
                raise ConfigError(f"{where} = {evaluator.name!r}: {error}") from error


def _check_others(player: str, several: Sequence[Evaluator], arm: Arm) -> None:
    """Refuse players to compare with that the config's arguments name and no stage could have."""
    written = json.dumps(arm.players[player].evaluate, default=str)
    for evaluator in several:
        for name in evaluator.others:
            if name not in arm.players and json.dumps(name) in written:
                raise ConfigError(
                    f"config.players.{player}.evaluate = {evaluator.name!r}: it names the player {name!r}; accepted are"
                    f" {', '.join(sorted(arm.players))}"
                )


def on_data(
    inspection: Inspection, judged: Collection[str], modules: Mapping[str, nn.Module], given: Mapping[str, Sequence[str]],
    example: Mapping[str, Any],
) -> Inspection:  # fmt: skip
    """The inspection with images of the data for players image -> image that their method calls with others.

    A method may train a player on smaller images than it is measured on, and used for. What it costs is then asked of the
    size that the data have.
    """
    inputs, outputs = dict(inspection.inputs), dict(inspection.outputs)
    for name in judged:
        (args, kwargs), fields = inputs[name], given.get(name, (MAIN,))
        first: Any = next(iter(args), None)
        image: Any = example.get(fields[0])
        ranks = [getattr(array, "ndim", 0) for array in (first, image, outputs[name])]
        if ranks == [4, 4, 4] and first.shape[1:3] != image.shape[1:3]:
            batch = {
                field: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
                for field, leaf in example.items()
                if field in fields
            }
            apply = make_apply(modules[name], None, fields)
            outputs[name] = jax.eval_shape(apply, variables_of(modules[name], inputs[name]), batch)
            inputs[name] = (batch[fields[0]], *args[1:]), kwargs
    return dataclasses.replace(inspection, inputs=inputs, outputs=outputs)


def variables_of(module: nn.Module, called: Any) -> dict[str, Any]:
    """Shapes of a player's variables, as its functions take them."""
    variables = variable_shapes(module, called)
    state = {kind: tree for kind, tree in variables.items() if kind != "params"}
    return {"params": variables.get("params", {}), "model_state": state}


def fields_of(inputs: Inputs, example: Mapping[str, Any]) -> dict[str, Field]:
    """The fields of the data, those that are trained on in windows of the shape that they have in a batch.

    A target that only the test split has is whole.
    """
    fields = inputs.fields
    for name, field in fields.items():
        if field.kind == "image" and not field.is_ragged and name in example and name not in inputs.lacking:
            fields[name] = dataclasses.replace(field, shape=tuple(example[name].shape[1:]))
    return fields


def test_example(inputs: Inputs) -> dict[str, Any]:
    """Shapes of an example of the test split, its smallest, as players see it; with the main input of a batch."""
    (raw,) = run_batches.evaluation_batches(
        inputs.test, [smallest(inputs.test)], 1, noise="test" if inputs.degradation.is_random else ""
    )
    seen = jax.eval_shape(functools.partial(as_players_see, inputs.config), raw)
    return {MAIN: seen[inputs.test.inputs[0]], **seen}


def default(name: str, given: Any, output: Any, fields: Mapping[str, Field]) -> tuple[Evaluator, ...]:
    """The evaluator of a player whose config names none: by its name, inputs and output."""
    if name.startswith(NOT_MEASURED):
        return ()
    fitting = evaluators.fitting(given, output, fields)
    if fitting is None:
        return ()
    evaluator = _built(fitting, "{}")
    unfit = name.startswith(IF_IT_FITS) and evaluator.fits(output, fields) is not None
    return () if unfit else (evaluator,)


def of_record(player: str, spec: Any, record: Mapping[str, Any]) -> tuple[Evaluator, ...]:
    """What a player of players.json is, or would be, judged by."""
    return _named(player, spec) or tuple(_built(name, "{}") for name in record["evaluators"])


def _named(player: str, spec: Any) -> tuple[Evaluator, ...] | None:
    """Those that a config names: one, or several; each its name, or a mapping of it and its arguments."""
    if spec is None:
        return None
    several = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else (spec,)
    where = f"config.players.{player}.evaluate"
    built = []
    for one in several:
        fields = {"name": one} if isinstance(one, str) else dict(one) if isinstance(one, Mapping) else {}
        if not isinstance(fields.get("name"), str):
            raise ConfigError(f"{where} = {spec!r}: a name, dict(name=..., arguments), or several of them are accepted")
        if fields["name"] == NOTHING:
            if len(several) > 1:
                raise ConfigError(f"{where} = {spec!r}: {NOTHING!r} stands alone")
            return ()
        try:
            built.append(_built(fields.pop("name"), json.dumps(fields, sort_keys=True)))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{where} = {spec!r}: {error}; or {NOTHING!r}") from error
    return tuple(built)


@functools.lru_cache(maxsize=128)  # one of each, so that players that are judged alike share compiled programs
def _built(name: str, arguments: str) -> Evaluator:
    return evaluators.build(name, **json.loads(arguments))


def _check(
    evaluator: Evaluator, player: str, inspection: Inspection, module: nn.Module, inputs: Inputs, compute_dtype: Any,
    given: Sequence[str], fields: Mapping[str, Field],
) -> None:  # fmt: skip
    output = inspection.outputs[player]
    images = {name: field for name, field in inputs.test.fields.items() if field.kind == "image"}
    # Whether whole images have another size than what is trained on.
    other = any(field.is_ragged or field.shape != fields[name].shape for name, field in images.items())
    if evaluator.sums is None or not other:
        _check_fits(evaluator, player, output, fields, inputs)
    if evaluator.sums is None:
        return
    split = variables_of(module, inspection.inputs[player])
    trained_on = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), output)
    totals = make_totals(module, (evaluator,), inputs.config, compute_dtype, given, keep=True)
    noise = "test" if inputs.degradation.is_random else ""
    for dataset, row in _tried(inputs):
        (raw,) = run_batches.evaluation_batches(dataset, [row], 1, noise=noise)
        try:
            one = trained_on
            if other:
                apply = make_apply(module, compute_dtype, given)
                seen = jax.eval_shape(functools.partial(as_players_see, inputs.config), raw)
                one = jax.eval_shape(apply, split, seen)
                _check_fits(evaluator, player, one, whole_fields(dataset, row), inputs)
            sums, _ = jax.eval_shape(totals, split, raw, jax.eval_shape(lambda: jax.random.key(0)), one, {})
        except ConfigError:
            raise
        except Exception as error:  # whatever a function of the user's own raises
            shapes = ", ".join(
                f"{name} {list(np.shape(value)[1:])}" for name, value in raw.items() if name in inputs.test.fields
            )
            called = f" ({dataset.called(row)})" if _is_ragged(dataset) else ""
            made = jax.tree.map(lambda leaf: list(leaf.shape[1:]), output)
            said = str(error).splitlines()[0] if str(error) else ""
            raise ConfigError(
                f"config.players.{player}.evaluate = {evaluator.name!r}: it cannot judge an output of {made} an example on"
                f" data of {shapes}{called}: {type(error).__name__}: {said}"
            ) from error
    _check_summary(f"config.players.{player}.evaluate", evaluator, sums[evaluator.name])


def _check_fits(evaluator: Evaluator, player: str, output: Any, fields: Mapping[str, Field], inputs: Inputs) -> None:
    reason = evaluator.fits(output, fields)
    if reason is not None:
        said = reason.replace("{player}", f"players.{player}")
        hint = f"; {run_inputs.no_labels(inputs)}" if not inputs.has_labels and "label" in reason else ""
        raise ConfigError(
            f"config.players.{player} is judged as {evaluator.name!r}: {said}{hint}; or set players.{player}.evaluate to"
            f" {NOTHING!r}"
        )


def _tried(inputs: Inputs) -> list[tuple[Dataset, int]]:
    """What a player is tried on: the smallest image of the test split, and where they differ in size of validation."""
    tried = [(inputs.test, smallest(inputs.test))]
    validation = np.unique(np.concatenate([partition.validation for partition in inputs.partitions.values()]))
    if len(validation) and _is_ragged(inputs.train) and inputs.train.fields.keys() >= inputs.test.fields.keys():
        tried.append((inputs.train, smallest(inputs.train, validation)))
    return tried


def _is_ragged(dataset: Dataset) -> bool:
    return dataset.image_field is not None and dataset.fields[dataset.image_field].is_ragged


def smallest(dataset: Dataset, rows: np.ndarray | None = None) -> int:
    """The row, of some or all, of the smallest image, which asks most of what it is measured by; the first of one size."""
    rows = np.arange(len(dataset)) if rows is None else rows
    name = dataset.image_field
    if name is None or not _is_ragged(dataset):
        return int(rows[0])
    return int(min(rows, key=lambda row: min(dataset.arrays[name][row].shape[:2])))


def whole_fields(dataset: Dataset, row: int | None = None) -> dict[str, Field]:
    """The fields of a data set, images of several sizes in the sides of one of them, by default the smallest."""
    row = smallest(dataset) if row is None else row
    return {
        name: dataclasses.replace(field, shape=dataset.arrays[name][row].shape) if field.is_ragged else field
        for name, field in dataset.fields.items()
    }


def _check_summary(where: str, evaluator: Evaluator, sums: Any) -> None:
    """Try `summarise` on sums of ones: it gives measures that are named, the first among them."""
    assert evaluator.summarise is not None
    try:
        check_measures(evaluator, evaluator.summarise(jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), sums)))
    except (ValueError, TypeError, KeyError, NameError, AttributeError, IndexError) as error:
        said = " ".join(str(error).split())
        name = "" if isinstance(error, ValueError) else f"summarise: {type(error).__name__}: "
        raise ConfigError(f"{where} = {evaluator.name!r}: {name}{said}") from error


def _check_measures(chosen: Mapping[str, Sequence[Evaluator]]) -> None:
    """A measure's name means one thing in a run: of a player it is given once, of several players in the same words."""
    known: dict[str, tuple[dict[str, Any], str, str]] = {}
    for player, several in chosen.items():
        for evaluator in several:
            for measure in evaluator.measures:
                record, other, whose = known.get(measure.name, (measure.record, "", ""))
                if not other or (other == evaluator.name and whose != player):
                    known[measure.name] = measure.record, evaluator.name, player
                elif whose == player or record != measure.record:
                    raise ConfigError(
                        f"config.players.{player}.evaluate: the measure {measure.name!r} of {evaluator.name!r} is one of"
                        f" {other!r}, too{'' if whose == player else f' (of {whose})'}; each needs a name of its own"
                    )
