"""Whole runs in seconds: their files and numbers, diverging, starts from other runs, and every method from a config."""

import collections
import json
import shutil

import jax
import numpy as np
import pytest

import players as small
import same
import tiny
from configs import common
from kdgan import report
from kdgan.run import interrupt, modes, monitor, prepare, train
from kdgan.run.config import ConfigError
from kdgan.run.evaluate import Evaluation
from kdgan.run.program import digest


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, summary) of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train.train(tiny.config(), workdir)


def test_a_run_leaves_all_its_files(finished):
    workdir, summary = finished
    there = {path.name for path in workdir.iterdir()}
    assert {"config.json", "explanation.txt", "metrics.jsonl", "summary.json", "evaluation.npz", "checkpoints"} <= there
    assert json.loads((workdir / "summary.json").read_text())["stages"] == json.loads(json.dumps(summary["stages"]))


def test_the_summary_has_every_number_per_seed(finished):
    _, summary = finished
    students = {arm: found["players"]["student"] for arm, found in summary["stages"]["distill"]["arms"].items()}
    assert list(students) == ["scratch", "kd"]
    for metrics in students.values():
        # Also from scratch an agreement: with its seed's teacher.
        assert set(metrics) == {"accuracy", "nll", "ece", "agreement", "macro_f1", "top_5"}
        for found in metrics.values():
            assert len(found["values"]) == 2
            np.testing.assert_allclose(found["mean"], np.mean(found["values"]), rtol=1e-6)
    teacher = summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]
    assert "agreement" not in teacher
    assert summary["stages"]["distill"]["arms"]["kd"]["players"]["teacher"]["accuracy"] == teacher["accuracy"]  # frozen
    assert "student (best by validation)" in summary["stages"]["distill"]["arms"]["kd"]["players"]
    assert summary["cost"]["teacher"]["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert summary["data"]["sizes"] == {"train": 40, "validation": 20, "unlabelled": 1297 - 60, "test": 500}


def test_numbers_are_those_of_before_there_were_evaluators(finished):
    same.as_before(finished[1], "classifiers")


def test_the_time_of_the_members_is_part_of_the_stage_s(finished):
    _, summary = finished
    for stage in summary["stages"].values():
        members = [2 * arm["train_seconds"] for arm in stage["arms"].values()]  # two seeds
        assert all(seconds > 0 for seconds in members)
        assert sum(members) < stage["seconds"]


def test_the_best_on_test_is_of_the_lines_that_the_test_split_was_watched_by(tmp_path):
    config = tiny.config()
    config.evaluate.watch_test = True
    summary = train.train(config, tmp_path)
    lines = [line for line in monitor.read_metrics(tmp_path) if line["split"] == "test"]
    for arm in ("scratch", "kd"):
        record = summary["stages"]["distill"]["arms"][arm]
        by_seed = {}
        for line in lines:
            if line["arm"] == arm:
                by_seed.setdefault(line["seed"], {})[line["step"]] = line["student/accuracy"]
        assert len(by_seed) == 2
        last = [curve[max(curve)] for curve in by_seed.values()]
        np.testing.assert_allclose(last, record["players"]["student"]["accuracy"]["values"], rtol=1e-6)
        assert record["best_on_test"]["student"]["values"] == [max(curve.values()) for curve in by_seed.values()]


def last_validation(workdir, stage, arm, key):
    """What metrics.jsonl has of the arm's last step, a number a seed."""
    lines = [line for line in monitor.read_metrics(workdir) if line["split"] == "validation"]
    own = [line for line in lines if (line["stage"], line["arm"]) == (stage, arm)]
    last = max(line["step"] for line in own)
    by_seed = {line["seed"]: line[key] for line in own if line["step"] == last}
    return [by_seed[seed] for seed in sorted(by_seed)]


def test_the_summary_has_the_validation_of_the_last_step_of_what_was_trained(finished):
    workdir, summary = finished
    for arm, record in summary["stages"]["distill"]["arms"].items():
        assert record["validation"].keys() == {"student"}  # not the frozen teacher, not the best by validation
        assert record["validation"]["student"].keys() == {"accuracy", "nll", "ece", "macro_f1", "top_5"}
        for metric, found in record["validation"]["student"].items():
            assert found["values"] == last_validation(workdir, "distill", arm, f"student/{metric}")
    teacher = summary["stages"]["teacher"]["arms"]["main"]["validation"]
    assert teacher["teacher"]["accuracy"]["values"] == last_validation(workdir, "teacher", "main", "teacher/accuracy")


def test_what_was_validated_while_training_is_not_computed_again_but_when_asked(finished, tmp_path, monkeypatch):
    workdir, summary = finished
    shutil.copytree(workdir, tmp_path / "run")
    seen, measure = [], Evaluation.measure

    def watched(self, program, player, variables, split, *rest, **options):
        seen.append(split)
        return measure(self, program, player, variables, split, *rest, **options)

    monkeypatch.setattr(Evaluation, "measure", watched)
    stages = lambda found: json.dumps(
        [arm["validation"] for stage in found["stages"].values() for arm in stage["arms"].values()]
    )
    # All steps are done: the loop measures nothing, the summary what is not in metrics.jsonl.
    assert stages(train.train(tiny.config(), tmp_path / "run")) == stages(summary)
    assert "validation" not in seen
    assert stages(train.train(tiny.config(), tmp_path / "run", only_evaluate=True)) == stages(summary)
    assert seen.count("validation") == 6  # two teachers, four students
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert stages(train.train(tiny.config(), tmp_path / "run")) == stages(summary)


def test_the_student_that_is_shown_is_the_best_on_validation(finished):
    workdir, summary = finished
    arms = summary["stages"]["distill"]["arms"]
    on_validation = {arm: record["validation"]["student"]["accuracy"] for arm, record in arms.items()}
    best = max(on_validation, key=lambda arm: on_validation[arm]["mean"])  # of equal ones the first
    seed = int(np.argmax(on_validation[best]["values"]))
    (cards,) = [figure for figure in summary["figures"] if figure["kind"] == "cards"]
    assert (cards["stage"], cards["arm"], cards["entry"], cards["chosen"]) == ("distill", best, "student", True)
    assert f"{best}, seed {seed} (arm and seed chosen on validation)" in cards["note"]
    with np.load(workdir / "evaluation.npz") as arrays:
        student = arrays[f"prediction/distill/{best}/student"][seed]
    names = summary["data"]["class_names"]
    rows = [int(caption.removeprefix("test example ")) for caption in cards["captions"]]
    shown = [{what: text for what, text, _ in card}["student"] for card in cards["cards"]]
    assert shown == [names[student[row]] for row in rows]


def test_without_a_validation_split_nothing_is_validated_and_the_report_says_what_chose(tmp_path):
    summary = train.train(tiny.config(validation=0), tmp_path)
    arms = summary["stages"]["distill"]["arms"]
    assert [record["validation"] for record in arms.values()] == [{}, {}]
    accuracy = {arm: record["players"]["student"]["accuracy"]["mean"] for arm, record in arms.items()}
    highest = max(accuracy, key=accuracy.get)
    (cards,) = [figure for figure in summary["figures"] if figure["kind"] == "cards"]
    assert f"{highest}, seed 0 (arm highest on the test split, of 2 arms)" in cards["note"]
    text = report.text(tmp_path)
    assert "*: highest on the test split, of 2 arms" in text
    assert "Validation" not in text


def test_reported_accuracy_is_that_of_the_predictions_kept(finished):
    workdir, summary = finished
    with np.load(workdir / "evaluation.npz") as arrays:
        for arm in ("scratch", "kd"):
            hits = arrays[f"prediction/distill/{arm}/student"] == arrays["label"]
            values = summary["stages"]["distill"]["arms"][arm]["players"]["student"]["accuracy"]["values"]
            np.testing.assert_allclose(hits.mean(1), values, rtol=1e-6)


def test_agreement_is_with_the_predictions_of_the_seed_s_own_teacher(finished):
    workdir, summary = finished
    with np.load(workdir / "evaluation.npz") as arrays:
        teacher = arrays["prediction/teacher/main/teacher"]
        assert (teacher[0] != teacher[1]).any()
        for arm in ("scratch", "kd"):
            same = arrays[f"prediction/distill/{arm}/student"] == teacher
            values = summary["stages"]["distill"]["arms"][arm]["players"]["student"]["agreement"]["values"]
            np.testing.assert_allclose(same.mean(1), values, rtol=1e-6)


def test_a_player_that_arms_or_steps_share_is_evaluated_once(finished, monkeypatch):
    workdir, _ = finished
    seen = []

    def watched(name):
        function = getattr(Evaluation, name)

        def call(self, program, player, variables, split, *rest, **options):
            if split == "test":
                seen.append(digest(program.local_modules[player], variables))
            return function(self, program, player, variables, split, *rest, **options)

        return call

    for name in ("measure", "outputs"):
        monkeypatch.setattr(Evaluation, name, watched(name))
    train.train(tiny.config(), workdir, only_evaluate=True)
    # The two teachers: as they are measured, and as what the students of both arms are held against.
    twice = [count for count in collections.Counter(seen).values() if count > 1]
    assert sorted(twice) == [2, 2]


def test_metrics_have_a_line_per_member_and_step_in_order(finished):
    lines = monitor.read_metrics(finished[0])
    trained = [line for line in lines if line["stage"] == "distill" and line["split"] == "train"]
    assert [(x["step"], x["arm"], x["seed"]) for x in trained if x["arm"] == "kd"] == [
        (step, "kd", seed) for step in (1, 2, 3, 4) for seed in (0, 1)
    ]
    kd = next(line for line in trained if line["arm"] == "kd")
    np.testing.assert_allclose(kd["student/loss"], 0.1 * kd["student/ce"] + 0.9 * kd["student/kd"], rtol=1e-5)
    validated = [line["step"] for line in lines if line["split"] == "validation" and line["stage"] == "teacher"]
    assert validated == [2, 2, 4, 4]


def test_starting_it_again_finds_it_complete(finished, capsys):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*")}
    modes.train(tiny.config(), workdir)
    assert "is complete" in capsys.readouterr().out
    assert (workdir / "report.html").exists()
    assert before == {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*")}


def test_other_modes_need_the_workdir_only(finished, capsys):
    workdir, summary = finished
    modes.explain(None, workdir)
    assert capsys.readouterr().out == (workdir / "explanation.txt").read_text()
    (workdir / "summary.json").unlink()
    modes.evaluate(None, workdir)
    assert same.without_times(json.loads((workdir / "summary.json").read_text())) == same.without_times(summary)
    modes.report(None, workdir)
    assert "student · kd" in capsys.readouterr().out


def test_a_workdir_of_another_config_is_refused_with_the_differences(finished):
    config = tiny.config()
    config.stages.distill.arms.kd.lambdas.student.kd = 0.5
    config.data.labelled = 50
    with pytest.raises(ConfigError) as error:
        train.train(config, finished[0])
    assert "config.stages.distill.arms.kd.lambdas.student.kd: 0.9 -> 0.5" in str(error.value)
    assert "config.data.labelled: 40 -> 50" in str(error.value)
    config = tiny.config()
    config.log.every = 7  # nothing that results depend on
    prepare.prepare(config, finished[0])


def test_an_arm_of_fewer_steps_is_measured_until_it_is_done(tmp_path):
    ce = dict(lambdas=dict(student=dict(ce=1.0)))
    config = tiny.config(steps=7, seeds=1, arms=common.named(short=dict(**ce, steps=3), long=ce))
    summary = train.train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = {
        arm: [
            line["step"]
            for line in lines
            if (line["stage"], line["arm"], line["split"]) == ("distill", arm, "validation")
        ]
        for arm in ("short", "long")
    }
    assert steps == {"short": [2, 3], "long": [2, 4, 6, 7]}  # evaluate.every = 2
    for arm, record in summary["stages"]["distill"]["arms"].items():
        assert record["validation"]["student"]["nll"]["values"] == last_validation(
            tmp_path, "distill", arm, "student/nll"
        )


def test_averages_and_bfloat16_from_a_config(tmp_path):
    config = tiny.config(steps=2, seeds=1)
    config.parallel.compute = "bfloat16"
    config.player.ema = 0.9
    summary = train.train(config, tmp_path)
    assert "student (moving average)" in summary["stages"]["distill"]["arms"]["kd"]["players"]
    validated = summary["stages"]["distill"]["arms"]["kd"]["validation"]
    assert validated.keys() == {"student", "student (moving average)"}
    assert validated["student"]["nll"] != validated["student (moving average)"]["nll"]
    state = same.last_state(tmp_path, "distill")["kd"]["state"]
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state["params"]))
    assert small.largest_difference(state["ema"], {"student": state["params"]["student"]}) > 0
    config.parallel.compute = "float32"
    with pytest.raises(ConfigError, match=r"aside\):\n  config.parallel.compute: bfloat16 -> float32$"):
        prepare.prepare(config, tmp_path)


def test_channels_are_normalised_one_by_one(tmp_path):
    config = tiny.config(steps=1, seeds=1)
    config.data.mean, config.data.std = (0.3,), (0.4,)
    assert train.train(config, tmp_path)["data"]["sizes"]["train"] == 40


def test_a_loss_that_is_no_number_stops_the_run_and_is_named(tmp_path):
    config = tiny.config(steps=8)
    config.players.student = {"model": "mlp", "model_args": {"hidden": (4,)}, "optimizer": {"learning_rate": 1e30}}
    with pytest.raises(interrupt.DivergedError) as error:
        train.train(config, tmp_path)
    message = str(error.value)
    assert "of student became" in message
    assert "of stage distill (arm scratch, seed 0)" in message
    assert "clip_norm" in message
    assert same.last_state(tmp_path, "teacher") is not None  # what was good is kept


def test_a_player_starts_from_a_part_of_another_runs_checkpoint(finished, tmp_path):
    workdir, _ = finished
    source = str(workdir / "checkpoints" / "distill")
    config = tiny.config(seeds=1)
    with config.unlocked(), config.ignore_type():
        config.stages.distill.start.student = dict(checkpoint=source, arm="kd", member=1, only=("dense1/*",))
        config.stages.distill.steps = 1
        config.player.optimizer.learning_rate = 0.0
    train.train(config, tmp_path)
    ours = same.last_state(tmp_path, "distill")["kd"]["state"]["params"]["student"]
    theirs = same.last_state(workdir, "distill")["kd"]["state"]["params"]["student"]
    np.testing.assert_array_equal(ours["dense1"]["kernel"][0], theirs["dense1"]["kernel"][1])
    assert np.abs(ours["head"]["kernel"][0] - theirs["head"]["kernel"][1]).max() > 0


ROLES = {
    "supervised": {"student": ("ce",)},
    "kd": {"student": ("ce", "kd")},
    "logistic": {"student": ("ce", "logistic")},
    "mimic": {"student": ("ce", "mimic")},
    "noisy": {"student": ("ce", "mimic")},
    "joint": {"student": ("teacher_ce", "ce", "kd")},
    "mutual": {"student": ("ce", "kd"), "teacher": ("ce", "kd")},
    "adversarial": {"discriminator": ("real", "fake"), "student": ("ce", "adv")},
    "nagan": {"discriminator": ("real", "student"), "student": ("ce", "adv")},
    "kdgan": {
        "discriminator": ("real", "student", "teacher"), "teacher": ("ce", "kd", "adv"), "student": ("ce", "kd", "adv"),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", list(ROLES))
def test_every_method_runs_from_a_config_on_two_steps(name, tmp_path):
    options = {"peers": ("student", "teacher")} if name == "mutual" else {}
    arm = dict(
        method=dict(name=name, **options),
        lambdas={player: dict.fromkeys(terms, 0.5) for player, terms in ROLES[name].items()},
    )
    config = tiny.config(steps=2, seeds=1, arms=common.named(**{name: arm}), optimizer="adam", validation=0)
    judge = dict(model="output_discriminator", model_args=dict(hidden=(4,)))
    scores = dict(model="mlp", model_args=dict(hidden=(4,)))
    config.players.discriminator = judge if name == "adversarial" else scores
    if name in ("supervised", "joint", "mutual", "nagan"):
        with config.unlocked():
            config.stages.distill.start = {}
    summary = train.train(config, tmp_path)
    accuracy = summary["stages"]["distill"]["arms"][name]["players"]["student"]["accuracy"]
    assert 0 <= accuracy["mean"] <= 1
    assert accuracy["ci95"] is None  # one seed has no interval
