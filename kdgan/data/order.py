"""The order of examples: which ones a step sees, as a pure function of (seed, stage, step).

Nothing is remembered from step to step, so a run that starts again at any step sees the batches it would have seen.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32


@functools.lru_cache(maxsize=128)  # a member each; 4 bytes · n: 31 MB in all for 60,000 examples
def _permutation(size: int, seed: int, stage: int, epoch: int) -> np.ndarray:
    # Sorting raw Philox words gives the same order under every NumPy: a bit generator's words are guaranteed never to
    # change, `Generator.permutation` is not. The (key, counter) pair separates all (seed, stage, epoch) exactly.
    generator = np.random.Philox(key=np.array([seed, stage], np.uint64), counter=np.array([0, 0, 0, epoch], np.uint64))
    permutation = np.argsort(generator.random_raw(size), kind="stable").astype(np.int32)
    permutation.setflags(write=False)
    return permutation


def indices(
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
