"""Stages without data: what they open and are given, that they run in every way there is, and what is refused of them."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdgan
import tiny
import torch_zip
from configs import common
from kdgan import data
from kdgan.game import Method, Move
from kdgan.losses.logits import half_squared_error
from kdgan.methods.gan import size_of
from kdgan.run import batches, build, command_line, explain, exportables, judging, prediction, stage_data, train
from kdgan.run.config import ConfigError, resolve

DIGITS = {split: data.load("digits", split) for split in ("train", "test")}
WAVES = np.random.default_rng(0).normal(size=64).astype(np.float32)


def test_split_alone(split):
    """A data set whose training split cannot be opened."""
    if split != "test":
        raise RuntimeError(f"split {split} is opened")
    return DIGITS[split]


test_split_alone.__test__ = False


def places(batch):
    """The numbers of a batch's rows, also of one of images."""
    return batch["place"] if "place" in batch else jnp.arange(size_of(batch))


def from_places():
    """The teacher's logits on images that are functions of the place alone: the same however members run."""

    def student(players, batch, key):
        image = jnp.cos(places(batch)[:, None] * WAVES[None]).reshape(-1, 8, 8, 1)
        return {"mimic": half_squared_error(players.student(image), players.teacher(image))}

    return Method(Move("student", student))


def from_noise():
    """The same on noise."""

    def student(players, batch, key):
        image = jax.random.uniform(key, (size_of(batch), 8, 8, 1))
        return {"mimic": half_squared_error(players.student(image), players.teacher(image))}

    return Method(Move("student", student))


def config(*, seeds=2, steps=4, **stage):
    """A teacher of the digits, and two arms of students that see none."""
    arm = lambda name, weight: dict(method=dict(name=f"test_no_data.{name}"), lambdas=dict(student=dict(mimic=weight)))
    arms = common.named(places=arm("from_places", 0.5), half=arm("from_places", 0.25), noise=arm("from_noise", 0.5))
    made = tiny.config(seeds=seeds, steps=steps, arms=arms)
    made.data.augment = dict(crop=dict(padding=1))
    made.stages.distill.update(dict(data=None, **stage))
    return made


def alone(path, **more):
    """One stage of it, whose teacher comes from a file, and whose data have no training split."""
    made = config(seeds=1, steps=2)
    made.data.labelled, made.data.validation, made.data.name = None, 0, "test_no_data.test_split_alone"
    made.stages = common.named(distill=made.stages.distill)
    made.stages.distill.start = {}
    with made.unlocked(), made.ignore_type():
        made.players.teacher.weights = str(path)
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    rng = np.random.default_rng(1)
    shapes = {"net.0": (8, 64), "net.2": (10, 8)}
    state = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    state |= {f"{name}.bias": rng.normal(size=shape[0]).astype(np.float32) for name, shape in shapes.items()}
    return torch_zip.state_dict(tmp_path_factory.mktemp("weights") / "teacher.pth", state)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("no-data")
    return workdir, train.train(config(), workdir)


def built(made):
    run = resolve(made)
    inputs = stage_data.load(run)
    return run, inputs, build.all_programs(run, inputs)


def explained(made):
    return explain.explain(*built(made))


def test_a_run_without_data_opens_no_training_split(weights, tmp_path):
    made = alone(weights)
    with_data = alone(weights)
    with_data.stages.distill.data = {}
    with pytest.raises(ConfigError, match="RuntimeError: split train is opened"):
        stage_data.load(resolve(with_data))
    text = explained(made)
    assert "no training split is opened, test 500" in text
    assert "without data: no training split is opened, nothing is validated or selected; it stops by its steps" in text
    summary = kdgan.train(made, tmp_path, show=False)
    assert summary["data"]["sizes"] == {"train": 0, "validation": 0, "unlabelled": 0, "test": 500}
    images = DIGITS["test"].image
    teacher, student = (
        summary["stages"]["distill"]["arms"]["noise"]["players"][name] for name in ("teacher", "student")
    )
    predict = prediction.load(tmp_path, arm="noise")
    hits = predict(images).argmax(-1) == DIGITS["test"].label
    assert student["accuracy"]["mean"] == pytest.approx(hits.mean(), abs=1e-6)
    assert teacher["accuracy"]["mean"] > 0
    recorded = json.loads((tmp_path / "workdir.json").read_text())["inputs"]["data"]
    assert list(recorded) == ["test"]
    assert kdgan.train(made, tmp_path, show=False) == json.loads((tmp_path / "summary.json").read_text())


def test_it_is_neither_validated_nor_selected_though_the_stage_before_is(finished):
    workdir, summary = finished
    stages = summary["stages"]
    assert stages["distill"]["data"]["sizes"] == {"train": 0, "validation": 0, "unlabelled": 0, "test": 500}
    assert summary["data"]["sizes"]["validation"] == 20
    assert [arm["validation"] for arm in stages["distill"]["arms"].values()] == [{}] * 3
    assert all(list(arm["players"]) == ["student", "teacher"] for arm in stages["distill"]["arms"].values())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    splits = {stage: {line["split"] for line in lines if line["stage"] == stage} for stage in ("teacher", "distill")}
    assert splits == {"teacher": {"train", "validation"}, "distill": {"train"}}
    text = (workdir / "explanation.txt").read_text()
    assert text.count("without data") == 1
    assert text.count("data      digits") == 1


def test_each_step_is_given_the_numbers_of_its_rows():
    _, inputs, programs = built(config())
    own, program = inputs.of("distill"), programs["distill"][0]
    given = list(batches.batches(own, seed=0, stage=1, batch_size=8, start=2, steps=4))
    assert [list(batch) for batch in given] == [["place"]] * 2
    prepared = program.prepare(given[0], own.device_arrays())
    np.testing.assert_array_equal(prepared["place"], np.arange(8))
    assert prepared["place"].dtype == program.example["place"].dtype == np.int32
    assert own.test is inputs.test


WAYS = {
    "vmap": dict(members="vmap"),
    "unrolled": dict(members="unrolled"),
    "devices": dict(members="devices"),
    "several steps a call": dict(steps_per_call=2),
    "a batch over two devices": dict(devices=2),
    "vmap over two devices": dict(members="vmap", devices=2, steps_per_call=2),
}


@pytest.mark.parametrize("way", WAYS)
def test_members_end_alike_however_they_run(way, finished, tmp_path):
    made = config()
    del made.stages.distill.arms["noise"]
    made.evaluate.every = 4
    made.parallel.update(WAYS[way])
    made.log.every = 2
    summary = train.train(made, tmp_path)
    for arm in ("places", "half"):
        a, b = (of["stages"]["distill"]["arms"][arm]["players"]["student"]["nll"] for of in (summary, finished[1]))
        np.testing.assert_allclose(a["values"], b["values"], rtol=2e-4)


def test_a_run_that_was_stopped_ends_bitwise_where_one_without_a_stop_does(finished, tmp_path):
    tiny.train_until(config(), tmp_path, "distill", 1)
    summary = train.train(config(), tmp_path)
    for arm, record in finished[1]["stages"]["distill"]["arms"].items():
        assert summary["stages"]["distill"]["arms"][arm]["players"] == record["players"]


def test_a_stage_without_data_is_added_to_a_finished_run_and_changes_into_no_other(finished, tmp_path):
    first = config()
    del first.stages["distill"]
    train.train(first, tmp_path / "added")
    before = (tmp_path / "added" / "checkpoints" / "teacher").stat().st_mtime_ns
    summary = train.train(config(), tmp_path / "added")
    assert (tmp_path / "added" / "checkpoints" / "teacher").stat().st_mtime_ns == before
    assert (
        summary["stages"]["distill"]["arms"]["noise"]["players"]
        == finished[1]["stages"]["distill"]["arms"]["noise"]["players"]
    )
    workdir = shutil.copytree(finished[0], tmp_path / "changed")
    changed = config()
    changed.stages.distill.data = {}
    with pytest.raises(ConfigError, match=r"config\.data\.train: None -> train"):
        train.train(changed, workdir)


def test_it_may_be_measured_on_another_test_split_than_the_runs(tmp_path):
    made = config(seeds=1, steps=1)
    made.stages.distill.data = dict(train=None, test="test[:30%]")
    assert "no training split is opened, test 150" in explained(made).split("stage     distill")[1]
    stages = train.train(made, tmp_path)["stages"]
    assert (stages["distill"]["data"]["sizes"]["test"], stages["distill"]["data"]["sizes"]["train"]) == (150, 0)


def test_players_beside_its_method_are_measured(tmp_path):
    made = config(seeds=1, steps=1)
    made.players.constant = dict(model="players.constant", model_args=dict(classes=10))
    made.stages.distill.beside = ("constant",)
    arms = train.train(made, tmp_path)["stages"]["distill"]["arms"]
    share = np.mean(DIGITS["test"].label == 0)
    assert arms["noise"]["players"]["constant"]["accuracy"]["mean"] == pytest.approx(share)


def test_a_test_set_alone_is_handed_over(weights, tmp_path):
    made = alone(weights)
    summary = kdgan.train(made, tmp_path / "run", data={"test": DIGITS["test"]}, show=False)
    assert summary["data"]["sizes"]["test"] == 500
    made.stages.distill.data = {}
    with pytest.raises(ConfigError, match="learn from a training set, and none was handed over; add 'train'"):
        kdgan.train(made, tmp_path / "other", data={"test": DIGITS["test"]}, show=False)


def test_what_is_calibrated_on_training_images_is_refused(finished):
    own = prediction.load(finished[0], player="student", arm="noise")._trained
    bench = judging.Bench(own)
    with pytest.raises(ConfigError, match=r"the stage that trained student has none; export it .* calibration=images"):
        exportables.training_examples(own, exportables.of(own), bench.inputs_of_stage)


def arm(**fields):
    """An arm in place of the three."""

    def change(made):
        made.stages.distill.arms = common.named(main2=fields)

    return change


GENERATES = dict(method=dict(name="generator_mimic", latent=4, conditional=True), lambdas=dict(student=dict(pixel=1.0)))
REFUSED = {
    "images": (
        arm(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9))),
        r"stages\.distill\.arms\.main2\.method = 'kd' reads the field 'image' of the data, and the stage has none",
    ),
    "labels": (arm(**GENERATES), r"has no 'label'.*\(method 'generator_mimic' reads it of the data, and the stage has none"),
    "views": (arm(views=2), r"stages\.distill\.arms\.main2\.views = 2: .* the stage has none \(data = None\); None is acc"),
    "cached": (lambda c: c.stages.distill.update(cached=("teacher",)), r"cached = \('teacher',\): .*; \(\) is accepted"),
    "augment": (lambda c: c.stages.distill.update(augment=dict(flip={})), r"augment = \{'flip': \{\}\}: .*; \{\} is acc"),
    "labelled": (
        lambda c: c.stages.distill.update(data=dict(train=None, labelled=10)),
        r"config\.stages\.distill\.data\.labelled = 10: it is of training examples, and there are none",
    ),
    "noises": (
        lambda c: c.stages.distill.update(data=dict(train=None, noises=2)),
        r"config\.stages\.distill\.data\.noises = 2: it is of training examples",
    ),
    "classes": (
        lambda c: c.stages.distill.update(data=dict(train=None, classes=(0, 99))),
        r"data\.classes = .*0, 99.*: it is of training examples",
    ),
    "repeats": (
        lambda c: c.stages.distill.update(data=dict(train=None, exemplar_repeats=-5)),
        r"data\.exemplar_repeats = -5: it is of training examples",
    ),
    "validation": (lambda c: c.data.update(train=None), r"config\.data\.labelled = 40: it is of training examples"),
    "of an arm": (arm(data=None), r"arms\.main2\.data: arms of a stage share its data"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_speaks_of_data_is_refused_in_one_line(what):
    change, message = REFUSED[what]
    made = config()
    change(made)
    with pytest.raises(ConfigError, match=message) as refused:
        explained(made)
    assert "\n" not in str(refused.value)


def test_a_method_that_reads_the_places_of_a_stage_without_data_is_refused_where_there_are_data():
    made = config()
    made.stages.distill.data = {}
    made.stages.distill.arms = common.named(wrong=dict(method="test_no_data.reads_places", lambdas={}))
    message = r"arms\.wrong\.method = 'test_no_data\.reads_places' reads 'place', .* has data; data = None is accepted"
    with pytest.raises(ConfigError, match=message) as refused:
        explained(made)
    assert "\n" not in str(refused.value)


def reads_places():
    return Method(Move("student", lambda players, batch, key: {"place": batch["place"]}))


def test_a_key_error_of_a_methods_own_stays_one():
    made = config()
    made.stages.distill.arms = common.named(wrong=dict(method="test_no_data.looks_up_nothing", lambdas={}))
    with pytest.raises(KeyError, match="elsewhere"):
        explained(made)


def looks_up_nothing():
    return Method(Move("student", lambda players, batch, key: {}["elsewhere"]))


@pytest.mark.parametrize(
    ("fields", "train", "test"),
    [
        (dict(data=None), None, "test"),
        (dict(data=dict(train=None)), None, "test"),
        ({"data.train": None}, None, "test"),
        ({"data": None, "data.test": "test[:10]"}, None, "test[:10]"),
        ({"data": None, "data.train": "train"}, "train", "test"),
    ],
)
def test_the_command_line_takes_the_data_away(fields, train, test):
    made = config()
    made.stages.distill.data = {}
    for name, value in fields.items():
        path = f"stages.distill.{name}"
        command_line.open_field(made, path)
        made.update_from_flattened_dict({path: value})
    own = resolve(made).stages[1].data
    assert (own.train, own.test, own.validation) == (train, test, 0 if train is None else 20)


def test_a_stage_may_learn_from_data_where_the_others_learn_without():
    made = config()
    made.stage.data = None
    made.stages.teacher.data = dict(train="train")
    assert [stage.data.train for stage in resolve(made).stages] == ["train", None]
