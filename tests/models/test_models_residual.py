"""ResNet, wide ResNet and VGG: counts and one block by hand, features, gradients, and synchronised batch norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from blocks_by_hand import draw, filled, normalise
from kdgan.models import VGG, ResNet, WideResNet
from kdgan.models.resnet import BasicBlock, pad_shortcut
from kdgan.models.wrn import WideBlock
from kdgan.transfer import uniform

TINY = {
    "resnet": ResNet(6, 3, (3, 4), num_classes=4),
    "wrn": WideResNet(10, 1, num_classes=4),
    "vgg": VGG(8, (2, 3, 3, 4, 4), num_classes=4, pools=1),
}


def conv(x, layer, stride=1):
    """[b, h, w, c] padded by k // 2 on each side, kernel [k, k, c, d], every `stride`-th place, in float64."""
    kernel = np.float64(layer["kernel"])
    side = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    y = [
        [sum(correlate(im[..., c], kernel[..., c, d], "valid") for c in range(im.shape[-1])) for im in x]
        for d in range(kernel.shape[-1])
    ]
    return np.moveaxis(np.array(y), 0, -1)[:, ::stride, ::stride]


@pytest.mark.parametrize(("stride", "features"), [(1, 2), (2, 3), (1, 3)])
def test_basic_block_is_its_equation(stride, features):
    block, x = BasicBlock(features, stride), draw(0, 3, 6, 6, 2)
    variables = filled(block, x)
    p = variables["params"]
    found, _ = jax.jit(lambda v, x: block.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    y = np.maximum(normalise(conv(np.float64(x), p["conv1"], stride), p["bn1"]), 0)
    y = normalise(conv(y, p["conv2"]), p["bn2"])
    changes = stride != 1 or features != 2
    assert ("shortcut_conv" in p) == changes
    shortcut = normalise(conv(np.float64(x), p["shortcut_conv"], stride), p["shortcut_bn"]) if changes else x
    np.testing.assert_allclose(found, np.maximum(y + shortcut, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("stride", "features"), [(1, 2), (2, 4), (2, 2), (1, 5)])
def test_basic_block_with_a_padded_shortcut_is_its_equation(stride, features):
    block, x = BasicBlock(features, stride, shortcut="A"), draw(0, 3, 5, 6, 2)
    variables = filled(block, x)
    p = variables["params"]
    assert set(p) == {"conv1", "bn1", "conv2", "bn2"}
    found, _ = jax.jit(lambda v, x: block.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    y = np.maximum(normalise(conv(np.float64(x), p["conv1"], stride), p["bn1"]), 0)
    y = normalise(conv(y, p["conv2"]), p["bn2"])
    before = (features - 2) // 2
    y[..., before : before + 2] += np.float64(x)[:, ::stride, ::stride]
    np.testing.assert_allclose(found, np.maximum(y, 0), rtol=1e-3, atol=1e-4)


def test_a_padded_shortcut_takes_every_second_pixel_between_zeros():
    x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    padded = np.asarray(pad_shortcut(x, 4, 2))
    assert padded.shape == (1, 2, 2, 4)
    np.testing.assert_array_equal(padded[0, ..., 1], [[1, 3], [7, 9]])  # one zero before, two behind
    assert not padded[..., [0, 2, 3]].any()


@pytest.mark.parametrize(("stride", "features"), [(1, 2), (2, 3)])
def test_wide_block_is_its_equation(stride, features):
    block, x = WideBlock(features, stride), draw(0, 3, 6, 6, 2)
    variables = filled(block, x)
    p = variables["params"]
    found, _ = jax.jit(lambda v, x: block.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    active = np.maximum(normalise(np.float64(x), p["bn1"]), 0)
    y = np.maximum(normalise(conv(active, p["conv1"], stride), p["bn2"]), 0)
    shortcut = conv(active, p["shortcut_conv"], stride) if features != 2 else x
    np.testing.assert_allclose(found, conv(y, p["conv2"]) + shortcut, rtol=1e-3, atol=1e-4)


def residual_count(n, stem, widths, classes, batch_norms_of_projection=True):
    """ResNet by hand: kernels, two parameters a channel of each batch norm, projections where width or size changes."""
    total, before = 27 * stem + 2 * stem, stem
    for i, width in enumerate(widths):
        total += 9 * before * width + (2 * n - 1) * 9 * width * width + 2 * n * 2 * width
        if i > 0 or before != width:
            total += before * width + 2 * width * batch_norms_of_projection
        before = width
    return total + before * classes + classes


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 44, 56])
@pytest.mark.parametrize(("stem", "widths"), [(16, (16, 32, 64)), (32, (64, 128, 256))])
def test_resnet_parameters_by_hand(depth, stem, widths):
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(ResNet(depth, stem, widths, 100).init, jax.random.key(0), x)
    expected = residual_count((depth - 2) // 6, stem, widths, 100)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


@pytest.mark.parametrize(
    ("depth", "published"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_resnet_with_padded_shortcuts_has_the_published_parameters(depth, published):
    """He et al. 2016, table 6, in millions: 0.27, 0.46, 0.66, 0.85, 1.7; to the last one, the most-used checkpoints'."""
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    count = {}
    for shortcut in ("A", "B"):
        variables = jax.eval_shape(ResNet(depth, shortcut=shortcut).init, jax.random.key(0), x)
        count[shortcut] = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count["A"] == published
    assert count["B"] - count["A"] == 2_752  # two projections and their batch norms: 16·32 + 32·64 + 2·32 + 2·64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(shortcut="C"), "ResNet.shortcut = 'C'; it accepts 'A' or 'B'"),
        (dict(shortcut="A", stem=32), r"features = 32, \(16, 32, 64\).*widths that do not fall"),
    ],
)
def test_shortcuts_that_there_are_not_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ResNet(20, **fields)


def test_a_narrow_resnet_with_padded_shortcuts_takes_linked_channels_of_a_wide_one():
    """The channel that a shortcut carries is the same in the wide network and in the narrow one that is cut from it."""
    wide, narrow = 8, 4  # channels before the shortcut; twice as many behind
    before, behind = uniform(wide, narrow), uniform(2 * wide, 2 * narrow)
    carried = np.asarray(pad_shortcut(jnp.arange(1.0, wide + 1).reshape(1, 1, 1, wide), 2 * wide, 2)).ravel()
    of_narrow = jnp.asarray(before + 1.0, jnp.float32).reshape(1, 1, 1, narrow)
    np.testing.assert_array_equal(carried[behind], np.asarray(pad_shortcut(of_narrow, 2 * narrow, 2)).ravel())


@pytest.mark.parametrize(("depth", "widen", "published"), [(16, 2, None), (16, 1, None), (28, 10, 36_479_194)])
def test_wide_resnet_parameters_by_hand(depth, widen, published):
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(WideResNet(depth, widen).init, jax.random.key(0), x)
    n, before, total = (depth - 4) // 6, 16, 27 * 16
    for width in (16 * widen, 32 * widen, 64 * widen):
        total += 9 * before * width + (2 * n - 1) * 9 * width**2  # convolutions
        total += 2 * before + (2 * n - 1) * 2 * width  # batch norms, each before its convolution
        total += before * width * (before != width)  # projection
        before = width
    total += 2 * before + before * 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == total
    assert published in (None, total)


@pytest.mark.parametrize(
    ("depth", "convolutions"), [(8, "11111"), (11, "11222"), (13, "22222"), (16, "22333"), (19, "22444")]
)
def test_vgg_parameters_by_hand(depth, convolutions):
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(VGG(depth, num_classes=100).init, jax.random.key(0), x)
    total, before = 512 * 100 + 100, 3
    for n, width in zip(map(int, convolutions), (64, 128, 256, 512, 512), strict=True):
        total += 9 * before * width + (n - 1) * 9 * width**2 + n * 2 * width
        before = width
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == total


@pytest.mark.parametrize(
    ("depth", "published", "of_biases"),
    [
        # Counts of the published code (Tian et al. 2020), and its channels of convolutions.
        (8, 3_965_028, 64 + 128 + 256 + 512 + 512),
        (11, 9_277_284, 64 + 128 + 2 * (256 + 512 + 512)),
        (13, 9_462_180, 2 * (64 + 128 + 256 + 512 + 512)),
        (16, 14_774_436, 2 * (64 + 128) + 3 * (256 + 512 + 512)),
        (19, 20_086_692, 2 * (64 + 128) + 4 * (256 + 512 + 512)),
    ],
)
def test_vgg_with_biases_has_the_published_parameters(depth, published, of_biases):
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    count = {}
    for bias in (True, False):
        variables = jax.eval_shape(VGG(depth, num_classes=100, bias=bias).init, jax.random.key(0), x)
        count[bias] = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == {True: published, False: published - of_biases}
    docs = VGG.__doc__.replace("\n", " ")
    assert all(f"{n:,}" in docs for n in count.values())


def node(tree, path):
    for part in path.split("/"):
        tree = tree[part]
    return tree["__call__"][0]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (
            ResNet(14),
            {
                "stem": (2, 32, 32, 16),
                "stage1": (2, 32, 32, 16),
                "stage2": (2, 16, 16, 32),
                "stage3": (2, 8, 8, 64),
                "stage2/block1": (2, 16, 16, 32),
                "stage3/block2/sum": (2, 8, 8, 64),
                "stage3/block2/bn1": (2, 8, 8, 64),
                "embedding": (2, 64),
            },
        ),
        (
            WideResNet(16, 2),
            {
                "stem": (2, 32, 32, 16),
                "stage1": (2, 32, 32, 32),
                "stage2": (2, 16, 16, 64),
                "stage3/block2": (2, 8, 8, 128),
                "embedding": (2, 128),
            },
        ),
        (
            VGG(11),
            {
                "stage1": (2, 32, 32, 64),
                "stage2": (2, 16, 16, 128),
                "stage3/bn2": (2, 8, 8, 256),
                "stage4": (2, 4, 4, 512),
                "stage5": (2, 4, 4, 512),
                "embedding": (2, 512),
            },
        ),
        (VGG(8, pools=5), {"stage4": (2, 4, 4, 512), "stage5": (2, 2, 2, 512), "embedding": (2, 512)}),
    ],
)
def test_features_by_path(module, expected):
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    _, state = jax.eval_shape(
        lambda key, x: module.init_with_output(
            key, x, capture_intermediates=True, mutable=["params", "batch_stats", "intermediates"]
        ),
        jax.random.key(0),
        x,
    )
    assert {path: node(state["intermediates"], path).shape for path in expected} == expected


def training(module, axis_name=None):
    """(variables, batch) -> (logits, new batch statistics, gradients), averaged over the axis where there is one."""

    def loss(params, batch_stats, batch):
        x, weights = batch
        logits, updates = module.apply(
            {"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(weights * logits), (logits, updates["batch_stats"])

    def run(variables, batch):
        gradients, (logits, stats) = jax.grad(loss, has_aux=True)(variables["params"], variables["batch_stats"], batch)
        return logits, stats, jax.lax.pmean(gradients, axis_name) if axis_name else gradients

    return run


@pytest.fixture(scope="module", params=sorted(TINY))
def trained(request):
    """One evaluation with gradients of a tiny network on eight images, in training mode, on one device."""
    module, x, weights = TINY[request.param], draw(0, 8, 4, 4, 2), draw(1, 8, 4)
    variables = filled(module, x)
    return module, x, weights, variables, jax.jit(training(module))(variables, (x, weights))


def test_gradients_reach_every_parameter(trained):
    *_, (_, _, gradients) = trained
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-7, path


def test_training_moves_the_running_averages_and_evaluation_reads_them(trained):
    module, x, _, variables, (logits, stats, _) = trained
    for old, new in zip(jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(stats), strict=True):
        assert not np.array_equal(old, new)
    evaluate = jax.jit(module.apply)
    still = evaluate(variables, x)
    assert not np.allclose(still, logits, atol=1e-5)
    # In evaluation an image's logits do not depend on its neighbours.
    np.testing.assert_allclose(evaluate(variables, x.at[1:].multiply(3.0))[0], still[0], rtol=1e-4, atol=1e-6)
    moved = evaluate({"params": variables["params"], "batch_stats": stats}, x)
    assert not np.allclose(moved, still, atol=1e-5)


def test_running_average_keeps_nine_tenths():
    block, x = BasicBlock(2), draw(0, 8, 4, 4, 2) + 1.0
    variables = filled(block, x)
    _, updates = block.apply(variables, x, train=True, mutable=["batch_stats"])
    first, found = conv(np.float64(x), variables["params"]["conv1"]), updates["batch_stats"]["bn1"]
    np.testing.assert_allclose(found["mean"], 0.1 * first.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * first.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("trained", ["resnet"], indirect=True)
def test_synchronised_batch_norm_on_four_devices_is_one_device(trained):
    module, x, weights, variables, (logits, stats, gradients) = trained
    split = (x.reshape(4, 2, *x.shape[1:]), weights.reshape(4, 2, 4))

    def on_four(axis_name):
        run = training(module.clone(axis_name=axis_name), "batch")
        return jax.pmap(run, "batch", in_axes=(None, 0), out_axes=(0, None, None))(variables, split)

    four_logits, four_stats, four_gradients = on_four("batch")
    np.testing.assert_allclose(four_logits.reshape(8, 4), logits, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), four_stats, stats)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), four_gradients, gradients)
    alone, _, _ = on_four(None)
    assert not np.allclose(alone.reshape(8, 4), logits, atol=1e-2)


def averaged_statistics(module):
    """How many times one training evaluation averages over the axis `batch`, and how many batch norms it has."""
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    run = lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"])
    traced = jax.make_jaxpr(run, axis_env=[("batch", 4)])(variables, x)
    return str(traced).count(" psum"), len(jax.tree.leaves(variables["batch_stats"])) // 2


@pytest.mark.parametrize("module", [ResNet(14), WideResNet(16, 2), VGG(11)])
def test_axis_name_reaches_every_batch_norm(module):
    found, batch_norms = averaged_statistics(module.clone(axis_name="batch"))
    assert found == batch_norms > 5
    assert averaged_statistics(module)[0] == 0


def test_wide_block_drops_out_between_the_convolutions_while_training():
    block, x = WideBlock(2, dropout=0.5), draw(0, 4, 4, 4, 2)
    variables = filled(block, x)

    def run(key):
        output, state = block.apply(
            variables,
            x,
            train=True,
            rngs={"dropout": jax.random.key(key)},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=True,
        )
        return output, node(state["intermediates"], "conv1"), node(state["intermediates"], "Dropout_0")

    (first, conv1, dropped), (second, conv1_again, _) = run(0), run(1)
    np.testing.assert_array_equal(conv1, conv1_again)
    np.testing.assert_allclose(first - x, conv(np.float64(dropped), variables["params"]["conv2"]), rtol=1e-4, atol=1e-5)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, run(0)[0])


@pytest.mark.parametrize(
    ("module", "path"),
    [
        (ResNet(8), ("stage3", "block1", "conv2")),
        (WideResNet(10, 1), ("stage3", "block1", "conv2")),
        (VGG(8, (64, 64, 64, 64, 64)), ("stage3", "conv1")),
    ],
)
def test_initial_convolutions_have_he_s_variance(module, path):
    def draw_kernel(key):
        variables = module.init(key, jnp.zeros((1, 8, 8, 3)))
        for part in ("params", *path):
            variables = variables[part]
        return variables["kernel"]

    kernel = jax.jit(draw_kernel)(jax.random.key(0))  # the other kernels are never drawn
    assert kernel.shape == (3, 3, 64, 64)
    assert np.std(kernel) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
