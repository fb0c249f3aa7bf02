"""Knowledge review (Chen et al. 2021): the student's features, fused from the deepest layer to the first."""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.adapters import checked_pairs, feature_pairs
from kdgan.models.layers import batch_norm, check_fields
from kdgan.resampling import nearest

MOST = 512  # channels between, of the authors' code
# PyTorch's kaiming_uniform_ with a = 1.
uniform = nn.initializers.lecun_uniform()


class Fusion(nn.Module):
    """One attention based fusion (ABF): a layer of the student, with what was fused of the layers behind it.

    A 1×1 convolution with batch norm gives the layer `width` channels; what is behind it is resized to it (nearest),
    and two maps of weights in (0, 1), a 1×1 convolution of both, add them up. The sum, resized to the teacher's sides,
    is what the layer before gets, and a 3×3 convolution with batch norm makes the teacher's channels of it.

    Attributes:
      width: channels between.
      features: the teacher's channels.
      axis_name: of the devices that split a batch.
    """

    width: int
    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], behind: Float[Array, "b i j d"] | None, sides: tuple[int, int], *, train: bool
    ) -> tuple[Float[Array, "b k l f"], Float[Array, "b k l d"]]:
        """(in the teacher's shape, for the layer before)."""
        norm = lambda name: batch_norm(train=train, axis_name=self.axis_name, name=name)
        x = nn.Conv(self.width, (1, 1), use_bias=False, kernel_init=uniform, name="conv1")(x)
        x = norm("bn1")(x)
        if behind is not None:
            behind = nearest(behind, (x.shape[1], x.shape[2]))
            both = jnp.concatenate([x, behind], axis=-1)
            share = nn.sigmoid(nn.Conv(2, (1, 1), name="attention")(both))
            x = x * share[..., :1] + behind * share[..., 1:]
        x = x if x.shape[1:3] == sides else nearest(x, sides)
        y = nn.Conv(self.features, (3, 3), padding=((1, 1), (1, 1)), use_bias=False, kernel_init=uniform, name="conv2")(
            x
        )
        return norm("bn2")(y), x


class ReviewFusion(nn.Module):
    """ReviewKD's fusion of features (Chen et al. 2021), for `losses.review.hierarchical_context`.

    A layer of the teacher is learned from the student's layer of its pair and from all that lie behind it. [b, d], as
    an embedding, counts as a map of one place. The teacher's features lend only their shapes. It is a player of its
    own, which moves together with the student.

    Attributes:
      pairs: the pairs of module paths (student's, teacher's), from the first layer to the deepest. Without them the i-th
        feature of the one is mapped to the i-th of the other. Since JAX hands dicts on in sorted order, positions then
        have to be those of the sorted paths. The deeper of two layers is then the smaller, a vector the deepest of all;
        of equal sides the later in that order.
      width: channels between; 0: those of the student's deepest layer, at most 512, as in the authors' code.
      axis_name: of the devices that split a batch.
    """

    pairs: Sequence[Sequence[str]] = ()
    width: int = 0
    axis_name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "pairs", checked_pairs(self, self.pairs))
        check_fields(self, positive=("width",), least=0)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, student: Mapping[str, Array], teacher: Mapping[str, Array], *, train: bool = False
    ) -> dict[str, Array]:
        """The student's features, fused, in the teacher's shapes, by the teacher's paths, in its order.

        Args:
          student: features by path, [b, h, w, c] or [b, d].
          teacher: features by path, [b, h', w', c'] or [b, d'].
          train: whether batch norm takes the statistics of the batch.

        Raises:
          ValueError: the pairs cannot be told or name a path that is missing, ranks are other than 2 or 4, or batch
              sizes
            differ in a pair.
        """
        pairs = list(feature_pairs(self, self.pairs, student, teacher))
        if not self.pairs:
            pairs.sort(key=lambda pair: (student[pair[0]].ndim == 2, -math.prod(student[pair[0]].shape[1:-1])))
        width = self.width or min(MOST, student[pairs[-1][0]].shape[-1])
        fused: dict[str, Array] = {}
        behind = None
        for mine, theirs in reversed(pairs):
            x, target = student[mine], teacher[theirs]
            if not {x.ndim, target.ndim} <= {2, 4} or x.shape[0] != target.shape[0]:
                raise ValueError(
                    f"ReviewFusion got the student's {mine!r} of shape {x.shape} for the teacher's {theirs!r} of shape"
                    f" {target.shape}; it accepts [b, h, w, c] and [b, d] of the same batch"
                )
            sides = (target.shape[1], target.shape[2]) if target.ndim == 4 else (1, 1)
            layer = Fusion(width, target.shape[-1], self.axis_name, name=theirs.replace("/", "-"))
            y, behind = layer(x if x.ndim == 4 else x[:, None, None], behind, sides, train=train)
            fused[theirs] = y.reshape(target.shape)
        return {path: fused[path] for path in teacher if path in fused}
