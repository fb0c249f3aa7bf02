"""Attacks: images moved within an l-infinity ball so that an objective becomes large; FGSM and PGD, as pure functions.

ε and step sizes are in pixels of [0, 1], in whatever normalisation images come: what is attacked sees (pixel − mean)/std,
and the ball, its steps and the range of pixels are scaled so. A player with a normalisation of its own applies it inside,
and is attacked in the same pixels as every other.

Several fields of images may be given as one tree: each is moved within a ball of its own, by one gradient.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer

from kdgan import whole_number
from kdgan.losses.logits import at_least_float32

Images = Any  # [b, h, w, c], or a tree of such arrays
Objective = Callable[[Images], Array]  # images -> [b], what is made large
Pixels = Mapping[str, Any]  # {"mean", "std"}: an image is (pixel − mean)/std; numbers, or one for each channel

UNIT: Pixels = {"mean": 0.0, "std": 1.0}
ROOM = 2.5  # radii of the ball that the steps reach in all where no step size is given (Madry et al. 2018)


def fgsm(objective: Objective, images: Images, *, epsilon: Any, pixels: Pixels = UNIT) -> Images:
    """The fast gradient sign method (Goodfellow et al. 2015): x + ε·sign(∇ₓ objective), kept to the range of pixels.

    Args:
        objective: pure function of images of the given shapes -> [b]; each value depends on its own example.
        images: [b, h, w, c] as (pixel − mean)/std, or a tree of such.
        epsilon: ε ≥ 0 in pixels of [0, 1]: 8/255 for photographs, 0.3 for MNIST's strokes.
        pixels: {"mean", "std"} of the images.

    Returns:
        Images, through which no gradient goes. A pixel whose gradient is exactly 0 stays as it is.
    """
    return pgd(objective, images, epsilon=epsilon, steps=1, step_size=epsilon, pixels=pixels)


def pgd(
    objective: Objective, images: Images, *, epsilon: Any, steps: int, step_size: Any = None, start: Images | None = None,
    pixels: Pixels = UNIT, unroll: bool = True,
) -> Images:  # fmt: skip
    """Projected gradient descent (Madry et al. 2018, eq. 2.2): x ← Π(x + α·sign(∇ₓ objective)), the last of the steps.

    Π clips to the ball around the images and to pixels of [0, 1]. A pixel of the images outside of [0, 1], as noise may
    bring it there, is not moved farther out.

    Args:
        objective: pure function of images of the given shapes -> [b]; each value depends on its own example.
        images: [b, h, w, c] as (pixel − mean)/std, or a tree of such.
        epsilon: ε ≥ 0, the ball's radius, in pixels of [0, 1]; a number or a JAX scalar.
        steps: at least 1.
        step_size: α in pixels; None: 2.5·ε/steps.
        start: where the first step begins, in [−1, 1] of the radius, of the images' shape; None: at the images. An
            objective that is smallest at the images has no gradient there, and needs a start.
        pixels: {"mean", "std"} of the images.
        unroll: whether the steps are written out. In a loop, which compiles faster, convolutions are slow on a CPU, and
            XLA counts the operations of one step for all.

    Returns:
        Images, through which no gradient goes.

    Raises:
        ValueError: fewer than one step; ε or α (where they are no JAX scalars) below 0 or infinite; a std that is not
            above 0, or as many numbers as the images have channels.
    """
    check(epsilon, steps, step_size)
    images = jax.lax.stop_gradient(images)
    low, high = bounds(images, epsilon=epsilon, pixels=pixels)
    size = ROOM * epsilon / steps if step_size is None else step_size
    rate = jax.tree.map(lambda image: _scaled(size, image, pixels), images)

    def step(moved: Images, _: None) -> tuple[Images, None]:
        gradient = jax.grad(lambda given: jnp.sum(objective(given)))(moved)
        stepped = jax.tree.map(lambda image, size, slope: image + size * jnp.sign(slope), moved, rate, gradient)
        return jax.tree.map(jnp.clip, stepped, low, high), None

    first = images
    if start is not None:
        radius = jax.tree.map(lambda image: _scaled(epsilon, image, pixels), images)
        first = jax.tree.map(lambda image, size, place: image + size * place, images, radius, start)
        first = jax.tree.map(jnp.clip, first, low, high)
    moved, _ = jax.lax.scan(step, first, None, length=steps, unroll=steps if unroll else 1)
    return jax.lax.stop_gradient(moved)


def bounds(images: Images, *, epsilon: Any, pixels: Pixels = UNIT) -> tuple[Images, Images]:
    """The least and the largest image of the ball, in the images' normalisation; at ε = 0 both are the images, bitwise."""

    def low(image: Array) -> Array:
        black = (0.0 - of_channels(pixels["mean"], image)) / of_channels(pixels["std"], image)
        return jnp.minimum(image, jnp.maximum(image - _scaled(epsilon, image, pixels), black))

    def high(image: Array) -> Array:
        white = (1.0 - of_channels(pixels["mean"], image)) / of_channels(pixels["std"], image)
        return jnp.maximum(image, jnp.minimum(image + _scaled(epsilon, image, pixels), white))

    return jax.tree.map(low, images), jax.tree.map(high, images)


def margin(logits: Float[Array, "b k"], labels: Integer[Array, " b"]) -> Float[Array, " b"]:
    """max_{c≠y} z_c − z_y, above 0 where the label is not the prediction (Carlini and Wagner 2017, as Madry et al. attack).

    Its gradient does not vanish for a classifier that is certain; that of the cross-entropy rounds to 0 there, and an attack
    by it that goes nowhere looks like robustness.
    """
    logits = at_least_float32(logits)
    own = labels[:, None] == jnp.arange(logits.shape[-1])[None, :]
    others = jnp.max(jnp.where(own, -jnp.inf, logits), axis=-1)
    return others - jnp.sum(jnp.where(own, logits, 0), axis=-1)


def check(epsilon: Any, steps: Any, step_size: Any = None) -> None:
    """Raises ValueError for sizes that are no number from 0, where they are no JAX scalars, and for fewer than one step."""
    for name, value in {"epsilon": epsilon, "step_size": step_size}.items():
        if isinstance(value, bool) or (isinstance(value, int | float | np.number) and not 0 <= value < float("inf")):
            raise ValueError(f"{name} = {value}: a size in pixels of [0, 1], 0 or more, is accepted")
    whole_number.check("steps", steps)


def _scaled(size: Any, image: Array, pixels: Pixels) -> Array:
    """A size in pixels, in the image's normalisation: a scalar, or [1, 1, 1, c]."""
    if not np.all(np.asarray(pixels["std"], np.float64) > 0):
        raise ValueError(f"pixels: std = {pixels['std']}: numbers above 0 are accepted")
    return jnp.asarray(size, image.dtype) / of_channels(pixels["std"], image)


def of_channels(value: Any, image: Array) -> Array:
    """A number, or one for each channel, in a shape and type that images [b, h, w, c] are computed with."""
    array = np.asarray(value, np.float64)
    if array.ndim > 1 or (array.ndim and len(array) not in (1, image.shape[-1])):
        raise ValueError(
            f"pixels: {value} has {array.size} numbers, the images {image.shape[-1]} channels; one, or one a channel"
        )
    return jnp.asarray(array.reshape(1, 1, 1, -1) if array.ndim else array, image.dtype)
