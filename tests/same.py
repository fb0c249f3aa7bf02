"""Trees that are bitwise the same, as what a checkpoint gives back must be."""

import jax
import jax.numpy as jnp
import numpy as np


def data_of(leaf):
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_same(found, expected):
    """Same structure, types, dtypes, shapes and bytes."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert type(a) is type(b), path
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None), path
        assert data_of(a).shape == data_of(b).shape, path
        assert data_of(a).tobytes() == data_of(b).tobytes(), path
