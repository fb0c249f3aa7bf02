"""Any function as a module without parameters: of JAX arrays, or on the host of NumPy arrays."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan.models import host
from kdgan.models.probabilities import OUTPUTS, log_probabilities


class Function(nn.Module):
    """A function as a module without parameters: any function of images, or of noise, as a frozen teacher.

    `Function(lambda noise: sample(noise))` stands where a generator stands, and `Function(lambda images: logits(images))`
    where a teacher stands. The function is called with whatever the module is called with, and has no training mode. A
    Flax module that it applies is made outside of it: made inside, Flax would take it for a part of this one.

    With `host=True` it is a function of NumPy arrays, `Function(forest.predict_proba, host=True, outputs="probabilities")`:
    an HTTP client, a model of scikit-learn. It is called outside of compiled programs only. Inside of a step there is none:
    a run computes its outputs before the stage's first step (`config.stages.x.cached`).

    Attributes:
      function: e.g. image [b, h, w, c] -> logits [b, k], or noise [b, d] -> image [b, h, w, c].
      host: whether it is one of NumPy arrays.
      shape: of the output of one example, (10,), where `host`; None: it is called with one example of zeros to find out.
      outputs: "logits", or "probabilities", of which the logarithm is taken (`log_probabilities`).
      player: what messages call it.
    """

    function: Callable[..., Any]
    host: bool = False
    shape: tuple[int, ...] | None = None
    outputs: str = "logits"
    player: str = ""

    def __post_init__(self):
        if self.outputs not in OUTPUTS:
            raise ValueError(f"Function.outputs = {self.outputs!r}; it accepts {' or '.join(map(repr, OUTPUTS))}")
        super().__post_init__()

    def __call__(self, *args, **kwargs) -> Any:
        """What the function gives.

        Raises:
          HostError: a function on the host failed, or gave something else than a row of numbers for each example.
          ValueError: one on the host is given keyword arguments, or is called inside of a compiled program.
        """
        output = self._on_host(args, kwargs) if self.host else self.function(*args, **kwargs)
        return log_probabilities(output) if self.outputs == "probabilities" else output

    def _on_host(self, args, kwargs):
        if kwargs:
            raise ValueError(
                f"{self._who} is a function on the host, and takes no keyword arguments: {', '.join(kwargs)}"
            )
        function = host.HostCall(self.function, self._who)
        if not any(isinstance(array, jax.core.Tracer) for array in args):
            outputs = function(*(np.array(array) for array in args))
            if self.shape is not None and outputs.shape[1:] != tuple(self.shape):
                raise host.HostError(
                    f"{self._who} gave an array {list(outputs.shape)}; {[len(outputs), *self.shape]} is accepted, as its"
                    " shape says"
                )
            return jnp.asarray(outputs)
        one = tuple((array.shape[1:], np.dtype(array.dtype).name) for array in args)
        shape = _shape(self.function, self._who, one) if self.shape is None else tuple(self.shape)
        # A trace for shapes alone gets as far as this; what would run it is refused.
        refusal = (
            f"{self._who} is a function on the host, which no compiled program calls; a run computes its outputs before"
        )
        return host.call(
            host.HostCall(_refused(f"{refusal} a stage where it stands in cached"), self._who), shape, *args
        )

    @property
    def _who(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"players.{self.player} ({name})" if self.player else f"Function ({name})"


@functools.lru_cache(maxsize=32)  # a function that costs is asked for its shape once
def _shape(function: Callable[..., Any], who: str, one: tuple) -> tuple[int, ...]:
    """Shape of an output, of one example of zeros."""
    return host.HostCall(function, who)(*(np.zeros((1, *shape), dtype) for shape, dtype in one)).shape[1:]


@functools.cache
def _refused(why: str) -> Callable[..., Any]:
    def refuse(*arrays):
        raise RuntimeError(why)

    return refuse
