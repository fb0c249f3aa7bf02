"""DiffAugment: each transform read back from its output, independence of the draws, gradients, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.data.diffaugment import color, cutout, diffaugment, translation

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 200)
WHOLE = "color,translation,cutout"
BATCH = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 16, 8, 3)), jnp.float32)


def draws(transform, image):
    return np.asarray(jax.jit(jax.vmap(lambda key: transform(key, image)))(KEYS))


def test_color_is_brightness_saturation_and_contrast():
    # Two pixels of two channels. With m the image's mean, a pixel's own mean deviates from m by t times what it did, and
    # its channels from the pixel's mean by t·s times: b, s and t are read off and the rest must fit.
    image = jnp.array([[[0.1, 0.5], [-0.6, 0.4]]])
    out = draws(color, image).astype(np.float64)
    pixels, before = out.mean(-1, keepdims=True), np.asarray(image.mean(-1, keepdims=True))
    brightness = out.mean((1, 2, 3)) - float(image.mean())
    contrast = (pixels[:, 0, 0, 0] - pixels[:, 0, 1, 0]) / (before[0, 0, 0] - before[0, 1, 0])
    saturation = (out[:, 0, 0, 1] - out[:, 0, 0, 0]) / 0.4 / contrast
    np.testing.assert_allclose(out[:, 0, 1, 1] - out[:, 0, 1, 0], contrast * saturation * 1.0, atol=1e-5)
    for value, low, high in ((brightness, -0.5, 0.5), (saturation, 0.0, 2.0), (contrast, 0.5, 1.5)):
        assert low - 1e-5 <= value.min() < low + 0.1 * (high - low)
        assert high + 1e-5 >= value.max() > high - 0.1 * (high - low)
    # Three draws, not one in three roles.
    off_diagonal = np.corrcoef([brightness, saturation, contrast])[np.triu_indices(3, 1)]
    assert np.abs(off_diagonal).max() < 4 / np.sqrt(len(KEYS))


def test_grey_images_have_no_saturation():
    # A pixel is its own mean, so all that is left is an affine map of the image, of slope t in ½ .. 3/2.
    image = jnp.array([[[-0.5], [0.0], [1.0]]])
    out = draws(color, image)[:, 0, :, 0]
    slope = out[:, 1] - out[:, 0]
    np.testing.assert_allclose(out[:, 2] - out[:, 1], 2 * slope, atol=1e-5)
    assert slope.min() > 0.24
    assert slope.max() < 0.76


def test_translation_is_by_up_to_an_eighth_with_zeros_behind():
    image = BATCH[0] + 2.0  # 16 rows: up to 2; 8 columns: up to 1; no pixel is 0
    expected = {}
    padded = np.pad(image, ((2, 2), (1, 1), (0, 0)))
    for down in range(-2, 3):
        for right in range(-1, 2):
            expected[down, right] = padded[2 - down : 18 - down, 1 - right : 9 - right]
    seen = set()
    for out in draws(translation, image):
        (shift,) = (shift for shift, moved in expected.items() if np.array_equal(out, moved))
        seen.add(shift)
    assert seen == set(expected)


@pytest.mark.parametrize("shape", [(8, 6, 2), (5, 7, 1)])
def test_cutout_zeroes_one_rectangle_of_half_size(shape):
    out = draws(cutout, jnp.ones(shape))
    assert set(np.unique(out)) == {0.0, 1.0}
    full = tuple(int(side / 2 + 0.5) for side in shape[:2])
    areas, touched = set(), np.zeros(shape[:2], bool)
    for hole in (out == 0).all(-1):
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns) > 0
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        areas.add((len(rows), len(columns)))
        touched |= hole
    assert full in areas
    assert max(high for high, _ in areas) == full[0]
    assert max(wide for _, wide in areas) == full[1]
    assert touched.all()


def test_examples_differ_and_one_key_gives_one_transform():
    same = jnp.broadcast_to(BATCH[:1], BATCH.shape)
    augment = jax.jit(diffaugment)
    out = np.asarray(augment(KEY, same))
    assert len(np.unique(out.reshape(4, -1), axis=0)) == 4
    np.testing.assert_array_equal(augment(KEY, same), out)
    assert np.any(np.asarray(augment(jax.random.key(1), same)) != out, axis=(1, 2, 3)).all()
    # By place in the batch: a smaller batch under the same key gets the same transforms.
    np.testing.assert_array_equal(augment(KEY, same[:2]), out[:2])


def test_real_and_fake_of_one_key_are_moved_alike():
    mask = jax.jit(lambda image: diffaugment(KEY, image, policy="translation,cutout") == 0)
    np.testing.assert_array_equal(mask(BATCH + 2.0), mask(BATCH - 2.0))


@pytest.mark.parametrize("policy", ["translation", "cutout", "color", WHOLE])
def test_linear_in_the_images_but_for_the_brightness(policy):
    augment = jax.jit(lambda image: diffaugment(KEY, image, policy=policy))
    at_zero = augment(jnp.zeros_like(BATCH))
    assert bool(jnp.all(at_zero == 0)) == ("color" not in policy)
    other = BATCH[::-1]
    combined = augment(2.0 * BATCH - 3.0 * other) - at_zero
    expected = 2.0 * (augment(BATCH) - at_zero) - 3.0 * (augment(other) - at_zero)
    np.testing.assert_allclose(combined, expected, atol=1e-5)


def test_gradient_is_the_transpose():
    # Of a transform that is linear up to a constant, <v, J u> = <Jᵀ v, u>, with J u a difference of two outputs.
    augment = jax.jit(lambda image: diffaugment(KEY, image))
    u, v = (jnp.asarray(np.random.default_rng(seed).normal(size=BATCH.shape), jnp.float32) for seed in (1, 2))
    out, pull_back = jax.vjp(augment, BATCH)
    (gradient,) = pull_back(v)
    np.testing.assert_allclose(jnp.vdot(gradient, u), jnp.vdot(v, augment(BATCH + u) - out), rtol=1e-4)
    assert np.any(np.asarray(gradient) != 0, axis=(1, 2, 3)).all()


def test_cut_and_shifted_out_pixels_get_no_gradient():
    total = lambda image: diffaugment(KEY, image, policy="translation,cutout").sum()
    kept, gradient = jax.jit(jax.value_and_grad(total))(jnp.ones_like(BATCH))
    assert set(np.unique(gradient)) == {0.0, 1.0}
    assert gradient.sum() == kept < BATCH.size


def test_policy_names_its_transforms_in_order():
    @jax.jit
    def augment():
        return {
            policy: diffaugment(KEY, BATCH, policy=policy)
            for policy in ("", " color , cutout", "cutout,color", "cutout")
        }

    out = jax.tree.map(np.asarray, augment())
    np.testing.assert_array_equal(out[""], BATCH)
    # Leaving one out leaves the others' draws alone; coloured last, the hole is no longer 0.
    hole = out["cutout"] == 0
    assert (out[" color , cutout"][hole] == 0).all()
    assert (out["cutout,color"][hole] != 0).all()
    assert (out[" color , cutout"][~hole] != out["cutout"][~hole]).all()


def test_float_type_is_kept():
    found = jax.eval_shape(lambda image: diffaugment(KEY, image), BATCH.astype(jnp.bfloat16))
    assert (found.dtype, found.shape) == (jnp.bfloat16, BATCH.shape)


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        ("colour", r"policy is 'colour': 'colour' is unknown; the names are color, translation, cutout"),
        ("color,", r"'' is unknown"),
        ("cutout,color,cutout", r"'cutout' stands there 2 times"),
    ],
)
def test_wrong_policies(policy, match):
    with pytest.raises(ValueError, match=match):
        diffaugment(KEY, BATCH, policy=policy)
