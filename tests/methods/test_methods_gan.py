"""GANs at their known optima, their gradients, what the discriminator sees, penalties, labels, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import closed_forms as closed
import players as small
from kdgan import game, methods
from kdgan.data.diffaugment import diffaugment
from kdgan.losses.adversarial import GAN_LOSSES
from kdgan.models.dcgan import DCGANDiscriminator, DCGANGenerator
from players import with_noise as batch

PIXEL = {name: closed.PLAYERS[name] for name in ("generator", "discriminator")}
PLAYERS = {"generator": small.Paints(), "discriminator": small.Critic()}
KEY = jax.random.key(3)


class Linear:
    """A critic of known gradient: score = ⟨w, x⟩, noting what it is shown."""

    def __init__(self, weights):
        self.weights, self.seen = jnp.asarray(weights, jnp.float32), []

    def __call__(self, image, label=None):
        self.seen.append(image)
        return self.stateless(image, label)

    def stateless(self, image, label=None):
        score = image.reshape(len(image), -1) @ self.weights
        return score if label is None else score + label


def terms(lead, critic, images, *, step=0, **hyperparameters):
    """The terms of one move where the generator's images [b, h, w, c] and the critic are known."""
    generator = lambda noise, label=None: images if label is None else images + label[:, None, None, None]
    players = game.Players({"generator": generator, "discriminator": critic}, step)
    method = methods.build("gan", latent=3, **hyperparameters)
    return next(move for move in method.moves if move.lead == lead).terms(players, batch(), KEY)


@pytest.mark.parametrize("loss", ["nonsaturating", "least_squares", "wasserstein", "relativistic_average"])
def test_the_generator_reaches_the_datas_mean_and_deviation(loss):
    """A critic of x and x² is content where both moments agree, whichever game is played; R1 keeps it from circling."""
    example = closed.example(16, mean=0.5, deviation=0.8)
    method = methods.build("gan", latent=1, loss=loss, penalty="r1")
    state = closed.state_of(
        method,
        PIXEL,
        example,
        closed.sgd(method),
        params={"generator": closed.affine(1.3, -0.3)},
        lambdas={"discriminator": {"real": 1.0, "fake": 1.0, "r1": 1.0}, "generator": {"adv": 1.0}},
    )
    state, metrics = closed.loop(method, PIXEL, closed.sgd(method), steps=1000)(state, example)
    np.testing.assert_allclose(state.params["generator"]["scale"], [0.8], rtol=1e-4)
    np.testing.assert_allclose(state.params["generator"]["shift"], 0.5, rtol=1e-4)
    # And the critic is flat there: it has nothing left to tell apart.
    np.testing.assert_allclose(state.params["discriminator"]["weights"][1:], [0, 0], atol=1e-4)
    assert metrics["discriminator/r1"] < 1e-8


@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_no_adversarial_gradient_is_zero_or_of_the_wrong_images(loss):
    """The generator hears of its images, and the discriminator is shown those that the generator makes now."""
    method = methods.build("gan", latent=1, loss=loss)
    params = {name: closed.PARAMS[name] for name in PIXEL}
    moved = {**params, "generator": closed.affine(1.1, -0.2)}
    before, after = (closed.differentiate(method, PIXEL, given, closed.example()) for given in (params, moved))
    assert closed.norm_of(before["generator"]["adv"][1]["generator"]) > 1e-3
    for term, (_, gradients) in before["discriminator"].items():
        if (loss, term) == ("relativistic", "fake"):
            assert closed.norm_of(gradients) == 0  # both sides of the pair stand in `real`
            continue
        reads_the_generator = term == "fake" or loss.startswith("relativistic")
        learnt = small.largest_difference(gradients["discriminator"], after["discriminator"][term][1]["discriminator"])
        assert closed.norm_of(gradients["discriminator"]) > 1e-3
        assert (closed.norm_of(gradients["generator"]) > 1e-3) == reads_the_generator, term
        assert (learnt > 1e-3) == reads_the_generator, term


def test_the_value_of_a_critic_that_cannot_tell_is_two_log_two():
    found = terms("discriminator", Linear(np.zeros(16)), jnp.ones((8, 4, 4, 1)))
    np.testing.assert_allclose(np.mean(found["real"] + found["fake"]), 2 * np.log(2), rtol=1e-6)


def test_terms_by_hand():
    critic, fake = Linear(np.linspace(-1, 1, 16)), batch(seed=1)["image"]
    real_scores, fake_scores = (np.float64(critic.stateless(x)) for x in (batch()["image"], fake))
    softplus = lambda x: np.log1p(np.exp(x))
    found = terms("discriminator", critic, fake, real_label=0.9)
    np.testing.assert_allclose(found["real"], 0.9 * softplus(-real_scores) + 0.1 * softplus(real_scores), rtol=1e-5)
    np.testing.assert_allclose(found["fake"], softplus(fake_scores), rtol=1e-5)
    np.testing.assert_allclose(terms("generator", critic, fake)["adv"], softplus(-fake_scores), rtol=1e-5)
    np.testing.assert_allclose(
        terms("generator", critic, fake, loss="relativistic")["adv"], softplus(real_scores - fake_scores), rtol=1e-5
    )


@pytest.mark.parametrize(("penalty", "expected"), [("r1", 0.5 * 16 * 0.3**2), ("gradient", (4 * 0.3 - 1) ** 2)])
def test_penalties_by_hand_at_the_steps_that_they_are_due(penalty, expected):
    """‖w‖ = 0.3·√16 for a linear critic, wherever it is taken."""
    critic, fake = Linear(np.full(16, 0.3)), jnp.zeros((8, 4, 4, 1))
    at = lambda step, every: terms(
        "discriminator", critic, fake, step=jnp.int32(step), penalty=penalty, penalty_every=every
    )[penalty]
    np.testing.assert_allclose(at(1, 1), np.full(8, expected), rtol=1e-5)
    for step in range(4):
        np.testing.assert_allclose(at(step, 3), np.full(8, 3 * expected if step % 3 == 0 else 0.0), rtol=1e-5)


def test_the_step_counts_for_lazy_penalties():
    """Under a step: R1 alone (all else at λ 0) moves the discriminator at steps 0 and 2 of 0, 1, 2, and at no other."""
    method = methods.build("gan", latent=1, penalty="r1", penalty_every=2)
    lambdas = {"discriminator": {"real": 0.0, "fake": 0.0, "r1": 1.0}, "generator": {"adv": 0.0}}
    example, critic = closed.example(), {"discriminator": closed.PARAMS["discriminator"]}
    state = closed.state_of(method, PIXEL, example, closed.sgd(method), params=critic, lambdas=lambdas)
    run = closed.loop(method, PIXEL, closed.sgd(method, 0.01), steps=1)
    for due in (True, False, True):
        after, metrics = run(state, example)
        assert (metrics["discriminator/r1"] > 0) == due
        moved = small.largest_difference(after.params["discriminator"], state.params["discriminator"])
        assert (moved > 0) == due
        assert small.largest_difference(after.params["generator"], state.params["generator"]) == 0
        state = after


def test_the_discriminator_sees_augmented_images_only():
    policy, fake = "color,translation", batch(seed=1)["image"]
    by = {side: game.fold_in_name(KEY, side) for side in ("real", "fake")}
    for lead, shown in (
        ("discriminator", [("real", batch()["image"]), ("fake", fake)]),
        ("generator", [("fake", fake)]),
    ):
        critic = Linear(np.ones(16))
        terms(lead, critic, fake, diffaugment=policy)
        for seen, (side, image) in zip(critic.seen, shown, strict=True):
            np.testing.assert_array_equal(seen, diffaugment(by[side], image, policy=policy))
            assert small.largest_difference(seen, image) > 1e-3


def test_penalties_are_taken_where_the_discriminator_looks():
    """Of score = Σ x³/3 the squared gradient is Σ x⁴ of what is seen."""

    class Cubic(Linear):
        def stateless(self, image, label=None):
            return jnp.sum(image**3, axis=(1, 2, 3)) / 3

    found = terms("discriminator", Cubic(0), jnp.zeros((8, 4, 4, 1)), penalty="r1", diffaugment="color")
    seen = np.float64(diffaugment(game.fold_in_name(KEY, "real"), batch()["image"], policy="color"))
    np.testing.assert_allclose(found["r1"], 0.5 * np.sum(seen**4, axis=(1, 2, 3)), rtol=1e-4)


def test_gradients_reach_the_generator_through_augmentation():
    critic, fake = Linear(np.ones(16)), batch(seed=1)["image"]
    adv = lambda fake: terms("generator", critic, fake, loss="wasserstein", diffaugment="color")["adv"].sum()
    # d Σ T(x) / dx: brightness, contrast and the mean leave a sum's gradient 1 in each pixel.
    np.testing.assert_allclose(jax.grad(adv)(fake), np.full(fake.shape, -1.0), rtol=1e-5)


def test_labels_count_in_conditional_games_only():
    critic = Linear(np.full(16, 0.01))
    for lead in ("discriminator", "generator"):
        plain = terms(lead, critic, jnp.zeros((8, 4, 4, 1)))
        given = terms(lead, critic, jnp.zeros((8, 4, 4, 1)), conditional=True)
        label = np.float64(batch()["label"])
        # The generator adds its label to 16 pixels, and the critic its own to the score.
        expected = np.log1p(np.exp((1 if lead == "discriminator" else -1) * (label + 16 * 0.01 * label)))
        term = "fake" if lead == "discriminator" else "adv"
        np.testing.assert_allclose(plain[term], np.full(8, np.log(2)), rtol=1e-5)
        np.testing.assert_allclose(given[term], expected, rtol=1e-5)
    real = terms("discriminator", critic, jnp.zeros((8, 4, 4, 1)), conditional=True)["real"]
    scores = np.float64(critic.stateless(batch()["image"])) + label
    np.testing.assert_allclose(real, np.log1p(np.exp(-scores)), rtol=1e-5)


def test_conditional_penalties_are_given_the_labels():
    class Scaled(Linear):
        def stateless(self, image, label=None):
            return image.reshape(len(image), -1) @ self.weights * label

    found = terms("discriminator", Scaled(np.full(16, 0.3)), jnp.zeros((8, 4, 4, 1)), conditional=True, penalty="r1")
    np.testing.assert_allclose(found["r1"], 0.5 * 16 * 0.3**2 * np.float64(batch()["label"]) ** 2, rtol=1e-5)


def test_noise_is_drawn_anew_for_each_move_and_taken_from_the_batch_where_it_holds_some():
    method = methods.build("gan", latent=3)
    drawn = []
    generator = lambda noise: drawn.append(noise) or jnp.zeros((8, 4, 4, 1))
    players = game.Players({"generator": generator, "discriminator": Linear(np.zeros(16))}, 0)
    without = {"image": batch()["image"]}
    for key in (0, 0, 1):
        method.moves[1].terms(players, without, jax.random.key(key))
    method.moves[1].terms(players, batch(), jax.random.key(0))
    first, again, other, given = map(np.asarray, drawn)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (8, 3)
    assert abs(first - other).max() > 0
    np.testing.assert_array_equal(given, batch()["noise"])


def test_any_player_may_generate_and_the_discriminator_may_move_more_often():
    method = methods.build("gan", generator="teacher", discriminator_repeats=5, penalty="r1", penalty_every=16)
    assert method.trained == ("discriminator", "teacher")
    assert [move.repeats for move in method.moves] == [5, 1]
    assert method.moves[0].details == {"r1": "every 16"}


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"latent": 0}, "method.latent = 0: .* at least 1"),
        ({"loss": "lsgan"}, "method.loss = 'lsgan': accepted are nonsaturating, minimax, least_squares"),
        ({"loss": "hinge", "real_label": 0.9}, "method.real_label.* 0.9, but 'hinge' has no labels"),
        ({"real_label": 1.5}, r"method.real_label.* 1.5; it must be in \(0, 1\]"),
        ({"penalty": "r2"}, "method.penalty = 'r2': accepted are r1, gradient, or None"),
        ({"penalty": "r1", "penalty_every": 0}, "method.penalty_every = 0: must be at least 1"),
        ({"diffaugment": "colour"}, "method.diffaugment: .*'colour' is unknown; the names are color, translation"),
        ({"diffaugment": "color,color"}, "method.diffaugment: .* 2 times; once is enough"),
        ({"discriminator_repeats": 0}, "repeats=0"),
    ],
)
def test_what_cannot_be_played_is_refused(hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        methods.build("gan", **hyperparameters)


@pytest.mark.parametrize(
    ("modules", "given", "hyperparameters", "message"),
    [
        (
            {"generator": closed.Affine()},
            {},
            {},
            r"players.generator makes images of shape \(1, 1, 1\), .* \(4, 4, 1\)",
        ),
        ({}, {}, {"latent": 5}, "method.latent = 5, but the batch holds noise of dimension 3"),
        ({"discriminator": small.Plain()}, {}, {}, r"players.discriminator gives scores of shape \(8, 3\); .* \[b\]"),
        ({"discriminator": small.Plain()}, {}, {"penalty": "r1"}, r"scores of shape \(8, 3\)"),
        ({}, {"label": None}, {"conditional": True}, "method.conditional = True, .* no 'label'; it holds image, noise"),
        # Models with classes in a game without labels, and the other way about.
        (
            {"generator": DCGANGenerator(image_size=4, channels=1, width=0.1, classes=3)},
            {},
            {},
            r"players.generator \(DCGANGenerator\) cannot take .*classes=3 got no label",
        ),
        (
            {"discriminator": DCGANDiscriminator(width=0.1)},
            {},
            {"conditional": True},
            r"players.discriminator \(DCGANDiscriminator\) cannot take .*classes=0 got a label",
        ),
    ],
)
def test_players_and_batches_that_do_not_fit_are_named(modules, given, hyperparameters, message):
    example = {name: value for name, value in {**batch(), **given}.items() if value is not None}
    method = methods.build("gan", **{"latent": 3, **hyperparameters})
    with pytest.raises(ValueError, match=message):
        game.inspect_method(method, {**PLAYERS, **modules}, example)
