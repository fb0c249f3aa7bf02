"""ONNX files as players: their numbers are those of NumPy, under every transform; what cannot be read is refused."""

import functools
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnx_files
from kdgan import models
from kdgan.models import host, onnx_module

pytestmark = pytest.mark.extra("onnx", "onnxruntime")

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """(player, the same in NumPy)."""
    path = tmp_path_factory.mktemp("onnx") / "teacher.onnx"
    in_numpy = onnx_files.network(path)
    return models.build(f"onnx:{path}"), in_numpy


def test_it_gives_the_files_numbers_under_every_transform(file):
    player, in_numpy = file
    expected, call = in_numpy(IMAGES), functools.partial(player.apply, {})
    assert player.init(jax.random.key(0), IMAGES) == {}
    np.testing.assert_allclose(jax.jit(call)(IMAGES), expected, atol=1e-5)
    np.testing.assert_allclose(call(IMAGES), expected, atol=1e-5)
    both = jax.jit(jax.vmap(call))(np.stack([IMAGES, IMAGES[::-1]]))
    np.testing.assert_allclose(both, np.stack([expected, expected[::-1]]), atol=1e-5)
    split = jax.pmap(call)(IMAGES.reshape(4, 1, 8, 8, 1))
    np.testing.assert_allclose(split.reshape(4, 10), expected, atol=1e-5)
    _, scanned = jax.lax.scan(lambda carry, images: (carry, call(images)), 0, IMAGES[None])
    np.testing.assert_allclose(scanned[0], expected, atol=1e-5)


def test_it_has_no_gradient(file):
    player, _ = file
    slopes = jax.jit(jax.grad(lambda images: jnp.sum(player.apply({}, images) ** 2 + jnp.sum(images))))(IMAGES)
    np.testing.assert_array_equal(slopes, np.full_like(IMAGES, 40.0))


@pytest.mark.extra("jaxonnxruntime")
def test_with_gradients_they_are_those_of_differences(file):
    player, in_numpy = file
    converted = models.build(f"onnx:{player.file}", gradients=True)
    variables = jax.jit(converted.init)(jax.random.key(0), IMAGES)
    assert {name: leaf.shape for name, leaf in variables["params"]["weights"].items()} == {
        "kernel": (6, 1, 3, 3), "weight": (6, 10), "bias": (10,),
    }  # fmt: skip
    np.testing.assert_allclose(jax.jit(converted.apply)(variables, IMAGES[:3]), in_numpy(IMAGES[:3]), atol=1e-5)
    slopes = jax.jit(jax.grad(lambda images: converted.apply(variables, images).sum()))(IMAGES)
    for place in ((0, 3, 3, 0), (2, 0, 7, 0)):
        step = np.zeros(IMAGES.shape)
        step[place] = 1e-4
        difference = (in_numpy(IMAGES + step) - in_numpy(IMAGES - step)).sum() / 2e-4
        np.testing.assert_allclose(slopes[place], difference, atol=1e-4)


@pytest.mark.extra("jaxonnxruntime")
def test_with_gradients_an_unknown_operation_is_named(tmp_path):
    onnx_files.network(tmp_path / "net.onnx", nodes=("HardSwish", "Mish"))
    player = models.build(f"onnx:{tmp_path / 'net.onnx'}", gradients=True)
    with pytest.raises(ValueError, match=r"jaxonnxruntime knows no HardSwish, Mish|opset 17") as error:
        jax.eval_shape(player.init, jax.random.key(0), IMAGES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (dict(channels_first=False), (8, 8, 1)),
        (dict(channels=3), (8, 8, 3)),
        (dict(channels=3, channels_first=False, sides=(6, 8)), (6, 8, 3)),
        (dict(channels=3, sides=("h", "w")), (5, 8, 3)),
        (dict(batch=1), (8, 8, 1)),
    ],
)
def test_the_layout_is_found_and_a_batch_of_one_runs_example_by_example(tmp_path, options, shape):
    in_numpy = onnx_files.network(tmp_path / "net.onnx", **options)
    images = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    player = models.build(f"onnx:{tmp_path / 'net.onnx'}")
    np.testing.assert_allclose(jax.jit(player.apply)({}, images), in_numpy(images), atol=1e-5)


def test_a_layout_that_cannot_be_told_is_asked_for(tmp_path):
    in_numpy = onnx_files.network(tmp_path / "net.onnx", sides=("h", "w"), channels=3)
    images = np.random.default_rng(1).normal(size=(2, 3, 3, 3)).astype(np.float32)
    with pytest.raises(ValueError, match=r"does not say where the channels.*model_args = dict\(layout='NCHW'\)"):
        jax.eval_shape(models.build(f"onnx:{tmp_path / 'net.onnx'}").apply, {}, images)
    player = models.build(f"onnx:{tmp_path / 'net.onnx'}", layout="NCHW")
    np.testing.assert_allclose(player.apply({}, images), in_numpy(images), atol=1e-5)


def test_one_output_of_several_is_named(tmp_path):
    in_numpy = onnx_files.network(tmp_path / "net.onnx", outputs=2)
    with pytest.raises(
        ValueError, match=r"has the outputs logits, features; name one: model_args = dict\(output='logits'\)"
    ):
        jax.eval_shape(models.build(f"onnx:{tmp_path / 'net.onnx'}").apply, {}, IMAGES)
    player = models.build(f"onnx:{tmp_path / 'net.onnx'}", output="logits")
    np.testing.assert_allclose(player.apply({}, IMAGES), in_numpy(IMAGES), atol=1e-5)
    features = models.build(f"onnx:{tmp_path / 'net.onnx'}", output="features")
    assert jax.eval_shape(features.apply, {}, IMAGES).shape == (4, 6)


def test_a_file_of_bytes_is_given_pixels_in_0_to_1_as_bytes(tmp_path):
    in_numpy = onnx_files.network(tmp_path / "net.onnx", dtype="UINT8")
    player = models.build(
        f"onnx:{tmp_path / 'net.onnx'}",
    )
    pixels = np.random.default_rng(0).integers(0, 256, IMAGES.shape)
    np.testing.assert_allclose(player.apply({}, (pixels / 255).astype(np.float32)), in_numpy(pixels), rtol=1e-5)
    assert np.isnan(player.apply({}, IMAGES)).all()
    assert "the file takes uint8, and is given pixels from -" in player.failure
    assert "set mean = 0.0 and std = 1.0 of the player" in player.failure


def test_a_file_that_changed_is_another_player(tmp_path):
    first = onnx_files.network(tmp_path / "net.onnx", seed=0)
    before = models.build(f"onnx:{tmp_path / 'net.onnx'}")
    assert models.build(f"onnx:{tmp_path / 'net.onnx'}") == before
    np.testing.assert_allclose(before.apply({}, IMAGES), first(IMAGES), atol=1e-5)
    second = onnx_files.network(tmp_path / "net.onnx", seed=1)
    after = models.build(f"onnx:{tmp_path / 'net.onnx'}")
    assert after != before
    np.testing.assert_allclose(after.apply({}, IMAGES), second(IMAGES), atol=1e-5)


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    def refused(name, **arguments):
        with pytest.raises(ValueError, match=r"net\.onnx|none\.onnx|text\.onnx|two\.onnx") as error:
            jax.eval_shape(models.build(f"onnx:{tmp_path / name}", **arguments).apply, {}, IMAGES)
        assert "\n" not in str(error.value)
        return str(error.value)

    onnx_files.two_inputs(tmp_path / "two.onnx")
    assert "has 2 inputs (a, b); a file with one is accepted" in refused("two.onnx")
    assert "No such file or directory" in refused("none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    assert "is no ONNX file that onnxruntime reads" in refused("text.onnx")
    onnx_files.network(tmp_path / "net.onnx", batch=4)
    assert "takes an input of shape [4, 1, 8, 8]; a batch of any size, or of 1, is accepted" in refused("net.onnx")
    onnx_files.network(tmp_path / "net.onnx", sides=(6, 6))
    assert "takes an input of shape [?, 1, 6, 6], which images 8×8×1 do not fit in either layout" in refused("net.onnx")
    assert "layout = 'CHW'; it accepts NHWC or NCHW" in refused("net.onnx", layout="CHW")
    assert "has no field 'threads'; it accepts layout, output, gradients" in refused("net.onnx", threads=1)


def test_without_the_package_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    onnx_files.network(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    onnx_module.opened.cache_clear()
    with pytest.raises(ValueError, match=r'needs the package onnxruntime: pip install -e "\.\[onnx\]"'):
        models.build(f"onnx:{tmp_path / 'net.onnx'}")


def test_a_failure_on_the_host_gives_nan_and_is_remembered():
    calls = []

    def fails(images):
        calls.append(images.shape)
        raise OSError("no route\nto host")

    function = host.HostCall(fails, "players.teacher (f)")
    output = jax.jit(lambda images: host.call(function, (3,), images))(IMAGES)
    assert np.isnan(output).all()
    assert output.shape == (4, 3)
    assert function.failure == "players.teacher (f): OSError: no route to host"
    assert calls == [(4, 8, 8, 1)]
    wrong = host.HostCall(lambda images: images[:2, 0, 0], "players.teacher (g)")
    with pytest.raises(host.HostError, match=r"gave an array \[2, 1\] of float32 for 4 examples"):
        wrong(IMAGES)


@pytest.mark.parametrize("platform", ["tpu_plugin", "METAL"])
def test_a_platform_that_cannot_call_the_host_is_refused(platform):
    with pytest.raises(
        ValueError, match=f"a program on {platform} cannot call functions on the host; one on cpu, cuda"
    ):
        host.check_platform(platform)
    for known in ("cpu", "gpu", "tpu"):
        host.check_platform(known)


def test_devices_that_call_the_host_do_not_wait_for_each_other_for_ever():
    """Four devices, a failure on one of them, more values than are copied at once: in a process that may be stopped."""
    program = """
        import jax, numpy as np
        from kdgan.models import host

        def first(images):
            if images[0, 0] > 2:
                raise ValueError("only here")
            return images[:, :10]

        function = host.HostCall(first, "players.teacher")
        call = lambda images: jax.lax.psum(host.call(function, (10,), 1.0 * images).sum(), "batch")
        step = jax.pmap(call, axis_name="batch")
        images = np.ones((4, 64, 3072), np.float32)
        for _ in range(20):
            result = jax.block_until_ready(step(images))
        assert np.all(np.asarray(result) == 4 * 640.0), result
        images *= np.arange(4, dtype=np.float32)[:, None, None]
        assert np.isnan(np.asarray(jax.block_until_ready(step(images)))).all()
        assert function.failure.endswith("ValueError: only here")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=120)
