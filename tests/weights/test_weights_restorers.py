"""Restorers of PyTorch, read without it; files for another scale or size refused, other manners of naming read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models, weights
from torch_restorers import TWINS
from torch_twins import randomised


@pytest.mark.extra("torch")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TWINS)
def test_a_restorer_of_pytorch_gives_the_same_from_its_file(name, tmp_path):
    import torch

    make, module, shape = TWINS[name]
    network = randomised(make())
    if hasattr(network, "prepared"):
        network.prepared()
    torch.save(network.state_dict(), tmp_path / "network.pth")
    x = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).numpy()
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    variables = weights.load(tmp_path / "network.pth", module)
    made = np.asarray(jax.jit(module.apply)(variables, x))
    made = made if made.ndim == expected.ndim else made[..., None]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(made, expected, atol=2e-5 * max(1, np.abs(expected).max()), rtol=0)


def state_dict(module, shape, names=None, kernels="weight"):
    """A module's parameters as PyTorch would name them: `name.weight` [out, in, h, w]."""
    params = module.init(jax.random.key(3), jnp.zeros(shape))["params"]
    made = {}
    for name, leaves in params.items():
        made[f"{name}.{kernels}"] = np.asarray(leaves["kernel"]).transpose(3, 2, 0, 1)
        made[f"{name}.bias"] = np.asarray(leaves["bias"])
    return params, made


def test_a_file_for_another_scale_is_refused_with_both_scales(tmp_path):
    shape = (1, 8, 8, 1)
    module = models.ESPCN(scale=2, features=(4, 3))
    params, arrays = state_dict(module, shape)
    path = tmp_path / "x2.npz"
    np.savez(path, **arrays)
    jax.tree.map(np.testing.assert_array_equal, weights.load(path, module)["params"], params)
    wrong = "x2.npz: .*conv3 wants \\[9, 3, 3, 3\\], conv3.weight has \\[4, 3, 3, 3\\]: of scale 2 there, 3 here"
    with pytest.raises(ValueError, match=wrong):
        weights.load(path, models.ESPCN(scale=3, features=(4, 3)))
    # Of Flax's own names, too.
    flat = {f"{layer}/{leaf}": array for layer, leaves in params.items() for leaf, array in leaves.items()}
    np.savez(tmp_path / "flax.npz", **flat)
    with pytest.raises(ValueError, match=r"conv3/kernel wants .*: of scale 2 there, 4 here"):
        weights.load(tmp_path / "flax.npz", models.ESPCN(scale=4, features=(4, 3)), shape)


def test_a_file_of_another_width_is_refused_by_the_layers(tmp_path):
    _, arrays = state_dict(models.ESPCN(features=(4, 3)), (1, 8, 8, 1))
    np.savez(tmp_path / "narrow.npz", **arrays)
    with pytest.raises(
        ValueError, match=r"do not fit ESPCN: of another shape: conv1 wants .5, 1, 5, 5., .*has .4, 1, 5, 5."
    ):
        weights.load(tmp_path / "narrow.npz", models.ESPCN(features=(5, 3)))


def test_a_carn_without_the_head_or_with_another_mean_is_refused(tmp_path):
    arrays = {"upsample.up2.body.0.weight": np.zeros((32, 2, 3, 3), np.float32)}
    with pytest.raises(ValueError, match=r"it has heads of scale 2; CARN\.scale = 3"):
        models.CARN(3, width=8).rename_state_dict(arrays)
    shifted = {"sub_mean.shifter.bias": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"its sub_mean.shifter.bias is another shift than by the mean \(0.4488"):
        models.CARN(2, width=8).rename_state_dict(shifted)


def test_kernels_that_are_counted_from_0_and_named_alone_are_a_vdsr(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(4, 1, 3, 3), (4, 4, 3, 3), (1, 4, 3, 3)]
    kernels = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    np.savez(tmp_path / "vdsr.npz", **{f"conv{i}": kernel for i, kernel in enumerate(kernels)})
    params = weights.load(tmp_path / "vdsr.npz", models.VDSR(depth=3, width=4))["params"]
    for i, kernel in enumerate(kernels, start=1):
        np.testing.assert_array_equal(params[f"conv{i}"]["kernel"], kernel.transpose(2, 3, 1, 0))


def test_names_with_slashes_are_pytorchs_where_arrays_are_called_as_its_are(tmp_path):
    module = models.ESPCN(features=(4, 3))
    params, arrays = state_dict(module, (1, 8, 8, 1))
    np.savez(tmp_path / "caffe.npz", **{name.replace(".", "/"): array for name, array in arrays.items()})
    assert weights.read(tmp_path / "caffe.npz").kind == weights.PYTORCH
    jax.tree.map(np.testing.assert_array_equal, weights.load(tmp_path / "caffe.npz", module)["params"], params)


def test_a_conditional_network_is_read_without_an_example(tmp_path):
    module = models.Johnson((3, 4), blocks=1, styles=2, outer=3)
    params = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 2)))["params"]
    names = {"contract1": "contract.0", "contract2": "contract.1", "block1/conv1": "res.0.0", "block1/conv2": "res.0.1",
             "expand1": "expand.0", "last": "expand.1"}  # fmt: skip
    arrays = {}
    for layer, theirs in names.items():
        leaves = params
        for part in layer.split("/"):
            leaves = leaves[part]
        arrays[f"{theirs}.w"] = np.asarray(leaves["conv"]["kernel"]).transpose(3, 2, 0, 1)
        arrays |= {f"{theirs}.{leaf}": np.asarray(array) for leaf, array in leaves["norm"].items()}
    np.savez(tmp_path / "styles.npz", **arrays)
    jax.tree.map(np.testing.assert_array_equal, weights.load(tmp_path / "styles.npz", module)["params"], dict(params))


def test_a_file_with_batch_norms_says_so_to_a_dncnn_without(tmp_path):
    module = models.DnCNN(depth=3, width=4, batch_norm=False)
    _, arrays = state_dict(module, (1, 8, 8, 1))
    np.savez(tmp_path / "plain.npz", **arrays)
    weights.load(tmp_path / "plain.npz", module)
    norms = {f"bn2.{leaf}": np.ones(4) for leaf in ("weight", "bias", "running_mean", "running_var")}
    np.savez(tmp_path / "norms.npz", **{name: a for name, a in arrays.items() if name.endswith("weight")}, **norms)
    with pytest.raises(ValueError, match=r"model_args\.batch_norm = True"):
        weights.load(tmp_path / "norms.npz", module)
