"""What an exported file gives, made of what a player gives, and back: an evaluator names the way (`Evaluator.gives`)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Pixels = tuple[Any, Any] | None  # (mean, std) of the data's pixels; None: images are left as players see them
TINY = 1e-30  # probabilities are at least this before their logarithm is taken: float32 holds it, and its square not


class Output(NamedTuple):
    """One way.

    Attributes:
      name: of the file's one output.
      of: `(output of the player, pixels) -> output of the file`, of JAX's arrays.
      back: `(output of the file, pixels) -> what the player would have to give for it`, of NumPy's arrays: what an
        evaluator reads the same measures off.
      decides: `output of the file -> whole numbers`, what is counted where two files are said to agree; None: nothing is.
    """

    name: str
    of: Callable[[Any, Pixels], Any]
    back: Callable[[np.ndarray, Pixels], np.ndarray]
    decides: Callable[[np.ndarray], np.ndarray] | None = None


def _clipped(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(probabilities, np.float64), TINY, 1 - 1e-9)


def _logits(probabilities: np.ndarray, pixels: Pixels) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), TINY)).astype(np.float32)


def _log_odds(probabilities: np.ndarray, pixels: Pixels) -> np.ndarray:
    share = _clipped(probabilities)
    return (np.log(share) - np.log1p(-share)).astype(np.float32)


def _unit(image: Any, pixels: Pixels) -> Any:
    """Pixels in [0, 1] of an image as players see it, x·std + mean."""
    if pixels is None:
        return image
    mean, std = (_of_channels(value) for value in pixels)
    return jnp.clip(image * std + mean, 0.0, 1.0)


def _seen(image: np.ndarray, pixels: Pixels) -> np.ndarray:
    if pixels is None:
        return image
    mean, std = (_of_channels(value) for value in pixels)
    return (np.asarray(image, np.float32) - mean) / std


def _of_channels(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32).reshape(1, 1, 1, -1)


OUTPUTS: Mapping[str, Output] = {
    # Of logits, over the last axis: [n, k] of classes, [n, t, k] of the token to come.
    "probabilities": Output(
        "probabilities", lambda logits, pixels: jax.nn.softmax(logits, axis=-1), _logits, lambda made: made.argmax(-1)
    ),
    # Of logits of tags [n, k], each by itself.
    "tags": Output("probabilities", lambda logits, pixels: jax.nn.sigmoid(logits), _log_odds, lambda made: made > 0.5),
    # Of images as players see them, (pixel − mean)/std: pixels in [0, 1].
    "images": Output("images", _unit, _seen),
    "values": Output("values", lambda output, pixels: output, lambda made, pixels: made),
}
