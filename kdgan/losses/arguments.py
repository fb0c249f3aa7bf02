"""What every loss asks of its arguments: at least float32, a positive temperature, logits over the same classes."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """bfloat16 and float16 become float32, since a sum of exponentials needs its 24 bits; float64 stays."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_temperature(temperature: Real[ArrayLike, ""], name: str = "temperature") -> None:
    """Raises ValueError for a temperature that is not positive and finite.

    Only Python and NumPy numbers are looked at: a JAX scalar (a schedule's value inside a compiled step) has no value
    yet, and reading it would stall the device. Whoever builds the schedule checks its ends by this function.
    """
    if isinstance(temperature, (int, float, np.number, np.ndarray)) and not 0 < float(temperature) < math.inf:
        raise ValueError(
            f"{name} is {temperature}; it must be a positive, finite number (1 leaves the logits as they are)"
        )


def check_same_classes(student_logits: Float[Array, "b *t k"], teacher_logits: Float[Array, "n *u c"]) -> None:
    """Raises ValueError unless both have the same shape [b, k] (or [b, t, k]); left alone, a batch of one or one class
    would broadcast.
    """
    if student_logits.shape[-1] != teacher_logits.shape[-1]:
        raise ValueError(
            f"student_logits has shape {student_logits.shape} and teacher_logits {teacher_logits.shape}: "
            f"{student_logits.shape[-1]} and {teacher_logits.shape[-1]} classes. Both must be over the same classes; "
            "config.players.<name>.classes maps the classes of one player to those of the other"
        )
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits has shape {student_logits.shape} and teacher_logits {teacher_logits.shape}: "
            "both must come from the same batch"
        )


def check_mask(mask: Bool[Array, "b *t"] | None, logits: Float[Array, "n *u k"]) -> None:
    """Raises ValueError unless the mask has one entry for each row of logits: [b], or [b, t] of logits [b, t, k]."""
    if mask is not None and mask.shape != logits.shape[:-1]:
        raise ValueError(
            f"mask has shape {mask.shape}; a mask for logits {logits.shape} must be {list(logits.shape[:-1])}"
        )
