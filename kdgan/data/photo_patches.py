"""Small grey patches of the two photographs that scikit-learn ships: images that have nothing to do with digits."""

import zlib
from importlib import resources

import numpy as np
from PIL import Image

from kdgan.data.dataset import Dataset
from kdgan.data.fields import Field

FILES = {"train": "china.jpg", "test": "flower.jpg"}
SHRUNK = 4  # times, so that a small patch has some structure


def load(split: str, *, side: int = 8, count: int = 1_300) -> Dataset:
    """Patches without labels, at places that are drawn, always the same for a split.

    Args:
        split: "train", of the photograph of a temple, or "test", of a flower.
        side: of a patch, in pixels of the photograph at a quarter of its size, 107×160.
        count: of patches.

    Returns:
        image uint8 `[count, side, side, 1]`.

    Raises:
        ValueError: another split, a side that does not fit, or fewer than one patch.
    """
    if split not in FILES:
        raise ValueError(f"split {split!r} of photo patches: {' and '.join(FILES)} are accepted")
    if count < 1:
        raise ValueError(f"count = {count}: at least 1 patch is accepted")
    path = resources.files("sklearn") / "datasets" / "images" / FILES[split]
    with path.open("rb") as file, Image.open(file) as photograph:
        grey = np.asarray(photograph.convert("L").reduce(SHRUNK))
    if not 0 < side <= min(grey.shape):
        raise ValueError(f"side = {side}: 1 to {min(grey.shape)} pixels are accepted")
    windows = np.lib.stride_tricks.sliding_window_view(grey, (side, side))
    words = np.random.Philox(key=np.array([zlib.crc32(split.encode()), side], np.uint64)).random_raw(2 * count)
    rows, columns = (words.reshape(2, count) % np.array(windows.shape[:2], np.uint64)[:, None]).astype(np.int64)
    image = np.ascontiguousarray(windows[rows, columns])[..., None]
    return Dataset("photo patches", {"image": Field("image", (side, side, 1))}, {"image": image}, split=split)
