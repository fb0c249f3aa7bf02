"""Style images: read from files and from what scikit-image ships, as frozen variables, and refused by name."""

import jax
import numpy as np
import pytest
from PIL import Image

from kdgan import models


def test_the_middle_of_each_file_is_scaled(tmp_path):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = (10, 20, 30)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(np.full((6, 6), 7, np.uint8)).save(tmp_path / "grey.png")
    module = models.build("style_images", images=[str(tmp_path / "wide.png"), str(tmp_path / "grey.png")], size=4)
    variables = module.init(jax.random.key(0))
    assert list(variables) == ["images"]
    images = module.apply(variables)
    assert images.shape == (2, 4, 4, 3)
    np.testing.assert_allclose(images[0], np.broadcast_to(np.array([10, 20, 30]) / 255, (4, 4, 3)), rtol=1e-6)
    np.testing.assert_allclose(images[1], np.full((4, 4, 3), 7 / 255), rtol=1e-6)
    grey = models.build("style_images", images=str(tmp_path / "wide.png"), size=4, channels=1)
    assert grey.init(jax.random.key(0))["images"]["pixels"].shape == (1, 4, 4, 1)


def test_another_content_is_another_player(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for value, path in enumerate(paths):
        Image.fromarray(np.full((6, 6, 3), value, np.uint8)).save(path)
    contents = {models.build("style_images", images=str(path), size=4).content for path in paths}
    assert len(contents) == 2


@pytest.mark.extra("skimage")
def test_pictures_of_scikit_image_come_by_name():
    from skimage import data

    module = models.build("style_images", images="skimage:coffee", size=8)
    assert module.pixels.shape == (1, 8, 8, 3)
    assert abs(module.pixels.mean() - data.coffee()[:, 100:500].mean()) < 2
    with pytest.raises(ValueError, match=r"style image 'skimage:nothing': scikit-image ships .*astronaut"):
        models.build("style_images", images="skimage:nothing")


def test_none_is_refused_where_it_is_called():
    with pytest.raises(ValueError, match=r"style_images.images = \(\)"):
        models.build("style_images").init(jax.random.key(0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": "a.png", "size": 0}, "style_images.size = 0"),
        ({"images": "there/is/none.png"}, "style image 'there/is/none.png': No such file"),
        ({"images": __file__}, "style image .*test_models_style_images.py'"),
        ({"images": "a.png", "channels": 2}, "style_images.channels = 2"),
    ],
)
def test_what_is_none_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        models.build("style_images", **arguments)
