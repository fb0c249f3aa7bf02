"""Files of arrays, and the tables that scikit-learn ships, as data sets."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine

from kdgan.data import load, slices

IMAGE = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 1), np.uint8)
LABEL = np.arange(10) % 3
TEXT = np.random.default_rng(1).integers(0, 30, (10, 6))


def saved(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_arrays_of_a_file_are_fields(tmp_path):
    name = saved(tmp_path / "a.npz", image=IMAGE, text=TEXT, label=LABEL, label_names=["ant", "bee", "cat"])
    dataset = load(name, "all[:60%]+all[8:]")
    rows = [0, 1, 2, 3, 4, 5, 8, 9]
    assert list(dataset.fields) == ["image", "text", "label"]
    for field, array in {"image": IMAGE, "text": TEXT, "label": LABEL}.items():
        np.testing.assert_array_equal(dataset.arrays[field], array[rows])
    assert dataset.class_names == ("ant", "bee", "cat")
    assert (dataset.name, dataset.split) == (name, "all[:60%]+all[8:]")


@pytest.mark.parametrize("form", ["{field}_{split}", "{split}_{field}", "{split}/{field}", "{field}/{split}"])
def test_splits_may_stand_in_the_names_of_arrays(tmp_path, form):
    ranges = {"train": slice(0, 7), "test": slice(7, 10)}
    arrays = {
        form.format(field=field, split=split): array[rows]
        for split, rows in ranges.items()
        for field, array in {"image": IMAGE, "y": LABEL, "wave": TEXT / 7}.items()
    }
    name = saved(tmp_path / "a.npz", **arrays, about=np.arange(3))
    for split, rows in ranges.items():
        dataset = load(name, split)
        assert {key: field.kind for key, field in dataset.fields.items()} == {
            "image": "image",
            "label": "class",
            "wave": "vector",
        }
        np.testing.assert_array_equal(dataset.label, LABEL[rows])
    assert len(load(name, "train[:3]+test")) == 6
    chosen = load(name, "train", fields={"x": "wave", "label": "y"})
    assert list(chosen.fields) == ["x", "label"]


def test_two_files_are_training_and_test_set(tmp_path):
    saved(tmp_path / "a.npz", x=IMAGE[:7, ..., 0], y=LABEL[:7])
    saved(tmp_path / "b.npz", x=IMAGE[7:, ..., 0], y=LABEL[7:])
    name = f"npz:{tmp_path}/a.npz,{tmp_path}/b.npz"
    assert load(name, "train").image_shape == (4, 5, 1)  # grey images, with their channel
    np.testing.assert_array_equal(load(name, "test", class_names=("0", "1", "2")).image, IMAGE[7:])
    assert load(name, "train", size=3, channels=3).image_shape == (3, 3, 3)
    assert load(name, "train", kinds={"x": "vector"}).fields["x"].shape == (4, 5)
    assert load(name, "train", num_classes=5).num_classes == 5


def test_tags_of_a_file_have_names(tmp_path):
    tags = np.eye(3, dtype=np.uint8)[LABEL]
    name = saved(tmp_path / "a.npz", x_train=TEXT, y_train=tags, labels=["a", "b", "c"], words=np.arange(4))
    dataset = load(name, "train", fields={"words": "x", "label": "y", "label_names": "labels"})
    assert (dataset.fields["label"].kind, dataset.class_names) == ("tags", ("a", "b", "c"))
    assert load(name, "train").class_names == ("0", "1", "2")


def test_files_that_are_no_data_set_are_refused_in_one_line(tmp_path):
    good = saved(tmp_path / "a.npz", image=IMAGE, label=LABEL)
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "one.npy", IMAGE)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    spoiled = bytearray(whole)
    spoiled[300:340] = b"x" * 40
    (tmp_path / "spoiled.npz").write_bytes(bytes(spoiled))
    lists = np.array([[1], [1, 2]], dtype=object)
    for name, split, options, expected in (
        (f"npz:{tmp_path}/none.npz", "all", {}, "data set not found: no file"),
        (f"npz:{tmp_path}/text.npz", "all", {}, "text.npz is no .npz file that can be read"),
        (f"npz:{tmp_path}/cut.npz", "all", {}, "cut.npz is no .npz file that can be read"),
        (f"npz:{tmp_path}/spoiled.npz", "all", {}, "array 'image' of"),
        (f"npz:{tmp_path}/one.npy", "all", {}, "holds one array without a name; an .npz file is accepted"),
        (f"npz:{tmp_path}", "all", {}, "is no .npz file that can be read"),
        ("npz:", "all", {}, "data set 'npz' needs its file: name='npz:/path'"),
        ("npz:a,b,c", "all", {}, "one file, or two, of training and of test examples"),
        (
            good,
            "train",
            {},
            "no arrays of split 'train', as image_train or train_image: there are image, label; for its",
        ),
        (good, "all[:80", {}, "is no valid split; write e.g. train"),
        (good, "all[:11]", {}, "11 lies outside its 10 examples"),
        (good, "all", {"fields": {"image": "images"}}, "fields.image = 'images': no such array of split 'all'"),
        (f"{good},{tmp_path}/a.npz", "all", {}, "split 'all': of two files the splits are train and test"),
        (
            saved(tmp_path / "b.npz", image=IMAGE, rate=8),
            "all",
            {},
            "image 10, rate no; name those that are fields in fields",
        ),
        (
            saved(tmp_path / "c.npz", image=IMAGE, label=LABEL[:4]),
            "all",
            {},
            "one number of examples: image 10, label 4",
        ),
        (saved(tmp_path / "d.npz", text=lists), "all", {}, "array 'text' of .* cannot be read: Object arrays"),
        (saved(tmp_path / "e.npz", wave=TEXT + np.inf), "all", {}, "field 'wave': 10 of 10 examples hold NaN or inf"),
    ):
        with pytest.raises(ValueError, match=r"\w") as error:
            load(name, split, **options)
        text = str(error.value)
        assert all(piece in text for piece in expected.split(" .* ")), text
        assert "\n" not in text


def test_slices_are_those_of_tfds():
    parts = slices.parse("train[:80%] + test[-3:]")
    assert parts == [("train", None, "80%"), ("test", "-3", None)]
    assert [slices.bounds(part, 11, "it") for part in parts] == [(0, 9), (8, 11)]


def test_tables_of_scikit_learn_are_standardised_and_split_once():
    train, test, whole = (load("sklearn:wine", split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(whole)) == (142, 36, 178)
    np.testing.assert_allclose(train.arrays["table"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.arrays["table"].std(0), 1, atol=1e-5)
    assert np.bincount(np.concatenate([train.label, test.label])).tolist() == np.bincount(load_wine().target).tolist()
    assert train.class_names == ("class_0", "class_1", "class_2")
    assert len(load("sklearn:wine", "train[:50%]+test")) == 71 + 36
    progress = load("sklearn:diabetes", "all")
    assert progress.fields["label"].kind == "number"
    np.testing.assert_allclose(
        np.corrcoef(np.sort(progress.label), np.sort(load_diabetes().target))[0, 1], 1, atol=1e-6
    )
    for name, split, expected in (
        ("sklearn:whine", "all", "accepted are sklearn:iris"),
        ("sklearn:iris", "dev", "splits are"),
    ):
        with pytest.raises(ValueError, match=expected):
            load(name, split)
