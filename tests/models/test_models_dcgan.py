"""DCGAN against its equations in NumPy and SciPy, its counts by hand, labels, features, and spectral norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from kdgan.models import DCGANDiscriminator, DCGANGenerator, build


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, *inputs):
    """Variables of `module`, biases and statistics too, drawn by numpy; variances and norms are positive."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs), jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.2, leaf.dtype), shapes)
    stats = jax.tree.map(jnp.abs, params.get("batch_stats", {}))
    return {**params, "batch_stats": stats} if stats else params


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def correlate_all(x, kernel):
    """[b, h, w, c] with kernel [k, k, c, d], unpadded, as sums of two-dimensional correlations in float64."""
    x, kernel = np.float64(x), np.float64(kernel)
    channels = range(kernel.shape[2])
    return np.stack(
        [
            np.stack([sum(correlate(im[..., c], kernel[..., c, d], "valid") for c in channels) for im in x])
            for d in range(kernel.shape[3])
        ],
        axis=-1,
    )


def transposed(x, layer, stride):
    """5×5, "SAME": the input spread with zeros, three of them (two without stride) before, two after."""
    b, h, w, c = x.shape
    before = {1: 2, 2: 3}[stride]
    spread = np.zeros((b, stride * (h - 1) + 1 + before + 2, stride * (w - 1) + 1 + before + 2, c))
    spread[:, before:-2:stride, before:-2:stride] = x
    return correlate_all(spread, layer["kernel"]) + np.float64(layer.get("bias", np.zeros(1)))


def normalised(x, layer, stats):
    centred = (x - np.float64(stats["mean"])) / np.sqrt(np.float64(stats["var"]) + 1e-5)
    return centred * np.float64(layer["scale"]) + np.float64(layer["bias"])


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_generator_is_its_equation(norm):
    module, noise = DCGANGenerator(8, 2, width=1 / 64, norm=norm), draw(0, 3, 5)
    variables = drawn(module, noise)
    p, s = variables["params"], variables.get("batch_stats", {})

    def activate(x, i):
        return leaky(normalised(x, p[f"bn{i}"], s[f"bn{i}"]) if norm == "batch" else x, 0.3)

    y = activate((np.float64(noise) @ np.float64(p["dense"]["kernel"])).reshape(3, 2, 2, 4), 1)
    y = activate(transposed(y, p["conv2"], 1), 2)
    y = activate(transposed(y, p["conv3"], 2), 3)
    y = np.tanh(transposed(y, p["head"], 2))
    assert y.shape == (3, 8, 8, 2)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, noise), y, rtol=1e-4, atol=1e-5)
    # A bias stands exactly where no batch norm would take it out again, and never at the dense layer.
    assert {name for name in p if "bias" in p[name] and not name.startswith("bn")} == (
        {"head"} if norm == "batch" else {"conv2", "conv3", "head"}
    )


@pytest.mark.parametrize("side", [(8, 8), (7, 6)])
def test_discriminator_is_its_equation(side):
    module, x = DCGANDiscriminator(1 / 32), draw(0, 2, *side, 1)
    variables = drawn(module, x)
    p, y = variables["params"], np.float64(x)
    for name in ("conv1", "conv2"):
        # "SAME" under stride 2: an even side is padded by one before and two after, an odd one by two.
        pads = [(0, 0), *((1, 2) if n % 2 == 0 else (2, 2) for n in y.shape[1:3]), (0, 0)]
        y = correlate_all(np.pad(y, pads), p[name]["kernel"])[:, ::2, ::2] + np.float64(p[name]["bias"])
        y = leaky(y, 0.2)
    y = y.reshape(2, -1) @ np.float64(p["head"]["kernel"]) + np.float64(p["head"]["bias"])
    np.testing.assert_allclose(jax.jit(module.apply)(variables, x), y[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "channels", "width", "generator", "discriminator"),
    [
        (
            32,
            3,
            1.0,
            100 * 8 * 8 * 256 + 25 * 256 * 128 + 25 * 128 * 64 + (25 * 64 * 3 + 3) + 2 * (256 + 128 + 64),
            (25 * 3 * 64 + 64) + (25 * 64 * 128 + 128) + (8 * 8 * 128 + 1),
        ),
        (
            28,
            1,
            0.25,
            100 * 7 * 7 * 64 + 25 * 64 * 32 + 25 * 32 * 16 + (25 * 16 + 1) + 2 * (64 + 32 + 16),
            (25 * 16 + 16) + (25 * 16 * 32 + 32) + (7 * 7 * 32 + 1),
        ),
    ],
)
def test_parameters_by_hand(side, channels, width, generator, discriminator):
    g, d = DCGANGenerator(side, channels, width), DCGANDiscriminator(width)
    noise = jax.ShapeDtypeStruct((2, 100), jnp.float32)
    image, variables = jax.eval_shape(g.init_with_output, jax.random.key(0), noise)
    assert image.shape == (2, side, side, channels)
    assert size(variables["params"]) == generator
    score, variables = jax.eval_shape(d.init_with_output, jax.random.key(0), image)
    assert score.shape == (2,)
    assert size(variables["params"]) == discriminator


def features_of(module, *inputs):
    (_, state) = jax.eval_shape(
        lambda key, *a: module.init_with_output(
            key, *a, capture_intermediates=True, mutable=["params", "batch_stats", "intermediates"]
        ),
        jax.random.key(0),
        *inputs,
    )
    found = state["intermediates"]
    return {path: found[path]["__call__"][0].shape for path in found if "__call__" in found[path]}


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_features_by_path(spectral_norm):
    generator = features_of(DCGANGenerator(28, 1, 0.25), draw(0, 2, 5))
    expected = {"stage1": (2, 7, 7, 64), "stage2": (2, 7, 7, 32), "stage3": (2, 14, 14, 16)}
    assert expected.items() <= generator.items()
    discriminator = features_of(DCGANDiscriminator(0.25, spectral_norm=spectral_norm), draw(0, 2, 28, 28, 1))
    expected = {"stage1": (2, 14, 14, 16), "stage2": (2, 7, 7, 32), "embedding": (2, 1568), "head": (2, 1)}
    assert expected.items() <= discriminator.items()


def test_generator_puts_the_labels_embedding_beside_the_noise():
    noise, label = draw(0, 3, 5), jnp.asarray([2, 0, 2])
    module = DCGANGenerator(8, 1, 1 / 64, classes=3)
    variables = drawn(module, noise, label)
    table = variables["params"]["label_embedding"]["embedding"]
    assert table.shape == (3, 3)
    rest = {name: p for name, p in variables["params"].items() if name != "label_embedding"}
    wider = jnp.concatenate([noise, table[label]], axis=1)
    expected = jax.jit(DCGANGenerator(8, 1, 1 / 64).apply)({**variables, "params": rest}, wider)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, noise, label), expected, rtol=1e-5)
    # More classes than noise has values: the embedding is no wider than the noise.
    shapes = jax.eval_shape(DCGANGenerator(8, 1, 1 / 64, classes=9).init, jax.random.key(0), noise, label)
    assert shapes["params"]["label_embedding"]["embedding"].shape == (9, 5)


def test_discriminator_adds_the_projection():
    image, label = draw(0, 3, 8, 8, 1), jnp.asarray([2, 0, 2])
    module = DCGANDiscriminator(1 / 32, classes=3)
    variables = drawn(module, image, label)
    rest = {name: p for name, p in variables["params"].items() if name != "projection"}
    plain, state = DCGANDiscriminator(1 / 32).apply(
        {"params": rest}, image, capture_intermediates=True, mutable=["intermediates"]
    )
    embedding = np.float64(state["intermediates"]["embedding"]["__call__"][0])
    vectors = np.float64(variables["params"]["projection"]["embedding"])
    expected = plain + np.einsum("bd,bd->b", embedding, vectors[np.asarray(label)])
    np.testing.assert_allclose(module.apply(variables, image, label), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "label", "message"),
    [
        (DCGANGenerator(8, 1), jnp.zeros(2, int), r"classes=0 got a label of shape \(2,\); it accepts none"),
        (DCGANGenerator(8, 1, classes=3), None, r"classes=3 got no label; it accepts whole numbers \[b\] below 3"),
        (DCGANGenerator(8, 1, classes=3), jnp.zeros(3, int), r"a label of shape \(3,\) .* for a batch of 2"),
        (DCGANGenerator(8, 1, classes=3), jnp.zeros((2, 3), int), r"a label of shape \(2, 3\)"),
        (DCGANDiscriminator(), jnp.zeros(2, int), "DCGANDiscriminator with classes=0 got a label"),
        (DCGANDiscriminator(classes=3), None, "DCGANDiscriminator with classes=3 got no label"),
    ],
)
def test_labels_are_given_exactly_where_there_are_classes(module, label, message):
    x = draw(0, 2, 5) if isinstance(module, DCGANGenerator) else draw(0, 2, 8, 8, 1)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), x, label)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "generator",
            {"image_size": 30},
            "image_size = 30; it accepts a multiple of 4 from 4 on; the nearest is 28 or 32",
        ),
        ("generator", {"image_size": 3}, "image_size = 3; .* the nearest is 4$"),
        ("generator", {"norm": "layer"}, "norm = 'layer'; it accepts 'batch' or 'none'"),
        ("generator", {"width": 0.0}, "width = 0.0; it accepts a factor above 0"),
        ("generator", {"channels": 0}, "channels = 0; it accepts"),
        ("generator", {"classes": -1}, "classes = -1; it accepts 0"),
        ("discriminator", {"width": -1.0}, "width = -1.0"),
        ("discriminator", {"dropout": 1.0}, "dropout = 1.0"),
        ("discriminator", {"classes": -1}, "classes = -1"),
    ],
)
def test_fields_are_checked(name, fields, message):
    with pytest.raises(ValueError, match=f"{name.capitalize()}.{message}"):
        build(f"dcgan_{name}", **fields)


def test_noise_and_images_are_checked():
    for shape in [(5,), (2, 0), (2, 3, 4)]:
        with pytest.raises(ValueError, match=r"DCGANGenerator got noise of shape .* it accepts \[b, d\]"):
            jax.eval_shape(DCGANGenerator(8, 1).init, jax.random.key(0), jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"DCGANDiscriminator got an image batch of shape \(8, 8, 1\)"):
        jax.eval_shape(DCGANDiscriminator().init, jax.random.key(0), jnp.zeros((8, 8, 1)))


def test_narrowest_network_has_one_channel():
    shapes = jax.eval_shape(DCGANGenerator(8, 1, 1e-3).init, jax.random.key(0), draw(0, 2, 5))
    assert shapes["params"]["conv3"]["kernel"].shape == (5, 5, 1, 1)


def test_batch_statistics_are_averaged_over_devices():
    noise, module = draw(0, 4, 5), DCGANGenerator(8, 1, 1 / 64, axis_name="batch")
    variables = drawn(DCGANGenerator(8, 1, 1 / 64), noise)

    def run(module, noise):
        return module.apply(variables, noise, train=True, mutable=["batch_stats"])

    image, updates = jax.jit(lambda n: run(DCGANGenerator(8, 1, 1 / 64), n))(noise)
    on_two = jax.vmap(lambda n: run(module, n), axis_name="batch", out_axes=(0, None))
    halves, shared = jax.jit(on_two)(noise.reshape(2, 2, 5))
    np.testing.assert_allclose(halves.reshape(image.shape), image, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), shared, updates)


def test_dropout_draws_in_training_only():
    image, module = draw(0, 3, 8, 8, 1), DCGANDiscriminator(1 / 16, dropout=0.5)
    variables = drawn(module, image)
    run = jax.jit(
        lambda key, train: module.apply(variables, image, train=train, rngs={"dropout": key}), static_argnums=1
    )
    keys = jax.random.split(jax.random.key(0))
    assert not np.array_equal(run(keys[0], True), run(keys[1], True))
    np.testing.assert_array_equal(run(keys[0], False), run(keys[1], False))


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_half_precision_in_is_half_precision_out(spectral_norm):
    label = jnp.zeros(2, int)
    for module, x in [
        (DCGANGenerator(8, 1, 1 / 16, classes=3), draw(0, 2, 5)),
        (DCGANDiscriminator(1 / 16, classes=3, spectral_norm=spectral_norm), draw(0, 2, 8, 8, 1)),
    ]:
        variables = drawn(module, x, label)
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (variables["params"], x))
        out, state = jax.eval_shape(
            lambda p, x, m=module, v=variables: m.apply(
                {**v, "params": p}, x, label, capture_intermediates=True, mutable=["intermediates"]
            ),
            *half,
        )
        assert out.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(state["intermediates"])} == {jnp.dtype(jnp.bfloat16)}
