"""Files as torch writes them: training checkpoints, types, shared and strided tensors; and those that are refused."""

import collections

import numpy as np
import pytest

from kdgan import weights

pytestmark = [
    pytest.mark.extra("torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch"),
]


@pytest.fixture(scope="module")
def network():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(3, 4)
    )


def numpy_of(state):
    return {name: value.numpy() for name, value in state.items()}


def assert_read(path, expected, **options):
    read = weights.read(path, **options)
    assert read.kind == "pytorch"
    assert list(read.arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read.arrays[name], array)
        assert read.arrays[name].dtype == array.dtype


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_a_training_checkpoint(rule, network, tmp_path):
    import torch

    optimizer = getattr(torch.optim, rule)(network.parameters(), lr=0.1, **({"momentum": 0.9} if rule == "SGD" else {}))
    network(torch.ones(2, 2, 3, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    torch.save(
        {
            "epoch": 3,
            "arch": "net",
            "best_acc1": torch.tensor(91.7),
            "loss": 0.25,
            "args": {"lr": 0.1, "device": torch.device("cpu")},
            "state_dict": torch.nn.DataParallel(network).state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "rng": torch.get_rng_state(),
            "shape": torch.Size([1, 2]),
            "dtype": torch.float16,
        },
        tmp_path / "w",
    )
    assert_read(tmp_path / "w", numpy_of(network.state_dict()))


def test_types_and_views(tmp_path):
    import torch

    base = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "a.weight": base,
        "a.bias": base[1, :, 2],
        "b.weight": base.transpose(0, 2),
        "c.weight": base[:, 1:2].expand(2, 5, 4),
        "d.weight": torch.nn.Parameter(base.double()),
        "e.weight": base.half(),
        "f.weight": torch.zeros(0, 3),
        "g.weight": base.to(torch.int64),
        "h.weight": base > 3,
        "i.weight": base.to(torch.complex64),
        "j.weight": torch.tensor(3.5),
        "k.weight": base.to(torch.uint16),
        "l.weight": base.to(memory_format=torch.contiguous_format)[..., ::2],
    }
    torch.save(state, tmp_path / "w")
    assert_read(tmp_path / "w", {name: value.detach().numpy() for name, value in state.items()})
    base = base % 8  # which 8 bits hold
    torch.save({"a.weight": base.bfloat16(), "b.weight": base.to(torch.float8_e4m3fn)}, tmp_path / "w")
    for array in weights.read(tmp_path / "w").arrays.values():
        np.testing.assert_array_equal(array.astype(np.float32), base.numpy())


def test_protocols_of_pickles_and_mappings(network, tmp_path):
    import torch

    expected = numpy_of(network.state_dict())
    for protocol in (2, 3, 4, 5):
        torch.save(network.state_dict(), tmp_path / "w", pickle_protocol=protocol)
        assert_read(tmp_path / "w", expected)
    torch.save(dict(network.state_dict()), tmp_path / "w")
    assert_read(tmp_path / "w", expected)


def test_what_holds_more_than_tensors_is_refused(network, tmp_path):
    import torch

    class Wrapped(torch.nn.Linear):
        pass

    refused = {
        "Sequential": lambda path: torch.save(network, path),
        "Linear": lambda path: torch.save({"model": torch.nn.Linear(2, 2)}, path),
        "scalar": lambda path: torch.save({"state_dict": network.state_dict(), "best": np.float64(3)}, path),
        "defaultdict": lambda path: torch.save(collections.defaultdict(int), path),
        "_rebuild_sparse_tensor": lambda path: torch.save({"weight": torch.eye(3).to_sparse()}, path),
        "before 1.6": lambda path: torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False),
        "TorchScript": lambda path: torch.jit.save(torch.jit.trace(network.eval(), torch.ones(1, 2, 3, 3)), path),
    }
    for what, save in refused.items():
        save(tmp_path / "net.pth")
        with pytest.raises(ValueError, match=what) as error:
            weights.read(tmp_path / "net.pth")
        assert "\n" not in str(error.value)
        assert "'net_state_dict.pth')" in str(error.value)


def test_the_three_lines_convert_a_whole_network(network, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save(network, "net.pth")
    with pytest.raises(ValueError, match="convert it: import torch") as error:
        weights.read("net.pth")
    exec(str(error.value).partition("convert it: ")[2])  # as a user would paste them
    assert_read("net_state_dict.pth", numpy_of(network.state_dict()))
