"""A generator that a run judges by its teacher alone: without data by default, with data where it is asked for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import kdgan
import tiny
from configs import common
from kdgan.game import Method, Move
from kdgan.losses.logits import cross_entropy, half_squared_error
from kdgan.methods.gan import noise_of
from kdgan.models import build as build_model
from kdgan.run import build, sampling, stage_data, trained
from kdgan.run.config import ConfigError, resolve

LATENT = 4


def confident():
    """A generator of images that the teacher is sure of, and a student that learns the teacher's logits on them."""

    def generator(players, batch, key):
        logits = players.teacher(players.generator(noise_of(batch, key, LATENT)))
        return {"onehot": cross_entropy(logits, jax.lax.stop_gradient(logits.argmax(-1)))}

    def student(players, batch, key):
        image = jax.lax.stop_gradient(players.generator(noise_of(batch, key, LATENT)))
        return {"mimic": half_squared_error(players.student(image), players.teacher(image))}

    return Method(Move("generator", generator), Move("student", student))


def alone():
    """A generator of nothing but bright images: nobody is asked."""
    bright = lambda players, batch, key: {"bright": -players.generator(noise_of(batch, key, LATENT)).mean((1, 2, 3))}
    return Method(Move("generator", bright))


def config(**generator):
    made = tiny.config(seeds=1, steps=4)
    made.players.generator = dict(model="players.Scribbles", **generator)
    arm = lambda rate: dict(lambdas=dict(generator=dict(onehot=rate), student=dict(mimic=0.5)))
    made.stages = common.named(
        teacher=made.stages.teacher,
        free=dict(
            data=None, start=dict(teacher="teacher"), method="test_virtual.confident", steps=4,
            arms=common.named(low=arm(0.1), high=arm(1.0)),
        ),
    )  # fmt: skip
    return made


def built(made):
    run = resolve(made)
    return build.all_programs(run, stage_data.load(run))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("virtual")
    return workdir, kdgan.train(config(), workdir, show=False)


def test_a_generator_without_data_is_judged_by_the_teacher_of_its_stage(finished):
    workdir, summary = finished
    run = resolve(config())
    params = lambda stage, arm, name: trained.restore_member(workdir, run, stage, arm, 0)["state"]["params"][name]
    noise = jax.random.normal(jax.random.key(2), (2000, LATENT))
    image = build_model("players.Scribbles").apply({"params": params("free", "high", "generator")}, noise)
    teacher = build_model("mlp", hidden=(8,), num_classes=10)
    p = np.asarray(jax.nn.softmax(teacher.apply({"params": params("teacher", "main", "teacher")}, image)), np.float64)
    found = summary["stages"]["free"]["arms"]["high"]["players"]["generator"]
    assert list(found) == ["information", "confidence", "balance"]
    assert found["confidence"]["mean"] == pytest.approx(p.max(1).mean(), abs=1e-5)
    assert found["balance"]["mean"] == pytest.approx(-np.sum(p.mean(0) * np.log(p.mean(0))), abs=1e-5)
    assert summary["stages"]["free"]["arms"]["low"]["players"]["generator"] != found


def test_the_report_shows_what_it_makes_and_what_the_teacher_takes_it_for(finished):
    workdir, summary = finished
    kinds = {
        (figure["kind"], figure["title"], figure["arm"])
        for figure in summary["figures"]
        if figure["entry"] == "generator"
    }
    assert kinds >= {
        (kind, title, arm)
        for arm in ("low", "high")
        for kind, title in (
            ("images", "Samples"), ("bars", "Classes of made images"), ("bars", "Confidence on made images"),
        )
    }  # fmt: skip
    with np.load(workdir / "evaluation.npz") as arrays:
        for figure in summary["figures"]:
            if figure["kind"] == "bars":
                assert arrays[figure["array"]].sum() == pytest.approx(1.0, abs=1e-6)
    page = (workdir / "report.html").read_text(encoding="utf-8")
    assert page.count("Classes of made images</h2>") == page.count("Confidence on made images</h2>") == 1
    assert "generator · high, 2,000 images made of noise: mean probability of a class, by teacher" in page
    assert "samples of generator · high" in page
    assert "By teacher: 2,000 images made of noise, none of the data" in page
    assert "label agreement" not in page
    assert list((workdir / "samples").rglob("*.png"))


def test_images_are_drawn_from_it_without_the_data(finished):
    draw = sampling.load(finished[0], player="generator", arm="low")
    assert draw(jax.random.key(0), 3).shape == (3, 8, 8, 1)


def test_a_conditional_generator_may_be_kept_by_its_labels_on_validation(tmp_path):
    made = tiny.config(seeds=1, steps=2)
    spec = dict(name="virtual", by="label_agreement", samples=40)
    made.players.generator = dict(model="test_virtual.Painter", evaluate=spec)
    made.players.discriminator = dict(
        model="dcgan_discriminator", model_args=dict(width=1 / 32, classes=10), evaluate="nothing"
    )
    lambdas = dict(generator=dict(adv=1.0), discriminator=dict(real=1.0, fake=1.0))
    made.stages = common.named(
        teacher=made.stages.teacher,
        gan=dict(
            start=dict(teacher="teacher"), method=dict(name="gan", latent=LATENT, conditional=True), lambdas=lambdas,
            beside=("teacher",), steps=2,
        ),
    )  # fmt: skip
    summary = kdgan.train(made, tmp_path, show=False)
    record = summary["stages"]["gan"]["arms"]["main"]
    assert 0 <= record["players"]["generator"]["label_agreement"]["mean"] <= 1
    assert record["validation"]["generator"].keys() == record["players"]["generator"].keys()
    assert "generator (best by validation)" in record["players"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any("generator/label_agreement" in line for line in lines if line["split"] == "validation")


class Painter(nn.Module):
    """Noise [b, d] and classes [b] to images [b, 8, 8, 1] in [0, 1]."""

    @nn.compact
    def __call__(self, noise, label):
        given = jnp.concatenate([noise, jax.nn.one_hot(label, 10)], -1)
        return nn.sigmoid(nn.Dense(64, name="image")(given)).reshape(-1, 8, 8, 1)


REFUSED = {
    "nobody to ask": (
        dict(evaluate="virtual"), "test_virtual.alone", dict(generator=dict(bright=1.0)),
        r"players\.generator\.evaluate = 'virtual': it asks the player 'teacher', which the method does not call and"
        r" which is not beside it; there are none",
    ),
    "no classifier": (
        dict(evaluate=dict(name="virtual", teacher="student")), "test_virtual.reads_itself", dict(generator=dict(same=1.0)),
        r"it asks the player 'student', which gives \[8, 8, 8, 1\], where a classifier gives \[b, k\]",
    ),
    "no labels": (
        dict(evaluate=dict(name="virtual", by="label_agreement")), "test_virtual.confident",
        dict(generator=dict(onehot=1.0), student=dict(mimic=1.0)),
        r"evaluate = 'virtual': by = 'label_agreement' is of a generator that is given labels",
    ),
}  # fmt: skip


def reads_itself():
    def terms(players, batch, key):
        noise = noise_of(batch, key, LATENT)
        return {"same": jnp.mean((players.generator(noise) - players.student(noise)) ** 2, (1, 2, 3))}

    return Method(Move("generator", terms))


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_judge_is_refused_in_one_line(what):
    generator, method, lambdas, message = REFUSED[what]
    made = config(**generator)
    if method == "test_virtual.reads_itself":
        made.players.student = dict(model="players.Scribbles", evaluate="nothing")
    del made.stages.free["arms"]
    made.stages.free.update(method=method, lambdas=lambdas)
    with pytest.raises(ConfigError, match=message) as refused:
        built(made)
    assert "\n" not in str(refused.value)
