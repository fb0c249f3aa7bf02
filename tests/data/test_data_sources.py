"""Loading by name: the shipped digits, prepared TFDS sets, the cache, and every way of not finding something."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kdgan.data import cache, load
from kdgan.data.errors import ArgumentError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder in which the digits are prepared."""
    folder = tmp_path_factory.mktemp("tfds")
    load("digits", "test", data_dir=folder)
    return folder


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the user's own folders."""
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("KDGAN_DATA_DIR", raising=False)


def multiset(labels, images):
    return sorted((int(label), image.tobytes()) for label, image in zip(labels, images, strict=True))


def test_digits_are_those_of_scikit_learn(data_dir):
    rows = load_digits()
    train, test = load("digits", "train", data_dir=data_dir), load("digits", "test", data_dir=data_dir)
    assert (len(train), len(test), train.num_classes, train.image_shape) == (1_297, 500, 10, (8, 8, 1))
    assert train.class_names == tuple("0123456789")
    # TFDS shuffles on preparation: compare as multisets of (label, pixels).
    for dataset, expected in ((train, slice(0, 1_297)), (test, slice(1_297, None))):
        images = np.round(rows.images[expected] * 255 / 16).astype(np.uint8).reshape(-1, 64)
        assert multiset(dataset.label, dataset.image) == multiset(rows.target[expected], images)
    assert train.image.max() == 255


def test_slices(data_dir):
    train = load("digits", "train", data_dir=data_dir)
    head, tail = (load("digits", split, data_dir=data_dir) for split in ("train[:80%]", "train[80%:]"))
    assert len(head) == round(1_297 * 0.8)
    np.testing.assert_array_equal(np.concatenate([head.image, tail.image]), train.image)
    assert len(load("digits", "train[1000:]+test[:10]", data_dir=data_dir)) == 307


def test_lazy_equals_memory(data_dir):
    memory = load("digits", "test", data_dir=data_dir)
    lazy = load("digits", "test", data_dir=data_dir, memory_limit=500 * 64 - 1)
    assert lazy.image is None
    np.testing.assert_array_equal(lazy.label, memory.label)
    np.testing.assert_array_equal(lazy.fetch([4, 499, 4]), memory.image[[4, 499, 4]])
    np.testing.assert_array_equal(lazy.take([3, 1]).decode().image, memory.image[[3, 1]])
    assert load("digits", "test", data_dir=data_dir, memory_limit=500 * 64).image is not None


def test_size_scales(data_dir):
    small = load("digits", "test[:20]", data_dir=data_dir, size=(4, 4))
    assert small.image.shape == (20, 4, 4, 1)
    # Pillow's triangle filter at half size: the mean brightness stays.
    whole = load("digits", "test[:20]", data_dir=data_dir).image
    np.testing.assert_allclose(small.image.mean(), whole.mean(), rtol=0.15)


def run(code, **environment):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_may_prepare_at_once_and_print_nothing(tmp_path):
    code = (
        "import sys; from kdgan.data import load; d = load('digits', 'train'); "
        "assert len(d) == 1297 and d.label.sum() > 0; assert 'tensorflow' not in sys.modules"
    )
    processes = [run(code, KDGAN_CACHE_DIR=str(tmp_path / "shared")) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=120) == ("", "")
        assert process.returncode == 0
    left = sorted(path.name for path in (tmp_path / "shared" / "tfds" / "digits").iterdir())
    assert left == ["1.0.0"]


def test_whoever_comes_second_uses_what_the_first_prepared(tmp_path, data_dir, monkeypatch):
    from kdgan.data import digits

    original = digits.Digits.download_and_prepare

    def overtaken(self, **options):
        # Another process finishes between our look at the folder and our renaming.
        original(digits.Digits(data_dir=str(tmp_path), file_format="array_record"), **options)
        with pytest.MonkeyPatch.context() as patch:
            exists = type(self.data_path).exists
            patch.setattr(type(self.data_path), "exists", lambda path: path != self.data_path and exists(path))
            original(self, **options)

    monkeypatch.setattr(digits.Digits, "download_and_prepare", overtaken)
    assert digits.prepare(tmp_path).info.splits["train"].num_examples == 1_297
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_where_digits_are_read_and_written(tmp_path, data_dir, monkeypatch):
    load("digits", "test[:1]")
    assert (tmp_path / "cache" / "tfds" / "digits" / "1.0.0").is_dir()
    # A folder of prepared data sets named by the environment is only read.
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("KDGAN_DATA_DIR", str(tmp_path / "named"))
    load("digits", "test[:1]")
    assert not list((tmp_path / "named").iterdir())
    monkeypatch.setenv("KDGAN_DATA_DIR", str(data_dir))
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path / "other"))
    assert len(load("digits", "test")) == 500
    assert not (tmp_path / "other").exists()
    # One that cannot be written to (here: a file stands in the way) does not stop the digits.
    (tmp_path / "file").write_text("")
    assert len(load("digits", "test", data_dir=tmp_path / "file" / "sub")) == 500
    assert (tmp_path / "other" / "tfds").is_dir()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"split": "trian"}, r"split 'trian' of 'digits' cannot be read: .*Splits are train \(1,297\), test \(500\)"),
        ({"split": "train[:"}, r"split 'train\[:' of 'digits' cannot be read.*slices are written train\[:80%\]"),
        ({"split": "train[2000:]"}, r"split 'train\[2000:\]' of 'digits' cannot be read"),
        ({"split": "train[5:5]"}, r"split 'train\[5:5\]' of 'digits' cannot be read"),
        ({"split": ""}, r"split '' of 'digits' cannot be read"),
        ({"image_key": "picture"}, r"no feature 'picture'; there are image \(Tensor\), label \(ClassLabel\)"),
        ({"label_key": "class"}, r"no feature 'class'; there are image"),
        ({"image_key": "label"}, r"image_key = 'label' of 'digits' must be uint8 \[h, w, c\], got ClassLabel"),
        ({"label_key": "image"}, r"label_key = 'image' of 'digits' must be an integer scalar, got Tensor"),
    ],
)
def test_wrong_splits_and_keys(data_dir, arguments, match):
    with pytest.raises(ValueError, match=match) as error:
        load("digits", **({"split": "train", "data_dir": data_dir} | arguments))
    assert "\n" not in str(error.value)


def test_set_that_is_not_prepared(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="data set 'mnist' not found") as error:
        load("mnist", "train", data_dir=tmp_path)
    message = str(error.value)
    assert str(tmp_path) in message
    assert f"tfds build mnist --data_dir={tmp_path} --file_format=array_record" in message
    assert "importlib_resources" not in message
    monkeypatch.setenv("KDGAN_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match=r"cifar10:3\.0\.2.* not found: .*elsewhere"):
        load("cifar10:3.0.2", "train")


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"'mnits' is not known: did you mean .*mnist.*") as error:
        load("mnits", "train", data_dir=tmp_path)
    assert len(str(error.value)) < 400
    with pytest.raises(ValueError, match=r"'digit' is not known: did you mean digits"):
        load("digit", "train", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"'mnist:9\.9\.9' cannot be opened: .*9\.9\.9"):
        load("mnist:9.9.9", "train", data_dir=tmp_path)


def test_reading_is_quiet_and_leaves_the_logger_as_it_was(data_dir):
    from kdgan.data import tfds

    logger = logging.getLogger("absl")
    before = (logger.level, list(logger.filters))
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger.addHandler(handler)
    with tfds._quiet(), tfds._quiet():
        logger.warning("OpenCV is not installed")
        logger.error("a true error")
    logger.warning("after")
    logger.removeHandler(handler)
    assert heard == ["a true error", "after"]
    assert (logger.level, logger.filters) == before
    load("digits", "test", data_dir=data_dir)
    assert (logger.level, logger.filters) == before


def copy_as(data_dir, folder, change):
    """The prepared digits under the name `tiny`, with their dataset_info changed: a set of somebody's own builder."""
    target = folder / "tiny" / "1.0.0"
    target.mkdir(parents=True)
    info = json.loads((data_dir / "digits" / "1.0.0" / "dataset_info.json").read_text()) | {"name": "tiny"}
    info |= change
    for file in (data_dir / "digits" / "1.0.0").iterdir():
        name = file.name.replace("digits-", "tiny-").replace("array_record", info["fileFormat"])
        (target / name).write_bytes(file.read_bytes())
    (target / "dataset_info.json").write_text(json.dumps(info))
    return target


def test_sets_without_code_are_read_from_their_folder(tmp_path, data_dir):
    copy_as(data_dir, tmp_path, {})
    dataset = load("tiny", "test", data_dir=tmp_path)
    assert dataset.name == "tiny"
    np.testing.assert_array_equal(dataset.image, load("digits", "test", data_dir=data_dir).image)


def test_other_formats_are_named(tmp_path, data_dir):
    copy_as(data_dir, tmp_path, {"fileFormat": "tfrecord"})
    with pytest.raises(ValueError, match=r"'tiny' is prepared under .* as tfrecord, not as array_record"):
        load("tiny", "test", data_dir=tmp_path)


def test_labels_out_of_range(tmp_path, data_dir):
    target = copy_as(data_dir, tmp_path, {})
    text = (target / "features.json").read_text()
    assert '"numClasses": "10"' in text
    (target / "features.json").write_text(text.replace('"numClasses": "10"', '"numClasses": "9"'))
    for name in target.glob("label.labels.txt"):
        name.unlink()
    nines = np.flatnonzero(load("digits", "test", data_dir=data_dir).label == 9)
    expected = rf"label of 'tiny': {len(nines)} of 500 out of range 0\.\.8; the first is 9 at index {nines[0]}"
    with pytest.raises(ValueError, match=expected):
        load("tiny", "test", data_dir=tmp_path)


def with_features(data_dir, folder, **features):
    """The digits, whose features are declared otherwise."""
    target = copy_as(data_dir, folder, {})
    declared = json.loads((target / "features.json").read_text())
    declared["featuresDict"]["features"] |= features
    (target / "features.json").write_text(json.dumps(declared))
    for name in target.glob("label.labels.txt"):
        name.unlink()


NUMBER = {
    "pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar",
    "tensor": {"dtype": "int64", "encoding": "none", "shape": {}},
}


def test_number_of_classes_that_a_set_does_not_declare(tmp_path, data_dir):
    with_features(data_dir, tmp_path, label=NUMBER)
    assert load("tiny", "test", data_dir=tmp_path).num_classes == 10
    few = load("tiny", "test[:4]", data_dir=tmp_path, num_classes=12)
    assert (few.num_classes, few.class_names[-1]) == (12, "11")
    assert few.notes[0].startswith("no example of 8 of 12 classes: ")
    with pytest.raises(ArgumentError, match=r"labels of 'tiny' are .* have no example: .* say num_classes="):
        load("tiny", "test[:4]", data_dir=tmp_path)
    # A test split is numbered as the training split.
    train = load("tiny", "train", data_dir=tmp_path)
    assert load("tiny", "test[:4]", data_dir=tmp_path, class_names=train.class_names).num_classes == 10
    with pytest.raises(ValueError, match=r"out of range 0\.\.4"):
        load("tiny", "test", data_dir=tmp_path, num_classes=5)


def test_number_of_classes_that_a_set_declares(data_dir):
    assert load("digits", "test", data_dir=data_dir, num_classes=10).notes == ()
    with pytest.raises(ArgumentError, match=r"num_classes = 12: data set 'digits' itself says that it has 10 classes"):
        load("digits", "test", data_dir=data_dir, num_classes=12)
    assert load("digits", "test[:4]", data_dir=data_dir).notes[0].startswith("no example of 6 of 10 classes: ")


def test_channels_first_features_are_refused(tmp_path, data_dir):
    shape = {"dimensions": ["1", "8", "8"]}
    image = {
        "pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
        "tensor": {"dtype": "uint8", "encoding": "none", "shape": shape},
    }
    with_features(data_dir, tmp_path, image=image)
    with pytest.raises(ValueError, match=r"image of 'tiny': shape \[1, 8, 8\] looks like channels first"):
        load("tiny", "test", data_dir=tmp_path)


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_channels_convert(data_dir, memory_limit):
    grey = load("digits", "test[:9]", data_dir=data_dir)
    colours = load("digits", "test[:9]", data_dir=data_dir, channels=3, memory_limit=memory_limit)
    assert colours.image_shape == (8, 8, 3)
    np.testing.assert_array_equal(colours.fetch(range(9)), np.repeat(grey.image, 3, axis=-1))
    small = load("digits", "test[:9]", data_dir=data_dir, channels=3, size=4)
    assert small.image_shape == (4, 4, 3)


def test_cache_is_read_back_and_survives_damage(tmp_path):
    key, arrays = {"path": "a", "split": "train"}, {"label": np.arange(3), "image": np.ones((3, 2), np.uint8)}
    assert cache.read(key) is None
    cache.write(key, arrays)
    assert cache.read(key | {"split": "test"}) is None
    found = cache.read(key)
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
    (file,) = (tmp_path / "cache" / "decoded").iterdir()
    file.write_bytes(file.read_bytes()[:-40])
    assert cache.read(key) is None
    file.write_bytes(b"")
    assert cache.read(key) is None


def test_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path / "file" / "sub"))
    cache.write({"path": "a"}, {"label": np.arange(3)})
    assert cache.read({"path": "a"}) is None


def test_slow_decoding_is_cached_until_the_data_change(tmp_path, data_dir, monkeypatch):
    import time

    from kdgan.data import tfds

    target = copy_as(data_dir, tmp_path, {})
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    decoded = []
    original = tfds._decode
    monkeypatch.setattr(tfds, "_decode", lambda *a: decoded.append(1) or original(*a))
    first, second = (load("tiny", "test", data_dir=tmp_path) for _ in range(2))
    assert len(decoded) == 1
    np.testing.assert_array_equal(first.image, second.image)
    os.utime(target / "dataset_info.json", ns=(1, 1))
    load("tiny", "test", data_dir=tmp_path)
    assert len(decoded) == 2


@pytest.mark.shared
def test_mnist(shared_data_dir):
    dataset = load("mnist", "test", data_dir=shared_data_dir)
    assert (len(dataset), dataset.num_classes, dataset.image_shape) == (10_000, 10, (28, 28, 1))
    # The published test set: 980 zeros and 1,135 ones; mean pixel 0.1325.
    assert np.bincount(dataset.label)[:2].tolist() == [980, 1_135]
    assert abs(dataset.image.mean() / 255 - 0.1325) < 1e-3
    lazy = load("mnist", "test[:2000]", data_dir=shared_data_dir, memory_limit=0)
    np.testing.assert_array_equal(lazy.fetch([0, 1_999]), dataset.image[[0, 1_999]])


@pytest.mark.shared
def test_a_lazy_tfds_set_streams(shared_data_dir):
    from kdgan.data.stream import stream

    memory = load("mnist", "test[:500]", data_dir=shared_data_dir)
    lazy = load("mnist", "test[:500]", data_dir=shared_data_dir, memory_limit=0)
    for workers in (0, 1):
        for batch in stream(lazy, batch_size=32, steps=3, start_step=20, workers=workers):
            np.testing.assert_array_equal(batch["image"], memory.image[batch["index"]])
            np.testing.assert_array_equal(batch["label"], memory.label[batch["index"]])


@pytest.mark.shared
def test_cifar10_leaves_other_features_alone(shared_data_dir):
    if not (shared_data_dir / "cifar10").is_dir():
        pytest.skip("no cifar10 under KDGAN_DATA_DIR")
    dataset = load("cifar10:3.0.2", "test[:100]", data_dir=shared_data_dir)
    assert dataset.image.shape == (100, 32, 32, 3)
    assert dataset.class_names[:2] == ("airplane", "automobile")
