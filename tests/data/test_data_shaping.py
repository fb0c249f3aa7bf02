"""Loaded sets made into what is asked for: scaled, converted, their classes counted and numbered."""

import numpy as np
import pytest
from PIL import Image

from kdgan.data import from_arrays, load
from kdgan.data.images import convert, fit
from kdgan.data.shaping import numbered_as, shaped

RANDOM = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), np.uint8)
LABEL = np.array([0, 1, 2, 0, 1, 2])


def test_images_are_converted_and_scaled_as_pillow_does():
    dataset = from_arrays(RANDOM, LABEL)
    grey = shaped(dataset, channels=1)
    assert grey.image_shape == (8, 10, 1)
    np.testing.assert_array_equal(grey.image[2, ..., 0], np.asarray(Image.fromarray(RANDOM[2]).convert("L")))
    small = shaped(dataset, size=5, channels=1)
    assert small.image_shape == (5, 5, 1)
    np.testing.assert_array_equal(small.image[3], fit(convert(RANDOM[3], 1), (5, 5)))
    assert shaped(dataset, size=(8, 10), channels=3, num_classes=3) is dataset


def test_a_set_on_disk_is_shaped_as_one_in_memory(tmp_path):
    for number in range(6):
        path = tmp_path / "abc"[LABEL[number]] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(RANDOM[number]).save(path)
    memory, disk = (
        shaped(load(f"folder:{tmp_path}", "all", memory_limit=limit), size=(4, 5), channels=1) for limit in (2**31, 0)
    )
    assert disk.image is None
    np.testing.assert_array_equal(disk.fetch(range(6)), memory.image)
    np.testing.assert_array_equal(disk.keep_apart([1]).take([4, 2]).fetch([1]), memory.image[2:3])


def test_classes_are_counted_as_told():
    five = shaped(from_arrays(RANDOM, LABEL), num_classes=5)
    assert (five.num_classes, five.class_names) == (5, ("0", "1", "2", "3", "4"))
    assert five.notes == ("no example of 2 of 5 classes: 3, 4",)
    assert shaped(five, num_classes=3).notes == ()


@pytest.mark.parametrize(
    ("dataset", "asked", "match"),
    [
        (from_arrays(RANDOM, LABEL), {"num_classes": 2}, r"^num_classes = 2: label .* 2 of 6 out of range 0\.\.1"),
        (
            from_arrays(RANDOM, LABEL, class_names=["a", "b", "c"]),
            {"num_classes": 5},
            "num_classes = 5: data set 'arrays' itself says that it has 3 classes",
        ),
        (from_arrays(np.zeros((6, 8, 8, 5), np.uint8), LABEL), {"channels": 1}, "channels = 1: images .* 5 channels"),
        (from_arrays(np.zeros((6, 8, 8, 5), np.uint8), LABEL), {"size": 4}, "size = 4: images .* 5 channels"),
        (from_arrays(RANDOM, LABEL), {"channels": 2}, r"channels must be 1 \(grey\), 3 \(RGB\)"),
        (from_arrays(RANDOM, LABEL), {"size": 0}, r"size must be \(h, w\)"),
    ],
)
def test_what_cannot_be_is_refused_by_its_argument(dataset, asked, match):
    with pytest.raises(ValueError, match=match):
        shaped(dataset, **asked)


def test_classes_are_numbered_by_number_or_by_name():
    train = from_arrays(RANDOM, LABEL)
    two = numbered_as(from_arrays(RANDOM, LABEL % 2), train)
    assert (two.num_classes, two.label.tolist()) == (3, [0, 1, 0, 0, 1, 0])
    assert two.notes == ("no example of 1 of 3 classes: 2",)
    named = from_arrays(RANDOM, LABEL, class_names=["ant", "bee", "cat"])
    assert numbered_as(from_arrays(RANDOM, LABEL % 2), named).class_names == ("ant", "bee", "cat")
    other = numbered_as(from_arrays(RANDOM, LABEL % 2, class_names=["cat", "ant"]), named)
    assert (other.class_names, other.label.tolist()) == (("ant", "bee", "cat"), [2, 0, 2, 2, 0, 2])
    with pytest.raises(ValueError, match=r"'test' has classes that 'arrays' has not: \['dog'\]"):
        numbered_as(from_arrays(RANDOM, LABEL % 2, class_names=["cat", "dog"], name="test"), named)
    assert numbered_as(train, from_arrays(RANDOM, LABEL % 2)) is train
