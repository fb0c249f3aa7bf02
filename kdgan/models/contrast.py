"""CMI's projection, which is learned, with a memory of what it was given, part of the state as batch statistics are."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from kdgan.models.layers import check_fields


class Contrast(nn.Module):
    """CMI's projection of features [b, d], linear, relu, linear, of length 1, with those that it was given before.

    (local [b, d], whole [b, d]) -> (local [b + m, p], whole [b + m, p], which rows count [b + m]): of the batch first, then
    of m earlier ones, drawn anew at each call. In training mode it then remembers those of the batch, in place of the
    oldest.

    Attributes:
      features: p.
      hidden: of the layer between; 0: d.
      number: how many pairs it remembers (40,960 published), at least those of a batch (of all devices).
      drawn: m, how many of them stand beside a batch (4,096 published), at most `number`.
      axis_name: of the devices that split a batch.
    """

    features: int = 128
    hidden: int = 0
    number: int = 40960
    drawn: int = 4096
    axis_name: str | None = None

    over_devices = True  # all of them remember the same

    def __post_init__(self):
        check_fields(self, positive=("features", "number", "drawn"))
        check_fields(self, positive=("hidden",), least=0)
        if self.drawn > self.number:
            raise ValueError(f"Contrast.drawn = {self.drawn}; it accepts 1 to number = {self.number}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, local: Float[Array, "b d"], whole: Float[Array, "b d"], *, train: bool = False
    ) -> tuple[Float[Array, "n p"], Float[Array, "n p"], Bool[Array, " n"]]:
        """Projections of both views of the batch and of earlier ones, and which rows count: the batch's, and filled ones.

        Raises:
          ValueError: a batch is larger than `number`.
        """
        batch, width = local.shape
        pairs = self.variable("memory", "pairs", jnp.zeros, (self.number, 2 * width), jnp.float32)
        count = self.variable("memory", "count", jnp.zeros, (), jnp.int32)
        before, filled = pairs.value, jnp.minimum(count.value, self.number)
        if train and not self.is_initializing():
            new = jax.lax.stop_gradient(jnp.concatenate([local, whole], axis=-1)).astype(jnp.float32)
            new = new if self.axis_name is None else jax.lax.all_gather(new, self.axis_name, tiled=True)
            if len(new) > self.number:
                raise ValueError(f"Contrast.number = {self.number}; it accepts at least the {len(new)} of a batch")
            place = (count.value + jnp.arange(len(new), dtype=jnp.int32)) % self.number
            pairs.value, count.value = before.at[place].set(new), count.value + len(new)
        place = jnp.arange(self.drawn)
        if self.has_rng("params"):
            place = jax.random.permutation(self.make_rng("params"), self.number)[: self.drawn]
        old, counts = before[place], jnp.concatenate([jnp.ones(batch, bool), place < filled])
        first, last = nn.Dense(self.hidden or width, name="hidden"), nn.Dense(self.features, name="head")

        def project(new: Array, earlier: Array) -> Array:
            x = last(nn.relu(first(jnp.concatenate([new, earlier]))))
            squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
            return x / jnp.sqrt(jnp.where(squared > 0, squared, 1))

        return project(local, old[:, :width]), project(whole, old[:, width:]), counts
