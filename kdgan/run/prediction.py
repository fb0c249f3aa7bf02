"""A trained classifier as a function of images, or of what other fields it takes, with the data's normalisation in it.

from kdgan import run

predict = run.load("runs/quickstart", player="student", arm="kd")
logits = predict(images)                                                    # [n, k] of uint8 images [n, h, w, c]
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import parallel
from kdgan.data.batches import normalise
from kdgan.data.fields import Field
from kdgan.data.layout import looks_channels_first
from kdgan.export import Artefact
from kdgan.run import build, exportables, restoring, trained
from kdgan.run.config import ConfigError
from kdgan.run.program import Variables
from kdgan.run.restoring import Restorer
from kdgan.run.totals import make_apply
from kdgan.run.trained import Wanted

WANTED = Wanted("player that predicts", trained.predicts, one_arm=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """`predict(images) -> logits` of a trained classifier; softmax of them gives probabilities.

    A player of several fields is given them by their names: `predict(image=images, text=vectors)`, or one mapping.

    Attributes:
      class_names: a name for each logit.
      inputs: the fields that it takes, in order: name -> `kdgan.data.Field`.
      about: which player of the run it is: its stage, arm, seed and step.
      batch_size: examples in one call of the compiled program; the last batch is padded.
    """

    class_names: tuple[str, ...]
    inputs: Mapping[str, Field]
    about: str
    batch_size: int
    _forward: Callable[[Variables, Any], Any] = dataclasses.field(repr=False)
    _variables: Variables = dataclasses.field(repr=False)
    _trained: trained.Trained = dataclasses.field(repr=False)
    _parameters: str = dataclasses.field(repr=False)

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """(h, w, c) of the images that it takes; () where it takes none."""
        return next((field.shape for field in self.inputs.values() if field.kind == "image"), ())

    def __call__(self, *given: Any, **fields: Any) -> np.ndarray:
        """Logits float32 [n, k].

        Args:
          *given: of a player of one field this: images [n, h, w, c], uint8, or floating point in [0, 1]; any n. One example,
            as an image [h, w, c], gives logits [k]. Of a player of several fields a mapping of them.
          **fields: or fields by their names.

        Raises:
          ValueError: a field is missing, or unknown; it has another shape or type; floating-point images outside [0, 1];
            a token that there is not; numbers of examples that differ.
        """
        arrays = self._named(given, fields)
        checked = {name: _checked(name, field, arrays[name]) for name, field in self.inputs.items()}
        single = {name: value.ndim == len(self.inputs[name].shape) for name, value in checked.items()}
        if any(single.values()):
            checked = {name: value[None] if single[name] else value for name, value in checked.items()}
        counts = {name: len(value) for name, value in checked.items()}
        if len({*counts.values()}) > 1:
            several = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            raise ValueError(f"fields of different numbers of examples: {several}")
        count, outputs = next(iter(counts.values())), []
        for start in range(0, max(count, 1), self.batch_size):
            chunk = {
                name: _filled(value[start : start + self.batch_size], self.batch_size)
                for name, value in checked.items()
            }
            outputs.append(np.asarray(self._forward(self._variables, chunk)))
        logits = np.concatenate(outputs)[:count]
        return logits[0] if all(single.values()) else logits

    def export(
        self, path: str | pathlib.Path, *, formats: Sequence[str] | None = None, quantise: str | None = None,
        calibration: Any = None, batch: int | None = None, normalise: bool = True,
    ) -> tuple[Artefact, ...]:  # fmt: skip
        """Write it as files of other programs: `predict.export("student.onnx")`, or a folder with `formats=("onnx", ...)`.

        `kdgan.run.export.export` judges the files on the test split besides; `kdgan.export.open(path)` runs one.

        Args:
          path: a file, whose suffix says the format (.onnx, .tflite, .stablehlo, .safetensors, .msgpack, .html); or with
            `formats` a folder.
          formats: of `kdgan.export.FORMATS`.
          quantise: "int8": of ONNX and LiteRT a file of int8, too.
          calibration: examples by which it is quantised, [n, ...], of several fields by their names; by default training
            examples of its run.
          batch: examples of a call, of a LiteRT file; 1 by default.
          normalise: whether files take pixels as they are.

        Raises:
          ConfigError: what does not go together, is absent, or cannot be held by a format.
        """
        return exportables.write(
            self._trained, path, parameters=self._parameters, formats=formats, quantise=quantise, calibration=calibration,
            batch=batch, normalise=normalise,
        )  # fmt: skip

    def _named(self, given: tuple, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields by their names."""
        if len(given) == 1 and isinstance(given[0], Mapping):
            fields = {**given[0], **fields}
        elif len(given) == 1 and len(self.inputs) == 1:
            fields = {**dict(zip(self.inputs, given, strict=True)), **fields}
        elif given:
            several = ", ".join(f"{name}=..." for name in self.inputs)
            raise ValueError(f"the player takes {', '.join(self.inputs)}; give each by its name, predict({several})")
        wrong = [name for name in (*self.inputs, *fields) if (name in fields) != (name in self.inputs)]
        if wrong:
            what = "is missing" if wrong[0] in self.inputs else "is none of them"
            raise ValueError(f"the player takes {', '.join(self.inputs)}; {wrong[0]!r} {what}")
        return dict(fields)


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _checked(name: str, field: Field, given: Any) -> np.ndarray:
    array = np.asarray(given)
    if field.kind == "image":
        return _checked_images(array, field.shape)
    shape = tuple(field.shape)
    if array.ndim not in (len(shape), len(shape) + 1) or array.shape[array.ndim - len(shape) :] != shape:
        wanted = ", ".join(["n", *map(str, shape)])
        raise ValueError(f"field {name!r} has shape {list(array.shape)}; the player was trained on [{wanted}]: {field}")
    of_type = {"b": "b", "i": "iu", "f": "iuf"}[field.dtype.kind]
    if array.dtype.kind not in of_type:
        raise ValueError(f"field {name!r} is {array.dtype}; {field.dtype} is accepted")
    array = array.astype(field.dtype)
    if field.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"field {name!r} has values that are NaN or infinite")
    if field.kind in ("tokens", "class") and array.size and not 0 <= array.min() <= array.max() < field.size:
        raise ValueError(f"field {name!r} has values {array.min()}..{array.max()}; 0 to {field.size - 1} are accepted")
    return array


def _checked_images(images: np.ndarray, wanted: tuple[int | None, ...]) -> np.ndarray:
    sides = images.shape[-3:]
    fits = len(sides) == 3 and all(side in (None, given) for side, given in zip(wanted, sides, strict=True))
    if images.ndim not in (3, 4) or not fits:
        raise ValueError(
            f"images have shape {list(images.shape)}; the player was trained on images [n, h, w, c] of"
            f" {list(wanted)}{_cure(images.shape, wanted)}"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images are {images.dtype}; uint8 in 0..255, or floating point in [0, 1], is accepted")
    if images.size and not (images.min() >= 0 and images.max() <= 1):  # NaN is neither
        raise ValueError(
            f"images have values {images.min():g}..{images.max():g}; floating-point images lie in [0, 1], before the"
            " normalisation by data.mean and data.std, which predict does itself"
        )
    return images.astype(np.float32)


def _forward(own: trained.Trained) -> Callable[[Variables, Any], Any]:
    """`forward(variables, fields) -> output`, compiled: images are normalised as the data of its stage are."""
    data, inputs = own.config, own.inputs
    apply = make_apply(own.module, build.COMPUTE[own.run.parallel.compute], tuple(inputs))

    def forward(variables, fields):
        see = lambda name, value: (
            normalise(value, mean=data.mean, std=data.std) if inputs[name].kind == "image" else value
        )
        return apply(variables, {name: see(name, value) for name, value in fields.items()})

    return parallel.compiled(forward)


def _cure(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> str:
    """What makes images of `shape` into the [h, w, c] that are wanted, where it can be told."""
    height, width, channels = wanted
    if shape[-3:] == (channels, height, width) or (len(shape) == 4 and looks_channels_first(shape)):
        order = "0, 2, 3, 1" if len(shape) == 4 else "1, 2, 0"
        return f"; channels last are wanted, images.transpose({order})"
    return "; add the channel, images[..., None]" if len(shape) < 4 and (*shape[-2:], 1) == wanted else ""


def load(
    workdir: str | pathlib.Path, *, player: str | None = None, stage: str | None = None, arm: str | None = None,
    member: int | None = None, average: bool = True, best: bool = False, batch_size: int = 64,
    models: Mapping[str, Any] | None = None,
) -> Predictor | Restorer:  # fmt: skip
    """`predict(images) -> logits` of a classifier that a run trained; of a player that makes an image of an image, and is
    judged so, a `kdgan.run.restoring.Restorer`, `restore(image) -> image`. The data set is not needed.

    Of a run that is not finished the last checkpoint is taken, with a warning.

    Args:
      workdir: of a run that has a checkpoint of that stage.
      player: a classifier; by default the one that the stage trains, `student` before others.
      stage: by default the last one that trains the player.
      arm: by default the only one that trains the player in that stage.
      member: seed of the run; by default its first.
      average: take the moving average of its parameters where there is one.
      best: take the parameters that were best on the validation split, in place of the last step's.
      batch_size: images in one call of the compiled program; 1 where images come one by one.
      models: the modules that the run was handed over in Python, as `kdgan.train` was given them.

    Raises:
      ConfigError: no run or no checkpoint there, or no such player, stage, arm or seed; what there is, is named.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size}: must be at least 1")
    own = trained.find(
        workdir, WANTED, player=player, stage=stage, arm=arm, member=member, average=average, best=best, models=models
    )
    if trained.restores(own.record):
        return restoring.of(own, exportables.kept(own, average=average, best=best))
    return Predictor(
        class_names=tuple(own.data["class_names"]),
        inputs=own.inputs,
        about=f"{own.name}: {own.where}",
        batch_size=batch_size,
        _forward=_forward(own),
        _variables=jax.device_put(own.variables),
        _trained=own,
        _parameters=exportables.kept(own, average=average, best=best),
    )
