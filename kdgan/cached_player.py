"""A frozen player of which a batch holds outputs, and perhaps features: it gives these, and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp


class Known(NamedTuple):
    """What one part of a batch holds of a player.

    Attributes:
      outputs: [b, ...].
      features: by module path, [b, ...] each.
    """

    outputs: Any
    features: Mapping[str, Any]


class CachedPlayer:
    """A player that does not run.

    Attributes:
      name: its role.
      module: its Flax module, for its fields.
      model_state: none.

    Args:
      name: its role.
      module: its Flax module.
      known: arguments of a call -> what the batch holds, where they are the player's inputs in one part of it; else None.
      params: its parameters, for a method that reads them; none where no method does.
      note: told its name when they are read.
    """

    def __init__(
        self, name: str, module: Any, known: Callable[[tuple], Known | None], params: Mapping[str, Any] | None = None,
        note: Callable[[str], Any] = lambda name: None,
    ):  # fmt: skip
        self.name, self.module, self._known, self._params, self._note = name, module, known, params or {}, note
        self.model_state: dict[str, Any] = {}

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters."""
        self._note(self.name)
        return self._params

    def __call__(self, *args, train: bool | None = None, features: Sequence[str] = (), **kwargs) -> Any:
        """Outputs on examples of the batch, or `(outputs, {path: feature})`, as it holds them.

        Raises:
          ValueError: anything else is asked for: other inputs, training mode, other features, another function.
        """
        asked = {"train": train, **kwargs}
        other = [f"{name}={value!r}" for name, value in asked.items() if value]
        known = self._known(args)
        if known is not None and not other and all(path in known.features for path in features):
            return (known.outputs, {path: known.features[path] for path in features}) if features else known.outputs
        other += [f"features={tuple(features)}"] if features else []
        given = ", ".join([*(f"an array {tuple(jnp.shape(a))}" for a in args), *other])
        held = f" and features {', '.join(known.features)}" if known is not None and known.features else ""
        raise ValueError(
            f"players.{self.name}({given}): {self.name} is cached; what is known are its outputs{held} in evaluation mode on"
            ' the batch\'s own examples, batch["image"], batch["unlabelled"]["image"] and batch["all"]["image"]. For'
            " anything else leave it out of cached"
        )

    stateless = __call__
