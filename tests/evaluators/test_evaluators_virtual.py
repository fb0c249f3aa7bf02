"""A generator judged by a teacher alone: its measures in closed form, on images counted by hand, and what is refused."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import evaluators
from kdgan.data.fields import Field
from kdgan.evaluators import Judged, Setting
from kdgan.evaluators.virtual import measures_of
from kdgan.models import Function

FIELDS = {"image": Field("image", (1, 1, 1)), "label": Field("class", (), names=("a", "b", "c"), size=3)}
MEAN, STD = 0.5, 0.25


def setting(**fields):
    return Setting(
        splits=types.SimpleNamespace(), fields={**FIELDS, **fields}, data="", mean=MEAN, std=STD, samples={}, latent=7,
        extractor=None, extractor_from="", extractor_pixels=(0.0, 1.0), training=(np.asarray, np.arange(0)),
        compute_dtype=None, cache=None,
    )  # fmt: skip


def judged(generator, teacher, *, conditional=False):
    given = (jax.ShapeDtypeStruct((4, 2), np.float32),) + (
        (jax.ShapeDtypeStruct((4,), np.int32),) if conditional else ()
    )
    output = jax.ShapeDtypeStruct((4, 1, 1, 1), np.float32)
    variables = {"params": {}, "model_state": {}}
    of_teacher = Judged("teacher", teacher, variables, ((), {}), jax.ShapeDtypeStruct((4, 3), np.float32))
    return Judged("generator", generator, variables, (given, {}), output, others={"teacher": of_teacher})


# An image is one pixel; the teacher's logits are 50 for the class that the pixel, times four, says.
SIGN = Function(lambda noise, train=False: (noise[:, 0] > 0).astype(jnp.float32).reshape(-1, 1, 1, 1) / 4)
OF_CLASS = Function(lambda noise, label, train=False: (label % 2).astype(jnp.float32).reshape(-1, 1, 1, 1) / 4)
SURE = Function(lambda image, train=False: 50 * jax.nn.one_hot((4 * image[:, 0, 0, 0]).astype(int), 3))


def test_measures_are_those_of_their_closed_forms():
    even = np.full((5, 4), 0.25)
    assert measures_of(even, None) == pytest.approx({"information": 0.0, "confidence": 0.25, "balance": np.log(4)})
    sure = np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    found = measures_of(sure, np.array([0, 1, 2, 3, 3, 2, 1, 0]))
    expected = {"information": np.log(4), "confidence": 1.0, "balance": np.log(4), "label_agreement": 0.5}
    assert found == pytest.approx(expected)
    collapsed = measures_of(sure[:1].repeat(3, 0), None)
    assert collapsed == pytest.approx({"information": 0.0, "confidence": 1.0, "balance": 0.0})
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 100)
    divergences = np.sum(p * np.log(p / p.mean(0)), -1)  # the logarithm of an inception score
    assert measures_of(p, None)["information"] == pytest.approx(divergences.mean())


def test_a_teacher_judges_the_images_that_a_student_would_be_given():
    mine = evaluators.build("virtual", samples=600)
    found = mine.measure(setting(), judged(SIGN, SURE), "test")
    noise = np.asarray(jax.random.normal(jax.random.key(2), (600, 2)))
    share = np.mean(noise[:, 0] > 0)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert found == pytest.approx({"information": entropy, "confidence": 1.0, "balance": entropy}, abs=1e-6)
    assert mine.measure(setting(), judged(SIGN, SURE), "validation")["balance"] != found["balance"]


def test_a_conditional_generator_is_judged_by_its_labels_too():
    mine = evaluators.build("virtual", samples=300, by="label_agreement")
    assert mine.measures[0].name == "label_agreement"
    found = mine.measure(setting(), judged(OF_CLASS, SURE, conditional=True), "test")
    # Of the classes 0, 1, 2 in turn the last is made as 0.
    assert found["label_agreement"] == pytest.approx(2 / 3)
    assert found["balance"] == pytest.approx(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)), abs=1e-6)


def test_it_shows_images_class_balance_and_confidence():
    mine = evaluators.build("virtual", samples=300)
    samples, classes, confidence = mine.pictures(setting(), judged(OF_CLASS, SURE, conditional=True))
    levels = np.round(255 * (np.arange(64) % 3 % 2 / 4 * STD + MEAN))
    np.testing.assert_array_equal(samples.array[:, 0, 0, 0], levels)
    assert samples.reference is None
    assert (classes.kind, classes.about["names"]) == ("bars", ["a", "b", "c"])
    np.testing.assert_allclose(classes.array, [2 / 3, 1 / 3, 0], atol=1e-6)
    assert classes.about["line"] == ["even", pytest.approx(1 / 3)]
    assert confidence.array.tolist() == [0.0] * 9 + [1.0]
    assert "mean 100.0 %" in confidence.about["note"]
    assert (confidence.about["names"][0], confidence.about["on"]) == ("0–10", "300 images made of noise")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(by="beauty"), "accepted are information, confidence, balance, label_agreement"),
        (dict(samples=0), "at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        evaluators.build("virtual", **fields)


def test_it_says_what_it_needs():
    mine = evaluators.build("virtual", by="label_agreement", teacher="critic")
    shape = lambda *sides: jax.ShapeDtypeStruct(sides, np.float32)
    assert list(mine.calls) == ["critic"]
    assert mine.calls["critic"](shape(4, 10)) is None
    assert "gives [4, 8, 8, 1], where a classifier gives [b, k]" in mine.calls["critic"](shape(4, 8, 8, 1))
    assert "gives mean, where" in mine.calls["critic"]({"mean": shape(4, 2)})
    with pytest.raises(ValueError, match="this one is given noise alone"):
        mine.draws(((shape(4, 2),), {}), shape(4, 8, 8, 1))
