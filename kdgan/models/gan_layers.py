"""Pieces that the families of generators and discriminators share: widths, spectral norm, projection, checks."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from kdgan.models.spectral import SpectralNorm


def scaled(channels: int, width: float) -> int:
    """`channels` of a network `width` times as wide: rounded, and at least 1."""
    return max(1, round(channels * width))


def check_width(model: Any) -> None:
    """Refuse a `width` that is no positive factor.

    Raises:
      ValueError: names the module, the value and what is accepted.
    """
    if not model.width > 0:
        raise ValueError(f"{type(model).__name__}.width = {model.width!r}; it accepts a factor above 0, e.g. 0.25")


def check_classes(model: Any) -> None:
    """Refuse a negative number of `classes`.

    Raises:
      ValueError: names the module, the value and what is accepted.
    """
    if model.classes < 0:
        raise ValueError(
            f"{type(model).__name__}.classes = {model.classes}; it accepts 0 (no label) or a number of classes"
        )


def check_image_size(model: Any, *, multiple: int, smallest: int | None = None) -> None:
    """Refuse an `image_size` that doubling a whole number of pixels does not reach.

    Raises:
      ValueError: names the module, the value and the nearest sizes that are accepted.
    """
    size, smallest = model.image_size, smallest or multiple
    if size < smallest or size % multiple:
        below, above = size // multiple * multiple, (size // multiple + 1) * multiple
        nearest = f"{below} or {above}" if below >= smallest else str(max(above, smallest))
        raise ValueError(
            f"{type(model).__name__}.image_size = {size}; it accepts a multiple of {multiple} from {smallest} on;"
            f" the nearest is {nearest}"
        )


def check_noise(model: nn.Module, noise: Any) -> None:
    """Refuse, while tracing, noise that is not [b, d].

    Raises:
      ValueError: names the module, the shape and what is accepted.
    """
    if noise.ndim != 2 or noise.shape[1] < 1:
        raise ValueError(
            f"{type(model).__name__} got noise of shape {noise.shape}; it accepts [b, d] with d at least 1"
        )


def check_label(model: Any, label: Any, batch: Any) -> None:
    """Refuse, while tracing, a label where the model has no classes, and none or an odd one where it has.

    `batch` is a symbol while a program for any number of examples is exported.

    Raises:
      ValueError: names the module, its `classes`, what it got and what is accepted.
    """
    name = f"{type(model).__name__} with classes={model.classes}"
    if not model.classes:
        if label is not None:
            raise ValueError(f"{name} got a label of shape {jnp.shape(label)}; it accepts none (set classes to use it)")
    elif label is None:
        raise ValueError(f"{name} got no label; it accepts whole numbers [b] below {model.classes}")
    elif label.shape != (batch,) or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(
            f"{name} got a label of shape {label.shape} and type {label.dtype} for a batch of {batch};"
            f" it accepts whole numbers [b] below {model.classes}"
        )


def apply_layer(layer: nn.Module, x: Array, *, spectral_norm: bool, train: bool) -> Array:
    """`layer(x)`, spectrally normalised if asked for; the parameters' paths are the same either way.

    Called by a compact method, which owns the layer and its normalisation `{name}_norm`.
    """
    if not spectral_norm:
        return layer(x)
    return SpectralNorm(layer, name=f"{layer.name}_norm")(x, train=train)


def projection_score(
    model: Any,
    embedding: Float[Array, "b d"],
    label: Int[Array, " b"] | None,
    *,
    spectral_norm: bool,
    train: bool,
) -> Float[Array, " b"]:
    """The score of a discriminator: a dense layer, plus ⟨embedding, v_label⟩ where the model has classes.

    Miyato & Koyama 2018, "cGANs with projection discriminator", equation 3: the label's part of the log-density ratio
    is linear in the embedding. Called by a compact method, whose submodules `head` and `projection` it makes.
    """
    kwargs = {"spectral_norm": spectral_norm, "train": train}
    score = apply_layer(nn.Dense(1, name="head"), embedding, **kwargs)[:, 0]
    if label is None:
        return score
    vectors = nn.Embed(model.classes, embedding.shape[-1], name="projection", dtype=embedding.dtype)
    return score + jnp.sum(embedding * apply_layer(vectors, label, **kwargs), axis=-1)
