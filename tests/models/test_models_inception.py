"""FID's Inception: each block against NumPy in float64 by the names of the PyTorch weights, shapes, counts, the file.

The published weights are not here; what is tested is that, given them, the arithmetic is that of the published code.
"""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.metrics import features
from kdgan.models import inception, inception_weights
from kdgan.models.inception import ConvNorm, InceptionV3

IMAGE = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)


def state_dict(module, channels):
    """Random PyTorch arrays for a block with so many input channels, under the names of the published file."""
    rng = np.random.default_rng(0)
    x = jax.ShapeDtypeStruct((1, 9, 9, channels), jnp.float32)
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(module.init, jax.random.key(0), x)):
        _, *modules, variable = (part.key for part in path)
        shape = leaf.shape
        if variable == "kernel":
            height, width, channels_in, channels_out = shape
            shape = (channels_out, channels_in, height, width)
            value = rng.normal(size=shape) / np.sqrt(height * width * channels_in)
        else:
            value = rng.uniform(0.2, 1, size=shape)
        kind = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
        state[".".join([*modules, kind.get(variable, variable)])] = value.astype(np.float32)
    return state


def conv(state, name, x, stride=1, padded=True):
    """PyTorch's convolution without bias, batch norm with eps 0.001 and relu; channels first, as PyTorch has them."""
    weight = np.float64(state[f"{name}.conv.weight"])
    height, width = weight.shape[2:]
    if padded:
        x = np.pad(x, ((0, 0), (0, 0), (height // 2,) * 2, (width // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(2, 3))[:, :, ::stride, ::stride]
    y = np.einsum("bchwij,dcij->bdhw", windows, weight, optimize=True)
    weight, bias, mean, var = (
        np.float64(state[f"{name}.bn.{part}"])[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return np.maximum((y - mean) / np.sqrt(var + 1e-3) * weight + bias, 0)


def pool(x, reduce, stride=1, padded=True):
    """`reduce` over windows of 3×3; what lies outside the image is NaN."""
    if padded:
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    return reduce(windows, axis=(4, 5))


def chain(state, x, *names):
    for name in names:
        x = conv(state, name, x)
    return x


def mean_branch(state, x):
    return conv(state, "branch_pool", pool(x, np.nanmean))


def block_a(state, x):
    return [
        chain(state, x, "branch1x1"),
        chain(state, x, "branch5x5_1", "branch5x5_2"),
        chain(state, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        mean_branch(state, x),
    ]


def block_b(state, x):
    double = chain(state, x, "branch3x3dbl_1", "branch3x3dbl_2")
    return [
        conv(state, "branch3x3", x, 2, padded=False),
        conv(state, "branch3x3dbl_3", double, 2, padded=False),
        pool(x, np.max, 2, padded=False),
    ]


def block_c(state, x):
    return [
        chain(state, x, "branch1x1"),
        chain(state, x, *(f"branch7x7_{i}" for i in range(1, 4))),
        chain(state, x, *(f"branch7x7dbl_{i}" for i in range(1, 6))),
        mean_branch(state, x),
    ]


def block_d(state, x):
    three = chain(state, x, "branch3x3_1")
    seven = chain(state, x, *(f"branch7x7x3_{i}" for i in range(1, 4)))
    return [
        conv(state, "branch3x3_2", three, 2, padded=False),
        conv(state, "branch7x7x3_4", seven, 2, padded=False),
        pool(x, np.max, 2, padded=False),
    ]


def block_e(state, x, reduce=np.nanmean):
    three = chain(state, x, "branch3x3_1")
    double = chain(state, x, "branch3x3dbl_1", "branch3x3dbl_2")
    return [
        chain(state, x, "branch1x1"),
        *(chain(state, three, f"branch3x3_2{fork}") for fork in "ab"),
        *(chain(state, double, f"branch3x3dbl_3{fork}") for fork in "ab"),
        conv(state, "branch_pool", pool(x, reduce)),
    ]


# The kernels [h, w] by the published code, which a reference that reads them off the weights would not notice.
KERNELS = {
    inception.InceptionA(2): {"branch5x5_2": (5, 5), "branch3x3dbl_3": (3, 3), "branch_pool": (1, 1)},
    inception.InceptionB(): {"branch3x3": (3, 3), "branch3x3dbl_1": (1, 1), "branch3x3dbl_2": (3, 3)},
    inception.InceptionC(2): {"branch7x7_2": (1, 7), "branch7x7_3": (7, 1), "branch7x7dbl_2": (7, 1)}
    | {"branch7x7dbl_3": (1, 7), "branch7x7dbl_4": (7, 1), "branch7x7dbl_5": (1, 7)},
    inception.InceptionD(): {"branch7x7x3_2": (1, 7), "branch7x7x3_3": (7, 1), "branch3x3_2": (3, 3)},
    inception.InceptionE(): {"branch3x3_2a": (1, 3), "branch3x3_2b": (3, 1)}
    | {"branch3x3dbl_3a": (1, 3), "branch3x3dbl_3b": (3, 1), "branch3x3dbl_2": (3, 3)},
}


@pytest.mark.parametrize(
    ("module", "plain"),
    [
        (inception.InceptionA(2), block_a),
        (inception.InceptionB(), block_b),
        (inception.InceptionC(2), block_c),
        (inception.InceptionD(), block_d),
        (inception.InceptionE(), block_e),
        (inception.InceptionE("max"), lambda state, x: block_e(state, x, np.nanmax)),
    ],
)
def test_blocks_are_their_equations(module, plain):
    # Neither square nor positive: axes that were exchanged, or a maximum over zeros outside, would show.
    x = np.random.default_rng(1).normal(-0.5, size=(1, 4, 7, 6))
    state = state_dict(module, 4)
    expected = np.concatenate(plain(state, x), axis=1).transpose(0, 2, 3, 1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 7, 6, 4), jnp.float32))
    found = module.apply(inception_weights.convert(state, shapes), jnp.asarray(x.transpose(0, 2, 3, 1), jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", KERNELS, ids=lambda module: type(module).__name__)
def test_kernels_are_the_published_ones(module):
    state = state_dict(module, 4)
    assert {name: state[f"{name}.conv.weight"].shape[2:] for name in KERNELS[module]} == KERNELS[module]


def test_shapes_and_parameters_of_the_whole():
    pools = {}

    def note(next_method, args, kwargs, context):
        if isinstance(context.module, inception.InceptionE):
            pools[context.module.name] = context.module.pool
        return next_method(*args, **kwargs)

    def run(key, x):
        with nn.intercept_methods(note):
            return InceptionV3().init_with_output(
                key, x, capture_intermediates=True, mutable=["params", "batch_stats", "intermediates"]
            )

    logits, variables = jax.eval_shape(run, jax.random.key(0), IMAGE)
    # The oddity of the release; both would have the same shapes and weights.
    assert pools == {"Mixed_7b": "mean", "Mixed_7c": "max"}
    assert logits.shape == (2, 1008)
    layers = variables["intermediates"]
    found = {name: layers[name]["__call__"][0].shape[1:] for name in layers.keys() - {"__call__", "fc"}}
    # The comments of torchvision's forward pass, channels last.
    assert found.pop("pool3") == (2048,)
    assert found == {
        "Conv2d_1a_3x3": (149, 149, 32),
        "Conv2d_2a_3x3": (147, 147, 32),
        "Conv2d_2b_3x3": (147, 147, 64),
        "Conv2d_3b_1x1": (73, 73, 80),
        "Conv2d_4a_3x3": (71, 71, 192),
        "Mixed_5b": (35, 35, 256),
        "Mixed_5c": (35, 35, 288),
        "Mixed_5d": (35, 35, 288),
        "Mixed_6a": (17, 17, 768),
        "Mixed_6b": (17, 17, 768),
        "Mixed_6c": (17, 17, 768),
        "Mixed_6d": (17, 17, 768),
        "Mixed_6e": (17, 17, 768),
        "Mixed_7a": (8, 8, 1280),
        "Mixed_7b": (8, 8, 2048),
        "Mixed_7c": (8, 8, 2048),
    }
    # torchvision's 27,161,264 with 1000 classes, less its auxiliary head, and eight classes more.
    auxiliary = (768 * 128 + 2 * 128) + (128 * 768 * 25 + 2 * 768) + (768 * 1000 + 1000)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert parameters == 27_161_264 - auxiliary + 8 * (2048 + 1) == 23_850_960
    # 94 convolutions, each with its norm, and the head.
    assert len(jax.tree.leaves(variables["params"])) == 94 * 3 + 2
    assert len(jax.tree.leaves(variables["batch_stats"])) == 94 * 2


@pytest.mark.parametrize(("shape", "side"), [((5, 4), 11), ((9, 10), 6), ((7, 7), 7)])
def test_resizing_reads_half_pixel_centres(shape, side):
    x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)

    def matrix(size):
        """Rows of weights: output pixel i lies at (i + ½)·size/side − ½, at the border on the outermost pixel."""
        weights = np.zeros((side, size))
        for i in range(side):
            at = min(max((i + 0.5) * size / side - 0.5, 0), size - 1)
            low = min(int(at), size - 2)
            weights[i, low], weights[i, low + 1] = 1 - (at - low), at - low
        return weights

    expected = np.einsum("ih,bhwc,jw->bijc", matrix(shape[0]), x, matrix(shape[1]))
    np.testing.assert_allclose(inception.resize_bilinear(jnp.asarray(x), side), expected, rtol=1e-4, atol=1e-5)


def test_images_of_any_size_with_one_or_three_channels():
    def logits(*shape, **fields):
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        return jax.eval_shape(lambda key, x: InceptionV3(7, **fields).init_with_output(key, x)[0], jax.random.key(0), x)

    assert logits(2, 28, 28, 1).shape == (2, 7)
    with pytest.raises(ValueError, match=r"\(2, 28, 28, 2\); it accepts 1 or 3 channels"):
        logits(2, 28, 28, 2)
    with pytest.raises(ValueError, match=r"it accepts \[b, h, w, c\]"):
        logits(2, 28, 28)
    with pytest.raises(ValueError, match="num_classes = 0"):
        InceptionV3(0)


class Small(nn.Module):
    """One convolution of the published names with a head: a file of it is read as one of the whole is."""

    @nn.compact
    def __call__(self, x):
        x = ConvNorm(4, (1, 3), name="Conv2d_1a_3x3")(x)
        return nn.Dense(5, name="fc")(x.mean((1, 2)))


@pytest.fixture
def small():
    state = state_dict(ConvNorm(4, (1, 3)), 3)
    rng = np.random.default_rng(1)
    return {f"Conv2d_1a_3x3.{name}": value for name, value in state.items()} | {
        "Conv2d_1a_3x3.bn.num_batches_tracked": np.array(0),
        "fc.weight": rng.normal(size=(5, 4)).astype(np.float32),
        "fc.bias": rng.normal(size=5).astype(np.float32),
    }


def test_a_file_is_the_network_it_was_saved_from(small, tmp_path):
    np.savez(tmp_path / "small.npz", **small)
    variables = inception_weights.load(tmp_path / "small.npz", Small())
    x = np.random.default_rng(2).normal(size=(2, 6, 5, 3))
    hidden = conv(small, "Conv2d_1a_3x3", x.transpose(0, 3, 1, 2)).mean((2, 3))
    expected = hidden @ small["fc.weight"].T + small["fc.bias"]
    found = Small().apply(variables, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_files_that_lack_something(small, tmp_path):
    def load(state):
        np.savez(tmp_path / "bad.npz", **state)
        return inception_weights.load(tmp_path / "bad.npz", Small())

    with pytest.raises(ValueError, match=r"bad.npz: there is no array 'fc.bias'; one of shape \(5,\)"):
        load({name: value for name, value in small.items() if name != "fc.bias"})
    with pytest.raises(ValueError, match=r"'Conv2d_1a_3x3.conv.weight' has shape \(4, 3, 3, 1\); \(4, 3, 1, 3\)"):
        load(small | {"Conv2d_1a_3x3.conv.weight": small["Conv2d_1a_3x3.conv.weight"].swapaxes(2, 3)})
    with pytest.raises(ValueError, match=r"'fc.weight' has shape \(4, 5\); \(5, 4\)"):
        load(small | {"fc.weight": small["fc.weight"].T})
    with pytest.raises(FileNotFoundError, match=r"absent.npz: no such file.*pt_inception-2015-12-05-6726825d.pth"):
        inception_weights.load(tmp_path / "absent.npz")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights.h5: the weights are a .npz file, or a .pth"):
        inception_weights.load(tmp_path / "weights.h5", Small())


def test_a_file_of_pytorch_without_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(ImportError, match=r"torch, which is not installed.*numpy.savez"):
        inception_weights.load(tmp_path / "weights.pth", Small())


def test_a_file_of_pytorch_with_torch(small, tmp_path, monkeypatch):
    class Tensor:
        def __init__(self, value):
            self.numpy = lambda: value

    class Torch:
        @staticmethod
        def load(path, *, map_location, weights_only):
            assert (path.name, map_location, weights_only) == ("weights.pth", "cpu", True)
            return {name: Tensor(value) for name, value in small.items()}

    monkeypatch.setitem(sys.modules, "torch", Torch)
    (tmp_path / "weights.pth").write_bytes(b"")
    np.savez(tmp_path / "weights.npz", **small)
    found, expected = (inception_weights.load(tmp_path / f"weights.{kind}", Small()) for kind in ("pth", "npz"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_only_the_published_network_is_called_fid(tmp_path, monkeypatch):
    # The whole file, filled with one number, stands for the published one; nothing is run.
    shapes = jax.eval_shape(InceptionV3(head_bias=False).init, jax.random.key(0), IMAGE)
    asked = []
    monkeypatch.setattr(
        inception_weights,
        "load",
        lambda path, module: asked.append((path, module)) or jax.tree.map(lambda leaf: np.ones((), leaf.dtype), shapes),
    )
    extractor = features.inception_extractor(tmp_path / "weights.npz", batch_size=3)
    assert (extractor.label, extractor.name, extractor.batch_size) == ("FID", "inception", 3)
    assert asked == [(tmp_path / "weights.npz", InceptionV3(head_bias=False))]
    assert features.make_extractor(Small(), {}, name="inception").label == "FD-inception"
