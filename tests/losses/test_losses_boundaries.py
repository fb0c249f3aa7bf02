"""Activation boundaries and OFD: by hand, margins by integration, what does not pull, published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from kdgan.losses import boundaries
from published_features import check, figures, maps


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = draw(0, 2, 3, 3, 4), draw(1, 2, 3, 3, 4)


def test_boundaries_by_hand():
    s = jnp.array([[0.5, -3.0, 2.0, 0.25, -2.0]])
    t = jnp.array([[2.0, 0.1, 0.1, -1.0, 0.0]])
    # (1 − ½)², (1 + 3)², beyond the margin, (1 + ¼)², beyond the margin.
    np.testing.assert_allclose(boundaries.activation_boundary([s], [t]), [0.25 + 16 + 1.5625])
    np.testing.assert_allclose(boundaries.activation_boundary([s, s], [t, t], [1.0, 2.0], margin=0.5), [3 * 12.8125])
    pull = jax.grad(lambda s: boundaries.activation_boundary([s], [t]).sum())(s)
    np.testing.assert_allclose(pull, [[-1.0, -8.0, 0.0, 2.5, 0.0]])


def test_margins_are_the_mean_of_what_is_below_zero():
    mean, scale = np.array([0.3, -1.0, 0.0, 2.0]), np.array([1.0, -0.5, 2.0, 1.0])
    for b, g, actual in zip(mean, np.abs(scale), boundaries.margins(*map(single, (mean, scale))), strict=True):
        of = lambda x, power, b=b, g=g: x**power * stats.norm.pdf(x, b, g)
        first, total = (integrate.quad(of, b - 12 * g, 0, args=(power,))[0] for power in (1, 0))
        np.testing.assert_allclose(actual, first / total, rtol=1e-5)
    np.testing.assert_allclose(boundaries.margins(single([4.0, 50.0]), single([1.0, 0.5])), [-3.0, -1.5])
    # Of the authors' code: a scale below 0, a mean far above 0, one far below.
    mean, scale = single([-0.05547751, 1.4, -1.8966211]), single([-1.032964, 0.3, 1.2083894])
    np.testing.assert_allclose(boundaries.margins(mean, scale), [-0.8446733, -0.9, -2.0459867], rtol=2e-6)


def single(x):
    return jnp.asarray(x, jnp.float32)


def test_margins_of_a_batch_norm_without_spread():
    mean, scale = single([1.0, -2.0]), jnp.zeros(2)
    np.testing.assert_allclose(boundaries.margins(mean, scale), [0.0, -2.0])
    for argument in (0, 1):
        of = lambda *args: boundaries.margins(*args).sum()
        assert np.isfinite(jax.grad(of, argument)(mean, scale)).all()
        assert np.isfinite(jax.grad(of, argument)(100 * mean, scale + 1)).all()


def test_margin_distance_by_hand():
    # Of a positive target; above and below a negative one; above and below the margin that stands for a lower one.
    s, t = jnp.array([[1.0, -0.5, -3.0, -0.5, -4.0]]), jnp.array([[3.0, -1.0, -1.0, -9.0, -9.0]])
    least = jnp.array([-2.0] * 5)
    np.testing.assert_allclose(boundaries.margin_distance([s], [t], [least]), [4 + 0.25 + 0 + 2.25 + 0])
    np.testing.assert_allclose(boundaries.margin_distance({"a": s}, {"b": t}, {"c": least}, [0.5]), [3.25])
    pull = jax.grad(lambda s: boundaries.margin_distance([s], [t], [least]).sum())(s)
    np.testing.assert_allclose(pull, [[-4.0, 1.0, 0.0, 3.0, 0.0]])


LOSSES = {
    "ab": boundaries.activation_boundary,
    "ofd": lambda s, t: boundaries.margin_distance(s, t, [jnp.full(4, -0.5)]),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_it_pulls_downhill_and_not_at_its_ends(loss):
    gradient = jax.jit(jax.value_and_grad(lambda s, t: loss([s], [t]).sum()))
    value, pull = gradient(S, T)
    assert np.abs(pull).max() > 0.1
    assert gradient(S - 1e-2 * pull, T)[0] < value
    for s, t in ((3 * jnp.sign(T), 3 * jnp.sign(T)), (0 * S - 2, 0 * T - 2)):
        value, pull = gradient(s, t)
        assert value == 0
        np.testing.assert_array_equal(pull, 0)
    assert loss([S.astype(jnp.bfloat16)], [T.astype(jnp.bfloat16)]).dtype == jnp.float32


def test_refusals():
    with pytest.raises(ValueError, match=r"margin is 0\.0; it must be above 0"):
        boundaries.activation_boundary([S], [T], margin=0.0)
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 4\) and \(2, 3, 3, 2\), .*adapter"):
        boundaries.activation_boundary([S], [T[..., :2]])
    with pytest.raises(ValueError, match=r"margins of shape \(3,\); \[c\] is accepted"):
        boundaries.margin_distance([S], [T], [jnp.zeros(3)])
    with pytest.raises(ValueError, match="1 and 2 layers"):
        boundaries.margin_distance([S], [T], [jnp.zeros(4)] * 2)


def of_ab(z):
    """RepDistiller's constant, and its weights."""
    student, teacher = (maps(z, *(f"{who}_{i}" for i in range(3))) for who in ("student", "teacher"))
    return 3e-3 * boundaries.activation_boundary(student, teacher, [0.25, 0.5, 1.0])


def margin(z, i):
    return boundaries.margins(z[f"in.teacher_bn_bias_{i}"], z[f"in.teacher_bn_weight_{i}"])


# The authors' own are sums over the batch of 6.
PUBLISHED = [
    ("ab", "official_stage0", lambda z: 6 * boundaries.activation_boundary(maps(z, "student_0"), maps(z, "teacher_0"))),
    ("ab", "repdistiller", of_ab),
    (
        "ofd",
        "official_no_connector",
        lambda z: 6 * boundaries.margin_distance(maps(z, "student_matched"), maps(z, "teacher_1"), [margin(z, 1)]),
    ),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "variant", "loss"), PUBLISHED)
def test_published_figures(name, variant, loss, shared_data_dir):
    check(figures(shared_data_dir, name), variant, loss, value_rtol=1e-6, gradient_rtol=1e-6)


@pytest.mark.shared
def test_published_margins(shared_data_dir):
    z = figures(shared_data_dir, "ofd")
    for i in range(2):
        actual = margin({key: jnp.asarray(value, jnp.float32) for key, value in z.items()}, i)
        np.testing.assert_allclose(actual, z[f"aux.official.margin_{i}"], rtol=2e-6)
