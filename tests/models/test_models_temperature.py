"""CTKD's temperatures: their range, the direction in which they are learned, and published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity_figures
from kdgan import models, optim
from kdgan.losses.logits import kl_divergence


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = draw(0, 4, 5), 2 * draw(1, 4, 5)


def test_the_global_temperature_begins_as_published_and_stays_in_its_range():
    module = models.build("temperature")
    variables = module.init(jax.random.key(0))
    np.testing.assert_allclose(module.apply(variables), 1 + 20 / (1 + np.exp(-1)), rtol=1e-6)
    at = lambda g: float(module.apply({"params": {"g": jnp.float32(g)}}))
    np.testing.assert_allclose([at(-100.0), at(0.0), at(100.0)], [1, 11, 21], rtol=1e-6)


def test_a_step_on_the_loss_raises_it_by_the_temperature():
    module = models.build("temperature", start=-1.0)
    loss = lambda g, reversal: kl_divergence(
        S, T, temperature=module.apply({"params": {"g": g}}, reversal, train=True)
    ).mean()
    g = jnp.float32(-1)
    gradient = jax.grad(loss)(g, 1.0)
    assert abs(gradient) > 1e-3
    assert loss(g - 0.1 * jnp.sign(gradient), 1.0) > loss(g, 1.0)
    np.testing.assert_allclose(jax.grad(loss)(g, jnp.float32(0.25)), 0.25 * gradient, rtol=1e-6)
    assert jax.grad(loss)(g, 0.0) == 0


def test_a_temperature_for_each_example():
    module = models.build("instance_temperature", hidden=3)
    variables = module.init(jax.random.key(0), S, T)
    np.testing.assert_allclose(module.apply(variables, S, T), np.full(4, 1 + 20 / (1 + np.exp(-1))), rtol=1e-6)
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * draw(2, *leaf.shape), variables)

    def loss(variables, s):
        τ = module.apply(variables, s, T)
        return jnp.mean(τ**2 * kl_divergence(s / τ[:, None], T / τ[:, None])), τ

    (value, τ), (gradient, pull) = jax.value_and_grad(loss, (0, 1), has_aux=True)(variables, S)
    assert ((τ > 1) & (τ < 21)).all()
    assert np.ptp(τ) > 0.1
    step = 1e-2 / max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    assert loss(jax.tree.map(lambda leaf, slope: leaf - step * slope, variables, gradient), S)[0] > value
    # The student is pulled as by fixed temperatures: nothing comes by way of them.
    fixed = jax.grad(lambda s: jnp.mean(τ**2 * kl_divergence(s / τ[:, None], T / τ[:, None])))(S)
    np.testing.assert_allclose(pull, fixed, atol=1e-6)


@pytest.mark.parametrize("fields", [dict(least=0.0), dict(range=-1.0)])
def test_temperatures_are_positive(fields):
    for name in ("temperature", "instance_temperature"):
        with pytest.raises(ValueError, match=r"Temperature\.least = .*above 0"):
            models.build(name, **fields)


@pytest.mark.shared
def test_values_gradients_and_schedule_are_those_of_published_code(shared_data_dir):
    z, figures, preferred = parity_figures.load(shared_data_dir, "ctkd")
    module = models.build("temperature")
    schedule = optim.make_schedule("cosine", steps=10, start=0.0, end=1.0)
    np.testing.assert_allclose(
        [-float(schedule(epoch)) for epoch in figures["in.epochs"]], figures["aux.epoch3.schedule"], atol=1e-6
    )
    assert {f"epoch{epoch}_{output}" for epoch in (3, 10) for output in ("temperature", "kd")} == preferred

    def compare(x, epoch, inputs, value_rtol, tolerance):
        tau = lambda g: module.apply({"params": {"g": g[0]}}, -figures["aux.epoch3.schedule"][epoch - 1])
        kd = lambda g, s: kl_divergence(s, x["in.teacher"], temperature=tau(g))
        g, student = "param.mlp.global_T", {"student": x["in.student"]}
        within = dict(value_rtol=value_rtol, gradient_tolerance=tolerance)
        if "temperature" in inputs:
            parity_figures.agree(figures, f"epoch{epoch}_temperature", tau, {g: x[g]}, **within)
            parity_figures.agree(figures, f"epoch{epoch}_kd", kd, {g: x[g], **student}, **within)
        else:
            parity_figures.agree(figures, f"epoch{epoch}_kd", lambda student: kd(x[g], student), student, **within)

    for epoch in (3, 10):
        compare(z, epoch, ["student"], 5e-6, 1e-4)
        # At T = 15.6 T²·KL hardly depends on T: its slope is a difference of large numbers, good to 2e-4 in float32.
        with jax.enable_x64(True):
            wide = {key: jnp.asarray(figures[key], jnp.float64) for key in z if figures[key].dtype.kind == "f"}
            compare(wide, epoch, ["student", "temperature"], 1e-8, 1e-8)
