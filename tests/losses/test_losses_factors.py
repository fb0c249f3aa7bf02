"""How our terms stand to those of other code: the constants that `kdgan.losses` lists, from that code's definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax

from kdgan.losses import features, images, latents, logits, penalties
from kdgan.losses.adversarial import gan_loss
from kdgan.models.layers import batch_norm

K = 7
DRAW = np.random.default_rng(0)
S, T = (DRAW.normal(size=(5, K)) for _ in range(2))
REAL, FAKE = (DRAW.normal(size=6) for _ in range(2))
X, Y = (DRAW.uniform(0.1, 0.9, size=(4, 3, 2, 2)) for _ in range(2))  # n = 12
B = len(X)


def single(x):
    return jnp.asarray(x, jnp.float32)


def kl(s, t):
    """KL(softmax(t) ‖ softmax(s)), class by class [b, k]."""
    return np.exp(log_softmax(t, 1)) * (log_softmax(t, 1) - log_softmax(s, 1))


def cross_entropy(scores, label):
    """Binary, as `binary_cross_entropy_with_logits`, entry by entry."""
    return -label * log_expit(scores) - (1 - label) * log_expit(-scores)


def discriminator(name):
    return sum(side.mean() for side in gan_loss(name).discriminator(single(REAL), single(FAKE)))


def generator(name):
    return gan_loss(name).generator(single(FAKE), single(REAL)).mean()


def squares(*differences):
    return sum(np.mean(d**2) for d in differences)


def average_game(real, fake):
    """RelativisticGAN's code: the mean of both cross-entropies."""
    return (cross_entropy(real - fake.mean(), 1).mean() + cross_entropy(fake - real.mean(), 0).mean()) / 2


# Name -> (our term, averaged over the batch; theirs; ours / theirs).
FACTORS = {
    "kd, batchmean": (lambda: logits.kl_divergence(single(S), single(T), temperature=4.0).mean(),
                      lambda: 16 * kl(S / 4, T / 4).sum() / len(S), 1),
    "kd, mean over classes": (lambda: logits.kl_divergence(single(S), single(T), temperature=4.0).mean(),
                              lambda: 16 * kl(S / 4, T / 4).mean(), K),
    "kd, without T²": (lambda: logits.kl_divergence(single(S), single(T), temperature=4.0).mean(),
                       lambda: kl(S / 4, T / 4).sum() / len(S), 16),
    "ce of tags, mean over tags": (lambda: logits.sigmoid_cross_entropy(single(S), jnp.asarray(T > 0)).mean(),
                                   lambda: cross_entropy(S, np.float64(T > 0)).mean(), K),
    "mimic": (lambda: logits.half_squared_error(single(S), single(T)).mean(), lambda: np.mean((S - T) ** 2), K / 2),
    "logistic": (lambda: logits.sigmoid_matching(single(S), single(T)).mean(),
                 lambda: cross_entropy(S, expit(T)).mean(), K),
    "discriminator, halved": (lambda: discriminator("nonsaturating"),
                              lambda: (cross_entropy(REAL, 1).mean() + cross_entropy(FAKE, 0).mean()) / 2, 2),
    "least squares, discriminator": (lambda: discriminator("least_squares"), lambda: squares(REAL - 1, FAKE), 0.5),
    "least squares, generator": (lambda: generator("least_squares"), lambda: squares(FAKE - 1), 0.5),
    "relativistic": (lambda: discriminator("relativistic"), lambda: cross_entropy(REAL - FAKE, 1).mean(), 1),
    "relativistic average, discriminator": (lambda: discriminator("relativistic_average"),
                                            lambda: average_game(REAL, FAKE), 2),
    "relativistic average, generator": (lambda: generator("relativistic_average"), lambda: average_game(FAKE, REAL), 2),
    "r1": (lambda: penalties.r1(lambda x: jnp.sin(x).sum((1, 2, 3)), single(X)).mean(),
           lambda: np.sum(np.cos(X) ** 2, axis=(1, 2, 3)).mean(), 0.5),
    "pixel, a mean": (lambda: images.l2(single(X), single(Y)).mean(), lambda: np.mean((X - Y) ** 2), 1),
    "pixel, a norm": (lambda: images.l2(single(X), single(Y)).mean(), lambda: np.sum((X - Y) ** 2) / B, 1 / 12),
    "adapted, FitNets' paper": (lambda: features.feature_l2([single(X)], [single(Y)]).mean(),
                                lambda: 0.5 * np.sum((X - Y) ** 2) / B, 2 / 12),
    "reconstruction": (lambda: latents.bernoulli_nll(single(X), single(Y)).mean(),
                       lambda: cross_entropy(X, Y).mean(), 12),
    "reconstruction, Gaussian": (
        lambda: latents.gaussian_nll(single(X), single(Y), scale=1.0).mean() - 6 * np.log(2 * np.pi),
        lambda: np.mean((X - Y) ** 2), 6),
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
def test_a_term_is_its_constant_times_the_other_codes(name):
    ours, theirs, factor = FACTORS[name]
    np.testing.assert_allclose(ours(), factor * theirs(), rtol=2e-5)


def test_a_running_variance_is_the_average_of_biased_ones():
    x = single(X)[:, :1, :1]  # n = 4
    module = batch_norm(train=True, axis_name=None, name="bn")
    variables = module.init(jax.random.key(0), x)
    _, updates = module.apply(variables, x, mutable=["batch_stats"])
    moved = (np.asarray(updates["batch_stats"]["var"]) - 0.9) / 0.1
    np.testing.assert_allclose(moved, np.var(X[:, :1, :1], axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(moved * 4 / 3, np.var(X[:, :1, :1], axis=(0, 1, 2), ddof=1), rtol=1e-4)  # PyTorch's
