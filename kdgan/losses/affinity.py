"""How the positions, or the channels, of one layer relate to one another: FAKD's affinity of features (He et al. 2020).

A student learns which places of an image its teacher sees alike, whatever numbers it has for them. No gradient is stopped.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.layer_pairs import Features, Weights, matched
from kdgan.losses import images
from kdgan.losses.logits import at_least_float32

SMALLEST = 1e-7  # norm up to which a vector counts as 0


def spatial_affinity(features: Float[Array, "b h w c"]) -> Float[Array, "b n n"]:
    """Cosines of the channel vectors of every two positions [b, h·w, h·w]: F̃F̃ᵀ, F̃ [h·w, c] with rows of length 1."""
    x = at_least_float32(features).reshape(features.shape[0], -1, features.shape[-1])
    x = _unit(x)
    return jnp.einsum("bnc,bmc->bnm", x, x, precision="highest")


def channel_affinity(features: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """Cosines between the maps of every two channels [b, c, c]: A = F̃ᵀF̃, F̃ [h·w, c] with columns of length 1."""
    x = at_least_float32(features).reshape(features.shape[0], -1, features.shape[-1])
    x = _unit(x.swapaxes(1, 2))
    return jnp.einsum("bcn,bdn->bcd", x, x, precision="highest")


# What of a layer is related to what.
FORMS: Mapping[str, Callable[[Array], Array]] = {"spatial": spatial_affinity, "channel": channel_affinity}


def affinity(
    student: Features, teacher: Features, weights: Weights | None = None, *, form: str = "spatial"
) -> Float[Array, " b"]:
    """FAKD (He et al. 2020): Σ_l w_l·mean |A(S_l) − A(T_l)|, A the affinity matrix of a layer.

    - "spatial", the paper's: A [h·w, h·w], the cosines between positions. Widths may differ, no adapter is needed. Where one
      layer has larger sides than the other, it is averaged over blocks to the smaller ones. A matrix of a 40×40 layer has
      2.6 million entries an example: take layers of low resolution, or small windows.
    - "channel": A [c, c], the cosines between channels. Sides may differ, widths must not.

    The authors' λ is 10, beside pixel terms by L1 of weights that sum to 1 on values in 0..255: 10/255 for pixels in [0, 1].

    Args:
        student: S_l [b, h, w, c].
        teacher: T_l [b, h', w', c'].
        weights: w_l, one a layer; 1 each where there are none.
        form: "spatial" or "channel".

    Returns:
        [b], from 0 to 2 for one layer of weight 1. A vector of zeros has the cosine 0 with all others, and no gradient.

    Raises:
        ValueError: an unknown form; no layers, other numbers of layers, names or weights; a layer that is no image, or whose
            sides ("spatial") or channels ("channel") do not fit.
    """
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; accepted are {', '.join(FORMS)}")
    terms = []
    for where, s, t, weight in matched(student, teacher, weights):
        if s.ndim != 4 or t.ndim != 4 or s.shape[0] != t.shape[0]:
            raise ValueError(f"{where} have shapes {s.shape} and {t.shape}; affinity takes [b, h, w, c] of one batch")
        if form == "spatial":
            sides = [(min(pair), max(pair)) for pair in zip(s.shape[1:3], t.shape[1:3], strict=True)]
            if any(large % small for small, large in sides):
                raise ValueError(
                    f"{where} have shapes {s.shape} and {t.shape}: spatial affinity takes equal sides, or such that the"
                    " smaller divide the larger"
                )
            smaller = tuple(small for small, _ in sides)
            s, t = (_averaged(x, smaller) for x in (s, t))
        elif s.shape[-1] != t.shape[-1]:
            raise ValueError(
                f"{where} have shapes {s.shape} and {t.shape}: channel affinity takes equal channels; 'spatial' takes any"
            )
        terms.append(weight * images.l1(FORMS[form](s), FORMS[form](t)))
    return jnp.sum(jnp.stack(terms), axis=0)


def _unit(x: Array) -> Array:
    """Vectors along the last axis at length 1; zeros where they are 0, without a gradient there."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    there = squared > SMALLEST**2
    return jnp.where(there, x / jnp.sqrt(jnp.where(there, squared, 1)), 0)


def _averaged(x: Array, sides: tuple[int, ...]) -> Array:
    """Features [b, h, w, c] averaged over blocks to sides that divide theirs."""
    b, h, w, c = x.shape
    rows, columns = sides
    if (h, w) == (rows, columns):
        return x
    return at_least_float32(x).reshape(b, rows, h // rows, columns, w // columns, c).mean((2, 4))
