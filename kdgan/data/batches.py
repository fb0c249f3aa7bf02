"""Batches: `gather` and `normalise` for arrays on the device; `batches`, a plain iterator over arrays on the host."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int, UInt8

from kdgan.data import order
from kdgan.data.layout import check_channels_last


def gather(arrays: Mapping[str, Array], indices: Int[Array, "*b"]) -> dict[str, Array]:
    """The examples `indices` of each array `[n, ...]` as `[*b, ...]`: how a small data set on the device is indexed.

    Made for the inside of a compiled step, where no error can be raised: an index out of range (`order.indices` gives
    none) takes the nearest example.
    """
    return {name: array.at[indices].get(mode="clip") for name, array in arrays.items()}


def normalise(
    image: UInt8[Array | np.ndarray, "*b h w c"] | Float[Array | np.ndarray, "*b h w c"],
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> Float32[Array | np.ndarray, "*b h w c"]:
    """(x / 255 − mean) / std for uint8 images, (x − mean) / std for floating point ones, which lie in [0, 1] already.

    Augmentation belongs between the two: `normalise(augment(key, positions, normalise(image)), mean=..., std=...)`.

    Args:
        image: `[..., h, w, c]`; NumPy in gives NumPy out, JAX gives JAX.
        mean: of pixels in [0, 1]: one number, or one a channel.
        std: likewise, positive.

    Raises:
        ValueError: for a mean or std that is neither one number nor one a channel, or a std that is not positive.
    """
    channels = image.shape[-1]
    shift, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    for name, given, value in (("mean", mean, shift), ("std", std, scale)):
        if value.shape not in ((), (1,), (channels,)) or not np.isfinite(value).all():
            raise ValueError(f"{name} must be one number or one for each of {channels} channels, got {given}")
    if (scale <= 0).any():
        raise ValueError(f"std must be positive, got {std}")
    leading = (1,) * (image.ndim - 1)
    pixels = image.astype(np.float32)
    if image.dtype == np.uint8:
        pixels = pixels / np.float32(255)
    return (pixels - shift.reshape(*leading, -1)) / scale.reshape(*leading, -1)


def channel_statistics(image: UInt8[np.ndarray, "n h w c"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]: what `normalise` takes.

    Counted by levels, so exact and in little memory. A channel of one single level gets the std 1.
    """
    levels = np.arange(256) / 255
    means, stds = [], []
    for channel in range(image.shape[-1]):
        share = np.bincount(image[..., channel].reshape(-1), minlength=256) / image[..., channel].size
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (levels - mean) ** 2)) or 1.0)
    return tuple(means), tuple(stds)


def batches(
    images: Any,
    labels: Any,
    *,
    batch_size: int,
    steps: int,
    seed: int = 0,
    stage: int = 0,
    start_step: int = 0,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of arrays in memory for `steps` steps, in the order that a run of this seed and stage has.

    Args:
        images: uint8 or floating point in [0, 1], `[n, h, w, c]`; normalised by `normalise`.
        labels: `[n]` integers, or `[n, k]` probabilities.
        batch_size: examples a step.
        steps: number of batches.
        seed: seed of the order.
        stage: see `order.indices`.
        start_step: the first step, to go on where a training stopped.
        mean: see `normalise`.
        std: see `normalise`.

    Yields:
        {"image": float32 `[b, h, w, c]`, "label": int32 `[b]` or float32 `[b, k]`}.

    Raises:
        ValueError: at the call, for other ranks, images that look like channels first, lengths that differ, and as
            `order.indices` and `normalise`.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4:
        raise ValueError(f"images must be [n, h, w, c], got shape {list(images.shape)}")
    check_channels_last("images", images.shape)
    if labels.ndim not in (1, 2) or len(images) != len(labels):
        raise ValueError(
            f"labels must be [n] or [n, k], one an image, got shape {list(labels.shape)} for {len(images)} images"
        )
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    order.indices(
        len(images), batch_size, seed=seed, stage=stage, step=start_step
    )  # raises here, not at the first batch
    normalise(images[:1], mean=mean, std=std)
    labels = labels.astype(np.int32 if labels.ndim == 1 else np.float32)

    def iterate() -> Iterator[dict[str, np.ndarray]]:
        for step in range(start_step, start_step + steps):
            chosen = order.indices(len(images), batch_size, seed=seed, stage=stage, step=step)
            yield {"image": normalise(images[chosen], mean=mean, std=std), "label": labels[chosen]}  # type: ignore[dict-item]

    return iterate()
