"""Heads on a network's inner blocks, by which it teaches itself: Be Your Own Teacher."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import batch_norm, check_fields, global_mean


class BlockHeads(nn.Module):
    """BYOT's bottleneck and classifier of each block (Zhang et al. 2019): (features by path, the last feature) -> by path.

    A block's maps [b, h, w, c] go through a 1×1 convolution to a quarter of the last feature's d channels, one of k×k in
    steps of k, k = h // sides, and one of 1×1 to d channels, each with batch norm and relu; their mean over pixels is
    compared with the last feature, and a dense layer makes logits of it. As published, whose k is the step from each block
    to the last. A block's vector [b, c] goes through a dense layer and relu.

    Attributes:
      num_classes: of the logits.
      sides: pixels of a side that are left before the mean.
      axis_name: of the devices over which batch norm is taken.
    """

    num_classes: int = 10
    sides: int = 4
    axis_name: str | None = None

    def __post_init__(self):
        check_fields(self, positive=("num_classes", "sides"))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, features: Mapping[str, Array], last: Float[Array, "b *h d"], *, train: bool = False
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Logits [b, num_classes] and embeddings [b, d], by path.

        Args:
          features: of blocks by path, [b, h, w, c] or [b, c].
          last: the deepest feature, [b, h, w, d] or [b, d]; it lends its width alone.
          train: whether batch norm takes the batch's statistics.

        Raises:
          ValueError: no features, or one of another rank.
        """
        odd = [f"{path!r} of shape {x.shape}" for path, x in features.items() if x.ndim not in (2, 4)]
        if odd or not features:
            raise ValueError(f"BlockHeads got {odd[0] if odd else 'no features'}; it accepts [b, h, w, c] and [b, c]")
        logits, embeddings = {}, {}
        for path, x in features.items():
            name = path.replace("/", "-")  # a path's "/" would nest the parameters
            width = last.shape[-1]
            if x.ndim == 4:
                x = self._bottleneck(x, width, name, train)
            else:
                x = nn.relu(nn.Dense(width, name=f"{name}-bottleneck")(x))
            embeddings[path] = x
            logits[path] = nn.Dense(self.num_classes, name=f"{name}-head")(x)
        return logits, embeddings

    def _bottleneck(self, x: Array, width: int, name: str, train: bool) -> Array:
        narrow, step = max(1, width // 4), max(1, min(x.shape[1:3]) // self.sides)
        for i, (channels, k) in enumerate(((narrow, 1), (narrow, step), (width, 1)), start=1):
            x = nn.Conv(channels, (k, k), (k, k), padding="VALID", name=f"{name}-conv{i}")(x)
            x = nn.relu(batch_norm(train=train, axis_name=self.axis_name, name=f"{name}-bn{i}")(x))
        return global_mean(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
