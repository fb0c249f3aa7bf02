"""Factors of kernels against NumPy's SVD, and networks of thin layers that start as them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan.models import MLP
from kdgan.models.low_rank import LowRankMLP
from kdgan.transfer import factorise, transfer, uniform
from random_networks import draw, drawn, edited, only, shapes


@pytest.mark.parametrize("shape", [(4, 9), (3, 2, 4, 6)])
def test_factors_are_the_nearest_of_their_rank(shape):
    kernel = draw(0, *shape)
    matrix = np.float64(kernel).reshape(-1, shape[-1])
    sigma = np.linalg.svd(matrix, compute_uv=False)
    for rank in (2, min(matrix.shape)):
        a, b = factorise(kernel, rank)
        assert a.shape == (*shape[:-1], rank)
        assert b.shape == (*(1 for _ in shape[:-2]), rank, shape[-1])
        left, right = np.float64(a).reshape(-1, rank), np.float64(b).reshape(rank, -1)
        # Eckart and Young: what is left is the tail of the spectrum.
        np.testing.assert_allclose(
            ((matrix - left @ right) ** 2).sum(), (sigma[rank:] ** 2).sum(), rtol=1e-4, atol=1e-9
        )
        # Balanced: both sides have the kept singular values as Gram matrix.
        for gram in (left.T @ left, right @ right.T):
            np.testing.assert_allclose(gram, np.diag(sigma[:rank]), atol=1e-5)


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_ranks_that_a_kernel_does_not_have(rank):
    with pytest.raises(ValueError, match=rf"rank is {rank}; for a kernel of shape \(6, 4\) it accepts 1 to 4"):
        factorise(jnp.zeros((6, 4)), rank)


def test_factors_of_low_precision_kernels_are_computed_in_float32():
    assert {factor.dtype for factor in factorise(jnp.ones((3, 2), jnp.bfloat16), 1)} == {jnp.dtype(jnp.float32)}


def rank_two(kernel):
    u, sigma, v = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), full_matrices=False)
    return (u[:, :2] * sigma[:2] @ v[:2]).reshape(kernel.shape)


def test_an_mlp_of_low_rank_is_reproduced_by_thin_layers():
    x, small = draw(0, 4, 12), LowRankMLP((10, 8), rank=2)
    wide = edited(drawn(MLP((10, 8)), x), dense1__kernel=rank_two, dense2__kernel=rank_two)
    found = transfer(wide, shapes(small, x), how="low_rank")
    assert set(found["params"]) == {"dense1_a", "dense1_b", "dense2_a", "dense2_b", "head"}
    np.testing.assert_allclose(small.apply(found, x), MLP((10, 8)).apply(wide, x), rtol=1e-4, atol=1e-4)


class ThinConv(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 3), (2, 2), use_bias=False, name="conv1_a")(x)
        return nn.Conv(5, (1, 1), name="conv1_b")(x)


class WholeConv(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(5, (3, 3), (2, 2), name="conv1")(x)


def test_a_strided_convolution_of_low_rank_is_reproduced_by_a_thin_one_and_a_projection():
    x = draw(0, 2, 6, 5, 3)
    wide = edited(drawn(WholeConv(), x), conv1__kernel=rank_two)
    found = transfer(wide, drawn(ThinConv(), x), how="low_rank")
    np.testing.assert_allclose(ThinConv().apply(found, x), WholeConv().apply(wide, x), rtol=1e-4, atol=1e-4)


def test_a_thin_layer_may_be_narrower_too():
    x = draw(0, 3, 12)
    wide = edited(drawn(MLP((20,)), x), dense1__kernel=rank_two, head__kernel=only(uniform(20, 10)))
    small = LowRankMLP((10,), rank=2)
    found = transfer(wide, shapes(small, x), how="low_rank")
    np.testing.assert_allclose(small.apply(found, x), MLP((20,)).apply(wide, x), rtol=1e-4, atol=1e-4)


def test_a_fresh_thin_layer_keeps_its_function():
    x = draw(0, 3, 12)
    small = LowRankMLP((10, 8), rank=2)
    like = drawn(small, x)
    wide = {"params": {name: value for name, value in drawn(MLP((10, 8)), x)["params"].items() if name != "dense2"}}
    found = transfer(wide, like, how="low_rank", missing="fresh")["params"]
    np.testing.assert_allclose(
        found["dense2_a"]["kernel"] @ found["dense2_b"]["kernel"],
        like["params"]["dense2_a"]["kernel"] @ like["params"]["dense2_b"]["kernel"],
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_array_equal(found["dense2_b"]["bias"], like["params"]["dense2_b"]["bias"])
    assert not np.allclose(found["dense1_a"]["kernel"], like["params"]["dense1_a"]["kernel"])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"kernel": (4, 2), "bias": (2,)}, {"kernel": (2, 3)}),
        ({"kernel": (4, 2)}, {"kernel": (3, 3)}),
        ({"kernel": (3, 3, 4, 2)}, {"kernel": (3, 3, 2, 3)}),
        ({"kernel": (3, 3, 4, 2)}, {"kernel": (2, 3)}),
    ],
)
def test_what_only_looks_like_two_factors_is_refused(a, b):
    like = {"stage": {"d_a": a, "d_b": b}}
    like = jax.tree.map(jnp.zeros, like, is_leaf=lambda leaf: isinstance(leaf, tuple))
    with pytest.raises(ValueError, match=r"stage/d_a .*stage/d_b, .*no two factors"):
        transfer({"stage": {"d": {"kernel": jnp.zeros((4, 3))}}}, like, how="low_rank")
