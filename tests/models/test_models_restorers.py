"""What every restorer keeps: sizes as published, images of any sides, luma, the named feature, dtypes, its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import bicubic, models
from kdgan.metrics import restoration
from kdgan.models import pixels

# Name -> (fields of a small one, scale).
SMALL = {
    "identity": ({}, 1),
    "bicubic": ({"scale": 3}, 3),
    "unshuffle": ({"width": 4, "depth": 3}, 1),
    "unshuffle_x2": ({"width": 4, "depth": 3, "scale": 2}, 2),
    "unshuffle_x3": ({"width": 4, "depth": 2, "scale": 3, "unshuffle": 2}, 3),
    "dncnn": ({"width": 4, "depth": 4}, 1),
    "dncnn_merged": ({"width": 4, "depth": 3, "batch_norm": False}, 1),
    "vdsr": ({"width": 4, "depth": 3, "scale": 4}, 4),
    "espcn": ({"scale": 3, "features": (4, 3)}, 3),
    "fsrcnn": ({"d": 4, "s": 3, "m": 1}, 2),
    "carn_m": ({"scale": 4, "width": 8}, 4),
    "imdn": ({"width": 4, "blocks": 1}, 2),
    "imdn_rtc": ({}, 2),
    "unet": ({"width": 2}, 1),
}
WITHOUT_PARAMETERS = {"identity", "bicubic"}
OF_LUMA = ("unshuffle", "dncnn", "vdsr", "espcn", "fsrcnn", "unet")


def small(name, **more):
    base = name if name in models.MODELS else name.rpartition("_")[0]
    return models.build(base, **SMALL[name][0], **more)


def variables_of(module, shape, dtype=jnp.float32):
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, dtype))


def count(module, shape):
    return sum(leaf.size for leaf in jax.tree.leaves(variables_of(module, shape)["params"]))


@pytest.mark.parametrize(
    ("module", "channels", "published"),
    [
        (models.Unshuffle(), 1, 17_380),
        (models.Unshuffle(scale=2), 1, 16_732),
        (models.DnCNN(batch_norm=False), 1, 555_137),
        (models.VDSR(), 1, 664_704),
        (models.IMDN(), 3, 694_404),
        (models.build("imdn_rtc"), 3, 20_190),
        # Weights of the paper's FSRCNN(56, 12, 4), and its biases and slopes.
        (models.FSRCNN(), 1, 12_464 + 173 + 172),
        # As published, with the heads of all scales and two shifts by the mean: 2 · 12 numbers.
        (models.CARN(3), 3, 414_811 - 24 - 37_120 - 74_240),
    ],
)
def test_parameters_as_published(module, channels, published):
    assert count(module, (1, 16, 16, channels)) == published


@pytest.mark.parametrize("name", SMALL)
def test_images_of_any_sides_become_scale_times_as_large(name):
    module, scale = small(name), SMALL[name][1]
    for sides in [(1, 1), (7, 5)]:
        x = jax.ShapeDtypeStruct((2, *sides, 3), jnp.float32)
        out, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
        assert out.shape == (2, scale * sides[0], scale * sides[1], 3)
        assert bool(variables.get("params")) != (name in WITHOUT_PARAMETERS)


@pytest.mark.parametrize("name", sorted(SMALL.keys() - WITHOUT_PARAMETERS))
def test_half_precision_stays_and_body_is_a_feature(name):
    module = small(name)
    variables = variables_of(module, (1, 8, 8, 1))
    half = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), variables["params"])
    stats = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables.get("batch_stats", {}))
    out, state = jax.eval_shape(
        lambda p, x: module.apply({"params": p, "batch_stats": stats}, x, capture_intermediates=True,
                                  mutable=["intermediates"]),
        half, jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.bfloat16),
    )  # fmt: skip
    assert out.dtype == jnp.bfloat16
    (body,) = state["intermediates"]["body"]["__call__"]
    assert (body.ndim, body.dtype) == (4, jnp.bfloat16)


@pytest.mark.parametrize("name", ["unshuffle_x2", "dncnn", "fsrcnn"])
def test_rgb_is_restored_in_its_luma_alone_and_grey_as_it_is(name):
    rng, scale = np.random.default_rng(0), SMALL[name][1]
    image = jnp.asarray(rng.uniform(size=(1, 6, 5, 3)), jnp.float32)
    y = restoration.luma(image)
    module = small(name, luma=True)
    variables = jax.jit(module.init)(jax.random.key(1), image)
    restored, of_luma = jax.jit(lambda v, image, y: (module.apply(v, image), module.apply(v, y)))(variables, image, y)
    np.testing.assert_allclose(restoration.luma(restored), of_luma, atol=2e-5)
    # Cb and Cr: those of the image enlarged.
    chroma, plain = (pixels.to_ycc(one)[..., 1:] for one in (restored, pixels.enlarged(image, scale)))
    np.testing.assert_allclose(chroma, plain, atol=2e-5)


@pytest.mark.parametrize("name", OF_LUMA)
def test_luma_of_images_of_other_channels_is_refused(name):
    with pytest.raises(ValueError, match="luma = True: images of 1 or 3 channels are accepted, got 2"):
        variables_of(small(name, luma=True), (1, 8, 8, 2))


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"identity"}))
@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 0, 8, 1), (2, 8, 8, 1, 1)])
def test_what_is_no_batch_of_images_is_refused(name, shape):
    with pytest.raises(ValueError, match=r"got an image batch of shape .*\[b, h, w, c\]"):
        variables_of(small(name), shape)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("unshuffle", "depth", 1), ("unshuffle", "unshuffle", 10**6), ("bicubic", "scale", 10**6), ("fsrcnn", "scale", 17),
     ("unshuffle", "scale", 0), ("unshuffle", "unshuffle", 0), ("dncnn", "depth", 1), ("dncnn", "width", 0),
     ("vdsr", "scale", 0), ("bicubic", "scale", 0)],
)  # fmt: skip
def test_fields_are_checked(name, field, value):
    with pytest.raises(ValueError, match=rf"\.{field} = {value!r}; it accepts whole numbers"):
        models.build(name, **{field: value})


def test_pixels_are_shuffled_as_by_hand():
    # One pixel of c·f² = 8 channels: two channels of 2×2, each channel's rows first.
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    shuffled = pixels.pixel_shuffle(x, 2)
    np.testing.assert_array_equal(shuffled[0, :, :, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(shuffled[0, :, :, 1], [[4, 5], [6, 7]])
    y = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 9, 2)))
    np.testing.assert_array_equal(pixels.pixel_shuffle(pixels.pixel_unshuffle(y, 3), 3), y)


@pytest.mark.extra("torch")
def test_pixels_are_shuffled_as_pytorch_does_it():
    import torch

    x = np.random.default_rng(0).normal(size=(2, 4, 5, 18)).astype(np.float32)
    theirs = torch.nn.functional.pixel_shuffle(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), 3)
    np.testing.assert_array_equal(pixels.pixel_shuffle(jnp.asarray(x), 3), theirs.numpy().transpose(0, 2, 3, 1))


def test_odd_sides_are_padded_by_their_edge():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(
        pixels.edge_padded(x, 4)[0, :, :, 0], [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    )
    assert pixels.edge_padded(x, 1) is x


def test_rgb_is_what_its_luma_and_chroma_are_made_of():
    rgb = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 3, 4, 3)), jnp.float32)
    np.testing.assert_allclose(pixels.to_rgb(pixels.to_ycc(rgb)), rgb, atol=2e-6)
    # White and blue of MATLAB's table: (235, 128, 128) and (41, 240, 110).
    known = pixels.to_ycc(jnp.asarray([[[[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]]])) * 255
    np.testing.assert_allclose(known[0, 0], [[235, 128, 128], [40.966, 240, 109.786]], atol=1e-3)


def test_baselines_are_the_image_and_its_enlargement():
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 4, 5, 3)), jnp.float32)
    np.testing.assert_array_equal(models.Identity().apply({}, x), x)
    rows, columns = bicubic.weights(4, 3, enlarge=True), bicubic.weights(5, 3, enlarge=True)
    expected = np.einsum("ih,jw,bhwc->bijc", rows, columns, np.asarray(x, np.float64))
    np.testing.assert_allclose(models.Bicubic(3).apply({}, x), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["unshuffle_x2", "vdsr"])
def test_a_network_that_gives_zeros_is_the_enlargement(name):
    x, module = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 5, 4, 1)), jnp.float32), small(name)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables_of(module, x.shape))
    np.testing.assert_array_equal(module.apply(zeros, x), bicubic.upscale(x, SMALL[name][1]))
