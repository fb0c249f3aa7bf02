"""Answers of a black box: what they are; their noise is a function of the query, and as large as is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import black_box

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (6, 3, 3, 2)).astype(np.float32)
LOGITS = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)


def test_without_noise_it_is_the_softmax_or_the_class():
    told = black_box.answer(LOGITS, jnp.asarray(LEVELS / 255))
    exponentials = np.exp(np.float64(LOGITS))
    np.testing.assert_allclose(told, exponentials / exponentials.sum(1, keepdims=True), rtol=1e-5)
    labels = black_box.answer(LOGITS, jnp.asarray(LEVELS / 255), answers="labels")
    np.testing.assert_array_equal(labels, np.eye(4)[np.argmax(LOGITS, 1)])


def test_the_same_query_is_told_the_same_in_any_batch_and_normalisation():
    mean, std = np.array([0.3, 0.5], np.float32), np.array([0.25, 0.2], np.float32)
    ask = lambda rows, **given: black_box.answer(LOGITS[rows], noise=1.0, **given)
    rows = np.array([4, 0, 4])
    told = ask(np.arange(6), query=jnp.asarray(LEVELS / 255))
    again = ask(rows, query=jnp.asarray((LEVELS[rows] / 255 - mean) / std),
                pixels={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})  # fmt: skip
    np.testing.assert_allclose(again, told[rows], rtol=1e-5)
    compiled = jax.jit(lambda query: ask(np.arange(6), query=query))(jnp.asarray(LEVELS / 255))
    np.testing.assert_allclose(compiled, told, rtol=1e-5)
    other = black_box.answer(LOGITS, jnp.asarray(LEVELS / 255), noise=1.0, seed=1)
    assert np.abs(other - told).max() > 0.01


def test_one_pixel_by_one_level_is_another_query():
    moved = np.repeat(LEVELS[:1], 19, 0)
    for place in range(18):
        moved[1 + place].reshape(-1)[place] += 1 if moved[1 + place].reshape(-1)[place] < 255 else -1
    assert len(np.unique(black_box.digests(jnp.asarray(moved / 255)))) == 19


def test_noise_has_the_spread_that_is_asked_for():
    """Of two classes log p₁/p₂ is the difference of the logits plus N(0, 2σ²)."""
    queries = jnp.asarray(RNG.integers(0, 256, (4_000, 2, 2, 1)) / 255, jnp.float32)
    logits = jnp.tile(jnp.array([[1.5, -0.5]]), (4_000, 1))
    told = np.log(np.float64(black_box.answer(logits, queries, noise=0.7)))
    difference = told[:, 0] - told[:, 1]
    spread = 0.7 * np.sqrt(2)
    assert difference.mean() == pytest.approx(2.0, abs=4 * spread / np.sqrt(4_000))
    assert difference.std() == pytest.approx(spread, rel=0.06)


def test_as_many_queries_as_logits_are_asked():
    with pytest.raises(ValueError, match="query has 1 examples, the logits 6"):
        black_box.answer(LOGITS, jnp.asarray(LEVELS[:1]), noise=1.0)


def test_vectors_and_tokens_are_queries_too():
    for query in (jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32), jnp.arange(18).reshape(6, 3)):
        assert len(np.unique(black_box.digests(query))) == 6
        assert black_box.answer(LOGITS, query, noise=0.5).shape == (6, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(answers="logits"), "answers = 'logits': accepted are probabilities, labels"),
        (dict(noise=-1.0), "noise = -1.0: a standard deviation in logits"),
        (dict(noise=True), "noise = True"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        black_box.answer(LOGITS, LEVELS, **given)
