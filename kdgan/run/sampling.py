"""Drawing images from a trained player that makes them of noise: what `--mode=sample` and a notebook share.

from kdgan.run import sampling

draw = sampling.load("runs/mnist_gan_distill", player="student", arm="fused")
images = draw(jax.random.key(0), 64)                                    # uint8 [64, 28, 28, 1]
"""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.evaluators.drawing import maker
from kdgan.run import build, trained
from kdgan.run.config import ConfigError
from kdgan.run.trained import Wanted

Draw = Callable[..., np.ndarray]  # draw(key, count, label=None) -> uint8 [count, h, w, c]
WANTED = Wanted("player that makes images", trained.makes_images, one_arm=False)


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
    data = own.run.data
    images = maker(
        own.module, own.record["draws"], num_classes=own.data["num_classes"], mean=data.mean, std=data.std,
        compute_dtype=build.COMPUTE[own.run.parallel.compute],
    )  # fmt: skip

    def draw(key: jax.Array, count: int, label: Any = None) -> np.ndarray:
        if label is not None and not images.classes:
            raise ConfigError(f"label = {label}: {own.name} is not conditioned on classes")
        labels = None if label is None else jnp.broadcast_to(jnp.asarray(label, jnp.int32), (count,))
        return images.draw(own.variables, jax.random.normal(key, (count, images.latent)), labels)

    return draw
