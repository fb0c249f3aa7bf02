"""The distance between two players' parameters themselves, across widths: weight distillation.

No function here stops a gradient: a method in which both players move decides by `jax.lax.stop_gradient` which side is
pulled.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.losses.logits import at_least_float32
from kdgan.transfer import SELECTIONS, transfer

Tree = Any  # a pytree of arrays


def weight_distance(small: Tree, wide: Tree, *, how: str = "uniform", depth: str = "uniform") -> Float[Array, ""]:
    """WD(small, wide) = 1/n · Σ_l ‖θ_l − select(Θ_l)‖², the mean over all n numbers of all leaves l of `small` together.

    `select` takes the units and blocks of the wide network that `kdgan.transfer.transfer` would start the small one from
    (without a scale); for networks of equal shapes it takes all, and the distance is the plain mean squared difference.
    So it is 0 at transferred parameters, and keeps a student that started there near them.

    A mean, where ‖θ − Θ‖² of a paper is n times as much. A value of the parameters and not of examples, hence a scalar;
    gradients reach both sides. What the wide network has beyond the small one's paths is not looked at.

    Args:
      small: θ, the smaller network's parameters, a nested mapping.
      wide: Θ, the wider network's.
      how: which units: "uniform" or "first".
      depth: which blocks: "uniform" or "first".

    Returns:
      Scalar (), at least 0, in at least float32.

    Raises:
      ValueError: unknown `how` or `depth`; `small` has no leaves; one of its paths has no counterpart in `wide`, or
        one of another rank or with a smaller axis: the first such path is named.
    """
    if how not in SELECTIONS:
        raise ValueError(f"how is {how!r}; it accepts {', '.join(map(repr, SELECTIONS))}")
    small = jax.tree.map(lambda leaf: at_least_float32(jnp.asarray(leaf)), small)
    leaves = jax.tree.leaves(small)
    if not leaves:
        raise ValueError("small has no parameters: there is nothing to take a distance of")
    targets = jax.tree.leaves(transfer(wide, small, how=how, depth=depth))
    total = sum(jnp.sum((a - b) ** 2) for a, b in zip(leaves, targets, strict=True))
    return jnp.asarray(total / sum(leaf.size for leaf in leaves))
