"""Mapping one player's label space onto another's."""

import inspect

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float


class SelectClasses(nn.Module):
    """The classes another player knows, in its order: logits [b, n] of `module` -> [b, len(classes)].

    A teacher of 100 classes for a student of three is `SelectClasses(teacher, classes=(12, 3, 77))`: its softmax is
    then the teacher's, conditioned on these classes. An index may repeat, where a class of the teacher stands for
    several of the student's. The parameter tree, and the module paths of features, are those of `module` itself:
    its checkpoints fit unchanged.

    Attributes:
      module: any Linen classifier whose last axis counts classes. Its training switch may have any of the usual names
        (`train`, `training`, `is_training`, `deterministic`, `use_running_average`), or be missing.
      classes: for each class of the result, its index in the logits of `module`.
    """

    module: nn.Module
    classes: tuple[int, ...]

    shares_scope = True

    def __post_init__(self):
        if not self.classes:
            raise ValueError("SelectClasses.classes = (); it accepts one or more class indices")
        super().__post_init__()

    def setup(self):
        nn.share_scope(self, self.module)

    def __call__(self, *args, train: bool = False, **kwargs) -> Float[Array, "b k"]:
        """Logits of the selected classes; every other argument goes to the module.

        Raises:
          ValueError: an index is outside [0, n).
        """
        logits = self.module(*args, **training_switch(self.module, train), **kwargs)
        known = logits.shape[-1]
        outside = [index for index in self.classes if not 0 <= index < known]
        if outside:
            raise ValueError(
                f"SelectClasses.classes holds {outside}, but {type(self.module).__name__} has {known} classes;"
                f" it accepts indices from 0 to {known - 1}"
            )
        return logits[..., jnp.asarray(self.classes)]


def training_switch(module: nn.Module, train: bool) -> dict[str, bool]:
    """The keyword argument by which a module is told that it trains; none where it has no such switch."""
    known = {"train": train, "training": train, "is_training": train}
    known |= {"deterministic": not train, "use_running_average": not train}
    parameters = inspect.signature(type(module).__call__).parameters
    return next(({name: value} for name, value in known.items() if name in parameters), {})
