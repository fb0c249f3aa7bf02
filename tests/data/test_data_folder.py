"""A folder of images: classes, slices, sizes and modes, and what is said of images that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from kdgan.data import load


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two splits of two classes; an image's value says which it is."""
    for split, count in (("train", 10), ("test", 3)):
        for number, label in enumerate(("ant", "bee")):
            for index in range(count):
                save(tmp_path / split / label / f"{index}.png", np.full((4, 5), 100 * number + index, np.uint8))
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".thumbnails").mkdir()
    return tmp_path


def values(dataset):
    return sorted(dataset.fetch(range(len(dataset)))[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_images_labels_and_names(folder, memory_limit):
    dataset = load(f"folder:{folder}", "train", memory_limit=memory_limit)
    assert (dataset.image is None) == (memory_limit == 0)
    assert (len(dataset), dataset.num_classes, dataset.class_names) == (20, 2, ("ant", "bee"))
    assert dataset.image_shape == (4, 5, 1)
    assert values(dataset) == [*range(10), *range(100, 110)]
    np.testing.assert_array_equal(dataset.fetch(range(20))[:, 0, 0, 0] >= 100, dataset.label == 1)
    np.testing.assert_array_equal(dataset.decode().image, dataset.fetch(range(20)))
    assert len(load("folder", "test", data_dir=folder, memory_limit=memory_limit)) == 6


def test_slices_divide_a_split_and_mix_the_classes(folder):
    parts = [load(f"folder:{folder}", split) for split in ("train[:70%]", "train[70%:-2]", "train[18:]")]
    assert [len(part) for part in parts] == [14, 4, 2]
    assert sorted(value for part in parts for value in values(part)) == [*range(10), *range(100, 110)]
    assert 0 < parts[0].label.sum() < 14
    both = load(f"folder:{folder}", "train[:2]+test")
    assert len(both) == 8


def test_classes_directly_under_the_root_are_split_all(folder):
    assert len(load(f"folder:{folder / 'train'}", "all[5:]")) == 15
    with pytest.raises(ValueError, match=r"'train' is no sub-folder of .*\['ant', 'bee'\].*the split is 'all'"):
        load(f"folder:{folder / 'train'}", "train")


def test_test_set_is_numbered_by_the_training_classes(folder):
    for file in (folder / "test" / "ant").iterdir():
        file.unlink()
    (folder / "test" / "ant").rmdir()
    dataset = load(f"folder:{folder}", "test")
    assert dataset.label.tolist() == [1, 1, 1]
    assert dataset.class_names == ("ant", "bee")
    save(folder / "test" / "cat" / "0.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match=r"'test' .* has classes that 'train' has not: \['cat'\]"):
        load(f"folder:{folder}", "test")


def test_modes_become_rgb_where_one_image_has_colour(tmp_path):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 204  # a colour that Pillow's palette has
    save(tmp_path / "a" / "grey.png", np.full((4, 5), 7, np.uint8))
    save(tmp_path / "a" / "palette.gif", red, "P")
    save(tmp_path / "b" / "alpha.png", red, "RGBA")
    save(tmp_path / "b" / "bits.png", np.full((4, 5), 255, np.uint8), "1")
    dataset = load(f"folder:{tmp_path}", "all")
    assert dataset.image_shape == (4, 5, 3)
    assert sorted(map(tuple, dataset.image[:, 0, 0].tolist())) == [(7, 7, 7), *2 * [(204, 0, 0)], (255, 255, 255)]


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_images_of_other_sizes(folder, memory_limit):
    # Left half black, right half white, 8 × 20: in proportion 4 × 10, of which the middle 5 columns remain.
    wide = np.repeat([0, 255], 10)[None].repeat(8, 0).astype(np.uint8)
    save(folder / "train" / "ant" / "wide.png", wide)
    if memory_limit:
        whole = load(f"folder:{folder}", "train")
        assert whole.image_shape == (None, None, 1)
        (place,) = (number for number, file in enumerate(whole.files) if file.endswith("wide.png"))
        np.testing.assert_array_equal(whole.fetch([place])[0, ..., 0], wide)
    else:
        with pytest.raises(
            ValueError, match=r"differ in size and take 0 MiB, more than .*: raise it, or give size=\(h, w\)"
        ):
            load(f"folder:{folder}", "train", memory_limit=0)
    dataset = load(f"folder:{folder}", "train", size=(4, 5), memory_limit=memory_limit)
    found = [image for image in dataset.fetch(range(21)) if np.ptp(image)]
    assert len(found) == 1
    assert (found[0][:, :2] < 10).all()
    assert (found[0][:, 3:] > 245).all()


def damage(folder):
    """One file that is no image, one cut off, one with 16 bits."""
    good = (folder / "train" / "bee" / "3.png").read_bytes()
    (folder / "train" / "ant" / "broken.png").write_bytes(b"not an image")
    noise = np.random.default_rng(0).integers(0, 256, (4, 5), np.uint8)
    save(folder / "train" / "bee" / "cut.png", noise)
    whole = (folder / "train" / "bee" / "cut.png").read_bytes()
    (folder / "train" / "bee" / "cut.png").write_bytes(whole[: len(whole) - 30])
    save(folder / "train" / "bee" / "deep.png", np.full((4, 5), 3_000, np.uint16))
    assert good


def test_unreadable_images_are_named_counted_and_refused(folder):
    damage(folder)
    with pytest.raises(ValueError, match=r"3 of 23 images under .* cannot be read") as error:
        load(f"folder:{folder}", "train")
    for name in ("broken.png", "cut.png", "deep.png (mode I;16 is not 8 bits a channel)", "on_bad_image='skip'"):
        assert name in str(error.value)


def test_unreadable_images_are_left_out_on_demand(folder):
    damage(folder)
    with pytest.warns(UserWarning, match=r"3 of 23 images .*broken\.png.* are left out"):
        dataset = load(f"folder:{folder}", "train", on_bad_image="skip")
    assert values(dataset) == [*range(10), *range(100, 110)]
    np.testing.assert_array_equal(dataset.image[:, 0, 0, 0] >= 100, dataset.label == 1)


def test_a_file_that_is_cut_off_is_found_when_a_set_that_streams_is_loaded(folder):
    damage(folder)
    with pytest.raises(ValueError, match=r"3 of 23 images .*cut\.png \(image file is truncated\)"):
        load(f"folder:{folder}", "train", memory_limit=0)
    with pytest.warns(UserWarning, match=r"3 of 23 images .* are left out"):
        dataset = load(f"folder:{folder}", "train", on_bad_image="skip", memory_limit=0)
    assert values(dataset) == [*range(10), *range(100, 110)]
    assert any("3 of 23 images, which cannot be read" in note for note in dataset.notes)


def test_nothing_readable(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="1 of 1 images"),
        pytest.raises(ValueError, match="none of its 1 images can be read"),
    ):
        load(f"folder:{tmp_path}", "all", on_bad_image="skip")


@pytest.mark.parametrize(
    ("split", "match"),
    [
        ("train[:", r"split 'train\[:' is no valid split; write e\.g\."),
        ("train[:30]", r"30 lies outside its 20 images"),
        ("train[:120%]", r"120% lies outside"),
        ("valid", r"'valid' is no sub-folder of .*; there are \['test', 'train'\]"),
        ("train[3:3]", r"holds no images"),
    ],
)
def test_wrong_splits(folder, split, match):
    with pytest.raises(ValueError, match=match):
        load(f"folder:{folder}", split)


def test_wrong_folders(tmp_path):
    with pytest.raises(ValueError, match=r"data set not found: no folder .*absent"):
        load(f"folder:{tmp_path / 'absent'}", "train")
    with pytest.raises(ValueError, match="has no sub-folders, one a class, and no images of its own"):
        load(f"folder:{tmp_path}", "all")
    with pytest.raises(ValueError, match="data set 'folder' needs its path"):
        load("folder", "train")
    with pytest.raises(ValueError, match="on_bad_image must be 'refuse' or 'skip', got 'ignore'"):
        load(f"folder:{tmp_path}", "all", on_bad_image="ignore")
    for size in ((0, 3), (1, 2, 3), 0):
        with pytest.raises(
            ValueError, match=r"size must be \(h, w\) of at least one pixel, or one number for a square, got"
        ):
            load(f"folder:{tmp_path}", "all", size=size)
    with pytest.raises(ValueError, match=r"channels must be 1 \(grey\), 3 \(RGB\) or None .*, got 4"):
        load(f"folder:{tmp_path}", "all", channels=4)


def test_one_number_is_a_square(folder):
    square = load(f"folder:{folder}", "train", size=(3, 3))
    for size in (3, (3,), [3, 3]):
        np.testing.assert_array_equal(load(f"folder:{folder}", "train", size=size).image, square.image)


@pytest.mark.parametrize("memory_limit", [2**31, 0], ids=["memory", "lazy"])
def test_channels_convert_all_images(folder, memory_limit):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 100
    save(folder / "train" / "ant" / "red.png", red)
    coloured = load(f"folder:{folder}", "train", memory_limit=memory_limit)
    grey = load(f"folder:{folder}", "train", channels=1, memory_limit=memory_limit)
    assert (coloured.image_shape, grey.image_shape) == ((4, 5, 3), (4, 5, 1))
    np.testing.assert_array_equal(coloured.label, grey.label)
    # ITU-R 601: 0.299 of red.
    expected = {tuple(map(int, pixel)): int(pixel[0]) for pixel in coloured.fetch(range(21))[:, 0, 0]} | {
        (100, 0, 0): 30
    }
    found = zip(coloured.fetch(range(21))[:, 0, 0], grey.fetch(range(21))[:, 0, 0, 0], strict=True)
    assert all(expected[tuple(map(int, pixel))] == value for pixel, value in found)
    three = load(f"folder:{folder}", "test", channels=3, memory_limit=memory_limit)
    assert three.image_shape == (4, 5, 3)
    assert (np.ptp(three.fetch(range(6)), axis=-1) == 0).all()
