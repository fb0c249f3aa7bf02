"""The published CIFAR-10 ResNets of 20 and 56 layers: equal from every form, and equal to PyTorch's own outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_twins
import torch_zip
from kdgan import models, weights
from kdgan.data.sources import load

pytestmark = pytest.mark.shared

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
IMAGES = 100


@pytest.fixture(scope="module")
def folder(shared_data_dir):
    folder = shared_data_dir.parent / "raw" / "resnet_cifar10"
    if not folder.is_dir():
        pytest.skip("there are no published weights, resnet20.npz and resnet56.npz, beside the data sets")
    return folder


@pytest.mark.parametrize("depth", [20, 56])
@pytest.mark.extra("safetensors")
def test_each_form_of_the_published_weights_gives_the_same_variables(depth, folder, tmp_path):
    from safetensors.numpy import save_file

    module = models.ResNet(depth, shortcut="A")
    expected = weights.load(folder / f"resnet{depth}.npz", module)
    with np.load(folder / f"resnet{depth}.npz") as stored:
        state = dict(stored)
    save_file(state, tmp_path / "w.safetensors")
    torch_zip.state_dict(tmp_path / "w.pth", {f"module.{name}": array for name, array in state.items()},
                         lambda value: torch_zip.mapping(state_dict=value, best_prec1=torch_zip.number(91)))  # fmt: skip
    for name in ("w.safetensors", "w.pth"):
        jax.tree.map(np.testing.assert_array_equal, weights.load(tmp_path / name, module), expected)
    assert sum(leaf.size for leaf in jax.tree.leaves(expected["params"])) == {20: 269_722, 56: 853_018}[depth]


@pytest.mark.extra("torch", "safetensors")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_published_network_of_20_layers_gives_pytorchs_outputs_on_test_images(folder, shared_data_dir, tmp_path):
    import torch
    from safetensors.torch import save_file

    network = torch_twins.resnet("A", (16, 16, 32, 64), 3, 10).eval()
    with np.load(folder / "resnet20.npz") as stored:
        network.load_state_dict({name: torch.from_numpy(array) for name, array in stored.items()}, strict=False)
    test = load("cifar10", "test", data_dir=str(shared_data_dir))
    images, labels = test.fetch(np.arange(IMAGES)), test.label[:IMAGES]
    x = (images / np.float32(255) - MEAN) / STD
    with torch.no_grad():
        expected = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    module = models.ResNet(20, shortcut="A")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    for path in (tmp_path / "w.pth", tmp_path / "w.safetensors"):
        logits = jax.jit(module.apply)(weights.load(path, module), jnp.asarray(x))
        np.testing.assert_allclose(logits, expected, atol=2e-5)
        assert (np.argmax(logits, -1) == labels).mean() >= 0.9
