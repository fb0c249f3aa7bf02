"""CTKD's temperature (Li et al. 2023): learned against the student, so that soft labels stay as hard as it can bear.

    def student(players, batch, key):
        τ = players.temperature(reversal)  # λ of the reversed gradient, from 0 to 1
        kd = kl_divergence(players.student(batch["image"]), teacher_logits, temperature=τ)
        ...

    Move(("student", "temperature"), student)

One move lowers the loss by the student and raises it by the temperature, whose gradient is reversed. A temperature for each
example [b] divides the logits beforehand: `τ**2 * kl_divergence(s / τ[:, None], t / τ[:, None])`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.losses.logits import at_least_float32
from kdgan.losses.reversal import reverse_gradient
from kdgan.models.layers import check_fields


class Temperature(nn.Module):
    """One learned temperature, τ = least + range·σ(g), whose gradient is reversed: (λ) -> τ [].

    As CTKD's code has it τ lies in (1, 21), where the paper says 1 to 20, and starts at 15.6, where g is 1.

    Attributes:
      least: of the temperatures, above 0.
      range: from the least to the largest.
      start: g at first.
    """

    least: float = 1.0
    range: float = 20.0
    start: float = 1.0

    def __post_init__(self):
        _check_range(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, reversal: Any = 1.0, *, train: bool = False) -> Float[Array, ""]:
        """The temperature.

        Args:
          reversal: λ ≥ 0, by which its reversed gradient is multiplied; a number, or a scalar that a step computes.
          train: has no effect.
        """
        g = self.param("g", nn.initializers.constant(self.start), (), jnp.float32)
        return _tempered(self, g, reversal)


class InstanceTemperature(nn.Module):
    """A learned temperature for each example, from both players' logits, whose gradient is reversed: -> τ [b].

    CTKD's Instance-T: two linear layers with relu between, on the student's and the teacher's logits side by side. Its
    published code has the global one alone. No gradient passes to the logits. At first all temperatures are the same.

    Attributes:
      hidden: width of the layer between.
      least: of the temperatures, above 0.
      range: from the least to the largest.
      start: what the network gives at first, 1 of `Temperature`'s g.
    """

    hidden: int = 128
    least: float = 1.0
    range: float = 20.0
    start: float = 1.0

    def __post_init__(self):
        check_fields(self, positive=("hidden",))
        _check_range(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        student_logits: Float[Array, "b k"],
        teacher_logits: Float[Array, "b c"],
        reversal: Any = 1.0,
        *,
        train: bool = False,
    ) -> Float[Array, " b"]:
        """The temperatures.

        Args:
          student_logits: [b, k].
          teacher_logits: [b, c].
          reversal: λ ≥ 0, by which the reversed gradient is multiplied; a number, or a scalar that a step computes.
          train: has no effect.
        """
        x = jax.lax.stop_gradient(jnp.concatenate([student_logits, teacher_logits], axis=-1))
        x = nn.relu(nn.Dense(self.hidden, name="hidden")(at_least_float32(x)))
        last = nn.Dense(
            1,
            name="head",
            kernel_init=nn.initializers.zeros,
            bias_init=nn.initializers.constant(self.start),
        )
        return _tempered(self, last(x)[:, 0], reversal)


def _check_range(module: Temperature | InstanceTemperature) -> None:
    if not (module.least > 0 and module.range > 0):
        raise ValueError(
            f"{type(module).__name__}.least = {module.least}, range = {module.range}; it accepts numbers above 0"
        )


def _tempered(module: Temperature | InstanceTemperature, g: Array, reversal: Any) -> Array:
    return module.least + module.range * jax.nn.sigmoid(reverse_gradient(at_least_float32(g), reversal))
