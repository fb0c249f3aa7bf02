"""PS-KD's memory (Kim et al. 2021): what a student predicted of each training example when it last saw it, as a player.

A method calls `past, is_known = players.memory_past(logits, batch["index"])`, in a move that names it with the student.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Integer

from kdgan.models.layers import check_fields


class Past(nn.Module):
    """Past predictions: (logits [b, k], which examples [b]) -> probabilities held of them [b, k], whether there are any [b].

    In training mode it then holds softmax(logits) in their place. In evaluation mode nothing is written. No gradient passes.

    Variable `memory`: `probabilities` float32 [n, k], zeros where an example was never seen.

    Attributes:
      examples: n, that batches are drawn from.
      axis_name: of the devices over which a batch is split: each writes the rows of all of them.
    """

    examples: int = 50000
    axis_name: str | None = None

    over_devices = True  # all of them hold the same, whatever the config says
    in_float32 = True  # also where the run computes in less

    def __post_init__(self):
        check_fields(self, positive=("examples",))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, logits: Float[Array, "b k"], index: Integer[Array, " b"], *, train: bool = False
    ) -> tuple[Float[Array, "b k"], Bool[Array, " b"]]:
        """What is held of the examples, before it is written.

        Args:
          logits: the student's.
          index: which training example each is, 0 to n − 1; of another what is held is NaN, and nothing is written. One that
            stands twice is written by its first.
          train: whether to write.
        """
        shape = (self.examples, logits.shape[-1])
        table = self.variable("memory", "probabilities", jnp.zeros, shape, jnp.float32)
        place = jnp.where((index >= 0) & (index < self.examples), index, self.examples)
        held = jnp.take(table.value, place, axis=0, mode="fill", fill_value=jnp.nan)
        if train and not self.is_initializing():
            rows = self._of_all_devices(jax.lax.stop_gradient(jax.nn.softmax(logits.astype(jnp.float32))))
            place = self._of_all_devices(place)
            first = jnp.argmax(place[:, None] == place[None, :], axis=1)
            table.value = table.value.at[place].set(rows[first], mode="drop")
        return held, ~(jnp.sum(held, axis=-1) == 0)

    def _of_all_devices(self, x: Array) -> Array:
        return x if self.axis_name is None else jax.lax.all_gather(x, self.axis_name, tiled=True)
