"""Data of a stage: what it trains on, what it is measured on, and what of them a workdir remembers."""

import json
import shutil

import numpy as np
import pytest

import kdgan
import tiny
from configs import common
from kdgan.data import from_arrays
from kdgan.run import explain, prediction, stage_data, train
from kdgan.run.build import all_programs
from kdgan.run.config import ConfigError, resolve


def config(**own):
    """A teacher on one half of the digits, its student on the other, measured on a part of the test split."""
    config = tiny.config(steps=2, seeds=2)
    config.data.labelled, config.data.train = None, "train[:50%]"
    own = own or dict(train="train[50%:]", test="test[:30%]", validation=12)
    config.stages.distill.data = own
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("stage-data")
    return workdir, train.train(config(), workdir)


def test_a_stage_is_measured_on_the_test_split_of_its_own_data(finished):
    workdir, summary = finished
    stages = summary["stages"]
    assert "data" not in stages["teacher"]
    assert stages["distill"]["data"]["sizes"]["test"] == 150
    assert stages["distill"]["data"]["sizes"]["validation"] == 12
    assert summary["data"]["sizes"]["test"] == 500
    labels = kdgan.data.load("digits", "test[:30%]").label
    with np.load(workdir / "evaluation.npz") as arrays:
        np.testing.assert_array_equal(arrays["label"], labels)
        for arm, entry in (("kd", "student"), ("kd", "teacher")):
            hits = arrays[f"prediction/distill/{arm}/{entry}"] == labels
            values = stages["distill"]["arms"][arm]["players"][entry]["accuracy"]["values"]
            np.testing.assert_allclose(hits.mean(1), values, rtol=1e-6)
        assert arrays["prediction/teacher/main/teacher"].shape == (2, 500)
        np.testing.assert_array_equal(arrays["label/teacher"], kdgan.data.load("digits", "test").label)


def test_a_stage_trains_on_its_own_data():
    run = resolve(config())
    inputs = stage_data.load(run)
    own = inputs.of("distill")
    whole = kdgan.data.load("digits", "train").image
    np.testing.assert_array_equal(inputs.train.image, whole[: len(inputs.train)])
    np.testing.assert_array_equal(own.train.image, whole[len(inputs.train) :])
    assert inputs.of("teacher") is inputs
    text = explain.explain(run, inputs, all_programs(run, inputs))
    assert "test 150" in text.split("stage     distill")[1]
    assert "test 150" not in text.split("stage     distill")[0]


def test_stages_whose_data_agree_share_them():
    same = config(train="train[:50%]")
    inputs = stage_data.load(resolve(same))
    assert inputs.stages == {}


def test_its_augmentation_replaces_that_of_the_run():
    changed = config(augment=dict(flip={}))
    changed.data.augment = dict(crop=dict(padding=1))
    run = resolve(changed)
    assert [dict(arm.augment) for arm in run.stages[1].arms] == [{"flip": {}}] * 2
    assert dict(run.stages[0].arms[0].augment) == {"crop": {"padding": 1}}


def test_a_run_that_was_stopped_ends_where_one_without_a_stop_does(finished, tmp_path):
    tiny.train_until(config(), tmp_path, "distill", 1)
    summary = train.train(config(), tmp_path)
    for arm in ("scratch", "kd"):
        found, whole = (of["stages"]["distill"]["arms"][arm]["players"] for of in (summary, finished[1]))
        assert found == whole


def test_changed_data_of_a_stage_are_refused_and_so_is_another_field(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(ConfigError, match=r"distill.*train.*train\[50%:\]|train\[50%:\] -> train\[40%:\]"):
        train.train(config(train="train[40%:]", test="test[:30%]", validation=12), tmp_path / "run")


def test_data_handed_over_for_a_stage(tmp_path):
    rng = np.random.default_rng(0)
    make = lambda n: from_arrays(rng.integers(0, 256, (n, 8, 8, 1)).astype(np.uint8), np.arange(n) % 10, name="noise")
    digits = {split: kdgan.data.load("digits", split) for split in ("train", "test")}
    run = config(validation=0)
    run.data.train = "train"
    summary = kdgan.train(run, tmp_path, data={**digits, "distill": {"train": make(60), "test": make(40)}})
    assert summary["stages"]["distill"]["data"]["sizes"]["test"] == 40
    assert json.loads((tmp_path / "config.json").read_text())["stages"]["distill"]["data"]["name"] == "python:noise"
    predict = prediction.load(tmp_path, player="student", arm="kd")
    assert predict(digits["test"].image[:2]).shape == (2, 10)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (dict(nmae="digits"), r"config\.stages\.distill\.data\.nmae: no such field; did you mean 'name'"),
        (dict(train="trian"), r"config\.stages\.distill\.data.*trian"),
        (dict(validation=-1), r"config\.stages\.distill\.data\.validation = -1: must be at least 0"),
        (dict(std=0.0), r"config\.stages\.distill\.data: std must be positive|std must be positive"),
    ],
)  # fmt: skip
def test_each_mistake_names_the_field_of_the_stage(own, message):
    def build():
        run = resolve(config(**own))
        return all_programs(run, stage_data.load(run))

    with pytest.raises(ConfigError, match=message):
        build()


def test_an_arm_has_no_data_of_its_own():
    wrong = config()
    wrong.stages.distill.arms = common.named(kd=dict(data=dict(train="train")))
    with pytest.raises(ConfigError, match="arms of a stage share its data"):
        resolve(wrong)
