"""Named GAN games against their papers' equations in float64, their equilibria, gradients and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit

from kdgan.losses.adversarial import GAN_LOSSES, gan_loss

REAL = np.array([2.0, -0.5, 0.3, -3.0])
FAKE = np.array([0.7, -2.0, 1.5, -0.1])


def softplus(x):
    return -log_expit(-x)


# name -> (discriminator's real term, its fake term, generator's), of the real scores r and the fakes' f, on α = 1.
EQUATIONS = {
    "nonsaturating": lambda r, f: (softplus(-r), softplus(f), softplus(-f)),
    "minimax": lambda r, f: (softplus(-r), softplus(f), -softplus(f)),
    "least_squares": lambda r, f: ((r - 1) ** 2 / 2, f**2 / 2, (f - 1) ** 2 / 2),
    "hinge": lambda r, f: (-np.minimum(0, r - 1), -np.minimum(0, -f - 1), -f),
    "wasserstein": lambda r, f: (-r, f, -f),
    "relativistic": lambda r, f: (softplus(f - r), 0 * f, softplus(r - f)),
    "relativistic_average": lambda r, f: (
        softplus(f.mean() - r),
        softplus(f - r.mean()),
        softplus(r.mean() - f) + softplus(r - f.mean()),
    ),
}
ALL = pytest.mark.parametrize("name", EQUATIONS)
RELATIVISTIC = pytest.mark.parametrize("name", ["relativistic", "relativistic_average"])


def scores(values, dtype=jnp.float32):
    return jnp.asarray(values, dtype)


def both(name, real, fake):
    """(discriminator's loss, generator's) as a step takes them: sums of means."""
    game = gan_loss(name)
    return sum(jnp.mean(term) for term in game.discriminator(real, fake)), jnp.mean(game.generator(fake, real))


def test_every_game_is_tested_here():
    assert set(GAN_LOSSES) == set(EQUATIONS)


@ALL
def test_values_by_the_papers_equations(name):
    game = gan_loss(name)
    found = (*game.discriminator(scores(REAL), scores(FAKE)), game.generator(scores(FAKE), scores(REAL)))
    for one, expected in zip(found, EQUATIONS[name](REAL, FAKE), strict=True):
        assert one.shape == (4,)
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


def test_a_few_values_by_hand():
    two = scores([2.0])
    np.testing.assert_allclose(gan_loss("least_squares").discriminator(two, two), [[0.5], [2.0]])
    np.testing.assert_allclose(gan_loss("hinge").discriminator(two, two), [[0.0], [3.0]])
    # log(1 + e^{-2}) where the pair is ordered by 2.
    np.testing.assert_allclose(gan_loss("relativistic").discriminator(two, scores([0.0]))[0], [0.126928], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("nonsaturating", np.log(4), np.log(2)),
        ("minimax", np.log(4), -np.log(2)),
        ("hinge", 2.0, 0.0),
        ("wasserstein", 0.0, 0.0),
        ("relativistic", np.log(2), np.log(2)),
        ("relativistic_average", np.log(4), np.log(4)),
    ],
)
def test_values_where_nothing_can_be_told_apart(name, discriminator, generator):
    np.testing.assert_allclose(both(name, jnp.zeros(3), jnp.zeros(3)), [discriminator, generator], atol=1e-6)


@ALL
def test_each_side_pulls_its_way(name):
    # By gradient descent the discriminator must raise real scores and lower the fakes', the generator raise the fakes'.
    real, fake = scores([0.1, -0.2]), scores([0.2, 0.1])
    to_real, to_fake = jax.grad(lambda r, f: both(name, r, f)[0], argnums=(0, 1))(real, fake)
    generator = jax.grad(lambda f: both(name, real, f)[1])(fake)
    assert np.all(to_real < 0)
    assert np.all(to_fake > 0)
    assert np.all(generator < 0)


def test_hinge_leaves_alone_what_is_beyond_the_margin():
    game = gan_loss("hinge")
    real, fake = scores([1.5, 0.5]), scores([-1.5, -0.5])
    to_real, to_fake = jax.grad(lambda r, f: sum(t.sum() for t in game.discriminator(r, f)), argnums=(0, 1))(real, fake)
    np.testing.assert_array_equal(to_real, [0, -1])
    np.testing.assert_array_equal(to_fake, [0, 1])
    # The generator's side has no margin.
    np.testing.assert_array_equal(jax.grad(lambda f: game.generator(f, None).sum())(scores([-9.0, 9.0])), [-1, -1])


@pytest.mark.parametrize("real_label", [1.0, 0.8])
def test_optimal_least_squares_discriminator(real_label):
    # Mao et al. 2017: D* = (αp + 0·q)/(p + q) for densities p of the data and q of the generator, here on three points.
    p, q = np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.5, 0.2])
    game = gan_loss("least_squares", real_label=real_label)

    def loss(score):
        real, fake = game.discriminator(score, score)
        return scores(p) @ real + scores(q) @ fake

    best = scores(real_label * p / (p + q))
    np.testing.assert_allclose(jax.grad(loss)(best), np.zeros(3), atol=1e-7)
    np.testing.assert_allclose(jax.grad(loss)(jnp.zeros(3)), -real_label * p, rtol=1e-6)


@pytest.mark.parametrize("name", ["nonsaturating", "minimax"])
def test_smoothed_discriminator_stops_at_the_label(name):
    game = gan_loss(name, real_label=0.9)
    loss = lambda score: game.discriminator(score, jnp.zeros(1))[0].sum()
    np.testing.assert_allclose(jax.grad(loss)(scores([np.log(9)])), [0.0], atol=1e-6)  # σ(log 9) = 0.9
    np.testing.assert_allclose(loss(scores([np.log(9)])), -0.9 * np.log(0.9) - 0.1 * np.log(0.1), rtol=1e-6)
    # One-sided: the fakes' term and the generator are those without smoothing.
    whole = gan_loss(name)
    np.testing.assert_array_equal(
        game.discriminator(scores(REAL), scores(FAKE))[1], whole.discriminator(scores(REAL), scores(FAKE))[1]
    )
    np.testing.assert_array_equal(game.generator(scores(FAKE), None), whole.generator(scores(FAKE), None))


def test_smoothing_by_one_changes_nothing():
    for name in EQUATIONS:
        assert gan_loss(name, real_label=1.0) is GAN_LOSSES[name]


@RELATIVISTIC
def test_relativistic_games_see_differences_only(name):
    moved = both(name, scores(REAL) + 5.0, scores(FAKE) + 5.0)
    np.testing.assert_allclose(moved, both(name, scores(REAL), scores(FAKE)), rtol=1e-5)


@RELATIVISTIC
def test_relativistic_games_are_symmetric(name):
    # The generator plays the discriminator's game with real and fake exchanged.
    discriminator, _ = both(name, scores(FAKE), scores(REAL))
    np.testing.assert_allclose(both(name, scores(REAL), scores(FAKE))[1], discriminator, rtol=1e-6)


def test_gradients_pass_through_the_average():
    # With the mean's gradient stopped, the shift below would not cancel in the sum of gradients.
    to_real, to_fake = jax.grad(lambda r, f: both("relativistic_average", r, f)[0], argnums=(0, 1))(
        scores(REAL), scores(FAKE)
    )
    np.testing.assert_allclose(to_real.sum() + to_fake.sum(), 0.0, atol=1e-6)


@ALL
def test_who_reads_the_real_scores(name):
    game = gan_loss(name)
    if game.reads_real:
        with pytest.raises(ValueError, match=f"'{name}' loss reads the real examples' scores"):
            game.generator(scores(FAKE), None)
        with pytest.raises(ValueError, match=rf"'{name}' loss pairs .*\(4,\) and \(1,\)"):
            game.generator(scores(FAKE), jnp.zeros(1))
    else:
        np.testing.assert_array_equal(game.generator(scores(FAKE), None), game.generator(scores(FAKE), scores(REAL)))
        real, fake = game.discriminator(scores(REAL), jnp.zeros(2))  # batches need not be of one size
        assert (real.shape, fake.shape) == ((4,), (2,))


def test_pairs_need_batches_of_one_size():
    with pytest.raises(ValueError, match=r"'relativistic' loss pairs .*\(4,\) and \(1,\)"):
        gan_loss("relativistic").discriminator(scores(REAL), jnp.zeros(1))


@ALL
def test_low_precision_scores_are_computed_on_in_float32(name):
    game = gan_loss(name)
    real, fake = scores(REAL, jnp.bfloat16), scores(FAKE, jnp.bfloat16)
    found = (*game.discriminator(real, fake), game.generator(fake, real))
    wide = real.astype(jnp.float32), fake.astype(jnp.float32)
    for one, expected in zip(found, (*game.discriminator(*wide), game.generator(*wide[::-1])), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, expected)


@ALL
def test_sure_discriminators_give_finite_losses(name):
    real, fake = scores([1e4, -1e4]), scores([-1e4, 1e4])
    for side in (0, 1):
        value, gradients = jax.value_and_grad(lambda r, f, side=side: both(name, r, f)[side], argnums=(0, 1))(
            real, fake
        )
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradients))


def test_unknown_name():
    with pytest.raises(ValueError, match="name is 'lsgan'; the GAN losses are nonsaturating, minimax, least_squares,"):
        gan_loss("lsgan")


@pytest.mark.parametrize("real_label", [0.0, 1.1, float("nan")])
def test_label_out_of_range(real_label):
    with pytest.raises(ValueError, match=r"real_label is .*\(0, 1\]"):
        gan_loss("minimax", real_label=real_label)


@pytest.mark.parametrize("name", ["hinge", "wasserstein", "relativistic", "relativistic_average"])
def test_games_without_labels_refuse_smoothing(name):
    with pytest.raises(ValueError, match=f"real_label is 0.9, but '{name}' has no labels .*least_squares"):
        gan_loss(name, real_label=0.9)
