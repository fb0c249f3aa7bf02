"""A discriminator's terms where it scores all alike: as `Move.undecided` says, and as its own scores of 0 make them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import players as small
from contract_cases import CASES
from kdgan import game, methods
from kdgan.player import PlayerInputs

PAIRED = {"loss": "relativistic", "seen": ()}
AVERAGE = {"loss": "relativistic_average", "seen": ()}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("gan", {}),
        ("gan", {"loss": "hinge"}),
        ("gan", {"loss": "wasserstein"}),
        ("generator_distill", {}),
        ("generator_distill", PAIRED),
        ("generator_distill", AVERAGE),
        ("fused", {}),
        ("fused", PAIRED),
        ("fused", AVERAGE),
        ("gan_replay", {}),
        ("restore_distill", {"adversarial": "hinge"}),
        ("adversarial", {}),
        ("nagan", {}),
        ("kdgan", {}),
        ("meal", {}),
        ("meal", {"features": ("hidden",)}),
        ("adversarial_features", {}),
    ],
)
def test_terms_of_scores_of_zero_are_as_they_are_said(name, changed):
    asked, modules = CASES[name]
    if "features" in changed and name == "meal":
        alike = dict.fromkeys(("student", "teacher", "teacher_b"), small.Plain())
        modules = {**modules, **alike, "discriminator_1": small.Judge()}
    method = methods.build(name, **{**asked, **changed})
    batch = small.restoration(others=8) if name == "restore_distill" else small.batch()
    state = small.make_state(method, modules, example=batch)
    (move,) = [move for move in method.moves if move.undecided is not None]
    assert all(player.startswith("discriminator") for player in move.players)
    zeros = {player: jax.tree.map(jnp.zeros_like, state.params[player]) for player in move.players}

    @jax.jit
    def terms(params):
        given = PlayerInputs(jax.tree.map(jnp.asarray, batch), None)
        bound = game.bind(
            modules, {**state.params, **params}, state.model_state, step=0, key=jax.random.key(3), trained=method.trained,
            moving=move.players, inputs=given,
        )  # fmt: skip
        return {term: jnp.mean(value) for term, value in move.terms(bound, given.batch, jax.random.key(4)).items()}

    found = terms(zeros)
    said = move.undecided()
    assert said.keys() == found.keys() - {"r1"}
    for term, value in said.items():
        np.testing.assert_allclose(found[term], value, atol=1e-6, err_msg=term)


def test_the_game_of_goodfellow_stands_at_the_logarithm_of_four():
    (discriminator, _) = methods.build("gan", latent=3).moves
    assert sum(discriminator.undecided().values()) == pytest.approx(math.log(4))


def test_where_a_score_of_0_is_not_the_best_guess_that_one_is_taken():
    terms = lambda **fields: methods.build("gan", latent=3, **fields).moves[0].undecided()
    # ½(s − 1)² + ½s² is least at ½; with the real label α at α/2.
    assert terms(loss="least_squares") == pytest.approx({"real": 1 / 8, "fake": 1 / 8}, abs=1e-5)
    assert terms(loss="least_squares", real_label=0.8) == pytest.approx({"real": 0.08, "fake": 0.08}, abs=1e-5)
    # −α log p − (1 − α) log(1 − p) − log(1 − p) is least at p = α/2.
    p = 0.9 / 2
    smoothed = {"real": -0.9 * math.log(p) - 0.1 * math.log(1 - p), "fake": -math.log(1 - p)}
    assert terms(real_label=0.9) == pytest.approx(smoothed, abs=1e-3)


def test_tags_have_no_such_value():
    """A discriminator of tags sums over as many of them as an example has."""
    assert methods.build("kdgan", label_kind="tags").moves[0].undecided is None
