"""Copying a black box: its term by hand, and that without noise it pulls as soft labels do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from kdgan import black_box, game, methods

RNG = np.random.default_rng(0)
B, K = 5, 3
S, T = (RNG.normal(scale=2, size=(B, K)).astype(np.float32) for _ in range(2))
BATCH = {"image": jnp.asarray(RNG.integers(0, 256, (B, 2, 2, 1)) / 255, jnp.float32)}  # no labels


def term(name, student, teacher=T, batch=BATCH, **hyperparameters):
    method = methods.build(name, **hyperparameters)
    players = {"student": lambda x: student, "teacher": lambda x: jnp.asarray(teacher)}
    return method.moves[0].terms(game.Players(players, jnp.int32(0)), batch, jax.random.key(0))


def test_it_is_the_cross_entropy_with_the_answers():
    told = term("copy", jnp.asarray(S))
    assert set(told) == {"copy"}
    np.testing.assert_allclose(told["copy"], -(softmax(T, -1) * log_softmax(S, -1)).sum(-1), rtol=1e-5)
    labels = term("copy", jnp.asarray(S), answers="labels")["copy"]
    np.testing.assert_allclose(labels, -log_softmax(S, -1)[np.arange(B), T.argmax(-1)], rtol=1e-5)


def test_noise_is_that_of_the_answers():
    told = black_box.answer(jnp.asarray(T), BATCH["image"], noise=2.0, seed=3)
    found = term("copy", jnp.asarray(S), noise=2.0, seed=3)["copy"]
    np.testing.assert_allclose(found, -(np.float64(told) * log_softmax(S, -1)).sum(-1), rtol=1e-5)


def test_its_gradient_is_that_of_soft_labels_at_temperature_1():
    labelled = {**BATCH, "label": jnp.zeros(B, jnp.int32)}
    copied = jax.grad(lambda s: term("copy", s)["copy"].sum())(jnp.asarray(S))
    taught = jax.grad(lambda s: term("kd", s, batch=labelled, temperature=1.0)["kd"].sum())(jnp.asarray(S))
    np.testing.assert_allclose(copied, taught, atol=1e-5)
    np.testing.assert_allclose(copied, softmax(S, -1) - softmax(T, -1), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(answers="features"), r"method\.answers = 'features'"),
        (dict(noise=-1.0), r"method\.noise = -1.0"),
        (dict(label_kind="tags"), "copy accepts class"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        methods.build("copy", **given)
