"""Decoupled distillation and standardised logits: their identities, ends, refusals and published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity_figures
from kdgan.losses import decoupled, standardised
from kdgan.losses.logits import kl_divergence

TERMS = (decoupled.target_kl, decoupled.other_classes_kl)
BOTH = pytest.mark.parametrize("term", TERMS, ids=lambda term: term.__name__)
LABELS = jnp.array([2, 0, 3])


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = 3 * draw(0, 3, 5), 3 * draw(1, 3, 5)


def test_by_hand():
    # p = (1/2, 1/4, 1/4) and q = (1/4, 1/2, 1/4), of label 0: shares (1/2, 1/2) against (1/4, 3/4); others (1/2, 1/2)
    # against (2/3, 1/3).
    t, s = jnp.log(jnp.array([[2.0, 1.0, 1.0]])), jnp.log(jnp.array([[1.0, 2.0, 1.0]]))
    label = jnp.array([0])
    np.testing.assert_allclose(decoupled.target_kl(s, t, label), [0.5 * np.log(4 / 3)], rtol=1e-6)
    np.testing.assert_allclose(decoupled.other_classes_kl(s, t, label), [0.5 * np.log(9 / 8)], rtol=1e-5)


def test_together_they_are_soft_labels():
    p = np.take_along_axis(np.asarray(jax.nn.softmax(T / 2.0)), np.asarray(LABELS)[:, None], 1)[:, 0]
    target, others = (term(S, T, LABELS, temperature=2.0) for term in TERMS)
    np.testing.assert_allclose(target + (1 - p) * others, kl_divergence(S, T, temperature=2.0), rtol=1e-5)
    two = S[:, :2], T[:, :2], jnp.array([1, 0, 1])
    np.testing.assert_allclose(decoupled.target_kl(*two), kl_divergence(*two[:2]), rtol=1e-5)


@BOTH
def test_it_rests_where_the_student_is_the_teacher_and_sees_no_constant(term):
    value, gradient = jax.value_and_grad(lambda s: term(s, T, LABELS).sum())(T + 7)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    step = jax.grad(lambda s: term(s, T, LABELS).sum())(S)
    assert np.abs(step).max() > 0.01
    assert (np.asarray(term(S - 0.05 * step, T, LABELS)) < np.asarray(term(S, T, LABELS))).all()


def test_the_others_do_not_see_the_logit_of_the_label():
    gradient = jax.grad(lambda s: decoupled.other_classes_kl(s, T, LABELS).sum())(S)
    np.testing.assert_array_equal(np.asarray(gradient)[np.arange(3), LABELS], 0)


@BOTH
def test_certain_players_have_finite_values_and_gradients(term):
    certain = jnp.array([[0.0, 0.0, 3e4, -3e4, 1.0]] * 3)
    for s, t in ((certain, T), (S, certain), (certain, certain)):
        value, gradients = jax.value_and_grad(lambda s, t: term(s, t, LABELS).sum(), (0, 1))(s, t)
        assert np.isfinite(value)
        assert np.isfinite(gradients).all()


@BOTH
def test_what_does_not_fit_is_refused_or_nan(term):
    assert np.isnan(term(S, T, jnp.array([0, 5, -1]))).tolist() == [False, True, True]
    assert term(S.astype(jnp.bfloat16), T, LABELS).dtype == jnp.float32
    with pytest.raises(ValueError, match=r"labels has shape \(2,\); .*\[3\]"):
        term(S, T, LABELS[:2])
    with pytest.raises(ValueError, match="temperature is 0"):
        term(S, T, LABELS, temperature=0)
    with pytest.raises(ValueError, match="5 and 4 classes"):
        term(S, T[:, :4], LABELS)


def test_of_two_classes_one_other_is_no_distribution():
    with pytest.raises(ValueError, match=r"other_classes_kl: 2 classes; it accepts 3 or more\. .*kl_divergence"):
        decoupled.other_classes_kl(S[:, :2], T[:, :2], LABELS)


# Standardised logits


def test_z_scores_against_numpy():
    x = np.asarray(S, np.float64)
    for population in (False, True):
        z = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True, ddof=0 if population else 1)
        np.testing.assert_allclose(standardised.standardise(S, population=population), z, rtol=1e-5, atol=1e-6)
    of_tokens = standardised.standardise(jnp.stack([S, T], axis=1))
    np.testing.assert_allclose(of_tokens[:, 1], standardised.standardise(T), rtol=1e-6)


def test_z_scores_see_neither_level_nor_size():
    np.testing.assert_allclose(standardised.standardise(40 * S + 3), standardised.standardise(S), atol=1e-4)
    loss = lambda s: kl_divergence(standardised.standardise(s), standardised.standardise(T)).sum()
    gradient = jax.grad(loss)(S)
    assert np.abs(gradient).max() > 0.01
    for direction in (jnp.ones_like(S), S):
        np.testing.assert_allclose(jnp.sum(gradient * direction, axis=-1), 0, atol=1e-5)


def test_equal_logits_have_zero_scores_and_no_gradient():
    value, gradient = jax.value_and_grad(lambda x: (standardised.standardise(x) ** 2).sum())(jnp.full((2, 4), 3.0))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_two_classes_have_no_z_scores():
    with pytest.raises(ValueError, match="standardise: 2 classes; it accepts 3 or more"):
        standardised.standardise(S[:, :2])


# Published figures


def of_dkd(z):
    y = z["in.labels"]
    target, others = ((lambda s, t, f=f: f(s, t, y, temperature=4.0)) for f in TERMS)
    both = lambda s, t: target(s, t) + 8 * others(s, t)
    return {"mdistiller": both, "mdistiller_tckd": target, "mdistiller_nckd": others}


def of_standardised(z):
    scores = standardised.standardise
    return {"official": lambda s, t: kl_divergence(scores(s), scores(t), temperature=2.0)}


PARITY = {"dkd": (of_dkd, 1e-5, 2e-6), "logit_std_kd": (of_standardised, 5e-6, 1e-6)}


@pytest.mark.shared
@pytest.mark.parametrize("name", PARITY)
def test_values_and_gradients_are_those_of_published_code(name, shared_data_dir):
    z, figures, preferred = parity_figures.load(shared_data_dir, name)
    make, value_rtol, tolerance = PARITY[name]
    losses = make(z)
    assert set(losses) == preferred
    inputs = {"student": z["in.student"], "teacher": z["in.teacher"]}
    for variant, loss in losses.items():
        parity_figures.agree(figures, variant, loss, inputs, value_rtol=value_rtol, gradient_tolerance=tolerance)
