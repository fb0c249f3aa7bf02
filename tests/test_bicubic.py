"""Bicubic resampling: by hand, by its definition, and by published PSNR."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from kdgan import bicubic


def test_weights_by_hand():
    # s = 2: the kernel at ±1/4, 3/4, 5/4, 7/4: 111, 29, −9, −3 of 128, halved by the widening.
    inner = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    matrix = bicubic.weights(16, 2)
    np.testing.assert_array_equal(matrix[3, 3:11], inner)
    assert matrix[3].sum() == 1
    assert not matrix[3, [*range(3), *range(11, 16)]].any()
    # The border is mirrored with its outermost pixel repeated: −3, −9, 29 fold onto pixels 2, 1, 0.
    np.testing.assert_array_equal(matrix[0, :5] * 256, [111 + 29, 111 - 9, 29 - 3, -9, -3])
    # s = 3 has its centre on a pixel: 27, 21, 9, 0, −2, −1 of 81.
    np.testing.assert_allclose(
        bicubic.weights(27, 3)[4, 8:19] * 81, [-1, -2, 0, 9, 21, 27, 21, 9, 0, -2, -1], atol=1e-12
    )
    # Enlarged by 2, pixel 2i lies 1/4 left of input pixel i: −9, 111, 29, −3 of 128 from the left.
    np.testing.assert_array_equal(bicubic.weights(8, 2, enlarge=True)[6, 1:5] * 128, [-3 * 1, 29, 111, -9])


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("enlarge", [False, True])
def test_passes_are_their_matrices(scale, enlarge):
    image = np.random.default_rng(scale).normal(size=(2, 15 * scale, scale, 3))
    resample = bicubic.upscale if enlarge else bicubic.downscale
    rows, columns = (bicubic.weights(side, scale, enlarge=enlarge) for side in image.shape[1:3])
    expected = np.einsum("ih,jw,bhwc->bijc", rows, columns, image)
    np.testing.assert_allclose(resample(image, scale), expected, atol=1e-12)
    np.testing.assert_allclose(resample(jnp.asarray(image, jnp.float32), scale), expected, atol=1e-5)


def test_uint8_is_rounded_after_each_pass_halves_upwards():
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 1), np.uint8)
    image[:8, :8] = np.where(np.arange(8) % 2, 255, 0)[None, :, None]  # overshoots are cut
    for scale in (2, 3, 4):
        rows, columns = (bicubic.weights(side, scale) for side in image.shape[:2])
        once = np.clip(np.floor(rows @ image[..., 0] + 0.5), 0, 255)
        twice = np.clip(np.floor(once @ columns.T + 0.5), 0, 255)
        np.testing.assert_array_equal(bicubic.downscale(image, scale)[..., 0], twice)
    # 0 and 1 in halves of the image: sums of 256ths, among them the tie 128/256, which goes up.
    step = (np.arange(16) >= 8).astype(np.uint8)[:, None, None].repeat(2, 1)
    assert bicubic.downscale(step, 2)[:, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    tie = np.zeros((2, 2, 1), np.uint8)
    tie[0] = 1  # a side of 2, reduced by 2: mirrored to the same weight for both pixels, 1/2 each
    assert bicubic.weights(2, 2).tolist() == [[0.5, 0.5]]
    assert bicubic.downscale(tie, 2).tolist() == [[[1]]]


def test_a_plane_stays_a_plane():
    # The kernel reproduces polynomials of degree 1 (away from the border): an enlarged ramp is the ramp at its new centres.
    ramp = np.arange(20.0)[:, None, None].repeat(20, 1)
    centres = (np.arange(60) + 0.5) / 3 - 0.5
    np.testing.assert_allclose(bicubic.upscale(ramp, 3)[9:-9, 30, 0], centres[9:-9], atol=1e-12)


def test_refusals_and_gradient():
    with pytest.raises(ValueError, match="scale 4 does not divide a side of 10 pixels"):
        bicubic.downscale(np.zeros((10, 12, 1), np.uint8), 4)
    with pytest.raises(ValueError, match="whole number of at least 1, got 0"):
        bicubic.upscale(np.zeros((10, 12, 1), np.uint8), 0)
    with pytest.raises(ValueError, match="int32"):
        bicubic.upscale(np.zeros((10, 12, 1), np.int32), 2)
    total = jax.jit(jax.grad(lambda image: bicubic.upscale(image, 2).sum()))(jnp.ones((6, 6, 1)))
    np.testing.assert_allclose(np.sum(total), 4 * 36, rtol=1e-6)


def _luma(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16


@pytest.mark.shared
@pytest.mark.parametrize(("scale", "published"), [(2, 33.68), (3, 30.40), (4, 28.43)])
def test_published_psnr_of_set5(scale, published, shared_data_dir):
    """Bicubic's row of published tables (Kim et al. 2016, VDSR): 33.66, 30.39, 28.42 with rounded luma."""
    folder = shared_data_dir.parent / "raw" / "sr" / "Set5"
    if not folder.is_dir():
        pytest.skip("there is no Set5 beside the data sets")
    measured = []
    for path in sorted(folder.glob("*.png")):
        clean = np.asarray(Image.open(path).convert("RGB"))
        clean = clean[: clean.shape[0] // scale * scale, : clean.shape[1] // scale * scale]
        # As the published networks are given it: luma of the low-resolution file, enlarged unrounded.
        low = _luma(bicubic.downscale(clean, scale))[..., None]
        error = (bicubic.upscale(low, scale)[..., 0] - _luma(clean))[scale:-scale, scale:-scale]
        measured.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert len(measured) == 5
    assert np.mean(measured) == pytest.approx(published, abs=0.01)
