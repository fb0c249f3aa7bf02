"""A run notices that its data or the player that it starts from changed, and does without the folder once it has begun."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from configs import common
from kdgan import data, report
from kdgan.run import checkpoint, prepare, train
from kdgan.run.config import ConfigError


def save_teacher(folder, seed):
    """A checkpoint of a teacher 64-8-10."""
    rng = np.random.default_rng(seed)
    layer = lambda i, o: {"kernel": rng.normal(size=(i, o)).astype(np.float32), "bias": np.zeros(o, np.float32)}
    with checkpoint.Checkpoints(folder) as checkpoints:
        checkpoints.save(7, {"params": {"teacher": {"dense1": layer(64, 8), "head": layer(8, 10)}}})


def write_images(folder, seed=0, count=10):
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")


def config(home):
    """Two steps of a student of a teacher from a checkpoint, on a folder of images."""
    made = tiny.config(steps=2, seeds=1, validation=4)
    made.data.name, made.data.labelled = f"folder:{home / 'images'}", None
    made.stages = common.named(
        distill=dict(
            start=dict(teacher=dict(checkpoint=str(home / "teacher"))),
            method=dict(name="kd"),
            lambdas=dict(student=dict(ce=0.1, kd=0.9)),
            steps=2,
        )
    )
    made.players.teacher.classes = (0, 1)
    made.players.teacher.model_args.num_classes = 10
    made.evaluate.every = 1
    return made


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with images, a teacher, a run that stopped after its first step, and one that went through."""
    home = tmp_path_factory.mktemp("begun")
    write_images(home / "images")
    save_teacher(home / "teacher", seed=0)
    tiny.train_until(config(home), home / "stopped", "distill", 1)
    train.train(config(home), home / "whole")
    return home


@pytest.fixture
def home(begun, tmp_path):
    """A copy, at another place: the config of the run has the paths of this one."""
    copied = shutil.copytree(begun, tmp_path / "home")
    for workdir in ("stopped", "whole"):
        for name in ("config.json", "workdir.json"):
            path = copied / workdir / name
            path.write_text(path.read_text().replace(str(begun), str(copied)))
    return copied


def state(workdir):
    return checkpoint.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree["main"]["state"]["params"]


def same(a, b):
    return all((x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_teacher_that_was_replaced_is_refused_unless_that_is_accepted_and_then_said(home):
    shutil.rmtree(home / "teacher")
    save_teacher(home / "teacher", seed=1)
    with pytest.raises(ConfigError) as error:
        train.train(config(home), home / "stopped")
    message = str(error.value)
    assert f"teacher of stage distill: {home / 'teacher'} holds another one than when the run began" in message
    assert "--accept_changed_inputs" in message
    summary = train.train(config(home), home / "stopped", accept_changed_inputs=True)
    assert len(summary["changed_inputs"]) == 1
    assert not same(state(home / "stopped"), state(home / "whole"))
    assert "changed while it was under way: teacher of stage distill" in report.text(home / "stopped")
    assert "changed while it was under way: teacher of stage distill" in report.write(home / "stopped").read_text()
    train.train(config(home), home / "stopped", only_evaluate=True)  # it is known from now on, and still said
    assert "changed while it was under way" in report.text(home / "stopped")


def test_images_that_were_added_are_refused_with_their_number(home):
    for number in range(5):
        shutil.copy(home / "images" / "train" / "b" / "0.png", home / "images" / "train" / "b" / f"more{number}.png")
    with pytest.raises(ConfigError, match=r"\n  training set: 20 -> 25 examples \(class b 10 -> 15\)$"):
        train.train(config(home), home / "stopped")


def test_images_of_the_test_set_that_changed_are_refused_by_an_evaluation(home):
    write_images(home / "new", seed=1)
    shutil.rmtree(home / "images" / "test")
    shutil.move(home / "new" / "test", home / "images" / "test")
    with pytest.raises(ConfigError, match="test set: as many examples of each class, with other contents"):
        train.train(config(home), home / "whole", only_evaluate=True)


def test_what_nothing_was_trained_from_may_change(home):
    save_teacher(home / "teacher", seed=1)
    claim = prepare.prepare(config(home), home / "stopped", reset=("distill",)).claim
    assert claim.record.accepted == ()


def test_a_run_goes_on_bitwise_where_its_folders_moved(home):
    shutil.move(home / "teacher", home / "elsewhere")
    shutil.move(home / "images", home / "pictures")
    moved = config(home)
    moved.stages.distill.start.teacher.checkpoint = str(home / "elsewhere")
    moved.data.name = f"folder:{home / 'pictures'}"
    moved.data.memory_mb = 0
    train.train(moved, home / "stopped")
    assert same(state(home / "stopped"), state(home / "whole"))


def test_it_goes_on_and_is_measured_where_the_teacher_is_gone(home):
    shutil.rmtree(home / "teacher")
    prepare.prepare(config(home), home / "stopped")
    train.train(config(home), home / "stopped")
    assert same(state(home / "stopped"), state(home / "whole"))
    before = json.loads((home / "whole" / "summary.json").read_text())
    again = train.train(config(home), home / "whole", only_evaluate=True)
    students = lambda summary: summary["stages"]["distill"]["arms"]["main"]["players"]
    assert json.loads(json.dumps(students(again))) == students(before)
    train.train(config(home), home / "whole", only_evaluate=True)  # what is remembered of it lasts
    with pytest.raises(ConfigError, match="there is no such folder"):
        prepare.prepare(config(home), home / "new")


def test_another_teacher_is_another_config(home):
    save_teacher(home / "other", seed=1)
    made = config(home)
    made.stages.distill.start.teacher.checkpoint = str(home / "other")
    line = f"config.stages.distill.start.teacher.checkpoint: {home / 'teacher'} -> {home / 'other'}"
    with pytest.raises(ConfigError) as error:
        prepare.prepare(made, home / "stopped")
    assert str(error.value).endswith("\n  " + line)


def test_an_explanation_refuses_a_checkpoint_that_training_cannot_read(home):
    made = config(home)
    (home / "teacher" / "00000007" / "kdgan.json").write_text("{")
    with pytest.raises(ConfigError, match="no whole checkpoint in"):
        prepare.prepare(made, None)
    shutil.rmtree(home / "teacher")
    (home / "teacher").mkdir()
    with pytest.raises(ConfigError, match="no checkpoint in"):
        prepare.prepare(made, None)


def test_fingerprints_take_well_under_a_second_for_ordinary_sets():
    import time

    from kdgan.data.fingerprint import fingerprint

    images = np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), np.uint8)  # 154 MB, as CIFAR-10
    dataset = data.from_arrays(images, np.arange(50_000) % 10)
    started = time.process_time()
    fingerprint(dataset)
    assert time.process_time() - started < 1.0
