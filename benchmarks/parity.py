"""That all compute the same, checked before anything is timed: each move's loss and gradient, on the same weights.

Two float32 computations of one sum differ by rounding, and a gradient sums over a batch and over every pixel: what is
compared is the norm of the difference beside the norm of the gradient, of each player and of each of its parameters.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

LOSS = 1e-5  # of the loss, relative
WHOLE = 1e-4  # of a player's gradient: the difference's norm over the gradient's
PART = 1e-3  # of one parameter's, over the norm of this parameter's gradient or a thousandth of the whole one's

Found = tuple[Mapping[str, float], Mapping[str, Any]]  # (moving player -> loss, moving player -> gradient)


def check(ours: Found, other: Found, who: str) -> dict[str, float]:
    """The largest relative difference of the losses, and of the players' gradients.

    Raises:
      AssertionError: they differ by more than rounding; the player, and where it is one parameter its path, is named.
    """
    (our_losses, our_gradients), (losses, gradients) = ours, other
    worst = {"loss": 0.0, "gradient": 0.0}
    for player, loss in our_losses.items():
        apart = abs(losses[player] - loss) / max(abs(loss), 1e-3)
        if not apart <= LOSS:
            raise AssertionError(f"{who}: the loss of {player} is {losses[player]:.8g}, kdgan's is {loss:.8g}")
        worst["loss"] = max(worst["loss"], apart)
        found = compare_gradients(our_gradients[player], gradients[player], f"{who}: the gradient of {player}")
        worst["gradient"] = max(worst["gradient"], found)
    return worst


def compare_gradients(ours: Any, other: Any, what: str) -> float:
    """‖ours − other‖ / ‖ours‖ over all parameters.

    Raises:
      AssertionError: more than rounding, in the whole or in one parameter.
    """
    pairs = jax.tree_util.tree_leaves_with_path(jax.tree.map(lambda a, b: (np.float64(a), np.float64(b)), ours, other),
                                                is_leaf=lambda leaf: isinstance(leaf, tuple))  # fmt: skip
    norm = float(np.sqrt(sum(np.sum(a**2) for _, (a, _) in pairs)))
    apart = float(np.sqrt(sum(np.sum((a - b) ** 2) for _, (a, b) in pairs))) / norm
    if not apart <= WHOLE:
        raise AssertionError(f"{what} differs from kdgan's by {apart:.2g} of its norm; rounding explains {WHOLE:g}")
    for path, (a, b) in pairs:
        part = float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(a)), 1e-3 * norm)
        if not part <= PART:
            raise AssertionError(f"{what} in {jax.tree_util.keystr(path)} differs from kdgan's by {part:.2g} of its norm")
    return apart
