"""Gram matrices, style and affinity by hand, against NumPy, by what they do not see, and their refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import affinity as relations
from kdgan.losses import style

# Two positions of two channels: (1, 2) and (3, 0).
BY_HAND = jnp.array([1.0, 2.0, 3.0, 0.0]).reshape(1, 1, 2, 2)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_gram_by_hand():
    np.testing.assert_allclose(style.gram(BY_HAND)[0], np.array([[10, 2], [2, 4]]) / 4)


def test_gram_is_numpys_and_does_not_see_where():
    x = draw(2, 3, 4, 5)
    rows = np.asarray(x).reshape(2, 12, 5)
    np.testing.assert_allclose(style.gram(x), rows.swapaxes(1, 2) @ rows / 60, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(style.gram(x[:, ::-1, ::-1]), style.gram(x), rtol=1e-5, atol=1e-6)


def test_style_by_hand_weighted_and_of_one_style_for_all():
    wanted = jnp.array([[2.0, 0.5], [0.5, 0.0]])[None]
    # G − wanted = [[.5, 0], [0, 1]], squares .25 + 1
    two = jnp.concatenate([BY_HAND, 0 * BY_HAND])
    np.testing.assert_allclose(style.style([two], [wanted]), [1.25, 4 + 0.5], rtol=1e-6)
    np.testing.assert_allclose(style.style([two, two], [wanted, wanted], weights=(1, 3)), [5.0, 18.0], rtol=1e-6)
    matrices = style.grams({"a": two})
    np.testing.assert_array_equal(style.style({"a": two}, matrices), [0.0, 0.0])


def test_style_refuses_other_channels_and_batches():
    for shape in ((1, 3, 3), (3, 2, 2), (2, 2)):
        with pytest.raises(ValueError, match=r"\(2, 2, 2\) cannot be compared with"):
            style.style([jnp.concatenate([BY_HAND] * 2)], [jnp.zeros(shape)])


def test_affinity_matrices_by_hand():
    cosine = 3 / np.sqrt(5) / 3  # of (1, 2) and (3, 0)
    np.testing.assert_allclose(relations.spatial_affinity(BY_HAND)[0], [[1, cosine], [cosine, 1]], rtol=1e-6)
    cosine = 2 / np.sqrt(10) / 2  # of the maps (1, 3) and (2, 0)
    np.testing.assert_allclose(relations.channel_affinity(BY_HAND)[0], [[1, cosine], [cosine, 1]], rtol=1e-6)


@pytest.mark.parametrize("form", relations.FORMS)
def test_affinity_is_the_mean_difference_of_scikit_learns_cosines(form):
    from sklearn.metrics.pairwise import cosine_similarity

    s, t = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    turned = (lambda x: x.reshape(12, 5)) if form == "spatial" else (lambda x: x.reshape(12, 5).T)
    expected = [
        np.mean(np.abs(cosine_similarity(turned(np.asarray(a))) - cosine_similarity(turned(np.asarray(b)))))
        for a, b in zip(s, t, strict=True)
    ]
    np.testing.assert_allclose(relations.affinity([s], [t], form=form), expected, rtol=1e-5)
    np.testing.assert_allclose(relations.affinity([s, s], [t, t], (1, 2), form=form), 3 * np.array(expected), rtol=1e-5)


def test_affinity_sees_neither_scale_nor_rotation_of_channels():
    s = draw(2, 3, 3, 4)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    wider = 2.5 * jnp.concatenate([s, jnp.zeros((2, 3, 3, 2))], -1) @ jnp.asarray(turn, jnp.float32)
    np.testing.assert_allclose(relations.affinity([s], [wider]), [0, 0], atol=1e-6)


def test_affinity_averages_the_larger_sides_over_blocks():
    s = draw(2, 2, 3, 4)
    larger = jnp.repeat(jnp.repeat(s, 2, 1), 2, 2) + jnp.asarray([1.0, -1.0] * 3).reshape(1, 1, 6, 1)
    np.testing.assert_allclose(relations.affinity([s], [larger]), [0, 0], atol=1e-6)
    np.testing.assert_allclose(relations.affinity([larger], [s]), [0, 0], atol=1e-6)


@pytest.mark.parametrize("form", relations.FORMS)
def test_affinity_of_zeros_has_no_gradient(form):
    t = draw(1, 2, 2, 3)
    gradient = jax.grad(lambda s: relations.affinity([s], [t], form=form).sum())(jnp.zeros_like(t))
    np.testing.assert_array_equal(gradient, np.zeros(t.shape))


@pytest.mark.parametrize(
    ("form", "other", "words"),
    [
        ("spatial", (2, 3, 5, 3), "smaller divide the larger"),
        ("spatial", (3, 4, 4, 3), "one batch"),
        ("spatial", (2, 4), "one batch"),
        ("channel", (2, 4, 4, 5), "equal channels"),
        ("instance", (2, 4, 4, 3), "form is 'instance'; accepted are spatial, channel"),
    ],
)
def test_affinity_refuses(form, other, words):
    with pytest.raises(ValueError, match=words):
        relations.affinity([jnp.zeros((2, 4, 4, 3))], [jnp.zeros(other)], form=form)
