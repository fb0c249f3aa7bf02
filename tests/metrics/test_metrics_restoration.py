"""PSNR and SSIM against their equations in NumPy and SciPy, and scikit-image where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kdgan.metrics import restoration

RNG = np.random.default_rng(0)
TRUE = RNG.uniform(size=(3, 20, 17, 3)).astype(np.float32)
RESTORED = np.clip(TRUE + np.array([0.02, 0.1, 0.3])[:, None, None, None] * RNG.normal(size=TRUE.shape), 0, 1).astype(
    np.float32
)
jitted = jax.jit(restoration.sums, static_argnames=("channels", "border", "similarity", "rounded"))


def values(restored, true, **settings):
    """Of each image alone."""
    return [
        restoration.summarise(
            jax.device_get(jitted(jnp.asarray(r[None]), jnp.asarray(t[None]), jnp.ones(1), **settings))
        )
        for r, t in zip(restored, true, strict=True)
    ]


def similarity(x, y):
    """Wang et al. 2004, equation 13, with population moments under a Gaussian window, averaged inside of the image."""
    x, y = np.float64(x), np.float64(y)
    blur = lambda z: gaussian_filter(z, 1.5, truncate=5 / 1.5, axes=(0, 1))
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return index[5:-5, 5:-5].mean()


def test_psnr_and_ssim_are_their_equations():
    for found, r, t in zip(values(RESTORED, TRUE), RESTORED, TRUE, strict=True):
        assert found["psnr"] == pytest.approx(-10 * np.log10(np.mean((np.float64(r) - t) ** 2)), rel=1e-5)
        assert found["ssim"] == pytest.approx(similarity(r, t), rel=1e-4)


def test_they_are_scikit_images():
    metrics = pytest.importorskip("skimage.metrics")
    for found, r, t in zip(values(RESTORED, TRUE), np.float64(RESTORED), np.float64(TRUE), strict=True):
        assert found["psnr"] == pytest.approx(metrics.peak_signal_noise_ratio(t, r, data_range=1.0), rel=1e-5)
        settings = dict(data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1)
        assert found["ssim"] == pytest.approx(metrics.structural_similarity(t, r, **settings), rel=1e-4)


def test_equal_images_have_the_highest_values():
    found = values(TRUE, TRUE)
    assert [v["psnr"] for v in found] == [100.0] * 3
    assert [v["ssim"] for v in found] == pytest.approx([1.0] * 3, abs=1e-5)


def test_luma_of_black_white_and_the_primaries():
    """MATLAB's `rgb2ycbcr` of uint8: black 16, white 235, red 81, green 145, blue 41."""
    colours = jnp.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], jnp.float32).reshape(1, 1, 5, 3)
    np.testing.assert_array_equal(np.round(restoration.luma(colours)[0, 0, :, 0] * 255), [16, 235, 81, 145, 41])


def test_luma_and_border_are_what_is_compared():
    def expected(r, t):
        y = [(z * (65.481, 128.553, 24.966)).sum(-1) / 255 for z in (np.float64(r), np.float64(t))]
        return -10 * np.log10(np.mean((y[0] - y[1])[2:-2, 2:-2] ** 2))

    damaged = RESTORED.copy()
    damaged[:, :2], damaged[:, :, -2:] = 0, 1  # the border is not looked at
    found = values(damaged, TRUE, channels="luma", border=2)
    assert [v["psnr"] for v in found] == pytest.approx(
        [expected(r, t) for r, t in zip(RESTORED, TRUE, strict=True)], rel=1e-4
    )


def test_bytes_are_compared_where_images_are_rounded():
    made, true = np.float32([[0.5004, 0.2], [0.9, 0.1]]), np.float32([[0.5, 0.2], [0.9, 0.1]])
    colour = lambda image: np.broadcast_to(image[None, ..., None], (1, 2, 2, 3))
    assert values(colour(made), colour(true), similarity=False)[0]["psnr"] < 100
    assert values(colour(made), colour(true), similarity=False, rounded=True)[0]["psnr"] == 100
    # A difference of one level of red is 0.257 levels of luma: none where luma is rounded, from 50 to 51.
    red = lambda level: np.broadcast_to(np.float32([level, 100, 100]) / 255, (1, 2, 2, 3))
    ys = [np.round(16 + (65.481 * level + (128.553 + 24.966) * 100) / 255) for level in (50, 51)]
    assert ys[0] == ys[1]
    assert values(red(50), red(51), similarity=False, channels="luma")[0]["psnr"] < 100
    assert values(red(50), red(51), similarity=False, channels="luma", rounded=True)[0]["psnr"] == 100


def test_luma_of_grey_images_is_what_they_are():
    assert values(RESTORED[..., :1], TRUE[..., :1], channels="luma") == values(RESTORED[..., :1], TRUE[..., :1])


def test_what_lies_outside_of_the_range_is_clipped():
    beyond = np.where(RESTORED > 0.9, 1.0, RESTORED).astype(np.float32)
    assert values(np.where(RESTORED > 0.9, 1.7, RESTORED).astype(np.float32), TRUE) == values(beyond, TRUE)


def test_means_of_images_over_batches_of_several_sizes_and_padding():
    small = RESTORED[:, :15, :14], TRUE[:, :15, :14]
    singles = values(RESTORED, TRUE) + values(*small)
    padded = [np.concatenate([x, np.full_like(x[:1], np.nan)]) for x in small]
    parts = [
        jitted(jnp.asarray(RESTORED), jnp.asarray(TRUE), jnp.ones(3)),
        jitted(*map(jnp.asarray, padded), jnp.array([1, 1, 1, 0])),
    ]
    found = restoration.summarise(jax.tree.map(np.add, *jax.device_get(parts)))
    for name in ("psnr", "ssim"):
        assert found[name] == pytest.approx(np.mean([v[name] for v in singles]), rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((1, 10, 20, 3), {}, r"window of 11×11 pixels, and the images are 10×20"),
        ((1, 20, 20, 3), {"border": 5}, r"images are 10×10"),
        ((1, 20, 20, 3), {"border": 10}, "border is 10; .* accept 0 to 9"),
        ((1, 20, 20, 2), {"channels": "luma"}, "'luma', which images of 1 or 3 channels have; these have 2"),
        ((1, 20, 20, 3), {"channels": "y"}, "accepted are rgb, luma"),
    ],
)
def test_what_cannot_be_compared(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda x: restoration.sums(x, x, jnp.ones(1), **settings), jax.ShapeDtypeStruct(shape, "float32")
        )


def test_images_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 1\) cannot be compared with targets of shape \(1, 8, 8, 1\)"):
        restoration.sums(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 8, 8, 1)), jnp.ones(1))


def test_small_images_have_a_psnr():
    found = jitted(jnp.full((1, 8, 8, 1), 0.6), jnp.full((1, 8, 8, 1), 0.5), jnp.ones(1), similarity=False)
    assert restoration.summarise(found) == pytest.approx({"psnr": 20.0}, rel=1e-5)
