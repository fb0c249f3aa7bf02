"""Factor transfer (Kim et al. 2018): between a paraphrase of the teacher's features and a translation of the student's.

Factors, which a paraphraser and a translator make, come as features do in `features.py`. No function here stops a
gradient.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses import images
from kdgan.losses.logits import at_least_float32


def factor_transfer(
    student: Features, teacher: Features, weights: Weights | None = None, *, p: int = 1
) -> Float[Array, " b"]:
    """FT (Kim et al. 2018): Σ_l w_l·‖F̂_S − F̂_T‖_p, F̂ = F/‖F‖₂ of an example's factors, flattened.

    With p = 1 the mean over the n entries instead of the paper's sum, 1/n times as much, as in
    Knowledge-Distillation-Zoo and torchdistill; with p = 2 the norm itself, as in torchdistill. RepDistiller makes
    attention maps of the factors first, which is another loss.

    Args:
        student: F_S [b, ...], of a translator.
        teacher: F_T of the same shapes, of a paraphraser.
        weights: w_l, one a layer; 1 each where there are none.
        p: 1 or 2.

    Returns:
        [b], at least 0 for weights at least 0. Factors of zeros stay 0; the gradient is 0 there, and where both agree.

    Raises:
        ValueError: another p; no layers, other numbers of layers, names or weights, or factors whose shapes differ.
    """
    if p not in (1, 2):
        raise ValueError(f"p is {p}; 1 and 2 are accepted")
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        if s.shape != t.shape:
            raise ValueError(f"{where} have shapes {s.shape} and {t.shape}; factors must be of the same shape")
        ours, theirs = _unit(s), _unit(t)
        terms.append(weight * (images.l1(ours, theirs) if p == 1 else _length(ours - theirs)[:, 0]))
    return jnp.sum(jnp.stack(terms), axis=0)


def _unit(x: Array) -> Float[Array, "b n"]:
    x = at_least_float32(x).reshape(x.shape[0], -1)
    length = _length(x)
    return jnp.where(length > 0, x / jnp.where(length > 0, length, 1), 0)


def _length(x: Float[Array, "b n"]) -> Float[Array, "b 1"]:
    """‖x‖₂; its gradient at 0 is 0."""
    squared = jnp.sum(jnp.square(x), axis=1, keepdims=True)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
