"""Which dimensions of a generator's noise change its images most: those that a page has sliders for."""

from collections.abc import Callable

import numpy as np

REACH = 2.0  # standard deviations to either side


def most_changing(
    images_of: Callable[[np.ndarray], np.ndarray], latent: int, *, count: int = 8, draws: int = 4
) -> tuple[int, ...]:
    """The dimensions by which images change most, the strongest first.

    Args:
      images_of: noise float32 [n, d] -> images [n, ...].
      latent: d.
      count: dimensions at most.
      draws: noises from which each dimension is moved, to −2 and to 2, the others as they are: 2·d·draws images are made.
    """
    base = np.random.Generator(np.random.Philox(key=[latent, 1])).standard_normal((draws, latent)).astype(np.float32)
    changes = np.zeros(latent)
    for dimension in range(latent):
        ends = np.repeat(base, 2, axis=0)
        ends[:, dimension] = np.tile([-REACH, REACH], draws)
        images = np.asarray(images_of(ends), np.float64)
        changes[dimension] = np.abs(images[::2] - images[1::2]).mean()
    return tuple(int(dimension) for dimension in np.argsort(-changes, kind="stable")[:count])
