"""The multilayer perceptron of thin layers: each kernel the product of two narrow ones.

Module paths to ask features for: as `kdgan.models.mlp` (`hidden1`, ..., `embedding`, `head`); where a layer is factored
`dense1_b` is what stands before the activation, and `dense1_a` the r numbers that pass between the factors.
"""

from collections.abc import Sequence

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.layers import Tap, check_fields


class LowRankMLP(nn.Module):
    """`MLP` whose hidden layers x·W are x·A·B with A [i, r] and B [r, o]: [b, ...] -> logits [b, num_classes].

    A layer is factored where that saves parameters, r·(i + o) < i·o, and is an ordinary `dense1` elsewhere. So it has
    the widths of its teacher in fewer parameters: at 28×28×1, `MLP((800, 800))` has 1,276,810 and
    `LowRankMLP((800, 800), rank=32)` 111,498. `kdgan.transfer.transfer(how="low_rank")` starts it from an `MLP` of the
    same `hidden`, each pair the best approximation of the layer that it replaces.

    Attributes:
      hidden: width of each hidden layer.
      rank: r.
      num_classes: k.
      dropout: rate after each hidden layer while training; draws from the stream `dropout`.
    """

    hidden: Sequence[int] = (64,)
    rank: int = 8
    num_classes: int = 10
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("hidden", "rank", "num_classes"), rates=("dropout",))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool = False) -> Float[Array, "b k"]:
        if x.ndim < 2 or 0 in x.shape[1:]:
            raise ValueError(
                f"LowRankMLP got an input of shape {x.shape}; it accepts [b, h, w, c] or any [b, ...] of rank 2 or more"
            )
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            if self.rank * (x.shape[1] + width) < x.shape[1] * width:
                x = nn.Dense(self.rank, use_bias=False, name=f"dense{i}_a")(x)
                x = nn.Dense(width, name=f"dense{i}_b")(x)
            else:
                x = nn.Dense(width, name=f"dense{i}")(x)
            x = Tap(name=f"hidden{i}")(nn.relu(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(x))
