"""Data whose training split has no targets: students of a teacher alone, judged by the test split's where it has them."""

import numpy as np
import pytest
from PIL import Image

import kdgan
import tiny
from configs import common
from kdgan import data, files, run
from kdgan.game import Method, Move
from kdgan.losses import images as image_losses
from kdgan.run import build, modes
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

RNG = np.random.default_rng(0)
IMAGE, TARGET = (RNG.integers(0, 256, (6, 14, 12, 1), np.uint8) for _ in range(2))
ALONE = data.from_fields({"image": IMAGE})
PAIRS = data.from_fields({"image": IMAGE, "target": TARGET}, kinds=dict(image="image", target="image"))


def of_split(split):
    """A function that a dotted path names."""
    return {"train": ALONE, "test": PAIRS}[split]


def without_targets(split):
    return ALONE


def looks_up_the_target():
    def terms(players, batch, key):
        return {"teacher": image_losses.l2(players.student(batch["image"]), batch["target"])}

    return Method(Move("student", terms))


def outputs_alone():
    def terms(players, batch, key):
        difference = players.student(batch["image"]) - players.teacher(batch["image"])
        return {"outputs": (difference**2).mean(-1)}

    return Method(Move("student", terms))


def config(source="test_lacking_targets.of_split", **method):
    made = tiny.config(seeds=1, steps=2, validation=0)
    made.data.labelled, made.data.name = None, source
    made.stage.augment = {"crop": {"size": 12, "fields": ("image",)}}
    made.players = common.named(
        teacher=dict(model="bicubic", model_args=dict(scale=1)),
        student=dict(model="dncnn", model_args=dict(depth=2, width=2, batch_norm=False)),
    )
    method = method or dict(name="restore_distill", clean=False)
    term = "pixel" if method["name"] == "restore" else "teacher"
    made.stages = common.named(main=dict(method=method, lambdas=dict(student={term: 1.0}), steps=2))
    return made


def programs(made):
    resolved = resolve(made)
    inputs = run_inputs.load(resolved)
    return inputs, build.all_programs(resolved, inputs)["main"][0]


def test_a_student_is_measured_by_the_targets_that_the_test_split_alone_has(tmp_path):
    summary = kdgan.train(config(), tmp_path, show=False)
    players = summary["stages"]["main"]["arms"]["main"]["players"]
    psnr = lambda made: np.mean(-10 * np.log10(np.square(made - TARGET / 255).mean((1, 2, 3))))
    assert players["student"]["psnr"]["mean"] == pytest.approx(psnr(run.load(tmp_path)(IMAGE / 255)), abs=1e-3)
    assert players["teacher"]["psnr"]["mean"] == pytest.approx(psnr(IMAGE / 255), abs=1e-3)


def test_a_student_that_nothing_judges_restores_files(tmp_path):
    summary = kdgan.train(config("test_lacking_targets.without_targets"), tmp_path / "run", show=False)
    assert summary["stages"]["main"]["arms"]["main"]["players"] == {}
    about = files.read_json(tmp_path / "run" / "players.json")["stages"]["main"]["main"]["student"]
    assert (about["evaluators"], about["gives"]) == ([], "images")
    restore = run.load(tmp_path / "run")
    Image.fromarray(IMAGE[0, ..., 0]).save(tmp_path / "in.png")
    modes.apply(
        None, tmp_path / "run", source=str(tmp_path / "in.png"), target=str(tmp_path / "out.png"), player=None, stage=None,
        arm=None, member=None, best=False, style=None, tile=None, colour="luma", overwrite=False,
    )  # fmt: skip
    with Image.open(tmp_path / "out.png") as made:
        np.testing.assert_array_equal(np.asarray(made), restore(IMAGE[0])[..., 0])
    (artefact,) = restore.export(tmp_path / "student.msgpack")
    assert artefact.path.exists()


@pytest.mark.parametrize(
    ("fields", "method", "words"),
    [
        (
            {},
            dict(name="restore"),
            "the batch has no 'target'.*split 'train' has no field 'target', split 'test' alone",
        ),
        (
            {},
            dict(name="test_lacking_targets.looks_up_the_target"),
            "learns from the field 'target' of the data; split 'train' has no field 'target', split 'test' alone has it",
        ),
        (
            dict(validation=2),
            {},
            "config.data.validation = 2: .* split 'train', which has no field 'target'.*; 0 is acc",
        ),
        (
            dict(name="test_lacking_targets.without_targets"),
            dict(name="test_lacking_targets.looks_up_the_target"),
            "learns from the field 'target' of the data; their fields are image",
        ),
    ],
)
def test_what_wants_the_target_of_such_a_training_split_is_refused_in_one_line(fields, method, words):
    made = config(**method)
    made.data.update(fields)
    with pytest.raises(ConfigError, match=words) as error:
        programs(made)
    assert "\n" not in str(error.value)


def test_a_folder_of_noisy_images_and_of_pairs_to_test(tmp_path):
    for split, sub in (("train", "noisy"), ("test", "noisy"), ("test", "clean")):
        (tmp_path / split / sub).mkdir(parents=True)
        for i in range(3):
            Image.fromarray((IMAGE if sub == "noisy" else TARGET)[i, ..., 0]).save(tmp_path / split / sub / f"{i}.png")
    made = config(f"folder:{tmp_path}")
    with made.unlocked(), made.ignore_type():
        made.data.fields = {"image": "noisy", "target": "clean"}
    inputs, program = programs(made)
    assert (list(inputs.train.fields), list(inputs.test.fields)) == (["image"], ["image", "target"])
    assert [one.name for one in program.evaluators["student"]] == ["restorer"]
    made.data.fields.target = "dirty"  # in neither split
    with pytest.raises(ConfigError, match=r"wants the images of 'target' in .*test.dirty, and there is no such folder"):
        programs(made)


def test_labels_of_the_test_split_alone_judge_students_of_outputs():
    digits = {split: kdgan.data.load("digits", split) for split in ("train", "test")}
    image = {"image": digits["train"].arrays["image"]}
    sets = {"train": data.from_fields(image), "test": digits["test"]}
    made = tiny.config(seeds=1, validation=0, arms=common.named(main=dict(
        method=dict(name="test_lacking_targets.outputs_alone"), lambdas=dict(student=dict(outputs=1.0)))))  # fmt: skip
    made.data.labelled = None
    del made.stages.teacher
    made.stages.distill.start = {}
    made.players.teacher = dict(model="players.constant", model_args=dict(classes=10))
    resolved = resolve(run_inputs.handed_over(made, sets))
    inputs = run_inputs.load(resolved, sets)
    program = build.all_programs(resolved, inputs)["distill"][0]
    assert (inputs.num_classes, inputs.has_labels) == (10, False)
    assert program.inspection.outputs["student"].shape[1:] == (10,)
    assert [one.name for one in program.evaluators["student"]] == ["classifier"]
    made.stages.distill.arms.main.lambdas = dict(student=dict(ce=1.0))
    made.stages.distill.arms.main.method = dict(name="supervised")
    with pytest.raises(ConfigError, match="split 'train' has no field 'label', split 'test' alone has it"):
        build.all_programs(resolve(run_inputs.handed_over(made, sets)), inputs)
