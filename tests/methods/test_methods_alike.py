"""A discriminator's terms where it scores all alike: as `Move.alike` says, and as its own equal scores make them."""

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
        ("gan", {"loss": "least_squares", "real_label": 0.8}),
        ("gan", {"loss": "minimax", "real_label": 0.9}),
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
def test_terms_of_equal_scores_are_as_they_are_said(name, changed):
    asked, modules = CASES[name]
    if "features" in changed and name == "meal":
        alike = dict.fromkeys(("student", "teacher", "teacher_b"), small.Plain())
        modules = {**modules, **alike, "discriminator_1": small.Judge()}
    method = methods.build(name, **{**asked, **changed})
    batch = small.restoration(others=8) if name == "restore_distill" else small.batch()
    state = small.make_state(method, modules, example=batch)
    (move,) = [move for move in method.moves if move.alike is not None]
    assert all(player.startswith("discriminator") for player in move.players)

    def constant(score):
        """Parameters of discriminators that are 0 but for the bias of their last layer."""
        is_bias = lambda path: path[-2].key in ("score", "head") and path[-1].key == "bias"
        leaf = lambda path, x: jnp.full_like(x, score if is_bias(path) else 0.0)
        return {player: jax.tree_util.tree_map_with_path(leaf, state.params[player]) for player in move.players}

    @jax.jit
    def terms(score):
        params = constant(score)
        given = PlayerInputs(jax.tree.map(jnp.asarray, batch), None)
        bound = game.bind(
            modules, {**state.params, **params}, state.model_state, step=0, key=jax.random.key(3), trained=method.trained,
            moving=move.players, inputs=given,
        )  # fmt: skip
        return {term: jnp.mean(value) for term, value in move.terms(bound, given.batch, jax.random.key(4)).items()}

    scores = (0.0, 0.7)
    said = move.alike(jnp.asarray(scores))
    for place, score in enumerate(scores):
        of_score = terms(score)
        assert said.keys() == of_score.keys() - {"r1"}
        for term, values in said.items():
            np.testing.assert_allclose(of_score[term], values[place], atol=1e-6, err_msg=f"{term} at {score}")


def test_the_game_of_goodfellow_stands_at_the_logarithm_of_four():
    (discriminator, _) = methods.build("gan", latent=3).moves
    assert sum(float(value[0]) for value in discriminator.alike(jnp.zeros(1)).values()) == pytest.approx(math.log(4))


def test_tags_have_no_such_value():
    """A discriminator of tags sums over as many of them as an example has."""
    assert methods.build("kdgan", label_kind="tags").moves[0].alike is None
