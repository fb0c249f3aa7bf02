"""A prepared TFDS data set, or the digits that scikit-learn ships, read without TensorFlow."""

import contextlib
import dataclasses
import difflib
import io
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdgan.data import arrays as of_arrays
from kdgan.data import cache
from kdgan.data.classes import absent_classes, check_labels, check_num_classes, count_classes
from kdgan.data.dataset import Dataset, of_images
from kdgan.data.errors import ArgumentError
from kdgan.data.fields import IMAGE, LABEL, Field
from kdgan.data.layout import check_channels_last


def read_tfds(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike | None,
    keys: tuple[str, str],
    fields: Mapping[str, str],
    kinds: Mapping[str, str],
    size: tuple[int, int] | None,
    channels: int | None,
    num_classes: int | None,
    memory_limit: int,
) -> Dataset:
    """The arguments are those of `kdgan.data.load`; `keys` are the features of image and label where `fields` is empty."""
    with _quiet():
        builder = _digits(data_dir) if name == "digits" else _tfds_builder(name, data_dir)
        source = _data_source(builder, name, split)
        if not fields:
            return _read(builder, source, name, split, keys, size, channels, num_classes, memory_limit)
        return _read_fields(builder, source, name, split, fields, kinds, size, channels, num_classes, memory_limit)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of TFDS's on the terminal (e.g. that OpenCV would be faster), for as long as we are in TFDS."""

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    # A filter of this call's own, not the logger's level: threads that read at once must not restore each other's.
    logger = logging.getLogger("absl")
    logger.addFilter(errors_only)
    try:
        yield
    finally:
        logger.removeFilter(errors_only)


def _data_dir(data_dir: str | os.PathLike | None) -> str | None:
    folder = data_dir or os.environ.get("KDGAN_DATA_DIR") or None
    return None if folder is None else str(pathlib.Path(folder).expanduser())


def _digits(data_dir: str | os.PathLike | None) -> Any:
    from kdgan.data import digits

    folder = _data_dir(data_dir)
    if folder and (prepared := digits.Digits(data_dir=folder, file_format="array_record")).info.splits:
        return prepared
    if data_dir and folder:
        # A data_dir that is read-only, as mounted ones are, must not stop the smallest data set.
        with contextlib.suppress(OSError):
            return digits.prepare(pathlib.Path(folder))
    return digits.prepare(cache.cache_dir() / "tfds")


def _tfds_builder(name: str, data_dir: str | os.PathLike | None) -> Any:
    import tensorflow_datasets as tfds

    folder = _data_dir(data_dir)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where TensorFlow is missing TFDS prints a banner
            builder = tfds.builder(name, data_dir=folder)
            splits = builder.info.splits
    except tfds.core.registered.DatasetNotFoundError as error:
        # Without the community's sets: their list lies on a server.
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        near = difflib.get_close_matches(name.split("/")[0].split(":")[0], known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"data set {name!r} is not known: {hint}Accepted are 'digits', 'sklearn:wine', a TFDS name, 'folder:/path', "
            "'npz:/path', a dotted path such as 'my_project.data.load', "
            f"or a set prepared by a builder of your own under {folder or 'data_dir'}"
        ) from error
    except ImportError:
        builder, splits = None, {}  # TFDS's code for a set may import what only its preparation needs
    except (AssertionError, ValueError, KeyError, RuntimeError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"data set {name!r} cannot be opened: {lines[0]}") from error
    if not splits:
        where = folder or "~/tensorflow_datasets (TFDS's default; set data_dir or $KDGAN_DATA_DIR for another)"
        option = f" --data_dir={folder}" if folder else ""
        raise ValueError(
            f"data set {name!r} not found: it is not prepared under {where}. Prepare it once (this needs TensorFlow, "
            f"training does not): pip install tensorflow importlib-resources && "
            f"tfds build {name}{option} --file_format=array_record"
        )
    return builder


def _data_source(builder: Any, name: str, split: str) -> Any:
    import tensorflow_datasets as tfds

    formats = {found.value for found in builder.info.available_file_formats()}
    if "array_record" not in formats:
        raise ValueError(
            f"data set {name!r} is prepared under {builder.data_path} as {', '.join(sorted(formats)) or 'unknown'}, "
            f"not as array_record. Prepare it again in another data_dir: "
            f"tfds build {name} --data_dir=... --file_format=array_record"
        )
    try:
        source = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES, file_format="array_record"
        )
        length = len(source)
    except (ValueError, KeyError, AssertionError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(_bad_split(builder, name, split, reason[0])) from error
    if not length:
        raise ValueError(_bad_split(builder, name, split, "it holds no examples"))
    return source


def _bad_split(builder: Any, name: str, split: str, reason: str) -> str:
    splits = ", ".join(f"{key} ({info.num_examples:,})" for key, info in builder.info.splits.items())
    return (
        f"split {split!r} of {name!r} cannot be read: {reason.rstrip('.')}. Splits are {splits}; "
        "slices are written train[:80%], train[1000:], train[:10]+test"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _TfdsReader:
    """Raw records of a TFDS data source, of which only the named features are decoded."""

    source: Any
    features: Any  # tfds FeaturesDict of the features to decode
    image_key: str
    size: tuple[int, int] | None
    channels: int | None

    def records(self, indices: np.ndarray) -> list[dict[str, Any]]:
        with _quiet():
            raw = self.source.__getitems__([int(index) for index in indices])
            return [self.features.deserialize_example_np(record) for record in raw]

    def image(self, record: dict[str, Any]) -> np.ndarray:
        image = record[self.image_key]
        if self.size is None and self.channels is None:
            return image
        from kdgan.data.images import convert, fit

        image = image if self.channels is None else convert(image, self.channels)
        return image if self.size is None else fit(image, self.size)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([self.image(record) for record in self.records(indices)])


def _read(
    builder: Any,
    source: Any,
    name: str,
    split: str,
    keys: tuple[str, str],
    size: tuple[int, int] | None,
    channels: int | None,
    num_classes: int | None,
    memory_limit: int,
) -> Dataset:
    import tensorflow_datasets as tfds

    image_key, label_key = keys
    image_feature, label_feature = (_feature(builder, name, key) for key in keys)
    shape = _image_shape(image_feature, name, image_key, size, channels)
    if tuple(label_feature.shape) or not np.issubdtype(label_feature.np_dtype, np.integer):
        raise ArgumentError(
            f"{{label_key}} = {label_key!r} of {name!r} must be an integer scalar, got {label_feature!r}"
        )

    images = _TfdsReader(source, tfds.features.FeaturesDict({image_key: image_feature}), image_key, size, channels)
    both = tfds.features.FeaturesDict({image_key: image_feature, label_key: label_feature})
    in_memory = len(source) * int(np.prod(shape)) <= memory_limit
    info_file = pathlib.Path(builder.data_path) / "dataset_info.json"
    stamp = info_file.stat().st_mtime_ns if info_file.exists() else 0
    key = {"path": str(builder.data_path), "stamp": stamp, "split": split, "image": image_key if in_memory else None}
    key |= {"label": label_key, "size": size, "length": len(source)}
    key |= {} if channels is None else {"channels": channels}
    arrays = cache.read(key)
    if arrays is None:
        start = time.monotonic()
        if in_memory:
            arrays = _decode(_TfdsReader(source, both, image_key, size, channels), label_key, shape)
        else:
            labels = _TfdsReader(source, tfds.features.FeaturesDict({label_key: label_feature}), image_key, None, None)
            arrays = _decode(labels, label_key, None)
        if time.monotonic() - start > 1.0:
            cache.write(key, arrays)
    names = getattr(label_feature, "names", None) or []
    declared = getattr(label_feature, "num_classes", None) or len(names)
    if declared and num_classes is not None:
        check_num_classes(num_classes, declared, f"data set {name!r}")
    count = declared or num_classes or count_classes(arrays["label"], name)
    check_labels(arrays["label"], count, name)
    class_names = tuple(names) or tuple(str(number) for number in range(count))
    return of_images(
        name,
        arrays.get("image"),
        arrays["label"],
        class_names,
        shape,
        length=len(source),
        reader=None if in_memory else images,
        split=split,
        notes=absent_classes(arrays["label"], class_names),
    )


def _decode(reader: _TfdsReader, label_key: str, shape: tuple[int, int, int] | None) -> dict[str, np.ndarray]:
    length = len(reader.source)
    label = np.empty(length, np.int32)
    image = None if shape is None else np.empty((length, *shape), np.uint8)
    for start in range(0, length, 1024):
        for place, record in enumerate(reader.records(np.arange(start, min(start + 1024, length))), start):
            label[place] = record[label_key]
            if image is not None:
                image[place] = reader.image(record)
    return {"label": label} if image is None else {"label": label, "image": image}


def _feature(builder: Any, name: str, key: str, argument: str = "") -> Any:
    features = builder.info.features
    if key not in features:
        there = ", ".join(f"{found} ({type(features[found]).__name__})" for found in features)
        cure = f"{{{argument}}}" if argument else "{image_key} or {label_key}"
        raise ArgumentError(f"data set {name!r} has no feature {key!r}; there are {there}. Set {cure}")
    return features[key]


def _image_shape(
    feature: Any, name: str, key: str, size: tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    shape = tuple(feature.shape or ())
    if len(shape) != 3 or shape[2] is None or np.dtype(feature.np_dtype) != np.uint8:
        raise ArgumentError(f"{{image_key}} = {key!r} of {name!r} must be uint8 [h, w, c], got {feature!r}")
    check_channels_last(f"image of {name!r}", shape)
    if channels is not None and shape[2] > 4:
        raise ArgumentError(
            f"{{channels}} = {channels}: images of {name!r} have {shape[2]} channels, of no colour known"
        )
    if size is None and None in shape:
        raise ArgumentError(
            f"images of {name!r} differ in size ({feature!r}); give {{size}}=(h, w) to scale them to one"
        )
    return (*(size or shape[:2]), channels or shape[2])


def _read_fields(
    builder: Any,
    source: Any,
    name: str,
    split: str,
    fields: Mapping[str, str],
    kinds: Mapping[str, str],
    size: tuple[int, int] | None,
    channels: int | None,
    num_classes: int | None,
    memory_limit: int,
) -> Dataset:
    """Fields of any features. The field `image` stays on disk where it is larger than the limit."""
    import tensorflow_datasets as tfds

    features = {field: _feature(builder, name, key, "fields") for field, key in fields.items()}
    image = features.get(IMAGE)
    is_image = image is not None and len(image.shape or ()) == 3 and np.dtype(image.np_dtype) == np.uint8
    shape = _image_shape(image, name, fields[IMAGE], size, channels) if is_image else (0, 0, 0)
    streams = is_image and len(source) * int(np.prod(shape)) > memory_limit
    read = {key: features[field] for field, key in fields.items() if not (streams and field == IMAGE)}
    reader = _TfdsReader(source, tfds.features.FeaturesDict(read), fields[IMAGE] if is_image else "", size, channels)
    columns: dict[str, list[Any]] = {field: [] for field, key in fields.items() if key in read}
    for start in range(0, len(source), 1024):
        for record in reader.records(np.arange(start, min(start + 1024, len(source)))):
            for field, column in columns.items():
                column.append(reader.image(record) if is_image and field == IMAGE else record[fields[field]])
    names = {field: found for field, feature in features.items() if (found := getattr(feature, "names", None))}
    sizes = {LABEL: num_classes} if num_classes is not None and LABEL in fields and LABEL not in names else {}
    dataset = of_arrays.make(columns, kinds=kinds, names=names, sizes=sizes, name=name) if columns else None
    only_images = tfds.features.FeaturesDict({fields[IMAGE]: image}) if streams else None
    images = _TfdsReader(source, only_images, fields[IMAGE], size, channels) if streams else None
    return Dataset(
        name,
        {**({IMAGE: Field("image", shape)} if streams else {}), **(dataset.fields if dataset else {})},
        dataset.arrays if dataset else {},
        reader=images,
        split=split,
        notes=dataset.notes if dataset else (),
        length=len(source),
    )
