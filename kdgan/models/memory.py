"""What a stage remembers while it trains, as players whose variables are part of the state: a run resumes with them bitwise.

`Memory` holds images that were made, of which a student learns again. `Contrast` holds a projection, which is learned, and
what it was given before. `MovingStatistics` holds moving averages of statistics of batch norm.

Each is called in the move that makes the images, and moves there. On several devices all hold the same: what a device adds
is gathered over `axis_name`, which a run sets.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float

from kdgan.batch_statistics import LayerStatistics, blended
from kdgan.models.layers import check_fields

COLLECTION = "memory"


class Memory(nn.Module):
    """The latest images that it was given: image [b, h, w, c] -> (images [number, h, w, c], how many of them are filled).

    In training mode it adds those that it is given, in place of the oldest, and gives all; else it gives all and adds none,
    and looks at the shape of its input only. It has no parameters, and takes number·h·w·c·4 bytes of the state.

    Attributes:
      number: how many it holds, at least those of a batch (of all devices).
      axis_name: of the devices that split a batch.
    """

    number: int = 4096
    axis_name: str | None = None

    one_for_all_devices = True

    def __post_init__(self):
        check_fields(self, positive=("number",))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "n h w c"], Float[Array, ""]]:
        """All images, and how many of the first are filled.

        Raises:
          ValueError: a batch is larger than `number`.
        """
        return _ring(self, image, self.number, self.axis_name, train=train)


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

    one_for_all_devices = True

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
        before, filled = _ring(
            self, jnp.concatenate([local, whole], axis=-1), self.number, self.axis_name, train=train, after=False
        )
        place = jnp.arange(self.drawn)
        if self.has_rng("params"):
            place = jax.random.permutation(self.make_rng("params"), self.number)[: self.drawn]
        old, counts = before[place], jnp.concatenate([jnp.ones(batch, bool), place < filled])
        first, last = nn.Dense(self.hidden or width, name="hidden"), nn.Dense(self.features, name="head")

        def project(x: Array) -> Array:
            x = last(nn.relu(first(x)))
            squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
            return x / jnp.sqrt(jnp.where(squared > 0, squared, 1))

        rows = [(local, old[:, :width]), (whole, old[:, width:])]
        return *(project(jnp.concatenate(pair)) for pair in rows), counts


class MovingStatistics(nn.Module):
    """Fast's batch statistics: those of a batch mixed with an average of earlier ones, (1 − rate)·batch + rate·average.

    The first batch's are taken as they are, and begin the average; in training mode the average then becomes the mixture. It
    makes the gradient of `statistics` 1 − rate times as large.

    Attributes:
      rate: in [0, 1); 0.9 published, 0 is CMI's.
    """

    rate: float = 0.9

    def __post_init__(self):
        check_fields(self, rates=("rate",))
        super().__post_init__()

    @nn.compact
    def __call__(self, layers: Mapping[str, LayerStatistics], *, train: bool = False) -> dict[str, LayerStatistics]:
        """Statistics by path, mixed."""
        begun = self.variable(COLLECTION, "begun", lambda: jnp.zeros(()))
        averages = {}
        for path, layer in layers.items():
            names = [f"{path}/{kind}".replace("/", ".") for kind in ("mean", "variance")]
            new = (layer.mean, layer.variance)
            averages[path] = tuple(
                self.variable(COLLECTION, name, jnp.zeros_like, value) for name, value in zip(names, new, strict=True)
            )
        kept = {path: tuple(one.value for one in pair) for path, pair in averages.items()}
        rate = jnp.where(begun.value > 0, self.rate, 0.0)
        mixed = blended(layers, kept, rate)
        if train and not self.is_initializing():
            begun.value = jnp.ones(())
            for path, (mean, variance) in averages.items():
                mean.value, variance.value = jax.lax.stop_gradient((mixed[path].mean, mixed[path].variance))
        return mixed


def _ring(
    module: nn.Module, rows: Array, number: int, axis_name: str | None, *, train: bool, after: bool = True
) -> tuple[Array, Array]:
    """(remembered rows [number, ...], how many are filled): a module's variables, after or before these rows are added.

    Raises:
      ValueError: there are more rows than `number`.
    """
    kept = module.variable(COLLECTION, "rows", lambda: jnp.zeros((number, *rows.shape[1:]), rows.dtype))
    # Numbers of floating-point type: what a step changes is averaged over devices.
    filled = module.variable(COLLECTION, "filled", lambda: jnp.zeros(()))
    following = module.variable(COLLECTION, "next", lambda: jnp.zeros(()))
    before = kept.value, filled.value
    if train and not module.is_initializing():
        rows = jax.lax.stop_gradient(rows)
        rows = rows if axis_name is None else jax.lax.all_gather(rows, axis_name, tiled=True)
        if len(rows) > number:
            raise ValueError(
                f"{type(module).__name__}.number = {number}; it accepts at least the {len(rows)} of a batch"
            )
        place = (following.value.astype(jnp.int32) + jnp.arange(len(rows))) % number
        kept.value = kept.value.at[place].set(rows)
        filled.value = jnp.minimum(filled.value + len(rows), number)
        following.value = (following.value + len(rows)) % number
    return (kept.value, filled.value) if after else before
