"""What is kept or learned beside a student: its past predictions, its average, heads on its blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models

KEY = jax.random.key(0)
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)


def wrote(module, variables, *given):
    return module.apply(variables, *given, train=True, mutable=["memory"])


def test_past_predictions_are_read_before_they_are_written_and_by_the_first_of_two():
    module = models.Past(5)
    index = jnp.array([4, 1, 4, 7])
    variables = module.init(KEY, LOGITS, index)
    assert not variables["memory"]["probabilities"].any()
    (past, is_known), written = wrote(module, variables, LOGITS, index)
    assert is_known.tolist() == [False, False, False, True]
    assert np.isnan(past[3]).all()
    (past, is_known), _ = wrote(module, written, -LOGITS, jnp.array([1, 4, 0, 3]))
    np.testing.assert_allclose(past[:2], jax.nn.softmax(LOGITS)[jnp.array([1, 0])], rtol=1e-6)
    assert is_known.tolist() == [True, True, False, False]
    _, same = module.apply(written, -LOGITS, index, mutable=["memory"])
    jax.tree.map(np.testing.assert_array_equal, same, written)


def test_past_predictions_are_the_same_on_every_device():
    index = jnp.array([4, 1, 0, 2])
    module = models.Past(5)
    variables = module.init(KEY, LOGITS, index)
    _, whole = wrote(module, variables, LOGITS, index)
    split = module.clone(axis_name="batch")
    halves = (LOGITS.reshape(2, 2, 3), index.reshape(2, 2))
    _, shared = jax.vmap(lambda *given: wrote(split, variables, *given), axis_name="batch")(*halves)
    for device in range(2):
        np.testing.assert_array_equal(shared["memory"]["probabilities"][device], whole["memory"]["probabilities"])


def test_parameters_are_averaged_in_float32_and_without_a_gradient():
    module = models.MovingParameters(0.9)
    tree = {"layer": {"kernel": jnp.ones((2, 1), jnp.bfloat16)}, "bias": jnp.zeros(3)}
    variables = module.init(KEY, tree)
    for factor, expected in ((2.0, 2.0), (4.0, 3.0), (9.0, 5.0)):  # at first a plain mean
        average, variables = wrote(module, variables, jax.tree.map(lambda x, f=factor: x * f, tree))
        np.testing.assert_allclose(average["layer"]["kernel"], expected, rtol=1e-6)
        assert average["layer"]["kernel"].dtype == jnp.float32
    slope = jax.grad(lambda p: jnp.sum(module.apply(variables, {**tree, "bias": p})["bias"]))(tree["bias"])
    np.testing.assert_array_equal(slope, 0)
    far = {"memory": {**variables["memory"], "count": jnp.int32(1000)}}
    average, _ = wrote(module, far, tree)
    np.testing.assert_allclose(average["layer"]["kernel"], 0.9 * 5 + 0.1, rtol=1e-6)


def test_heads_of_maps_and_vectors():
    module = models.BlockHeads(num_classes=7, sides=4)
    features = {"stage1": jnp.ones((2, 16, 16, 3)), "stage2/block1": jnp.ones((2, 8, 8, 5)), "hidden": jnp.ones((2, 6))}
    shapes = jax.eval_shape(module.init, KEY, features, jnp.ones((2, 12)))
    kernels = {name: tree["kernel"].shape for name, tree in shapes["params"].items() if "kernel" in tree}
    assert kernels["stage1-conv2"] == (4, 4, 3, 3)
    assert kernels["stage2-block1-conv2"] == (2, 2, 3, 3)
    assert kernels["stage1-conv3"] == (1, 1, 3, 12)
    assert kernels["hidden-bottleneck"] == (6, 12)
    given = jax.eval_shape(lambda v: module.apply(v, features, jnp.ones((2, 12))), shapes)
    logits, embeddings = ({path: leaf.shape for path, leaf in tree.items()} for tree in given)
    assert logits == dict.fromkeys(features, (2, 7))
    assert embeddings == dict.fromkeys(features, (2, 12))
    with pytest.raises(ValueError, match=r"BlockHeads got 'odd' of shape \(2, 3, 4\)"):
        module.init(KEY, {"odd": jnp.ones((2, 3, 4))}, jnp.ones((2, 12)))


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("past", {"examples": 0}, "Past.examples = 0"),
        ("moving_parameters", {"rate": 1.0}, "MovingParameters.rate = 1.0"),
        ("moving_parameters", {"rate": 0.0}, "MovingParameters.rate = 0"),
        ("block_heads", {"sides": 0}, "BlockHeads.sides = 0"),
    ],
)
def test_fields_that_make_nothing(name, fields, words):
    with pytest.raises(ValueError, match=words):
        models.build(name, **fields)
