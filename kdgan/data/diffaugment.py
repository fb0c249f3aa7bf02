"""DiffAugment (Zhao et al. 2020): random transforms of what the discriminator sees, differentiable in the images.

Both real examples and fakes pass through it, on the discriminator's move and on the generator's, so that a
discriminator with little data cannot learn the examples by heart and the generator does not learn the transforms.
Images are floating point [b, h, w, c] in [-1, 1], as a generator makes them; 0, the padding, is mid-grey.

`kdgan.data.augment` is the other augmentation: part of the input of every player, in [0, 1], with no gradient asked for.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, UInt32

KeyArray = Key[Array, ""] | UInt32[Array, "2"]


def diffaugment(
    key: KeyArray, image: Float[Array, "b h w c"], *, policy: str = "color,translation,cutout"
) -> Float[Array, "b h w c"]:
    """Each image under its own random transforms, in the policy's order.

    An example's transforms are fixed by the key and its place in the batch: given one key, real examples and fakes are
    transformed alike, pair by pair; the paper's draws are independent, hence a key each. Leaving a name out of the policy
    leaves the others' draws as they are.

    Args:
        key: a JAX random key.
        image: [b, h, w, c].
        policy: names separated by commas, of `color`, `translation`, `cutout`; "" is the identity.

    Returns:
        [b, h, w, c]. Colours may leave [-1, 1], as in the paper; nothing is clipped, so that no gradient is lost.

    Raises:
        ValueError: a name of the policy that is unknown, or stands there twice.
    """
    names = [name.strip() for name in policy.split(",")] if policy.strip() else []
    for name in names:
        if name not in _TRANSFORMS:
            raise ValueError(f"policy is {policy!r}: {name!r} is unknown; the names are {', '.join(_TRANSFORMS)}")
        if names.count(name) > 1:
            raise ValueError(f"policy is {policy!r}: {name!r} stands there {names.count(name)} times; once is enough")
    places = {name: number for number, name in enumerate(_TRANSFORMS)}

    def one(position: Array, image: Array) -> Array:
        own = jax.random.fold_in(key, position)
        for name in names:
            image = _TRANSFORMS[name](jax.random.fold_in(own, places[name]), image)
        return image

    return jax.vmap(one)(jnp.arange(image.shape[0]), image)


def color(key: KeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Brightness, saturation and contrast: x + b, then about the mean of each pixel by s, then about the image's by t.

    b ~ U(−½, ½), s ~ U(0, 2), t ~ U(½, 3/2). With one channel a pixel is its own mean, and s does nothing.
    """
    brightness, saturation, contrast = jax.random.uniform(key, (3,), image.dtype)
    image = image + (brightness - 0.5)
    grey = jnp.mean(image, axis=2, keepdims=True)
    image = grey + 2 * saturation * (image - grey)
    mean = jnp.mean(image)
    return mean + (contrast + 0.5) * (image - mean)


def translation(key: KeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """A shift by whole pixels, up to an eighth of each side (rounded) either way; what comes in is 0."""
    height, width, _ = image.shape
    down, right = _share(height, 1 / 8), _share(width, 1 / 8)
    padded = jnp.pad(image, ((down, down), (right, right), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, jnp.array([2 * down + 1, 2 * right + 1]))
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def cutout(key: KeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """A rectangle of half of each side set to 0, its centre uniform over the image, cut off at the borders."""
    height, width, _ = image.shape
    high, wide = _share(height, 1 / 2), _share(width, 1 / 2)
    # An even side has its centre between pixels, hence one place more.
    row, column = jax.random.randint(key, (2,), 0, jnp.array([height + 1 - high % 2, width + 1 - wide % 2]))
    rows, columns = jnp.arange(height) - (row - high // 2), jnp.arange(width) - (column - wide // 2)
    inside = ((rows >= 0) & (rows < high))[:, None] & ((columns >= 0) & (columns < wide))[None, :]
    return jnp.where(inside[:, :, None], 0, image)


def _share(side: int, ratio: float) -> int:
    return int(side * ratio + 0.5)


_TRANSFORMS: Mapping[str, Callable[[KeyArray, Array], Array]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}
