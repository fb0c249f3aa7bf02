"""SP, PKT, NST and ICKD: by hand, against NumPy, what they do not see, degenerate features, published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import similarity
from published_features import check, figures, maps


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


LOSSES = [
    similarity.similarity_preserving,
    similarity.probabilistic_transfer,
    similarity.neuron_selectivity,
    similarity.channel_correlation,
]
OF_EXAMPLES, OF_CHANNELS = LOSSES[:2], LOSSES[2:]
of = lambda losses: pytest.mark.parametrize("loss", losses, ids=lambda loss: loss.__name__)
S, T = draw(0, 3, 2, 2, 4), draw(1, 3, 2, 2, 4)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def sp(s, t):
    s, t = (unit(x.reshape(3, -1) @ x.reshape(3, -1).T) for x in (s, t))
    return np.square(s - t).mean()


def pkt(s, t):
    p, q = ((unit(x.reshape(3, -1)) @ unit(x.reshape(3, -1)).T + 1) for x in (t, s))
    p, q = (x / x.sum(1, keepdims=True) for x in (p, q))
    return (p * np.log(p / q)).mean()


def nst(s, t):
    s, t = (unit(x.reshape(3, 4, 4).swapaxes(1, 2)) for x in (s, t))
    k = lambda x, y: np.square(np.einsum("bcn,bdn->bcd", x, y)).mean((1, 2))
    return k(s, s) + k(t, t) - 2 * k(s, t)


def ickd(s, t):
    s, t = (x.reshape(3, 4, 4).swapaxes(1, 2) for x in (s, t))
    s, t = (unit(x @ x.swapaxes(1, 2)) for x in (s, t))
    return np.square(s - t).sum((1, 2)) / 4


@pytest.mark.parametrize(("loss", "numpys"), list(zip(LOSSES, (sp, pkt, nst, ickd), strict=True)))
def test_against_numpy(loss, numpys):
    expected = numpys(np.float64(S), np.float64(T))
    np.testing.assert_allclose(loss({"a": S, "b": T}, {"a": T, "b": S}, [1.0, 0.0]), expected, rtol=2e-5)


def test_by_hand():
    # Rows (1, 0), (0, 1) of the one against (1, 1)/√2 twice of the other.
    one, other = [jnp.eye(2)], [jnp.ones((2, 1))]
    expected = np.mean(np.square(np.eye(2) - 1 / np.sqrt(2)))
    np.testing.assert_allclose(similarity.similarity_preserving(one, other), expected, rtol=1e-6)
    # q of the one is 2/3 and 1/3, p of the other ½.
    expected = 0.25 * (np.log(0.5 / (2 / 3)) + np.log(0.5 / (1 / 3)))
    np.testing.assert_allclose(similarity.probabilistic_transfer(one, other), expected, rtol=1e-5)
    # Two channels that look at other places: k(s, s') = ½, k(t, t) = 1, k(s, t) = ½.
    apart, alike = jnp.eye(2).reshape(1, 1, 2, 2), jnp.array([1.0, 0.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(similarity.neuron_selectivity([apart], [alike]), [0.5], rtol=1e-6)
    # Ĝ = 1 against all 1/√2.
    same = jnp.ones((1, 1, 2, 2))
    expected = np.square(np.eye(2) - 1 / np.sqrt(2)).sum() / 2
    np.testing.assert_allclose(similarity.channel_correlation([apart], [same]), [expected], rtol=1e-6)


@of(OF_EXAMPLES)
def test_examples_may_be_rotated_and_of_other_widths(loss):
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))
    turned = 3.0 * S.reshape(3, 16) @ jnp.asarray(rotation, jnp.float32)
    np.testing.assert_allclose(loss([turned], [S]), 0, atol=1e-6)
    assert loss([S[::-1]], [S]) > 1e-3


@of(OF_CHANNELS)
def test_places_may_be_in_another_order_and_a_layer_of_another_scale(loss):
    moved = lambda x: x[:, ::-1, ::-1]
    np.testing.assert_allclose(loss([moved(S)], [moved(T)]), loss([S], [5 * T]), rtol=1e-4)
    np.testing.assert_allclose(loss([S], [2 * S]), 0, atol=1e-5)


def test_channels_of_other_numbers_and_sides():
    twice = jnp.concatenate([S, S], -1).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(similarity.neuron_selectivity([twice], [S]), 0, atol=1e-5)
    np.testing.assert_allclose(similarity.neuron_selectivity([S], [twice]), 0, atol=1e-5)
    np.testing.assert_allclose(similarity.channel_correlation([S.repeat(2, 1)], [S]), 0, atol=1e-5)


@of(LOSSES)
def test_zero_at_equality_pulling_elsewhere_and_finite_at_zeros(loss):
    gradient = jax.jit(jax.value_and_grad(lambda s, t: loss([s], [t]).sum()))
    value, pull = gradient(S, S)
    assert abs(value) < 1e-5
    assert np.abs(pull).max() < 1e-5
    value, pull = gradient(S, T)
    assert np.abs(pull).max() > 1e-4
    assert gradient(S - 1e-2 * pull / jnp.abs(pull).max(), T)[0] < value
    for s, t in ((0 * S, T), (S.at[0].set(0.0).at[..., 1].set(0.0), T), (S, 0 * T)):
        value, pull = gradient(s, t)
        assert np.isfinite(value)
        assert np.isfinite(pull).all()


@of(LOSSES)
def test_low_precision_is_computed_on_in_float32(loss):
    narrow = [x.astype(jnp.bfloat16) for x in (S, T)]
    assert loss(*([x] for x in narrow)).dtype == jnp.float32
    np.testing.assert_array_equal(loss(*([x] for x in narrow)), loss(*([x.astype(jnp.float32)] for x in narrow)))


def test_refusals():
    for loss in OF_EXAMPLES:
        with pytest.raises(ValueError, match=r"\(1, 2, 2, 4\) and \(1, 2, 2, 4\): .*at least 2"):
            loss([S[:1]], [T[:1]])
    for loss in OF_CHANNELS:
        with pytest.raises(ValueError, match="channels are of maps"):
            loss([S[0]], [T])
    with pytest.raises(ValueError, match="a learned adapter maps one width to another"):
        similarity.channel_correlation([S], [T[..., :2]])
    for loss in LOSSES:
        with pytest.raises(ValueError, match="1 and 0 layers"):
            loss([S], [])


pair = lambda loss, student="student", teacher="teacher": lambda z: loss(maps(z, student), maps(z, teacher))
PUBLISHED = [
    ("sp", "repdistiller", pair(similarity.similarity_preserving), 1e-6, 2e-6),
    ("pkt", "repdistiller", pair(similarity.probabilistic_transfer), 5e-6, 5e-6),
    ("nst", "repdistiller", pair(similarity.neuron_selectivity), 1e-6, 1e-6),
    (
        "nst",
        "repdistiller_pool_student",
        pair(similarity.neuron_selectivity, "student_big", "teacher_small"),
        1e-6,
        1e-6,
    ),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "variant", "loss", "value_rtol", "gradient_rtol"), PUBLISHED)
def test_published_figures(name, variant, loss, value_rtol, gradient_rtol, shared_data_dir):
    z = figures(shared_data_dir, name)
    check(z, variant, loss, value_rtol=value_rtol, gradient_rtol=gradient_rtol)
