"""Teacher-free distillation by hand, in closed form, and by published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity_figures
from kdgan.losses import smoothing
from kdgan.losses.logits import cross_entropy, kl_divergence

LABELS = jnp.array([2, 0, 1], jnp.uint8)
VIRTUAL = pytest.mark.parametrize(
    "loss", [smoothing.virtual_teacher_kl, smoothing.virtual_teacher_kl_of_code], ids=lambda loss: loss.__name__
)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S = draw(0, 3, 4)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_the_virtual_teacher_by_hand():
    np.testing.assert_allclose(
        smoothing.virtual_teacher(LABELS[:2], 4, correct=0.7), [[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]], rtol=1e-6
    )
    assert np.isnan(smoothing.virtual_teacher(jnp.array([1, 4, -1]), 4)).all(-1).tolist() == [False, True, True]


def test_the_papers_equation_and_the_codes_against_numpy():
    p = np.full((3, 4), 0.1 / 3)
    p[range(3), LABELS] = 0.9
    s = np.asarray(S, np.float64)
    softened = p ** (1 / 5)
    softened /= softened.sum(-1, keepdims=True)
    expected = 25 * (softened * (np.log(softened) - log_softmax(s / 5))).sum(-1)
    np.testing.assert_allclose(
        smoothing.virtual_teacher_kl(S, LABELS, correct=0.9, temperature=5.0), expected, rtol=1e-5
    )
    of_code = np.exp(log_softmax(p / 5))
    expected = (of_code * (np.log(of_code) - log_softmax(s))).sum(-1)
    found = smoothing.virtual_teacher_kl_of_code(S, LABELS, correct=0.9, temperature=5.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_codes_teacher_is_almost_even_and_the_papers_is_not():
    # 1/(1 + 9·e^(−0.99/20 + 0.01/180)) = 0.1046 on the label.
    value = smoothing.virtual_teacher_kl_of_code(jnp.zeros((1, 10)), jnp.array([3]))
    np.testing.assert_allclose(value, np.log(10) + 0.10455 * np.log(0.10455) + 0.89545 * np.log(0.89545 / 9), atol=1e-6)
    assert value < 2e-4 < 0.5 < smoothing.virtual_teacher_kl(jnp.zeros((1, 10)), jnp.array([3]))[0]


@VIRTUAL
def test_virtual_teachers_pull_towards_the_label_and_refuse_what_does_not_fit(loss):
    gradient = jax.grad(lambda s: loss(s, LABELS).sum())(jnp.zeros((3, 4)))
    assert (np.asarray(gradient).argmin(-1) == LABELS).all()
    assert (np.asarray(gradient).min(-1) < -1e-3).all()
    assert loss(S.astype(jnp.bfloat16), LABELS).dtype == jnp.float32
    assert np.isnan(loss(S, jnp.array([1, 4, 2]))).tolist() == [False, True, False]
    for mistake, words in (
        (dict(correct=0.25), r"correct is 0.25; of 4 classes it must be above 0.25"),
        (dict(correct=1.0), r"correct is 1.0"),
        (dict(temperature=0.0), r"temperature is 0.0"),
    ):
        with pytest.raises(ValueError, match=words):
            loss(S, LABELS, **mistake)
    with pytest.raises(ValueError, match=r"labels has shape \(2,\)"):
        loss(S, LABELS[:2])
    with pytest.raises(ValueError, match="classes is 1"):
        loss(S[:, :1], LABELS)


def test_softened_labels_between_labels_and_the_past():
    past = jax.nn.softmax(draw(1, 3, 4))
    one_hot = jax.nn.one_hot(LABELS, 4)
    np.testing.assert_allclose(smoothing.softened_labels(LABELS, past, 0.25), 0.75 * one_hot + 0.25 * past, rtol=1e-6)
    np.testing.assert_allclose(smoothing.progressive(S, LABELS, past, alpha=0.0), cross_entropy(S, LABELS), rtol=1e-6)
    # Linear in α, and the past's own cross-entropy at 1.
    at = [smoothing.progressive(S, LABELS, past, alpha=alpha) for alpha in (0.0, jnp.float32(0.5), 1)]
    np.testing.assert_allclose(at[1], (at[0] + at[2]) / 2, rtol=1e-5)
    np.testing.assert_allclose(at[2], -np.sum(past * log_softmax(np.asarray(S)), axis=-1), rtol=1e-5)
    assert np.isnan(smoothing.progressive(S, jnp.array([4, 0, -1]), past, alpha=0.5)).tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        smoothing.progressive(S, LABELS, past, alpha=1.5)
    with pytest.raises(ValueError, match=r"labels has shape \(2,\) and past \(3, 4\)"):
        smoothing.progressive(S, LABELS[:2], past, alpha=0.5)


def test_class_wise_distillation_pulls_both_ways_until_the_caller_stops_one():
    r = draw(2, 3, 4)
    np.testing.assert_array_equal(smoothing.class_wise_kl(S, r), kl_divergence(S, r, temperature=4.0))
    pulls = jax.grad(lambda s, r: smoothing.class_wise_kl(s, r).sum(), (0, 1))(S, r)
    assert all(np.abs(pull).max() > 0.01 for pull in pulls)
    with pytest.raises(ValueError, match="4 and 3 classes"):
        smoothing.class_wise_kl(S, r[:, :3])


def test_the_error_of_probabilities_by_hand():
    r = draw(4, 3, 4)
    p, q = (np.exp(log_softmax(np.float64(x))) for x in (S, r))
    np.testing.assert_allclose(smoothing.probability_error(S, r), ((p - q) ** 2).mean(-1), rtol=1e-4)
    np.testing.assert_array_equal(smoothing.probability_error(S, S), 0)
    far = jnp.array([[100.0, 0.0]])
    np.testing.assert_allclose(smoothing.probability_error(far, far[:, ::-1]), [1.0], rtol=1e-6)  # at most 2/k
    pulls = jax.grad(lambda s, r: smoothing.probability_error(s, r).sum(), (0, 1))(S, r)
    assert all(np.abs(pull).max() > 0.001 for pull in pulls)
    with pytest.raises(ValueError, match="4 and 3 classes"):
        smoothing.probability_error(S, r[:, :3])


# Published figures


def of_tfkd(z):
    y = z["in.labels"]
    # Theirs is a mean over the 10 classes, times 100: 0.1·100/10 of ours.
    return {"reg": lambda s: 0.9 * cross_entropy(s, y) + smoothing.virtual_teacher_kl_of_code(s, y)}


def of_pskd(z):
    past = z["in.all_predictions"][z["in.input_indices"]]
    epoch = lambda e: lambda s: smoothing.progressive(s, z["in.labels"], past, alpha=0.8 * (e + 1) / 300)
    return {f"epoch{e}": epoch(e) for e in (0, 149, 299)}


def of_cskd(z):
    pair = lambda s: smoothing.class_wise_kl(s, z["in.partner"])
    return {"official_cls": pair, "official_total": lambda s: pair(s) + cross_entropy(s, z["in.labels"])}


PARITY = {"tfkd": (of_tfkd, 5e-6, 2e-6), "pskd": (of_pskd, 1e-6, 2e-6), "cskd": (of_cskd, 2e-6, 2e-6)}


@pytest.mark.shared
@pytest.mark.parametrize("name", PARITY)
def test_values_and_gradients_are_those_of_published_code(name, shared_data_dir):
    z, figures, preferred = parity_figures.load(shared_data_dir, name)
    make, value_rtol, tolerance = PARITY[name]
    losses = make(z)
    assert set(losses) == preferred
    for variant, loss in losses.items():
        inputs = {"student": z["in.student"]}
        parity_figures.agree(figures, variant, loss, inputs, value_rtol=value_rtol, gradient_tolerance=tolerance)
