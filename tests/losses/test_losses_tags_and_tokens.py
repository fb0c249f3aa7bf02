"""Losses of tags, and of outputs with one row of logits for each token, against SciPy, scikit-learn and hand computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, rel_entr, softmax
from sklearn.metrics import log_loss

from kdgan.losses import logits as losses

MASK = np.arange(5)[None, :] < np.array([5, 3, 1, 0])[:, None]  # the last example keeps nothing


def draw(*shape: int, seed: int = 0, scale: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape, scale=scale).astype(np.float32)


def tags(*shape: int) -> np.ndarray:
    return (np.random.default_rng(5).uniform(size=shape) < 0.4).astype(np.float32)


# Tags


def test_sigmoid_cross_entropy_by_hand():
    """σ(log 3) = 3/4: −log 3/4 of a tag that is there, −log 1/4 of one that is not."""
    found = losses.sigmoid_cross_entropy(jnp.log(jnp.array([[3.0, 3.0], [3.0, 1.0]])), jnp.array([[1, 0], [1, 1]]))
    np.testing.assert_allclose(found, [-np.log(3 / 16), -np.log(3 / 8)], rtol=1e-6)


def test_sigmoid_cross_entropy_is_the_sum_of_scikit_learns_log_loss_over_tags():
    logits, y = draw(20, 4), tags(20, 4)
    expected = sum(log_loss(y[:, c], expit(np.float64(logits[:, c]))) for c in range(4))
    found = losses.sigmoid_cross_entropy(jnp.asarray(logits), jnp.asarray(y))
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.bool_, jnp.float32])
def test_tags_of_any_type(dtype):
    logits, y = jnp.asarray(draw(6, 3)), jnp.asarray(tags(6, 3))
    expected = losses.sigmoid_cross_entropy(logits, y)
    np.testing.assert_array_equal(losses.sigmoid_cross_entropy(logits, y.astype(dtype)), expected)


def test_smoothed_tags_lie_between():
    logits, y = draw(6, 3), tags(6, 3)
    q = 0.8 * y + 0.1
    expected = -(q * log_expit(np.float64(logits)) + (1 - q) * log_expit(-np.float64(logits))).sum(1)
    for value in (0.2, jnp.float32(0.2)):
        found = losses.sigmoid_cross_entropy(jnp.asarray(logits), jnp.asarray(y), label_smoothing=value)
        np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_gradient_of_sigmoid_cross_entropy():
    logits, y = jnp.asarray(draw(3, 4)), jnp.asarray(tags(3, 4))
    found = jax.grad(lambda s: losses.sigmoid_cross_entropy(s, y).sum())(logits)
    np.testing.assert_allclose(found, expit(np.asarray(logits)) - y, atol=1e-6)


def test_extreme_logits_of_tags_are_finite():
    logits, y = jnp.array([[1e4, -1e4], [-1e4, 1e4]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    value, gradient = jax.value_and_grad(lambda s: losses.sigmoid_cross_entropy(s, y).sum())(logits)
    assert value == pytest.approx(2e4)
    np.testing.assert_allclose(gradient, [[0, 0], [-1, 1]], atol=1e-6)


def test_a_tag_out_of_range_is_nan_and_the_others_are_not():
    found = losses.sigmoid_cross_entropy(jnp.zeros((3, 2)), jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, -1.0]]))
    np.testing.assert_array_equal(np.isnan(found), [False, True, True])


def test_classes_in_place_of_tags_are_refused():
    with pytest.raises(ValueError, match=r"tags has shape \(4, 1\); tags for logits \(4, 3\) must be \[4, 3\]"):
        losses.sigmoid_cross_entropy(jnp.zeros((4, 3)), jnp.zeros((4, 1), jnp.int32))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_sigmoid_kl_against_scipy(temperature):
    s, t = draw(8, 5), draw(8, 5, seed=1)
    q, p = (expit(np.float64(x) / temperature) for x in (s, t))
    expected = temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(1)
    found = losses.sigmoid_kl(jnp.asarray(s), jnp.asarray(t), temperature=temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_sigmoid_kl_with_two_temperatures_carries_the_students_square():
    s, t = draw(8, 5), draw(8, 5, seed=1)
    q, p = expit(np.float64(s) / 4), expit(np.float64(t) / 2)
    found = losses.sigmoid_kl(jnp.asarray(s), jnp.asarray(t), temperature=4.0, teacher_temperature=2.0)
    np.testing.assert_allclose(found, 16 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(1), rtol=1e-5)


def test_sigmoid_kl_pulls_as_sigmoid_matching_does_and_ends_at_0():
    s, t = jnp.asarray(draw(8, 5)), jnp.asarray(draw(8, 5, seed=1))
    pulls = [
        jax.grad(lambda s, loss=loss: loss(s, t).sum())(s) for loss in (losses.sigmoid_kl, losses.sigmoid_matching)
    ]
    np.testing.assert_allclose(*pulls, atol=1e-6)
    np.testing.assert_allclose(losses.sigmoid_kl(t, t, temperature=3.0), np.zeros(8), atol=1e-5)


def test_sigmoid_kl_at_high_temperature_is_an_eighth_of_the_squared_error():
    s, t = draw(4, 3), draw(4, 3, seed=1)
    found = losses.sigmoid_kl(jnp.asarray(s), jnp.asarray(t), temperature=30.0)
    np.testing.assert_allclose(found, ((s - t) ** 2).sum(1) / 8, rtol=2e-2)


# One row of logits for each token

PAIRED = {
    "kl_divergence": (
        lambda s, t, **mask: losses.kl_divergence(s, t, temperature=2.0, **mask),
        lambda s, t: 4 * rel_entr(softmax(t / 2, -1), softmax(s / 2, -1)).sum(-1),
    ),
    "sigmoid_kl": (
        losses.sigmoid_kl,
        lambda s, t: (rel_entr(expit(t), expit(s)) + rel_entr(expit(-t), expit(-s))).sum(-1),
    ),
    "sigmoid_matching": (
        losses.sigmoid_matching,
        lambda s, t: -(expit(t) * log_expit(s) + expit(-t) * log_expit(-s)).sum(-1),
    ),
    "half_squared_error": (losses.half_squared_error, lambda s, t: ((s - t) ** 2).sum(-1) / 2),
}


def mean_of_kept(values: np.ndarray) -> np.ndarray:
    """Example by example, the mean over its first tokens."""
    return np.array([row[keep].mean() if keep.any() else 0.0 for row, keep in zip(values, MASK, strict=True)])


@pytest.mark.parametrize("name", PAIRED)
def test_token_losses_are_means_over_what_the_mask_keeps(name):
    loss, expected = PAIRED[name]
    s, t = draw(4, 5, 3), draw(4, 5, 3, seed=1)
    at_each = expected(np.float64(s), np.float64(t))
    found = loss(jnp.asarray(s), jnp.asarray(t), mask=jnp.asarray(MASK))
    assert found.shape == (4,)
    np.testing.assert_allclose(found, mean_of_kept(at_each), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss(jnp.asarray(s), jnp.asarray(t)), at_each.mean(1), rtol=1e-5)


def test_cross_entropy_of_tokens_and_of_their_one_hot_form():
    logits, tokens = draw(4, 5, 3), np.arange(20).reshape(4, 5) % 3
    at_each = -np.take_along_axis(log_softmax(np.float64(logits), -1), tokens[..., None], -1)[..., 0]
    for labels in (jnp.asarray(tokens), jax.nn.one_hot(tokens, 3)):
        found = losses.cross_entropy(jnp.asarray(logits), labels, mask=jnp.asarray(MASK))
        np.testing.assert_allclose(found, mean_of_kept(at_each), rtol=1e-5)
        np.testing.assert_allclose(losses.cross_entropy(jnp.asarray(logits), labels), at_each.mean(1), rtol=1e-5)


def test_smoothing_of_tokens():
    logits, tokens = draw(4, 5, 3), np.arange(20).reshape(4, 5) % 3
    q = 0.9 * np.eye(3)[tokens] + 0.1 / 3
    expected = mean_of_kept(-(q * log_softmax(np.float64(logits), -1)).sum(-1))
    found = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(tokens), label_smoothing=0.1, mask=jnp.asarray(MASK))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_more_dimensions_and_a_mask_of_examples():
    s, t = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    flat = losses.kl_divergence(jnp.asarray(s.reshape(24, 5)), jnp.asarray(t.reshape(24, 5)))
    np.testing.assert_allclose(
        losses.kl_divergence(jnp.asarray(s), jnp.asarray(t)), flat.reshape(2, 12).mean(1), rtol=1e-5
    )
    kept = losses.half_squared_error(jnp.ones((2, 3)), jnp.zeros((2, 3)), mask=jnp.array([True, False]))
    np.testing.assert_array_equal(kept, [1.5, 0])


@pytest.mark.parametrize("name", [*PAIRED, "cross_entropy", "sigmoid_cross_entropy"])
def test_what_the_mask_leaves_out_may_be_anything(name):
    """Value and gradient: NaN behind the end of an example must not reach its loss."""
    s, t = draw(4, 5, 3), draw(4, 5, 3, seed=1)
    if name == "cross_entropy":
        loss, t, nothing = losses.cross_entropy, np.arange(20).reshape(4, 5) % 3, -7
    elif name == "sigmoid_cross_entropy":
        loss, t, nothing = losses.sigmoid_cross_entropy, tags(4, 5, 3), np.nan
    else:
        loss, nothing = PAIRED[name][0], np.nan
    bad_s, bad_t = s.copy(), t.copy()
    bad_s[~MASK], bad_t[~MASK] = np.nan, nothing
    run = jax.value_and_grad(lambda s, t: loss(s, t, mask=jnp.asarray(MASK)).sum())
    (value, gradient), (expected, pull) = (run(*map(jnp.asarray, pair)) for pair in ((bad_s, bad_t), (s, t)))
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(gradient, pull)
    assert np.all(np.asarray(gradient)[~MASK] == 0)
    assert np.all(np.abs(gradient).sum(-1)[MASK] > 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda mask: losses.cross_entropy(jnp.zeros((4, 5, 3)), jnp.zeros((4, 5), jnp.int32), mask=mask),
        lambda mask: losses.kl_divergence(jnp.zeros((4, 5, 3)), jnp.zeros((4, 5, 3)), mask=mask),
        lambda mask: losses.half_squared_error(jnp.zeros((4, 5, 3)), jnp.zeros((4, 5, 3)), mask=mask),
    ],
)
def test_a_mask_of_another_shape(call):
    with pytest.raises(ValueError, match=r"mask has shape \(4,\); a mask for logits \(4, 5, 3\) must be \[4, 5\]"):
        call(jnp.ones(4, bool))


def test_tokens_of_another_length():
    with pytest.raises(ValueError, match=r"labels has shape \(4, 6\); integer labels .* must be \[4, 5\]"):
        losses.cross_entropy(jnp.zeros((4, 5, 3)), jnp.zeros((4, 6), jnp.int32))
