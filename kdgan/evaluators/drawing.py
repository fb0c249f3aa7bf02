"""Drawing images from a player that makes them of noise, and the noise that all of a run's players share."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan import parallel
from kdgan.evaluators.evaluator import Judged, Setting
from kdgan.game import call_module, cast_floats
from kdgan.losses.latents import project

BATCH = 250  # images of one call: a last, smaller batch is filled up, so that one program serves


@dataclasses.dataclass(frozen=True)
class Maker:
    """How images are drawn from a player: everything but its parameters.

    Attributes:
      module: Flax module.
      latent: dimension of its noise; 0: it is given whole numbers [b], places, in its place.
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

    def draw(self, variables: Any, noise: Any, label: Any = None) -> np.ndarray:
        """uint8 images [n, h, w, c] of noise [n, d], where d is at least `latent` (then its projection is taken)."""
        noise = project(jnp.asarray(noise), self.latent) if self.latent else jnp.asarray(noise)
        label = balanced_labels(len(noise), self.classes) if label is None and self.classes else label
        forward, made = _forward(self), []
        for rows in batches(len(noise)):
            made.append(np.asarray(forward(variables, noise[rows], None if label is None else label[rows])))
        return np.concatenate(made)[: len(noise)]


def batches(count: int) -> Iterator[np.ndarray]:
    """The rows of each call, as many in all; those beyond the last one stand for it."""
    for start in range(0, count, BATCH):
        yield np.minimum(np.arange(start, start + min(BATCH, count)), count - 1)


def maker(
    module: nn.Module, drawn: Mapping[str, Any], *, num_classes: int, mean: Any, std: Any, compute_dtype: Any = None
) -> Maker:
    """How images are drawn from a player of which `Evaluator.draws` said so."""
    as_tuple = lambda value: tuple(value) if isinstance(value, list | tuple) else value
    return Maker(
        module=module,
        latent=drawn["latent"],
        classes=num_classes if drawn["conditional"] else 0,
        method=drawn.get("method"),
        mean=as_tuple(mean),
        std=as_tuple(std),
        compute_dtype=compute_dtype,
    )


def maker_of(setting: Setting, judged: Judged, drawn: Mapping[str, Any]) -> Maker:
    """The same of a player that is judged."""
    label = setting.fields.get("label")
    return maker(
        judged.module,
        drawn,
        num_classes=0 if label is None else label.size,
        mean=setting.mean,
        std=setting.std,
        compute_dtype=setting.compute_dtype,
    )


def noise(setting: Setting, seed: int, count: int) -> jax.Array:
    """The noise [count, d] that every player of a run is given; those of a smaller latent project it."""
    return jax.random.normal(jax.random.key(seed), (count, setting.latent))


def balanced_labels(count: int, classes: int) -> jax.Array:
    """0, 1, ..., k−1, 0, 1, ... [count]."""
    return jnp.arange(count) % classes


def images(maker: Maker, variables: Any, noise: jax.Array, label: Any) -> jax.Array:
    """Images as players see them, float32 [n, h, w, c], neither cut off nor rounded; pure."""
    params = variables["params"]
    if maker.compute_dtype is not None:
        params, noise = cast_floats(params, maker.compute_dtype), cast_floats(noise, maker.compute_dtype)
    given = (noise,) if label is None else (noise, label)
    image, _, _ = call_module(
        maker.module, {"params": params, **variables.get("model_state", {})}, *given, train=False, method=maker.method
    )
    return image.astype(jnp.float32)


@functools.lru_cache(maxsize=32)
def _forward(maker: Maker):
    def forward(variables, noise, label):
        image = images(maker, variables, noise, label)
        mean, std = (jnp.asarray(value, jnp.float32) for value in (maker.mean, maker.std))
        unit = image * jnp.broadcast_to(std, image.shape) + jnp.broadcast_to(mean, image.shape)
        return jnp.round(255 * jnp.clip(unit, 0, 1)).astype(jnp.uint8)

    return parallel.compiled(forward)
