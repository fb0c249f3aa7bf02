"""Models by name: short names, patterns, dotted paths, and an error for each way to get a name or a field wrong."""

import sys
import types

import flax.linen as nn
import jax
import pytest

from kdgan.models import CNN, MLP, MODELS, VGG, KDGANLeNet, LeNet5, ResNet, WideResNet, build


@pytest.fixture
def outside(monkeypatch):
    """A module of somebody else's project."""

    class Mine(nn.Module):
        width: int
        depth: int = 2

        @nn.compact
        def __call__(self, x, *, train: bool = False):
            return nn.Dense(self.width)(x)

    module = types.ModuleType("outside_models")
    module.Mine, module.number = Mine, 3
    module.make = lambda **fields: Mine(width=5, **fields)
    module.nothing = lambda: None
    monkeypatch.setitem(sys.modules, "outside_models", module)
    return module


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("mlp", {"hidden": (256, 128)}, MLP((256, 128))),
        ("kdgan_mlp", {"dropout": 0.12}, MLP((800, 800), dropout=0.12)),
        ("cnn", {}, CNN((32, 64), 64)),
        ("lenet5_half", {}, LeNet5((3, 8), (60, 42))),
        ("kdgan_lenet", {}, KDGANLeNet((32, 64), 1024)),
        ("kdgan_lenet_draft", {}, KDGANLeNet((20, 20), 500)),
        ("kdgan_lenet_cifar", {"num_classes": 100}, KDGANLeNet((64, 128), 1024, 100)),
        ("resnet20", {}, ResNet(20)),
        ("resnet26", {}, ResNet(26)),
        ("resnet8x4", {"axis_name": "batch"}, ResNet(8, 32, (64, 128, 256), axis_name="batch")),
        ("resnet14x4", {}, ResNet(14, 32, (64, 128, 256))),
        ("resnet", {"depth": 8, "features": (4, 4, 4)}, ResNet(8, features=(4, 4, 4))),
        ("wrn_28_10", {"dropout": 0.3}, WideResNet(28, 10, dropout=0.3)),
        ("wrn_22_8", {}, WideResNet(22, 8)),
        ("vgg16", {"pools": 4}, VGG(16, pools=4)),
        ("kdgan.models.mlp.MLP", {"hidden": (3,)}, MLP((3,))),
    ],
)
def test_name_gives_module(name, kwargs, expected):
    built = build(name, **kwargs)
    assert type(built) is type(expected)
    assert built == expected


def test_every_listed_name_builds():
    for name in MODELS:
        assert isinstance(build(name), nn.Module), name


def test_sequences_become_tuples_so_that_modules_hash():
    # Configs hand over lists, and a jitted function takes modules as static arguments.
    built = build("mlp", hidden=[8, 4])
    assert built.hidden == (8, 4)
    assert hash(built) == hash(build("mlp", hidden=(8, 4)))


def test_dotted_path_to_class_and_to_function(outside):
    assert build("outside_models.Mine", width=3) == outside.Mine(width=3)
    assert build("outside_models.make", depth=7) == outside.Mine(width=5, depth=7)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("resnet2O", {}, "unknown model 'resnet2O' .did you mean .*'resnet20'"),
        ("lenet", {}, "unknown model 'lenet' .did you mean .*'lenet5'"),
        ("", {}, "unknown model ''; it accepts mlp, .*dotted path"),
        (".models.Mine", {}, "unknown model '.models.Mine'"),
        ("perceiver", {}, r"unknown model 'perceiver'; it accepts mlp, .*resnet\{6n\+2\}"),
        ("resnet21", {}, r"ResNet.depth = 21; .*6n\+2: 8, 14, 20"),
        ("resnet2", {}, "ResNet.depth = 2"),
        ("wrn_17_2", {}, r"WideResNet.depth = 17; it accepts 6n\+4"),
        ("wrn_16_0", {}, "WideResNet.widen = 0"),
        ("vgg", {"depth": 12}, "VGG.depth = 12; it accepts 8, 11, 13, 16, 19"),
        ("vgg8", {"features": (4, 4)}, "VGG.features = .*it accepts 5 widths"),
        ("vgg12", {}, "unknown model 'vgg12' .did you mean .*'vgg1"),
        ("vgg8", {"pools": 6}, "VGG.pools = 6; it accepts 0 to 5"),
        ("resnet", {"features": ()}, "ResNet.features = "),
        ("lenet5", {"features": (6,)}, "LeNet5.features = .*two widths"),
        (
            "mlp",
            {"hiden": (3,)},
            "'mlp' has no field 'hiden' .did you mean 'hidden'.*accepts hidden, num_classes, dropout",
        ),
        ("mlp", {"name": "x"}, "no field 'name'"),
        ("mlp", {"hidden": (3, 0)}, r"MLP.hidden = .*3, 0"),
        (
            "resnet20",
            {"depth": 56},
            "no field 'depth' .fixed by the name: 20.; it accepts stem, features, num_classes, axis_name",
        ),
        ("resnet20", {"dropout": 0.1, "wide": 2}, "no field 'dropout'; 'wide'; it accepts"),
        ("no_such_project.models.Mine", {}, "there is no module 'no_such_project'"),
        ("kdgan.no_such_file.Mine", {}, "there is no module 'kdgan.no_such_file'"),
        ("outside_models.Mien", {"width": 1}, "outside_models has no class or function 'Mien' .did you mean 'Mine'"),
        ("outside_models.number", {}, "has no class or function 'number'"),
        ("outside_models.Mine", {}, "'outside_models.Mine' needs the field width; it accepts width, depth"),
        ("outside_models.Mine", {"width": 1, "hight": 2}, "has no field 'hight'"),
        ("outside_models.nothing", {}, "gave a NoneType; it accepts what makes a flax.linen.Module"),
    ],
)
def test_mistakes_are_named(outside, name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(name, **kwargs)


def test_error_inside_the_named_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_models.py").write_text("import a_package_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        build("broken_models.Mine")


def test_module_from_dotted_path_runs(outside):
    x = jax.ShapeDtypeStruct((2, 4), "float32")
    logits, _ = jax.eval_shape(build("outside_models.Mine", width=3).init_with_output, jax.random.key(0), x)
    assert logits.shape == (2, 3)
