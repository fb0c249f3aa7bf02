"""Measures of tags against scikit-learn and hand-computed values; padding and the cut into batches change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, label_ranking_average_precision_score

from kdgan.metrics import tags

N, K = 40, 7
jitted = jax.jit(tags.sums, static_argnames=("cutoffs", "threshold"))


@pytest.fixture(scope="module")
def outputs():
    rng = np.random.default_rng(0)
    truth = (rng.uniform(size=(N, K)) < 0.3).astype(np.float32)
    truth[np.arange(N), rng.integers(0, K, N)] = 1  # no example without a tag
    return rng.normal(size=(N, K)).astype(np.float32) + 1.5 * truth - 0.75, truth


def total(logits, truth, mask=None, **settings):
    mask = np.ones(len(truth), bool) if mask is None else mask
    return jax.device_get(jitted(jnp.asarray(logits), jnp.asarray(truth), jnp.asarray(mask), **settings))


def one(logits, truth, **settings):
    return tags.summarise(total([logits], [truth], **settings))


def test_rankings_by_hand():
    """Ranked: tags 3, 1, 0, 4, 2. The example has 1, 2 and 4: at the ranks 2, 4 and 5."""
    found = one([1.0, 2.0, -4.0, 3.0, 0.5], [0, 1, 1, 0, 1])
    assert found["p_3"] == pytest.approx(1 / 3)
    assert found["p_5"] == pytest.approx(3 / 5)
    assert found["f_3"] == pytest.approx(1 / 3)  # P@3 = R@3 = 1/3
    assert found["f_5"] == pytest.approx(2 * 0.6 * 1 / 1.6)
    assert found["map"] == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert found["mrr"] == pytest.approx(1 / 2)
    # Chosen are 0, 1, 3 and 4 (logits above 0): two of them rightly, and tag 2 is missed.
    assert found["micro_f1"] == pytest.approx(2 * 2 / (4 + 3))
    assert found["macro_f1"] == pytest.approx(2 / 5)


def test_an_example_without_a_tag_scores_nothing_and_counts():
    found = tags.summarise(total([[1.0, 2.0], [1.0, 2.0]], [[0, 1], [0, 0]], cutoffs=(1,)))
    assert [found[name] for name in ("p_1", "f_1", "map", "mrr")] == [0.5] * 4


def test_of_equal_logits_the_first_tag_ranks_first():
    assert one([0.0, 0.0, 0.0, 0.0], [0, 0, 1, 0])["mrr"] == pytest.approx(1 / 3)


def test_fewer_tags_than_the_cutoff():
    """All three are looked at: P is of three, not of five."""
    assert one([3.0, 2.0, 1.0], [1, 1, 0])["p_5"] == pytest.approx(2 / 3)


def test_summary_is_scikit_learns(outputs):
    logits, truth = outputs
    found = tags.summarise(total(logits, truth))
    assert found["map"] == pytest.approx(label_ranking_average_precision_score(truth, logits), rel=1e-6)
    for average in ("micro", "macro"):
        expected = f1_score(truth, logits > 0, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected, rel=1e-9)
    order = np.argsort(-logits, axis=1)
    for n in (3, 5):
        hits = np.take_along_axis(np.float64(truth), order[:, :n], axis=1).sum(1)
        precision, recall = hits / n, hits / truth.sum(1)
        f = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)]
        assert found[f"p_{n}"] == pytest.approx(precision.mean(), rel=1e-9)
        assert found[f"f_{n}"] == pytest.approx(np.mean(f), rel=1e-6)
    first = [1 / (1 + np.flatnonzero(t[o])[0]) for t, o in zip(truth, order, strict=True)]
    assert found["mrr"] == pytest.approx(np.mean(first), rel=1e-6)
    probability = 1 / (1 + np.exp(-np.float64(logits)))
    nll = -(truth * np.log(probability) + (1 - truth) * np.log1p(-probability)).sum(1).mean()
    assert found["nll"] == pytest.approx(nll, rel=1e-6)


def test_another_threshold(outputs):
    logits, truth = outputs
    found = tags.summarise(total(logits, truth, threshold=0.8))
    chosen = 1 / (1 + np.exp(-logits)) > 0.8
    assert found["macro_f1"] == pytest.approx(f1_score(truth, chosen, average="macro", zero_division=0), rel=1e-9)


def test_a_tag_that_is_neither_there_nor_chosen_has_an_f1_of_0():
    found = one([2.0, -2.0], [1, 0])
    assert (found["micro_f1"], found["macro_f1"]) == (1.0, 0.5)


def test_padding_and_the_cut_into_batches_change_nothing(outputs):
    logits, truth = outputs
    whole = total(logits, truth)
    padded = np.concatenate([logits, np.full((3, K), np.nan, np.float32)]), np.concatenate([truth, np.ones((3, K))])
    mask = np.arange(N + 3) < N
    parts = [slice(0, 9), slice(9, 43)]
    added = jax.tree.map(np.add, *[total(padded[0][part], padded[1][part], mask[part]) for part in parts])
    for name, value in whole.items():
        if np.issubdtype(value.dtype, np.integer):
            np.testing.assert_array_equal(added[name], value)
        else:
            np.testing.assert_allclose(added[name], value, rtol=1e-6)


def test_members_map(outputs):
    logits, truth = outputs
    mapped = jax.vmap(tags.sums, in_axes=(0, None, None))
    two = mapped(jnp.stack([logits, -logits]), jnp.asarray(truth), jnp.ones(N, bool))
    found = tags.summarise(jax.device_get(two))
    for i, sign in enumerate((1, -1)):
        expected = tags.summarise(total(sign * logits, truth))
        assert {name: value[i] for name, value in found.items()} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"cutoffs": (0, 3)}, "cutoffs is"), ({"threshold": 1.0}, r"threshold is 1.0.*\(0, 1\)")],
)
def test_settings_that_make_no_measure(settings, message):
    with pytest.raises(ValueError, match=message):
        tags.sums(jnp.zeros((1, 3)), jnp.zeros((1, 3)), jnp.ones(1), **settings)


def test_classes_in_place_of_tags_are_refused():
    with pytest.raises(ValueError, match=r"tags has shape \(2, 2\); tags for logits \(2, 3\)"):
        tags.sums(jnp.zeros((2, 3)), jnp.zeros((2, 2)), jnp.ones(2))


def test_nothing_counted():
    nothing = total([[1.0, 2.0]], [[0, 1]], np.zeros(1, bool))
    with pytest.raises(ValueError, match="no example was evaluated"):
        tags.summarise(nothing)
