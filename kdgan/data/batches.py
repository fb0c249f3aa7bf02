"""Batches: which examples a step sees, and what it is handed of them.

The order of examples (`indices_of_step`) is a pure function of (seed, stage, step): nothing is remembered from step to step,
so that a run which starts again at any step sees the batches it would have seen. `gather` and `normalise` are for arrays on
the device, `batches` is a plain iterator over arrays on the host.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int, Int32, UInt8

from kdgan.data.layout import check_channels_last


@functools.lru_cache(maxsize=128)  # a member each; 4 bytes · n: 31 MB in all for 60,000 examples
def _permutation(size: int, seed: int, stage: int, epoch: int) -> np.ndarray:
    # Sorting raw Philox words gives the same order under every NumPy: a bit generator's words are guaranteed never to
    # change, `Generator.permutation` is not. The (key, counter) pair separates all (seed, stage, epoch) exactly.
    generator = np.random.Philox(key=np.array([seed, stage], np.uint64), counter=np.array([0, 0, 0, epoch], np.uint64))
    permutation = np.argsort(generator.random_raw(size), kind="stable").astype(np.int32)
    permutation.setflags(write=False)
    return permutation


def indices_of_step(
    size: int, batch_size: int, *, seed: int, stage: int, step: int | np.integer | Sequence[int] | np.ndarray
) -> Int32[np.ndarray, "*steps {batch_size}"]:
    """The indices of a step's examples, `[batch_size]`, or of several steps' `[k, batch_size]`.

    Epochs are random permutations of `range(size)`, one after the other; step t takes places t·batch_size to
    (t+1)·batch_size of that endless sequence. Batches run on over the end of an epoch, so no example is dropped, every
    batch is full, and `batch_size` may exceed `size`.

    Args:
        size: number of examples, at least 1.
        batch_size: examples a step, over all devices and processes, at least 1.
        seed: the member's seed, at least 0.
        stage: the stage's position in the run, at least 0; stages differ in their order.
        step: the step within the stage, counted from 0, or a sequence of steps.

    Raises:
        ValueError: where a number is below the bound given here.
    """
    for name, value, least in (
        ("size", size, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("stage", stage, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    steps = np.asarray(step, np.int64)
    if steps.size and np.min(steps) < 0:
        raise ValueError(f"step must be at least 0, got {np.min(steps)}")
    result = np.empty((steps.size, batch_size), np.int32)
    for row, first in zip(result, steps.reshape(-1) * batch_size, strict=True):
        filled = 0
        while filled < batch_size:
            epoch, place = divmod(int(first) + filled, size)
            piece = _permutation(size, int(seed), int(stage), epoch)[place : place + batch_size - filled]
            row[filled : filled + len(piece)] = piece
            filled += len(piece)
    return result.reshape(*steps.shape, batch_size)


def gather(arrays: Mapping[str, Array], indices: Int[Array, "*b"]) -> dict[str, Array]:
    """The examples `indices` of each array `[n, ...]` as `[*b, ...]`: how a small data set on the device is indexed.

    Made for the inside of a compiled step, where no error can be raised: an index out of range (`indices_of_step`
    gives none) takes the nearest example.
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
        stage: see `indices_of_step`.
        start_step: the first step, to go on where a training stopped.
        mean: see `normalise`.
        std: see `normalise`.

    Yields:
        {"image": float32 `[b, h, w, c]`, "label": int32 `[b]` or float32 `[b, k]`}.

    Raises:
        ValueError: at the call, for other ranks, images that look like channels first, lengths that differ, and as
            `indices_of_step` and `normalise`.
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
    indices_of_step(
        len(images), batch_size, seed=seed, stage=stage, step=start_step
    )  # raises here, not at the first batch
    normalise(images[:1], mean=mean, std=std)
    labels = labels.astype(np.int32 if labels.ndim == 1 else np.float32)

    def iterate() -> Iterator[dict[str, np.ndarray]]:
        for step in range(start_step, start_step + steps):
            chosen = indices_of_step(len(images), batch_size, seed=seed, stage=stage, step=step)
            yield {"image": normalise(images[chosen], mean=mean, std=std), "label": labels[chosen]}  # type: ignore[dict-item]

    return iterate()
