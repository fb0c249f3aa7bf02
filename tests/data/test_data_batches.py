"""Batches of arrays and the device's side: gather, normalise, channel statistics."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.data.batches import batches, channel_statistics, gather, indices_of_step, normalise

IMAGE = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 2), np.uint8)
LABEL = np.arange(10) % 3


def test_gather_is_indexing_under_jit():
    arrays = {"image": jnp.asarray(IMAGE), "label": jnp.asarray(LABEL)}
    chosen = np.array([[7, 0], [7, 9]])
    out = jax.jit(gather)(arrays, jnp.asarray(chosen))
    for name, expected in (("image", IMAGE), ("label", LABEL)):
        np.testing.assert_array_equal(out[name], expected[chosen])
        assert out[name].dtype == arrays[name].dtype


@pytest.mark.parametrize("mean", [0.25, (0.1, 0.6)])
def test_normalise_by_its_equation(mean):
    std = (0.5, 0.2)
    expected = (IMAGE.astype(np.float64) / 255 - np.asarray(mean)) / np.asarray(std)
    for out in (
        normalise(IMAGE, mean=mean, std=std),
        jax.jit(lambda image: normalise(image, mean=mean, std=std))(jnp.asarray(IMAGE)),
        normalise((IMAGE / 255).astype(np.float32), mean=mean, std=std),
        normalise(IMAGE[0], mean=mean, std=std)[None],
    ):
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, expected[: len(out)], atol=1e-5)
    assert isinstance(normalise(IMAGE), np.ndarray)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mean": (0.1, 0.2, 0.3)}, r"mean must be one number or one for each of 2 channels, got \(0\.1"),
        ({"std": 0.0}, r"std must be positive, got 0\.0"),
        ({"std": float("nan")}, r"std must be one number"),
    ],
)
def test_normalise_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        normalise(IMAGE, **arguments)


def test_channel_statistics_are_those_of_numpy():
    mean, std = channel_statistics(IMAGE)
    np.testing.assert_allclose(mean, (IMAGE / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, (IMAGE / 255).std(axis=(0, 1, 2)))
    assert channel_statistics(np.full((2, 2, 2, 1), 255, np.uint8)) == ((1.0,), (1.0,))


def test_batches_follow_the_order_and_can_start_anywhere():
    whole = list(batches(IMAGE, LABEL, batch_size=4, steps=6, seed=3, mean=0.5))
    assert len(whole) == 6
    for step, batch in enumerate(whole):
        chosen = indices_of_step(10, 4, seed=3, stage=0, step=step)
        np.testing.assert_allclose(batch["image"], IMAGE[chosen] / 255 - 0.5, atol=1e-6)
        np.testing.assert_array_equal(batch["label"], LABEL[chosen])
        assert (batch["image"].dtype, batch["label"].dtype) == (np.float32, np.int32)
    late = list(batches(IMAGE, LABEL, batch_size=4, steps=2, seed=3, start_step=4, mean=0.5))
    np.testing.assert_array_equal(late[1]["image"], whole[5]["image"])


def test_batches_take_soft_labels_and_floats():
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 10)
    batch = next(batches((IMAGE / 255).astype(np.float32), soft, batch_size=4, steps=1))
    chosen = indices_of_step(10, 4, seed=0, stage=0, step=0)
    np.testing.assert_allclose(batch["label"], soft[chosen], atol=1e-6)
    np.testing.assert_allclose(batch["image"], IMAGE[chosen] / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"images": np.zeros((10, 3, 8, 8))}, r"images: shape \[10, 3, 8, 8\] looks like channels first"),
        ({"images": IMAGE[0]}, r"images must be \[n, h, w, c\], got shape \[3, 4, 2\]"),
        ({"labels": LABEL[:3]}, r"labels must be \[n\] or \[n, k\], one an image, got shape \[3\] for 10 images"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"std": 0.0}, "std must be positive"),
    ],
)
def test_batches_refuse_at_the_call(arguments, match):
    with pytest.raises(ValueError, match=match):
        batches(**({"images": IMAGE, "labels": LABEL, "batch_size": 4, "steps": 1} | arguments))


def test_importing_the_package_imports_nothing_slow():
    slow = "{'tensorflow_datasets', 'grain', 'sklearn', 'PIL', 'tensorflow', 'scipy.stats'}"
    code = f"import sys, kdgan.data, kdgan.data.stream, kdgan.data.splits; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
