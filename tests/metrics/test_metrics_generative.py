"""Distances of features against SciPy, closed forms and NumPy pair by pair; the inception score by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import entropy, ortho_group

from kdgan.metrics import generative


def draw(seed, n, d, *, scale=1.0, shift=0.0):
    """Correlated features: no two directions have the same spread."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * scale + shift


def pairwise_mmd(a, b, degree):
    """Bińkowski et al. 2018, equation 3, one pair at a time."""

    def kernel(x, y):
        return (np.dot(x, y) / len(x) + 1) ** degree

    def within(x):
        n = len(x)
        return sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    return within(a) + within(b) - 2 * np.mean([[kernel(x, y) for y in b] for x in a])


def test_moments_are_numpys():
    x = draw(0, 30, 4)
    mean, covariance = generative.moments(x.astype(np.float32))
    np.testing.assert_allclose(mean, x.mean(0), atol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False), rtol=1e-5, atol=1e-6)
    assert mean.dtype == covariance.dtype == np.float64
    with pytest.raises(ValueError, match="1 examples; a covariance needs at least 2"):
        generative.moments(x[:1])


@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_is_scipys_matrix_root(seed):
    a, b = draw(seed, 60, 12), draw(seed + 10, 45, 12, shift=0.3)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(covariance_a @ covariance_b).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(covariance_a + covariance_b - 2 * root)
    np.testing.assert_allclose(generative.frechet_distance(a, b), expected, rtol=1e-8)


def test_frechet_distance_of_diagonal_gaussians():
    rng = np.random.default_rng(0)
    mean_a, mean_b = rng.normal(size=(2, 6))
    std_a, std_b = rng.uniform(0.1, 3, size=(2, 6))
    found = generative.frechet_from_moments(mean_a, np.diag(std_a**2), mean_b, np.diag(std_b**2))
    np.testing.assert_allclose(found, np.sum((mean_a - mean_b) ** 2) + np.sum((std_a - std_b) ** 2), rtol=1e-10)


def test_frechet_distance_to_a_point():
    # A collapsed generator: all of its images are one, and the real spread remains.
    a = draw(0, 20, 3)
    b = np.ones((20, 3))
    expected = np.sum((a.mean(0) - 1) ** 2) + np.var(a, axis=0, ddof=1).sum()
    np.testing.assert_allclose(generative.frechet_distance(a, b), expected, rtol=1e-7)


def test_frechet_distance_moves_with_the_features():
    a, b = draw(1, 40, 8), draw(2, 50, 8)
    distance = generative.frechet_distance(a, b)
    rotation = ortho_group.rvs(8, random_state=0)
    np.testing.assert_allclose(generative.frechet_distance(b, a), distance, rtol=1e-9)
    np.testing.assert_allclose(generative.frechet_distance(a @ rotation + 5, b @ rotation + 5), distance, rtol=1e-9)
    np.testing.assert_allclose(generative.frechet_distance(3 * a, 3 * b), 9 * distance, rtol=1e-9)
    np.testing.assert_allclose(generative.frechet_distance(a, a + 2), 8 * 2**2, rtol=1e-6)
    assert 0 <= generative.frechet_distance(a, a) < 1e-8 * np.trace(np.cov(a, rowvar=False))


def test_frechet_distance_with_features_that_never_change():
    # Dead units make both covariances singular, where scipy's root of the product breaks down.
    a, b = draw(3, 40, 6), draw(4, 40, 6, shift=1)
    dead = np.zeros((40, 2))
    found = generative.frechet_distance(np.hstack([a, dead]), np.hstack([b, dead]))
    np.testing.assert_allclose(found, generative.frechet_distance(a, b), rtol=1e-6)


@pytest.mark.parametrize(("n", "m", "name"), [(5, 30, "a"), (4, 30, "a"), (30, 5, "b")])
def test_frechet_distance_of_too_few(n, m, name):
    with pytest.raises(ValueError, match=f"^{name} has {min(n, m)} examples of 5 features.* at least 6.*singular"):
        generative.frechet_distance(draw(0, n, 5), draw(1, m, 5))


def test_moments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(3,\), \(3, 3\), \(3,\), \(2, 2\)"):
        generative.frechet_from_moments(np.zeros(3), np.eye(3), np.zeros(3), np.eye(2))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_kernel_distance_is_the_sum_over_pairs(degree, monkeypatch):
    a, b = draw(0, 11, 4), draw(1, 7, 4, shift=0.5)
    expected = pairwise_mmd(a, b, degree)
    np.testing.assert_allclose(generative.kernel_distance(a, b, degree=degree), expected, rtol=1e-10)
    monkeypatch.setattr(generative, "_ROWS", 3)
    np.testing.assert_allclose(generative.kernel_distance(a, b, degree=degree), expected, rtol=1e-10)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    rng = np.random.default_rng(0)
    same = [generative.kernel_distance(*rng.normal(size=(2, 20, 5))) for _ in range(300)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(same))
    assert min(same) < 0
    other = [generative.kernel_distance(rng.normal(size=(20, 5)), rng.normal(1, size=(20, 5))) for _ in range(100)]
    assert np.mean(other) > 10 * np.std(other) / np.sqrt(len(other))


def test_kernel_distance_of_means_that_differ():
    # With degree 1 the kernel's mean embedding is the mean: MMD² = ‖μ_a − μ_b‖²/d, here of two point masses.
    a, b = np.full((3, 4), 1.0), np.full((5, 4), 3.0)
    np.testing.assert_allclose(generative.kernel_distance(a, b, degree=1), 2.0**2, rtol=1e-12)


def test_kernel_distance_of_subsets():
    a, b = draw(0, 30, 3), draw(1, 25, 3, shift=1)
    whole = generative.kernel_distance_subsets(b, b[::-1].copy(), subset_size=25, subsets=2)
    # Every subset of the full size is the full set.
    np.testing.assert_allclose(whole["mean"], generative.kernel_distance(b, b), rtol=1e-9)
    np.testing.assert_allclose(whole["std"], 0, atol=1e-10)
    found = generative.kernel_distance_subsets(a, b, subset_size=10, subsets=200)
    full = generative.kernel_distance(a, b)
    assert abs(found["mean"] - full) < 4 * found["std"] / np.sqrt(200)
    assert found == generative.kernel_distance_subsets(a, b, subset_size=10, subsets=200)
    with pytest.raises(ValueError, match="subset_size is 26; 2 to 25"):
        generative.kernel_distance_subsets(a, b, subset_size=26)
    with pytest.raises(ValueError, match="subsets is 0"):
        generative.kernel_distance_subsets(a, b, subset_size=5, subsets=0)


def test_kernel_distance_of_too_few_and_no_degree():
    with pytest.raises(ValueError, match="a has 1 examples and b 5"):
        generative.kernel_distance(np.ones((1, 2)), np.ones((5, 2)))
    with pytest.raises(ValueError, match="degree is 0"):
        generative.kernel_distance(np.ones((5, 2)), np.ones((5, 2)), degree=0)


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        (np.full((6, 5), 0.2), 1.0),
        (np.tile(np.eye(4), (3, 1)), 4.0),
        (np.tile(np.eye(4)[:1], (5, 1)), 1.0),
        # Sure of one class in three quarters of the images: exp of the entropy of (3/4, 1/4).
        (np.eye(2)[[0, 0, 0, 1]], np.exp(entropy([0.75, 0.25]))),
        # Between certainty and ignorance: exp(ln 2 − H(0.9, 0.1)).
        (np.array([[0.9, 0.1], [0.1, 0.9]]), np.exp(np.log(2) - entropy([0.9, 0.1]))),
    ],
)
def test_inception_score_by_hand(probabilities, score):
    np.testing.assert_allclose(generative.inception_score(probabilities), score, rtol=1e-12)
    np.testing.assert_allclose(generative.inception_score(jnp.asarray(probabilities, jnp.float32)), score, rtol=1e-6)


def test_inception_score_in_splits():
    p = np.random.default_rng(0).dirichlet(np.full(6, 0.3), size=20)
    parts = [generative.inception_score(part) for part in (p[:7], p[7:14], p[14:])]
    np.testing.assert_allclose(generative.inception_score(p, splits=3), np.mean(parts), rtol=1e-12)
    np.testing.assert_allclose(generative.inception_score(p, splits=20), 1, rtol=1e-12)
    for splits in (0, 21):
        with pytest.raises(ValueError, match=f"splits is {splits}; 1 to 20"):
            generative.inception_score(p, splits=splits)


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match=r"softmax\(logits\)"):
        generative.inception_score(draw(0, 5, 3))


@pytest.mark.parametrize("measure", [generative.frechet_distance, generative.kernel_distance])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_generator_that_diverged_gives_nan(measure, value):
    a, b = draw(0, 20, 3), draw(1, 20, 3)
    b[4, 1] = value
    assert np.isnan(measure(a, b))
    assert np.isnan(measure(b, a))


@pytest.mark.parametrize("measure", [generative.frechet_distance, generative.kernel_distance])
def test_features_of_different_layers(measure):
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(20, 4\); the widths must be equal"):
        measure(draw(0, 20, 3), draw(0, 20, 4))


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match=r"a has shape \(0, 3\)"):
        generative.frechet_distance(np.zeros((0, 3)), draw(0, 20, 3))
