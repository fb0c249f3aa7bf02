"""Losses between label spaces: by hand, and against what they are special cases of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import label_spaces, logits

RNG = np.random.default_rng(0)
S, T = (jnp.asarray(RNG.normal(size=(4, k)) * 2, jnp.float32) for k in (5, 3))


def whole(*numbers):
    return jnp.asarray(numbers, jnp.int32)


def softmax(x):
    x = np.asarray(x, np.float64)
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_cross_entropy_among_classes_is_that_of_their_softmax():
    labels = whole(4, 1, 4, 3)
    p = softmax(np.asarray(S)[:, [1, 3, 4]])
    expected = -np.log(p[np.arange(4), [2, 0, 2, 1]])
    np.testing.assert_allclose(label_spaces.cross_entropy_among(S, labels, (1, 3, 4)), expected, rtol=1e-5)
    soft = jnp.eye(5)[labels]
    np.testing.assert_allclose(label_spaces.cross_entropy_among(S, soft, (1, 3, 4)), expected, rtol=1e-5)
    other = np.asarray(jax.grad(lambda s: label_spaces.cross_entropy_among(s, labels, (1, 3, 4)).sum())(S))
    assert (other[:, [0, 2]] == 0).all()
    assert (other[:, [1, 3, 4]] != 0).all()


def test_a_label_of_another_class_is_no_number():
    found = label_spaces.cross_entropy_among(S, whole(1, 2, 7, -1), (1, 3))
    assert np.isnan(found).tolist() == [False, True, True, True]


def test_widened_kl_by_hand_and_over_all_classes_of_both_the_plain_one():
    p, q = softmax(np.asarray(T)[:, [0, 2]] / 3.0), softmax(S / 3.0)[:, [0, 2]]
    expected = 9.0 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(label_spaces.widened_kl(S, T, (0, 2), temperature=3.0), expected, rtol=1e-4)
    same = label_spaces.widened_kl(S[:, :3], T, (0, 1, 2), temperature=2.0)
    np.testing.assert_allclose(same, logits.kl_divergence(S[:, :3], T, temperature=2.0), rtol=1e-5)


def test_an_old_image_that_is_given_to_a_new_class_costs_in_the_widened_one_only():
    agrees = jnp.pad(T, ((0, 0), (0, 2)), constant_values=-20.0)
    takes = agrees.at[:, 4].set(10.0)
    old = (0, 1, 2)
    assert label_spaces.widened_kl(agrees, T, old).max() < 1e-5
    assert label_spaces.widened_kl(takes, T, old).min() > 1.0
    assert logits.kl_divergence(label_spaces.columns(takes, old), T).max() < 1e-5


def test_weights_are_errors_over_their_mean_among_the_examples_that_count():
    p = np.array([0.9, 0.5, 0.2, 0.99])
    two = jnp.asarray(np.log(np.stack([p, 1 - p], -1)), jnp.float32)
    counts = jnp.array([True, True, True, False])
    found = label_spaces.error_weights(two, whole(0, 0, 0, 0), counts, floor=0.1)
    raw = np.array([0.2, 0.6, 0.9])
    np.testing.assert_allclose(found, [*(raw / raw.mean()), 0.0], rtol=1e-5)


def test_a_model_that_never_errs_gives_even_weights_and_no_example_no_weight():
    sure = jnp.array([[100.0, 0.0]] * 3)
    ones = label_spaces.error_weights(sure, whole(0, 0, 0), jnp.ones(3, bool))
    np.testing.assert_allclose(ones, 1.0)
    none = label_spaces.error_weights(sure, whole(7, 7, 7), jnp.zeros(3, bool))
    np.testing.assert_array_equal(none, 0.0)


@pytest.mark.parametrize("classes", [(), (0, 5), (1, 1), (-1,)])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(ValueError, match=r"have the classes 0..4, each once is accepted"):
        label_spaces.columns(S, classes)


def test_a_floor_is_positive():
    with pytest.raises(ValueError, match="floor is 0"):
        label_spaces.error_weights(S, whole(0, 0, 0, 0), jnp.ones(4, bool), floor=0)
