"""Stages without data (`config.stages.x.data = None`): what of a config they leave out, and what is refused of it.

Such a stage opens no training split, takes no validation, selects nothing and stops by its steps; each step is given the
batch {"place": int32 [b]}, the numbers 0 to b − 1. It is measured on the test split of the run's data. `data = None` is
short for `data = {"train": None}`, beside which fields that a measurement needs may stand: another `name`, another `test`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdgan.run.schema import Arm, Data
from kdgan.run.values import ConfigError, mapping_of

PLACE = "place"  # the one field of a batch without data
# Fields of data that speak of training examples alone.
OF_TRAINING = (
    "labelled", "validation", "unlabelled_batch_size", "augment", "noises",
    "classes", "exemplars", "exemplars_of", "exemplar_repeats",
)  # fmt: skip
# Fields of an arm that do, and what is accepted in their place.
OF_EXAMPLES = {"augment": "{}", "views": "None", "cached": "()"}


def written_out(data: Any, path: str) -> Mapping[str, Any]:
    """The `data` of a stage as a mapping: None as {"train": None}."""
    return {"train": None} if data is None else mapping_of(data, path)


def fields(of_run: Mapping[str, Any], own: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The run's data with the fields in which a stage differs, as a config has them, and without those that say nothing.

    Args:
      of_run: `config.data`.
      own: what the stage says of it.
      path: of `own` in the config.

    Raises:
      ConfigError: there is no training split, and a field that speaks of its examples is set.
    """
    merged = {**of_run, **own}
    if merged.get("train", "") is not None:
        return merged
    defaults = {name: getattr(Data(), name) for name in OF_TRAINING}
    if wrong := next((name for name in OF_TRAINING if name in own and _tuple(own[name]) != defaults[name]), None):
        raise ConfigError(
            f"config.{path}.{wrong} = {own[wrong]!r}: it is of training examples, and there are none (train = None); leave"
            " it out"
        )
    return {**merged, **defaults}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # as a config from JSON has it


def without_training(data: Data) -> Data:
    """The same data, of which the test split alone is read."""
    return dataclasses.replace(data, train=None, **{name: getattr(Data(), name) for name in OF_TRAINING})


def check(arm: Arm, path: str) -> None:
    """Refuse fields of an arm that speak of examples.

    Raises:
      ConfigError: one is set.
    """
    for name, accepted in OF_EXAMPLES.items():
        if value := getattr(arm, name):
            shown = dict(value) if isinstance(value, Mapping) else value
            raise ConfigError(
                f"config.{path}.{name} = {shown!r}: it is of the data's examples, and the stage has none (data = None);"
                f" {accepted} is accepted"
            )
