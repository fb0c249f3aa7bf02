"""Losses against the figures that their authors' code gave, which lie outside of the project."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def read(shared_data_dir, name):
    """All arrays of the published figures of one loss; skips where there are none."""
    path = shared_data_dir.parent / "parity" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"there are no published figures, parity/{name}.npz, beside the data sets")
    with np.load(path) as file:
        return {key: np.asarray(value) for key, value in file.items()}


def load(shared_data_dir, name):
    """(inputs and parameters, float64 figures, variants to follow) of one loss; skips where there are none."""
    figures = read(shared_data_dir, name)
    variants = json.loads((shared_data_dir.parent / "parity" / f"{name}.json").read_text())["variants"]
    given = {
        key: jnp.asarray(value, jnp.float32 if value.dtype.kind == "f" else jnp.int32)
        for key, value in figures.items()
        if key.startswith(("in.", "param."))
    }
    return given, figures, {variant for variant, about in variants.items() if about["preferred_reference"]}


def agree(figures, variant, loss, inputs, *, value_rtol, gradient_tolerance, expected=None):
    """Asserts that `loss(*inputs)`, meaned, has the value and the gradients of a variant.

    Args:
        figures: of `load`.
        variant: its name.
        loss: of arrays, or of trees of them.
        inputs: key of an input -> its value; those that have a published gradient are compared, at least one.
        value_rtol: relative.
        gradient_tolerance: as a share of the largest entry of the gradient.
        expected: key -> gradient in the form of ours, where it is not the one under `inputs`' key.
    """
    of = lambda *args: jnp.mean(loss(*args))
    value, gradients = jax.jit(jax.value_and_grad(of, argnums=tuple(range(len(inputs)))))(*inputs.values())
    np.testing.assert_allclose(value, figures[f"value64.{variant}"], rtol=value_rtol, err_msg=variant)
    published = {key: figures.get(f"grad64.{variant}.{key}") for key in inputs} | (expected or {})
    compared = 0
    for key, gradient in zip(inputs, gradients, strict=True):
        if published[key] is None:
            continue
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(published[key]), strict=True):
            compared += 1
            atol = gradient_tolerance * np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=f"{variant} {key}")
    assert compared
