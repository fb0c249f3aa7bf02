"""Images of another set to learn on, without labels, scaled to those that are measured on; patches of two photographs."""

import numpy as np
import pytest

from kdgan.data import borrowed, load, photo_patches

RNG = np.random.default_rng(0)
PATCHES = "kdgan.data.photo_patches.load"


def saved(folder, side, channels=1):
    image = RNG.integers(0, 256, (6, side, side, channels)).astype(np.uint8)
    label = np.arange(6) % 2
    np.savez(folder / "set.npz", image_train=image, label_train=label, image_test=image, label_test=label)
    return f"npz:{folder / 'set.npz'}", image


def test_training_images_have_no_labels_and_the_test_split_is_that_of_the_set_measured_on(tmp_path):
    name, image = saved(tmp_path, 8)
    train = load("kdgan.data.borrowed.load", "train[:50%]", args=dict(images=name, measured="digits"))
    assert list(train.fields) == ["image"]
    np.testing.assert_array_equal(train.image, image[:3])
    test, digits = borrowed.load("test[:10]", images=name, measured="digits"), load("digits", "test[:10]")
    np.testing.assert_array_equal(test.image, digits.image)
    np.testing.assert_array_equal(test.label, digits.label)


def test_images_take_the_size_and_the_channels_of_those_measured_on(tmp_path):
    name, image = saved(tmp_path, 16, channels=3)
    train = borrowed.load("train", images=name, measured="digits")
    assert train.image.shape == (6, 8, 8, 1)
    assert abs(train.image.mean() - image.mean()) < 10


def test_a_set_of_ones_own_is_given_its_arguments():
    train = borrowed.load("train", images=PATCHES, measured="digits", args=dict(count=5))
    np.testing.assert_array_equal(train.image, photo_patches.load("train", count=5).image)


def test_patches_are_the_same_each_time_and_differ_from_split_to_split():
    first, second = (photo_patches.load("train", side=6, count=40) for _ in range(2))
    assert (first.image.shape, first.image.dtype) == ((40, 6, 6, 1), np.uint8)
    assert "label" not in first.fields
    np.testing.assert_array_equal(first.image, second.image)
    assert len(np.unique(first.image.reshape(40, -1), axis=0)) > 30
    assert not np.array_equal(first.image, photo_patches.load("test", side=6, count=40).image)


@pytest.mark.parametrize(
    ("split", "given", "message"),
    [
        ("validation", {}, r"split 'validation' of photo patches: train and test are accepted"),
        ("train", dict(count=0), r"count = 0"),
        ("train", dict(side=108), r"side = 108: 1 to 107 pixels are accepted"),
    ],
)
def test_patches_that_are_refused(split, given, message):
    with pytest.raises(ValueError, match=message):
        photo_patches.load(split, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(images="sklearn:wine", measured="digits"), r"size|image"),
        (dict(images=PATCHES, measured="sklearn:wine"), r"measured = 'sklearn:wine' has no images of one size"),
    ],
)
def test_sets_without_images_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        borrowed.load("train", **given)
