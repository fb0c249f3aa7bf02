"""Images side by side: every pixel in its place, and the PNG file of them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kdgan.files import write_atomic
from kdgan.pictures import grid, png


def images(n, h=3, w=2, c=1):
    return np.arange(n * h * w * c, dtype=np.uint8).reshape(n, h, w, c)


def test_a_grid_by_hand():
    found = grid(images(3, 1, 2), 2, fill=9)
    np.testing.assert_array_equal(found[..., 0], [[0, 1, 9, 2, 3], [9, 9, 9, 9, 9], [4, 5, 9, 9, 9]])


@pytest.mark.parametrize(("n", "columns", "c", "separator"), [(6, 3, 1, 1), (7, 3, 3, 2), (4, 8, 3, 1), (5, 1, 4, 0)])
def test_images_lie_row_by_row(n, columns, c, separator):
    given = np.random.default_rng(0).integers(0, 256, (n, 4, 3, c)).astype(np.uint8)
    found = grid(given, columns, separator=separator)
    across = min(columns, n)
    rows = (n + across - 1) // across
    assert found.shape == (rows * 4 + (rows - 1) * separator, across * 3 + (across - 1) * separator, c)
    assert found.dtype == np.uint8
    for k, image in enumerate(given):
        y, x = (k // across) * (4 + separator), (k % across) * (3 + separator)
        np.testing.assert_array_equal(found[y : y + 4, x : x + 3], image)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3, 3, 1)), np.zeros((3, 3, 1), np.uint8), np.zeros((0, 3, 3, 1), np.uint8)]
)
def test_what_is_no_images_is_named(wrong):
    with pytest.raises(ValueError, match=r"uint8 \[n, h, w, c\]"):
        grid(wrong, 2)


def test_columns_are_positive():
    with pytest.raises(ValueError, match="columns is 0"):
        grid(images(2), 0)


@pytest.mark.parametrize(("c", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_png_file_holds_the_pixels(tmp_path, c, mode):
    given = np.random.default_rng(0).integers(0, 256, (5, 4, c)).astype(np.uint8)
    write_atomic(tmp_path / "new" / "grid.png", png(given))
    with Image.open(tmp_path / "new" / "grid.png") as opened:
        assert opened.mode == mode
        np.testing.assert_array_equal(np.asarray(opened).reshape(5, 4, c), given)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]


def test_other_channels_are_named():
    with pytest.raises(ValueError, match="1 to 4 channels"):
        png(np.zeros((2, 2, 5), np.uint8))


def test_pictures_need_neither_matplotlib_nor_jax():
    script = "import sys; import kdgan.pictures; assert not {'matplotlib', 'jax', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
