"""What must be the same: trees, bitwise, as a checkpoint gives them back; and numbers as an earlier version had them."""

import json
import pathlib

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


def as_before(summary, run):
    """Every number that a run's summary had before players were judged by evaluators is what it was.

    The numbers are of Linux on x86-64; another compiler may round otherwise, and an example at a border of two classes
    fall on the other side: 0.004 are two of 500.
    """
    known = json.loads((pathlib.Path(__file__).parent / "run" / "numbers_before_evaluators.json").read_text())[run]
    for place, values in known.items():
        stage, arm, split, entry, measure = place.split("/")
        found = summary["stages"][stage]["arms"][arm][split][entry][measure]["values"]
        np.testing.assert_allclose(found, values, rtol=2e-3, atol=4e-3, err_msg=place)
