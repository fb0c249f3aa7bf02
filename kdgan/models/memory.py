"""A memory: made images that a method keeps from step to step, as a player without parameters.

What it holds is its mutable state, as batch statistics are: it is written by the moves that name it, and saved, resumed and
mapped over members with the rest of a run's state.

    def generator(players, batch, key):
        image = players.generator(noise)
        bank = players.memory(image)  # writes the images, and draws as many of those that it holds
        ...

    Move(("generator", "memory"), generator)
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan import whole_number

MOST = 2**31 - 1  # rows that an int32 counts


class Memory(nn.Module):
    """The last `size` images that were written, of which a call draws: [b, h, w, c] -> [n, h, w, c].

    Variables `memory`: `pixels` float32 [size, h, w, c], and `count` int32, the images written so far. A full memory forgets
    the oldest.

    Attributes:
      size: images that it holds.
      draws: n, the images that a call gives; None: as many as it is given.
      axis_name: of the devices over which a batch is split: each writes the images of all of them.
    """

    size: int = 4096
    draws: int | None = None
    axis_name: str | None = None

    over_devices = True  # all of them hold the same, whatever the config says

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], write: Any = True, *, train: bool = False
    ) -> Float[Array, "n h w c"]:
        """Write images in training mode, and draw of those that are then held, evenly and with repetition.

        Where nothing is held yet, those given are drawn from. No gradient passes through what is drawn. In evaluation mode,
        and where there is no random key, it is the first ones held.

        Args:
          image: to write; they say how large the images are, also where they are not written.
          write: whether to; a bool, or a bool scalar that a step computes, as `players.step % 10 == 0`.
          train: whether writing is possible.

        Raises:
          ValueError: size or draws below 1, or more images at once than it holds.
        """
        whole_number.check("memory.size", self.size, most=MOST)
        if self.draws is not None:
            whole_number.check("memory.draws", self.draws, most=MOST)
        pixels = self.variable("memory", "pixels", jnp.zeros, (self.size, *image.shape[1:]), jnp.float32)
        count = self.variable("memory", "count", jnp.zeros, (), jnp.int32)
        if train and not self.is_initializing():
            written = image if self.axis_name is None else jax.lax.all_gather(image, self.axis_name, tiled=True)
            if len(written) > self.size:
                raise ValueError(f"memory: size = {self.size}, and {len(written)} images are written at once")
            place = (count.value + jnp.arange(len(written), dtype=jnp.int32)) % self.size
            place = jnp.where(jnp.asarray(write, bool), place, self.size)  # beyond the end nothing is written
            pixels.value = pixels.value.at[place].set(written.astype(jnp.float32), mode="drop")
            count.value = count.value + jnp.where(jnp.asarray(write, bool), len(written), 0).astype(jnp.int32)
        number = self.draws or len(image)
        held = jnp.minimum(count.value, self.size)
        of = jnp.where(held > 0, held, len(image))
        if train and self.has_rng("params"):
            row = jax.random.randint(self.make_rng("params"), (number,), 0, of)
        else:
            row = jnp.arange(number, dtype=jnp.int32) % of
        drawn = jnp.where(held > 0, pixels.value[row], image.astype(jnp.float32)[row % len(image)])
        return jax.lax.stop_gradient(drawn)
