"""What single methods compute, by hand; and how they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from kdgan import methods
from kdgan.game import Players
from kdgan.player import PlayerInputs

S = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]], np.float32)
T = np.array([[3.0, 0.0, -2.0], [1.0, 1.0, 0.0]], np.float32)
D = np.array([[0.3, -0.7, 1.2], [-1.5, 0.4, 2.0]], np.float32)
BATCH = {"image": jnp.zeros((2, 1, 1, 1)), "label": jnp.array([0, 2])}


def terms(name, player, *, step=0, key=0, batch=BATCH, **hyperparameters):
    """The terms that a move of `player` gives where every network's output is known."""
    fixed = {"student": S, "teacher": T, "discriminator": D}
    answer = lambda value: lambda x: jnp.asarray(value)[: len(x)]
    bound = {role: answer(value) for role, value in fixed.items()}
    method = methods.build(name, **hyperparameters)
    move = next(move for move in method.moves if move.lead == player)
    on_device = jax.tree.map(jnp.asarray, batch)
    return {t: np.asarray(v) for t, v in move.terms(Players(bound, step), on_device, jax.random.key(key)).items()}


def kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), -1)


def test_kd_is_cross_entropy_and_scaled_kl():
    found = terms("kd", "student", temperature=4.0)
    np.testing.assert_allclose(found["ce"], -log_softmax(S, -1)[[0, 1], [0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found["kd"], 16 * kl(softmax(T / 4, -1), softmax(S / 4, -1)), rtol=1e-4)


def test_kd_takes_two_temperatures_and_schedules():
    found = terms("kd", "student", temperature=lambda step: 1.0 + step, teacher_temperature=2.0, step=2)
    np.testing.assert_allclose(found["kd"], 9 * kl(softmax(T / 2, -1), softmax(S / 3, -1)), rtol=1e-4)


def test_logistic_sums_a_binary_cross_entropy_per_class():
    p, q = 1 / (1 + np.exp(-T)), 1 / (1 + np.exp(-S))
    expected = -np.sum(p * np.log(q) + (1 - p) * np.log(1 - q), -1)
    np.testing.assert_allclose(terms("logistic", "student")["logistic"], expected, rtol=1e-5)


def test_mimic_is_half_the_squared_distance_of_logits():
    np.testing.assert_allclose(terms("mimic", "student")["mimic"], 0.5 * np.sum((S - T) ** 2, -1), rtol=1e-6)


def test_a_noisy_teacher_without_noise_is_mimicry_and_with_noise_is_not():
    clean = terms("mimic", "student")["mimic"]
    np.testing.assert_allclose(terms("noisy", "student", sigma=0.0)["mimic"], clean, rtol=1e-6)
    np.testing.assert_allclose(terms("noisy", "student", ratio=0.0, sigma=9.0)["mimic"], clean, rtol=1e-6)
    assert np.all(terms("noisy", "student", ratio=1.0, sigma=0.5)["mimic"] != clean)


def test_matching_on_unlabelled_images_keeps_the_labels_to_the_labelled():
    batch = {
        **BATCH,
        "image": BATCH["image"][:1],
        "label": BATCH["label"][:1],
        "unlabelled": {"image": BATCH["image"][:1]},
    }
    batch = PlayerInputs(batch, None).batch  # as a step hands it to a method
    found = terms("mimic", "student", batch=batch, unlabelled=True)
    assert found["ce"].shape == (1,)
    assert found["mimic"].shape == (2,)
    with pytest.raises(ValueError, match="unlabelled_batch_size"):
        terms("mimic", "student", unlabelled=True)


def test_mutual_averages_over_the_other_peers():
    found = terms("mutual", "student", peers=("student", "teacher", "discriminator"))
    expected = (kl(softmax(T, -1), softmax(S, -1)) + kl(softmax(D, -1), softmax(S, -1))) / 2
    np.testing.assert_allclose(found["kd"], expected, rtol=1e-4)


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def test_adversarial_losses_have_both_signs_negative():
    judge = np.array([0.5, -1.0], np.float32)
    bound = {"student": lambda x: jnp.asarray(S), "teacher": lambda x: jnp.asarray(T)}
    bound["discriminator"] = lambda outputs: jnp.asarray(judge) + outputs[:, 0]
    d, g = methods.build("adversarial").moves
    found = d.terms(Players(bound, 0), BATCH, jax.random.key(0))
    np.testing.assert_allclose(found["real"], -log_sigmoid(judge + T[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(found["fake"], -log_sigmoid(-(judge + S[:, 0])), rtol=1e-5)
    found = g.terms(Players(bound, 0), BATCH, jax.random.key(0))
    np.testing.assert_allclose(found["adv"], -log_sigmoid(judge + S[:, 0]), rtol=1e-5)


def test_kdgan_with_expected_labels_is_the_value_of_the_paper():
    """V = E_real log D + α E_C log(1−D) + (1−α) E_T log(1−D), of which D minimises the negative."""
    found = terms("kdgan", "discriminator", labels="expected")
    log_d, log_not_d = log_sigmoid(D), log_sigmoid(-D)
    np.testing.assert_allclose(found["real"], -log_d[[0, 1], [0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found["student"], -np.sum(softmax(S, -1) * log_not_d, -1), rtol=1e-5)
    np.testing.assert_allclose(found["teacher"], -np.sum(softmax(T, -1) * log_not_d, -1), rtol=1e-5)
    student = terms("kdgan", "student", labels="expected")
    np.testing.assert_allclose(student["adv"], np.sum(softmax(S, -1) * log_not_d, -1), rtol=1e-5)
    np.testing.assert_allclose(student["kd"], 0.5 * np.sum((S - T) ** 2, -1), rtol=1e-5)
    teacher = terms("kdgan", "teacher", labels="expected", distillation="kl")
    np.testing.assert_allclose(teacher["kd"], kl(softmax(S, -1), softmax(T, -1)), rtol=1e-4)


def test_nagan_is_kdgan_without_its_teacher():
    for player, own in (("discriminator", ("real", "student")), ("student", ("ce", "adv"))):
        naive, whole = (terms(name, player, concrete_temperature=0.5, labels="expected") for name in ("nagan", "kdgan"))
        assert set(naive) == set(own)
        for term in own:
            np.testing.assert_allclose(naive[term], whole[term], rtol=1e-6)
    other = terms("nagan", "student", labels="expected", saturating=False)["adv"]
    np.testing.assert_allclose(other, -np.sum(softmax(S, -1) * log_sigmoid(D), -1), rtol=1e-5)


def test_concrete_draws_have_the_expected_value():
    draws = [terms("kdgan", "student", draws=64, key=i)["adv"] for i in range(40)]
    expected = terms("kdgan", "student", labels="expected")["adv"]
    np.testing.assert_allclose(np.mean(draws, 0), expected, atol=0.03)  # 2,560 draws of a value with deviation below 1


def test_at_equilibrium_the_value_is_minus_log_four():
    """p_C = p_T = p_data and D = 1/2 everywhere: V = −log 4 (Wang et al. 2018, Lemma 4.1)."""
    bound = dict.fromkeys(("student", "teacher", "discriminator"), lambda x: jnp.zeros((2, 3)))
    move = methods.build("kdgan", labels="expected").moves[0]
    found = move.terms(Players(bound, 0), BATCH, jax.random.key(0))
    alpha = 0.3
    value = -(found["real"] + alpha * found["student"] + (1 - alpha) * found["teacher"])
    np.testing.assert_allclose(value, -np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("kdd", {}, "did you mean 'kd'"),
        ("my_project.methods.mine", {}, "cannot be imported"),
        ("kdgan.methods.BY_NAME", {}, "is no function"),
        ("kd", {"temprature": 2.0}, "did you mean 'temperature'"),
        ("kd", {"temperature": -1.0}, "temperature = -1.0: a temperature must be positive"),
        ("kdgan", {"labels": "soft"}, "accepted are concrete, expected"),
        ("kdgan", {"distillation": "mse"}, "accepted are kl, l2"),
        ("kdgan", {"draws": 0}, "at least one label"),
        ("adversarial", {"sees": "labels"}, "accepted are logits, probabilities"),
        ("mutual", {"peers": ("student",)}, "two players or more"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(name, hyperparameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        methods.build(name, **hyperparameters)
