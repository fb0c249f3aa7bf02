"""`--mode=export --format=page` of a run: student beside its teacher, equal to what the players of the run give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdgan
import tiny
from configs import common
from kdgan import data
from kdgan.evaluators.drawing import Maker
from kdgan.export import page
from kdgan.run import export, sampling, train, trained

pytestmark = [pytest.mark.extra("jax2onnx", "onnx", "onnxruntime"), pytest.mark.slow]


def labels(browser):
    return browser.evaluate("[...document.querySelectorAll('.card h3')].map(one => one.textContent)")


def test_a_classifier_beside_its_teacher(browser, tmp_path):
    config = tiny.config(seeds=1)
    train.train(config, tmp_path / "run")
    exported = export.export(
        tmp_path / "run", tmp_path / "out", formats=["page"], player="student", arm="kd", quantise="int8"
    )
    assert [artefact.path.name for artefact in exported.artefacts] == ["student.html"]
    outputs = browser.selftest(tmp_path / "out" / "student.html")
    assert labels(browser) == ["teacher", "student", "student, int8"]
    images = data.load("digits", "test").image[: len(outputs[0])]
    teacher = kdgan.load(tmp_path / "run", player="teacher")
    student = kdgan.load(tmp_path / "run", player="student", arm="kd")
    np.testing.assert_allclose(outputs[0], jax.nn.softmax(teacher(images)), atol=1e-5)
    np.testing.assert_allclose(outputs[1], jax.nn.softmax(student(images)), atol=1e-5)
    np.testing.assert_allclose(outputs[2], outputs[1], atol=0.1)
    assert browser.evaluate("page.classes") == list("0123456789")
    assert browser.evaluate("page.pad.dark")
    assert "kd" in browser.evaluate("document.querySelector('.facts').textContent")


def generators():
    """A teacher, and a student of half its latent that mimics it."""
    config = tiny.config(optimizer="adam", seeds=1, steps=1)
    config.data.labelled, config.data.mean, config.data.std = None, 0.5, 0.5
    generator = lambda width: dict(model="dcgan_generator", model_args=dict(image_size=8, channels=1, width=width))
    config.players = common.named(
        extractor=dict(model="mlp", model_args=dict(hidden=(6,))),
        teacher=generator(1 / 32),
        student=generator(1 / 64),
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 32)),
    )
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=1
        ),
        teacher=dict(
            method=dict(name="gan", generator="teacher", latent=6), steps=1,
            lambdas=dict(discriminator=dict(real=1.0, fake=1.0), teacher=dict(adv=1.0)),
        ),
        distill=dict(
            start=dict(teacher="teacher"), steps=1,
            method=dict(name="generator_mimic", latent=3, teacher_latent=6), lambdas=dict(student=dict(pixel=1.0)),
        ),
    )  # fmt: skip
    config.evaluate.extractor.stage = "extractor"
    config.evaluate.samples, config.evaluate.validation_samples = 20, 20
    return config


def test_a_generator_beside_its_teacher(browser, tmp_path):
    train.train(generators(), tmp_path / "run")
    export.export(tmp_path / "run", tmp_path / "out", formats=["page"], player="student")
    outputs = browser.selftest(tmp_path / "out" / "student.html")
    assert labels(browser) == ["teacher", "student"]
    noise = jnp.asarray(page.start_noise(6))
    for name, output in zip(("teacher", "student"), outputs, strict=True):
        player = trained.find(
            tmp_path / "run", sampling.WANTED, player=name, stage=None, arm=None, member=None, average=True
        )
        drawn = Maker(player.module, player.record["draws"]["latent"], 0, None, 0.5, 0.5).draw(player.variables, noise)
        np.testing.assert_allclose(255 * output, drawn, atol=0.51)
