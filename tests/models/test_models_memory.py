"""A memory of made images: what it holds after writes, and what is drawn of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models

IMAGES = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(6, 2, 2, 1)  # image i holds 4i to 4i + 3


def numbers(images):
    """Which image each one is."""
    return np.asarray(images)[:, 0, 0, 0] / 4


def written(module, variables, images, key=0, **rest):
    drawn, variables = module.apply(
        variables, images, train=True, mutable=["memory"], rngs={"params": jax.random.key(key)}, **rest
    )
    return drawn, variables


def test_it_holds_the_last_images_that_were_written():
    module = models.build("memory", size=5)
    variables = module.init(jax.random.key(0), IMAGES[:2])
    assert list(variables) == ["memory"]
    assert int(variables["memory"]["count"]) == 0
    assert variables["memory"]["pixels"].shape == (5, 2, 2, 1)
    for step, (rows, held) in enumerate([((0, 3), [0, 1, 2]), ((3, 6), [5, 1, 2, 3, 4]), ((0, 1), [5, 0, 2, 3, 4])]):
        drawn, variables = written(module, variables, IMAGES[slice(*rows)], step)
        count = int(variables["memory"]["count"])
        np.testing.assert_array_equal(numbers(variables["memory"]["pixels"])[: min(count, 5)], held)
        assert set(numbers(drawn)) <= set(held)
    assert count == 7


def test_each_held_image_is_drawn_equally_often():
    module = models.build("memory", size=5, draws=3000)
    _, variables = written(module, module.init(jax.random.key(0), IMAGES[:1]), IMAGES[:3])
    drawn, _ = written(module, variables, IMAGES[5:6], write=False)
    counts = np.bincount(numbers(drawn).astype(int), minlength=6)
    assert counts[3:].sum() == 0
    assert (abs(counts[:3] - 1000) < 4 * np.sqrt(3000 * (1 / 3) * (2 / 3))).all()


@pytest.mark.parametrize("write", [False, jnp.zeros((), bool)])
def test_nothing_is_written_where_it_is_told_so_and_an_empty_one_gives_what_it_is_given(write):
    module = models.build("memory", size=5, draws=4)
    empty = module.init(jax.random.key(0), IMAGES[:2])
    drawn, variables = written(module, empty, IMAGES[:2], write=write)
    jax.tree.map(np.testing.assert_array_equal, variables, empty)
    assert drawn.shape == (4, 2, 2, 1)
    assert set(numbers(drawn)) <= {0, 1}


def test_in_evaluation_mode_it_gives_the_first_ones_and_writes_nothing():
    module = models.build("memory", size=5, draws=4)
    _, variables = written(module, module.init(jax.random.key(0), IMAGES[:1]), IMAGES[:3])
    np.testing.assert_array_equal(numbers(module.apply(variables, IMAGES[5:])), [0, 1, 2, 0])


def test_no_gradient_passes_through_what_is_drawn():
    module = models.build("memory", size=5)
    variables = module.init(jax.random.key(0), IMAGES[:2])
    gradient = jax.grad(lambda image: written(module, variables, image)[0].sum())(IMAGES[:2])
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(size=1), "size = 1, and 2 images are written at once"),
        (dict(size=0), "size = 0"),
        (dict(draws=0), "draws = 0"),
    ],
)
def test_what_it_cannot_hold_is_refused(fields, words):
    module = models.build("memory", **fields)
    with pytest.raises(ValueError, match=words):
        written(module, module.init(jax.random.key(0), IMAGES[:2]), IMAGES[:2])
