"""Spectral norm against NumPy's singular values, its gradient by hand, captured features, and the engine's rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan.game import bind
from kdgan.models import DCGANDiscriminator
from kdgan.models.spectral import SpectralNorm


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


class Net(nn.Module):
    layer: str

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        layers = {
            "conv": lambda: nn.Conv(3, (3, 2), name="inner"),
            "dense": lambda: nn.Dense(4, name="inner"),
            "embed": lambda: nn.Embed(5, 3, name="inner"),
        }
        return SpectralNorm(layers[self.layer](), name="norm")(x, train=train)


INPUTS = {"conv": draw(0, 2, 4, 4, 2), "dense": draw(0, 3, 6), "embed": jnp.asarray([0, 3, 4])}


def variables_of(layer):
    return jax.jit(Net(layer).init)(jax.random.key(0), INPUTS[layer])


@pytest.mark.parametrize("layer", sorted(INPUTS))
def test_largest_singular_value_becomes_one(layer):
    net, x, variables = Net(layer), INPUTS[layer], variables_of(layer)
    name = "embedding" if layer == "embed" else "kernel"
    kernel = np.float64(variables["params"]["inner"][name])
    # A gap between the first two singular values, as power iteration wants: the rate is their ratio squared.
    left, values, right = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), full_matrices=False)
    values = 3.0 * 0.6 ** np.arange(len(values))
    kernel = jnp.asarray((left * values) @ right, jnp.float32).reshape(kernel.shape)
    variables = {**variables, "params": {"inner": {**variables["params"]["inner"], name: kernel}}}
    run = jax.jit(lambda v: net.apply(v, x, train=True, mutable=["batch_stats"]))
    for _ in range(30):
        out, updates = run(variables)
        variables = {**variables, **updates}
    inner = {"conv": nn.Conv(3, (3, 2)), "dense": nn.Dense(4), "embed": nn.Embed(5, 3)}[layer]
    exact = {**variables["params"]["inner"], name: kernel / 3.0}
    np.testing.assert_allclose(out, inner.apply({"params": exact}, x), rtol=1e-4, atol=1e-5)
    u = np.float64(variables["batch_stats"]["norm"]["u"])
    np.testing.assert_allclose(abs(u @ right[0]), 1.0, atol=1e-5)


def test_evaluation_neither_updates_nor_varies():
    net, x, variables = Net("dense"), INPUTS["dense"], variables_of("dense")
    first, updates = net.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_array_equal(updates["batch_stats"]["norm"]["u"], variables["batch_stats"]["norm"]["u"])
    np.testing.assert_array_equal(first, net.apply(variables, x))


def test_gradient_holds_u_and_v_still():
    net, x, variables = Net("dense"), INPUTS["dense"], variables_of("dense")
    weights = draw(1, 3, 4)

    def loss(params):
        return jnp.sum(weights * net.apply({**variables, "params": params}, x))

    found = jax.jit(jax.grad(loss))(variables["params"])["inner"]["kernel"]
    kernel, u = (np.float64(a) for a in (variables["params"]["inner"]["kernel"], variables["batch_stats"]["norm"]["u"]))
    v = kernel @ u / np.linalg.norm(kernel @ u)
    u = v @ kernel / np.linalg.norm(v @ kernel)
    sigma = v @ kernel @ u
    # d(K/σ) with dσ = v·dK·u.
    upstream = np.float64(x).T @ np.float64(weights)
    expected = (upstream - np.sum(upstream * kernel / sigma) * np.outer(v, u)) / sigma
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_kernel_of_zeros_stays_finite():
    net, x, variables = Net("dense"), INPUTS["dense"], variables_of("dense")
    variables = {**variables, "params": jax.tree.map(jnp.zeros_like, variables["params"])}
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(net.apply({**variables, "params": p}, x)))(
        variables["params"]
    )
    assert value == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_paths_and_features_are_those_of_the_layer_alone():
    image = draw(0, 2, 8, 8, 1)
    with_norm, without = (DCGANDiscriminator(1 / 32, spectral_norm=on) for on in (True, False))
    key = jax.random.key(0)
    variables = jax.jit(with_norm.init)(key, image)
    plain = jax.eval_shape(without.init, key, image)
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, plain["params"])
    score, state = jax.jit(
        lambda v: with_norm.apply(v, image, train=True, capture_intermediates=True, mutable=["intermediates", *v])
    )(variables)
    head = state["intermediates"]["head"]["__call__"][0]
    np.testing.assert_array_equal(head[:, 0], score)
    assert state["intermediates"]["conv1"]["__call__"][0].shape == (2, 4, 4, 2)


def test_updates_are_recorded_only_where_the_player_moves():
    image = draw(0, 2, 8, 8, 1)
    module = DCGANDiscriminator(1 / 32, spectral_norm=True)
    variables = jax.jit(module.init)(jax.random.key(0), image)
    params, state = {"discriminator": variables["params"]}, {"discriminator": {"batch_stats": variables["batch_stats"]}}

    def after(moving):
        players = bind(
            {"discriminator": module}, params, state,
            step=0, key=jax.random.key(1), trained=("discriminator",), moving=moving,
        )  # fmt: skip
        players.discriminator(image)
        players.discriminator.stateless(image)
        return players.discriminator.model_state

    still, moved = jax.jit(lambda: (after(()), after(("discriminator",))))()
    jax.tree.map(np.testing.assert_array_equal, still, state["discriminator"])
    conv1 = np.float64(variables["params"]["conv1"]["kernel"]).reshape(-1, 2)
    step = conv1.T @ (conv1 @ np.float64(variables["batch_stats"]["conv1_norm"]["u"]))
    np.testing.assert_allclose(moved["batch_stats"]["conv1_norm"]["u"], step / np.linalg.norm(step), rtol=1e-4)
