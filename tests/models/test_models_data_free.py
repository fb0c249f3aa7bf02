"""Generators with a standardised output against their equation, sets of images, and what CMI and Fast remember."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models
from kdgan.batch_statistics import LayerStatistics

KEY = jax.random.key(0)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, *inputs):
    """Variables of a module, its running averages too, of NumPy's making."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(module.init, KEY, *inputs)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, leaf.dtype), shapes)
    return {**variables, "batch_stats": jax.tree.map(jnp.abs, variables["batch_stats"])}


def normalised(x, kept, layer=None):
    x = (x - np.float64(kept["mean"])) / np.sqrt(np.float64(kept["var"]) + 1e-5)
    return x if layer is None else x * np.float64(layer["scale"]) + np.float64(layer["bias"])


def convolved(x, layer):
    """3×3, padded by one, by its nine shifts."""
    kernel, (_, h, w, _) = np.float64(layer["kernel"]), x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = (padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))
    return sum(shifts) + np.float64(layer.get("bias", 0.0))


def test_a_standardised_generator_is_its_equation():
    module, noise = models.StandardisedGenerator(8, 2, features=4), draw(0, 3, 5)
    variables = drawn(module, noise)
    p, s = variables["params"], variables["batch_stats"]
    leaky = lambda x: np.where(x > 0, x, 0.2 * x)
    doubled = lambda x: x.repeat(2, axis=1).repeat(2, axis=2)
    y = (np.float64(noise) @ np.float64(p["dense"]["kernel"])).reshape(3, 2, 2, 4)
    y = normalised(y, s["bn1"], p["bn1"])
    for i in (2, 3):
        y = leaky(normalised(convolved(doubled(y), p[f"conv{i}"]), s[f"bn{i}"], p[f"bn{i}"]))
    y = normalised(np.tanh(convolved(y, p["head"])), s["standardise"])
    np.testing.assert_allclose(jax.jit(module.apply)(variables, noise), y, rtol=1e-4, atol=1e-4)
    assert "standardise" not in p  # neither scale nor bias
    assert {name for name in p if "bias" in p[name] and not name.startswith("bn")} == {"head"}


def test_while_it_trains_each_channel_of_a_batch_has_mean_0_and_variance_1():
    module, noise = models.StandardisedGenerator(8, 2, features=4), draw(0, 16, 5)
    image, _ = jax.jit(lambda v, z: module.apply(v, z, train=True, mutable=["batch_stats"]))(
        drawn(module, noise), noise
    )
    np.testing.assert_allclose(image.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(image.std((0, 1, 2)), 1, atol=1e-3)


def test_a_bounded_image_is_the_standardised_one_within_the_bounds_of_each_channel():
    bounds = ((-0.5, -0.1), (0.4, 0.9))
    free, bound = (models.StandardisedGenerator(8, 2, features=4, bounds=of) for of in (None, bounds))
    noise = draw(0, 3, 5)
    variables = drawn(free, noise)
    image = jax.jit(free.apply)(variables, noise)
    assert (image < -0.5).any()
    np.testing.assert_allclose(jax.jit(bound.apply)(variables, noise), np.clip(image, *bounds), rtol=1e-5, atol=1e-6)
    assert (free.output_range, bound.output_range) == (None, (-0.5, 0.9))


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0,), ((0.0, 0.0, 0.0), 1.0), (0.0, float("nan"))])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match=r"bounds = .*\(lowest, highest\), numbers or 2 of them, or None is accepted"):
        models.StandardisedGenerator(8, 2, bounds=bounds)


@pytest.mark.parametrize(("features", "count"), [(128, 849_601), (16, 82_009)])
def test_parameters_by_hand(features, count):
    module = models.build("standardised_generator", image_size=28, channels=1, features=features)
    image, variables = jax.eval_shape(module.init_with_output, KEY, jnp.zeros((2, 100)))
    assert image.shape == (2, 28, 28, 1)
    half = features // 2
    by_hand = 100 * 49 * features + 9 * features**2 + 9 * features * half + 9 * half + 1 + 2 * (2 * features + half)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == by_hand == count


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("standardised_generator", {"image_size": 30}, "image_size = 30; it accepts a multiple of 4"),
        ("standardised_generator", {"features": 0}, "features = 0"),
        ("images", {"number": 0}, "number = 0"),
        ("contrast", {"drawn": 0}, "drawn = 0"),
        ("contrast", {"number": 4, "drawn": 5}, "drawn = 5; it accepts 1 to number = 4"),
        ("moving_statistics", {"rate": 1.0}, "rate = 1.0"),
    ],
)
def test_fields_out_of_range_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **fields)


@pytest.mark.parametrize("fields", [{"size": 0}, {"size": 10**10}, {"draws": 0}])
def test_memories_of_no_number_of_images_are_refused(fields):
    ((name, value),) = fields.items()
    with pytest.raises(ValueError, match=f"memory.{name} = {value}: a whole number from 1 to 2,147,483,647"):
        models.Memory(**fields).init(KEY, jnp.zeros((2, 2, 2, 1)))


def test_images_are_their_parameters_by_place():
    module, place = models.Images(3, 2, 1), jnp.array([2, 0, 5])
    variables = module.init(KEY, place)
    images = variables["params"]["images"]
    assert images.shape == (3, 2, 2, 1)
    np.testing.assert_array_equal(module.apply(variables, place), images[jnp.array([2, 0, 2])])
    with pytest.raises(ValueError, match=r"places of shape \(2, 3\)"):
        module.apply(variables, jnp.zeros((2, 3), jnp.int32))


def test_contrast_projects_the_batch_beside_what_it_remembers():
    module, local, whole = models.Contrast(3, 0, 6, 4), draw(0, 2, 5), draw(1, 2, 5)
    run = jax.jit(lambda v, a, b, key: module.apply(v, a, b, train=True, mutable=["memory"], rngs={"params": key}))
    variables = module.init(KEY, local, whole)
    p = variables["params"]

    def projected(x):
        x = np.maximum(np.float64(x) @ np.float64(p["hidden"]["kernel"]), 0) @ np.float64(p["head"]["kernel"])
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    (first, other, counts), memory = run(variables, local, whole, KEY)
    np.testing.assert_allclose(first[:2], projected(local), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other[:2], projected(whole), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(counts, [True] * 2 + [False] * 4)  # it remembers none yet
    for i in range(2, 4):
        new = draw(i, 2, 5), draw(10 + i, 2, 5)
        (first, other, counts), memory = run({**variables, **memory}, *new, jax.random.key(i))
    # By then it remembers the two batches before: those rows that count are of them, in pairs, and none twice.
    known = [projected(jnp.concatenate(pair)) for pair in ((local, draw(2, 2, 5)), (whole, draw(12, 2, 5)))]
    places, remembered = [], np.flatnonzero(counts[2:]) + 2
    for row, beside in zip(np.asarray(first)[remembered], np.asarray(other)[remembered], strict=True):
        place = np.abs(known[0] - row).sum(-1).argmin()
        np.testing.assert_allclose(row, known[0][place], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(beside, known[1][place], rtol=1e-3, atol=1e-4)
        places.append(place)
    assert len(set(places)) == len(places) >= 2  # of six places four are drawn, of which at most two are empty


def layers(mean, variance):
    full = lambda value: jnp.full(2, value)
    return {"a/bn": LayerStatistics(full(mean), full(variance), full(0.0), full(1.0))}


def test_moving_statistics_by_hand():
    module, variables = models.MovingStatistics(0.9), models.MovingStatistics().init(KEY, layers(0.0, 0.0))
    averages = None
    for mean, variance in ((1.0, 2.0), (3.0, 4.0), (-1.0, 1.0)):
        mixed, variables = module.apply(variables, layers(mean, variance), train=True, mutable=["memory"])
        new = np.array([mean, variance])
        averages = new if averages is None else 0.1 * new + 0.9 * averages
        np.testing.assert_allclose([mixed["a/bn"].mean[0], mixed["a/bn"].variance[0]], averages, rtol=1e-6)
        assert mixed["a/bn"].running_variance[0] == 1.0
    mixed = module.apply(variables, layers(0.0, 0.0))  # in evaluation mode mixed, and not moved
    np.testing.assert_allclose(mixed["a/bn"].mean[0], 0.9 * averages[0], rtol=1e-6)
    gradient = jax.grad(lambda mean: module.apply(variables, layers(mean, 0.0))["a/bn"].mean[0])(0.5)
    np.testing.assert_allclose(gradient, 0.1, rtol=1e-5)
