"""What of a folder are examples and classes, and what is left out and said."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from kdgan.data import load
from kdgan.data import tree as trees
from kdgan.data.errors import UnreadableImageWarning


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two splits of two classes of three images."""
    for split in ("train", "test"):
        for number, label in enumerate(("ant", "bee")):
            for index in range(3):
                save(tmp_path / split / label / f"{index}.png", 100 * number + index)
    return tmp_path


@pytest.mark.parametrize(
    "system", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "lost+found", "__pycache__"]
)
def test_hidden_and_system_folders_hold_neither_classes_nor_examples(folder, system):
    before = load(f"folder:{folder}", "train")
    (folder / "train" / system).mkdir()
    save(folder / "test" / system / "a.png")
    save(folder / "train" / "ant" / system / "0-checkpoint.png")
    save(folder / "train" / "ant" / "deep" / system / "0.png")
    save(folder / system / "0.png")
    after = load(f"folder:{folder}", "train")
    assert after.class_names == ("ant", "bee")
    np.testing.assert_array_equal(before.image, after.image)
    assert after.notes == (f"skipped, hidden or the system's: 3 ({system}, ant/{system}, ant/deep/{system})",)
    assert len(load(f"folder:{folder}", "test")) == 6


def test_files_that_are_no_examples_are_counted_and_named(folder):
    for name in ("._0.png", "Thumbs.db", "notes.txt", "c.heic"):
        (folder / "train" / "ant" / name).write_text("none")
    save(folder / "train" / "loose.png")
    dataset = load(f"folder:{folder}", "train")
    assert len(dataset) == 6
    assert dataset.notes == (
        "skipped, hidden or the system's: 2 (ant/._0.png, ant/Thumbs.db)",
        "skipped, not of an image's type: 2 (ant/c.heic, ant/notes.txt)",
        "skipped, images in no class folder: 1 (loose.png)",
    )
    assert dataset.take([0]).notes == dataset.notes


def test_an_empty_class_is_refused_by_name_or_left_out(folder):
    (folder / "train" / "empty").mkdir()
    (folder / "train" / "wasp").mkdir()
    (folder / "train" / "wasp" / "a.heic").write_text("")
    expected = r"class folders without an image: empty, wasp \(files of other types: wasp/a\.heic\)"
    for split in ("train", "test"):  # which numbers its classes as training does
        with pytest.raises(ValueError, match=rf"{expected}\. Remove them, or .*on_bad_image='skip'"):
            load(f"folder:{folder}", split)
        with pytest.warns(UserWarning, match=expected):
            dataset = load(f"folder:{folder}", split, on_bad_image="skip")
        assert dataset.class_names == ("ant", "bee")
        assert dataset.notes[0] == "left out: empty, wasp, of which no class has an image"


def test_a_class_that_is_empty_in_the_test_split_only_keeps_its_number(folder):
    for file in (folder / "test" / "ant").iterdir():
        file.unlink()
    dataset = load(f"folder:{folder}", "test")
    assert dataset.label.tolist() == [1, 1, 1]
    assert dataset.notes == ("no example of 1 of 2 classes: ant",)


def test_a_test_split_is_numbered_by_the_names_it_is_given(tmp_path):
    save(tmp_path / "learn" / "ant" / "0.png")
    save(tmp_path / "learn" / "bee" / "0.png")
    save(tmp_path / "exam" / "bee" / "0.png")
    names = load(f"folder:{tmp_path}", "learn").class_names
    assert load(f"folder:{tmp_path}", "exam", class_names=names).label.tolist() == [1]
    with pytest.raises(ValueError, match=r"has classes that the training split has not: \['bee'\]"):
        load(f"folder:{tmp_path}", "exam", class_names=("ant",))
    with pytest.raises(ValueError, match=r"num_classes = 3: folder .* itself says that it has 2 classes"):
        load(f"folder:{tmp_path}", "learn", num_classes=3)


def test_links_are_followed_but_never_in_a_circle(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "more.png", 50)
    train = folder / "train"
    (train / "ant" / "more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(elsewhere)
    (train / "bee" / "up").symlink_to(train / "bee")
    (train / "all").symlink_to(train)
    (train / "self").symlink_to(train / "self")
    dataset = load(f"folder:{folder}", "train")
    assert sorted(dataset.image[:, 0, 0, 0].tolist()) == [0, 1, 2, 50, 100, 101, 102]
    assert dataset.notes == ("skipped, links to a folder above them: 4 (self, all, ant/more/back, and 1 more)",)


def test_a_folder_that_may_not_be_listed_is_refused_or_said(folder, monkeypatch):
    save(folder / "train" / "ant" / "part" / "9.png")
    scandir = os.scandir

    def scan(path):
        if pathlib.Path(path).name == "part":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(trees.os, "scandir", scan)
    with pytest.raises(ValueError, match=r"may not be listed: train/ant/part"):
        load(f"folder:{folder}", "train")
    dataset = load(f"folder:{folder}", "train", on_bad_image="skip")
    assert dataset.notes == ("skipped, folders that may not be listed: 1 (ant/part)",)


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_images_in_no_folder_are_a_set_without_labels(tmp_path, memory_limit):
    for index in range(5):
        save(tmp_path / "train" / f"{index}.png", index)
    save(tmp_path / "test" / "9.png", 9)
    (tmp_path / "train" / ".cache").mkdir()
    dataset = load(f"folder:{tmp_path}", "train", memory_limit=memory_limit)
    assert (dataset.has_labels, dataset.num_classes, dataset.class_names) == (False, 0, ())
    assert dataset.label is None
    assert sorted(dataset.fetch(range(5))[:, 0, 0, 0].tolist()) == list(range(5))
    assert len(load(f"folder:{tmp_path / 'train'}", "all[:60%]", memory_limit=memory_limit)) == 3
    assert len(load(f"folder:{tmp_path}", "test")) == 1
    save(tmp_path / "test" / "ant" / "0.png")
    with pytest.raises(ValueError, match=r"has classes that 'train' has not: \['ant'\]"):
        load(f"folder:{tmp_path}", "test")


def test_images_in_no_class_where_training_has_classes_are_refused(folder):
    save(folder / "flat" / "0.png")
    with pytest.raises(
        ValueError, match=r"'flat' .* has images in no class; those of 'train' have the classes ant, bee"
    ):
        load(f"folder:{folder}", "flat")


def test_splits_are_not_taken_for_classes(folder):
    with pytest.raises(ValueError, match=r"would take \['test', 'train'\] for classes; they are splits: write 'train'"):
        load(f"folder:{folder}", "all")
    (folder / "car").mkdir()
    save(folder / "car" / "0.png")
    assert load(f"folder:{folder}", "all").class_names == ("car", "test", "train")


def test_splits_without_classes_are_not_taken_for_classes_either(tmp_path):
    for name in ("train/0.png", "test/0.png"):
        save(tmp_path / name)
    with pytest.raises(ValueError, match=r"would take \['test', 'train'\] for classes; they are splits: write 'train'"):
        load(f"folder:{tmp_path}", "all[:80%]")
    assert load(f"folder:{tmp_path}", "train").class_names == ()
    with pytest.raises(ValueError, match=r"'train' is no sub-folder of .*; there are none\. "):
        load(f"folder:{tmp_path / 'train'}", "train")


def test_names_that_differ_in_capitals_only_are_said(folder):
    save(folder / "train" / "Ant" / "0.png")
    assert load(f"folder:{folder}", "train").notes == ("classes whose names differ in capitals only: Ant, ant",)


def test_a_name_that_is_no_text_is_read(folder):
    name = os.fsencode(folder / "train" / "ant") + b"/\xff.png"
    os.rename(folder / "train" / "ant" / "0.png", name)
    assert len(load(f"folder:{folder}", "train")) == 6


def test_links_that_lead_nowhere_are_refused_by_name_or_left_out(folder):
    train = folder / "train"
    (train / "ant" / "gone.png").symlink_to(folder / "gone.png")
    (train / "ant" / "gone.txt").symlink_to(folder / "gone.txt")
    with pytest.raises(ValueError, match=r"^1 of 7 images .* cannot be read: train/ant/gone\.png \(No such file"):
        load(f"folder:{folder}", "train")
    (train / "wasp").symlink_to(folder / "wasp")
    (train / "bee" / "more").symlink_to(folder / "more")
    with pytest.raises(ValueError, match=r"lead nowhere: 2 \(train/wasp, train/bee/more\)\. .*on_bad_image='skip'"):
        load(f"folder:{folder}", "train")
    with pytest.warns(UnreadableImageWarning, match=r"1 of 7 images"):
        dataset = load(f"folder:{folder}", "train", on_bad_image="skip")
    assert (len(dataset), dataset.class_names) == (6, ("ant", "bee"))
    assert dataset.notes == (
        "left out: 1 of 7 images, which cannot be read: train/ant/gone.png (No such file or directory)",
        "skipped, not of an image's type: 1 (ant/gone.txt)",
        "skipped, links that lead nowhere: 2 (wasp, bee/more)",
    )


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_a_class_of_which_nothing_can_be_read_is_left_out_as_an_empty_one(folder, memory_limit):
    skip = {"on_bad_image": "skip", "memory_limit": memory_limit}
    (folder / "train" / "aardvark").mkdir()
    for name in ("0.png", "1.png"):
        (folder / "train" / "aardvark" / name).write_bytes(b"none")
    expected = "class folders without an image that can be read: aardvark. They are left out"
    for split in ("train", "test"):  # which numbers its classes as training does
        with pytest.warns(UnreadableImageWarning, match=expected):
            dataset = load(f"folder:{folder}", split, **skip)
        assert dataset.class_names == ("ant", "bee")
        assert dataset.label.tolist() == [int(value >= 100) for value in dataset.fetch(range(6))[:, 0, 0, 0]]
        assert dataset.notes == ("left out: aardvark, of which no class has an image that can be read",)
    save(folder / "test" / "aardvark" / "0.png")
    with pytest.warns(UnreadableImageWarning), pytest.raises(ValueError, match=r"'train' has not: \['aardvark'\]"):
        load(f"folder:{folder}", "test", **skip)


def test_where_no_image_of_any_class_can_be_read_it_is_the_images_that_are_named(folder):
    for file in (folder / "train").rglob("*.png"):
        file.write_bytes(b"none")
    with (
        pytest.warns(UnreadableImageWarning),
        pytest.raises(ValueError, match=r"split 'train' .* none of its 6 images can be read"),
    ):
        load(f"folder:{folder}", "train", on_bad_image="skip")


@pytest.mark.parametrize("class_names", [None, ("ant", "bee")])
def test_an_empty_class_that_training_has_not_is_refused_by_name_or_left_out(folder, class_names):
    (folder / "test" / "wasp").mkdir()
    expected = "split 'test' of folder .* has class folders without an image: wasp"
    with pytest.raises(ValueError, match=rf"{expected}\. Remove them, or .*on_bad_image='skip'"):
        load(f"folder:{folder}", "test", class_names=class_names)
    with pytest.warns(UnreadableImageWarning, match=expected):
        dataset = load(f"folder:{folder}", "test", class_names=class_names, on_bad_image="skip")
    assert (len(dataset), dataset.class_names) == (6, ("ant", "bee"))
    assert dataset.notes == ("left out: wasp, of which no class has an image",)
