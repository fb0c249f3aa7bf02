"""The regressor of variational information distillation (Ahn et al. 2019): a Gaussian of the teacher's features."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from kdgan.models.adapters import check_ranks, checked_pairs, feature_pairs
from kdgan.resampling import adaptive_average, smaller

EPSILON = 1e-5  # beside the variance


class Variational(nn.Module):
    """Mean and variance of the teacher's features, of the student's: three 1×1 convolutions with ReLU, per pair.

    (student, teacher) -> (means, variances), both by the teacher's paths, for
    `losses.variational.variational_information`. The variance, one a channel, is softplus of a parameter, + 1e-5,
    whatever the features. As in RepDistiller, the widths between are the teacher's, there are no biases, and where the
    student's sides are larger they are averaged to the teacher's first. The teacher's features lend only their shapes.
    It is a player of its own, which moves together with the student.

    Attributes:
      pairs: the pairs of module paths (student's, teacher's), as of `Adapter`.
      variance: what the variances start as.
    """

    pairs: Sequence[Sequence[str]] = ()
    variance: float = 5.0

    def __post_init__(self):
        object.__setattr__(self, "pairs", checked_pairs(self, self.pairs))
        if not self.variance > EPSILON:
            raise ValueError(f"Variational.variance = {self.variance}; it accepts numbers above {EPSILON}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, student: Mapping[str, Array], teacher: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Means [b, h, w, c'] or [b, d'] and variances [c'] or [d'].

        Args:
          student: features by path, [b, h, w, c] or [b, d].
          teacher: features by path, [b, h', w', c'] or [b, d'], of the same rank as the student's of their pair.

        Raises:
          ValueError: the pairs cannot be told or name a path that is missing, or ranks or batch sizes differ in a pair.
        """
        means, variances = {}, {}
        start = nn.initializers.constant(float(np.log(np.expm1(self.variance - EPSILON))))
        for mine, theirs in feature_pairs(self, self.pairs, student, teacher):
            x, target = student[mine], teacher[theirs]
            check_ranks(self, mine, x, theirs, target)
            if x.ndim == 4 and x.shape[1:3] != (sides := smaller(x, target)):
                x = adaptive_average(x, sides)
            name, width = theirs.replace("/", "-"), target.shape[-1]
            for i in range(3):
                x = nn.Dense(width, use_bias=False, name=f"{name}-conv{i + 1}")(nn.relu(x) if i else x)
            means[theirs] = x
            raw = self.param(f"{name}-variance", start, (width,), jnp.float32)
            variances[theirs] = nn.softplus(raw) + EPSILON
        return means, variances
