"""Runs whose teacher is given more than its student: trained, judged, cached, explained and loaded by its own fields."""

import jax
import numpy as np
import pytest

import kdgan
import players as small
import tiny
from configs import common
from kdgan import data
from kdgan.data.sources import load
from kdgan.run import build, checkpoint, explain
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

HIDDEN = np.random.default_rng(5).normal(size=(10, 6)).astype(np.float32)  # what a class looks like in the field `text`
TWO_FIELDS = dict(model="players.Reads", model_args=dict(width=8), inputs=("image", "text"))


def with_text(split, count):
    """The digits, and beside them a noisy vector of their class."""
    digits = load("digits", split)
    image, label = digits.image[:count], digits.label[:count]
    noise = np.random.default_rng(count).normal(size=(count, 6)).astype(np.float32)
    return data.from_fields({"image": image, "text": HIDDEN[label] + 0.3 * noise, "label": label}, sizes={"label": 10})


@pytest.fixture(scope="module")
def sets():
    return {"train": with_text("train", 160), "test": with_text("test", 60)}


def arm(method, *, start=None, **lambdas):
    return dict(method=method, lambdas=lambdas, **({} if start is None else dict(start=start)))


def config(**stage):
    kd = lambda **fields: dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9)), **fields)
    config = tiny.config(
        seeds=1,
        arms=common.named(
            kd=kd(),
            trusting=arm(dict(name="test_player_fields.trusting", distrust=0.1), student=dict(ce=1.0, mimic=0.05)),
            kdgan=arm(
                dict(name="kdgan", labels="expected"),
                discriminator=dict(real=1.0, student=0.3, teacher=0.7),
                teacher=dict(ce=1.0, kd=0.01, adv=0.7),
                student=dict(ce=1.0, kd=1.0, adv=0.3),
            ),
        ),
    )
    config.players.teacher = common.named(**TWO_FIELDS)
    config.players.discriminator = common.named(model="mlp", model_args=dict(hidden=(4,)))
    config.data.mean, config.data.std, config.evaluate.every, config.log.every = 0.3, 0.4, 4, 4
    with config.unlocked(), config.ignore_type():
        config.stages.distill.update(stage)
    return config


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("privileged")
    return workdir, kdgan.train(config(), workdir, data=sets)


def by_hand(params, image, text):
    """The teacher in NumPy, on normalised images and the vectors as they are."""
    x = np.concatenate([((image / 255 - 0.3) / 0.4).reshape(len(image), -1), text], -1)
    return (
        np.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"]) @ params["head"]["kernel"]
        + params["head"]["bias"]
    )


def test_a_teacher_of_two_fields_is_trained_and_judged_by_both(sets, trained):
    workdir, summary = trained
    tree = checkpoint.Checkpoints(workdir / "checkpoints" / "teacher").restore_latest().tree["main"]["state"]
    params, test = jax.tree.map(lambda leaf: leaf[0], tree["params"]["teacher"]), sets["test"]
    assert params["hidden"]["kernel"].shape == (64 + 6, 8)
    logits = by_hand(params, test.image, test.arrays["text"])
    measured = summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]["accuracy"]["mean"]
    assert measured == pytest.approx(np.mean(logits.argmax(-1) == test.label))
    predict = kdgan.run.load(workdir, player="teacher", stage="teacher")
    found = predict(image=test.image, text=test.arrays["text"])
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(predict({"text": test.arrays["text"][0], "image": test.image[0]}), found[0])
    assert list(predict.inputs) == ["image", "text"]


def test_its_student_is_given_the_images_alone(trained, sets):
    workdir, summary = trained
    for arm in ("kd", "trusting", "kdgan"):
        assert "student" in summary["stages"]["distill"]["arms"][arm]["players"]
    predict = kdgan.run.load(workdir, player="student", arm="kd")
    assert predict(sets["test"].image).shape == (60, 10)
    assert summary["stages"]["teacher"]["cost"]["teacher"]["parameters"] == (64 + 6) * 8 + 8 + 8 * 10 + 10


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (dict(image=0), "the player takes image, text; 'text' is missing"),
        (dict(image=0, text=0, label=0), "the player takes image, text; 'label' is none of them"),
        (dict(image=0, text=slice(0, 3)), "fields of different numbers of examples: image 60, text 3"),
        (dict(image=0, text=(..., slice(0, 5))), r"field 'text' has shape \[60, 5\]; .* on \[n, 6\]: vector 6"),
    ],
)
def test_predictions_want_each_field(trained, sets, given, match):
    predict = kdgan.run.load(trained[0], player="teacher", stage="teacher")
    arrays = {name: sets["test"].arrays[name][slice(None) if where == 0 else where] for name, where in given.items()}
    with pytest.raises(ValueError, match=match):
        predict(**arrays)
    with pytest.raises(ValueError, match=r"predict\(image=\.\.\., text=\.\.\.\)"):
        predict(sets["test"].image)


def test_cached_outputs_of_two_fields_give_the_numbers_of_the_teacher_that_runs(trained, sets, tmp_path):
    cached = config(cached=("teacher",), arms=dict(kd=config().stages.distill.arms.kd))
    kdgan.train(cached, tmp_path, data=sets)
    last = lambda workdir: (
        checkpoint.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree["kd"]["state"]
    )
    assert small.largest_difference(last(tmp_path)["params"]["student"], last(trained[0])["params"]["student"]) < 1e-5


def explained(config, sets):
    run = resolve(run_inputs.handed_over(config, sets))
    inputs = run_inputs.load(run, sets)
    return explain.explain(run, inputs, build.all_programs(run, inputs))


def test_an_explanation_lists_the_fields_and_what_each_player_takes(sets):
    text = explained(config(), sets)
    assert "fields: image (image 8×8×1, uint8), text (vector 6, float32), label (class of 10, int32)" in text
    assert "teacher        image float32 [b, 8, 8, 1], text float32 [b, 6]" in text
    assert "student        image float32 [b, 8, 8, 1]\n" in text


def refused(change, sets, match):
    changed = config()
    change(changed)
    with pytest.raises(ConfigError, match=match) as caught:
        explained(changed, sets)
    assert "\n" not in str(caught.value)


def test_inputs_that_cannot_be_are_refused_in_a_line(sets):
    def inputs(*fields):
        return lambda config: config.players.teacher.update(inputs=fields)

    refused(
        inputs("image", "sound"),
        sets,
        "players.teacher.inputs = .*: the data have no field 'sound'; their fields are image, text, label",
    )
    refused(inputs("image", "image"), sets, "players.teacher.inputs = .*each once")
    refused(inputs("image", 3), sets, "players.teacher.inputs = .*: names .str. are accepted")


def test_a_normalisation_of_arrays_that_only_look_like_images_is_refused(sets):
    def shaped(dataset):
        maps = dataset.arrays["text"].reshape(-1, 1, 2, 3)
        return data.from_fields({**dataset.arrays, "maps": maps}, kinds={"maps": "vector"}, sizes={"label": 10})

    def given(config):
        config.players.teacher = common.named(**TWO_FIELDS | dict(inputs=("image", "maps"), mean=0.5))

    refused(
        given, {split: shaped(dataset) for split, dataset in sets.items()}, "mean = 0.5: it is given a vector 1×2×3"
    )


def test_data_without_images_are_given_as_they_are(sets, tmp_path):
    """The first field stands for the images in a method; a player that names no inputs is given all of them."""
    vectors = {
        split: data.from_fields({"text": one.arrays["text"], "label": one.label}, sizes={"label": 10})
        for split, one in sets.items()
    }
    changed = config(arms=dict(kd=config().stages.distill.arms.kd))
    changed.players.teacher = common.named(model="players.Reads", model_args=dict(width=8))
    summary = kdgan.train(changed, tmp_path, data=vectors)
    assert summary["stages"]["distill"]["cost"]["student"]["parameters"] == 6 * 4 + 4 + 4 * 10 + 10
    predict = kdgan.run.load(tmp_path, player="student", arm="kd")
    found = predict(vectors["test"].arrays["text"])
    measured = summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"]["mean"]
    assert measured == pytest.approx(np.mean(found.argmax(-1) == vectors["test"].label))
