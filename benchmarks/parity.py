"""That all compute the same, checked before anything is timed: each move's loss and gradient, on the same weights.

Two float32 computations of one sum differ by rounding, and a gradient sums over a batch and over every pixel: what is
compared is the norm of the difference beside the norm of the gradient, of each player and of each of its parameters. A
deep network's gradient leaps where a relu's input changes its sign: what rounding explains there is measured, by moving
every pixel in its last bits, several times.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

LOSS = 1e-5  # of the loss, relative
WHOLE = 1e-4  # of a player's gradient: the difference's norm over the gradient's; or `LEAP` times what rounding does
LEAP = 4
# Times as much of one parameter's, over the norm of its gradient or a thousandth of the whole one's: a bias's is a sum of
# 65,536 numbers that nearly cancel, which PyTorch adds up in another order in channels last.
PART = 100

Found = tuple[Mapping[str, float], Mapping[str, Any]]  # (player that leads a move -> loss, moving player -> gradient)


def check(ours: Found, other: Found, who: str, rounding: float = 0.0) -> dict[str, float]:
    """The largest relative difference of the losses, and of the players' gradients.

    Args:
      ours: kdgan's losses and gradients.
      other: those of who does the same work.
      who: named in an error.
      rounding: how far kdgan's gradient moves, beside its norm, when its input is rounded otherwise.

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
    for player, gradient in our_gradients.items():
        found = compare_gradients(gradient, gradients[player], f"{who}: the gradient of {player}", rounding)
        worst["gradient"] = max(worst["gradient"], found)
    return worst


def check_params(ours: Any, other: Any, rate: float, steps: int, who: str) -> float:
    """The largest difference of parameters, which are of order 0.03, after `steps` steps of learning rate `rate`.

    Raises:
      AssertionError: they are not the same to rounding.
    """
    # Adam divides by √v: a gradient that is nothing but rounding may move a weight by a part of the learning rate.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=steps * rate / 50, err_msg=who)
    jax.tree.map(close, other, ours)
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


def distance(ours: Any, other: Any) -> float:
    """‖ours − other‖ / ‖ours‖ over all leaves of both."""
    return _norm(jax.tree.map(lambda a, b: np.float64(a) - b, ours, other)) / _norm(ours)


def _norm(tree: Any) -> float:
    """Of all leaves together, summed in float64."""
    return float(np.sqrt(sum(np.sum(np.float64(leaf) ** 2) for leaf in jax.tree.leaves(tree))))


def compare_gradients(ours: Any, other: Any, what: str, rounding: float = 0.0) -> float:
    """The distance of two gradients.

    Raises:
      AssertionError: more than rounding, in the whole or in one parameter.
    """
    allowed = max(WHOLE, LEAP * rounding)
    apart = distance(ours, other)
    if not apart <= allowed:
        raise AssertionError(f"{what} differs from kdgan's by {apart:.2g} of its norm; rounding explains {allowed:.2g}")
    norm = _norm(ours)
    pairs = zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(other), strict=True)
    for (path, a), b in pairs:
        part = np.linalg.norm(np.float64(a) - b) / max(np.linalg.norm(a), 1e-3 * norm)
        if not part <= PART * allowed:
            raise AssertionError(
                f"{what} in {jax.tree_util.keystr(path)} differs from kdgan's by {part:.2g} of its norm"
            )
    return apart
