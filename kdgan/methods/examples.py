"""What methods ask of features and of players that remember something of every training example."""

from typing import Any

import jax.numpy as jnp

from kdgan.around import innermost


def held_by(player: Any, examples: int | None) -> int:
    """The number of examples that the player holds, its module's field `examples`.

    Args:
      player: of the move.
      examples: that batches are drawn from; None: it is not known.

    Raises:
      ValueError: another number than batches are drawn from, or a player that holds nothing of examples.
    """
    module = innermost(player.module)
    held = getattr(module, "examples", None)
    if held is None:
        raise ValueError(
            f"players.{player.name}.model: {type(module).__name__} holds nothing of each training example; a model with"
            " `examples` is accepted, as 'past' of memory_past and 'memory_bank' of memory_bank"
        )
    if examples is not None and held != examples:
        raise ValueError(
            f"players.{player.name}.model_args.examples = {held}: batches are drawn from {examples}, which is accepted"
        )
    return held


def pooled(feature: Any) -> Any:
    """A feature as a vector of each example: [b, ..., d] -> [b, d], the mean over all between."""
    return jnp.mean(feature, axis=tuple(range(1, feature.ndim - 1))) if feature.ndim > 2 else feature
