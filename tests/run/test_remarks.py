"""What a run must say of a game before its numbers: by the terms of a discriminator, and by what an evaluator remarks."""

import math

import pytest

from kdgan import methods
from kdgan.evaluators.generator import remarks as of_generator
from kdgan.run import remarks

GAN, HINGE, WASSERSTEIN = (
    methods.build("gan", latent=2, loss=loss).moves for loss in ("nonsaturating", "hinge", "wasserstein")
)
GUESS = math.log(2)


def logged(*values):
    """Step -> metrics, of (real, fake) at steps 10, 20, ..."""
    return {
        10 * (i + 1): {"discriminator/real": real, "discriminator/fake": fake} for i, (real, fake) in enumerate(values)
    }


def of(moves, *values, **lambdas):
    return " ".join(remarks.of_move(moves[0], {"real": 1.0, "fake": 1.0, **lambdas}, logged(*values)))


def test_a_dead_discriminator_is_told_from_one_at_equilibrium():
    dead = of(GAN, (0.2, 0.3), *[(GUESS, GUESS + 5e-4)] * 5)
    assert dead.startswith("scores all images alike")
    assert of(GAN, *[(GUESS, GUESS)] * 4, (GUESS + 0.01, GUESS)) == ""
    assert of(HINGE, *[(1.0, 1.0)] * 5) == dead
    assert of(WASSERSTEIN, *[(0.0, 0.0)] * 5) == dead


def test_a_discriminator_has_won_where_its_loss_is_next_to_nothing_at_each_of_the_last_steps():
    won = of(GAN, (GUESS, GUESS), *[(0.02, 0.04)] * 5)
    assert won.startswith("has won: its loss is under 5%")
    assert of(GAN, *[(0.02, 0.04)] * 4, (0.02, 0.06)) == ""
    assert of(HINGE, *[(0.0, 0.09)] * 5) == won
    assert of(WASSERSTEIN, *[(-50.0, -60.0)] * 5) == ""  # its losses have no least value


def test_nothing_is_said_of_few_steps_of_other_players_or_without_the_terms():
    assert of(GAN, *[(GUESS, GUESS)] * 4) == ""
    both = {"real": 1.0, "fake": 1.0, "adv": 1.0}
    assert remarks.of_move(GAN[1], both, logged(*[(GUESS, GUESS)] * 9)) == []
    assert remarks.of_move(GAN[0], both, {step: {"discriminator/real": GUESS} for step in range(9)}) == []


def test_a_term_weighs_by_its_lambda_and_says_nothing_at_0():
    assert of(GAN, *[(0.01, GUESS)] * 5) == ""
    assert of(GAN, *[(0.01, GUESS)] * 5, fake=0.0).startswith("has won")
    assert of(GAN, *[(GUESS, 3.0)] * 5, fake=0.0) == ""  # of one side alone each value is that of some score
    # The guess of 10 real images in 11 has a loss of log 11 + 10 log(11/10) = 3.35.
    assert of(GAN, *[(0.005, 0.11)] * 5, real=10.0).startswith("has won")
    assert of(GAN, *[(0.005, 0.12)] * 5, real=10.0) == ""
    assert of(GAN, *[(GUESS, GUESS)] * 5, real=0.0, fake=0.0) == ""


def test_a_dead_discriminator_is_seen_at_whatever_score_it_has_for_all():
    """−log σ(s) and −log(1 − σ(s)) where σ(s) = 2/3, the best guess where real images weigh twice; hinge has no one best."""
    at_two_thirds = (math.log(3 / 2), math.log(3))
    dead = of(GAN, *[at_two_thirds] * 5, fake=0.5)
    assert dead.startswith("scores all images alike")
    assert of(GAN, *[at_two_thirds] * 5) == dead
    assert of(GAN, *[(math.log(3 / 2), math.log(3) - 0.01)] * 5, fake=0.5) == ""
    assert of(HINGE, *[(0.6, 1.4)] * 5) == dead
    assert of(HINGE, *[(0.6, 1.3)] * 5) == ""
    # A loss under 5% of a guess's, whose scores are those of images that it tells apart.
    assert of(GAN, *[(0.02, 0.04)] * 5, fake=0.5).startswith("has won")


@pytest.mark.parametrize(("recall", "collapsed"), [(0.0, True), (0.099, True), (0.1, False), (math.nan, False)])
def test_a_generator_has_collapsed_by_its_recall(recall, collapsed):
    assert bool(of_generator({"fd": 3.0, "recall": recall})) == collapsed


def test_a_validation_split_has_no_recall():
    assert of_generator({"fd": 3.0}) == []
