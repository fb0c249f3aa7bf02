"""Photographs that scikit-image ships; folders of images of several sizes and of pairs; images of 16 bits."""

import struct
import sys
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from kdgan.data import degrade, pairs, windows
from kdgan.data.images import read_header
from kdgan.data.sources import load


@pytest.mark.extra("skimage")
def test_photographs_are_divided_by_image():
    train, test = (load("skimage:photographs", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (10, 5)
    assert not {*train.files} & {*test.files}
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= {*test.files}
    assert train.image_shape == (None, None, 3)
    assert min(min(image.shape[:2]) for image in (*train.image, *test.image)) >= 300
    is_grey = lambda image: (image == image[..., :1]).all()
    assert sum(map(is_grey, (*train.image, *test.image))) == 6
    grey = load("skimage:photographs", "test[:1]", channels=1)
    assert grey.files == ("camera.png",)
    from skimage import data

    np.testing.assert_array_equal(grey.image[0][..., 0], data.camera())
    np.testing.assert_array_equal(train.image[train.files.index("astronaut.png")], data.astronaut())
    assert load("skimage:photographs", "train[:2]", size=32).fetch([0, 1]).shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("skimage:cats", "train", "skimage:photographs is accepted"),
        ("skimage:photographs", "dev", "splits are train, test"),
    ],
)
def test_mistakes_about_photographs(name, split, expected):
    with pytest.raises(ValueError, match=expected):
        load(name, split)


def test_without_scikit_image_the_message_says_how(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    command = r"'skimage:photographs' needs the package skimage: pip install -e \"\.\[images\]\""
    with pytest.raises(ValueError, match=command):
        load("skimage:photographs", "train")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def paired(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 2)):
        for number in range(count):
            image = rng.integers(0, 256, (8 + number % 2, 6, 3), np.uint8)
            save(tmp_path / split / "noisy" / f"{number}.png", image)
            save(tmp_path / split / "clean" / f"{number}.png", np.repeat(np.repeat(image, 2, 0), 2, 1))
    return tmp_path


FIELDS = {"image": "noisy", "target": "clean"}


def test_a_folder_of_pairs(paired):
    train = load(f"folder:{paired}", "train", fields=FIELDS)
    assert train.fields["image"].shape == train.fields["target"].shape == (None, None, 3)
    for image, target in zip(train.arrays["image"], train.arrays["target"], strict=True):
        np.testing.assert_array_equal(target[::2, ::2], image)
    assert len(load(f"folder:{paired}", "train[:40%]+test", fields=FIELDS)) == 4
    assert load(f"folder:{paired}", "train", fields=FIELDS, size=(4, 4)).fields["target"].shape == (4, 4, 3)
    # Windows of both, the target's at twice the place.
    spec = {name: {"crop": {"size": 3}} for name in FIELDS}
    cut = windows.chosen(spec, train)
    assert cut.scales == {"image": 1, "target": 2}
    index = np.arange(5)
    origin = windows.origins(cut, train, index, key=np.array([1, 2], np.uint32), place=index)
    read = windows.examples(train, index, cut, origin)
    np.testing.assert_array_equal(read["target"][:, ::2, ::2], read["image"])
    on_device = windows.of_array(
        cut, "target", jnp.asarray(windows.held(train, "target")), jnp.asarray(index), jnp.asarray(origin)
    )
    np.testing.assert_array_equal(on_device, read["target"])


def test_a_pair_without_its_counterpart_is_named(paired):
    (paired / "train" / "clean" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"noisy/3\.png is without its counterpart in .*clean; the same file names"):
        load(f"folder:{paired}", "train", fields=FIELDS)
    with pytest.raises(ValueError, match=r"wants the images of 'target' in .*dirty, and there is no such folder"):
        load(f"folder:{paired}", "test", fields={**FIELDS, "target": "dirty"})
    with pytest.raises(ValueError, match=r"fields.target = 3: a name is accepted"):
        load(f"folder:{paired}", "test", fields={**FIELDS, "target": 3})
    with pytest.raises(
        ValueError, match=r"more than memory_limit = 0 MiB, and are kept in memory|take 0 MiB, more than"
    ):
        load(f"folder:{paired}", "test", fields=FIELDS, memory_limit=16)


def test_a_file_too_small_for_the_window_and_one_that_the_scale_leaves_over_are_named(paired):
    train = load(f"folder:{paired / 'train' / 'noisy'}", "all")
    with pytest.raises(ValueError, match=r"size = \(9, 5\): .*\d\.png of 'image' is \(8, 6\)"):
        windows.chosen({"image": {"crop": {"size": (9, 5)}}}, train)
    with pytest.raises(ValueError, match=r"scale = 2 does not divide the sides of .*\d\.png, 9×6; .*trim = True"):
        pairs.degraded(train, degrade.of({"bicubic": {"scale": 2}}))
    made = pairs.degraded(train, degrade.of({"bicubic": {"scale": 2, "trim": True}}))
    assert {image.shape for image in made.arrays["target"]} == {(8, 6, 3)}
    assert {image.shape for image in made.arrays["image"]} == {(4, 3, 3)}


def deep_png(path, channels):
    chunk = lambda name, content: (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    )
    rows = b"".join(b"\0" + bytes(range(8 * channels)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2 if channels == 3 else 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_images_of_16_bits_are_refused_by_name(tmp_path):
    deep_png(tmp_path / "colour.png", 3)
    deep_png(tmp_path / "grey.png", 1)
    (tmp_path / "deep.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    for name in ("colour.png", "grey.png", "deep.ppm"):
        with pytest.raises(ValueError, match="is not 8 bits a channel"):
            read_header(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name} \(mode"):
            load(f"folder:{tmp_path}", "all")
    for name, mode in (("a.bmp", "RGB"), ("b.png", "RGBA"), ("c.ppm", "RGB"), ("d.tif", "RGB")):
        Image.new(mode, (300, 20)).save(tmp_path / name)
        assert read_header(tmp_path / name).size == (20, 300)
