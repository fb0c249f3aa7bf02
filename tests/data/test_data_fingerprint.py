"""Fingerprints of data sets: equal for equal contents wherever they lie, and different for every kind of change."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from kdgan import data
from kdgan.data import fingerprint as prints
from kdgan.data.fingerprint import differences, fingerprint

LIMIT = {"memory": 2**31, "disk": 0}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (4, 4), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    return tmp_path / "set"


def of(folder, where="memory"):
    return fingerprint(data.load(f"folder:{folder}", "all", memory_limit=LIMIT[where]))


@pytest.mark.parametrize("where", list(LIMIT))
def test_a_folder_that_moved_is_the_same(folder, where, tmp_path):
    before = of(folder, where)
    assert before["classes"] == {"cat": 6, "dog": 6}
    assert differences(before, of(folder, where), "training set") == []
    shutil.move(folder, tmp_path / "elsewhere")
    assert differences(before, of(tmp_path / "elsewhere", where), "training set") == []


@pytest.mark.parametrize("where", list(LIMIT))
def test_images_that_were_added_are_counted(folder, where):
    before = of(folder, where)
    for number in range(5):
        shutil.copy(folder / "dog" / "0.png", folder / "dog" / f"new{number}.png")
    assert differences(before, of(folder, where), "training set") == [
        "training set: 12 -> 17 examples (class dog 6 -> 11)"
    ]


@pytest.mark.parametrize("where", list(LIMIT))
def test_an_image_of_other_contents_is_noticed(folder, where):
    before = of(folder, where)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "cat" / "3.png")
    (line,) = differences(before, of(folder, where), "test set")
    assert line.startswith("test set: as many examples of each class, with other contents")


def test_in_memory_or_streamed_a_set_is_the_same(folder):
    assert differences(of(folder, "memory"), of(folder, "disk"), "training set") == []


def test_a_streamed_tfds_set_is_known_by_its_files():
    streamed = fingerprint(data.load("digits", "train", memory_limit=0))
    whole = fingerprint(data.load("digits", "train"))
    assert streamed["files"] is not None
    assert whole["contents"] is not None
    assert differences(streamed, whole, "training set") == []


def test_a_single_pixel_or_label_of_a_set_in_memory_is_noticed():
    images = np.random.default_rng(0).integers(0, 256, (5000, 3, 3, 1), np.uint8)
    labels = np.arange(5000) % 4
    known = fingerprint(data.from_arrays(images, labels))
    changed = images.copy()
    changed[777, 1, 1, 0] ^= 1  # not among the sample
    assert len(differences(known, fingerprint(data.from_arrays(changed, labels)), "a")) == 1
    swapped = labels.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert len(differences(known, fingerprint(data.from_arrays(images, swapped)), "a")) == 1


def test_beyond_the_limit_names_sizes_and_a_sample_are_compared(folder, monkeypatch):
    monkeypatch.setattr(prints, "LARGEST", 0)
    before = of(folder, "disk")
    (folder / "cat" / "3.png").rename(folder / "cat" / "other.png")  # the order of the files follows from their names
    assert len(differences(before, of(folder, "disk"), "training set")) == 1
    streamed = data.load(f"folder:{folder}", "all", memory_limit=0)
    darker = dataclasses.replace(streamed, reader=lambda indices: streamed.reader(indices) // 2)
    assert len(differences(fingerprint(streamed), fingerprint(darker), "training set")) == 1


def test_a_set_without_classes_is_known_by_its_images():
    images = np.arange(27, dtype=np.uint8).reshape(3, 3, 3, 1)
    of = lambda images: fingerprint(data.from_fields({"image": images}))
    assert of(images)["classes"] == {}
    assert differences(of(images), of(images.copy()), "training set") == []
    assert len(differences(of(images), of(images[::-1]), "training set")) == 1
