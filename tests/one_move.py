"""One move of a method on small players: its terms, the gradients of its players, and features taken by Flax alone."""

import jax
import jax.numpy as jnp
import numpy as np

import players as small
from kdgan import game
from kdgan.player import PlayerInputs

KEY = jax.random.key(3)


def example(others=0, seed=0):
    """A batch of small images, with some that have no label."""
    batch = small.batch(seed=seed)
    if others:
        batch["unlabelled"] = {"image": small.batch(others, seed=50 + seed)["image"]}
    return batch


def evaluated(method, modules, state, batch):
    """(terms, gradients of the sum of all but `ce` by the move's players) of a method of one move."""
    (move,) = method.moves

    def total(params):
        given = PlayerInputs(jax.tree.map(jnp.asarray, batch), None)
        bound = game.bind(
            modules, {**state.params, **params}, state.model_state, step=0, key=KEY, trained=move.players,
            moving=move.players, inputs=given,
        )  # fmt: skip
        terms = move.terms(bound, given.batch, KEY)
        return sum(jnp.mean(value) for name, value in terms.items() if name != "ce"), terms

    moved = {name: state.params[name] for name in move.players}
    (_, terms), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(moved)
    return terms, gradients


def taken(module, state, player, image, *paths):
    """Features of a player by path, as Linen captures them, in evaluation mode."""
    variables = {"params": state.params[player], **state.model_state.get(player, {})}
    _, captured = module.apply(variables, jnp.asarray(image), capture_intermediates=True, mutable=["intermediates"])
    return {path: captured["intermediates"][path]["__call__"][0] for path in paths}


def adapted(module, state, player, *features):
    """What an adapter gives in training mode, by Linen alone; the teacher's features behind the student's."""
    variables = {"params": state.params[player], **state.model_state.get(player, {})}
    mode = {"train": True, "mutable": ["batch_stats"]} if state.model_state.get(player) else {}
    result = module.apply(variables, *features, **mode)
    return result[0] if mode else result


def largest(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
