"""Correlations of outputs against NumPy; what they do not see; published figures of DIST and MLKD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity_figures
from kdgan.losses import correlation
from kdgan.losses.logits import kl_divergence

LOSSES = (
    correlation.inter_class,
    correlation.intra_class,
    correlation.batch_correlation,
    correlation.class_correlation,
    correlation.kl_at_temperatures,
)
ALL = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
TEMPERED = pytest.mark.parametrize("loss", LOSSES[:4], ids=lambda loss: loss.__name__)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = 2 * draw(0, 4, 5), 2 * draw(1, 4, 5)


def softmax(x, temperature):
    e = np.exp(np.asarray(x, np.float64) / temperature)
    return e / e.sum(-1, keepdims=True)


REFERENCES = {
    "inter_class": lambda q, p: [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q, p, strict=True)],
    "intra_class": lambda q, p: np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q.T, p.T, strict=True)]),
    "batch_correlation": lambda q, p: ((q @ q.T - p @ p.T) ** 2).sum() / 4,
    "class_correlation": lambda q, p: ((q.T @ q - p.T @ p) ** 2).sum() / 5,
}


@TEMPERED
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_against_numpy(loss, temperature):
    expected = REFERENCES[loss.__name__](softmax(S, temperature), softmax(T, temperature))
    np.testing.assert_allclose(loss(S, T, temperature=temperature), expected, rtol=2e-5)


def test_several_temperatures_are_a_sum_of_soft_labels():
    expected = kl_divergence(S, T, temperature=2.0) + kl_divergence(S, T, temperature=4.0)
    np.testing.assert_allclose(correlation.kl_at_temperatures(S, T, temperatures=(2, 4.0)), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="temperatures is empty"):
        correlation.kl_at_temperatures(S, T, temperatures=())


@ALL
def test_it_rests_where_the_student_is_the_teacher(loss):
    value, gradient = jax.value_and_grad(lambda s: jnp.sum(loss(s, T)))(T)
    np.testing.assert_allclose(value, 0, atol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    step = jax.grad(lambda s: jnp.sum(loss(s, T)))(S)
    assert np.abs(step).max() > 1e-3
    assert jnp.sum(loss(S - 0.01 * step, T)) < jnp.sum(loss(S, T))


def test_a_correlation_does_not_see_the_size_of_deviations():
    p = jax.nn.softmax(T)
    closer_to_even = jnp.log(0.3 * p + 0.7 / 5)
    np.testing.assert_allclose(correlation.inter_class(closer_to_even, T), 0, atol=1e-5)
    np.testing.assert_allclose(correlation.intra_class(closer_to_even, T), 0, atol=1e-5)
    # Its gradient at T = 100 is about that at T = 50: there is nothing for a factor of T² to make up for.
    large = [
        np.abs(jax.grad(lambda s, t=t: correlation.inter_class(s, T, temperature=t).sum())(S)).max() for t in (50, 100)
    ]
    np.testing.assert_allclose(large[1], large[0], rtol=0.1)


@ALL
@pytest.mark.parametrize("logits", [np.zeros((4, 5)), 1e4 * np.eye(4, 5)], ids=["even", "certain"])
def test_outputs_without_variance_have_finite_gradients(loss, logits):
    logits = jnp.asarray(logits, jnp.float32)
    for s, t in ((logits, T), (S, logits), (logits, logits)):
        value, gradient = jax.value_and_grad(lambda s, t=t: jnp.sum(loss(s, t)))(s)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_what_has_no_gradient_is_refused():
    with pytest.raises(ValueError, match="inter_class: 2 classes; it accepts 3 or more"):
        correlation.inter_class(S[:, :2], T[:, :2])
    for loss in (correlation.intra_class, correlation.batch_correlation):
        with pytest.raises(ValueError, match=f"{loss.__name__}: 1 example; .*2 or more"):
            loss(S[:1], T[:1])


@TEMPERED
def test_low_precision_is_computed_on_in_float32_and_mistakes_are_named(loss):
    assert loss(S.astype(jnp.bfloat16), T.astype(jnp.bfloat16)).dtype == jnp.float32
    with pytest.raises(ValueError, match="5 and 4 classes"):
        loss(S, T[:, :4])
    with pytest.raises(ValueError, match="temperature is -1"):
        loss(S, T, temperature=-1)


# Published figures


def of_dist(temperature, inter, intra):
    """Of its code, which has τ²."""

    def loss(s, t):
        value = inter * jnp.mean(correlation.inter_class(s, t, temperature=temperature))
        return temperature**2 * (value + intra * correlation.intra_class(s, t, temperature=temperature))

    return loss


DIST = {
    "official_tau1": of_dist(1.0, 1, 1),
    "official_tau4": of_dist(4.0, 1, 1),
    "official_inter_only": of_dist(1.0, 1, 0),
    "official_intra_only": of_dist(1.0, 0, 1),
}
MLKD = {
    "bc": lambda s, t: correlation.batch_correlation(s, t, temperature=4.0),
    "cc": lambda s, t: correlation.class_correlation(s, t, temperature=4.0),
}
PARITY = {"dist": (DIST, 1e-6, 5e-6), "mlkd": (MLKD, 1e-5, 5e-6)}


@pytest.mark.shared
@pytest.mark.parametrize("name", PARITY)
def test_values_and_gradients_are_those_of_published_code(name, shared_data_dir):
    z, figures, preferred = parity_figures.load(shared_data_dir, name)
    losses, value_rtol, tolerance = PARITY[name]
    assert set(losses) == preferred
    inputs = {"student": z["in.student"], "teacher": z["in.teacher"]}
    for variant, loss in losses.items():
        parity_figures.agree(figures, variant, loss, inputs, value_rtol=value_rtol, gradient_tolerance=tolerance)
