"""The autoencoder: its counts by hand, its reparameterisation, its two likelihoods, its paths and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from kdgan.game import Method, Move, inspect_method
from kdgan.models import VAE, build


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, *inputs):
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda key: module.init(key, *inputs), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, leaf.dtype), shapes)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("fields", "encoder", "decoder"),
    [
        (
            {},
            (9 * 32 + 32) + (9 * 32 * 64 + 64) + 2 * (7 * 7 * 64 * 16 + 16),
            (16 * 7 * 7 * 64 + 7 * 7 * 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1),
        ),
        (
            {"latent": 5, "width": 0.25, "image_size": 32, "channels": 3},
            (27 * 8 + 8) + (9 * 8 * 16 + 16) + 2 * (8 * 8 * 16 * 5 + 5),
            (5 * 8 * 8 * 16 + 8 * 8 * 16) + (9 * 16 * 8 + 8) + (9 * 8 * 3 + 3),
        ),
    ],
)
def test_parameters_by_hand(fields, encoder, decoder):
    module = VAE(**fields)
    x = jax.ShapeDtypeStruct((2, module.image_size, module.image_size, module.channels), jnp.float32)
    out, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    params = variables["params"]
    assert params.keys() == {"encoder", "decoder"}
    assert (size(params["encoder"]), size(params["decoder"])) == (encoder, decoder)
    assert out["decoded"].shape == x.shape
    assert out["mean"].shape == out["log_variance"].shape == (2, module.latent)


def test_encoder_and_decoder_are_their_equations():
    # Kernels that are zero but for their centre make every convolution a selection of pixels, done by hand here.
    module, image = VAE(latent=3, width=1 / 32, image_size=8), draw(0, 2, 8, 8, 1)
    p = drawn(module, image)["params"]
    centre = {"encoder": ((1, 1), ("conv1", "conv2")), "decoder": ((1, 1), ("conv2", "head"))}
    for half, (at, names) in centre.items():
        for name in names:
            kernel = np.zeros_like(p[half][name]["kernel"])
            kernel[at] = p[half][name]["kernel"][at]
            p[half][name]["kernel"] = jnp.asarray(kernel)
    out = jax.jit(module.apply)({"params": p}, image)
    q = jax.tree.map(np.float64, p)
    y = np.float64(image)
    for name in ("conv1", "conv2"):
        # "SAME" under stride 2 pads an even side by (0, 1): the centre reads the odd pixels.
        y = np.maximum(y[:, 1::2, 1::2] @ q["encoder"][name]["kernel"][1, 1] + q["encoder"][name]["bias"], 0)
    flat = y.reshape(2, -1)
    for name in ("mean", "log_variance"):
        expected = flat @ q["encoder"][name]["kernel"] + q["encoder"][name]["bias"]
        np.testing.assert_allclose(out[name], expected, rtol=1e-4, atol=1e-5)
    z = np.float64(out["mean"])
    y = np.maximum(z @ q["decoder"]["dense"]["kernel"] + q["decoder"]["dense"]["bias"], 0).reshape(2, 2, 2, 2)
    for name, link in (("conv2", lambda v: np.maximum(v, 0)), ("head", lambda v: v)):
        b, h, w, _ = y.shape
        spread = np.zeros((b, 2 * h, 2 * w, y.shape[-1]))
        spread[:, 1::2, 1::2] = y  # pixel i lands on 2·i + 2 − 1
        y = link(spread @ q["decoder"][name]["kernel"][1, 1] + q["decoder"][name]["bias"])
    np.testing.assert_allclose(out["decoded"], y, rtol=1e-4, atol=1e-5)


def test_training_draws_around_the_mean_by_the_standard_deviation():
    module, image = VAE(latent=2, width=1 / 32, image_size=4), draw(0, 1, 4, 4, 1).repeat(4000, axis=0)
    params = drawn(module, image)["params"]
    # A posterior that ignores the image, N((0.5, -1), (1.5², 0.1²)), and a decoder that shows z in its dense layer.
    for name, bias in (("mean", [0.5, -1.0]), ("log_variance", 2 * np.log([1.5, 0.1]))):
        layer = params["encoder"][name]
        params["encoder"][name] = {"kernel": 0 * layer["kernel"], "bias": jnp.asarray(bias, jnp.float32)}
    run = jax.jit(
        lambda key: module.apply(
            {"params": params}, image, train=True, rngs={"posterior": key},
            capture_intermediates=lambda m, _: m.path == ("decoder", "dense"), mutable=["intermediates"],
        )
    )  # fmt: skip
    out, state = run(jax.random.key(0))
    layer = params["decoder"]["dense"]
    shown = np.float64(state["intermediates"]["decoder"]["dense"]["__call__"][0]) - np.float64(layer["bias"])
    z = np.linalg.lstsq(np.float64(layer["kernel"]).T, shown.T, rcond=None)[0].T
    # Four standard errors of 4000 draws.
    np.testing.assert_array_less(np.abs(z.mean(0) - [0.5, -1.0]), 4 * np.array([1.5, 0.1]) / np.sqrt(4000))
    np.testing.assert_allclose(z.std(0), [1.5, 0.1], rtol=4 / np.sqrt(8000))
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / np.sqrt(4000)
    again, _ = run(jax.random.key(1))
    assert not np.array_equal(out["decoded"], again["decoded"])
    np.testing.assert_array_equal(out["mean"], again["mean"])


def test_decode_generate_and_features():
    module, image = VAE(latent=3, width=1 / 32, image_size=8), draw(0, 2, 8, 8, 1)
    variables = drawn(module, image)
    out, state = jax.jit(lambda v: module.apply(v, image, capture_intermediates=True, mutable=["intermediates"]))(
        variables
    )
    # Without training z is the mean.
    decoded = jax.jit(lambda z: module.apply(variables, z, method="decode"))(out["mean"])
    np.testing.assert_allclose(decoded, out["decoded"], rtol=1e-5, atol=1e-6)
    generated = jax.jit(lambda z: module.apply(variables, z, method="generate"))(out["mean"])
    np.testing.assert_allclose(generated, expit(np.float64(decoded)), rtol=1e-5)
    gaussian = VAE(latent=3, width=1 / 32, image_size=8, likelihood="gaussian")
    np.testing.assert_array_equal(
        jax.jit(lambda z: gaussian.apply(variables, z, method="generate"))(out["mean"]), decoded
    )
    found = state["intermediates"]
    shapes = {
        "encoder": {"stage1": (2, 4, 4, 1), "stage2": (2, 2, 2, 2), "embedding": (2, 8), "mean": (2, 3)},
        "decoder": {"stage1": (2, 2, 2, 2), "stage2": (2, 4, 4, 1)},
    }
    for half, expected in shapes.items():
        assert {path: found[half][path]["__call__"][0].shape for path in expected} == expected
    np.testing.assert_array_equal(found["decoder"]["__call__"][0], out["decoded"])


def test_made_by_sampling_it_has_all_its_parameters():
    module, key = VAE(latent=3, width=1 / 32, image_size=8), jax.random.key(0)
    whole = jax.eval_shape(module.init, key, draw(0, 2, 8, 8, 1))
    sampled = jax.eval_shape(lambda key: module.init(key, draw(0, 2, 3), method="generate"), key)
    assert jax.tree.map(jnp.shape, sampled) == jax.tree.map(jnp.shape, whole)


def test_the_engine_trains_it():
    def terms(players, batch, key):
        out = players.student(batch["image"])
        return {"reconstruction": jnp.mean((out["decoded"] - batch["image"]) ** 2, axis=(1, 2, 3))}

    module = VAE(latent=3, width=1 / 32, image_size=8)
    batch = {"image": jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)}
    found = inspect_method(Method(Move("student", terms)), {"student": module}, batch)
    assert found.outputs["student"].keys() == {"mean", "log_variance", "decoded"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent": 0}, "VAE.latent = 0"),
        ({"image_size": 30}, "VAE.image_size = 30; .* 28 or 32"),
        ({"width": 0.0}, "VAE.width = 0.0"),
        ({"scale": 0.0}, "VAE.scale = 0.0; it accepts a standard deviation above 0"),
        ({"likelihood": "poisson"}, "VAE.likelihood = 'poisson'; it accepts 'bernoulli' or 'gaussian'"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        build("vae", **fields)


@pytest.mark.parametrize(
    ("method", "shape", "message"),
    [
        ("__call__", (2, 8, 8), r"VAE got an image batch of shape \(2, 8, 8\)"),
        ("__call__", (2, 8, 4, 1), r"shape \(2, 8, 4, 1\); with image_size=8 and channels=1 it accepts \[b, 8, 8, 1\]"),
        ("encode", (2, 8, 8, 3), r"accepts \[b, 8, 8, 1\]"),
        ("decode", (2, 4), r"VAE got z of shape \(2, 4\); with latent=3 it accepts \[b, 3\]"),
        ("generate", (3,), r"VAE got noise of shape \(3,\)"),
    ],
)
def test_inputs_are_checked(method, shape, message):
    module = VAE(latent=3, image_size=8)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: module.init(key, jnp.zeros(shape), method=method), jax.random.key(0))
