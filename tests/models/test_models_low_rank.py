"""The low-rank MLP against float64 matrix products, and its count by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.models.low_rank import LowRankMLP


def test_it_is_its_equation_and_factors_only_what_that_saves():
    # 32·7 > 2·(32 + 7) is factored; 7·2 < 2·(7 + 2) is not.
    module, rng = LowRankMLP((7, 2), rank=2, num_classes=3), np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(5, 4, 4, 2)), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    p = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)["params"]
    assert {name: layer["kernel"].shape for name, layer in p.items()} == {
        "dense1_a": (32, 2),
        "dense1_b": (2, 7),
        "dense2": (7, 2),
        "head": (2, 3),
    }
    assert "bias" not in p["dense1_a"]
    q = jax.tree.map(np.float64, p)
    y = np.float64(x).reshape(5, 32) @ (q["dense1_a"]["kernel"] @ q["dense1_b"]["kernel"]) + q["dense1_b"]["bias"]
    y = np.maximum(y, 0) @ q["dense2"]["kernel"] + q["dense2"]["bias"]
    y = np.maximum(y, 0) @ q["head"]["kernel"] + q["head"]["bias"]
    logits, state = module.apply({"params": p}, x, capture_intermediates=True, mutable=["intermediates"])
    np.testing.assert_allclose(logits, y, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(
        state["intermediates"]["embedding"]["__call__"][0], state["intermediates"]["hidden2"]["__call__"][0]
    )


def test_parameters_by_hand():
    x = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    shapes = jax.eval_shape(LowRankMLP((800, 800), rank=32).init, jax.random.key(0), x)
    by_hand = (784 * 32 + 32 * 800 + 800) + (800 * 32 + 32 * 800 + 800) + (800 * 10 + 10)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == by_hand == 111_498


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"LowRankMLP\.rank = 0"):
        LowRankMLP(rank=0)
    with pytest.raises(ValueError, match=r"LowRankMLP got an input of shape \(5,\).*rank 2"):
        jax.eval_shape(LowRankMLP().init, jax.random.key(0), jax.ShapeDtypeStruct((5,), jnp.float32))
