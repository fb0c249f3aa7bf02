"""Perplexity, bits per character and accuracy of the next token against hand-computed values and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from kdgan.metrics import language

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5, 4)).astype(np.float32)
TOKENS = RNG.integers(0, 4, size=(6, 5))
MASK = np.arange(5)[None, :] < np.array([5, 3, 1, 4, 5, 2])[:, None]


def total(logits, tokens, mask, **settings):
    return jax.device_get(language.sums(jnp.asarray(logits), jnp.asarray(tokens), jnp.asarray(mask), **settings))


def test_by_hand():
    """Two tokens of probability 1/2 and 1/8: perplexity (2·8)^½ = 4, two bits a character."""
    logits = np.log([[[0.5, 0.25, 0.125, 0.125], [0.5, 0.25, 0.125, 0.125]]]).astype(np.float32)
    found = language.summarise(total(logits, [[0, 2]], [[True, True]]))
    assert found["perplexity"] == pytest.approx(4)
    assert found["bits"] == pytest.approx(2)
    assert found["accuracy"] == 0.5
    # The two tokens are words of three characters each.
    words = total(logits, [[0, 2]], [[True, True]], characters=jnp.array([6]))
    assert language.summarise(words)["bits"] == pytest.approx(4 / 6)


def test_a_model_that_knows_nothing_has_as_many_choices_as_tokens():
    assert language.summarise(total(np.zeros_like(LOGITS), TOKENS, MASK))["perplexity"] == pytest.approx(4)


def test_only_what_the_mask_keeps_counts():
    picked = np.take_along_axis(log_softmax(np.float64(LOGITS), -1), TOKENS[..., None], -1)[..., 0][MASK]
    logits, tokens = LOGITS.copy(), TOKENS.copy()
    logits[~MASK], tokens[~MASK] = np.nan, -1
    found = language.summarise(total(logits, tokens, MASK))
    assert found["perplexity"] == pytest.approx(np.exp(-picked.mean()), rel=1e-6)
    assert found["accuracy"] == (LOGITS.argmax(-1) == TOKENS)[MASK].mean()


def test_the_cut_into_batches_changes_nothing():
    """A mean of the batches' perplexities would not be this."""
    parts = [total(LOGITS[s], TOKENS[s], MASK[s]) for s in (slice(0, 2), slice(2, 6))]
    added, whole = language.summarise(jax.tree.map(np.add, *parts)), language.summarise(total(LOGITS, TOKENS, MASK))
    assert added == pytest.approx(whole, rel=1e-6)
    assert np.mean([language.summarise(part)["perplexity"] for part in parts]) != pytest.approx(
        whole["perplexity"], rel=1e-3
    )


def test_a_token_out_of_range_is_not_a_number():
    assert np.isnan(total(LOGITS, np.full_like(TOKENS, 4), MASK)["nll"])
