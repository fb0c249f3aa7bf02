"""A trained player of a workdir as `kdgan.export` takes it, and the training examples by which it is quantised."""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import kdgan
from kdgan.data import degrade
from kdgan.data.fields import IMAGE, Field
from kdgan.export import Artefact, artefacts, int8
from kdgan.export.exportable import Exportable
from kdgan.run import evaluators, stage_data, trained
from kdgan.run.config import ConfigError, plain
from kdgan.run.inputs import HANDED_OVER, Inputs
from kdgan.run.totals import rounded
from kdgan.run.trained import Trained

LAST, BEST, AVERAGE = "last step", "best by validation", "moving average"  # which parameters are taken
NOISES = 256  # draws by which what makes images of noise is quantised, and compared


def of(own: Trained, *, parameters: str = LAST) -> Exportable:
    """A trained player with all that a file of it says; one that learned while it was quantised in float.

    Args:
      own: the player.
      parameters: which of them these are, in words.
    """
    drawn = own.record.get("draws")
    about = {
        "data": own.config.name, "stage": own.stage.name, "arm": own.arm.name, "seed": str(own.seed),
        "step": str(own.step), "parameters": parameters, "kdgan": kdgan.__version__,
    }  # fmt: skip
    if own.config.degrade:
        about["degrade"] = json.dumps(plain(own.config.degrade))
    return Exportable(
        name=own.name,
        module=own.unrounded,
        variables=own.variables,
        inputs=own.inputs if drawn is None else noise_fields(drawn, own.data),
        output="images" if drawn is not None else gives(own),
        mean=own.config.mean,
        std=own.config.std,
        class_names=tuple(own.data["class_names"]),
        about=about,
        method=None if drawn is None else drawn.get("method"),
    )


def write(
    own: Trained, path: str | pathlib.Path, *, parameters: str = LAST, formats: Sequence[str] | None = None,
    quantise: str | None = None, calibration: Any = None, batch: int | None = None, normalise: bool = True,
) -> tuple[Artefact, ...]:  # fmt: skip
    """`kdgan.export.write` of a trained player, quantised by its run's training examples where none are given.

    Raises:
      ConfigError: as `kdgan.export.write`; or the data cannot be loaded.
    """
    try:
        exportable = of(own, parameters=parameters)
        artefacts.check(artefacts.where(path, formats)[1], quantise=quantise, batch=batch)
        if quantise is not None and calibration is None:
            calibration = training_examples(own, exportable)
        return artefacts.write(
            exportable, path, formats=formats, quantise=quantise, calibration=calibration, batch=batch,
            normalise=normalise,
        )  # fmt: skip
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(str(error)) from error


def kept(own: Trained, *, average: bool, best: bool = False) -> str:
    """Which of its parameters were taken, in words."""
    if best:
        return BEST
    return AVERAGE if average and own.player.ema is not None else LAST


def noise_fields(drawn: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Field]:
    """What a player is given that makes images of noise, of which `Evaluator.draws` said so."""
    fields = {"noise": Field("vector", (int(drawn["latent"]),))}
    if drawn["conditional"]:
        names = tuple(data["class_names"])
        fields["label"] = Field("class", (), None, names, int(data["num_classes"]))
    return fields


def gives(own: Trained) -> str:
    """What a file gives of a player's output: what the first of its evaluators says that says more than "values".

    Of a player that nothing judges it is what players.json says.
    """
    several = evaluators.of_record(own.name, own.player.evaluate, own.record)
    return next((one.gives for one in several if one.gives != "values"), own.record.get("gives", "values"))


def noise(exportable: Exportable, *, seed: int = 0, latent: int | None = None) -> dict[str, np.ndarray]:
    """Draws [n, d] of standard normal noise, of the player's dimension or another, and classes in turn."""
    size = latent or int(exportable.inputs["noise"].shape[0] or 0)
    drawn = np.random.default_rng(seed).standard_normal((NOISES, size)).astype(np.float32)
    label = exportable.inputs.get("label")
    return {"noise": drawn, **({} if label is None else {"label": in_turn(label)})}


def in_turn(label: Field) -> np.ndarray:
    """Classes [n], each in turn."""
    return (np.arange(NOISES) % label.size).astype(np.int32)


def training_examples(
    own: Trained, exportable: Exportable, load: Callable[[], Inputs] | None = None
) -> dict[str, np.ndarray]:
    """Examples that ranges of activations are taken from: of the training split of its seed, or noise; never of test.

    Args:
      own: the player.
      exportable: the same.
      load: gives the data of its stage; by default they are loaded as the run's config says.

    Raises:
      ConfigError: the data cannot be loaded, or were handed over in Python.
    """
    if exportable.makes_images_of_noise:
        return noise(exportable, seed=1)
    if load is None:
        if own.config.name.startswith(HANDED_OVER):
            raise ConfigError(
                f"config.data.name = {own.config.name!r}: the data of this run were handed over in Python; give"
                " calibration=images, some of its training images"
            )
        load = functools.partial(_load, own)
    inputs = load()
    if not inputs.has_training:
        raise ConfigError(
            f"config.stages.{own.stage.name}.data = None: int8 is calibrated on training images, and the stage that trained"
            f" {own.name} has none; export it from Python with calibration=images"
        )
    rows = inputs.partitions[own.seed].train
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), int8.MOST)).astype(np.int64))]
    examples = dict(inputs.train.examples(some, list(exportable.inputs)))
    if inputs.degradation.is_random and IMAGE in examples:
        examples = rounded(inputs.config, {**examples, "drawn": {"words": degrade.fixed("train", some)[:, None]}})
    return examples


def _load(own: Trained) -> Inputs:
    return stage_data.load(own.run).of(own.stage.name)


WANTED = trained.Wanted("player that is judged", lambda about: bool(about["evaluators"]), one_arm=True)
