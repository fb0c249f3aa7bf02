"""Losses of features against the figures of published code, whose arrays and parameters lie as PyTorch has them.

A loss is a function of the dict of inputs and parameters in PyTorch's layout, which `nhwc` and `kernel` bring into
ours, so that its gradients are PyTorch's, too.
"""

import jax
import jax.numpy as jnp
import numpy as np

import parity_figures


def nhwc(x):
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def kernel(weight):
    """Of a convolution or a dense layer."""
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def transposed_kernel(weight):
    """Of a transposed convolution."""
    return weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)


def norm(z, name):
    """Scale and bias of a batch norm."""
    return {"scale": z[f"param.{name}.weight"], "bias": z[f"param.{name}.bias"]}


def start(**layers):
    """Averages that a batch norm begins with, of so many channels, by its path."""
    return {name: {"mean": jnp.zeros(size), "var": jnp.ones(size)} for name, size in layers.items()}


def maps(z, *names):
    return [nhwc(z[f"in.{name}"]) for name in names]


def figures(shared_data_dir, name):
    """The floating-point arrays of `parity_figures.read`."""
    return {key: value for key, value in parity_figures.read(shared_data_dir, name).items() if value.dtype.kind == "f"}


def check(z, variant, loss, *, value_rtol, gradient_rtol, without=()):
    """The loss' mean over the batch, and its gradients, are the published ones of `variant`.

    Gradients are compared to within `gradient_rtol` of the largest entry of any, and 4 times that of their own; those
    of `without` are 0 but for rounding.
    """
    begins = f"grad64.{variant}."
    wanted = {key.removeprefix(begins): np.float64(value) for key, value in z.items() if key.startswith(begins)}
    wanted = {key if key.startswith("param.") else f"in.{key}": value for key, value in wanted.items()}
    given = {
        key: jnp.asarray(value, jnp.float32) for key, value in z.items() if key.startswith(("in.", "param.", "aux."))
    }
    leaves = {key: given[key] for key in wanted}
    of = jax.jit(jax.value_and_grad(lambda leaves: jnp.mean(loss(given | leaves))))
    value, gradients = of(leaves)
    expected = float(z[f"value64.{variant}"])
    largest = {key: np.abs(value).max() for key, value in wanted.items()}
    compared = [key for key in wanted if key not in without]
    errors = {key: np.abs(gradients[key] - wanted[key]).max() for key in compared}
    most = max(largest[key] for key in compared)
    np.testing.assert_allclose(value, expected, rtol=value_rtol, err_msg=variant)
    for key, error in errors.items():
        assert error <= gradient_rtol * min(most, 4 * largest[key]), (variant, key, error / most)
    assert most > 0
    assert all(np.abs(gradients[key]).max() < 1e-5 * most for key in without)
