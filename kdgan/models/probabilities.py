"""A classifier that gives probabilities where logits are wanted."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from kdgan.models.heads import training_switch

OUTPUTS = ("logits", "probabilities")  # what a classifier gives
SMALLEST = 1e-7  # a probability below is taken for this one: about what float32 tells from 0 beside 1
TOLERANCE = 1e-3  # of the sum of a row


def log_probabilities(probabilities: Array) -> Array:
    """Logarithms log max(p, 1e-7) of probabilities [b, k], whose softmax gives them again; NaN of negative ones."""
    return jnp.log(jnp.where(probabilities >= 0, jnp.clip(probabilities, SMALLEST), jnp.nan))


def first_bad_row(logarithms: np.ndarray) -> tuple[int, str] | None:
    """The first row of `log_probabilities` that came of no probabilities, and what is wrong with it; None: there is none."""
    sums = np.exp(np.asarray(logarithms, np.float64)).sum(-1)
    bad = np.flatnonzero(~(np.abs(sums - 1) <= TOLERANCE + logarithms.shape[-1] * SMALLEST))
    if not len(bad):
        return None
    row = int(bad[0])
    return row, "holds a negative number or NaN" if np.isnan(sums[row]) else f"sums to {sums[row]:.4g}"


class LogProbabilities(nn.Module):
    """The logarithms of the probabilities that `classifier` gives, so that methods and evaluators have logits of it.

    The parameter tree, and the module paths of features, are those of `classifier` itself: its checkpoints fit unchanged.

    Attributes:
      classifier: any Linen module that gives probabilities [b, k].
    """

    classifier: nn.Module

    shares_scope = True

    def setup(self):
        nn.share_scope(self, self.classifier)

    def __call__(self, *args, train: bool = False, **kwargs) -> Any:
        return log_probabilities(self.classifier(*args, **training_switch(self.classifier, train), **kwargs))
