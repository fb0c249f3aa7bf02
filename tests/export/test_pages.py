"""Pages of players of this project: what they compute in headless Chromium is what JAX computes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan.data.fields import Field
from kdgan.export import Exportable, onnx, onnxruntime_web, page, pages, write
from kdgan.export.exportable import function
from kdgan.losses.latents import project
from kdgan.models.cnn import CNN
from kdgan.models.dcgan import DCGANGenerator

IMAGE, LABEL = Field("image", (8, 8, 1)), Field("class", (), None, ("a", "b", "c"))
WITH_JAX2ONNX = pytest.mark.extra("jax2onnx", "onnx", "onnxruntime")


class Smoother(nn.Module):
    """An image of an image."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return x + nn.Conv(1, (3, 3))(nn.relu(nn.Conv(4, (3, 3))(x)))


def player(name, module, inputs, output, *given, **about):
    variables = {**jax.jit(module.init)(jax.random.key(len(name)), *given)}
    params = variables.pop("params")
    # Batch statistics as training leaves them, not zeros and ones.
    state = jax.tree.map(lambda x: x + 0.5, variables)
    return Exportable(name, module, {"params": params, "model_state": state}, inputs, output, **about)


def classifier(name, width):
    module = CNN(features=(width,), dense=4, num_classes=3)
    of = {"mean": 0.3, "std": 0.4, "class_names": ("a", "b", "c"), "about": {"data": "digits", "arm": "kd"}}
    return player(name, module, {"image": IMAGE}, "probabilities", jnp.zeros((1, 8, 8, 1)), **of)


def generator(name, latent, width):
    module = DCGANGenerator(image_size=8, channels=1, width=width, classes=3)
    inputs = {"noise": Field("vector", (latent,)), "label": LABEL}
    given = jnp.zeros((1, latent)), jnp.zeros(1, jnp.int32)
    return player(name, module, inputs, "images", *given, mean=0.5, std=0.5, class_names=("a", "b", "c"))


@WITH_JAX2ONNX
def test_a_classifier_and_its_int8_beside_the_teacher(browser, tmp_path):
    student, teacher = classifier("student", 4), classifier("teacher", 8)
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)

    def beside(path, own, networks):
        examples = page.Examples(images, np.arange(12) % 3)
        pages.write(path, own, {"teacher": onnx.convert(teacher), **networks}, others=[teacher], examples=examples)

    (artefact,) = write(
        student, tmp_path, formats=("page",), quantise="int8", calibration={"image": images}, page=beside
    )
    outputs = browser.selftest(artefact.path)
    assert browser.evaluate("[...document.querySelectorAll('.card h3')].map(one => one.textContent)") == [
        "teacher", "student", "student, int8",
    ]  # fmt: skip
    assert browser.evaluate("document.title") == "digits: teacher and student"
    notes = browser.evaluate("[...document.querySelectorAll('table td:nth-child(2)')].map(one => one.textContent)")
    # Convolution, dense and head: 3·3·w + w, 16w·4 + 4, 4·3 + 3.
    count = lambda width: f"{9 * width + width + 64 * width + 4 + 15} parameters"
    assert notes == ["", count(8), count(4), "the same, quantised"]
    np.testing.assert_allclose(outputs[0], function(teacher)(jnp.asarray(images)), atol=1e-5)
    np.testing.assert_allclose(outputs[1], function(student)(jnp.asarray(images)), atol=1e-5)
    difference = np.abs(outputs[2] - outputs[1]).max()
    assert 0 < difference < 0.05
    assert "kd" in browser.evaluate("document.querySelector('.facts').textContent")


@WITH_JAX2ONNX
def test_generators_of_noise_of_two_sizes_and_classes(browser, tmp_path):
    student, teacher = generator("student", 3, 1 / 64), generator("teacher", 5, 1 / 32)
    path = tmp_path / "page.html"
    networks = {"teacher": onnx.convert(teacher), "student": onnx.convert(student)}
    pages.write(path, student, networks, others=[teacher])
    outputs = browser.selftest(path)
    noise, label = jnp.asarray(page.start_noise(5)), jnp.arange(16, dtype=jnp.int32) % 3
    np.testing.assert_allclose(outputs[0], function(teacher)(noise, label), atol=1e-5)
    np.testing.assert_allclose(outputs[1], function(student)(project(noise, 3), label), atol=1e-5)
    assert sorted(browser.evaluate("page.sliders")) == [0, 1, 2, 3, 4]
    assert len(browser.evaluate("[...document.querySelectorAll('.chips label')].map(one => one.textContent)")) == 3


@WITH_JAX2ONNX
def test_an_image_of_an_image(browser, tmp_path):
    student = player(
        "student", Smoother(), {"image": IMAGE}, "images", jnp.zeros((1, 8, 8, 1)), mean=0.4, std=0.3
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    path = tmp_path / "page.html"
    pages.write(path, student, {"student": onnx.convert(student)}, examples=page.Examples(images, targets=images))
    (output,) = browser.selftest(path)
    np.testing.assert_allclose(output, function(student)(jnp.asarray(images)), atol=1e-5)


def test_what_no_page_runs_is_refused_before_anything_is_converted(tmp_path, monkeypatch):
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path / "cache"))
    refuse = lambda *args, **kwargs: pytest.fail("converted")
    monkeypatch.setattr(onnx, "convert", refuse)
    student, out = classifier("student", 4), tmp_path / "out"
    with pytest.raises(ValueError, match=rf"run `{onnxruntime_web.COMMAND}` once"):
        write(student, out, formats=("onnx", "page"))
    monkeypatch.setattr(onnxruntime_web, "read", lambda: None)
    with pytest.raises(ValueError, match="normalise = False: format page"):
        write(student, out, formats=("page",), normalise=False)
    both = Exportable(
        "student", student.module, student.variables, {"image": IMAGE, "text": Field("vector", (2,))}, "probabilities"
    )
    with pytest.raises(ValueError, match=r"format page cannot hold student: it takes image \(image\), text \(vector\)"):
        write(both, out, formats=("page",))
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ("digits", "digits: student"),
        ("python:photographs", "photographs: student"),
        ("folder:/home/me/flowers", "flowers: student"),
        ("", "student"),
    ],
)
def test_a_title_names_the_data(tmp_path, monkeypatch, data, title):
    monkeypatch.setattr(onnxruntime_web, "read", lambda: onnxruntime_web.Runtime(b"", b""))
    student = dataclasses.replace(classifier("student", 4), about={"data": data})
    pages.write(tmp_path / "page.html", student, {"student": b""})
    assert f"<title>{title}</title>" in (tmp_path / "page.html").read_text()


def test_players_that_give_something_else_share_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime_web, "read", lambda: None)
    student, teacher = classifier("student", 4), classifier("teacher", 8)
    networks = {"student": b"", "teacher": b""}
    for other in (
        dataclasses.replace(teacher, class_names=("c", "b", "a")),
        dataclasses.replace(teacher, output="tags"),
    ):
        with pytest.raises(ValueError, match="format page shows student and teacher side by side"):
            pages.write(tmp_path / "page.html", student, networks, others=[other])
