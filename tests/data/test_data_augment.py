"""Augmentation: known maps, properties of the random ones, independence of the batch's division, clear errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from kdgan.data import augment

IMAGE = jnp.asarray(np.random.default_rng(0).random((9, 9, 2)), jnp.float32)
BATCH = jnp.asarray(np.random.default_rng(1).random((8, 6, 7, 2)), jnp.float32)
EVERYTHING = {
    "affine": {"rotate": 20.0, "shift": 0.1, "zoom": 0.2},
    "crop": {"padding": 2},
    "flip": {},
    "cutout": {"size": 3},
}


def one_hot(classes, num_classes=4):
    return jnp.eye(num_classes, dtype=jnp.float32)[jnp.asarray(classes)]


def test_affine_map_without_motion_is_the_identity():
    np.testing.assert_allclose(augment.affine_map(IMAGE), IMAGE, atol=1e-6)


def test_integer_shift_is_roll_inside_and_fill_outside():
    moved = np.asarray(augment.affine_map(IMAGE, shift=(2.0, -3.0), fill=0.5))
    np.testing.assert_allclose(moved[2:, :-3], np.roll(IMAGE, (2, -3), axis=(0, 1))[2:, :-3], atol=1e-6)
    assert (moved[:2] == 0.5).all()
    assert (moved[:, -3:] == 0.5).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_rot90(turns):
    turned = augment.affine_map(IMAGE, degrees=90.0 * turns)
    np.testing.assert_allclose(turned, np.rot90(IMAGE, turns), atol=1e-5)


def test_affine_map_equals_scipy():
    degrees, shift, zoom = 27.0, (1.3, -0.6), 1.2
    angle = np.deg2rad(degrees)
    # Rows downwards: the inverse of a counter-clockwise turn.
    inverse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom
    centre = np.array([4.0, 4.0])
    offset = centre - inverse @ (centre + np.array(shift))
    expected = [
        scipy.ndimage.affine_transform(
            IMAGE[..., channel].astype(float), inverse, offset, order=1, mode="grid-constant"
        )
        for channel in range(2)
    ]
    moved = augment.affine_map(IMAGE, degrees=degrees, shift=shift, zoom=zoom)
    np.testing.assert_allclose(moved, np.stack(expected, -1), atol=1e-5)


def test_affine_stays_in_its_ranges():
    # A ramp's value says where it came from: shifts of at most 0.25·8 = 2 pixels, of both signs.
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (8, 8, 1))
    keys = jax.random.split(jax.random.key(0), 200)
    moved = jax.jit(jax.vmap(lambda key: augment.affine(key, ramp, shift=0.25)))(keys)
    down = 4.0 - np.asarray(moved)[:, 4, 4, 0]
    assert np.abs(down).max() <= 2.0
    assert down.max() > 1.8
    assert down.min() < -1.8
    np.testing.assert_allclose(augment.affine(keys[0], IMAGE), IMAGE, atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_crop_is_a_window_of_the_padded_image(mode):
    options = {"constant_values": 0.25} if mode == "constant" else {}
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), mode=mode, **options)
    windows = [(top, left) for top in range(5) for left in range(5)]
    crop = jax.jit(lambda key: augment.crop(key, IMAGE, padding=2, mode=mode, fill=0.25))
    found = set()
    for number in range(60):
        out = np.asarray(crop(jax.random.key(number)))
        found |= {(top, left) for top, left in windows if np.array_equal(out, padded[top : top + 9, left : left + 9])}
    assert len(found) > 15  # of 25; 60 draws miss more than nine with probability below 1e-6
    assert {top for top, _ in found} == {left for _, left in found} == set(range(5))


def test_flip_is_an_involution_of_known_result():
    flipped = augment.horizontal_flip(IMAGE)
    np.testing.assert_array_equal(flipped, IMAGE[:, ::-1])
    np.testing.assert_array_equal(augment.horizontal_flip(flipped), IMAGE)


def test_flip_happens_with_its_probability():
    keys = jax.random.split(jax.random.key(3), 1_000)

    def share(probability):
        out = jax.jit(jax.vmap(lambda key: augment.flip(key, IMAGE, probability=probability)))(keys)
        flipped = np.asarray(out == IMAGE[None, :, ::-1]).all(axis=(1, 2, 3))
        straight = np.asarray(out == IMAGE[None]).all(axis=(1, 2, 3))
        assert (flipped ^ straight).all()
        return flipped.mean()

    assert share(0.0) == 0
    assert share(1.0) == 1
    assert abs(share(0.3) - 0.3) < 4 * 0.0145


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_removes_one_square(size):
    ones = jnp.ones((9, 7, 2))
    keys = jax.random.split(jax.random.key(0), 300)
    out = np.asarray(jax.jit(jax.vmap(lambda key: augment.cutout(key, ones, size=size, fill=0.5)))(keys))
    assert set(np.unique(out)) == {0.5, 1.0}
    areas = set()
    for hole in out[..., 0] == 0.5:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        areas.add((len(rows), len(columns)))
    assert (size, size) in areas
    assert max(high for high, _ in areas) == max(wide for _, wide in areas) == size


def test_mixup_mixes_images_and_labels_alike():
    labels = one_hot(np.arange(8) % 4)
    image, label = jax.jit(lambda *a: augment.mixup(*a, alpha=1.0))(jax.random.key(2), BATCH, labels)
    np.testing.assert_allclose(label.sum(-1), 1.0, atol=1e-6)
    # λ and the partner are read off the image: for each example find b with x' = λa + (1−λ)b and one λ for all.
    weights = set()
    for number in range(8):
        fits = []
        for partner in range(8):
            direction = BATCH[number] - BATCH[partner]
            if partner == number:
                continue
            weight = np.vdot(image[number] - BATCH[partner], direction) / np.vdot(direction, direction)
            if np.abs(weight * BATCH[number] + (1 - weight) * BATCH[partner] - image[number]).max() < 1e-5:
                fits.append((weight, partner))
        if np.abs(image[number] - BATCH[number]).max() < 1e-6:
            continue  # its own partner
        ((weight, partner),) = fits
        np.testing.assert_allclose(label[number], weight * labels[number] + (1 - weight) * labels[partner], atol=1e-5)
        weights.add(round(float(weight), 3))
    assert len(weights) == 1
    assert 0 < weights.pop() < 1


def test_mixup_weights_follow_the_beta_distribution():
    image, label = jnp.zeros((2, 1, 1, 1)), jnp.eye(2)

    def weight(key):  # batch of two: where the partner is the other one, the label shows λ
        return augment.mixup(key, image, label, alpha=0.5)[1][0, 0]

    drawn = np.asarray(jax.jit(jax.vmap(weight))(jax.random.split(jax.random.key(0), 1_000)))
    drawn = drawn[drawn < 1 - 1e-6]
    assert scipy.stats.kstest(drawn, scipy.stats.beta(0.5, 0.5).cdf).pvalue > 1e-3


def test_cutmix_labels_are_the_areas():
    # Constant images: an image's mean shows what share of it came from where.
    values = np.arange(8, dtype=np.float32)
    images = jnp.broadcast_to(jnp.asarray(values)[:, None, None, None], (8, 6, 7, 1))
    labels = one_hot(np.arange(8), 8)
    mix = jax.jit(lambda key: augment.cutmix(key, images, labels, alpha=1.0))
    shares = []
    for number in range(30):
        image, label = (np.asarray(one) for one in mix(jax.random.key(number)))
        np.testing.assert_allclose(label.sum(-1), 1.0, atol=1e-6)
        np.testing.assert_allclose(image.mean(axis=(1, 2, 3)), label @ values, atol=1e-4)
        changed = image[..., 0] != values[:, None, None]
        for hole in changed[changed.any(axis=(1, 2))]:
            rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
            assert hole.sum() == len(rows) * len(columns)
            shares.append(hole.mean())
    assert np.ptp(shares) > 0.3


def test_empty_spec_is_the_identity():
    for spec in ({}, {"flip": None}, {"mixup": {"alpha": 0.2}}):
        np.testing.assert_array_equal(augment.make_augment(spec)(jax.random.key(0), jnp.arange(8), BATCH), BATCH)
    assert augment.make_mix({"affine": {}}) is None


def test_result_does_not_depend_on_how_the_batch_is_split():
    fn, key = jax.jit(augment.make_augment(EVERYTHING)), jax.random.key(5)
    whole = fn(key, jnp.arange(8), BATCH)
    halves = [fn(key, jnp.arange(start, start + 4), BATCH[start : start + 4]) for start in (0, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    turned = fn(key, jnp.arange(8)[::-1], BATCH[::-1])
    np.testing.assert_array_equal(whole, turned[::-1])
    devices = jax.pmap(augment.make_augment(EVERYTHING), in_axes=(None, 0, 0))
    split = devices(key, jnp.arange(8).reshape(4, 2), BATCH.reshape(4, 2, *BATCH.shape[1:]))
    np.testing.assert_allclose(split.reshape(BATCH.shape), whole, atol=1e-6)


def test_examples_and_steps_differ():
    same = jnp.broadcast_to(jnp.asarray(BATCH[:1]), BATCH.shape)
    fn = jax.jit(augment.make_augment(EVERYTHING))
    first, second = (np.asarray(fn(jax.random.key(seed), jnp.arange(8), same)) for seed in (0, 1))
    assert len(np.unique(first.reshape(8, -1), axis=0)) == 8
    assert (first != second).any(axis=(1, 2, 3)).all()


def test_turning_one_off_leaves_the_others_as_they_were():
    key, positions = jax.random.key(0), jnp.arange(8)
    flips = jax.jit(augment.make_augment({"flip": {}}))(key, positions, BATCH)
    # Without numbers the affine map is one without motion.
    both = jax.jit(augment.make_augment({"affine": {}, "flip": {}}))(key, positions, BATCH)
    np.testing.assert_allclose(flips, both, atol=1e-5)
    assert (np.asarray(flips) != BATCH).any()


def test_order_of_the_mapping_does_not_matter():
    spec = {name: EVERYTHING[name] for name in ("crop", "flip")}
    fns = [jax.jit(augment.make_augment(dict(items))) for items in (spec.items(), reversed(spec.items()))]
    outs = [fn(jax.random.key(0), jnp.arange(8), BATCH) for fn in fns]
    np.testing.assert_array_equal(*outs)


def test_make_mix_takes_either():
    labels = one_hot(np.arange(8) % 4)
    mix = jax.jit(augment.make_mix({"mixup": {"alpha": 1.0}, "cutmix": {"alpha": 1.0}, "flip": {}}))
    kinds = set()
    for number in range(12):
        image, label = mix(jax.random.key(number), BATCH, labels)
        np.testing.assert_allclose(label.sum(-1), 1.0, atol=1e-6)
        # cutmix copies values, mixup makes new ones
        kinds.add(bool(np.isin(np.asarray(image), BATCH).all()))
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({"afine": {}}, r"augment has no 'afine' \(did you mean 'affine'\?\); there are affine, crop"),
        ({"affine": {"rotation": 3}}, r"augment\.affine has no field 'rotation' \(did you mean 'rotate'\?\)"),
        ({"crop": {}}, r"augment\.crop needs the field 'padding'"),
        ({"mixup": {}}, r"augment\.mixup needs the field 'alpha': a number above 0"),
        ({"cutmix": {"alpha": 0}}, r"augment\.cutmix\.alpha must be a number above 0, got 0"),
        ({"affine": {"rotate": 200}}, r"augment\.affine\.rotate must be degrees in 0\.\.180, got 200"),
        ({"affine": {"zoom": 1.0}}, r"augment\.affine\.zoom must be a fraction in 0\.\.1 \(1 excluded\), got 1\.0"),
        ({"affine": {"shift": "far"}}, r"augment\.affine\.shift must be a fraction in 0\.\.1, got 'far'"),
        ({"affine": {"fill": float("nan")}}, r"augment\.affine\.fill must be a finite number, got nan"),
        ({"crop": {"padding": 1.5}}, r"augment\.crop\.padding must be a whole number of pixels, at least 1, got 1\.5"),
        ({"crop": {"padding": 1, "mode": "wrap"}}, r"augment\.crop\.mode must be 'constant', 'reflect' or 'edge'"),
        ({"cutout": {"size": 0}}, r"augment\.cutout\.size must be a whole number of pixels, at least 1, got 0"),
        ({"flip": {"probability": 1.5}}, r"augment\.flip\.probability must be a probability in 0\.\.1, got 1\.5"),
        ({"flip": True}, r"augment\.flip must be a mapping of its fields \(may be empty\) or None, got True"),
    ],
)
def test_wrong_specs(spec, match):
    for make in (augment.make_augment, augment.make_mix):
        with pytest.raises(ValueError, match=match):
            make(spec)


def test_reflection_needs_an_image_larger_than_the_padding():
    with pytest.raises(ValueError, match=r"augment\.crop\.padding = 9 must be below the image's \(9, 9\) to reflect"):
        augment.crop(jax.random.key(0), IMAGE, padding=9, mode="reflect")


def test_turn_is_numpys_quarter_turn_and_alike_for_any_channels():
    image = np.random.default_rng(0).random((5, 5, 2), np.float32)
    seen = set()
    for seed in range(24):
        turned = augment.turn(jax.random.key(seed), jnp.asarray(image))
        (quarters,) = (k for k in range(4) if np.array_equal(turned, np.rot90(image, k)))
        np.testing.assert_array_equal(
            augment.turn(jax.random.key(seed), jnp.asarray(image[..., :1])), np.rot90(image, quarters)[..., :1]
        )
        seen.add(quarters)
    assert seen == {0, 1, 2, 3}
    with pytest.raises(ValueError, match=r"augment.turn turns squares, .* are \(5, 4\)"):
        augment.turn(jax.random.key(0), jnp.asarray(image[:, :4]))


def test_a_turn_leaves_the_draws_of_the_others_as_they_were():
    image = jnp.asarray(np.random.default_rng(0).random((3, 6, 6, 1), np.float32))
    key, place = jax.random.key(3), jnp.arange(3)
    plain = augment.make_augment({"flip": {}, "crop": {"padding": 1}})(key, place, image)
    turned = augment.make_augment({"turn": {}, "flip": {}, "crop": {"padding": 1}})(key, place, image)
    for before, after in zip(plain, turned, strict=True):
        assert any(np.array_equal(np.rot90(before, k), after) for k in range(4))
