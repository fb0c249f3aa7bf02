"""Drawing images from a trained player that makes them of noise: what `--mode=sample` and a notebook share.

from kdgan.run import sampling

draw = sampling.load("runs/mnist_gan_distill", player="student", arm="adversarial")
images = draw(jax.random.key(0), 64)                                    # uint8 [64, 28, 28, 1]
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.evaluators.drawing import Maker, maker
from kdgan.export import Artefact
from kdgan.run import build, exportables, trained
from kdgan.run.config import ConfigError
from kdgan.run.trained import Wanted

WANTED = Wanted("player that makes images", trained.makes_images, one_arm=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """`draw(key, count, label=None) -> uint8 [count, h, w, c]` of a player that makes images of noise.

    Attributes:
      about: which player of the run it is: its stage, arm, seed and step.
    """

    about: str
    _images: Maker = dataclasses.field(repr=False)
    _trained: trained.Trained = dataclasses.field(repr=False)
    _parameters: str = dataclasses.field(repr=False)

    def __call__(self, key: jax.Array, count: int, label: Any = None) -> np.ndarray:
        """Images [count, h, w, c] as bytes.

        Raises:
          ConfigError: a label of a player that has no classes.
        """
        if label is not None and not self._images.classes:
            raise ConfigError(f"label = {label}: {self._trained.name} is not conditioned on classes")
        labels = None if label is None else jnp.broadcast_to(jnp.asarray(label, jnp.int32), (count,))
        noise = jax.random.normal(key, (count, self._images.latent))
        return self._images.draw(self._trained.variables, noise, labels)

    def export(
        self, path: str | pathlib.Path, *, formats: Sequence[str] | None = None, quantise: str | None = None,
        calibration: Any = None, batch: int | None = None, normalise: bool = True,
    ) -> tuple[Artefact, ...]:  # fmt: skip
        """Write it as files of other programs, noise [n, d] (and label [n]) -> images [n, h, w, c] in [0, 1].

        Args and errors: as `kdgan.run.prediction.Predictor.export`; it is quantised by draws of noise by default.
        """
        return exportables.write(
            self._trained, path, parameters=self._parameters, formats=formats, quantise=quantise, calibration=calibration,
            batch=batch, normalise=normalise,
        )  # fmt: skip


def load(
    workdir: str | pathlib.Path, *, player: str | None = None, stage: str | None = None, arm: str | None = None,
    member: int | None = None, average: bool = True,
) -> Draw:  # fmt: skip
    """`draw(key, count, label=None)` of a player that a run trained: uint8 images [count, h, w, c].

    Args:
      workdir: of a run that has a checkpoint of that stage.
      player: one that makes images of noise; the one that the stage trains by default, `student` before others.
      stage: the last one that trains the player by default.
      arm: the stage's last one by default.
      member: seed of the run; its first by default.
      average: take the moving average of its parameters where there is one.

    Raises:
      ConfigError: no run or no checkpoint there, or no such player, stage, arm or seed; what there is, is named.
    """
    own = trained.find(workdir, WANTED, player=player, stage=stage, arm=arm, member=member, average=average)
    data = own.config
    images = maker(
        own.module, own.record["draws"], num_classes=own.data["num_classes"], mean=data.mean, std=data.std,
        compute_dtype=build.COMPUTE[own.run.parallel.compute],
    )  # fmt: skip

    return Draw(f"{own.name}: {own.where}", images, own, exportables.kept(own, average=average))
