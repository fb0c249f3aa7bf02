"""SNGAN against its equations in NumPy and SciPy, counts by hand, conditional batch norm, features and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.signal import correlate

from kdgan.models import SNGANDiscriminator, SNGANGenerator, build
from kdgan.models.sngan import ConditionalBatchNorm, DownBlock, UpBlock, average_pool, upsample


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, *inputs):
    """Variables of `module`, biases and statistics too, drawn by numpy; what is kept is positive, as variances are."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs), jax.random.key(0))
    tree = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, leaf.dtype), shapes)
    return {name: jax.tree.map(jnp.abs, tree[name]) if name == "batch_stats" else tree[name] for name in tree}


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def conv(x, layer):
    """[b, h, w, c] with kernel [k, k, c, d], unit stride, zeros around, in float64."""
    kernel, bias = np.float64(layer["kernel"]), np.float64(layer["bias"])
    channels = range(kernel.shape[2])
    planes = [
        np.stack([sum(correlate(im[..., c], kernel[..., c, d], "same") for c in channels) for im in x])
        for d in range(kernel.shape[3])
    ]
    return np.stack(planes, axis=-1) + bias


def normalised(x, stats):
    return (x - np.float64(stats["mean"])) / np.sqrt(np.float64(stats["var"]) + 1e-5)


def test_resizing_by_two():
    x = draw(0, 2, 3, 5, 2)
    np.testing.assert_array_equal(upsample(x), np.repeat(np.repeat(x, 2, axis=1), 2, axis=2))
    np.testing.assert_allclose(average_pool(upsample(x)), x, rtol=1e-6)
    hand = average_pool(jnp.arange(15.0).reshape(1, 3, 5, 1))  # the last row and column fall out
    np.testing.assert_allclose(hand[0, :, :, 0], [[3.0, 5.0]])


def test_up_block_is_its_equation():
    block, x, label = UpBlock(3, classes=2), draw(0, 2, 3, 3, 2), jnp.asarray([1, 0])
    variables = drawn(block, x, label)
    p, s = variables["params"], variables["batch_stats"]

    def norm(y, name):
        rows = {part: np.float64(p[name][part]["embedding"])[[1, 0]][:, None, None, :] for part in ("scale", "bias")}
        return normalised(y, s[name]["bn"]) * rows["scale"] + rows["bias"]

    def up(y):
        return np.repeat(np.repeat(y, 2, axis=1), 2, axis=2)

    y = np.float64(x)
    z = conv(up(np.maximum(norm(y, "norm1"), 0)), p["conv1"])
    z = conv(np.maximum(norm(z, "norm2"), 0), p["conv2"])
    expected = z + conv(up(y), p["shortcut"])
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x, label), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("features", "halve", "first"), [(3, True, True), (2, True, False), (2, False, False)])
def test_down_block_is_its_equation(features, halve, first):
    block, x = DownBlock(features, halve=halve, first=first, spectral_norm=False), draw(0, 2, 4, 6, 2)
    variables = drawn(block, x)
    p, y = variables["params"], np.float64(x)

    def pool(y):
        return y.reshape(2, 2, 2, 3, 2, -1).mean((2, 4)) if halve else y

    z = conv(y if first else np.maximum(y, 0), p["conv1"])
    z = pool(conv(np.maximum(z, 0), p["conv2"]))
    expected = z + (pool(conv(y, p["shortcut"])) if halve else y)
    assert ("shortcut" in p) == halve
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x), expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_norm_starts_as_the_ordinary_one():
    x, label = draw(0, 6, 2, 2, 3), jnp.asarray([0, 1, 2, 0, 1, 2])
    out = {}
    for classes, args in [(0, ()), (3, (label,))]:
        norm = ConditionalBatchNorm(classes)
        variables = norm.init(jax.random.key(0), x, *args)
        out[classes], _ = norm.apply(variables, x, *args, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(out[3], out[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.mean(out[0], axis=(0, 1, 2)), np.zeros(3), atol=1e-5)


def test_discriminator_sums_over_positions_and_projects():
    image, label = draw(0, 3, 8, 8, 1), jnp.asarray([1, 0, 1])
    module = SNGANDiscriminator(1 / 64, spectral_norm=False, classes=2)
    variables = drawn(module, image, label)
    p = variables["params"]
    score, state = jax.jit(
        lambda v: module.apply(v, image, label, capture_intermediates=True, mutable=["intermediates"])
    )(variables)
    found = state["intermediates"]
    last, embedding = (np.float64(found[path]["__call__"][0]) for path in ("stage4", "embedding"))
    np.testing.assert_allclose(embedding, np.maximum(last, 0).sum((1, 2)), rtol=1e-5)
    rows = np.float64(p["projection"]["embedding"])[np.asarray(label)]
    expected = embedding @ np.float64(p["head"]["kernel"])[:, 0] + np.float64(p["head"]["bias"])
    np.testing.assert_allclose(score, expected + np.sum(embedding * rows, axis=1), rtol=1e-4)


def test_parameters_by_hand_as_published():
    noise = jax.ShapeDtypeStruct((2, 128), jnp.float32)
    image, generator = jax.eval_shape(SNGANGenerator().init_with_output, jax.random.key(0), noise)
    assert image.shape == (2, 32, 32, 3)
    block = 2 * (9 * 256 * 256 + 256) + (256 * 256 + 256) + 2 * 2 * 256
    by_hand = (128 * 4 * 4 * 256 + 4 * 4 * 256) + 3 * block + 2 * 256 + (9 * 256 * 3 + 3)
    assert size(generator["params"]) == by_hand == 4_276_739
    _, discriminator = jax.eval_shape(SNGANDiscriminator().init_with_output, jax.random.key(0), image)
    conv2 = 9 * 128 * 128 + 128
    first = (9 * 3 * 128 + 128) + conv2 + (3 * 128 + 128)
    assert size(discriminator["params"]) == first + (2 * conv2 + 128 * 128 + 128) + 4 * conv2 + 129
    # One vector per kernel is kept, as long as its channels.
    assert size(discriminator["batch_stats"]) == 10 * 128 + 1


@pytest.mark.parametrize(("side", "base", "blocks"), [(32, 4, 3), (28, 7, 2), (16, 4, 2), (12, 6, 1), (8, 4, 1)])
def test_sizes_and_features_by_path(side, base, blocks):
    def run(module, *inputs):
        out, state = jax.eval_shape(
            lambda key, *a: module.init_with_output(
                key, *a, capture_intermediates=True, mutable=["params", "batch_stats", "intermediates"]
            ),
            jax.random.key(0),
            *inputs,
        )
        found = state["intermediates"]
        return out, {path: found[path]["__call__"][0].shape for path in found if "__call__" in found[path]}

    image, found = run(SNGANGenerator(side, 1, 1 / 64), draw(0, 2, 5))
    assert image.shape == (2, side, side, 1)
    sides = [base * 2**i for i in range(1, blocks + 1)]
    expected = {f"stage{i}": (2, s, s, 4) for i, s in enumerate(sides, start=1)} | {"final": (2, side, side, 4)}
    assert expected.items() <= found.items()
    assert f"stage{blocks + 1}" not in found
    score, found = run(SNGANDiscriminator(1 / 64), image)
    assert score.shape == (2,)
    sides = [side // 2, side // 4, side // 4, side // 4]
    expected = {f"stage{i}": (2, s, s, 2) for i, s in enumerate(sides, start=1)}
    assert (expected | {"embedding": (2, 2), "head": (2, 1)}).items() <= found.items()


def test_one_training_step_reaches_every_parameter():
    noise, label = draw(0, 4, 5), jnp.asarray([0, 1, 1, 0])
    generator, discriminator = SNGANGenerator(8, 1, 1 / 64, classes=2), SNGANDiscriminator(1 / 32, classes=2)
    g, d = drawn(generator, noise, label), drawn(discriminator, draw(0, 4, 8, 8, 1), label)

    def loss(params):
        image, g_updates = generator.apply(
            {**g, "params": params["g"]}, noise, label, train=True, mutable=["batch_stats"]
        )
        score, d_updates = discriminator.apply(
            {**d, "params": params["d"]}, image, label, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(score), (image, g_updates, d_updates)

    params = {"g": g["params"], "d": d["params"]}
    gradients, (image, *updates) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert np.abs(image).max() <= 1
    # Batch norm takes out the bias of every convolution of the generator but its last.
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        name = jax.tree_util.keystr(path)
        assert np.abs(leaf).max() > 0 or ("['g']['stage1']" in name and "bias" in name), path
    for old, new in zip((g, d), updates, strict=True):
        changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), old["batch_stats"], new["batch_stats"])
        # The head has one channel: its unit vector is 1 or -1 and may stay.
        assert all(value for path, value in jax.tree_util.tree_leaves_with_path(changed) if "head" not in str(path))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("generator", {"image_size": 4}, "image_size = 4; it accepts a multiple of 4 from 8 on; the nearest is 8$"),
        ("generator", {"image_size": 30}, "image_size = 30; .* the nearest is 28 or 32"),
        ("generator", {"width": -1.0}, "width = -1.0"),
        ("generator", {"classes": -2}, "classes = -2"),
        ("generator", {"channels": 0}, "channels = 0"),
        ("discriminator", {"width": 0.0}, "width = 0.0"),
        ("discriminator", {"classes": -2}, "classes = -2"),
    ],
)
def test_fields_are_checked(name, fields, message):
    with pytest.raises(ValueError, match=f"{name.capitalize()}.{message}"):
        build(f"sngan_{name}", **fields)


@pytest.mark.parametrize(
    ("module", "args", "message"),
    [
        (SNGANGenerator(8, 1), (draw(0, 5),), r"SNGANGenerator got noise of shape \(5,\)"),
        (SNGANGenerator(8, 1, classes=2), (draw(0, 2, 5),), "SNGANGenerator with classes=2 got no label"),
        (SNGANDiscriminator(), (draw(0, 2, 3, 8, 1),), "SNGANDiscriminator got an image batch .* at least 4"),
        (SNGANDiscriminator(), (draw(0, 2, 8, 8, 1), jnp.zeros(2, int)), "classes=0 got a label"),
    ],
)
def test_inputs_are_checked(module: nn.Module, args, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), *args)


def test_half_precision_in_is_half_precision_out():
    label = jnp.zeros(2, int)
    for module, x in [
        (SNGANGenerator(8, 1, 1 / 64, classes=3), draw(0, 2, 5)),
        (SNGANDiscriminator(1 / 64, classes=3), draw(0, 2, 8, 8, 1)),
    ]:
        variables = drawn(module, x, label)
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (variables["params"], x))
        out = jax.eval_shape(lambda p, x, m=module, v=variables: m.apply({**v, "params": p}, x, label), *half)
        assert out.dtype == jnp.bfloat16
