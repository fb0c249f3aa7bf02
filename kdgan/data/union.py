"""Several data sets of images with classes as one, in one label space: the classes of the second come after the first's.

config.data.name = "kdgan.data.union.load"
config.data.args = dict(names=("mnist", "npz:~/letters.npz"))     # classes 0 to 9, then 10 to 35

With `config.stages.x.data.classes` a stage then takes one of them, or both.
"""

from collections.abc import Sequence

import numpy as np

from kdgan.data.arrays import from_arrays
from kdgan.data.dataset import Dataset
from kdgan.data.sources import load as load_one


def load(split: str, *, names: Sequence[str], data_dir: str | None = None, transposed: Sequence[int] = ()) -> Dataset:
    """The examples of all sets, one after the other, in memory.

    Args:
        split: of each of them, as it takes it: "train[:50%]".
        names: two sets or more, as `kdgan.data.load` takes them, of images of one shape and classes.
        data_dir: the folder of prepared data sets.
        transposed: places in `names`, from 0, of sets whose images' rows and columns are exchanged: TFDS's EMNIST has them
            so.

    Returns:
        Fields image uint8 `[n, h, w, c]` and label. Class c of a set has the number c + (classes of those before), and its
        own name, "2/a" where an earlier set has a class "a".

    Raises:
        ValueError: fewer than two sets, one without images or classes, images of several shapes, or a place that there is
            not; and as `kdgan.data.load`.
    """
    if isinstance(names, str) or len(names) < 2:
        raise ValueError(f"names = {names!r}: two data sets or more are accepted")
    if wrong := [place for place in transposed if place not in range(len(names))]:
        raise ValueError(f"transposed = {tuple(transposed)}: there is no set {wrong[0]}; they count from 0")
    sets = [load_one(name, split, data_dir=data_dir).decode() for name in names]
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    called: list[str] = []
    for place, (name, dataset) in enumerate(zip(names, sets, strict=True)):
        if dataset.image is None or not dataset.has_labels or dataset.fields["label"].kind != "class":
            raise ValueError(
                f"names: {name!r} has the fields {', '.join(dataset.fields)}; images and classes are accepted"
            )
        image = dataset.image.swapaxes(1, 2) if place in transposed else dataset.image
        if images and image.shape[1:] != images[0].shape[1:]:
            raise ValueError(
                f"names: images of {name!r} are {list(image.shape[1:])}, of {names[0]!r} {list(images[0].shape[1:])}"
            )
        labels.append(dataset.label.astype(np.int64) + len(called))
        called += [f"{place + 1}/{one}" if one in called else one for one in dataset.class_names]
        images.append(image)
    return from_arrays(np.concatenate(images), np.concatenate(labels), class_names=called, name=" + ".join(names))
