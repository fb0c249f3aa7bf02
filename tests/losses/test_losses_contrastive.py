"""Contrast of embeddings: CRD's equations against NumPy, InfoNCE in closed form, and a reversed gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import contrastive, reversal


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


A, ROWS = contrastive.unit(draw(0, 3, 4)), contrastive.unit(draw(1, 3, 6, 4))


def published(h, z, n):
    """One side of CRD as its code writes it, without logarithms of scores."""
    share = (h.shape[1] - 1) / n
    p = h / z
    positive = np.log(p[:, 0] / (p[:, 0] + share + 1e-7))
    return -positive - np.log(share / (p[:, 1:] + share + 1e-7)).sum(1)


def test_scores_and_their_constant_against_numpy():
    log_h = contrastive.bank_scores(A, ROWS, temperature=0.5)
    expected = np.einsum("bd,bmd->bm", np.float64(A), np.float64(ROWS)) / 0.5
    np.testing.assert_allclose(log_h, expected, atol=1e-6)
    np.testing.assert_allclose(contrastive.log_normaliser(log_h, 40), np.log(40 * np.exp(expected).mean()), rtol=1e-6)


@pytest.mark.parametrize("z", [1.0, 60.0])
def test_noise_contrast_against_numpy(z):
    log_h = contrastive.bank_scores(A, ROWS, temperature=0.5)
    found = contrastive.nce(log_h, np.log(z), examples=40)
    np.testing.assert_allclose(found, published(np.exp(np.float64(log_h)), z, 40), rtol=1e-5)


def test_noise_contrast_by_hand_and_its_direction():
    # P = c₀ = 1 everywhere: −log ½ − log ½ of two rows, n = 1.
    np.testing.assert_allclose(contrastive.nce(jnp.zeros((1, 2)), examples=1), [2 * np.log(2)], rtol=1e-6)
    gradient = jax.grad(lambda x: contrastive.nce(x, examples=5).sum())(jnp.zeros((2, 4)))
    assert (gradient[:, 0] < -0.1).all()  # the positive's score is to rise
    assert (gradient[:, 1:] > 0.1).all()


def test_scores_of_a_low_temperature_stay_finite():
    loss = lambda a: contrastive.nce(contrastive.bank_scores(a, ROWS, temperature=1e-3), 5.0, examples=40).sum()
    value, gradient = jax.value_and_grad(loss)(A)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_rows_move_half_the_way_and_keep_their_length():
    found = contrastive.moved_rows(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 1.0]]))
    np.testing.assert_allclose(found, [[3 / np.sqrt(10), 1 / np.sqrt(10)]], rtol=1e-6)
    np.testing.assert_allclose(contrastive.moved_rows(A, A[::-1], momentum=0.0), A[::-1], rtol=1e-6)
    gradient = jax.grad(lambda x: contrastive.unit(x).sum())(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(gradient, 0)


# Within the batch


def test_in_batch_contrast_in_closed_form():
    np.testing.assert_allclose(
        contrastive.contrastive_in_batch(jnp.ones((4, 3)), jnp.ones((4, 3))), np.log(4), rtol=1e-6
    )
    # Orthogonal embeddings, found: log(1 + (b − 1)·e^(−1/τ)).
    found = contrastive.contrastive_in_batch(3 * jnp.eye(4), jnp.eye(4), temperature=0.5)
    np.testing.assert_allclose(found, np.log1p(3 * np.exp(-2.0)), rtol=1e-5)
    # With labels each has two of the other class against it.
    found = contrastive.contrastive_in_batch(jnp.eye(4), jnp.eye(4), jnp.array([0, 1, 1, 0]), temperature=0.5)
    np.testing.assert_allclose(found, np.log1p(2 * np.exp(-2.0)), rtol=1e-5)
    np.testing.assert_allclose(
        contrastive.contrastive_in_batch(jnp.eye(4), jnp.eye(4), jnp.zeros(4, int)), 0, atol=1e-6
    )


def test_in_batch_contrast_pulls_towards_the_own_teacher_and_sees_no_length():
    s, t = draw(2, 4, 3), draw(3, 4, 3)
    loss = lambda s, t: contrastive.contrastive_in_batch(s, t, temperature=0.3)
    np.testing.assert_allclose(loss(5 * s, 0.2 * t), loss(s, t), rtol=1e-5)
    pulls = jax.grad(lambda s, t: loss(s, t).sum(), (0, 1))(s, t)
    assert all(np.abs(pull).max() > 0.01 for pull in pulls)
    assert (loss(s - 0.05 * pulls[0], t)).sum() < loss(s, t).sum()
    zeros = jnp.zeros((4, 3))
    for pair in ((zeros, t), (s, zeros)):
        gradients = jax.grad(
            lambda s, t: contrastive.contrastive_in_batch(s, t, jnp.array([0, 0, 1, 2])).sum(), (0, 1)
        )(*pair)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 3\) and teacher \(4, 2\); .*adapter"):
        contrastive.contrastive_in_batch(jnp.ones((4, 3)), jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="at least 2 examples"):
        contrastive.contrastive_in_batch(jnp.ones((1, 3)), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"labels has shape \(3,\); .*\[4\]"):
        contrastive.contrastive_in_batch(jnp.ones((4, 3)), jnp.ones((4, 3)), jnp.zeros(3, int))
    with pytest.raises(ValueError, match="temperature is 0"):
        contrastive.bank_scores(A, ROWS, temperature=0)
    with pytest.raises(ValueError, match=r"anchor has shape \(2, 4\)"):
        contrastive.bank_scores(A[:2], ROWS)
    with pytest.raises(ValueError, match=r"log_scores has shape \(3, 1\) .*negatives"):
        contrastive.nce(jnp.zeros((3, 1)), examples=4)
    with pytest.raises(ValueError, match="momentum is 1"):
        contrastive.moved_rows(A, A, momentum=1)
    with pytest.raises(ValueError, match=r"old has shape \(3, 4\) and new \(2, 4\)"):
        contrastive.moved_rows(A, A[:2])


# A reversed gradient


@pytest.mark.parametrize("scale", [0.0, 1, 0.25, jnp.float32(2)])
def test_a_reversed_gradient(scale):
    x = jnp.array([1.0, -2.0])
    value, gradient = jax.jit(jax.value_and_grad(lambda x, scale: (reversal.reverse_gradient(x, scale) ** 2).sum()))(
        x, jnp.asarray(scale, jnp.float32)
    )
    assert value == 5
    np.testing.assert_allclose(gradient, -2 * x * scale)
    np.testing.assert_array_equal(reversal.reverse_gradient(x, scale), x)


def test_a_reversed_gradient_in_low_precision_under_vmap_and_its_refusal():
    x = jnp.ones((3, 2), jnp.bfloat16)
    gradient = jax.vmap(jax.grad(lambda x: reversal.reverse_gradient(x, 0.5).sum()))(x)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(jnp.float32), -0.5)
    assert jax.grad(lambda scale: reversal.reverse_gradient(jnp.ones(2), scale).sum())(1.0) == 0
    with pytest.raises(ValueError, match="scale is -1"):
        reversal.reverse_gradient(x, -1)
