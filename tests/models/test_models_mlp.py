"""The MLP against float64 matrix products; dropout; the discriminators that score pairs and outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.models import MLP, LabelDiscriminator, OutputDiscriminator


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, *inputs, **kwargs):
    """Variables of `module`, biases too, drawn by numpy: compiling JAX's samplers takes longer than the tests."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs, **kwargs), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, leaf.dtype), shapes)


def by_hand(params, x, slope):
    """Dense layers with a leaky relu in between, in float64."""
    layers = {name: (np.float64(p["kernel"]), np.float64(p["bias"])) for name, p in params.items()}
    x = np.float64(x)
    for i in range(1, len(layers)):
        x = x @ layers[f"dense{i}"][0] + layers[f"dense{i}"][1]
        x = np.where(x > 0, x, slope * x)
    return x @ layers["head"][0] + layers["head"][1]


def nonzero_everywhere(gradients):
    return all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


def test_mlp_is_its_equation():
    module, x = MLP((5, 4), num_classes=3), draw(0, 6, 4, 4, 2)
    variables = drawn(module, x)
    expected = by_hand(variables["params"], np.asarray(x).reshape(6, 32), slope=0.0)
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-5, atol=1e-6)


def test_mlp_without_hidden_layers_is_logistic_regression():
    variables = drawn(MLP((), num_classes=3), draw(0, 2, 5))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"head": {"kernel": (5, 3), "bias": (3,)}}}


def test_mlp_refuses_a_vector():
    with pytest.raises(ValueError, match=r"MLP got an input of shape \(5,\).*rank 2"):
        jax.eval_shape(MLP().init, jax.random.key(0), jax.ShapeDtypeStruct((5,), jnp.float32))


def test_hidden_features_are_rectified_and_read_by_the_head():
    module, x = MLP((5, 4), num_classes=3), draw(0, 6, 8)
    variables = drawn(module, x)
    logits, state = module.apply(variables, x, capture_intermediates=True, mutable=["intermediates"])
    found = {name: node["__call__"][0] for name, node in state["intermediates"].items() if name != "__call__"}
    assert found["hidden1"].shape == (6, 5)
    np.testing.assert_array_equal(found["hidden1"], np.maximum(found["dense1"], 0))
    np.testing.assert_array_equal(found["embedding"], found["hidden2"])
    head = variables["params"]["head"]
    expected = np.float64(found["embedding"]) @ np.float64(head["kernel"]) + np.float64(head["bias"])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_dropout_only_while_training():
    module, x = MLP((400,), num_classes=3, dropout=0.25), draw(0, 2, 8)
    variables = drawn(module, x)

    def run(key, train):
        logits, state = module.apply(
            variables,
            x,
            train=train,
            rngs={"dropout": jax.random.key(key)},
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        return (
            logits,
            state["intermediates"]["hidden1"]["__call__"][0],
            state["intermediates"]["embedding"]["__call__"][0],
        )

    still, _, _ = run(0, train=False)
    np.testing.assert_array_equal(still, module.apply(variables, x))  # evaluation needs no random stream
    first, hidden, embedding = run(0, train=True)
    assert not np.array_equal(first, run(1, train=True)[0])
    np.testing.assert_array_equal(first, run(0, train=True)[0])
    # What survives is scaled by 1/0.75; of about 400 active units a quarter falls out (5 standard deviations).
    hidden, embedding = np.asarray(hidden), np.asarray(embedding)
    kept = embedding[hidden > 0] > 0
    np.testing.assert_allclose(embedding[embedding > 0], hidden[embedding > 0] / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 5 * (0.25 * 0.75 / kept.size) ** 0.5


def test_gradients_reach_every_parameter_and_the_image():
    module, x = MLP((5, 4), num_classes=3), draw(0, 6, 4, 4, 1)
    variables = drawn(module, x)
    weights = draw(2, 6, 3)
    gradients = jax.grad(lambda p, x: jnp.sum(weights * module.apply({"params": p}, x)), argnums=(0, 1))(
        variables["params"], x
    )
    assert nonzero_everywhere(gradients)


def test_output_discriminator_is_its_equation_in_the_reference_setting():
    module, outputs = OutputDiscriminator(), draw(0, 6, 10)
    variables = drawn(module, outputs)
    widths = [variables["params"][name]["kernel"].shape for name in ("dense1", "dense2", "head")]
    assert widths == [(10, 128), (128, 256), (256, 1)]
    scores = module.apply(variables, outputs)
    assert scores.shape == (6,)
    np.testing.assert_allclose(scores, by_hand(variables["params"], outputs, slope=0.2)[:, 0], rtol=1e-4, atol=1e-5)
    # Methods may pass the image always; this model does not read it.
    np.testing.assert_array_equal(module.apply(variables, outputs, draw(2, 6, 4, 4, 1)), scores)


def test_output_discriminator_reads_the_image_where_it_sees_it():
    module, outputs, image = OutputDiscriminator((7,), sees_image=True), draw(0, 6, 10), draw(1, 6, 4, 4, 1)
    variables = drawn(module, outputs, image)
    both = np.concatenate([outputs, np.asarray(image).reshape(6, 16)], axis=1)
    expected = by_hand(variables["params"], both, slope=0.2)[:, 0]
    np.testing.assert_allclose(module.apply(variables, outputs, image), expected, rtol=1e-5, atol=1e-6)


def test_label_discriminator_is_its_equation_and_passes_gradients_to_the_label():
    module, x, label = LabelDiscriminator((7,)), draw(0, 6, 4, 4, 1), jax.nn.one_hot(jnp.arange(6) % 3, 3)
    variables = drawn(module, x, label)
    both = np.concatenate([np.asarray(x).reshape(6, 16), label], axis=1)
    expected = by_hand(variables["params"], both, slope=0.2)[:, 0]
    np.testing.assert_allclose(module.apply(variables, x, label), expected, rtol=1e-5, atol=1e-6)
    gradients = jax.grad(lambda p, y: jnp.sum(module.apply({"params": p}, x, y)), argnums=(0, 1))(
        variables["params"], label
    )
    assert nonzero_everywhere(gradients)


@pytest.mark.parametrize(
    ("module", "shapes", "message"),
    [
        (OutputDiscriminator(), [(6,)], r"OutputDiscriminator got outputs of shape \(6,\); it accepts \[b, k\]"),
        (OutputDiscriminator(sees_image=True), [(6, 3)], "got no image beside outputs"),
        (OutputDiscriminator(sees_image=True), [(6, 3), (5, 4, 4, 1)], r"image batch of shape \(5, 4, 4, 1\)"),
        (LabelDiscriminator(), [(6, 4, 4, 1), (6,)], r"labels of shape \(6,\).*one-hot"),
        (LabelDiscriminator(), [(6, 4, 4, 1), (5, 3)], r"labels of shape \(5, 3\).*same b"),
        (LabelDiscriminator(), [(6,), (6, 3)], r"images of shape \(6,\)"),
    ],
)
def test_discriminators_refuse_by_name(module, shapes, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), *(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))


def test_several_inputs_are_flattened_and_joined_in_their_order():
    module, image, vector, number = MLP((5,), num_classes=3), draw(0, 6, 4, 4, 1), draw(1, 6, 7), draw(2, 6)
    bits = jnp.asarray(np.random.default_rng(4).integers(0, 2, (6, 3)), jnp.uint8)
    variables = drawn(module, image, vector, number, bits)
    joined = np.concatenate([np.asarray(image).reshape(6, 16), vector, number[:, None], bits], axis=1)
    expected = by_hand(variables["params"], joined, slope=0.0)
    np.testing.assert_allclose(module.apply(variables, image, vector, number, bits), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        module.apply(variables, image, vector, number, bits), module.apply(variables, jnp.asarray(joined))
    )


def test_inputs_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match=r"inputs of shapes \[\(6, 4\), \(5, 4\)\].* of one b"):
        MLP().init(jax.random.key(0), draw(0, 6, 4), draw(1, 5, 4))
