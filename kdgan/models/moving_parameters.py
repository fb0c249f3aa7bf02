"""A moving average of a player's parameters, as a player without parameters that moves with it: Mean Teacher's teacher.

    def student(players, batch, key):
        logits = players.student(batch["image"])
        average = players.memory_average(players.student.params)
        teacher = players.student.at(average)(batch["image"], train=False)
        ...

    Move(("student", "memory_average"), student)

A run's `ema` of a player is another: it is made after a step and measured, and no method sees it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan.models.layers import check_fields


class MovingParameters(nn.Module):
    """Mean Teacher's average (Tarvainen & Valpola 2017), in float32: tree of parameters -> rate_n·average + (1 − rate_n)·it.

    rate_n = min(n/(n + 1), rate), n the trees that it was given before: at first they count alike, and the first is its own
    average. In training mode what it gives is then held. No gradient passes. As published, but that there the average starts
    at another random network, which counts as the first.

    Variables `memory`: `average`, a tree as the parameters, and `count` int32, n.

    Attributes:
      rate: above 0 and below 1; 0.999 published, 0.97 for 180 epochs of CIFAR-10.
    """

    rate: float = 0.999

    in_float32 = True  # also where the run computes in less: a rate of 0.999 would be lost in bfloat16

    def __post_init__(self):
        check_fields(self, rates=("rate",))
        if self.rate == 0:
            raise ValueError(
                "MovingParameters.rate = 0: the average would be the parameters; it accepts numbers above 0"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, params: Mapping[str, Any], *, train: bool = False) -> Mapping[str, Any]:
        """The average with these parameters in it."""
        given = jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf).astype(jnp.float32), dict(params))
        held = self.variable("memory", "average", lambda: jax.tree.map(jnp.zeros_like, given))
        count = self.variable("memory", "count", jnp.zeros, (), jnp.int32)
        n = count.value.astype(jnp.float32)
        rate = jnp.minimum(n / (n + 1), jnp.float32(self.rate))
        average = jax.tree.map(lambda old, new: rate * old + (1 - rate) * new, held.value, given)
        if train and not self.is_initializing():
            held.value, count.value = average, count.value + 1
        return average
