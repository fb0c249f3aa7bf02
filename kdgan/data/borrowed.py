"""Images of another data set to learn on, where those that a teacher learned on are not to be had.

config.stages.x.data = dict(name="kdgan.data.borrowed.load", args=dict(images="folder:~/photographs", measured="digits"))
"""

from collections.abc import Mapping
from typing import Any

from kdgan.data.dataset import Dataset
from kdgan.data.slices import parse
from kdgan.data.sources import load as load_one


def load(
    split: str, *, images: str, measured: str, args: Mapping[str, Any] | None = None, data_dir: str | None = None
) -> Dataset:
    """The test split of `measured`, or, for any other split, that of `images`, without its labels.

    Args:
        split: "test", or a slice of it, is of the set that is measured on.
        images: the set to learn on, as `kdgan.data.load` takes it. Its images are scaled and converted to the size and the
            channels of the other's.
        measured: the set that the teacher knows.
        args: keyword arguments of the function, where `images` is the dotted path to one.
        data_dir: the folder of prepared data sets.

    Returns:
        Of `images` the field image alone.

    Raises:
        ValueError: as `kdgan.data.load`; one of the sets has no images, or those of `measured` differ in size.
    """
    of_test = parse(split)[0].name == "test"
    known = load_one(measured, split if of_test else "test[:1]", data_dir=data_dir)  # of which one image gives the size
    if "image" not in known.fields or known.fields["image"].is_ragged:
        raise ValueError(f"measured = {measured!r} has no images of one size")
    if of_test:
        return known
    height, width, channels = (int(side) for side in known.image_shape)
    dataset = load_one(images, split, data_dir=data_dir, size=(height, width), channels=channels, args=args)
    if "image" not in dataset.fields:
        raise ValueError(f"images = {images!r} has the fields {', '.join(dataset.fields)}, and no image")
    dataset = dataset.decode()
    return Dataset(dataset.name, {"image": dataset.fields["image"]}, {"image": dataset.arrays["image"]}, split=split)
