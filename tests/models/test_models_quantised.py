"""Networks that learn with rounded weights and inputs: against rounding written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models, player
from kdgan.models.quantised import Quantised, quantised

pytestmark = pytest.mark.extra("qwix")


def rounded(value, axis):
    """To 8 bits with a scale for each slice, of positive values: the largest, of 127.5 steps, becomes 127."""
    scale = value.max(axis=axis, keepdims=True) / 127.5
    return np.minimum(np.round(value / scale), 127) * scale


@pytest.fixture(scope="module")
def dense():
    module = nn.Dense(3)
    x = jax.random.uniform(jax.random.key(0), (5, 4))
    return module, jax.tree.map(jnp.abs, module.init(jax.random.key(1), x)), x


def test_a_dense_layer_rounds_weights_by_output_and_inputs_by_example(dense):
    module, variables, x = dense
    kernel = np.asarray(variables["params"]["kernel"])
    output = quantised(module, "w8a8").apply(variables, x)
    np.testing.assert_allclose(output, rounded(np.asarray(x), 1) @ rounded(kernel, 0), rtol=1e-5, atol=1e-6)
    output = quantised(module, "w8").apply(variables, x)
    np.testing.assert_allclose(output, np.asarray(x) @ rounded(kernel, 0), rtol=1e-5, atol=1e-6)


def test_gradients_pass_the_rounding_unchanged(dense):
    """Straight through: of sum(y) the gradient in the kernel is the sum of the inputs, for each output."""
    module, variables, x = dense
    loss = lambda params: jnp.sum(quantised(module, "w8a8").apply({"params": params}, x))
    kernel = jax.grad(loss)(variables["params"])["kernel"]
    np.testing.assert_allclose(kernel, np.repeat(np.asarray(x).sum(0)[:, None], 3, 1), atol=0.02)


def test_parameters_paths_and_mode_are_those_of_the_network():
    network = models.build("resnet8", num_classes=4)
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    module = quantised(network, "w8a8")
    shapes = [jax.eval_shape(one.init, jax.random.key(0), image) for one in (network, module)]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
    output, updates, features = jax.eval_shape(
        lambda variables: player.call_module(
            module, variables, image, train=True, rng=jax.random.key(1), mutable=["batch_stats"], features=("stage1",)
        ),
        shapes[0],
    )
    assert output.shape == (2, 4)
    assert features["stage1"].ndim == 4
    assert jax.tree.structure(updates["batch_stats"]) == jax.tree.structure(shapes[0]["batch_stats"])


def test_an_example_alone_gives_what_it_gives_in_a_batch_and_members_under_vmap_what_they_give_in_turn():
    module = quantised(models.build("cnn", num_classes=3, features=(2, 2), dense=4), "w8a8")
    image = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    members = [jax.jit(module.init)(jax.random.key(i), image) for i in range(2)]
    apply = jax.jit(module.apply)
    together = jax.jit(jax.vmap(module.apply, (0, None)))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *members), image
    )
    for variables, outputs in zip(members, together, strict=True):
        np.testing.assert_allclose(apply(variables, image), outputs, atol=1e-5)
        np.testing.assert_allclose(apply(variables, image[1:2]), outputs[1:2], atol=1e-5)


def test_equal_networks_stay_equal_so_that_nothing_is_compiled_twice():
    first, second = (quantised(models.build("lenet5", num_classes=3), "w8a8") for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert isinstance(first, Quantised)


def test_a_scheme_that_there_is_not_names_those_that_there_are():
    with pytest.raises(ValueError, match="quantise = 'w4': 'w8a8', 'w8' or None are accepted"):
        quantised(models.build("lenet5"), "w4")


def test_a_kernel_that_is_computed_is_refused():
    network = quantised(models.build("dcgan_generator"), "w8a8")
    with pytest.raises(
        ValueError, match="quantise = 'w8a8': DCGANGenerator has a convolution whose kernel is computed"
    ):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, 16)))
