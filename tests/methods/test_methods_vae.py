"""VAEs and their distillation where the optimum is known: the linear-Gaussian one is probabilistic PCA."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import closed_forms as closed
import players as small
from kdgan import game, methods
from kdgan.losses.latents import project
from kdgan.models.vae import VAE

SCALE = 0.6
BASIS = np.array([[0.8, -0.6], [0.6, 0.8]])  # principal directions, in columns
VARIANCES, MEAN = np.array([2.0, 0.1]), np.array([0.5, -1.0])


class Linear(nn.Module):
    """The linear-Gaussian VAE of images [b, 1, 2, 1]; ε is +1 and −1 in turn.

    Over two copies of an image the average is then the expectation over ε ~ N(0, 1), for all here is quadratic in ε.
    """

    latent: int = 1
    likelihood: str = "gaussian"
    scale: float = SCALE

    def setup(self):
        self.mean, self.decoder = nn.Dense(self.latent), nn.Dense(2)
        self.log_variance = self.param("log_variance", nn.initializers.zeros, (self.latent,))

    def __call__(self, image):
        mean = self.mean(image.reshape(-1, 2))
        sign = jnp.where(jnp.arange(len(image)) % 2 == 0, 1.0, -1.0)[:, None]
        return {
            "mean": mean,
            "log_variance": jnp.broadcast_to(self.log_variance[None], mean.shape),
            "decoded": self.decode(mean + jnp.exp(self.log_variance / 2)[None] * sign),
        }

    def decode(self, z):
        return self.decoder(z).reshape(-1, 1, 2, 1)


def linear(seed, latent=1):
    """Random parameters of a `Linear`."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {
        "mean": {"kernel": draw(2, latent), "bias": draw(latent)},
        "decoder": {"kernel": draw(latent, 2), "bias": draw(2)},
        "log_variance": 0.3 * draw(latent),
    }


def batch(latent=0):
    """Four images, each twice, of exactly this mean and these principal directions and variances."""
    points = MEAN[None] + closed.signs(2) * np.sqrt(VARIANCES)[None] @ BASIS.T
    given = {"image": jnp.asarray(np.repeat(points, 2, axis=0).reshape(-1, 1, 2, 1), jnp.float32)}
    if latent:
        given["noise"] = jnp.asarray(np.random.default_rng(5).normal(size=(8, latent)), jnp.float32)
    return given


def adam(method):
    return {name: optax.adam(optax.linear_schedule(0.03, 0.0, 1500)) for name in method.trained}


@pytest.fixture(scope="module")
def reached():
    """λ of the divergence -> (parameters, metrics) at the end of training, through one compiled loop."""
    method, modules = methods.build("vae"), {"student": Linear()}
    optimizers = adam(method)
    run = closed.loop(method, modules, optimizers, steps=1500)
    start = closed.state_of(
        method,
        modules,
        batch(),
        optimizers,
        params={"student": linear(0)},
        lambdas=small.ones(method, modules, batch()),
    )

    def train(beta):
        lambdas = {"student": {"reconstruction": jnp.float32(1), "kl": jnp.float32(beta)}}
        state, metrics = run(start.replace(lambdas=lambdas), batch())
        return state.params["student"], metrics

    return train


@pytest.mark.parametrize("beta", [1.0, 2.0, 8.0])
def test_the_linear_vae_reaches_the_optimum_of_its_elbo(reached, beta):
    """Tipping and Bishop 1999; Lucas et al. 2019 for β: w = u₁·√(λ₁ − βσ²), variance βσ²/λ₁; below 0 it collapses."""
    params, metrics = reached(beta)
    noise, first = beta * SCALE**2, VARIANCES[0]
    length = np.sqrt(max(first - noise, 0))
    found = np.float64(params["decoder"]["kernel"])[0]
    np.testing.assert_allclose(found * np.sign(found[0]), length * BASIS[:, 0], atol=2e-3)
    # The posterior of z given x: (wᵀ(x − μ))/(wᵀw + βσ²), of variance βσ²/(wᵀw + βσ²).
    np.testing.assert_allclose(np.exp(params["log_variance"]), [noise / (length**2 + noise)], rtol=2e-3)
    encoder = np.float64(params["mean"]["kernel"])[:, 0]
    np.testing.assert_allclose(encoder, found / (length**2 + noise), atol=2e-3)
    centre = np.float64(params["decoder"]["bias"]) + found * (MEAN @ encoder + float(params["mean"]["bias"][0]))
    np.testing.assert_allclose(centre, MEAN, atol=2e-3)
    if beta == 1:  # the ELBO is tight there: −log N(x; μ, wwᵀ + σ²), in nats, averaged over the data
        values = np.array([first, noise])
        expected = 0.5 * (2 * np.log(2 * np.pi) + np.sum(np.log(values)) + np.sum(VARIANCES / values))
        np.testing.assert_allclose(metrics["student/loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(
            metrics["student/reconstruction"] + metrics["student/kl"], metrics["student/loss"], rtol=1e-6
        )
    if beta == 8:
        assert float(metrics["student/kl"]) < 1e-4


@pytest.fixture(scope="module")
def distilled():
    """(latents_from, λ's of the student's terms) -> its parameters at the end, its teacher's being `linear(1)`."""
    modules, runs = {"student": Linear(), "teacher": Linear()}, {}

    def train(latents_from, **weights):
        if latents_from not in runs:
            method = methods.build("vae_distill", latents_from=latents_from)
            optimizers, example = adam(method), batch(latent=1)
            params = {"student": linear(0), "teacher": linear(1)}
            ones = small.ones(method, modules, example)
            runs[latents_from] = (
                closed.loop(method, modules, optimizers, steps=1500),
                closed.state_of(method, modules, example, optimizers, params=params, lambdas=ones),
            )
        run, start = runs[latents_from]
        lambdas = {"student": {name: jnp.float32(weights.get(name, 0)) for name in start.lambdas["student"]}}
        state, metrics = run(start.replace(lambdas=lambdas), batch(latent=1))
        assert small.largest_difference(state.params["teacher"], linear(1)) == 0
        return state.params["student"], metrics

    return train


def test_the_latent_term_alone_reaches_the_teachers_posterior(distilled):
    student, metrics = distilled("posterior", latent=1.0)
    for name in ("mean", "log_variance"):
        assert small.largest_difference(student[name], linear(1)[name]) < 1e-3
        assert small.largest_difference(linear(0)[name], linear(1)[name]) > 0.1
    assert small.largest_difference(student["decoder"], linear(0)["decoder"]) == 0
    assert float(metrics["student/latent"]) < 1e-5


@pytest.mark.parametrize("latents_from", ["posterior", "prior"])
def test_the_decoder_term_alone_reaches_the_teachers_decoder(distilled, latents_from):
    student, metrics = distilled(latents_from, decoder=1.0)
    assert small.largest_difference(student["decoder"], linear(1)["decoder"]) < 1e-3
    assert small.largest_difference(linear(0)["decoder"], linear(1)["decoder"]) > 0.1
    for name in ("mean", "log_variance"):
        assert small.largest_difference(student[name], linear(0)[name]) == 0
    assert float(metrics["student/decoder"]) < 1e-5


# One evaluation of the terms, by hand.


def terms(modules, params, example, **hyperparameters):
    method = methods.build("vae_distill", **hyperparameters)
    players = game.bind(modules, params, {}, step=0, key=jax.random.key(0), trained=("student",), moving=())
    return method.moves[0].terms(players, example, jax.random.key(0))


def decoded(params, z):
    return z @ np.float64(params["decoder"]["kernel"]) + np.float64(params["decoder"]["bias"])


def test_terms_by_hand():
    params = {"student": linear(0), "teacher": linear(1)}
    found = terms({"student": Linear(), "teacher": Linear()}, params, batch(latent=1))
    assert list(found) == ["reconstruction", "kl", "latent", "decoder"]
    x = np.float64(batch()["image"]).reshape(8, 2)
    mean = {
        name: x @ np.float64(given["mean"]["kernel"]) + np.float64(given["mean"]["bias"])
        for name, given in params.items()
    }
    log = {name: float(given["log_variance"][0]) for name, given in params.items()}
    own = 0.5 * (mean["student"] ** 2 + np.exp(log["student"]) - 1 - log["student"])[:, 0]
    np.testing.assert_allclose(found["kl"], own, rtol=1e-4)
    distance = np.exp(log["teacher"]) + (mean["teacher"] - mean["student"]) ** 2
    ratio = 0.5 * (log["student"] - log["teacher"] + distance / np.exp(log["student"]) - 1)[:, 0]
    np.testing.assert_allclose(found["latent"], ratio, rtol=1e-4)
    z = mean["teacher"] + np.exp(log["teacher"] / 2) * np.float64(batch(latent=1)["noise"])
    squared = ((decoded(params["student"], z) - decoded(params["teacher"], z)) ** 2).mean(1)
    np.testing.assert_allclose(found["decoder"], squared, rtol=1e-4)
    sign = np.tile([1.0, -1.0], 4)[:, None]
    error = x - decoded(params["student"], mean["student"] + np.exp(log["student"] / 2) * sign)
    nll = np.sum(0.5 * (error / SCALE) ** 2 + np.log(SCALE) + 0.5 * np.log(2 * np.pi), axis=1)
    np.testing.assert_allclose(found["reconstruction"], nll, rtol=1e-4)


def test_a_smaller_student_decodes_a_projection_of_the_teachers_latents():
    modules = {"student": Linear(), "teacher": Linear(latent=3)}
    params = {"student": linear(0), "teacher": linear(1, latent=3)}
    example = batch(latent=3)
    found = terms(modules, params, example, matches="decoder", latents_from="prior")
    assert "latent" not in found
    z = np.float64(example["noise"])
    narrow = z @ np.float64(project(jnp.eye(3), 1))
    squared = ((decoded(params["student"], narrow) - decoded(params["teacher"], z)) ** 2).mean(1)
    np.testing.assert_allclose(found["decoder"], squared, rtol=1e-4)


class Unstated(nn.Module):
    """A VAE that does not state its likelihood."""

    def setup(self):
        self.linear = Linear()

    def __call__(self, image):
        return self.linear(image)

    def decode(self, z):
        return self.linear.decode(z)


@pytest.mark.parametrize("module", [Linear(likelihood="bernoulli"), Unstated()], ids=["stated", "unstated"])
def test_bernoulli_decoders_are_compared_as_images(module):
    """In the space of the data, after the sigmoid; what states no likelihood is Bernoulli here as in its own loss."""
    given, example = {"student": linear(0), "teacher": linear(1)}, batch(latent=1)
    example["image"] = jax.nn.sigmoid(example["image"])
    params = {name: {"linear": tree} if isinstance(module, Unstated) else tree for name, tree in given.items()}
    found = terms(dict.fromkeys(params, module), params, example, latents_from="prior")
    z = np.float64(example["noise"])
    image = {name: 1 / (1 + np.exp(-decoded(tree, z))) for name, tree in given.items()}
    np.testing.assert_allclose(found["decoder"], ((image["student"] - image["teacher"]) ** 2).mean(1), rtol=1e-4)
    x = np.float64(example["image"]).reshape(8, 2)
    sign = np.tile([1.0, -1.0], 4)[:, None]
    mean = x @ np.float64(given["student"]["mean"]["kernel"]) + np.float64(given["student"]["mean"]["bias"])
    logits = decoded(given["student"], mean + np.exp(float(given["student"]["log_variance"][0]) / 2) * sign)
    nll = np.sum(np.log1p(np.exp(logits)) - x * logits, axis=1)
    np.testing.assert_allclose(found["reconstruction"], nll, rtol=1e-4)


# Refusals.


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        (
            {"matches": ("latent", "features")},
            r"method.matches = \('latent', 'features'\): accepted are latent, decoder",
        ),
        ({"matches": ()}, r"method.matches = \(\): accepted are latent, decoder"),
        ({"latents_from": "data"}, "method.latents_from = 'data': accepted are posterior, prior"),
    ],
)
def test_what_cannot_be_distilled_is_refused(hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        methods.build("vae_distill", **hyperparameters)


SIZES = "student's latent size is {}, the teacher's {}; set equal model_args.latent, or a smaller .* method.matches"


@pytest.mark.parametrize(
    ("student", "teacher", "hyperparameters", "message"),
    [
        (Linear(1), Linear(2), {}, SIZES.format(1, 2)),
        (Linear(2), Linear(1), {"matches": ("decoder",)}, SIZES.format(2, 1)),
        (Linear(), Linear(), {"noise": 3}, "teacher's latent size = 1, but the batch holds noise of dimension 3"),
        (
            Linear(likelihood="laplace"),
            Linear(),
            {},
            "model_args.likelihood = 'laplace': accepted are bernoulli, gauss",
        ),
        (small.Coder(), Linear(), {}, r"players.student makes images of shape \(4, 4, 1\), the data's are \(1, 2, 1\)"),
        (Linear(), small.Coder(), {}, r"players.teacher makes images of shape \(4, 4, 1\)"),
        (
            small.Plain(),
            Linear(),
            {},
            r"players.student \(Plain\) is no VAE: it gives an array of shape \(8, 3\); wanted",
        ),
        (Linear(), VAE(image_size=4), {}, r"players.teacher \(VAE\) cannot take .*\(8, 1, 2, 1\).*image_size=4"),
    ],
)
def test_players_that_do_not_fit_are_named(student, teacher, hyperparameters, message):
    hyperparameters = dict(hyperparameters)
    noise = hyperparameters.pop("noise", 0)
    method = methods.build("vae_distill", **hyperparameters)
    with pytest.raises(ValueError, match=message):
        game.inspect_method(method, {"student": student, "teacher": teacher}, batch(noise))


def test_any_player_may_be_the_autoencoder():
    method = methods.build("vae", player="teacher")
    assert method.trained == ("teacher",)
    assert game.inspect_method(method, {"teacher": Linear()}, batch()).terms == {"teacher": ("reconstruction", "kl")}
    with pytest.raises(ValueError, match=r"players.teacher \(Plain\) is no VAE"):
        game.inspect_method(method, {"teacher": small.Plain()}, batch())
