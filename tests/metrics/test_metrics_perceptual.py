"""The perceptual distance against numbers worked out by hand, and the weights of a file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models
from kdgan.metrics import perceptual


def test_distance_worked_out_by_hand():
    # One layer of 1×2 pixels and two channels: (3, 4) against (4, 3) are (.6, .8) and (.8, .6); (1, 0) against (0, 2)
    # are (1, 0) and (0, 1). Squared differences (.04, .04) and (1, 1).
    x, y = jnp.asarray([[[[3.0, 4.0], [1.0, 0.0]]]]), jnp.asarray([[[[4.0, 3.0], [0.0, 2.0]]]])
    np.testing.assert_allclose(perceptual.distance([x], [y]), [(0.04 + 1) / 2], rtol=1e-6)
    # Weights 2 and 0.5: (.08 + .02 + 2 + .5) / 2 pixels. A second layer [b, c] adds its own: (1, 0) against (0, 1).
    np.testing.assert_allclose(perceptual.distance([x], [y], [[2.0, 0.5]]), [1.3], rtol=1e-6)
    row, other = jnp.asarray([[5.0, 0.0]]), jnp.asarray([[0.0, 1.0]])
    np.testing.assert_allclose(perceptual.distance([x, row], [y, other], [[2.0, 0.5], [1.0, 3.0]]), [5.3], rtol=1e-6)


def test_equal_images_are_0_apart_and_lengths_do_not_matter():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5, 6)), jnp.float32)
    np.testing.assert_allclose(perceptual.distance([x], [x]), 0, atol=1e-12)
    np.testing.assert_allclose(perceptual.distance([x], [3 * x]), 0, atol=1e-12)
    # Features that are zero in all channels have a derivative.
    gradient = jax.grad(lambda y: perceptual.distance([jnp.ones((1, 1, 1, 2))], [y]).sum())(jnp.zeros((1, 1, 1, 2)))
    assert np.isfinite(gradient).all()


def test_distance_by_the_layers_of_a_network():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(2, name="second")(nn.relu(nn.Dense(3, name="first")(x)))

    net = Net()
    x, y = (jnp.asarray(np.random.default_rng(i).uniform(size=(2, 3, 4, 3)), jnp.float32) for i in (0, 1))
    variables = net.init(jax.random.key(0), x)
    p = variables["params"]
    p = jax.tree.map(np.asarray, p)
    first = lambda z: np.asarray(z) @ p["first"]["kernel"] + p["first"]["bias"]
    second = lambda z: np.maximum(first(z), 0) @ p["second"]["kernel"] + p["second"]["bias"]
    unit = lambda z: z / np.linalg.norm(z, axis=-1, keepdims=True)
    expected = sum(np.square(unit(f(x)) - unit(f(y))).mean(-1).mean((1, 2)) for f in (first, second))
    made = perceptual.perceptual_distance(net, variables, ("first", "second"), x, y)
    np.testing.assert_allclose(made, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="Net has no module at path 'third'"):
        perceptual.perceptual_distance(net, variables, ("third",), x, y)


def test_layers_of_squeezenet_are_there_and_a_blurred_image_is_nearer_than_another():
    module = models.SqueezeNet(num_classes=2)
    rng = np.random.default_rng(0)
    x = np.repeat(np.repeat(rng.uniform(size=(2, 8, 8, 3)), 5, 1), 5, 2).astype(np.float32)
    variables = module.init(jax.random.key(0), jnp.asarray(x))
    near = jnp.asarray(x + rng.normal(0, 0.02, x.shape), jnp.float32)
    layers = ("relu1", "fire3", "fire9")
    to_near = perceptual.perceptual_distance(module, variables, layers, jnp.asarray(x), near)
    to_other = perceptual.perceptual_distance(module, variables, layers, jnp.asarray(x), jnp.asarray(x[::-1].copy()))
    assert (to_near < to_other).all()


def test_weights_of_a_file_by_name_or_by_number():
    arrays = {f"lin{i}.model.1.weight": np.full((1, c, 1, 1), i + 1.0) for i, c in ((1, 3), (0, 2))}
    made = perceptual.linear_weights(arrays, ("relu1", "fire2"))
    assert [w.tolist() for w in made] == [[1, 1], [2, 2, 2]]
    named = perceptual.linear_weights({"fire2": np.ones(3), "relu1": np.zeros(2)}, ("relu1", "fire2"))
    assert [len(w) for w in named] == [2, 3]
    with pytest.raises(ValueError, match=r"weights of 2 layers .*; 1 are wanted"):
        perceptual.linear_weights(arrays, ("relu1",))
    with pytest.raises(ValueError, match=r"its weights for 'relu1' have shape \[2, 3\]"):
        perceptual.linear_weights({"relu1": np.ones((2, 3))}, ("relu1",))


@pytest.mark.parametrize(
    ("features", "others", "weights", "message"),
    [
        ([], [], None, "one or more, are accepted"),
        ([np.ones((1, 2))], [np.ones((1, 3))], None, "layer 0: features"),
        ([np.ones((1, 2))], [np.ones((1, 2))], [], "weights of 0 layers for features of 1"),
        ([np.ones((1, 2))], [np.ones((1, 2))], [np.ones(3)], "layer 0: weights of shape"),
    ],
)
def test_what_does_not_fit_is_refused(features, others, weights, message):
    with pytest.raises(ValueError, match=message):
        perceptual.distance([jnp.asarray(f) for f in features], [jnp.asarray(f) for f in others], weights)
