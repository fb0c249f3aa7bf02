"""Gaussian and Bernoulli terms against SciPy's densities and numerical integration; the projection's properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.integrate import quad

from kdgan.losses import latents

# Means and log-variances of p and q, one dimension a case: equal, shifted, narrow in wide, wide in narrow.
CASES = np.array([[0.3, -1.0, 0.3, -1.0], [2.0, 0.0, -1.0, 0.5], [0.0, -3.0, 0.5, 1.0], [-1.0, 1.5, 0.2, -1.0]])

# P for 3 dimensions to 2, transposed.
PINNED = [[0.90042062, 0.40807845], [-0.32895326, 0.41200427], [-0.28466201, 0.81469286]]


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def integrated_kl(mean_p, log_variance_p, mean_q, log_variance_q):
    p = scipy.stats.norm(mean_p, np.exp(log_variance_p / 2))
    q = scipy.stats.norm(mean_q, np.exp(log_variance_q / 2))
    edge = 9 * p.std()
    value, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), mean_p - edge, mean_p + edge)
    return value


def test_kl_gaussians_is_the_integral():
    expected = [integrated_kl(*case) for case in CASES]
    columns = [jnp.asarray(column[:, None], jnp.float32) for column in CASES.T]
    np.testing.assert_allclose(latents.kl_gaussians(*columns), expected, rtol=1e-5, atol=1e-6)
    # Independent dimensions add up.
    rows = [column.T for column in columns]
    np.testing.assert_allclose(latents.kl_gaussians(*rows), [sum(expected)], rtol=1e-5)


def test_kl_to_standard_normal_is_the_integral():
    expected = [integrated_kl(mean, log_variance, 0.0, 0.0) for mean, log_variance, _, _ in CASES]
    found = latents.kl_to_standard_normal(*(jnp.asarray(CASES[:, i : i + 1], jnp.float32) for i in (0, 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_standard_normal_is_one_of_the_gaussians():
    mean, log_variance = draw(4, 3), draw(4, 3, seed=1)
    zeros = jnp.zeros((4, 3))
    np.testing.assert_allclose(
        latents.kl_to_standard_normal(mean, log_variance),
        latents.kl_gaussians(mean, log_variance, zeros, zeros),
        rtol=1e-5,
    )


def test_divergence_is_zero_with_zero_gradient_at_equal_gaussians_only():
    mean, log_variance = draw(4, 3), draw(4, 3, seed=1)
    loss = lambda m, v: latents.kl_gaussians(mean, log_variance, m, v).sum()
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(mean, log_variance)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradients, np.zeros((2, 4, 3)), atol=1e-6)
    assert np.all(latents.kl_gaussians(mean, log_variance, mean + 0.1, log_variance) > 0)
    assert np.all(latents.kl_gaussians(mean, log_variance, mean, log_variance - 0.1) > 0)


def test_small_divergences_are_not_lost_to_rounding():
    # ½(e^ε − 1 − ε) → ε²/4, 2.5e-9 here, where e^ε − 1 taken in float32 would be off by 6e-8.
    small = jnp.full((1, 1), 1e-4)
    np.testing.assert_allclose(latents.kl_to_standard_normal(jnp.zeros((1, 1)), small), [2.5e-9], rtol=0.05)


def test_bernoulli_nll_is_scipys():
    logits, image = draw(3, 2, 2, 1, seed=1), (draw(3, 2, 2, 1) > 0).astype(jnp.float32)
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    expected = -scipy.stats.bernoulli.logpmf(np.asarray(image, int), probability).sum((1, 2, 3))
    np.testing.assert_allclose(latents.bernoulli_nll(logits, image), expected, rtol=1e-5)


def test_bernoulli_nll_of_a_grey_pixel_is_a_cross_entropy_with_its_best_at_the_pixel():
    # x = ¼ with σ(l) = ¼: the entropy, 0.5623 nats; a certain decoder is punished without overflow.
    grey, logit = jnp.full((1, 1, 1, 1), 0.25), jnp.full((1, 1, 1, 1), -np.log(3.0), jnp.float32)
    value, gradient = jax.value_and_grad(lambda logit: latents.bernoulli_nll(logit, grey).sum())(logit)
    np.testing.assert_allclose(value, 0.562335, rtol=1e-5)
    np.testing.assert_allclose(gradient, np.zeros((1, 1, 1, 1)), atol=1e-7)
    np.testing.assert_allclose(latents.bernoulli_nll(jnp.full((1, 1, 1, 1), 1e4), grey), [7500.0])


@pytest.mark.parametrize("scale", [1.0, 0.1, jnp.float32(2.0)])
def test_gaussian_nll_is_scipys(scale):
    mean, image = draw(3, 2, 2, 2), draw(3, 2, 2, 2, seed=1)
    expected = -scipy.stats.norm.logpdf(image, mean, float(scale)).sum((1, 2, 3))
    np.testing.assert_allclose(latents.gaussian_nll(mean, image, scale=scale), expected, rtol=1e-5)


def test_low_precision_is_computed_on_in_float32():
    a, b = (draw(2, 4, seed=seed).astype(jnp.bfloat16) for seed in (0, 1))
    found = (
        latents.kl_to_standard_normal(a, b),
        latents.kl_gaussians(a, b, b, a),
        latents.bernoulli_nll(a, b),
        latents.gaussian_nll(a, b, scale=0.5),
        latents.project(a, 2),
    )
    assert {one.dtype for one in found} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), np.float32(0)])
def test_scale_that_is_not_positive(scale):
    with pytest.raises(ValueError, match=r"scale is .*positive, finite"):
        latents.gaussian_nll(jnp.zeros((1, 1)), jnp.zeros((1, 1)), scale=scale)


def test_latent_sizes_that_differ():
    small, large = jnp.zeros((2, 8)), jnp.zeros((2, 16))
    with pytest.raises(ValueError, match=r"mean_p \(2, 16\).*mean_q \(2, 8\)"):
        latents.kl_gaussians(large, large, small, small)
    with pytest.raises(ValueError, match=r"mean \(2, 8\), log_variance \(2, 16\)"):
        latents.kl_to_standard_normal(small, large)


@pytest.mark.parametrize(
    "loss", [latents.bernoulli_nll, lambda mean, image: latents.gaussian_nll(mean, image, scale=1.0)]
)
def test_images_of_other_shapes(loss):
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 1\), image \(2, 4, 4, 3\)"):
        loss(jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 4, 4, 3)))


# Noise for a smaller latent


@pytest.mark.parametrize(("d_in", "d_out"), [(8, 3), (100, 64), (2, 1)])
def test_projection_is_orthonormal_so_that_normal_noise_stays_normal(d_in, d_out):
    columns = np.asarray(latents.project(jnp.eye(d_in), d_out))
    assert columns.shape == (d_in, d_out)
    # The covariance of Pz with z ~ N(0, I) is PPᵀ, and a linear map of a Gaussian is one.
    np.testing.assert_allclose(columns.T @ columns, np.eye(d_out), atol=1e-6)
    # It mixes all of the noise instead of dropping dimensions.
    assert np.all(np.abs(columns).max(axis=1) > 1e-4)


def test_projection_is_linear_and_fixed_by_the_sizes():
    noise = draw(5, 8)
    found = latents.project(noise, 3)
    np.testing.assert_allclose(found, noise @ latents.project(jnp.eye(8), 3), atol=1e-5)
    np.testing.assert_array_equal(jax.jit(lambda z: latents.project(z, 3))(noise), found)
    # A run on another machine or version must see the same pairing.
    np.testing.assert_allclose(latents.project(jnp.eye(3), 2), PINNED, atol=1e-6)


def test_equal_sizes_are_left_alone():
    noise = draw(5, 8)
    assert latents.project(noise, 8) is noise


@pytest.mark.parametrize("d_out", [9, 0])
def test_projection_to_more_dimensions(d_out):
    with pytest.raises(ValueError, match=f"noise of 8 dimensions cannot be made into {d_out}: .* 1 to 8"):
        latents.project(draw(2, 8), d_out)
