"""Students that learn how examples lie to one another: terms on features taken by hand, layers added up, few examples."""

import numpy as np
import pytest

import one_move
import players as small
from kdgan import game, methods
from kdgan.losses import relations, similarity
from kdgan.methods.published import PUBLISHED

MODULES = {"student": small.Maps(), "teacher": small.Maps(6)}
PATHS = {"features": ("first", "head"), "weights": (0.5, 2.0)}
# Method -> (its arguments, term -> loss of one layer).
CASES = {
    "rkd": ({}, {"rkd_distance": relations.relational_distance, "rkd_angle": relations.relational_angle}),
    "cc": (
        {"gamma": 0.7, "order": 3},
        {"cc": lambda s, t: relations.correlation_congruence(s, t, gamma=0.7, order=3)},
    ),
    "sp": ({}, {"sp": lambda s, t: similarity.similarity_preserving([s], [t])}),
    "pkt": ({}, {"pkt": lambda s, t: similarity.probabilistic_transfer([s], [t])}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_term_adds_up_layers_taken_by_hand_and_moves_the_student(name):
    arguments, losses = CASES[name]
    method, batch = methods.build(name, **PATHS, **arguments, unlabelled=True), one_move.example(others=4)
    assert method.trained == ("student",)
    state = small.make_state(method, MODULES, example=batch)
    terms, gradients = one_move.evaluated(method, MODULES, state, batch)
    image = np.concatenate([batch["image"], batch["unlabelled"]["image"]])
    s, t = (one_move.taken(MODULES[p], state, p, image, "first", "head") for p in ("student", "teacher"))
    assert terms.keys() == {"ce", *losses} == PUBLISHED[name]["student"].keys()
    for term, loss in losses.items():
        value = 0.5 * loss(s["first"], t["first"]) + 2 * loss(s["head"], t["head"])
        np.testing.assert_allclose(terms[term], value, rtol=1e-5)
    assert terms["ce"].shape == (8,)
    assert one_move.largest(gradients["student"]) > 1e-6


def test_rkd_does_not_see_where_the_teachers_features_lie_or_how_large_they_are():
    """The teacher's last layer behind a rotation, three times as large and elsewhere."""
    method, batch = methods.build("rkd", features=("head",)), one_move.example()
    state = small.make_state(method, MODULES, example=batch)
    before, _ = one_move.evaluated(method, MODULES, state, batch)
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(small.CLASSES, small.CLASSES)))
    head = state.params["teacher"]["head"]
    state.params["teacher"]["head"] = {
        "kernel": 3 * head["kernel"] @ np.float32(turned),
        "bias": head["bias"] + np.float32([5, -1, 2]),
    }
    after, _ = one_move.evaluated(method, MODULES, state, batch)
    for term in ("rkd_distance", "rkd_angle"):
        assert before[term] > 1e-3
        np.testing.assert_allclose(after[term], before[term], rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_one_has_no_relations(name):
    batch = {field: value[:1] for field, value in one_move.example().items()}
    with pytest.raises(ValueError, match=f"method.features: {name}: .*at least 2 from both"):
        game.inspect_method(methods.build(name, features=("first",)), MODULES, batch)
