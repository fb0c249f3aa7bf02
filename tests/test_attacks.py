"""Attacks against closed forms: linear classifiers, whose worst image is known, and a hill whose top lies in the ball."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import attacks

RNG = np.random.default_rng(0)
B, SIDES = 5, (4, 4, 2)
W = RNG.normal(size=SIDES).astype(np.float32)
IMAGES = RNG.uniform(0.3, 0.7, (B, *SIDES)).astype(np.float32)
EPSILON = 0.1


def linear(images):
    """⟨w, x⟩ of each image: over the ball at most ⟨w, x⟩ + ε‖w‖₁, where no pixel leaves [0, 1]."""
    return jnp.sum(jnp.asarray(W)[None] * images, (1, 2, 3))


def curved(images):
    return jnp.sum(jnp.sin(7 * images) * jnp.asarray(W)[None], (1, 2, 3))


def test_a_linear_objective_is_made_as_large_as_it_can_be():
    best = np.tensordot(IMAGES, W, 3) + EPSILON * np.abs(W).sum()
    for found in (
        attacks.fgsm(linear, jnp.asarray(IMAGES), epsilon=EPSILON),
        attacks.pgd(linear, jnp.asarray(IMAGES), epsilon=EPSILON, steps=3),
        attacks.pgd(
            linear, jnp.asarray(IMAGES), epsilon=EPSILON, steps=10, start=jnp.asarray(-np.sign(W) + 0 * IMAGES)
        ),
    ):
        np.testing.assert_allclose(linear(found), best, rtol=1e-5)


def test_a_step_is_the_sign_of_the_gradient():
    """Of Σ w·sin(7x) it is 7·w·cos(7x)."""
    slope = np.sign(W * np.cos(7 * IMAGES))
    expected = np.clip(IMAGES + EPSILON * slope, 0, 1)
    np.testing.assert_allclose(attacks.fgsm(curved, jnp.asarray(IMAGES), epsilon=EPSILON), expected, rtol=1e-6)
    one = attacks.pgd(curved, jnp.asarray(IMAGES), epsilon=EPSILON, steps=1, step_size=EPSILON)
    np.testing.assert_allclose(one, expected, rtol=1e-6)
    half = attacks.pgd(curved, jnp.asarray(IMAGES), epsilon=EPSILON, steps=1, step_size=EPSILON / 2)
    np.testing.assert_allclose(half, np.clip(IMAGES + EPSILON / 2 * slope, 0, 1), rtol=1e-6)


def test_small_steps_climb_a_hill_that_one_large_step_leaps_over():
    top = IMAGES + RNG.uniform(-0.06, 0.06, IMAGES.shape).astype(np.float32)
    hill = lambda images: -jnp.sum((images - top) ** 2, (1, 2, 3))
    found = attacks.pgd(hill, jnp.asarray(IMAGES), epsilon=EPSILON, steps=40, step_size=0.004)
    assert np.abs(found - top).max() < 0.0041
    assert (hill(found) > hill(attacks.fgsm(hill, jnp.asarray(IMAGES), epsilon=EPSILON))).all()


@pytest.mark.parametrize("pixels", [attacks.UNIT, {"mean": (0.4, 0.6), "std": [0.2, 0.3]}])
def test_a_ball_of_no_radius_leaves_every_bit(pixels):
    images = jnp.asarray(RNG.uniform(-0.5, 1.5, (B, *SIDES)), jnp.float32)
    start = jnp.ones_like(images)
    assert (attacks.pgd(curved, images, epsilon=0.0, steps=3, pixels=pixels, start=start) == images).all()
    assert (attacks.fgsm(curved, images, epsilon=0.0, pixels=pixels) == images).all()


@pytest.mark.parametrize("start", [None, 1.0, -1.0])
def test_images_stay_in_the_ball_and_in_the_range_of_pixels(start):
    images = jnp.asarray(RNG.uniform(-0.02, 1.02, (B, *SIDES)), jnp.float32)
    place = None if start is None else jnp.full_like(images, start)
    found = attacks.pgd(curved, images, epsilon=EPSILON, steps=4, step_size=0.3, start=place)
    assert np.abs(found - images).max() <= EPSILON + 1e-6
    assert np.abs(found - images).max() > 0.9 * EPSILON
    # What lies outside already does not go farther out.
    assert ((found >= np.minimum(images, 0)) & (found <= np.maximum(images, 1))).all()
    assert ((images < 0) | (images > 1)).any()


def test_the_pixels_are_the_same_in_every_normalisation():
    mean, std = np.array([0.4, 0.6], np.float32), np.array([0.2, 0.3], np.float32)
    plain = attacks.pgd(curved, jnp.asarray(IMAGES), epsilon=EPSILON, steps=3, start=jnp.full(IMAGES.shape, 0.5))
    seen = attacks.pgd(
        lambda images: curved(images * std.reshape(1, 1, 1, 2) + mean.reshape(1, 1, 1, 2)),
        jnp.asarray((IMAGES - mean) / std), epsilon=EPSILON, steps=3, start=jnp.full(IMAGES.shape, 0.5),
        pixels={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())},
    )  # fmt: skip
    np.testing.assert_allclose(np.asarray(seen) * std + mean, plain, atol=1e-6)


def test_several_fields_move_by_one_gradient():
    """Of ⟨w, x⟩ − ⟨w, y⟩ each goes to its own end."""
    pair = {"x": jnp.asarray(IMAGES), "y": jnp.asarray(IMAGES[:, ::-1])}
    found = attacks.pgd(lambda two: linear(two["x"]) - linear(two["y"]), pair, epsilon=EPSILON, steps=2)
    np.testing.assert_allclose(found["x"], IMAGES + EPSILON * np.sign(W), rtol=1e-5)
    np.testing.assert_allclose(found["y"], IMAGES[:, ::-1] - EPSILON * np.sign(W), rtol=1e-5)


def test_no_gradient_goes_through_an_attack():
    def moved(scale, images):
        return jnp.sum(attacks.pgd(lambda x: scale * curved(x), images * scale, epsilon=EPSILON, steps=2))

    slopes = jax.jit(jax.grad(moved, (0, 1)))(jnp.float32(1.0), jnp.asarray(IMAGES))
    assert all((slope == 0).all() for slope in slopes)


def test_a_loop_gives_what_the_steps_written_out_give():
    written, looped = (
        attacks.pgd(curved, jnp.asarray(IMAGES), epsilon=jnp.float32(EPSILON), steps=5, unroll=unroll)
        for unroll in (True, False)
    )
    np.testing.assert_allclose(written, looped, atol=1e-6)


def test_margins_by_hand():
    logits = jnp.array([[1.0, 4.0, 2.0], [5.0, -1.0, 4.5], [3.0, 3.0, 0.0]])
    np.testing.assert_allclose(attacks.margin(logits, jnp.array([1, 2, 0])), [-2.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(epsilon=-0.1, steps=1), "epsilon = -0.1: a size in pixels"),
        (dict(epsilon=0.1, steps=0), "steps = 0: a whole number of at least 1"),
        (dict(epsilon=0.1, steps=True), "steps = True: a whole number of at least 1"),
        (dict(epsilon=0.1, steps=2, step_size=-1.0), "step_size = -1.0"),
        (dict(epsilon=True, steps=1), "epsilon = True: a size in pixels"),
        (dict(epsilon=np.float32("nan"), steps=1), "epsilon = nan: a size in pixels"),
        (dict(epsilon=0.1, steps=1, pixels={"mean": 0.5, "std": 0.0}), "pixels: std = 0.0: numbers above 0"),
        (dict(epsilon=0.1, steps=1, pixels={"mean": (0.5,) * 7, "std": 1.0}), "has 7 numbers"),
    ],
)
def test_sizes_that_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        attacks.pgd(curved, jnp.asarray(IMAGES), **given)
