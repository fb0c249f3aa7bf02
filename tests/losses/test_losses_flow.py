"""FSP matrices and singular vectors: by hand, what they do not see, degenerate layers, published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import flow
from published_features import check, figures, maps


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


LAYERS = [draw(0, 2, 4, 4, 3), draw(1, 2, 2, 2, 5)]
OTHERS = [draw(2, 2, 4, 4, 3), draw(3, 2, 2, 2, 5)]


def test_flow_matrix_by_hand():
    first = jnp.array([1.0, 3.0, 5.0, 7.0]).reshape(1, 2, 2, 1)
    second = jnp.array([[2.0, -1.0]]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(flow.flow_matrix(first, second), [[[8.0, -4.0]]])
    np.testing.assert_allclose(flow.flow_matrix(first, second, pooling="max"), [[[14.0, -7.0]]])
    np.testing.assert_allclose(flow.flow_matrix(first, first), [[[84 / 4]]])
    none = [0 * first, second]
    np.testing.assert_allclose(flow.solution_flow([first, second], none, [0.5]), [0.5 * (64 + 16) / 2])


def test_flow_sees_no_order_of_places():
    with_places = [draw(4, 2, 4, 4, 3), draw(5, 2, 4, 4, 2)]
    shuffled = [x.reshape(2, 16, -1)[:, ::-1].reshape(x.shape) for x in with_places]
    np.testing.assert_allclose(flow.solution_flow(with_places, shuffled), 0, atol=1e-10)
    assert (flow.solution_flow(with_places, [with_places[0], shuffled[1]]) > 1e-3).all()


def test_singular_vectors_are_numpys():
    x = draw(6, 2, 3, 3, 5)
    vectors, values = flow.right_singular_vectors(x, 2)
    for i in range(2):
        _, expected, rows = np.linalg.svd(np.float64(x[i]).reshape(9, 5))
        rows = rows[:2] * np.sign(rows[:2].sum(1, keepdims=True))
        np.testing.assert_allclose(values[i], expected[:2], rtol=1e-5)
        np.testing.assert_allclose(vectors[i], rows.T, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 2, 3), (1, 1, 2, 3)])
def test_derivatives_of_singular_vectors_by_finite_differences(shape):
    with jax.enable_x64(True):
        x, direction = (jnp.asarray(draw(seed, *shape), jnp.float64) for seed in (7, 8))
        of = lambda x: flow.right_singular_vectors(x, 2)
        _, exact = jax.jvp(of, (x,), (direction,))
        numeric = jax.tree.map(lambda a, b: (a - b) / 2e-6, of(x + 1e-6 * direction), of(x - 1e-6 * direction))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), exact, numeric)


def test_the_nearest_vector_of_the_student_counts_with_its_sign():
    ours = jnp.eye(3)[None] * jnp.array([1.0, -1.0, 1.0])[None, None]
    theirs = jnp.array([[0.6, 0.8, 0.0]])[..., None]
    one = jnp.ones((1, 1))
    layer, same = (ours, jnp.ones((1, 3))), (jnp.array([[0.0, 1.0, 0.0]])[..., None], one)
    v, u = np.array([0.0, 1.0, 0.0]), np.array([0.6, 0.8, 0.0])
    radial = lambda v: np.exp(-np.square(v[:, None] - v[None]) / 8)
    expected = np.square(radial(v) - radial(u)).sum()
    np.testing.assert_allclose(flow.correlation_distance([layer] * 2, [(theirs, one)] * 2), [expected], rtol=1e-5)
    np.testing.assert_allclose(flow.correlation_distance([layer] * 2, [same] * 2), [0.0], atol=1e-12)


@pytest.mark.parametrize("loss", [flow.solution_flow, flow.singular_flow], ids=lambda loss: loss.__name__)
def test_zero_at_equality_pulling_elsewhere_and_finite_at_zeros(loss):
    gradient = jax.jit(jax.value_and_grad(lambda s, t: loss(s, t).sum()))
    value, pull = gradient(LAYERS, LAYERS)
    assert value < 1e-8
    assert max(np.abs(leaf).max() for leaf in pull) < 1e-4
    value, pull = gradient(LAYERS, OTHERS)
    assert value > 1e-3
    assert min(np.abs(leaf).max() for leaf in pull) > 1e-5
    less = [x - 1e-2 / jnp.abs(leaf).max() * leaf for x, leaf in zip(LAYERS, pull, strict=True)]
    assert gradient(less, OTHERS)[0] < value
    for layers in ([0 * x for x in LAYERS], [x * 0 + 1 for x in LAYERS]):
        assert all(np.isfinite(leaf).all() for leaf in gradient(layers, OTHERS)[1])


def test_refusals():
    with pytest.raises(ValueError, match="pooling is 'sum'; accepted are average, max"):
        flow.solution_flow(LAYERS, OTHERS, pooling="sum")
    for loss in (flow.solution_flow, flow.singular_flow):
        with pytest.raises(ValueError, match="at least 2 of each network"):
            loss(LAYERS[:1], OTHERS[:1])
        with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\) and \(2, 4, 4, 2\); .*channels"):
            loss(LAYERS, [OTHERS[0][..., :2], OTHERS[1]])
        with pytest.raises(ValueError, match="weights has 2 numbers for 1 layers"):
            loss(LAYERS, OTHERS, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"k is 5; features .* have 1 to 4"):
        flow.right_singular_vectors(LAYERS[1], 5)


def sides(z):
    return (maps(z, *(f"{who}_{i}" for i in range(3))) for who in ("student", "teacher"))


def with_their_signs(z):
    student, teacher = sides(z)
    theirs = []
    for i, t in enumerate(teacher):
        vectors, values = flow.right_singular_vectors(t, 1)
        published = z[f"aux.repdistiller.teacher_v_{i}"]
        theirs.append((vectors * jnp.sign(jnp.sum(vectors * published, axis=1, keepdims=True)), values))
    return flow.correlation_distance([flow.right_singular_vectors(s, 4) for s in student], theirs)


@pytest.mark.shared
def test_published_figures(shared_data_dir):
    fsp = lambda z: flow.solution_flow(*sides(z))
    check(figures(shared_data_dir, "fsp"), "repdistiller", fsp, value_rtol=1e-6, gradient_rtol=1e-6)
    svd = figures(shared_data_dir, "kdsvd")
    check(svd, "repdistiller", with_their_signs, value_rtol=2e-6, gradient_rtol=5e-5)
