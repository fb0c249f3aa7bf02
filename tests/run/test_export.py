"""`--mode=export`: a player of a workdir as files, each judged on the test split as the player is."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from kdgan import data, evaluators, run
from kdgan import export as exporting
from kdgan.evaluators import Evaluator, Measure
from kdgan.run import export, exportables, modes, sampling, train
from kdgan.run.config import ConfigError

ROOT = pathlib.Path(__file__).parent.parent.parent
STABLEHLO = pytest.mark.extra("flatbuffers")
ALL = pytest.mark.extra(
    "onnx",
    "onnxruntime",
    "jax2onnx",
    "flatbuffers",
    "litert_converter",
    "ai_edge_litert",
    "litert_quantizer",
    "safetensors",
)


def config():
    config = tiny.config(steps=6, seeds=2)
    config.data.mean, config.data.std = 0.4, 0.25
    config.players.student.ema = 0.5
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("export")
    train.train(config(), workdir)
    return workdir


def test_of_several_arms_the_best_on_validation_is_taken_and_none_by_the_test_split(tmp_path):
    measure = {"accuracy": {"head": "accuracy", "unit": "%", "scale": 100.0, "better": "higher"}}
    number = lambda value: {"accuracy": {"mean": value, "std": 0.0, "ci95": None, "values": [value]}}
    arms = {
        arm: {"players": {"student": number(test)}, "validation": {"student": number(value)},
              "measured": {"student": ["accuracy"]}}
        for arm, test, value in (("scratch", 0.9, 0.1), ("kd", 0.1, 0.9))
    }  # fmt: skip
    summary = {"measures": measure, "stages": {"distill": {"arms": arms}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert export.chosen_arm(tmp_path, "student", None).arm == "kd"
    assert export.chosen_arm(tmp_path, "teacher", None) is None
    for arm in arms.values():
        arm["validation"] = {}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert export.chosen_arm(tmp_path, "student", None) is None


def measured(workdir, entry, arm="kd"):
    """Of seed 1 what summary.json says, of the last step on the test split."""
    summary = json.loads((workdir / "summary.json").read_text())
    return summary["stages"]["distill"]["arms"][arm]["players"][entry]["accuracy"]["values"][1]


@STABLEHLO
def test_a_file_is_judged_as_the_student_is_beside_its_teacher(workdir, tmp_path):
    exported = export.export(workdir, tmp_path, formats=["stablehlo"], arm="kd", member=1, average=False)
    rows = {row["label"]: row for row in exported.record["rows"]}
    assert list(rows) == ["teacher", "student", "student.stablehlo"]
    assert rows["teacher"]["measures"]["accuracy"] == measured(workdir, "teacher")
    assert rows["student"]["measures"]["accuracy"] == measured(workdir, "student")
    assert rows["student.stablehlo"]["measures"]["accuracy"] == measured(workdir, "student")
    summary = json.loads((workdir / "summary.json").read_text())["stages"]["distill"]["arms"]["kd"]["players"][
        "student"
    ]
    for name in ("nll", "ece", "agreement", "macro_f1"):
        np.testing.assert_allclose(rows["student.stablehlo"]["measures"][name], summary[name]["values"][1], atol=1e-5)
    assert rows["student.stablehlo"]["agreement"] == 1.0
    assert rows["student.stablehlo"]["difference"] < 1e-5
    # The share of test examples on which both say the same, which is what the summary calls agreement.
    np.testing.assert_allclose(rows["teacher"]["agreement"], summary["agreement"]["values"][1], atol=1e-9)
    assert rows["student.stablehlo"]["bytes"] == (tmp_path / "student.stablehlo").stat().st_size
    assert rows["student"]["bytes"] == 4 * (64 * 4 + 4 + 4 * 10 + 10)
    assert all(value > 0 for row in rows.values() for value in row["milliseconds"].values())
    assert exported.record["examples"] == 500
    assert exported.record["about"]["seed"] == "1"
    assert exported.record["notes"] == []
    assert json.loads((tmp_path / "exported.json").read_text()) == json.loads(json.dumps(exported.record))
    table = (tmp_path / "exported.md").read_text()
    assert "student.stablehlo" in table
    assert f"{100 * measured(workdir, 'student'):.2f} %" in table
    assert exported.table.count("student.stablehlo") == 1


@STABLEHLO
def test_a_worse_file_is_said(workdir, tmp_path, monkeypatch):
    real = exporting.open

    def spoilt(path):
        given = real(path)
        return lambda images: np.roll(given(images), 1, axis=-1)

    monkeypatch.setattr(export.running, "open", spoilt)
    exported = export.export(workdir, tmp_path, formats=["stablehlo"], arm="kd")
    accuracy, outputs = exported.record["notes"]
    rows = {row["label"]: row for row in exported.record["rows"]}
    change = rows["student.stablehlo"]["measures"]["accuracy"] - rows["student"]["measures"]["accuracy"]
    said = f"student.stablehlo: accuracy differs from the float student's by {100 * change:+.4g} points"
    assert accuracy == said.replace("-", "−")
    assert outputs.startswith("student.stablehlo: its outputs differ from the float student's by up to ")
    assert accuracy in exported.table


@ALL
def test_the_command_writes_every_format_and_its_table(workdir, tmp_path):
    command = [
        sys.executable, "-m", "kdgan.main", "--mode=export", f"--workdir={workdir}", "--player=student", "--arm=kd",
        "--format=onnx,stablehlo,litert,safetensors,msgpack", "--quantise=int8", f"--out={tmp_path}/out/",
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False, env=os.environ)
    assert ran.returncode == 0, ran.stderr
    record = json.loads((tmp_path / "out" / "exported.json").read_text())
    rows = {row["label"]: row for row in record["rows"]}
    float_files = ["student.onnx", "student.stablehlo", "student.tflite"]
    int8_files = ["student.int8.onnx", "student.int8.tflite"]
    assert set(rows) == {"teacher", "student", *float_files, *int8_files}
    for name in float_files:
        assert rows[name]["difference"] < 1e-4
        assert rows[name]["measures"]["accuracy"] == rows["student"]["measures"]["accuracy"]
        assert name in ran.stdout
    for name in int8_files:
        assert rows[name]["quantised"] == "int8"
        assert abs(rows[name]["measures"]["accuracy"] - rows["student"]["measures"]["accuracy"]) <= 0.02
        assert rows[name]["agreement"] > 0.95
    assert "exported.md" in ran.stdout
    assert "Traceback" not in ran.stderr


@STABLEHLO
def test_in_python_a_predictor_is_exported(workdir, tmp_path):
    predict = run.load(workdir, arm="kd", member=1)
    (artefact,) = predict.export(tmp_path / "mine.stablehlo")
    images = data.load("digits", "test").image[:9]
    logits = predict(images)  # of the moving average, as the file
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(exporting.open(artefact.path)(images), expected, atol=1e-5)
    last, average = (run.load(workdir, arm="kd", member=1, average=one) for one in (False, True))
    assert np.abs(last(images) - average(images)).max() > 1e-3
    with pytest.raises(ConfigError, match=r"format 'onxn'"):
        predict.export(tmp_path, formats=["onxn"])
    best = run.load(workdir, arm="kd", best=True)
    assert best._parameters == "best by validation"
    assert (last._parameters, average._parameters) == ("last step", "moving average")


@ALL
def test_without_examples_training_images_of_the_run_quantise(workdir, tmp_path, monkeypatch):
    given = []
    real = exporting.artefacts.write

    def write(exportable, path, *, calibration=None, **options):
        given.append(calibration)
        return real(exportable, path, calibration=calibration, **options)

    monkeypatch.setattr(exportables.artefacts, "write", write)
    predict = run.load(workdir, arm="kd", member=1)
    predict.export(tmp_path, formats=["onnx"], quantise="int8")
    (images,) = [one["image"] for one in given]
    test = {image.tobytes() for image in data.load("digits", "test").image}
    training = {image.tobytes() for image in data.load("digits", "train").image}
    assert len(images) == 40  # all labelled ones of that seed
    assert {image.tobytes() for image in images} <= training - test


def test_calibration_leaves_out_what_is_validated_and_tested_on(workdir):
    own = export.find(workdir, player="student", arm="kd", member=1)
    from kdgan.run import stage_data

    inputs = stage_data.load(own.run)
    images = exportables.training_examples(own, exportables.of(own))["image"]
    rows = inputs.partitions[1].train
    np.testing.assert_array_equal(images, inputs.train.image[rows])
    assert not {*rows} & {*inputs.partitions[1].validation}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(player="nobody"), "no player that is judged for player 'nobody'"),
        (dict(arm="kd", formats=["onxn"]), "format 'onxn'"),
        (dict(arm="kd", formats="msgpack,onxn"), "format 'onxn'"),
        (dict(arm="kd", formats=["stablehlo"], quantise="int8"), "stablehlo has none"),
        (dict(arm="kd", formats=["onnx"], batch=2), "batch = 2: litert alone"),
        (dict(arm="kd", member=7), "member 7: the run has the seeds 0, 1"),
    ],
)
def test_a_mistake_is_one_line(workdir, asked, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        export.export(workdir, tmp_path / "out", **asked)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_none_are_refused(workdir, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file is a file; a folder"):
        export.export(workdir, tmp_path / "file", formats=["stablehlo"], arm="kd")
    with pytest.raises(ConfigError, match="holds no run"):
        export.export(tmp_path, tmp_path / "out", formats=["stablehlo"])
    with pytest.raises(ConfigError, match="--mode=export needs --workdir"):
        modes.export(None, None, out=None)
    with pytest.raises(ConfigError, match=r"holds no run \(no config\.json\)"):
        modes.export(None, tmp_path, out=None)


@STABLEHLO
def test_a_run_that_is_not_finished_is_refused_unless_that_is_asked_for(tmp_path):
    config = tiny.config(steps=6, seeds=1, validation=0)
    config.stages.teacher.steps = 2
    tiny.train_until(config, tmp_path, "distill", 4)
    with pytest.raises(ConfigError, match=r"is not finished: student .* step 4 of 6; .* --unfinished"):
        export.export(tmp_path, tmp_path / "out", formats=["stablehlo"], arm="kd")
    assert not (tmp_path / "out").exists()
    exported = export.export(tmp_path, tmp_path / "out", formats=["stablehlo"], arm="kd", unfinished=True, judge=False)
    assert [artefact.path.name for artefact in exported.artefacts] == ["student.stablehlo"]
    assert exported.record is None
    # What is finished of it is exported as ever.
    teacher = export.export(tmp_path, tmp_path / "out", formats=["stablehlo"], player="teacher", judge=False)
    assert teacher.artefacts[0].path.name == "teacher.stablehlo"


def task(label, **arrays):
    """Training and test sets of fields of one's own, a player of them, trained for two steps."""
    rng = np.random.default_rng(0)
    sets = {split: data.from_fields({**make(rng, n), "label": label(rng, n)}) for split, n in (("train", 40), ("test", 20))
            for make in [lambda rng, n: {name: of(rng, n) for name, of in arrays.items()}]}  # fmt: skip
    config = tiny.config(steps=2, seeds=1, validation=0)
    config.data.labelled = None
    return config, sets


EVALUATE = ["regressor", "test_export.squared"]


def squared():
    """An evaluator that asks for the player's outputs on a batch of its own making, too."""

    def sums(apply, variables, batch, key, others):
        shifted = {**batch, "a": batch["a"] + 1.0}
        change = apply(variables, shifted) - apply(variables, batch)
        return {
            "count": jnp.sum(batch["mask"]),
            "change": jnp.sum(jnp.where(batch["mask"], jnp.abs(change).mean(1), 0)),
        }

    def summarise(sums):
        return {"change": sums["change"] / sums["count"]}

    return Evaluator(Measure("change"), sums=sums, summarise=summarise, name="squared")


@STABLEHLO
def test_players_of_several_fields_and_numbers_are_judged_by_their_evaluators(tmp_path):
    normal = lambda *shape: lambda rng, n: rng.normal(size=(n, *shape)).astype(np.float32)
    config, sets = task(normal(2), a=normal(3), b=normal(4))
    config.players = {
        "student": dict(
            model="mlp", model_args=dict(hidden=(4,)), inputs=("a", "b"), evaluate=["regressor", "test_export.squared"]
        )
    }
    config.stages = {
        "fit": dict(method=dict(name="test_export.least_squares"), lambdas=dict(student=dict(mse=1.0)), steps=2)
    }
    train.train(config, tmp_path / "run", data=sets)
    with pytest.raises(ConfigError, match="handed over in Python"):
        export.export(tmp_path / "run", tmp_path / "out", formats=["stablehlo"])
    exported = export.export(tmp_path / "run", tmp_path / "out", formats=["stablehlo"], data=sets)
    rows = {row["label"]: row for row in exported.record["rows"]}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    said = summary["stages"]["fit"]["arms"]["main"]["players"]["student"]
    for name in ("rmse", "r2", "mae", "change"):
        np.testing.assert_allclose(rows["student.stablehlo"]["measures"][name], said[name]["values"][0], rtol=1e-4)
    assert rows["student.stablehlo"]["agreement"] is None
    a, b = sets["test"].arrays["a"], sets["test"].arrays["b"]
    run_file = exporting.open(tmp_path / "out" / "student.stablehlo")
    assert run_file(a, b).shape == (20, 2)


def least_squares():
    from kdgan.game import Method, Move

    def terms(players, batch, key):
        return {"mse": jnp.mean((players.student(batch["image"]) - batch["label"]) ** 2, -1)}

    return Method(Move("student", terms))


def test_every_evaluator_says_what_a_file_of_its_player_gives():
    # What there is no default of.
    wanted = {
        "stylist": dict(images="a.png", content=("conv1",), style=("conv1",)),
        "incremental": dict(tasks=((0, 1),)),
    }
    gives = {name: evaluators.build(name, **wanted.get(name, {})).gives for name in evaluators.BY_NAME}
    assert gives == {
        "classifier": "probabilities", "autoencoder": "images", "generator": "images", "tagger": "tags",
        "regressor": "values", "language": "probabilities", "restorer": "images", "stylist": "images",
        "virtual": "images",
        "robust": "probabilities", "answers": "probabilities",
        "incremental": "probabilities",
    }  # fmt: skip


@STABLEHLO
def test_a_generator_is_exported_and_its_images_compared(tmp_path):
    from test_generators import config as generators

    made = generators()
    made.population.seeds = 1
    del made.stages["extractor"]  # nothing is measured, so that nothing needs its features
    made.evaluate.extractor.stage = None
    for name in ("teacher", "student"):
        made.players[name].evaluate = "nothing"
    for name in ("scratch", "init"):
        del made.stages.distill.arms[name]
    train.train(made, tmp_path / "run")
    draw = sampling.load(tmp_path / "run", player="student")
    (artefact,) = draw.export(tmp_path / "student.stablehlo")
    run_file = exporting.open(artefact.path)
    own = draw._trained
    noise = jax.random.normal(jax.random.key(3), (6, own.record["draws"]["latent"]))
    images = np.asarray(run_file(np.asarray(noise)))
    assert images.min() >= 0
    assert images.max() <= 1
    drawn = draw(jax.random.key(3), 6)
    assert np.abs(np.round(255 * images) - drawn.astype(int)).max() <= 1
    exported = export.export(tmp_path / "run", tmp_path / "out", formats=["stablehlo"], player="student")
    rows = {row["label"]: row for row in exported.record["rows"]}
    assert rows["student.stablehlo"]["difference"] < 1e-4
    assert rows["student.stablehlo"]["measures"] == {}
    assert "teacher" in rows
    assert exported.record["split"] == "draws of noise"
