"""A trained classifier as a function of images, with the data's normalisation in it.

from kdgan import run

predict = run.load("runs/quickstart", player="student", arm="kd")
logits = predict(images)                                                    # [n, k] of uint8 images [n, h, w, c]
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kdgan.data.dataset import looks_channels_first
from kdgan.run import build, trained
from kdgan.run.config import ConfigError
from kdgan.run.program import Variables
from kdgan.run.totals import make_forward
from kdgan.run.trained import Wanted

WANTED = Wanted("player that predicts", trained.predicts, one_arm=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """`predict(images) -> logits` of a trained classifier; softmax of them gives probabilities.

    Attributes:
      class_names: a name for each logit.
      image_shape: (h, w, c) of the images that it takes.
      about: which player of the run it is: its stage, arm, seed and step.
      batch_size: images in one call of the compiled program; the last batch is padded.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    about: str
    batch_size: int
    _forward: Callable[[Variables, Any], jax.Array] = dataclasses.field(repr=False)
    _variables: Variables = dataclasses.field(repr=False)

    def __call__(self, images: Any) -> np.ndarray:
        """Logits float32 [n, k].

        Args:
          images: [n, h, w, c], uint8, or floating point in [0, 1]; any n. One image [h, w, c] gives logits [k].

        Raises:
          ValueError: images of another shape or type, or floating-point values outside [0, 1].
        """
        images = self._checked(images)
        if images.ndim == 3:
            return self(images[None])[0]
        logits = [np.zeros((0, len(self.class_names)), np.float32)]
        for start in range(0, len(images), self.batch_size):
            chunk = images[start : start + self.batch_size]
            padding = [(0, self.batch_size - len(chunk)), *[(0, 0)] * 3]
            logits.append(np.asarray(self._forward(self._variables, {"image": np.pad(chunk, padding)}))[: len(chunk)])
        return np.concatenate(logits)

    def _checked(self, images: Any) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim not in (3, 4) or images.shape[-3:] != self.image_shape:
            hint = _cure(images.shape, self.image_shape)
            raise ValueError(
                f"images have shape {list(images.shape)}; the player was trained on images [n, h, w, c] of"
                f" {list(self.image_shape)}{hint}"
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


def _cure(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> str:
    """What makes images of `shape` into the [h, w, c] that are wanted, where it can be told."""
    height, width, channels = wanted
    if shape[-3:] == (channels, height, width) or (len(shape) == 4 and looks_channels_first(shape)):
        order = "0, 2, 3, 1" if len(shape) == 4 else "1, 2, 0"
        return f"; channels last are wanted, images.transpose({order})"
    return "; add the channel, images[..., None]" if len(shape) < 4 and (*shape[-2:], 1) == wanted else ""


def load(
    workdir: str | pathlib.Path, *, player: str | None = None, stage: str | None = None, arm: str | None = None,
    member: int | None = None, average: bool = True, best: bool = False, batch_size: int = 64,
) -> Predictor:  # fmt: skip
    """`predict(images) -> logits` of a classifier that a run trained. The data set is not needed.

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

    Raises:
      ConfigError: no run or no checkpoint there, or no such player, stage, arm or seed; what there is, is named.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size}: must be at least 1")
    own = trained.find(workdir, WANTED, player=player, stage=stage, arm=arm, member=member, average=average, best=best)
    height, width, channels = own.data["image_shape"]
    return Predictor(
        class_names=tuple(own.data["class_names"]),
        image_shape=(height, width, channels),
        about=f"{own.name}: {own.where}",
        batch_size=batch_size,
        _forward=make_forward(own.module, own.run.data, build.COMPUTE[own.run.parallel.compute]),
        _variables=jax.device_put(own.variables),
    )
