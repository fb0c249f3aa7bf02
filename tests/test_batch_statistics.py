"""Statistics of what batch norms are given, against NumPy on the layers' inputs, and who has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models
from kdgan.batch_statistics import LayerStatistics, blended, with_batch_statistics
from kdgan.player import call_module


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, x):
    """Variables of a module, its running averages too, of NumPy's making."""
    rng = np.random.default_rng(4)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    return {**variables, "batch_stats": jax.tree.map(jnp.abs, variables["batch_stats"])}


def test_statistics_are_those_of_the_layers_inputs_by_path():
    module, x = models.ResNet(8, stem=2, features=(2, 3, 2)), draw(0, 3, 8, 8, 1)
    variables = drawn(module, x)
    # What stands before a batch norm is a convolution, here by name.
    before = {"bn1": "conv1", "shortcut_bn": "shortcut_conv", "bn2": "conv2"}
    paths = [
        "bn1",
        *(f"stage{i}/block1/{name}" for i in (1, 2, 3) for name in ("bn1", "bn2", "shortcut_bn")),
    ]
    paths.remove("stage1/block1/shortcut_bn")  # its shapes do not change
    inputs = [f"{path.rpartition('/')[0]}/{before[path.rpartition('/')[2]]}".lstrip("/") for path in paths]

    @jax.jit
    def run(variables, x):
        plain, _, features = call_module(module, variables, x, train=False, features=inputs)
        output, layers = with_batch_statistics(lambda: module.apply(variables, x, train=False))
        return plain, features, output, layers

    plain, features, output, layers = run(variables, x)
    np.testing.assert_allclose(output, plain, rtol=1e-6)
    assert sorted(layers) == sorted(paths)
    assert next(iter(layers)) == "bn1"
    for path, source in zip(paths, inputs, strict=True):
        given, kept = np.float64(features[source]), variables["batch_stats"]
        for name in path.split("/"):
            kept = kept[name]
        layer = layers[path]
        np.testing.assert_allclose(layer.mean, given.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.variance, given.var((0, 1, 2)), rtol=1e-4, atol=1e-5)  # biased: NumPy's own
        np.testing.assert_array_equal(layer.running_mean, kept["mean"])
        np.testing.assert_array_equal(layer.running_variance, kept["var"])


def test_channels_lie_where_the_layer_says_and_gradients_reach_the_input():
    layer, x = nn.BatchNorm(True, axis=1), draw(1, 4, 3, 5)
    variables = drawn(layer, x)

    def variance(x):
        _, layers = with_batch_statistics(lambda: layer.apply(variables, x))
        return layers[""].variance

    np.testing.assert_allclose(variance(x), np.float64(x).var((0, 2)), rtol=1e-5)
    given = np.float64(x)
    gradient = jax.grad(lambda x: variance(x)[1])(x)
    expected = np.zeros_like(given)
    expected[:, 1] = 2 * (given[:, 1] - given[:, 1].mean()) / given[:, 1].size
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_a_large_mean_does_not_swallow_the_variance():
    layer, x = nn.BatchNorm(True), 1e4 + draw(2, 64, 2)
    _, layers = with_batch_statistics(lambda: layer.apply(drawn(layer, x), x))
    np.testing.assert_allclose(layers[""].variance, np.float64(x).var(0), rtol=1e-3)


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        norm = nn.BatchNorm(True, name="norm")
        return norm(2 * norm(x))


def test_a_layer_that_runs_twice_has_two_entries_and_initialising_has_none():
    module, x = Twice(), draw(3, 6, 2)

    def run():
        variables = module.init(jax.random.key(0), x)
        return module.apply(variables, x)

    _, layers = with_batch_statistics(run)
    assert list(layers) == ["norm", "norm:2"]
    np.testing.assert_allclose(layers["norm:2"].mean, 2 / np.sqrt(1 + 1e-5) * layers["norm"].mean, rtol=1e-5)


def test_in_training_the_averages_are_those_before_the_batch():
    layer, x = nn.BatchNorm(False), draw(5, 6, 2)
    variables = drawn(layer, x)
    _, layers = with_batch_statistics(lambda: layer.apply(variables, x, mutable=["batch_stats"]))
    np.testing.assert_array_equal(layers[""].running_mean, variables["batch_stats"]["mean"])


def test_a_network_without_batch_norm_is_refused():
    module, x = models.LeNet5(), draw(0, 1, 8, 8, 1)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    message = "identically zero for LeNet-5; choose a network with batch norm, or dafl / dfad"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda variables: with_batch_statistics(lambda: module.apply(variables, x), "LeNet-5"), variables
        )


def test_moving_averages_are_mixed_in():
    layer = LayerStatistics(*(jnp.full(2, value) for value in (1.0, 2.0, 3.0, 4.0)))
    mixed = blended({"bn": layer}, {"bn": (jnp.full(2, 11.0), jnp.full(2, 22.0))}, 0.9)["bn"]
    np.testing.assert_allclose(mixed[:4], [[10.0] * 2, [20.0] * 2, [3.0] * 2, [4.0] * 2], rtol=1e-6)
    assert mixed.example_means is None  # nobody took them
