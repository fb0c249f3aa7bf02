"""Views: each example in a fixed number of augmented forms, so that what depends on its images can be computed once.

View v of example i has the place i + v·n in the sequence of all views of a data set of n examples. An augmentation draws
from `KEY` and that place (`augment.make_augment`), whatever the seed, stage and step: one number says which image is meant.
"""

import zlib

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt32

MOST_PLACES = 2**31 - 1  # a place is an int32
KEY: UInt32[np.ndarray, "2"] = np.array([0, zlib.crc32(b"views")], np.uint32)


def places(
    index: Integer[np.ndarray, "*b"], view: Integer[np.ndarray, "*b"] | int, size: int
) -> Int64[np.ndarray, "*b"]:
    """The places of these views of these examples, in a data set of `size` examples."""
    return index + np.asarray(view, np.int64) * size


def in_turn(size: int, batch_size: int, *, views: int, step: int) -> Int32[np.ndarray, " {batch_size}"]:
    """The views of a step's examples (`indices_of_step`): every example's view 0 in the first epoch, 1 in the next, ..."""
    return (_epochs(size, batch_size, step) % views).astype(np.int32)


def drawn(
    rows: Integer[np.ndarray, " n"], batch_size: int, *, views: int, steps: int, size: int
) -> Int64[np.ndarray, " m"]:
    """The places that so many steps over the examples `rows` come by, ascending: all rows in each view that is begun."""
    begun = min(views, int(_epochs(len(rows), batch_size, steps - 1)[-1]) + 1)
    return np.unique(np.concatenate([places(rows, view, size) for view in range(begun)]))


def _epochs(size: int, batch_size: int, step: int) -> np.ndarray:
    return (step * batch_size + np.arange(batch_size, dtype=np.int64)) // size
