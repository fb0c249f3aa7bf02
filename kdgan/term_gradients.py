"""The gradients of a move's terms: how long each is, and which of them pull against each other.

A move descends along Σ λ_t·∇L_t. Of every term L_t, its mean over the batch without its λ, the gradient with respect to each
moving player's parameters has a norm, and of each two terms the gradients have a cosine: below 0 a small step along one of
them raises the other. Both λ's being positive, the cosine is that of the weighted gradients, too, and λ·norm their length.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Tree = Any  # a pytree of arrays
NORM, COSINE = "gradient", "cosine"


def of_terms(terms: Callable[[Tree], Mapping[str, Array]], params: Tree) -> dict[str, Tree]:
    """The gradient of every term: one forward pass, and one backward pass of each.

    Args:
      terms: of the parameters, scalars by name.
      params: where.

    Returns:
      Term -> gradient, of the form of `params`.
    """
    values, pull_back = jax.vjp(terms, params)
    zeros = {name: jnp.zeros_like(value) for name, value in values.items()}
    return {name: pull_back({**zeros, name: jnp.ones_like(value)})[0] for name, value in values.items()}


def compared(gradients: Mapping[str, Tree]) -> tuple[dict[str, Array], dict[tuple[str, str], Array]]:
    """Norms ‖g_t‖, and cosines ⟨g_t, g_u⟩ / (‖g_t‖·‖g_u‖) of each two, in float32.

    Gradients are divided by their largest entry before they are squared, so that neither small nor large ones are lost.

    Args:
      gradients: term -> gradient, all of one form.

    Returns:
      term -> norm, and (term, later term) -> cosine, which is NaN where one of both gradients is zero.
    """
    norms, directions = {}, {}
    for name, gradient in gradients.items():
        flat = jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(gradient)])
        largest = jnp.max(jnp.abs(flat))
        scaled = flat / jnp.where(largest > 0, largest, 1)
        length = jnp.sqrt(jnp.sum(scaled**2))
        norms[name] = largest * length
        directions[name] = scaled / jnp.where(length > 0, length, jnp.nan)
    pairs = itertools.combinations(gradients, 2)
    cosines = {(a, b): jnp.clip(jnp.sum(directions[a] * directions[b]), -1, 1) for a, b in pairs}
    return norms, cosines


def metrics(lead: str, gradients: Mapping[str, Mapping[str, Tree]]) -> dict[str, Array]:
    """Norms and cosines by the names under which they are logged, of each moving player by itself.

    `student/gradient/kd` and `student/cosine/ce,kd` of the player that leads a move; of one that moves with it
    `adapter/gradient/student/kd` and `adapter/cosine/student/ce,kd`, since the terms are the leader's. Players without
    parameters have none.

    Args:
      lead: the leading player.
      gradients: term -> player -> gradient.
    """
    measured: dict[str, Array] = {}
    for player in next(iter(gradients.values()), {}):
        of_player = {term: of_players[player] for term, of_players in gradients.items()}
        if not any(leaf.size for leaf in jax.tree.leaves(of_player)):
            continue
        norms, cosines = compared(of_player)
        whose = "" if player == lead else f"{lead}/"
        measured |= {f"{player}/{NORM}/{whose}{term}": value for term, value in norms.items()}
        measured |= {f"{player}/{COSINE}/{whose}{a},{b}": value for (a, b), value in cosines.items()}
    return measured


def parsed(name: str) -> tuple[str, str, str] | None:
    """(player, `gradient` or `cosine`, terms) of such a metric's name; None of every other one."""
    player, _, rest = name.partition("/")
    kind, _, terms = rest.partition("/")
    return (player, kind, terms) if kind in (NORM, COSINE) and terms and player != "lambda" else None
