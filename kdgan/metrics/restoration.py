"""How close restored images are to the true ones: PSNR and SSIM per image, by dm-pix, on what a table is to compare.

Super-resolution is compared on the luma, with a border of as many pixels as the scale cropped; denoising and deblurring
on all of the image. Images may be of any size, all of one size in a batch. Sums and their summary as in `classification`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from kdgan.losses.images import total_variation
from kdgan.losses.logits import at_least_float32
from kdgan.metrics.classification import check_counted

WINDOW = 11  # pixels a side, of SSIM's Gaussian window
HIGHEST = 100.0  # dB: equal images would have infinitely many, and no mean

CHANNELS = ("rgb", "luma")


def luma(image: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    """Y of ITU-R BT.601 as MATLAB's `rgb2ycbcr` has it, in [16, 235] / 255 for RGB in [0, 1]."""
    weights = jnp.asarray((65.481, 128.553, 24.966), image.dtype) / 255
    return jnp.sum(image * weights[None, None, None, :], axis=-1, keepdims=True) + 16 / 255


def psnr(image: Float[Array, "b h w c"], other: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio of images in [0, 1]: −10 log10 of the mean squared difference, in dB, at most 100."""
    import dm_pix

    return jnp.minimum(dm_pix.psnr(image, other), HIGHEST)


def ssim(image: Float[Array, "b h w c"], other: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Structural similarity of images in [0, 1] (Wang et al. 2004), averaged over channels; at most 1.

    A Gaussian window of 11×11 pixels and σ 1.5, K₁ 0.01, K₂ 0.03, where the window lies inside the image.

    Raises:
        ValueError: the images are smaller than the window.
    """
    import dm_pix

    if min(image.shape[1:3]) < WINDOW:
        raise ValueError(
            f"SSIM has a window of {WINDOW}×{WINDOW} pixels, and the images are {image.shape[1]}×{image.shape[2]}:"
            " crop less of the border, or leave SSIM out"
        )
    return dm_pix.ssim(image, other, filter_size=WINDOW)


def gradient_error(image: Float[Array, "b h w c"], other: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean |∇x − ∇y| of images in [0, 1], ∇ the differences of neighbours down and to the right; a mean over both.

    Blur and ringing show in it where a flat error, which PSNR counts, does not.

    Raises:
        ValueError: an image of less than 2×2 pixels.
    """
    return total_variation(image - other) / 2


def compared(
    image: Float[Array, "b h w c"], *, channels: str = "rgb", border: int = 0, rounded: bool = False
) -> Float[Array, "b i j d"]:
    """What of images in [0, 1] is compared: clipped to that range, the border cropped, the luma where it is asked for.

    A file holds no pixel outside of [0, 1], and so published values of restored images are of clipped ones. Those of noisy
    inputs are usually not: of Gaussian noise of σ 25 they are 20 log10(255/25) = 20.17 dB, and a little more here.

    Args:
        image: [b, h, w, c]; luma of one channel is that channel as it is.
        channels: "rgb" (all of them, grey too) or "luma".
        border: pixels cropped on every side.
        rounded: whether images are rounded to multiples of 1/255, and their luma is again, as MATLAB does with bytes.

    Raises:
        ValueError: channels or border that do not fit.
    """
    h, w, c = image.shape[1:]
    if channels not in CHANNELS:
        raise ValueError(f"channels is {channels!r}; accepted are {', '.join(CHANNELS)}")
    if channels == "luma" and c not in (1, 3):
        raise ValueError(f"channels is 'luma', which images of 1 or 3 channels have; these have {c}")
    if not 0 <= border < min(h, w) / 2:
        raise ValueError(f"border is {border}; images of {h}×{w} pixels accept 0 to {(min(h, w) - 1) // 2}")
    to_bytes = lambda image: jnp.round(255 * image) / 255 if rounded else image
    image = to_bytes(jnp.clip(at_least_float32(image), 0, 1)[:, border : h - border, border : w - border])
    return to_bytes(luma(image)) if channels == "luma" and c == 3 else image


def sums(
    images: Float[Array, "b h w c"],
    targets: Float[Array, "n i j d"],
    mask: Bool[Array, " b"] | Real[Array, " b"],
    *,
    channels: str = "rgb",
    border: int = 0,
    rounded: bool = False,
    similarity: bool = True,
    edges: bool = False,
) -> dict[str, Array]:
    """Sums over the images of a batch whose mask is not 0; the others may hold anything, NaN included.

    Args:
        images: restored, in [0, 1], [b, h, w, c]; what lies outside is clipped.
        targets: the true ones, of the same shape.
        mask: [b], 0 or False for padding.
        channels: "rgb" or "luma".
        border: pixels cropped on every side.
        rounded: whether both are rounded to 8 bits: see `compared`.
        similarity: whether SSIM is measured, too, for which h and w must be 11 or more.
        edges: whether the error of gradients is.

    Returns:
        "count": images, int32. "psnr": Σ dB. "ssim", "edges": Σ, where they are asked for. float32.

    Raises:
        ValueError: the shapes differ, or channels, border or size do not fit.
    """
    if images.shape != targets.shape:
        raise ValueError(f"images of shape {images.shape} cannot be compared with targets of shape {targets.shape}")
    keep = mask != 0
    images, targets = (compared(x, channels=channels, border=border, rounded=rounded) for x in (images, targets))
    values = {"psnr": psnr(images, targets)}
    if similarity:
        values["ssim"] = ssim(images, targets)
    if edges:
        values["edges"] = gradient_error(images, targets)
    total = {name: jnp.sum(jnp.where(keep, value, 0)) for name, value in values.items()}
    return {"count": jnp.sum(keep, dtype=jnp.int32), **total}


def summarise(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Means over images, from the total of `sums`; where the sums have leading axes (members), so have they.

    Args:
        sums: the total of what `sums` returned.

    Returns:
        "psnr": dB, a mean of the images' values and not the value of a mean error. "ssim", "edges" where they were measured.

    Raises:
        ValueError: no image was counted.
    """
    count = sums["count"]
    check_counted(count)
    return {name: sums[name] / count for name in ("psnr", "ssim", "edges") if name in sums}
