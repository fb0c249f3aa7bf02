"""Data of stages: a stage may have data of its own (`config.stages.x.data`), and is then measured on its own test split.

Stages whose data agree share what was loaded. `Inputs.of(stage)` gives a stage's. The run's training split is opened only
where a stage learns from it: stages without data (`run/no_data.py`) are given the test split alone.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdgan.data import Dataset
from kdgan.run import inputs as run_inputs
from kdgan.run import no_data
from kdgan.run.config import ConfigError, plain
from kdgan.run.inputs import Inputs
from kdgan.run.schema import Data, Run

DataSets = Mapping[str, Any]  # {"train", "test"} -> data set; name of a stage -> the same of its own data


def handed_over(config: Any, data: DataSets) -> dict[str, Any]:
    """A config as a run on these data sets records it: `data.name`s say that they were handed over in Python.

    Args:
      config: of the run.
      data: {"train": ..., "test": ...}, and under the name of a stage the same of its own data.

    Raises:
      ConfigError: not a training and a test set, or no such stage.
    """
    own = _of_stages(data) if isinstance(data, Mapping) else {}
    fields = plain(config)
    if own:
        stages = fields.get("stages", {})
        if unknown := [name for name in own if name not in stages]:
            raise ConfigError(
                f"data[{unknown[0]!r}]: 'train', 'test' and stages of the run are accepted: {', '.join(stages)}"
            )
        fields = run_inputs.handed_over(config, {split: data[split] for split in ("train", "test") if split in data})
        for name, of in own.items():
            said = no_data.written_out(stages[name].get("data", {}), f"stages.{name}.data")
            named = run_inputs.handed_over({"data": said}, of)["data"]["name"]
            fields["stages"] = {**fields["stages"], name: {**stages[name], "data": {**said, "name": named}}}
        return fields
    return run_inputs.handed_over(config, data)


def load(run: Run, data: DataSets | None = None) -> Inputs:
    """The run's data, and under `Inputs.stages` those of the stages that have their own, or none.

    Args:
      run: the run.
      data: data sets handed over, as `handed_over` takes them; None: what the config names.

    Raises:
      ConfigError: as `run/inputs.py`; the message names the stage's field.
    """
    base = None if data is None else {split: data[split] for split in ("train", "test") if split in data}
    test_alone = no_data.without_training(run.data)
    whole = run_inputs.load(run if opens_training(run) else dataclasses.replace(run, data=test_alone), base)
    known: dict[tuple[str, int], Inputs] = {(repr(whole.config), id(None)): whole}
    if whole.has_training:
        known[repr(test_alone), id(None)] = run_inputs.test_alone(run, test_alone, whole.test)
    stages: dict[str, Inputs] = {}
    given = {} if data is None else _of_stages(data)
    for stage in run.stages:
        own: Mapping[str, Dataset] | None = given.get(stage.name)
        key = repr(stage.data), id(own)
        if key not in known:
            sets = own if own is not None or not _is_handed_over(stage.data, run.data) else base
            try:
                known[key] = run_inputs.load(dataclasses.replace(run, data=stage.data), sets)
            except ConfigError as error:
                raise ConfigError(str(error).replace("config.data", f"config.stages.{stage.name}.data")) from error
        if known[key] is not whole:
            stages[stage.name] = known[key]
    return dataclasses.replace(whole, stages=stages)


def opens_training(run: Run) -> bool:
    """Whether the training split of the run's own data is read: a stage learns from it, or each stage from some data."""
    return any(stage.data == run.data for stage in run.stages) or all(
        stage.data.train is not None for stage in run.stages
    )


def _of_stages(data: DataSets) -> dict[str, Any]:
    """What of the data sets handed over is a stage's own: all but the run's training and test set."""
    return {name: of for name, of in data.items() if name not in ("train", "test")}


def _is_handed_over(own: Data, data: Data) -> bool:
    """Whether a stage sees the data sets that were handed over for the run, in another way."""
    return own.name == data.name and own.name.startswith(run_inputs.HANDED_OVER)
