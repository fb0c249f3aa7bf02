"""Relations between the examples of a batch: by hand, what they do not see, equal rows, and published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity_figures
from kdgan.losses import relations

LOSSES = (relations.relational_distance, relations.relational_angle, relations.correlation_congruence)
ALL = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = draw(0, 4, 3), draw(1, 4, 2, 2)


def test_distances_by_hand():
    # Distances 3, 4, 5 of mean 4 against 1, 1, 2 of mean 4/3: differences 0, 1/4, -1/4, each twice, in 9 pairs.
    student, teacher = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), jnp.array([[0.0], [1.0], [-1.0]])
    apart = np.array([3 / 4 - 3 / 4, 4 / 4 - 3 / 4, 5 / 4 - 6 / 4])
    np.testing.assert_allclose(relations.relational_distance(student, teacher), 2 * (apart**2 / 2).sum() / 9, rtol=1e-6)
    # Two examples are always their mean distance apart.
    np.testing.assert_allclose(relations.relational_distance(S[:2], T[:2]), 0, atol=1e-12)
    # Beyond 1 the value is |x| − 1/2.
    far, near = np.array([[0.0], [0.0], [1.0], [0.0]]), np.array([[0.0], [1.0], [0.0], [0.0]])
    d = [abs(x - x.T) for x in (far, near)]
    x = d[0] / (d[0].sum() / 12) - d[1] / (d[1].sum() / 12)
    assert abs(x).max() > 1
    expected = np.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5).mean()
    np.testing.assert_allclose(relations.relational_distance(*map(jnp.float32, (far, near))), expected, rtol=1e-6)


def test_angles_by_hand():
    # A right triangle with legs 1, against one line: cosines 0, 1/√2, 1/√2 against −1 (at the middle), 1, 1; each twice; the
    # six of an angle with itself agree.
    student, teacher = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.0], [1.0], [-1.0]])
    expected = 2 * (1 / 2 + 2 * (1 - np.sqrt(0.5)) ** 2 / 2) / 27
    np.testing.assert_allclose(relations.relational_angle(student, teacher), expected, rtol=1e-6)


def test_correlations_by_hand_and_the_gaussian_kernel_as_their_limit():
    student, teacher = jnp.array([[2.0, 0.0], [0.0, 3.0]]), jnp.array([[1.0], [5.0]])
    # Products 0 and 1 off the diagonal: twice (e^−0.8 (0.8 + 0.32))² in 4.
    expected = 2 * (np.exp(-0.8) * 1.12) ** 2 / 4
    np.testing.assert_allclose(relations.correlation_congruence(student, teacher), expected, rtol=1e-6)
    unit = [np.asarray(x).reshape(4, -1) for x in (S, T)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit]
    kernels = [np.exp(-0.4 * ((x[:, None] - x[None]) ** 2).sum(-1)) for x in unit]
    expected = ((kernels[0] - kernels[1]) ** 2).mean()
    np.testing.assert_allclose(relations.correlation_congruence(S, T, order=9), expected, rtol=1e-5)


@ALL
def test_they_see_neither_size_nor_rotation(loss):
    rotation = jnp.asarray(np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0], jnp.float32)
    expected = loss(S, T)
    assert expected > 1e-3
    np.testing.assert_allclose(loss(7 * S @ rotation, T), expected, rtol=1e-4)
    np.testing.assert_allclose(loss(7 * S @ rotation, S), 0, atol=1e-6)
    if loss is not relations.correlation_congruence:
        np.testing.assert_allclose(loss(S + 3, T), expected, rtol=1e-4)
    step = jax.grad(loss)(S, T)
    assert loss(S - 0.1 * step, T) < expected
    assert np.abs(jax.grad(loss, 1)(S, T)).max() > 1e-4


@ALL
@pytest.mark.parametrize("rows", [np.zeros((4, 3)), np.ones((4, 3)), [[1.0, 2, 3]] * 3 + [[0.0, 0, 0]]])
def test_equal_rows_have_finite_gradients(loss, rows):
    rows = jnp.asarray(rows, jnp.float32)
    for student, teacher in ((rows, T), (S, rows), (rows, rows)):
        value, gradients = jax.value_and_grad(loss, (0, 1))(student, teacher)
        assert np.isfinite(value)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


@ALL
def test_low_precision_is_computed_on_in_float32_and_mistakes_are_named(loss):
    assert loss(S.astype(jnp.bfloat16), T).dtype == jnp.float32
    for student, teacher in ((S, T[:3]), (S[:1], T[:1])):
        with pytest.raises(ValueError, match=f"{loss.__name__}: shapes .*same batch of at least 2"):
            loss(student, teacher)


def test_a_kernel_without_width_or_order_is_refused():
    for mistake in (dict(gamma=0.0), dict(order=0)):
        with pytest.raises(ValueError, match="gamma must be positive and order at least 1"):
            relations.correlation_congruence(S, T, **mistake)


# Published figures


RKD = {
    "repdistiller": lambda s, t: 25 * relations.relational_distance(s, t) + 50 * relations.relational_angle(s, t),
    "repdistiller_distance": relations.relational_distance,
    "repdistiller_angle": relations.relational_angle,
}
CC = {f"zoo_P{p}": lambda s, t, p=p: relations.correlation_congruence(s, t, order=p) for p in (2, 3)}
PARITY = {"rkd": RKD, "cc": CC}


@pytest.mark.shared
@pytest.mark.parametrize("name", PARITY)
def test_values_and_gradients_are_those_of_published_code(name, shared_data_dir):
    z, figures, preferred = parity_figures.load(shared_data_dir, name)
    assert set(PARITY[name]) == preferred
    inputs = {"student": z["in.student"], "teacher": z["in.teacher"]}
    for variant, loss in PARITY[name].items():
        parity_figures.agree(figures, variant, loss, inputs, value_rtol=1e-6, gradient_tolerance=2e-6)
