"""Data sets as one, in one label space; and pairs of digits, made of the digits of their split alone."""

import numpy as np
import pytest

from kdgan.data import digit_pairs, load, union

RNG = np.random.default_rng(0)


def saved(folder, name, count, side=4, **more):
    image = RNG.integers(0, 256, (2 * count, side, side, 1)).astype(np.uint8)
    arrays = dict(
        image_train=image,
        label_train=np.arange(2 * count) % count,
        image_test=image,
        label_test=np.arange(2 * count) % count,
    )
    np.savez(folder / name, **arrays, **more)
    return f"npz:{folder / name}", image


def test_classes_of_the_second_set_come_after_the_first_and_its_images_are_turned_where_said(tmp_path):
    (first, a), (second, b) = saved(tmp_path, "a.npz", 2), saved(tmp_path, "b.npz", 3)
    both = union.load("train", names=(first, second), transposed=(1,))
    np.testing.assert_array_equal(both.image, np.concatenate([a, b.transpose(0, 2, 1, 3)]))
    assert both.label.tolist() == [0, 1, 0, 1, 2, 3, 4, 2, 3, 4]
    assert both.class_names == ("0", "1", "2/0", "2/1", "2")
    half = union.load("test[:50%]", names=(first, second))
    assert (len(half), half.num_classes) == (5, 5)


def test_by_its_dotted_path_it_is_a_data_set_like_any_other(tmp_path):
    names = [saved(tmp_path, f"{name}.npz", 2)[0] for name in "ab"]
    both = load("kdgan.data.union.load", "test", args=dict(names=names))
    assert (both.num_classes, both.split) == (4, "test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(names=("digits",)), r"names = \('digits',\): two data sets or more are accepted"),
        (dict(names="digits"), "names = 'digits': two data sets"),
        (dict(names=("digits", "digits"), transposed=(2,)), r"transposed = \(2,\): there is no set 2"),
        (dict(names=("digits", "sklearn:wine")), "names: 'sklearn:wine' has the fields "),
    ],
)
def test_what_is_no_union_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        union.load("train", **arguments)


def test_images_of_two_shapes_are_refused(tmp_path):
    other, _ = saved(tmp_path, "a.npz", 2)
    with pytest.raises(ValueError, match=r"images of 'npz:.*' are \[4, 4, 1\], of 'digits' \[8, 8, 1\]"):
        union.load("train", names=("digits", other))


def test_a_pair_is_two_halved_digits_of_its_split():
    split = "train[50%:]"
    pairs, digits = digit_pairs.load(split, count=3), load("digits", split).decode()
    assert (pairs.image.shape, pairs.num_classes) == ((75, 8, 8, 1), 25)
    assert np.bincount(pairs.label).tolist() == [3] * 25
    halves = np.round(digits.image.astype(float).reshape(-1, 8, 4, 2).mean(-1)).astype(np.uint8)
    of = lambda digit: {half.tobytes() for half in halves[digits.label == digit]}
    for image, label in zip(pairs.image[..., 0], pairs.label, strict=True):
        left, right = label // 5, 5 + label % 5
        assert pairs.class_names[label] == f"{left}{right}"
        assert np.ascontiguousarray(image[:, :4]).tobytes() in of(left)
        assert np.ascontiguousarray(image[:, 4:]).tobytes() in of(right)


def test_pairs_are_the_same_each_time_and_others_of_another_split():
    first, again, other = (digit_pairs.load(split, count=2).image for split in ("train", "train", "test"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(ValueError, match="count = 0: at least 1"):
        digit_pairs.load("train", count=0)
    with pytest.raises(ValueError, match=r"split 'train\[:3\]' has no digit 1"):
        digit_pairs.load("train[:3]")
