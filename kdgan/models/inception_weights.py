"""The published weights of FID's Inception network, read from a file that the user has; nothing is downloaded.

The file is `pt_inception-2015-12-05-6726825d.pth` of the project pytorch-fid (its release "fid_weights"), a PyTorch
port of TensorFlow's release of 2015-12-05; torch-fidelity gives the same as
`weights-inception-2015-12-05-6726825d.pth`. It is read as it is where torch is installed. Everywhere, a `.npz` is read
that holds the same arrays under the same names:

    Conv2d_1a_3x3.conv.weight  [out, in, h, w]    and so on for each convolution, e.g. Mixed_5b.branch1x1.conv.weight
    Conv2d_1a_3x3.bn.weight, .bn.bias, .bn.running_mean, .bn.running_var  [out]
    fc.weight [1008, 2048], fc.bias [1008]
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan.models.inception import SIDE, InceptionV3

FILE = "pt_inception-2015-12-05-6726825d.pth"

# Linen's name of a variable -> PyTorch's, for a convolution or dense layer and for batch norm.
_NAMES: Mapping[str, str] = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# PyTorch's axes in Linen's order, by rank: [out, in, h, w] -> [h, w, in, out], [out, in] -> [in, out].
_AXES: Mapping[int, tuple[int, ...]] = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def load(path: str | os.PathLike, module: nn.Module | None = None) -> dict[str, Any]:
    """The variables {"params", "batch_stats"} of `module` from a file of the layout above.

    Args:
        path: a `.npz`, or a `.pth` or `.pt` where torch is installed.
        module: whose variables; `InceptionV3()` by default. Arrays that it has no use for are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither kind of file; an array is missing or of another shape.
        ImportError: a PyTorch file, and torch is not installed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file. FID needs the weights of its Inception network, {FILE} of the project pytorch-fid"
            " (release fid_weights), as it is or as an .npz of its arrays; see kdgan.models.inception_weights"
        )
    module = InceptionV3() if module is None else module
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image)
    try:
        return convert(_read(path), shapes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def convert(state: Mapping[str, Any], shapes: Any) -> dict[str, Any]:
    """The arrays of a PyTorch `state_dict` as Linen variables, float32.

    Args:
        state: PyTorch's name -> array; its modules are named as Linen's.
        shapes: the variables' `jax.ShapeDtypeStruct`s, {"params": ..., "batch_stats": ...}.

    Returns:
        Arrays in the structure of `shapes`.

    Raises:
        ValueError: an array is missing or of another shape; the first one is named.
    """

    def one(path, leaf):
        _, *modules, variable = (part.key for part in path)
        name = ".".join([*modules, _NAMES[variable]])
        axes = _AXES[len(leaf.shape)]
        expected = tuple(leaf.shape[axes.index(i)] for i in range(len(axes)))
        if name not in state:
            raise ValueError(f"there is no array {name!r}; one of shape {expected} is needed")
        array = np.asarray(state[name], np.float32)
        if array.shape != expected:
            raise ValueError(f"array {name!r} has shape {array.shape}; {expected} is needed")
        return jnp.asarray(array.transpose(axes))

    return jax.tree_util.tree_map_with_path(one, shapes)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    if path.suffix not in (".pth", ".pt"):
        raise ValueError("the weights are a .npz file, or a .pth or .pt file of PyTorch")
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path}: a file of PyTorch is read by torch, which is not installed. Where it is, convert the file once:"
            " numpy.savez('inception.npz', **{k: v.numpy() for k, v in torch.load(path, map_location='cpu').items()})"
        ) from error
    return {name: value.numpy() for name, value in torch.load(path, map_location="cpu", weights_only=True).items()}
