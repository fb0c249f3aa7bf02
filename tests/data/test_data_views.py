"""Views: a finite number of images, each known by its place, whatever the seed, the step and the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.data import augment, views
from kdgan.data.batches import indices_of_step

SPEC = {"affine": {"rotate": 20.0, "shift": 0.2}, "flip": {}}


def test_every_view_of_every_example_is_used_once_before_any_comes_again():
    size, batch_size, count = 7, 4, 3
    seen = []
    for step in range(2 * size * count // batch_size + 1):
        index = indices_of_step(size, batch_size, seed=5, stage=1, step=step)
        view = views.in_turn(size, batch_size, views=count, step=step)
        seen += zip(index.tolist(), view.tolist(), strict=True)
    every = {(index, view) for index in range(size) for view in range(count)}
    assert set(seen[: size * count]) == set(seen[size * count : 2 * size * count]) == every
    assert [view for _, view in seen[:size]] == [0] * size


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9, 40])
def test_what_can_be_drawn_holds_what_is_drawn_and_no_view_that_is_not_begun(steps):
    rows, size = np.array([1, 4, 5, 8, 9]), 11
    found = views.drawn(rows, 3, views=4, steps=steps, size=size)
    assert (np.diff(found) > 0).all()
    used = []
    for step in range(steps):
        index = rows[indices_of_step(5, 3, seed=0, stage=0, step=step)]
        used.append(views.places(index, views.in_turn(5, 3, views=4, step=step), size))
    used = np.concatenate(used)
    assert set(used) <= set(found)
    assert set(used // size) == set(found // size)
    assert set(found % size) == set(rows)


def test_a_view_is_one_image_whatever_it_stands_beside():
    image = np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)
    change, key = augment.make_augment(SPEC), jax.random.wrap_key_data(views.KEY)

    def look(index, view):
        index = np.array(index)
        places = jnp.asarray(views.places(index, np.array(view), 6), jnp.int32)
        return np.asarray(change(key, places, jnp.asarray(image[index])))

    together = look([0, 3, 5, 3], [0, 1, 1, 0])
    for i, (index, view) in enumerate([(0, 0), (3, 1), (5, 1), (3, 0)]):
        np.testing.assert_array_equal(look([index], [view])[0], together[i])
    assert np.abs(together[1] - together[3]).max() > 0.1  # two views of one example
    same = jnp.broadcast_to(image[:1], image.shape)
    one_each = np.asarray(change(key, jnp.arange(6), same))
    assert all(np.abs(one_each[i] - one_each[j]).max() > 1e-3 for i in range(6) for j in range(i))
