"""MobileNetV2, the ShuffleNets and the ResNets of ImageNet: blocks and layers by hand, counts, features, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blocks_by_hand import draw, filled, normalise
from kdgan.models import ImageNetResNet, MobileNetV2, ShuffleNetV1, ShuffleNetV2, build
from kdgan.models.imagenet_resnet import Bottleneck
from kdgan.models.layers import conv1x1, conv3x3, torch_uniform
from kdgan.models.mobilenet import InvertedResidual
from kdgan.models.shufflenet import HalvingBlock, ShuffleBlock, SplitBlock, channel_shuffle, channel_split, mean3x3

TINY = {
    "mobilenet": MobileNetV2(
        0.5, channels=(4, 6, 6), blocks=(1, 2, 1), strides=(1, 1, 2), expand=2, stem=4, last=5, num_classes=4
    ),
    "shufflenet_v1": ShuffleNetV1(2, (16, 24), (2, 1), stem=8, num_classes=4),
    "shufflenet_v2": ShuffleNetV2((4, 8), (2, 1), stem=3, last=5, num_classes=4),
    "bottleneck": ImageNetResNet((1, 2), (2, 3), stem=4, num_classes=4),
}


def conv(x, layer, stride=1):
    """[b, h, w, c] padded by k // 2 on each side, kernel [k, k, c/groups, d]: its groups one after another, in float64."""
    kernel = np.float64(layer["kernel"])
    k, _, of_group, features = kernel.shape
    groups = x.shape[-1] // of_group
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))[:, ::stride, ::stride]  # [b, i, j, c, k, k]
    share = features // groups
    return np.concatenate(
        [
            np.einsum(
                "bijcuv,uvcd->bijd",
                windows[..., g * of_group : (g + 1) * of_group, :, :],
                kernel[..., g * share : (g + 1) * share],
            )
            for g in range(groups)
        ],
        axis=-1,
    )


def relu(x):
    return np.maximum(x, 0)


def shuffled(x, groups):
    return np.concatenate([x[..., i :: x.shape[-1] // groups] for i in range(x.shape[-1] // groups)], axis=-1)


def branch(x, p, n, *, stride=1, rectified=()):
    """The `n` convolutions of a block one after another, each with its batch norm; relu behind those named."""
    for i in n:
        strided = stride if p[f"conv{i}"]["kernel"].shape[0] == 3 else 1
        x = normalise(conv(x, p[f"conv{i}"], strided), p[f"bn{i}"])
        x = relu(x) if i in rectified else x
    return x


def test_shuffle_by_hand():
    """Two groups of three channels, as Zhang et al. 2018, figure 1: 1st of each, 2nd of each, 3rd of each."""
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(channel_shuffle(x, 2).ravel(), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(channel_shuffle(x, 3).ravel(), [0, 2, 4, 1, 3, 5])
    np.testing.assert_array_equal(channel_shuffle(x, 1), x)
    np.testing.assert_array_equal(channel_shuffle(x, 6), x)
    np.testing.assert_array_equal(channel_shuffle(channel_shuffle(x, 2), 3), x)  # back by c/groups groups
    with pytest.raises(ValueError, match="channel_shuffle of 6 channels in 4 groups; it accepts a multiple of 4"):
        channel_shuffle(x, 4)


def test_split_takes_the_first_channels_and_the_others():
    x = draw(0, 2, 3, 3, 5)
    first, others = channel_split(x, 2)
    np.testing.assert_array_equal(first, x[..., :2])
    np.testing.assert_array_equal(others, x[..., 2:])


def test_mean_of_windows_counts_zeros_beyond_the_image():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    corner, edge = (1 + 2 + 5 + 6) / 9, (2 + 3 + 4 + 6 + 7 + 8) / 9
    below, inside = (5 + 6 + 9 + 10 + 13 + 14) / 9, (6 + 7 + 8 + 10 + 11 + 12 + 14 + 15 + 16) / 9
    np.testing.assert_allclose(mean3x3(x)[0, ..., 0], [[corner, edge], [below, inside]], rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_filters_each_channel_alone(stride):
    """Of a kernel with one 1 in each channel the output is that channel, shifted."""
    x = draw(0, 2, 5, 6, 3)
    kernel = np.zeros((3, 3, 1, 3), np.float32)
    kernel[1, 1, 0, 0] = kernel[0, 1, 0, 1] = kernel[1, 2, 0, 2] = 1.0  # itself; the pixel above; the one to the right
    kernel[1, 1, 0, 1] = -2.0
    layer = conv3x3(3, stride, groups=3, name="depthwise")
    assert layer.init(jax.random.key(0), x)["params"]["kernel"].shape == kernel.shape
    expected = np.array(x)
    expected[:, 1:, :, 1] = x[:, :-1, :, 1]
    expected[:, 0, :, 1] = 0
    expected[..., 1] -= 2 * np.array(x)[..., 1]
    expected[:, :, :-1, 2], expected[:, :, -1, 2] = x[:, :, 1:, 2], 0
    output = layer.apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(output, expected[:, ::stride, ::stride], rtol=1e-6, atol=1e-6)


def test_a_grouped_1x1_convolution_is_a_matrix_for_each_group():
    x, kernel = draw(0, 2, 3, 3, 6), draw(1, 1, 1, 3, 4)
    output = conv1x1(4, groups=2, name="grouped").apply({"params": {"kernel": kernel}}, x)
    x, kernel = np.float64(x), np.float64(kernel)[0, 0]
    np.testing.assert_allclose(output[..., :2], x[..., :3] @ kernel[:, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output[..., 2:], x[..., 3:] @ kernel[:, 2:], rtol=1e-4, atol=1e-5)


def inverted(x, p, stride, same):
    y = branch(x, p, (1, 2, 3), stride=stride, rectified=(1, 2))
    return x + y if same else y


def bottleneck(x, p, stride, same):
    y = branch(x, p, (1, 2, 3), stride=stride, rectified=(1, 2))
    return relu(y + (x if same else normalise(conv(x, p["shortcut_conv"], stride), p["shortcut_bn"])))


def shuffle_block(x, p, stride, _):
    y = relu(normalise(conv(x, p["conv1"]), p["bn1"]))
    y = branch(shuffled(y, 2), p, (2, 3), stride=stride, rectified=(2,))
    if stride == 1:
        return relu(x + y)
    mean = conv(x, {"kernel": np.full((3, 3, 1, x.shape[-1]), 1 / 9)}, 2)
    return relu(np.concatenate((y, mean), -1))


def split_block(x, p, *_):
    y = relu(branch(x[..., 2:], p, (1, 2, 3), rectified=(1,)))
    return shuffled(np.concatenate((relu(x[..., :2]), y), -1), 2)


def halving_block(x, p, *_):
    left = branch(x, p, (1, 2), stride=2, rectified=(2,))
    right = branch(x, p, (3, 4, 5), stride=2, rectified=(3, 5))
    return shuffled(np.concatenate((left, right), -1), 2)


@pytest.mark.parametrize(
    ("block", "channels", "equation", "stride", "same"),
    [
        (InvertedResidual(3, 1, 2), 3, inverted, 1, True),
        (InvertedResidual(4, 2, 2), 3, inverted, 2, False),
        (Bottleneck(1, 1), 4, bottleneck, 1, True),
        (Bottleneck(2, 2), 4, bottleneck, 2, False),
        (ShuffleBlock(16, 1, 2, 2), 16, shuffle_block, 1, True),
        (ShuffleBlock(24, 2, 2, 2), 8, shuffle_block, 2, False),
        (SplitBlock(), 4, split_block, 1, True),
        (HalvingBlock(4), 3, halving_block, 2, False),
    ],
)
def test_a_block_is_its_equation(block, channels, equation, stride, same):
    x = draw(0, 3, 5, 4, channels)
    variables = filled(block, x)
    output, _ = jax.jit(lambda v, x: block.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    np.testing.assert_allclose(output, equation(np.float64(x), variables["params"], stride, same), rtol=2e-3, atol=2e-4)


def node(tree, path):
    for part in path.split("/"):
        tree = tree[part]
    return tree["__call__"][0]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (
            MobileNetV2(),
            {
                "stem": (2, 16, 16, 16),
                "stage1": (2, 16, 16, 12),
                "stage2": (2, 8, 8, 16),
                "stage3": (2, 4, 4, 48),
                "stage4": (2, 2, 2, 160),
                "stage3/block5/bn3": (2, 4, 4, 48),
                "embedding": (2, 1280),
            },
        ),
        (
            ShuffleNetV1(),
            {
                "stem": (2, 32, 32, 24),
                "stage1": (2, 16, 16, 240),
                "stage2": (2, 8, 8, 480),
                "stage3": (2, 4, 4, 960),
                "stage3/block4/sum": (2, 4, 4, 960),
                "embedding": (2, 960),
            },
        ),
        (
            ShuffleNetV2(),
            {
                "stem": (2, 32, 32, 24),
                "stage1": (2, 16, 16, 116),
                "stage2": (2, 8, 8, 232),
                "stage3": (2, 4, 4, 464),
                "stage3/block4/sum": (2, 4, 4, 464),
                "embedding": (2, 1024),
            },
        ),
        (
            ImageNetResNet(),
            {
                "stem": (2, 32, 32, 64),
                "stage1": (2, 32, 32, 256),
                "stage2": (2, 16, 16, 512),
                "stage3": (2, 8, 8, 1024),
                "stage4/block3/sum": (2, 4, 4, 2048),
                "embedding": (2, 2048),
            },
        ),
    ],
)
def test_features_have_the_published_shapes(module, expected):
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    collections = ["params", "batch_stats", "intermediates"]
    run = lambda key, x: module.init_with_output(key, x, capture_intermediates=True, mutable=collections)
    _, state = jax.eval_shape(run, jax.random.key(0), x)
    assert {path: node(state["intermediates"], path).shape for path in expected} == expected


@pytest.mark.parametrize(
    ("module", "published"),
    [
        (ImageNetResNet((3, 4, 23, 3), num_classes=100), 42_697_380),
        (ImageNetResNet((3, 8, 36, 3), num_classes=100), 58_341_028),
        (ShuffleNetV2((48, 96, 192), num_classes=100), 443_716),
        (ShuffleNetV2((176, 352, 704), num_classes=100), 2_580_548),
    ],
)
def test_parameters_of_other_sizes_as_the_docstring_has_them(module, published):
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == published
    assert f"{published:,}" in type(module).__doc__


# Batch norms that a 1×1 convolution and a batch norm follow, with no relu between: their biases are taken out again.
TAKEN_OUT = {"mobilenet": ("bn3",), "shufflenet_v2": ("block1/bn1", "block1/bn4", "block2/bn2")}


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_shrunk_network_learns_with_every_parameter(name):
    module, x, weights = TINY[name], draw(0, 8, 8, 8, 2), draw(1, 8, 4)
    variables = filled(module, x)

    @jax.jit
    def run(variables):
        def loss(params):
            logits, updates = module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return jnp.mean(weights * logits), (logits, updates)

        gradients, (logits, updates) = jax.grad(loss, has_aux=True)(variables["params"])
        return logits, updates["batch_stats"], gradients, module.apply(variables, x)

    logits, stats, gradients, still = run(variables)
    assert logits.shape == still.shape == (8, 4)
    assert np.isfinite(logits).all()
    assert not np.allclose(logits, still, atol=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        *layer, parameter = (part.key for part in path)
        taken_out = parameter == "bias" and "/".join(layer).endswith(TAKEN_OUT.get(name, ("nothing",)))
        assert np.isfinite(leaf).all(), path
        assert (np.abs(leaf).max() > 1e-6) != taken_out, path
    for old, new in zip(jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(stats), strict=True):
        assert not np.array_equal(old, new)


@pytest.mark.parametrize("name", sorted(TINY))
def test_axis_name_reaches_every_batch_norm(name):
    module, x = TINY[name].clone(axis_name="batch"), jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    run = lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"])
    traced = jax.make_jaxpr(run, axis_env=[("batch", 4)])(variables, x)
    assert str(traced).count(" psum") == len(jax.tree.leaves(variables["batch_stats"])) // 2 > 5


@pytest.mark.parametrize("name", sorted(TINY))
def test_half_precision_in_is_half_precision_out(name):
    module, x = TINY[name], jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), variables["params"])
    run = lambda p, stats, x: module.apply({"params": p, "batch_stats": stats}, x)
    half = jax.ShapeDtypeStruct(x.shape, jnp.bfloat16)
    assert jax.eval_shape(run, params, variables["batch_stats"], half).dtype == jnp.bfloat16


def test_convolutions_of_shufflenets_are_drawn_as_pytorch_s():
    """Uniform within ±1/√(k²·c/groups): depthwise ±1/3, a grouped 1×1 of 960/3 channels ±1/√320."""
    depthwise = conv3x3(512, groups=512, init=torch_uniform, name="x").init(
        jax.random.key(0), jnp.zeros((1, 4, 4, 512))
    )
    kernel = np.asarray(depthwise["params"]["kernel"])
    assert 0.32 < np.abs(kernel).max() <= 1 / 3
    assert np.std(kernel) == pytest.approx(1 / 27**0.5, rel=0.03)
    grouped = conv1x1(96, groups=3, init=torch_uniform, name="x").init(jax.random.key(1), jnp.zeros((1, 1, 1, 960)))
    assert 0.99 / 320**0.5 < np.abs(grouped["params"]["kernel"]).max() <= 1 / 320**0.5


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("mobilenet_v2", {"strides": (1, 1, 3, 2, 1, 2, 1)}, r"MobileNetV2.strides = .*whole numbers 1 to 2"),
        ("mobilenet_v2", {"blocks": (1, 2)}, "MobileNetV2.channels, blocks, strides = .*one number of each"),
        ("mobilenet_v2", {"width": 0.01}, "MobileNetV2.width = 0.01; it accepts 1/16 and more"),
        ("mobilenet_v2", {"width": True}, "MobileNetV2.width = True"),
        ("shufflenet_v1", {"groups": 4}, "with groups = 4 it accepts multiples of 16 that grow"),
        ("shufflenet_v1", {"features": (240, 240, 480)}, "ShuffleNetV1.stem, features = .* that grow"),
        ("shufflenet_v1", {"blocks": (4, 8)}, "ShuffleNetV1.features, blocks = .*every stage"),
        ("shufflenet_v2", {"features": (116, 231, 464)}, "ShuffleNetV2.features = .*even numbers"),
        ("shufflenet_v2", {"blocks": (4, 0, 4)}, "ShuffleNetV2.blocks = "),
        ("imagenet_resnet", {"block": "wide"}, "ImageNetResNet.block = 'wide'; it accepts 'bottleneck' or 'basic'"),
        ("imagenet_resnet", {"blocks": (3, 4)}, "ImageNetResNet.blocks, features = "),
        ("resnet18", {}, "ResNet.depth = 18; .* imagenet_resnet"),
    ],
)
def test_fields_that_make_no_network_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        build(name, **fields)
