"""Distillation without data in a whole run: what images that are parameters, and a memory's, leave in its report."""

import json

import numpy as np
import pytest

import kdgan
import tiny
from configs import common
from kdgan.run.config import resolve

IMAGE = dict(image_size=8, channels=1)


def config():
    made = tiny.config(seeds=1, steps=2, validation=0)
    network = dict(model="resnet8", model_args=dict(stem=1, features=(1, 2, 2)))
    adam = dict(name="adam", learning_rate=0.05)
    made.players = common.named(
        teacher=network,
        student=network,
        images=dict(model="images", model_args=dict(**IMAGE, number=16), optimizer=adam),
        generator=dict(model="standardised_generator", model_args=dict(**IMAGE, features=2), optimizer=adam),
        memory=dict(model="memory", model_args=dict(size=16)),
    )
    ones = lambda *terms: dict.fromkeys(terms, 1.0)
    made.stages = common.named(
        teacher=made.stages.teacher,
        free=dict(
            data=None, start=dict(teacher="teacher"), steps=2, batch_size=8,
            arms=common.named(
                deep_inversion=dict(
                    method=dict(name="deep_inversion"),
                    lambdas=dict(images=ones("ce", "statistics", "tv"), student=ones("kd")),
                ),
                fast=dict(
                    method=dict(name="fast", latent=3, inner_steps=2, padding=1, student_repeats=1),
                    lambdas=dict(generator=ones("ce", "statistics", "adversarial"), student=ones("kd")),
                ),
            ),
        ),
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("data_free")
    return workdir, kdgan.train(config(), workdir, show=False)


def test_images_that_are_parameters_are_judged_by_the_teacher_and_shown(finished):
    workdir, summary = finished
    assert resolve(config()).stages[-1].data.train is None
    arms = summary["stages"]["free"]["arms"]
    for arm, player in (("deep_inversion", "images"), ("fast", "generator")):
        measures = arms[arm]["players"][player]
        assert list(measures) == ["information", "confidence", "balance"]
        assert 0 <= measures["balance"]["mean"] <= np.log(10) + 1e-6
    assert arms["deep_inversion"]["players"]["student"]["accuracy"]["values"]
    titles = {record["title"] for record in summary["figures"] if record.get("arm") == "deep_inversion"}
    assert {"Samples", "Classes of made images", "Confidence on made images"} <= titles
    assert "Images that are parameters" in json.dumps(summary["figures"])
    assert "Classes of made images" in (workdir / "report.html").read_text()
