"""Several teachers and their weights; MEAL and a discriminator of features, whose players move in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import entr, softmax

import players as small
import tables
from kdgan import methods
from kdgan.methods.several import by_entropy
from kdgan.models.adapters import Adapter

RNG = np.random.default_rng(2)
S, A, B, C = (RNG.normal(scale=2, size=(6, 3)).astype(np.float32) for _ in range(4))
LABELS = np.array([0, 1, 0, 2])
TEACHERS = ("teacher", "teacher_b", "teacher_c")
PLAYERS = {"student": tables.table(S), **dict(zip(TEACHERS, map(tables.table, (A, B, C)), strict=True))}
LABELLED, BOTH = tables.batch(LABELS), tables.batch(LABELS, unlabelled=2)
JUDGED = {**PLAYERS, "discriminator": small.Judge()}


def terms(name, given=LABELLED, players=PLAYERS, move=0, key=None, **arguments):
    return tables.terms(methods.build(name, **arguments), players, given, move=move, key=key)


def apart(n=6):
    return np.stack([tables.kl(t, S, 3.0) for t in (A, B, C)])[:, :n]


def test_teachers_count_alike():
    found, _ = terms("several", BOTH, teachers=TEACHERS, temperature=3.0, unlabelled=True)
    np.testing.assert_allclose(found["kd"], apart().mean(0), rtol=1e-4)
    assert found["ce"].shape == (4,)


def test_teachers_count_by_their_error_on_the_label():
    found, _ = terms("several", teachers=TEACHERS, temperature=3.0, weights="confidence")
    weights = (1 - softmax(np.stack([tables.ce(t[:4], LABELS) for t in (A, B, C)]), axis=0)) / 2
    np.testing.assert_allclose(weights.sum(0), 1)
    np.testing.assert_allclose(found["kd"], (weights * apart(4)).sum(0), rtol=1e-4)
    with pytest.raises(ValueError, match=r"method.unlabelled = True: several learns from labelled"):
        methods.build("several", weights="confidence", unlabelled=True)


def test_teachers_count_by_how_sure_they_are():
    found, _ = terms("several", BOTH, teachers=TEACHERS, temperature=3.0, weights="entropy", unlabelled=True)
    entropy = np.stack([entr(softmax(np.float64(t), -1)).sum(-1) for t in (A, B, C)])
    weights = (1 - entropy / entropy.sum(0)) / 2
    np.testing.assert_allclose(found["kd"], (weights * apart()).sum(0), rtol=1e-4)
    sure = jnp.array([[1e4, 0.0, 0.0]])
    np.testing.assert_allclose(by_entropy([sure, sure], {}), 0.5)
    with pytest.raises(ValueError, match=r"method.label_kind = 'tags': several accepts class; weights = 'entropy'"):
        methods.build("several", weights="entropy", label_kind="tags")


@pytest.mark.parametrize("teachers", [("teacher",), ("teacher", "teacher"), "teacher", ("teacher", "student")])
def test_teachers_are_two_or_more(teachers):
    for name in ("several", "meal"):
        with pytest.raises(ValueError, match=r"method.teachers = .*: the names of two players or more"):
            methods.build(name, teachers=teachers)


def test_meal_by_hand():
    judge = dict(given=LABELLED, players=JUDGED, teachers=TEACHERS, each_step="all", temperature=3.0)
    softplus = lambda x: np.logaddexp(0, np.float64(x))
    found, bound = terms("meal", **judge)
    score = lambda logits: np.float64(small.Judge().apply({"params": bound.discriminator.params}, logits[:4]))
    np.testing.assert_allclose(found["real"], np.mean([softplus(-score(t)) for t in (A, B, C)], axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["fake"], softplus(score(S)), rtol=1e-4)
    found, _ = terms("meal", move=1, **judge)
    np.testing.assert_allclose(found["adv"], softplus(-score(S)), rtol=1e-4)
    np.testing.assert_allclose(found["kd"], apart(4).mean(0), rtol=1e-4)


def test_meal_draws_a_teacher_for_each_move():
    drawn = [terms("meal", players=JUDGED, teachers=TEACHERS, temperature=3.0, move=1, key=jax.random.key(i))[0]["kd"]
             for i in range(12)]  # fmt: skip
    taken = [int(np.argmin(np.abs(apart(4) - np.asarray(one)).max(-1))) for one in drawn]
    assert set(taken) == {0, 1, 2}
    for which, one in zip(taken, drawn, strict=True):
        np.testing.assert_allclose(one, apart(4)[which], rtol=1e-4)


def in_turn(method, players, given, others):
    """The discriminator learns to tell, then the student to be taken for the teacher; each by its own terms."""
    step = lambda **lambdas: tables.stepped(method, players, given, rate=0.1, **{**others, **lambdas})
    both, _, before = step()
    alone, _, _ = step(adv=0.0)
    # The student's move leaves the discriminator alone, and meets the one that has just moved.
    assert small.largest_difference(both.params["discriminator"], alone.params["discriminator"]) == 0
    assert small.largest_difference(both.params["discriminator"], before.params["discriminator"]) > 0
    assert small.largest_difference(alone.params["student"], before.params["student"]) == 0
    old, _ = tables.terms(method, players, given, state=before)
    new, _ = tables.terms(method, players, given, state=alone)
    assert sum(np.mean(new[term]) for term in ("real", "fake")) < sum(np.mean(old[term]) for term in ("real", "fake"))
    fooled = [np.mean(tables.terms(method, players, given, move=1, state=s)[0]["adv"]) for s in (alone, both)]
    assert fooled[1] < fooled[0]
    rise = [np.mean(tables.terms(method, players, given, state=state)[0]["fake"]) for state in (alone, both)]
    assert rise[1] > rise[0]
    assert small.largest_difference(both.params["teacher"], before.params["teacher"]) == 0
    return both, before


def test_meals_discriminator_and_student_move_in_turn():
    in_turn(methods.build("meal", each_step="all"), JUDGED, LABELLED, {"ce": 0.0, "kd": 0.0})


INNER = {name: RNG.normal(size=(6, 3)) for name in ("student", *TEACHERS)}


def test_meals_teachers_are_alike_and_its_discriminator_moves():
    players = {**JUDGED, "teacher_b": tables.table(B[:, :2])}
    with pytest.raises(ValueError, match=r"^method.teachers: outputs or features .* 'teacher_b': .2,.*; equal ones"):
        terms("meal", players=players)
    for name in ("meal", "adversarial_features"):
        with pytest.raises(ValueError, match=r"^method.discriminator_repeats = 0: moves, a whole number of at least 1"):
            methods.build(name, discriminator_repeats=0)


def test_meals_further_discriminators_see_features():
    """Each of its own pair of features; the terms of logits are what they are without."""
    tabled = {name: tables.table(x, INNER[name]) for name, x in zip(INNER, (S, A, B, C), strict=True)}
    players = {**tabled, "discriminator": small.Judge(), "discriminator_1": small.Judge()}
    method = methods.build("meal", teachers=TEACHERS, each_step="all", features=("embedding",))
    assert [move.players for move in method.moves] == [("discriminator", "discriminator_1"), ("student",)]
    found, bound = tables.terms(method, players, LABELLED)
    softplus = lambda x: np.logaddexp(0, np.float64(x))
    score = lambda name: np.float64(small.Judge().apply({"params": bound.discriminator_1.params}, INNER[name][:4]))
    np.testing.assert_allclose(
        found["real_inner"], np.mean([softplus(-score(name)) for name in TEACHERS], axis=0), rtol=1e-4
    )
    np.testing.assert_allclose(found["fake_inner"], softplus(score("student")), rtol=1e-4)
    adv = tables.terms(method, players, LABELLED, move=1)[0]
    np.testing.assert_allclose(adv["adv_inner"], softplus(-score("student")), rtol=1e-4)
    after, _, before = tables.stepped(method, players, LABELLED, rate=0.1, ce=0.0, kd=0.0, adv=0.0)
    moved = {name: small.largest_difference(after.params[name], before.params[name]) > 0 for name in players}
    assert moved == {name: name not in TEACHERS for name in players}
    np.testing.assert_array_equal(after.params["student"]["logits"], before.params["student"]["logits"])


FEATURES = {
    "student": tables.table(S, RNG.normal(size=(6, 2))),
    "teacher": tables.table(A, RNG.normal(size=(6, 2))),
    "discriminator": small.Judge(),
}
WIDE = {**FEATURES, "teacher": tables.table(A, RNG.normal(size=(6, 5))), "adapter": Adapter()}


def test_a_discriminator_of_features_and_the_student_move_in_turn():
    after, before = in_turn(methods.build("adversarial_features"), FEATURES, LABELLED, {"ce": 0.0})
    np.testing.assert_array_equal(after.params["student"]["logits"], before.params["student"]["logits"])


def test_an_adapter_of_features_moves_with_the_student_alone():
    method = methods.build("adversarial_features", adapter=True)
    assert [move.players for move in method.moves] == [("discriminator",), ("student", "adapter")]
    after, before = in_turn(method, WIDE, LABELLED, {"ce": 0.0})
    assert small.largest_difference(after.params["adapter"], before.params["adapter"]) > 0


def test_features_of_other_widths_want_an_adapter():
    with pytest.raises(ValueError, match=r"^method.adapter = False: the student has 2 features for the teacher's 5"):
        terms("adversarial_features", players=WIDE)
    with pytest.raises(ValueError, match=r"method.features = \(\): one module path or more"):
        methods.build("adversarial_features", features=())


def test_maps_are_seen_as_their_means():
    images = {name: small.Restores() for name in ("student", "teacher")}
    method = methods.build("adversarial_features", features={"hidden": "last", "last": "hidden"}, adapter=True)
    players = {**images, "adapter": Adapter(), "discriminator": small.Judge()}
    given = {"image": small.batch()["image"], "label": small.batch()["image"]}
    with pytest.raises(ValueError, match="Adapter"):  # whose pairs have to be said, where positions do not tell
        tables.terms(method, players, given)
    players["adapter"] = Adapter(pairs=(("hidden", "last"), ("last", "hidden")))
    found, bound = tables.terms(method, players, given)
    _, features = bound.teacher(given["image"], features=("hidden", "last"))
    vectors = jnp.concatenate([features[path].mean((1, 2)) for path in ("last", "hidden")], axis=-1)
    scores = np.float64(small.Judge().apply({"params": bound.discriminator.params}, vectors))
    np.testing.assert_allclose(found["real"], np.logaddexp(0, -scores), rtol=1e-4)
