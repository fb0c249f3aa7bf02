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
    # The guess of 10 real images in 11 has a loss of log 11 + 10 log(11/10) = 3.35.
    assert of(GAN, *[(0.005, 0.11)] * 5, real=10.0).startswith("has won")
    assert of(GAN, *[(0.005, 0.12)] * 5, real=10.0) == ""
    assert of(GAN, *[(GUESS, GUESS)] * 5, real=0.0, fake=0.0) == ""
    assert of(GAN, *[(0.0, 3.0)] * 5, real=2.0, fake=-0.5) == ""  # a loss without a guess to compare with


def test_a_dead_discriminator_is_recognised_at_the_best_score_for_all_that_its_lambdas_make():
    """−log σ(s) and −log(1 − σ(s)) where σ(s) = 2/3, the best guess where real images weigh twice."""
    at_two_thirds = (math.log(3 / 2), math.log(3))
    dead = of(GAN, *[at_two_thirds] * 5, fake=0.5)
    assert dead.startswith("scores all images alike")
    assert of(GAN, *[(math.log(3 / 2), math.log(3) - 0.01)] * 5, fake=0.5) == ""
    assert of(GAN, *[at_two_thirds] * 5) == ""  # of equal weights it is no guess
    assert of(GAN, *[(math.log(1.001), math.log(1001))] * 5, real=1000.0) == dead


def test_a_game_of_several_best_guesses_is_dead_at_each_and_nowhere_else():
    """Hinge with equal λ's has all scores in [−1, 1]; Wasserstein's has all, and with unequal λ's no best one."""
    dead = of(HINGE, *[(1.0, 1.0)] * 5)
    assert of(HINGE, *[(0.6, 1.4)] * 5) == dead
    assert of(HINGE, *[(0.6, 1.3)] * 5) == ""
    assert of(HINGE, *[(0.0, 2.5)] * 5) == ""  # real images at 5 and made ones at 1.5, say
    assert of(WASSERSTEIN, *[(-4.0, 4.0)] * 5) == of(WASSERSTEIN, *[(-4.0, 4.0)] * 5, real=2.0) == dead
    assert of(WASSERSTEIN, *[(-4.0, 3.9)] * 5) == of(WASSERSTEIN, *[(-4.0, 3.9)] * 5, real=2.0) == ""


def test_a_sum_of_lambdas_that_is_equal_but_for_rounding_has_every_score_for_a_guess():
    """0.1 + 0.2 − 0.3 is 6e-17 in floating point."""
    moves = methods.build("generator_distill", latent=2, loss="wasserstein").moves
    lambdas = {"real": 0.1, "teacher": 0.2, "fake": 0.3}
    lines = {step: {f"discriminator/{term}": value for term, value in (("real", -0.5), ("teacher", -0.5), ("fake", 0.5))}
             for step in range(5)}  # fmt: skip
    assert remarks.of_move(moves[0], lambdas, lines) == [of(HINGE, *[(1.0, 1.0)] * 5)]


@pytest.mark.parametrize("loss", ["nonsaturating", "least_squares", "hinge", "wasserstein"])
@pytest.mark.parametrize("side", ["real", "fake"])
def test_of_one_side_alone_each_value_is_that_of_some_score_and_none_says_that_nothing_was_learned(loss, side):
    moves = methods.build("gan", latent=2, loss=loss).moves
    for value in (0.3, 0.02, 1.5):
        assert "alike" not in of(moves, *[(value, value)] * 5, **{side: 0.0})


def test_with_smoothed_labels_a_discriminator_has_won_near_the_least_loss_that_there_is():
    """−0.9 log 0.9 − 0.1 log 0.1 = 0.3251 of real images; the guess, σ = 0.45, has 1.376."""
    moves = methods.build("gan", latent=2, real_label=0.9).moves
    assert of(moves, *[(0.326, 0.02)] * 5).startswith("has won")
    assert of(moves, *[(0.326, 0.08)] * 5) == ""
    p = 0.45
    guess = (-0.9 * math.log(p) - 0.1 * math.log(1 - p), -math.log(1 - p))
    assert of(moves, *[guess] * 5) == of(HINGE, *[(1.0, 1.0)] * 5)


def test_a_scheduled_lambda_is_that_of_the_line():
    lines = logged(*[(0.01, GUESS)] * 5)
    without_fakes = {step: {**line, "lambda/discriminator/fake": 0.0} for step, line in lines.items()}
    ones = {"real": 1.0, "fake": 1.0}
    assert remarks.of_move(GAN[0], ones, lines) == []
    assert "has won" in " ".join(remarks.of_move(GAN[0], ones, without_fakes))


def test_a_number_that_is_none_says_nothing():
    assert of(GAN, *[(None, GUESS)] * 5) == of(GAN, *[(math.nan, GUESS)] * 5) == ""


@pytest.mark.parametrize(("recall", "collapsed"), [(0.0, True), (0.099, True), (0.1, False), (math.nan, False)])
def test_a_generator_has_collapsed_by_its_recall(recall, collapsed):
    assert bool(of_generator({"fd": 3.0, "recall": recall})) == collapsed


def test_a_validation_split_has_no_recall():
    assert of_generator({"fd": 3.0}) == []
