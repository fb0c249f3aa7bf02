"""Networks of random values for tests that train nothing: their variables, and copies with some changed."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shapes(module, x):
    return jax.eval_shape(lambda key: module.init(key, x), jax.random.key(0))


def drawn(module, x, seed=3):
    """Variables of `module` as NumPy arrays, positive where they are variances: cutting these compiles nothing."""
    rng = np.random.default_rng(seed)
    values = lambda path, leaf: rng.uniform(0.5, 1.5, leaf.shape) if "var" in str(path) else rng.normal(size=leaf.shape)
    return jax.tree_util.tree_map_with_path(lambda p, leaf: np.asarray(values(p, leaf), leaf.dtype), shapes(module, x))


def edited(variables, **changes):
    """A copy with `{"dense1/kernel": function of a NumPy array}` applied; "__" stands for "/"."""
    params = jax.tree.map(np.copy, variables["params"])
    for path, change in changes.items():
        *parents, name = path.split("__")
        node = params
        for parent in parents:
            node = node[parent]
        node[name] = change(node[name])
    return {**variables, "params": params}


def only(kept):
    """Sets all input units of a kernel but the kept ones to zero."""

    def change(kernel):
        kernel[..., np.setdiff1d(np.arange(kernel.shape[-2]), kept), :] = 0
        return kernel

    return change
