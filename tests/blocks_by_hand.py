"""Blocks of networks by hand: what they are given, their variables, and batch norm in float64."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filled(module, x, seed=5):
    """Variables of `module` drawn by numpy (compiling JAX's samplers takes longer than the tests): kernels by He, scales
    and biases away from 1 and 0, so that forgetting one shows, running averages as initialised.
    """
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        names = [part.key for part in path]
        if names[-1] == "kernel":
            values = rng.normal(size=leaf.shape) * (2 / np.prod(leaf.shape[:-1])) ** 0.5
        elif names[0] == "batch_stats":
            values = np.full(leaf.shape, float(names[-1] == "var"))
        else:
            values = rng.uniform(0.2, 0.7, leaf.shape) + (names[-1] == "scale")
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(module.init, jax.random.key(0), x))


def normalise(x, layer):
    """Batch norm by the batch's own statistics (biased variance), in float64."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(variance + 1e-5) * np.float64(layer["scale"]) + np.float64(layer["bias"])
