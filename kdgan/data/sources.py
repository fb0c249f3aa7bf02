"""`load`: a data set by name: the shipped ones, any prepared TFDS set, a folder, a file, or a function of one's own."""

import dataclasses
import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.data.dataset import Dataset
from kdgan.data.errors import ArgumentError
from kdgan.data.shaping import check_shape, shaped

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def load(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    image_key: str = "image",
    label_key: str = "label",
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    on_bad_image: str = "refuse",
    memory_limit: int = 2**31,
    fields: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    args: Mapping[str, Any] | None = None,
    may_lack: Sequence[str] = (),
) -> Dataset:
    """One split of a data set.

    `name` is one of
    - "digits": the UCI digits that scikit-learn ships, splits "train" (1,297) and "test" (500, by other writers).
      Nothing is downloaded; the first call prepares them in 1.5 s;
    - a TFDS name as `tfds.builder` takes it, "mnist", "cifar10:3.0.2", "emnist/letters", prepared in ArrayRecord
      format. Reading needs no TensorFlow;
    - "folder:/path": a folder of images, see `kdgan.data.folder`;
    - "npz:/path": a file of arrays, or two with a comma between them, see `kdgan.data.npz`;
    - "skimage:photographs", fifteen photographs that scikit-image ships, see `kdgan.data.photographs`;
    - "sklearn:wine", or another table that scikit-learn ships, see `kdgan.data.shipped`;
    - a dotted path, "my_project.data.load", to a function `split -> Dataset`; `kdgan.data.from_fields` makes one of arrays.

    Prepared data are read from `data_dir`, else $KDGAN_DATA_DIR, else TFDS's own default (~/tensorflow_datasets). kdgan
    writes nothing there but the digits, and those only into a `data_dir` that is given; otherwise, and where that is
    read-only, they go to the user's cache (`kdgan.data.cache`), as do decoded images that took longer than a second.

    Args:
        name: see above.
        split: TFDS's split syntax: "train", "train[:80%]", "train[1000:]", "train[:10]+test".
        data_dir: the folder of prepared data sets.
        image_key: the feature that holds the image, uint8 `[h, w, c]`.
        label_key: the feature that holds the label, an integer scalar.
        size: (h, w), or one number for a square, to which images are scaled (in proportion, centre cropped); needed where
            they differ in size.
        channels: 1 or 3, to which images are converted; without it what the data set has.
        num_classes: number of classes, where the data set itself does not say it; without it there the labels must be
            0..k-1, each with an example.
        class_names: the classes in the order in which they are numbered: those of the training split, for a test split
            that may lack some.
        on_bad_image: for folders: "refuse" or "skip" images that cannot be read, and empty classes.
        memory_limit: bytes of decoded images up to which they are kept in memory; 0 always leaves them on disk.
        fields: field -> the feature of a TFDS set, or the array of a file, that holds it: {"image": "photo", "text":
            "tokens", "label": "class"}; or, of pairs of images, the sub-folder of a folder. Without it those of `image_key`
            and `label_key`, or all arrays of the file.
        kinds: field -> kind, where its look says another; see `from_fields`.
        args: keyword arguments of the function that a dotted path names.
        may_lack: of pairs in a folder the fields whose sub-folder this split need not have.

    Raises:
        ValueError: for a data set that is not known or not prepared (with how to prepare it), or prepared in another
            format; a split that does not parse or exist; a missing feature (with those there are); a feature that is
            no image or label; a label out of range; a class without an example where nothing says how many there are.
            Where the message names an argument it is an `ArgumentError`.
    """
    if on_bad_image not in ("refuse", "skip"):
        raise ArgumentError(f"{{on_bad_image}} must be 'refuse' or 'skip', got {on_bad_image!r}")
    pair = check_shape(size, channels, num_classes)
    scheme, _, path = name.partition(":")
    dotted = _DOTTED.fullmatch(name) is not None
    for argument, given, served in (
        ("fields", fields, not dotted and scheme not in ("sklearn", "skimage")),
        ("kinds", kinds, not dotted and scheme not in ("folder", "sklearn", "skimage")),
        ("args", args, dotted),
    ):
        if given and not served:
            raise ArgumentError(f"{{{argument}}} = {dict(given)} says nothing of {{name}} = {name!r}; leave it out")
    for field, source in (fields or {}).items():
        if not isinstance(source, str):
            raise ArgumentError(f"{{fields}}.{field} = {source!r}: a name is accepted")
    if scheme == "folder":
        from kdgan.data.folder import read_folder
        from kdgan.data.folder_pairs import read_pairs

        path = path or os.fspath(data_dir or "")
        if not path:
            raise ArgumentError("data set 'folder' needs its path: {name}='folder:/path', or {data_dir}")
        if fields:
            return read_pairs(
                path, split, fields, size=pair, channels=channels, on_bad_image=on_bad_image, memory_limit=memory_limit,
                may_lack=may_lack,
            )  # fmt: skip
        return read_folder(
            path, split, size=pair, channels=channels, num_classes=num_classes, class_names=class_names,
            on_bad_image=on_bad_image, memory_limit=memory_limit,
        )  # fmt: skip
    if scheme == "npz":
        from kdgan.data.npz import read_npz

        if not path:
            raise ArgumentError("data set 'npz' needs its file: {name}='npz:/path', or 'npz:/train.npz,/test.npz'")
        dataset = read_npz(path, split, fields=fields, kinds=kinds, num_classes=num_classes, class_names=class_names)
        return shaped(dataset, size=pair, channels=channels)
    if scheme == "sklearn":
        from kdgan.data.shipped import read_shipped

        return shaped(read_shipped(path, split), size=pair, channels=channels, num_classes=num_classes)
    if scheme == "skimage":
        from kdgan.data.photographs import read_photographs

        return shaped(read_photographs(path, split, channels=channels), size=pair, num_classes=num_classes)
    if dotted:
        return shaped(_called(name, split, args or {}), size=pair, channels=channels, num_classes=num_classes)
    from kdgan.data.tfds import read_tfds

    return read_tfds(
        name, split, data_dir=data_dir, keys=(image_key, label_key), fields=fields or {}, kinds=kinds or {}, size=pair,
        channels=channels, num_classes=len(class_names) if class_names else num_classes, memory_limit=memory_limit,
    )  # fmt: skip


def _called(path: str, split: str, args: Mapping[str, Any]) -> Dataset:
    """What the function of a dotted path gives for a split. Whatever it raises is an error of one line."""
    module, _, attribute = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"{{name}} = {path!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ArgumentError(f"{{name}} = {path!r} is no function; a function of a split's name is accepted")
    try:
        inspect.signature(function).bind(split, **args)
    except TypeError as error:
        raise ArgumentError(
            f"{{name}} = {path!r}, called with {split!r} and {{args}} = {dict(args)}: {error}"
        ) from error
    try:
        dataset = function(split, **args)
    except ValueError:
        raise  # it names what is wrong with the data
    except Exception as error:  # whatever a function of the user's own raises
        said = " ".join(str(error).split())
        raise ArgumentError(f"{{name}} = {path!r}, called with {split!r}: {type(error).__name__}: {said}") from error
    if not isinstance(dataset, Dataset):
        raise ArgumentError(
            f"{{name}} = {path!r} gave a {type(dataset).__name__} for split {split!r}; a kdgan.data.Dataset is accepted, as"
            " kdgan.data.from_fields makes one of arrays"
        )
    return dataset if dataset.split else dataclasses.replace(dataset, split=split)
