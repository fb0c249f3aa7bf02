"""What must be the same: trees, bitwise, as a checkpoint gives them back; whole runs; numbers of an earlier version."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.run import checkpoint


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


# Everything of a run that must not depend on how often it was stopped.
RESULTS = ("metrics.jsonl", "explanation.txt", "config.json")


def last_state(workdir, stage):
    return checkpoint.Checkpoints(pathlib.Path(workdir) / "checkpoints" / stage).restore_latest().tree


def without_times(summary):
    """The numbers of a summary that are no times."""
    stages = {
        name: {
            arm: {field: value for field, value in record.items() if field != "train_seconds"}
            for arm, record in stage["arms"].items()
        }
        for name, stage in summary["stages"].items()
    }
    return json.loads(json.dumps([stages, summary["data"], summary["config"]]))


def assert_same_run(a, b):
    for name in RESULTS:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    for stage in ("teacher", "distill"):
        for x, y in zip(jax.tree.leaves(last_state(a, stage)), jax.tree.leaves(last_state(b, stage)), strict=True):
            np.testing.assert_array_equal(x, y)
    assert without_times(json.loads((a / "summary.json").read_text())) == without_times(
        json.loads((b / "summary.json").read_text())
    )
