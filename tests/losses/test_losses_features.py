"""Feature losses by hand and against NumPy; what kernel alignment does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import features

LOSSES = {features.feature_l1: np.abs, features.feature_l2: np.square}
BOTH = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
ALL = pytest.mark.parametrize("loss", [*LOSSES, features.kernel_alignment], ids=lambda loss: loss.__name__)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


STUDENT = {"stage1": draw(3, 4, 4, 2), "stage2": draw(3, 6, seed=1)}
TEACHER = {"stage1": draw(3, 4, 4, 2, seed=2), "stage2": draw(3, 6, seed=3)}


def test_by_hand():
    student, teacher = [jnp.array([[1.0, 3.0]])], [jnp.array([[0.0, -1.0]])]
    np.testing.assert_allclose(features.feature_l1(student, teacher), [2.5])
    np.testing.assert_allclose(features.feature_l2(student, teacher, [2.0]), [17.0])


@BOTH
@pytest.mark.parametrize("weights", [None, (0.25, 2.0)])
def test_weighted_sum_of_means_per_example(loss, weights):
    expected = sum(
        weight * LOSSES[loss](np.asarray(STUDENT[name] - TEACHER[name])).reshape(3, -1).mean(1)
        for name, weight in zip(STUDENT, weights or (1, 1), strict=True)
    )
    found = loss(STUDENT, TEACHER, weights)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@ALL
def test_layers_are_matched_by_order_whatever_their_names(loss):
    renamed = dict(zip(("block1/conv", "block7"), TEACHER.values(), strict=True))
    expected = loss(STUDENT, TEACHER, [1.0, 3.0])
    np.testing.assert_array_equal(loss(STUDENT, renamed, [1.0, 3.0]), expected)
    np.testing.assert_array_equal(loss(list(STUDENT.values()), tuple(TEACHER.values()), [1.0, 3.0]), expected)


@ALL
def test_weights_may_be_traced(loss):
    found = jax.jit(lambda w: loss(STUDENT, TEACHER, [w, 1.0]))(jnp.float32(0.5))
    np.testing.assert_allclose(found, loss(STUDENT, TEACHER, [0.5, 1.0]), rtol=1e-5)


@BOTH
def test_equal_features_are_at_rest(loss):
    value, gradient = jax.value_and_grad(lambda s: loss(s, TEACHER).sum())(TEACHER)
    assert value == 0
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))


# Kernel alignment


def alignment_loss(x, y):
    x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (x, y))
    k, m = x @ x.T, y @ y.T
    return 1 - np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


def test_kernel_alignment_against_numpy_across_widths_and_sizes():
    x, y = draw(5, 4, 4, 2), draw(5, 2, 2, 7, seed=1)
    np.testing.assert_allclose(features.kernel_alignment([x], [y]), alignment_loss(x, y), rtol=1e-5)
    u, v = draw(5, 3, seed=2), draw(5, 9, seed=3)
    expected = alignment_loss(x, y) + 0.5 * alignment_loss(u, v)
    np.testing.assert_allclose(features.kernel_alignment([x, u], [y, v], [1.0, 0.5]), expected, rtol=1e-5)


def test_kernel_alignment_by_hand():
    # Kernels I and [[1, 1], [1, 1]] of norms √2 and 2, product 2: KA = 1/√2.
    found = features.kernel_alignment([jnp.eye(2)], [jnp.ones((2, 1))])
    np.testing.assert_allclose(found, 1 - 1 / np.sqrt(2), rtol=1e-5)
    # Kernels that share no entry: KA 0, its least.
    apart = features.kernel_alignment([jnp.array([[1.0], [0.0]])], [jnp.array([[0.0], [1.0]])])
    np.testing.assert_allclose(apart, 1.0)


def test_kernel_alignment_sees_neither_scale_nor_rotation_nor_the_order_of_channels():
    x, y = draw(6, 8), draw(6, 5, seed=1)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))
    expected = features.kernel_alignment([x], [y])
    assert expected > 0.05
    for turned in (x @ jnp.asarray(rotation, jnp.float32), 1e3 * x, x[:, ::-1]):
        np.testing.assert_allclose(features.kernel_alignment([turned], [y]), expected, rtol=1e-4)
        np.testing.assert_allclose(features.kernel_alignment([turned], [x]), 0.0, atol=1e-6)
    # The examples' order is what it does see.
    assert features.kernel_alignment([x[::-1]], [x]) > 0.05


def test_gradient_of_kernel_alignment_by_finite_differences():
    with jax.enable_x64(True):
        x, y = (jnp.asarray(draw(*shape, seed=seed), jnp.float64) for shape, seed in (((3, 2), 0), ((3, 4), 1)))
        loss, step = jax.jit(lambda x: features.kernel_alignment([x], [y])), 1e-6
        basis = np.eye(6).reshape(6, 3, 2)
        numeric = [(loss(x + step * e) - loss(x - step * e)) / (2 * step) for e in basis]
        np.testing.assert_allclose(np.ravel(jax.jit(jax.grad(loss))(x)), numeric, rtol=1e-6, atol=1e-9)


def test_features_that_are_all_zero_give_no_nan():
    value, gradient = jax.jit(jax.value_and_grad(lambda x: features.kernel_alignment([x], [draw(3, 4)])))(
        jnp.zeros((3, 2))
    )
    assert value == 1
    np.testing.assert_array_equal(gradient, np.zeros((3, 2)))


@ALL
def test_low_precision_is_computed_on_in_float32(loss):
    narrow = [[draw(3, 4, seed=seed).astype(jnp.bfloat16)] for seed in (0, 1)]
    assert loss(*narrow).dtype == jnp.float32
    np.testing.assert_array_equal(loss(*narrow), loss(*([x.astype(jnp.float32)] for (x,) in narrow)))


# Refusals


@BOTH
def test_shapes_that_differ_name_the_layers(loss):
    with pytest.raises(ValueError, match=r"'a' of the student and 'b' of the teacher .*\(2, 3\) and \(2, 5\).*adapter"):
        loss({"a": jnp.zeros((2, 3))}, {"b": jnp.zeros((2, 5))})
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(1, 3\)"):
        loss([jnp.zeros((2, 3))], [jnp.zeros((1, 3))])


@pytest.mark.parametrize(("b", "n"), [(1, 1), (3, 2)])
def test_kernel_alignment_needs_one_batch_of_at_least_two(b, n):
    with pytest.raises(ValueError, match=rf"\({b}, 3\) and \({n}, 3\): .*at least 2"):
        features.kernel_alignment([jnp.ones((b, 3))], [jnp.ones((n, 3))])


@ALL
@pytest.mark.parametrize(
    ("student", "teacher", "weights", "match"),
    [
        ({}, {}, None, r"0 and 0 layers"),
        (STUDENT, [TEACHER["stage1"]], None, r"\['stage1', 'stage2'\] and the teacher's \[0\]: 2 and 1 layers"),
        (STUDENT, dict(reversed(TEACHER.items())), None, "the same names in another order"),
        (STUDENT, TEACHER, [1.0], r"weights has 1 numbers for 2 layers, \['stage1', 'stage2'\]"),
    ],
)
def test_layers_that_do_not_match(loss, student, teacher, weights, match):
    with pytest.raises(ValueError, match=match):
        loss(student, teacher, weights)
