"""Players whose logits and embeddings are their parameters, by example: the gradient of a term is read off after a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from scipy.special import log_softmax, rel_entr, softmax

import players as small
from kdgan import game
from kdgan.models.layers import Tap
from kdgan.player import PlayerInputs
from kdgan.state import TrainState
from kdgan.step import make_train_step


class Table(nn.Module):
    """Logits of the first b rows for b images, with the feature `embedding`."""

    logits: tuple
    embedding: tuple = ()

    @nn.compact
    def __call__(self, image):
        rows = lambda name, values: self.param(name, lambda key: jnp.array(values, jnp.float32))[: len(image)]
        if self.embedding:
            Tap(name="embedding")(rows("vectors", self.embedding))
        return rows("logits", self.logits)


def table(logits, embedding=()) -> Table:
    """The player of these arrays [n, k], [n, d]."""
    nested = lambda rows: tuple(map(tuple, np.asarray(rows).tolist()))
    return Table(nested(logits), nested(embedding))


def batch(labels, unlabelled: int = 0, **fields):
    """Images [b, 1], of which nothing is read, with labels [b]."""
    image = np.arange(len(labels) + unlabelled, dtype=np.float32)[:, None]
    labelled = {"image": image[: len(labels)], "label": np.asarray(labels, np.int32), **fields}
    return labelled | ({"unlabelled": {"image": image[len(labels) :]}} if unlabelled else {})


def terms(method, modules, given, *, move=0, step=0, key=None, state=None):
    """The terms of a move, and its players."""
    state = state or small.make_state(method, modules, example=given)
    players = game.bind(
        modules, state.params, state.model_state, step=jnp.int32(step), key=jax.random.key(0), trained=method.trained,
        moving=method.moves[move].players,
    )  # fmt: skip
    whole = PlayerInputs(jax.tree.map(jnp.asarray, given), None).batch
    return method.moves[move].terms(players, whole, jax.random.key(1) if key is None else key), players


def stepped(method, modules, given, *, start: TrainState | None = None, rate=1.0, **lambdas):
    """(state, metrics, state before) of one step of gradient descent, with λ 1 of each term but for those given."""
    optimizers = {name: optax.sgd(rate) for name in method.trained}
    before = start or small.make_state(method, modules, example=given)
    known = {p: {t: jnp.float32(lambdas.get(t, 1.0)) for t in ts} for p, ts in before.lambdas.items()}
    before = dataclasses.replace(before, lambdas=known)
    after, metrics = jax.jit(make_train_step(method, modules, optimizers))(before, given)
    return after, metrics, before


def kl(t, s, temperature=1.0):
    """T²·KL(softmax(t/T) ‖ softmax(s/T)) [b]."""
    t, s = np.float64(t) / temperature, np.float64(s) / temperature
    return temperature**2 * rel_entr(softmax(t, -1), softmax(s, -1)).sum(-1)


def ce(s, labels):
    return -log_softmax(np.float64(s), -1)[np.arange(len(labels)), labels]
