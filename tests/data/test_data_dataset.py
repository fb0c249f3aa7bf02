"""Data sets of arrays: what is accepted, what they hand out, what is refused."""

import dataclasses

import numpy as np
import pytest

from kdgan.data import Dataset, from_arrays

IMAGE = np.arange(5 * 2 * 3 * 1, dtype=np.uint8).reshape(5, 2, 3, 1)
LABEL = np.array([0, 2, 1, 2, 0])


def lazy(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, arrays={"label": dataset.label}, reader=lambda indices: IMAGE[indices])


def test_from_arrays_keeps_what_it_is_given():
    dataset = from_arrays(IMAGE, LABEL, class_names=["cat", "dog", "eel"], name="pets")
    assert (dataset.name, len(dataset), dataset.num_classes) == ("pets", 5, 3)
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.image_shape == (2, 3, 1)
    assert dataset.label.dtype == np.int32
    np.testing.assert_array_equal(dataset.image, IMAGE)
    np.testing.assert_array_equal(dataset.label, LABEL)


def test_number_of_classes_and_names_by_default():
    assert from_arrays(IMAGE, LABEL).class_names == ("0", "1", "2")
    assert from_arrays(IMAGE, LABEL, num_classes=5).class_names == ("0", "1", "2", "3", "4")
    assert from_arrays(IMAGE, LABEL, 4, ["w", "x", "y", "z"]).num_classes == 4


def test_floats_in_the_unit_interval_become_256_levels():
    dataset = from_arrays((IMAGE / 255).astype(np.float32), LABEL)
    assert dataset.image.dtype == np.uint8
    np.testing.assert_array_equal(dataset.image, IMAGE)


@pytest.mark.parametrize("make", [lambda dataset: dataset, lazy], ids=["memory", "lazy"])
def test_fetch_take_and_decode(make):
    dataset = make(from_arrays(IMAGE, LABEL))
    np.testing.assert_array_equal(dataset.fetch([3, 0, 3]), IMAGE[[3, 0, 3]])
    assert dataset.fetch([]).shape == (0, 2, 3, 1)
    part = dataset.take(np.array([4, 1, 2])).take([2, 0])
    assert part.label.tolist() == [1, 0]
    np.testing.assert_array_equal(part.fetch([0, 1]), IMAGE[[2, 4]])
    np.testing.assert_array_equal(dataset.decode(chunk=2).image, IMAGE)
    np.testing.assert_array_equal(part.decode().image, IMAGE[[2, 4]])
    for wrong in ([5], [-1, 0]):
        with pytest.raises(IndexError, match=r"leave .*'s 0\.\.4"):
            dataset.fetch(wrong)


FLOATS = (IMAGE / 255).astype(np.float32)


def with_nan():
    image = FLOATS.copy()
    image[3, 0, 0, 0], image[4, 1, 1, 0] = np.nan, np.inf
    return image


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"image": IMAGE[..., 0]}, r"image must be \[n, h, w, c\], got shape \[5, 2, 3\]; add the channel"),
        ({"image": IMAGE[0, 0]}, r"image must be \[n, h, w, c\], got shape \[3, 1\]$"),
        ({"image": IMAGE.astype(np.int32)}, r"image must be uint8, or floating point in \[0, 1\], got int32"),
        ({"image": with_nan()}, r"image: 2 of 5 examples hold NaN or inf; the first has index 3"),
        ({"image": FLOATS - 0.5}, r"floating point image must lie in \[0, 1\], got -0\.5\.\."),
        ({"image": IMAGE[:4]}, r"got 4 images and 5 labels"),
        ({"image": IMAGE[:0], "label": LABEL[:0]}, r"image must hold at least one example"),
        ({"label": np.eye(5, dtype=int)}, r"label must be integers \[n\], got int64 \[5, 5\]; for one-hot labels"),
        ({"label": LABEL.astype(float)}, r"label must be integers \[n\], got float64 \[5\]$"),
        ({"num_classes": 2}, r"2 of 5 out of range 0\.\.1; the first is 2 at index 1"),
        ({"label": LABEL - 1}, r"2 of 5 out of range 0\.\.1; the first is -1 at index 0"),
        (
            {"label": LABEL * 2},
            r"labels of 'arrays' are 0, 2, 4; 2 of the classes 0\.\.4 have no example: 1, 3\..* say num_classes=5; .*unique",
        ),
        ({"label": LABEL + 1}, r"are 1, 2, 3; 1 of the classes 0\.\.3 have no example: 0\."),
        (
            {"image": np.zeros((5, 3, 32, 24), np.uint8)},
            r"\[5, 3, 32, 24\] looks like .*image\.transpose\(0, 2, 3, 1\)",
        ),
        ({"image": np.zeros((5, 1, 28, 28), np.uint8)}, r"\[5, 1, 28, 28\] looks like channels first"),
        (
            {"label": np.array([0, 1, 1_000_000_007, 1, 0])},
            r"are 0, 1, 1000000007; 1000000005 of the classes 0\.\.1000000007 have no example: 2, 3, 4, 5, 6, .* Do number",
        ),
        (
            {"label": LABEL.astype(np.int64) * 2**40},
            r"are 0, 1099511627776, 2199023255552; .*no example: 1, 2, 3, 4, 5, \.\.\.",
        ),
        ({"num_classes": 1_000_000_008}, r"num_classes must be at least 1, at most 1,000,000, .*got 1000000008"),
        ({"num_classes": 3, "class_names": ["a", "b"]}, r"class_names must have num_classes = 3 names, got 2"),
    ],
)
def test_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        from_arrays(**({"image": IMAGE, "label": LABEL} | arguments))


@pytest.mark.parametrize(
    "shape",
    [(4, 32, 32), (2, 32, 32), (3, 32, 200), (3, 8, 8), (1, 8, 8), (3, 10, 12), (4, 24, 32), (1, 32, 640), (1, 28, 14)],
)
def test_channels_first_are_refused_with_their_cure(shape):
    with pytest.raises(ValueError, match=r"looks like channels first; .*: image\.transpose\(0, 2, 3, 1\)"):
        from_arrays(np.zeros((5, *shape), np.uint8), LABEL)


@pytest.mark.parametrize(
    "shape",
    [
        (2, 2, 512),
        (4, 8, 16),
        (3, 4, 4),
        (2, 9, 2),
        (3, 3, 1),
        (1, 1, 3),
        (3, 32, 3),
        (1, 128, 9),
        (4, 4, 64),
        (3, 5, 4),
        (32, 32, 3),
        (1, 1, 512),
    ],
)
def test_low_images_are_no_channels_first(shape):
    assert from_arrays(np.zeros((5, *shape), np.uint8), LABEL).image_shape == shape


def test_classes_without_an_example_are_said_where_their_number_is():
    dataset = from_arrays(IMAGE, np.array([10, 20, 37, 20, 10]), num_classes=38)
    assert dataset.num_classes == 38
    assert dataset.notes == ("no example of 35 of 38 classes: 0, 1, 2, 3, 4, ...",)
    assert from_arrays(IMAGE, LABEL).notes == ()
    named = from_arrays(IMAGE, LABEL * 0, class_names=["cat", "dog"])
    assert named.notes == ("no example of 1 of 2 classes: dog",)
