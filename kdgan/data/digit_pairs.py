"""Pairs of UCI digits side by side in one 8×8 image, 25 classes: a target task for what was learned of the digits.

Nothing is downloaded: it is made of the digits that scikit-learn ships.
"""

import zlib

import numpy as np

from kdgan.data.arrays import from_arrays
from kdgan.data.dataset import Dataset
from kdgan.data.sources import load as load_one

LEFT, RIGHT = range(0, 5), range(5, 10)


def load(split: str, *, count: int = 120) -> Dataset:
    """Images of two digits: one of 0 to 4 on the left, one of 5 to 9 on the right, each halved in its width.

    A half is the mean of neighbouring columns of a digit of the split. Which digits stand together is drawn, always the same
    for a split.

    Args:
        split: of "digits", "train[50%:]": pairs are made of its digits alone.
        count: images of each class.

    Returns:
        image uint8 `[25·count, 8, 8, 1]`; label 5·left + (right − 5), named "05" to "49".

    Raises:
        ValueError: fewer than one image of a class, or a digit that the split has no example of.
    """
    if count < 1:
        raise ValueError(f"count = {count}: at least 1 image of each class is accepted")
    digits = load_one("digits", split).decode()
    assert digits.image is not None
    halves = digits.image.reshape(len(digits), 8, 4, 2, 1).astype(np.float64).mean(3)
    rows = [np.flatnonzero(digits.label == digit) for digit in range(10)]
    if missing := [digit for digit in range(10) if not len(rows[digit])]:
        raise ValueError(f"split {split!r} has no digit {missing[0]}, of which pairs are to be made")
    words = np.random.Philox(key=np.array([zlib.crc32(split.encode()), 0], np.uint64))
    draw = lambda digit: rows[digit][words.random_raw(count) % len(rows[digit])]
    images = [np.concatenate([halves[draw(left)], halves[draw(right)]], axis=2) for left in LEFT for right in RIGHT]
    label = np.repeat(np.arange(len(images)), count)
    names = [f"{left}{right}" for left in LEFT for right in RIGHT]
    return from_arrays(np.round(np.concatenate(images)).astype(np.uint8), label, class_names=names, name="digit pairs")
