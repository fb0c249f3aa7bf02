"""Tiles of an image-to-image function are one pass over the image, or it is said why they cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models, reach, tiling
from kdgan.models import instance_norm


class Plain(nn.Module):
    """Convolutions at the full resolution; a relu in which NaN is lost."""

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(3, (5, 3))(x)
        return x - nn.Conv(x.shape[-1], (3, 3))(jnp.where(y > 0, y, 0.0))


class Phases(nn.Module):
    """Another function for each of four phases of the pixels: pixel unshuffle and shuffle, sides padded by their edge."""

    scale: int = 1

    @nn.compact
    def __call__(self, x):
        b, h, w, c = x.shape
        y = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
        y = y.reshape(b, y.shape[1] // 2, 2, y.shape[2] // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        y = nn.relu(nn.Conv(6, (3, 3))(y.reshape(*y.shape[:3], 4 * c)))
        s = 2 * self.scale
        y = nn.Conv(c * s * s, (3, 3))(y)
        y = y.reshape(*y.shape[:3], s, s, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, s * y.shape[1], s * y.shape[2], c)
        return y[:, : self.scale * h, : self.scale * w]


class Hourglass(nn.Module):
    """Strides, transposed convolution and bilinear enlargement, sides padded by reflection to a multiple of four."""

    @nn.compact
    def __call__(self, x):
        h, w = x.shape[1:3]
        z = jnp.pad(x, ((0, 0), (0, -h % 4), (0, -w % 4), (0, 0)), mode="reflect")
        first = nn.relu(nn.Conv(3, (3, 3), (2, 2))(z))
        y = nn.relu(nn.Conv(3, (3, 3), (2, 2))(first))
        y = nn.relu(nn.ConvTranspose(3, (4, 4), (2, 2))(y)) + first
        return (z + nn.Conv(x.shape[-1], (1, 1))(jax.image.resize(y, (*z.shape[:3], 3), "bilinear")))[:, :h, :w]


class Painter(nn.Module):
    """Instance and group norm, global mean, maximum and deviation; reflected borders, nearest enlargement."""

    @nn.compact
    def __call__(self, x):
        h, w, c = x.shape[1:]
        y = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
        y = nn.relu(nn.InstanceNorm()(nn.Conv(4, (5, 5), padding="VALID")(y)))
        y = nn.Conv(4, (3, 3), (2, 2))(y)
        gate = nn.sigmoid(nn.Dense(4)(y.max((1, 2)) + y.mean((1, 2)) - jnp.std(y, axis=(1, 2))))
        y = y + gate[:, None, None] * nn.GroupNorm(num_groups=2)(y)
        y = jax.image.resize(y, (1, 2 * y.shape[1], 2 * y.shape[2], 4), "nearest")[:, :h, :w]
        return nn.sigmoid(nn.Conv(c, (3, 3))(y))


class Attends(nn.Module):
    @nn.compact
    def __call__(self, x):
        b, h, w, c = x.shape
        return x + nn.MultiHeadDotProductAttention(1)(x.reshape(b, h * w, c)).reshape(x.shape)


class Columns(nn.Module):
    """A mean over rows alone."""

    @nn.compact
    def __call__(self, x):
        return x - x.mean(1, keepdims=True)


def both(module, size, tile, channels=1):
    """(one pass, tiles, the plan) on random pixels."""
    image = np.random.default_rng(0).uniform(size=(*size, channels)).astype(np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 16, 16, channels)))

    def function(variables, image):
        with nn.intercept_methods(instance_norm.moments_at_once):
            return module.apply(variables, image)

    tiler = tiling.Tiler(function, variables, channels)
    plan = tiler.plan(size, tile)
    expected = np.clip(np.asarray(jax.jit(module.apply)(variables, image[None])[0]), 0, 1)
    made = np.full((*plan.size, expected.shape[-1]), np.nan, np.float32)
    counted = []
    for rows, columns, block in tiler.blocks(plan, lambda r, c: image[r, c], np.float32, counted.append):
        assert np.isnan(made[rows, columns]).all()  # each pixel is made once
        made[rows, columns] = block
    assert sum(counted) == plan.tiles
    return expected, made, plan


@pytest.mark.parametrize(
    ("module", "size", "tile", "scale", "period", "levels"),
    [
        (Plain(), (61, 50), 32, 1, 1, 0),
        (Plain(), (70, 1), 24, 1, 1, 0),
        (Phases(), (63, 50), 29, 1, 2, 0),
        (Phases(scale=3), (41, 30), 30, 3, 2, 0),
        (Hourglass(), (83, 62), 48, 1, 4, 0),
        (Painter(), (73, 55), 48, 1, 2, 3),
    ],
)
def test_tiles_equal_one_pass(module, size, tile, scale, period, levels):
    expected, made, plan = both(module, size, tile)
    assert len(plan.rows.starts) > 1
    assert (plan.scale, plan.reach.period, plan.reach.levels) == (scale, period, levels)
    assert (plan.rows.side - size[0]) % period == 0
    assert all(start % period == 0 for start in plan.rows.starts)
    np.testing.assert_allclose(made, expected, atol=1e-4 if levels else 1e-5, rtol=0)


def test_the_radius_is_that_of_the_kernels_and_strides():
    """Kernels 5 and 3 reach 2 + 1 pixels; of half the sides 3 and 3 reach 4 pixels, and the phase of a pixel one more."""
    for module, least, most in ((Plain(), 3, 3), (Phases(), 4, 5)):
        variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
        known = reach.find(module.apply, variables, 1, (400, 8), (True, False))
        assert least <= known.radius <= most


def test_an_image_that_is_no_larger_than_a_tile_is_one_pass_and_is_not_probed(monkeypatch):
    monkeypatch.setattr(reach, "find", None)
    for size in ((32, 7), (1, 1), (5, 32)):
        expected, made, plan = both(Plain(), size, 32)
        assert (plan.tiles, plan.reach) == (1, None)
        np.testing.assert_allclose(made, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Attends(), r"its reduce_\w+ in Attends/MultiHeadDotProductAttention_0.* takes part in every pixel"),
        (Columns(), "its reduce_sum in Columns takes part in every pixel"),
    ],
)
def test_what_takes_all_of_an_image_in_another_way_is_refused_by_its_operation(module, words):
    with pytest.raises(reach.CannotTileError, match=words):
        both(module, (64, 4), 32)


def test_a_function_that_nobody_can_divide_is_one_pass_where_memory_allows():
    tiler = tiling.Tiler(lambda _, image: image - image.mean(1, keepdims=True), {}, 1)
    assert tiler.plan((600, 4)).tiles == 1


def test_an_image_is_not_made_of_other_sides():
    tiler = tiling.Tiler(lambda _, image: image[:, 1:-1, 1:-1], {}, 1)
    with pytest.raises(reach.CannotTileError, match="38×38 pixels of 40×40"):
        tiler.plan((40, 40))


def test_a_tile_without_a_core_is_refused_with_the_least():
    with pytest.raises(ValueError, match="tiles of 6 pixels: an output sees 3 pixels to every side; at least 8"):
        both(Plain(), (40, 40), 6)


def test_bytes_are_rounded_as_an_exported_file_is_read():
    tiler = tiling.Tiler(lambda _, image: 1.37 * image - 0.1, {}, 1)
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    ((_, _, block),) = tiler.blocks(tiler.plan((16, 16)), lambda r, c: image[r, c], np.uint8)
    expected = np.round(np.clip(1.37 * image.astype(np.float64) - 25.5, 0, 255))
    assert block.dtype == np.uint8
    assert np.abs(block - expected).max() <= 1
    assert (block == expected).mean() > 0.9


def test_sizes_that_are_congruent_are_probed_once(monkeypatch):
    tiler = tiling.Tiler(lambda _, image: image, {}, 1)
    tiler.plan((50, 50), 32)
    monkeypatch.setattr(reach, "find", None)
    assert tiler.plan((77, 90), 32).tiles == 9


def test_a_program_that_takes_much_memory_gets_smaller_tiles(monkeypatch):
    tiler = tiling.Tiler(lambda _, image: image, {}, 1)
    monkeypatch.setattr(tiling.Tiler, "_bytes", lambda self, sides: 4 * sides[0] * sides[1] * 1000)
    assert tiler.plan((5000, 5000)).rows.side == 256
    assert tiler.plan((5000, 5000), 700).rows.side == 700


NETWORKS = [
    ("bicubic", dict(scale=2)), ("unshuffle", dict(width=4, depth=3)), ("unshuffle", dict(width=4, depth=3, scale=3)),
    ("dncnn", dict(width=4, depth=4)), ("fsrcnn", dict(scale=2, d=6, s=3, m=1)), ("unet", dict(width=2, levels=3)),
    ("imdn", dict(width=4, blocks=1)), ("johnson", dict(contract=(3, 4), blocks=1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields"), NETWORKS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_networks_of_this_package_are_made_of_tiles(name, fields):
    expected, made, plan = both(models.build(name, **fields), (151, 130), 112)
    assert len(plan.rows.starts) * len(plan.columns.starts) == 4
    np.testing.assert_allclose(made, expected, atol=1e-4 if plan.reach.levels else 1e-5, rtol=0)
