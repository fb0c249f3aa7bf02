"""Gradient penalties where they have a closed form, differentiated again, and their lazy form under the transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import penalties

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
Y = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), jnp.float32)
W = jnp.array([3.0, 0.0, 4.0])  # ‖w‖ = 5
A = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 1.0]], np.float32)  # symmetric


def quadratic(x):
    return 0.5 * jnp.einsum("bi,ij,bj->b", x, A, x)


def test_r1_of_a_quadratic_score():
    # ∇ ½xᵀAx = Ax.
    found = penalties.r1(quadratic, X)
    np.testing.assert_allclose(found, 0.5 * np.sum((np.asarray(X) @ A) ** 2, axis=1), rtol=1e-5)


def test_r1_of_a_linear_score_and_its_gradient_in_the_weights():
    loss = lambda w: penalties.r1(lambda x: x @ w, X).mean()
    np.testing.assert_allclose(loss(W), 12.5)
    np.testing.assert_allclose(jax.grad(loss)(W), W)


def test_r1_sums_over_pixels_and_channels():
    images = jnp.ones((2, 4, 3, 2))
    np.testing.assert_allclose(penalties.r1(lambda x: 2.0 * x.sum((1, 2, 3)), images), np.full(2, 0.5 * 4 * 24))


@pytest.mark.parametrize("target", [0.0, 1.0, 5.0])
def test_gradient_penalty_of_a_linear_critic(target):
    loss = lambda w: penalties.gradient_penalty(lambda x: x @ w, X, Y, KEY, target=target).mean()
    np.testing.assert_allclose(loss(W), (5 - target) ** 2, atol=1e-5)
    # d/dw (‖w‖ − t)² = 2(‖w‖ − t)·w/‖w‖.
    np.testing.assert_allclose(jax.grad(loss)(W), 2 * (5 - target) * W / 5, atol=1e-5)


def test_gradient_penalty_lies_on_the_segments():
    # With D = ½‖x‖² the gradient is x̂ itself, and with target 0 the penalty ‖x̂‖²: here x̂ = u in one dimension.
    drawn = penalties.gradient_penalty(
        lambda x: 0.5 * jnp.sum(x**2, axis=1), jnp.ones((2000, 1)), jnp.zeros((2000, 1)), KEY, target=0.0
    )
    u = np.sqrt(drawn)
    assert u.min() >= 0
    assert u.max() <= 1
    # Mean and variance of U(0, 1), to four standard errors.
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 2000)
    assert abs(u.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / 2000)


def test_gradient_penalty_draws_one_u_per_example():
    # Between zeros and ones x̂ is u everywhere: with D = Σ x³/3 the gradient is x̂², and its norm √12·u² if one u is
    # drawn for all 12 pixels and channels; D = ½Σ x² gives √12·u for the same u.
    real = jnp.ones((3, 2, 3, 2))
    square, cube = (
        penalties.gradient_penalty(
            lambda x, power=power: jnp.sum(x**power, axis=(1, 2, 3)) / power, real, 0 * real, KEY, target=0.0
        )
        for power in (2, 3)
    )
    u = np.sqrt(np.asarray(square) / 12)
    assert len(set(u.tolist())) == 3
    np.testing.assert_allclose(cube, 12 * u**4, rtol=1e-5)


def test_flat_critic_has_a_finite_gradient():
    loss = lambda w: penalties.gradient_penalty(lambda x: x @ w, X, Y, KEY).mean()
    value, gradient = jax.value_and_grad(loss)(jnp.zeros(3))
    np.testing.assert_allclose(value, 1.0)
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_second_derivative_of_a_nonlinear_critic_by_finite_differences():
    with jax.enable_x64(True):
        x, y = (jnp.asarray(a, jnp.float64) for a in (X, Y))
        for penalty in (penalties.r1, lambda score, x: penalties.gradient_penalty(score, x, y, KEY)):
            loss = jax.jit(lambda w, penalty=penalty: penalty(lambda x: jnp.tanh(x @ w), x).mean())
            w, step = jnp.array([0.3, -0.2, 0.5], jnp.float64), 1e-5
            numeric = [(loss(w + step * e) - loss(w - step * e)) / (2 * step) for e in np.eye(3)]
            np.testing.assert_allclose(jax.jit(jax.grad(loss))(w), numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", [penalties.r1, lambda score, x: penalties.gradient_penalty(score, x, x, KEY)])
def test_examples_are_penalised_one_by_one(penalty):
    whole = penalty(quadratic, X)
    alone = jnp.concatenate([penalty(quadratic, X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(whole, alone, rtol=1e-5)


def test_low_precision_images():
    assert penalties.r1(quadratic, X.astype(jnp.bfloat16)).dtype == jnp.float32
    narrow = lambda x: (x.astype(jnp.bfloat16) @ W.astype(jnp.bfloat16)).astype(jnp.float32)
    np.testing.assert_allclose(penalties.gradient_penalty(narrow, X, Y, KEY), np.full(5, 16.0), rtol=1e-2)


def test_scores_must_be_one_per_example():
    with pytest.raises(ValueError, match=r"score gives shape \(5, 1\) for images \(5, 3\)"):
        penalties.r1(lambda x: x @ W[:, None], X)


def test_real_and_fake_must_pair():
    with pytest.raises(ValueError, match=r"real has shape \(5, 3\) and fake \(4, 3\)"):
        penalties.gradient_penalty(lambda x: x @ W, X, Y[:4], KEY)


# Lazy


def lazily(w, step, every=4):
    return penalties.lazy(every, step, lambda: penalties.r1(lambda x: x @ w, X))


def test_lazy_is_the_penalty_on_average():
    values = jax.jit(lambda w: jnp.stack([lazily(w, step) for step in range(8)]))(W)
    np.testing.assert_array_equal(np.any(values != 0, axis=1), [True, False, False, False] * 2)
    np.testing.assert_allclose(values.mean(0), np.full(5, 12.5))
    assert values.shape == (8, 5)


def test_lazy_gradient_is_the_penaltys_on_average_in_one_compilation():
    traces = []

    @jax.jit
    def gradient(w, step):
        traces.append(0)
        return jax.grad(lambda w: lazily(w, step).mean())(w)

    gradients = np.stack([gradient(W, jnp.int32(step)) for step in range(4)])
    np.testing.assert_allclose(gradients.mean(0), W)  # of ½‖w‖²
    np.testing.assert_array_equal(gradients[1:], np.zeros((3, 3)))
    assert len(traces) == 1


@pytest.mark.parametrize("step", [4, 5])
def test_lazy_over_members(step):
    members = jnp.stack([W, 2 * W])
    shared = jax.vmap(lambda w: lazily(w, jnp.int32(step)))(members)
    np.testing.assert_allclose(shared, np.full((2, 5), 50.0) * [[1], [4]] * (step == 4))
    # The step is shared, so the choice stays a conditional and the skipped steps stay free.
    assert "cond[" in str(jax.make_jaxpr(jax.vmap(lambda w: lazily(w, jnp.int32(step))))(members))
    apart = jax.vmap(lazily)(members, jnp.array([4, 5]))
    np.testing.assert_allclose(apart, [[50.0] * 5, [0.0] * 5])


def test_lazy_every_step_is_the_penalty_itself():
    for step in (0, 1):
        np.testing.assert_allclose(lazily(W, step, every=1), np.full(5, 12.5))


def test_lazy_takes_at_least_one():
    with pytest.raises(ValueError, match="every is 0"):
        lazily(W, 0, every=0)
