"""Frozen players that a step does not run: their outputs come with the batch.

A batch may carry under `"cached"` {player: its outputs [b, ...] on `batch["image"]`, in evaluation mode}, and so may what
stands under "unlabelled", of its own images. The step then needs no parameters of that player, and none of its operations.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

ALL_IMAGES = "all_images"  # of a batch: the labelled ones first, then the unlabelled


class CachedPlayer:
    """A frozen player that knows its outputs on the batch's images, and nothing else.

    Attributes:
      name: its role.
      module: its Flax module, for its fields.
      params: none.
      model_state: none.
    """

    def __init__(self, name: str, module: Any, known: Sequence[tuple[Array, Array]]):
        self.name, self.module, self._known = name, module, known
        self.params: dict[str, Any] = {}
        self.model_state: dict[str, Any] = {}

    def __call__(self, *args, train: bool | None = None, features: Sequence[str] = (), **kwargs) -> Array:
        """Outputs on images of the batch: the very arrays that it holds, not equal ones.

        Raises:
          ValueError: anything else is asked for: other inputs, training mode, features, another function.
        """
        asked = {"train": train, "features": tuple(features), **kwargs}
        extra = [f"{name}={value!r}" for name, value in asked.items() if value]
        if len(args) == 1 and not extra:
            for image, outputs in self._known:
                if args[0] is image:
                    return outputs
        given = ", ".join([*(f"an array {tuple(jnp.shape(a))}" for a in args), *extra])
        raise ValueError(
            f"players.{self.name}({given}): {self.name} is cached; what is known are its outputs in evaluation mode on the"
            " batch's own images, labelled, unlabelled, or all (methods.logits.images). For anything else leave it out of"
            " cached"
        )

    stateless = __call__


def with_all_images(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch with its labelled and unlabelled images as one array, by which a cached player recognises them."""
    if "unlabelled" not in batch:
        return dict(batch)
    return {**batch, ALL_IMAGES: jnp.concatenate([batch["image"], batch["unlabelled"]["image"]])}


def cached_players(
    batch: Mapping[str, Any], modules: Mapping[str, Any], trained: Collection[str]
) -> dict[str, CachedPlayer]:
    """The players whose outputs a batch of `with_all_images` carries.

    Raises:
      ValueError: one of them is trained, so that its outputs change.
    """
    found = {}
    for name, outputs in batch.get("cached", {}).items():
        if name in trained:
            raise ValueError(f"{name} is trained by this method; only the outputs of a frozen player can be cached")
        known = [(batch["image"], outputs)]
        others = batch.get("unlabelled", {}).get("cached", {})
        if name in others:
            known.append((batch["unlabelled"]["image"], others[name]))
            known.append((batch[ALL_IMAGES], jnp.concatenate([outputs, others[name]])))
        found[name] = CachedPlayer(name, modules.get(name), known)
    return found
