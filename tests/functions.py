"""Functions on the host that tests name by dotted path, as teachers of the digits."""

import functools

import numpy as np

from kdgan.models import Function


@functools.cache
def nearest():
    """A classifier of scikit-learn, of pixels in [0, 1]."""
    from sklearn.neighbors import KNeighborsClassifier

    from kdgan import data

    train = data.load("digits", "train")
    return KNeighborsClassifier(3).fit(np.asarray(train.image).reshape(len(train.image), -1) / 255.0, train.label)


def predict_proba(images):
    """Probabilities [b, 10] of images [b, 8, 8, 1]."""
    return nearest().predict_proba(images.reshape(len(images), -1))


def neighbours(**fields) -> Function:
    """They, on the host."""
    return Function(predict_proba, host=True, **fields)


def fails() -> Function:
    """A service that answers for zeros and for nothing else."""

    def ask(images):
        if images.any():
            raise ConnectionError("503 Service\nUnavailable")
        return np.zeros((len(images), 10))

    return Function(ask, host=True)


def grey(split, *, side=28):
    """Images of this side in ten classes, of one grey each."""
    from kdgan.data import from_fields

    count = 300 if split == "train" else 100
    label = np.arange(count) % 10
    return from_fields({"image": np.full((count, side, side, 1), 20, np.uint8), "label": label}, name="grey")


def photographs(split, *, side=24):
    """Eight images of two sizes for training, two for testing: smooth, as photographs are."""
    from kdgan.data import from_fields

    rng = np.random.default_rng(split == "test")
    images = np.empty(8 if split == "train" else 2, object)
    for number in range(len(images)):
        coarse = rng.integers(0, 256, (4, 4 + number % 2, 1), np.uint8)
        images[number] = np.repeat(np.repeat(coarse, side // 4, 0), side // 4, 1)
    return from_fields({"image": images}, name="photographs")
