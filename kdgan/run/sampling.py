"""Drawing images from a trained generator: what `--mode=sample`, the evaluation and a notebook share.

from kdgan.run import sampling

draw = sampling.load("runs/mnist_gan_distill", player="student", arm="fused")
images = draw(jax.random.key(0), 64)                                    # uint8 [64, 28, 28, 1]
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan import parallel
from kdgan.game import call_module, cast_floats
from kdgan.losses.latents import project
from kdgan.run import build, trained
from kdgan.run.config import ConfigError
from kdgan.run.program import Program, Variables
from kdgan.run.schema import Data

BATCH = 250  # images of one call: a last, smaller batch is filled up, so that one program serves


@dataclasses.dataclass(frozen=True)
class Generator:
    """How images are drawn from a player: everything but its parameters.

    Attributes:
      module: Flax module.
      latent: dimension of its noise.
      classes: number of classes it is conditioned on; 0: none.
      method: the module's function that makes an image of noise, where that is not its call.
      mean, std: of the data's pixels: an image of the player becomes image·std + mean, in [0, 1].
      compute_dtype: None for float32.
    """

    module: nn.Module
    latent: int
    classes: int
    method: str | None
    mean: Any
    std: Any
    compute_dtype: Any = None

    def draw(self, variables: Variables, noise: Any, label: Any = None) -> np.ndarray:
        """uint8 images [n, h, w, c] of noise [n, d], where d is at least `latent` (then its projection is taken)."""
        noise = project(jnp.asarray(noise), self.latent)
        label = balanced_labels(len(noise), self.classes) if label is None and self.classes else label
        forward, made = _forward(self), []
        for start in range(0, len(noise), BATCH):
            rows = np.minimum(np.arange(start, start + min(BATCH, len(noise))), len(noise) - 1)
            made.append(np.asarray(forward(variables, noise[rows], None if label is None else label[rows])))
        return np.concatenate(made)[: len(noise)]


def balanced_labels(count: int, classes: int) -> jax.Array:
    """0, 1, ..., k−1, 0, 1, ... [count]."""
    return jnp.arange(count) % classes


@functools.lru_cache(maxsize=32)
def _forward(generator: Generator):
    def forward(variables, noise, label):
        params = variables["params"]
        if generator.compute_dtype is not None:
            params, noise = cast_floats(params, generator.compute_dtype), noise.astype(generator.compute_dtype)
        given = (noise,) if label is None else (noise, label)
        image, _, _ = call_module(
            generator.module, {"params": params, **variables.get("model_state", {})}, *given, train=False,
            method=generator.method,
        )  # fmt: skip
        mean, std = (jnp.asarray(value, jnp.float32) for value in (generator.mean, generator.std))
        unit = image.astype(jnp.float32) * jnp.broadcast_to(std, image.shape) + jnp.broadcast_to(mean, image.shape)
        return jnp.round(255 * jnp.clip(unit, 0, 1)).astype(jnp.uint8)

    return parallel.compiled(forward)


def generator_of(program: Program, player: str, data: Data, num_classes: int, compute_dtype: Any = None) -> Generator:
    """How images are drawn from a player of a program."""
    about = {"kind": program.kinds[player], **trained.noise_of(program, player)}
    return _generator(program.local_modules[player], about, data, num_classes, compute_dtype)


def _generator(
    module: nn.Module, about: Mapping[str, Any], data: Data, num_classes: int, compute_dtype: Any
) -> Generator:
    as_tuple = lambda value: tuple(value) if isinstance(value, list | tuple) else value
    return Generator(
        module=module,
        latent=about["latent"],
        classes=num_classes if about["conditional"] else 0,
        method="generate" if about["kind"] == "autoencoder" else None,
        mean=as_tuple(data.mean),
        std=as_tuple(data.std),
        compute_dtype=compute_dtype,
    )


Draw = Callable[..., np.ndarray]  # draw(key, count, label=None) -> uint8 [count, h, w, c]


def load(
    workdir: str | pathlib.Path, *, player: str | None = None, stage: str | None = None, arm: str | None = None,
    member: int | None = None, average: bool = True,
) -> Draw:  # fmt: skip
    """`draw(key, count, label=None)` of a generator that a run trained: uint8 images [count, h, w, c].

    Args:
      workdir: of a run that has a checkpoint of that stage.
      player: a generator or autoencoder; the one that the stage trains by default, `student` before others.
      stage: the last one that trains the player by default.
      arm: the stage's last one by default.
      member: seed of the run; its first by default.
      average: take the moving average of its parameters where there is one.

    Raises:
      ConfigError: no run or no checkpoint there, or no such player, stage, arm or seed; what there is, is named.
    """
    own = trained.find(
        workdir, ("generator", "autoencoder"), player=player, stage=stage, arm=arm, member=member, average=average
    )
    compute = build.COMPUTE[own.run.parallel.compute]
    generator = _generator(own.module, own.record, own.run.data, own.data["num_classes"], compute)

    def draw(key: jax.Array, count: int, label: Any = None) -> np.ndarray:
        if label is not None and not generator.classes:
            raise ConfigError(f"label = {label}: {own.name} is not conditioned on classes")
        labels = None if label is None else jnp.broadcast_to(jnp.asarray(label, jnp.int32), (count,))
        return generator.draw(own.variables, jax.random.normal(key, (count, generator.latent)), labels)

    return draw
