"""Moving averages of statistics of batch norm, as a player without parameters that moves with what makes the images."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan.batch_statistics import LayerStatistics, blended
from kdgan.models.layers import check_fields


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
        begun = self.variable("memory", "begun", lambda: jnp.zeros(()))
        averages = {}
        for path, layer in layers.items():
            names = [f"{path}/{kind}".replace("/", ".") for kind in ("mean", "variance")]
            new = (layer.mean, layer.variance)
            averages[path] = tuple(
                self.variable("memory", name, jnp.zeros_like, value) for name, value in zip(names, new, strict=True)
            )
        kept = {path: (mean.value, variance.value) for path, (mean, variance) in averages.items()}
        rate = jnp.where(begun.value > 0, self.rate, 0.0)
        mixed = blended(layers, kept, rate)
        if train and not self.is_initializing():
            begun.value = jnp.ones(())
            for path, (mean, variance) in averages.items():
                mean.value, variance.value = jax.lax.stop_gradient((mixed[path].mean, mixed[path].variance))
        return mixed
