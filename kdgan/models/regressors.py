"""Adapters with batch norm: the regressors of FitNets' code, the connectors of OFD, and ICKD's embedding."""

from collections.abc import Mapping, Sequence

from flax import linen as nn
from jax import Array

from kdgan.models.adapters import check_ranks, checked_pairs, feature_pairs
from kdgan.models.layers import batch_norm
from kdgan.models.transposed import TransposedConv


class Regressor(nn.Module):
    """A convolution and batch norm per pair of features, from the student's channels and sides to the teacher's.

    mdistiller's ConvReg with `bias` and `relu`; without both, OFD's connectors (Heo et al. 2019b) and ICKD's embedding.
    Of equal sides the convolution is 1×1; where the student's are twice as large 3×3 of stride 2; where they are half
    as large a transposed one, 4×4 of stride 2; of others, larger ones, without padding and as large as it takes. It is
    a player of its own, which moves together with the student. Its batch norm follows the student's features while they
    change, so that in evaluation mode it answers with averages of earlier steps.

    Attributes:
      pairs: the pairs of module paths (student's, teacher's), as of `Adapter`.
      bias: whether the convolution has one, which batch norm takes away again.
      relu: whether a ReLU follows: for features behind one.
      axis_name: of the devices that split a batch.
    """

    pairs: Sequence[Sequence[str]] = ()
    bias: bool = False
    relu: bool = False
    axis_name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "pairs", checked_pairs(self, self.pairs))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, student: Mapping[str, Array], teacher: Mapping[str, Array], *, train: bool = False
    ) -> dict[str, Array]:
        """The student's features in the teacher's shapes, by the teacher's paths.

        Args:
          student: features by path, [b, h, w, c] or [b, d].
          teacher: features by path, [b, h', w', c'] or [b, d'], of the same rank as the student's of their pair.
          train: whether batch norm takes the statistics of the batch.

        Raises:
          ValueError: the pairs cannot be told or name a path that is missing, ranks or batch sizes differ in a pair, or the
            student's sides are smaller and not half of the teacher's.
        """
        adapted = {}
        for mine, theirs in feature_pairs(self, self.pairs, student, teacher):
            x, target = student[mine], teacher[theirs]
            check_ranks(self, mine, x, theirs, target)
            name = theirs.replace("/", "-")  # a path's "/" would nest the parameters
            y = self._layer(x.shape[1:-1], target.shape[1:], f"{name}-conv")(x)
            y = batch_norm(train=train, axis_name=self.axis_name, name=f"{name}-bn")(y)
            adapted[theirs] = nn.relu(y) if self.relu else y
        return adapted

    def _layer(self, sides: tuple[int, ...], target: tuple[int, ...], name: str) -> nn.Module:
        wanted, features = target[:-1], target[-1]
        if not sides:
            return nn.Dense(features, use_bias=self.bias, name=name)
        if sides == wanted:
            return nn.Conv(features, (1, 1), use_bias=self.bias, name=name)
        if sides == tuple(2 * side for side in wanted):
            return nn.Conv(features, (3, 3), (2, 2), padding=((1, 1), (1, 1)), use_bias=self.bias, name=name)
        if wanted == tuple(2 * side for side in sides):
            return TransposedConv(features, kernel_size=4, stride=2, before=2, use_bias=self.bias, name=name)
        if all(side >= smaller for side, smaller in zip(sides, wanted, strict=True)):
            window = tuple(1 + side - smaller for side, smaller in zip(sides, wanted, strict=True))
            return nn.Conv(features, window, padding="VALID", use_bias=self.bias, name=name)
        raise ValueError(
            f"Regressor got sides {sides} for {wanted}; it accepts half the teacher's, the same, or larger ones"
        )
