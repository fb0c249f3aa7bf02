"""Regions of neighbours against NumPy and scikit-learn over all pairs, by hand on a line, and by what must hold."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from kdgan.metrics import manifold


def draw(seed, n, d=4, *, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d), scale=scale, loc=shift)


def pairs(a, b):
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))


def radii(x, k):
    return np.sort(pairs(x, x), axis=1)[:, k]  # the 0-th is the example itself


def plain(real, fake, k):
    """Both papers' definitions on whole matrices in float64, rows real and columns fake."""
    between = pairs(real, fake)
    in_real = between <= radii(real, k)[:, None]
    in_fake = between <= radii(fake, k)[None, :]
    open_balls = between < radii(real, k)[:, None]
    return (
        {"precision": in_real.any(0).mean(), "recall": in_fake.any(1).mean()},
        {"density": open_balls.sum() / (k * len(fake)), "coverage": open_balls.any(1).mean()},
    )


@pytest.fixture(params=[None, 4 * 4 * 70], ids=["one block", "blocks of four rows"])
def block_bytes(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(manifold, "_BLOCK_BYTES", request.param)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m"), [(50, 70), (70, 33)])
@pytest.mark.usefixtures("block_bytes")
def test_equal_to_whole_matrices(k, n, m):
    # The same shift on both sides, far from the origin, costs no digits.
    real, fake = draw(0, n, shift=100), draw(1, m, scale=0.7, shift=100.3)
    found = manifold.precision_recall(real, fake, k=k), manifold.density_coverage(real, fake, k=k)
    expected = plain(real, fake, k)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)
        assert all(0 < value < 2 for value in ours.values())


def test_by_hand_on_a_line():
    # Real balls with k = 1: [-1, 1], [0, 2] and [1, 5] around 0, 1 and 3. Fake balls: [2, 4], [1, 3] and [-22, 2] around
    # 3, 2 and -10. Of the fakes 3 and 2 are in the real region; of the reals all are in the fake one, 0 only by the
    # large ball of the outlier.
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[3.0], [2.0], [-10.0]])
    found = manifold.precision_recall(real, fake, k=1)
    assert found == {"precision": pytest.approx(2 / 3), "recall": 1.0}
    # Open balls: 3 and 2 lie in the third, and 2 no longer in the second: two hits of three fakes, one ball of three.
    assert manifold.density_coverage(real, fake, k=1) == {
        "density": pytest.approx(2 / 3),
        "coverage": pytest.approx(1 / 3),
    }


def test_an_example_on_the_edge_of_a_ball():
    # The balls around 0 and 1 reach to -1 and 2. Closed ones hold the fake 2, open ones do not.
    real, fake = np.array([[0.0], [1.0]]), np.array([[2.0], [10.0]])
    assert manifold.precision_recall(real, fake, k=1)["precision"] == 0.5
    assert manifold.density_coverage(real, fake, k=1) == {"density": 0, "coverage": 0}


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.usefixtures("block_bytes")
def test_a_set_and_itself(k):
    x = draw(2, 70)
    assert manifold.precision_recall(x, x, k=k) == {"precision": 1, "recall": 1}
    assert manifold.density_coverage(x, x, k=k) == {"density": 1, "coverage": 1}


def test_sets_far_apart():
    real, fake = draw(0, 30), draw(1, 30, shift=50)
    assert manifold.precision_recall(real, fake) == {"precision": 0, "recall": 0}
    assert manifold.density_coverage(real, fake) == {"density": 0, "coverage": 0}


def test_a_collapsed_generator_is_precise_and_covers_little():
    real = draw(0, 200)
    fake = np.repeat(real[np.argmin(np.linalg.norm(real, axis=1))][None, :], 50, axis=0)
    found = manifold.precision_recall(real, fake) | manifold.density_coverage(real, fake)
    assert found["precision"] == 1
    assert found["recall"] <= 1 / 200  # only the one example that it copies
    assert found["coverage"] < 0.2


def test_roles_exchanged():
    real, fake = draw(0, 40), draw(1, 50, scale=0.5)
    one, other = manifold.precision_recall(real, fake), manifold.precision_recall(fake, real)
    assert (one["precision"], one["recall"]) == (other["recall"], other["precision"])
    assert one["precision"] > one["recall"]


def test_expected_density_and_coverage_of_one_distribution():
    n, k = 100, 5
    found = [manifold.density_coverage(draw(2 * i, n), draw(2 * i + 1, n), k=k) for i in range(40)]
    # Naeem et al. 2020, lemmas 1 and 2, for as many fakes as real examples.
    coverage = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    for name, expected in (("density", 1.0), ("coverage", coverage)):
        values = [each[name] for each in found]
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.usefixtures("block_bytes")
def test_nearest_is_scikit_learns(k):
    query, reference = draw(0, 35), draw(1, 60)
    expected = NearestNeighbors(n_neighbors=k).fit(reference).kneighbors(query, return_distance=False)
    np.testing.assert_array_equal(manifold.nearest(query, reference, k=k), expected)


def test_nearest_of_equally_near_ones_is_the_first():
    reference = jnp.array([[5.0], [1.0], [-1.0], [1.0]])
    np.testing.assert_array_equal(manifold.nearest(jnp.zeros((1, 1)), reference, k=4), [[1, 2, 3, 0]])
    np.testing.assert_array_equal(manifold.nearest(reference, reference)[:3, 0], [0, 1, 2])


def test_sets_without_enough_neighbours():
    few, many = draw(0, 3), draw(1, 10)
    for real, fake, name in ((few, many, "real"), (many, few, "fake")):
        with pytest.raises(ValueError, match=rf"^{name} has 3 examples; a 3-th neighbour \(k=3\) needs at least 4"):
            manifold.precision_recall(real, fake, k=3)
    with pytest.raises(ValueError, match=r"^real has 3 examples"):
        manifold.density_coverage(few, many, k=3)
    assert manifold.density_coverage(many, few, k=3).keys() == {"density", "coverage"}  # no balls around the fakes
    for measure in (manifold.precision_recall, manifold.density_coverage):
        with pytest.raises(ValueError, match="k is 0"):
            measure(many, many, k=0)
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k is {k}; 1 to 3"):
            manifold.nearest(many, few, k=k)


def test_features_of_different_layers():
    for measure in (manifold.precision_recall, manifold.density_coverage, manifold.nearest):
        with pytest.raises(ValueError, match=r"\(10, 2\).*the widths must be equal"):
            measure(draw(0, 10, 4), draw(0, 10, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_generator_that_diverged_gives_nan(value):
    real, fake = draw(0, 10), draw(1, 10)
    fake[2, 1] = value
    assert all(np.isnan(list(manifold.precision_recall(real, fake).values())))
    assert all(np.isnan(list(manifold.density_coverage(real, fake).values())))
    with pytest.raises(ValueError, match="NaN or infinite"):
        manifold.nearest(fake, real)
