"""Which config may go on in a workdir: what must be equal, what gives way, what is refused, and what is never touched."""

import json
import shutil

import pytest

import tiny
from configs import common
from kdgan.checkpoints import folder as checkpoint_folder
from kdgan.run import claim as claims
from kdgan.run import interrupt, modes, monitor, prepare, train
from kdgan.run.config import ConfigError
from kdgan.run.interrupt import DivergedError


def config(**changes):
    """Two steps of each stage, two seeds, a checkpoint after each step."""
    made = tiny.config(steps=2, **changes)
    made.evaluate.every = 1
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    train.train(config(), workdir)
    return workdir


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(trained, tmp_path / "run")


def settled(config, workdir, **options):
    return prepare.prepare(config, workdir, **options).claim


def what_is_left(claim):
    """Stage -> folders of its portions that have a checkpoint."""
    return {stage: [p.folder.name for p in several if p.step] for stage, several in claim.portions.items()}


def unfinish(workdir, stage, *, diverged=False):
    """As if the run had stopped, or diverged, after the first step of a stage."""
    shutil.rmtree(workdir / "checkpoints" / stage / "00000002")
    (workdir / "summary.json").unlink()
    if diverged:
        record = json.loads((workdir / "workdir.json").read_text())
        record["diverged"] = {
            "stage": stage,
            "portion": f"checkpoints/{stage}",
            "message": "loss of student became nan",
        }
        (workdir / "workdir.json").write_text(json.dumps(record))


def changed(change):
    made = config()
    with made.unlocked(), made.ignore_type():
        change(made)
    return made


def otherwise_written(c):
    c.player.optimizer.learning_rate = 0.5
    for player in c.players.values():
        player.optimizer = dict(learning_rate=0.1)
    c.stages.distill.arms.scratch.steps = 2
    c.stages.distill.arms.kd.start = dict(teacher=dict(stage="teacher", arm="main"))
    c.stages.distill.augment = dict(flip=None)
    c.players.nobody = dict(model="cnn")


CANNOT_MATTER = {
    "an equal config": otherwise_written,
    "how data are read": lambda c: c.data.update(workers=2, prefetch=9, memory_mb=0, on_bad_image="skip"),
    "how it is measured at the end": lambda c: c.evaluate.update(batch_size=7, latency=True, samples=99),
    "how members run": lambda c: c.parallel.update(members="vmap", steps_per_call=2, seeds_per_chunk=1),
    "what is told": lambda c: (c.log.update(every=7), c.report.update(source="there"), c.checkpoint.update(keep=9)),
    "where the data lie": lambda c: c.data.update(data_dir="/elsewhere"),
    "the optimizer of a frozen player": lambda c: c.stages.distill.update(optimizers=dict(teacher=dict(momentum=0.5))),
}


@pytest.mark.parametrize("what", list(CANNOT_MATTER))
def test_what_cannot_matter_is_no_difference(what, trained):
    assert what_is_left(settled(changed(CANNOT_MATTER[what]), trained)) == {
        "teacher": ["teacher"],
        "distill": ["distill"],
    }


REFUSED = {
    "teacher": (
        lambda c: c.players.teacher.update(optimizer=dict(learning_rate=0.2)),
        "config.players.teacher.optimizer.learning_rate: 0.1 -> 0.2",
    ),
    "teacher,distill": (lambda c: c.data.update(mean=0.5), "config.data.mean: 0.0 -> 0.5"),
    "distill": (
        lambda c: c.stages.distill.arms.kd.lambdas.student.update(kd=0.5),
        "config.stages.distill.arms.kd.lambdas.student.kd: 0.9 -> 0.5",
    ),
    "seed": (lambda c: c.update(seed=1), "config.seed: 0 -> 1"),
    "fewer seeds": (lambda c: c.population.update(seeds=1), "config.population.seeds: 2 -> 1"),
    "an arm less": (
        lambda c: c.stages.distill.arms.__delitem__("scratch"),
        "config.stages.distill.arms.scratch: present -> absent",
    ),
    "a stage less": (lambda c: c.stages.__delitem__("distill"), "config.stages.distill: present -> absent"),
    "another start": (
        lambda c: c.stages.distill.start.update(student=dict(stage="teacher", player="teacher", transfer="uniform")),
        "config.stages.distill.start.student: absent -> {'stage': 'teacher', 'arm': 'main',",
    ),
    "when it is validated": (lambda c: c.evaluate.update(every=2), "config.evaluate.every: 1 -> 2"),
    "another data set": (lambda c: c.data.update(test="test[:400]"), "config.data.test: test -> test[:400]"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_a_finished_stage_that_would_be_another_is_refused_with_the_difference(what, trained):
    change, line = REFUSED[what]
    with pytest.raises(ConfigError) as error:
        settled(changed(change), trained)
    message = str(error.value)
    assert f"  {line}" in message
    assert message.startswith(f"workdir {trained} holds a run of another config")
    if "distill" in what or what == "teacher":
        assert f"--reset={what} " in message
    assert "absent -> absent" not in message


def test_a_stage_before_others_makes_them_others(trained):
    made = config()
    made.stages = common.named(first=dict(made.stages.teacher), **dict(made.stages.items()))
    with pytest.raises(ConfigError, match=r"config\.stages: teacher is number 1 -> 2"):
        settled(made, trained)


def test_a_longer_arm_that_would_move_the_evaluations_of_the_others_is_refused_with_the_cure(trained, tmp_path):
    made = config()
    made.evaluate.every = None
    made.stages.distill.arms.long = dict(lambdas=dict(student=dict(ce=1.0)), steps=40)
    with pytest.raises(ConfigError, match=r"config\.evaluate\.every: 1 -> 4 .a tenth of the steps .* set it to 1\)"):
        settled(made, trained)
    made.evaluate.every = 1
    new = settled(made, trained).portions["distill"][1]
    assert (new.seeds, new.arms, new.step) == ((0, 1), ("long",), 0)


def test_what_is_missing_for_more_seeds_and_arms_is_planned_and_nothing_else(trained):
    made = config(seeds=4)
    made.stages.distill.arms.more = dict(lambdas=dict(student=dict(ce=1.0)))
    made.stages.last = dict(made.stages.distill)
    plan = {
        stage: [(p.folder.name, p.seeds, p.arms, p.step) for p in several]
        for stage, several in settled(made, trained).portions.items()
    }
    assert plan == {
        "teacher": [("teacher", (0, 1), ("main",), 2), ("added-1", (2, 3), ("main",), 0)],
        "distill": [
            ("distill", (0, 1), ("scratch", "kd"), 2),
            ("added-1", (2, 3), ("scratch", "kd"), 0),
            ("added-2", (0, 1, 2, 3), ("more",), 0),
        ],
        "last": [("last", (0, 1, 2, 3), ("scratch", "kd", "more"), 0)],
    }


@pytest.mark.parametrize(("reset", "left"), [("distill", ["teacher"]), ("teacher", [])])
def test_a_reset_puts_a_stage_aside_and_what_started_from_it(reset, left, trained):
    made = changed(REFUSED["distill"][0])
    claim = settled(made, trained, reset=(reset,))
    assert [folder for folders in what_is_left(claim).values() for folder in folders] == left
    with pytest.raises(ConfigError, match="--reset=distil: no such stage; stages are teacher, distill"):
        settled(made, trained, reset=("distil",))


def test_a_half_trained_stage_gives_way_only_where_it_diverged_or_is_reset(workdir):
    made = changed(REFUSED["distill"][0])
    unfinish(workdir, "distill")
    with pytest.raises(ConfigError, match=r"--reset=distill \(what there is of it is put aside\)"):
        settled(made, workdir)
    assert what_is_left(settled(made, workdir, reset=("distill",))) == {"teacher": ["teacher"], "distill": []}
    (workdir / "checkpoints" / "distill" / "00000002").mkdir()
    unfinish_again = lambda: (workdir / "summary.json").touch()
    unfinish_again()
    unfinish(workdir, "distill", diverged=True)
    assert what_is_left(settled(made, workdir)) == {"teacher": ["teacher"], "distill": []}
    assert what_is_left(settled(config(), workdir)) == {"teacher": ["teacher"], "distill": ["distill"]}  # goes on
    with pytest.raises(ConfigError, match=r"config.players.teacher.optimizer.learning_rate: 0.1 -> 0.2$"):
        settled(changed(REFUSED["teacher"][0]), workdir)  # the teacher had not diverged


def test_looking_changes_nothing(workdir, capsys):
    files = lambda: {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    before = files()
    with pytest.raises(ConfigError, match="holds a run of another config"):
        modes.explain(changed(REFUSED["distill"][0]), workdir)
    modes.explain(config(seeds=3), workdir, reset=["distill"])
    assert "3 seeds × 2 arms" in capsys.readouterr().out
    assert files() == before


def test_a_workdir_without_a_record_is_read_and_one_of_a_later_form_is_refused(workdir):
    (workdir / "workdir.json").unlink()
    for folder in (workdir / "checkpoints").glob("*/0*"):  # nor do checkpoints of that time say whose they are
        path = folder / "kdgan.json"
        record = json.loads(path.read_text())
        for name in ("seeds", "arms", "times"):
            del record["metadata"][name]
        del record["crc32"]
        record["metadata"]["members"] = [[1.0, 0.1], [1.0, 0.1]]
        path.write_text(json.dumps(record | {"crc32": checkpoint_folder._body_checksum(record)}))
    plan = settled(config(seeds=3), workdir).portions["distill"]
    assert [(p.seeds, {*p.arms}, p.step) for p in plan] == [
        ((0, 1), {"scratch", "kd"}, 2),
        ((2,), {"scratch", "kd"}, 0),
    ]
    with pytest.raises(ConfigError, match=r"config\.data\.labelled: 40 -> 50"):
        settled(changed(lambda c: c.data.update(labelled=50)), workdir)
    assert train.train(config(), workdir, only_evaluate=True)["stages"]["distill"]["arms"]["kd"]["train_seconds"] == 0.5
    assert json.loads((workdir / "workdir.json").read_text())["format"] == claims.FORMAT
    (workdir / "workdir.json").write_text(json.dumps({"format": claims.FORMAT + 1}))
    with pytest.raises(ConfigError, match=f"has format {claims.FORMAT + 1}; this version of kdgan reads 1 to"):
        settled(config(), workdir)


def test_a_run_that_is_refused_before_its_first_step_leaves_the_workdir_free(tmp_path, monkeypatch):
    def refuse(*args):
        raise ConfigError("no such extractor")

    with monkeypatch.context() as patch:
        patch.setattr(train, "Evaluation", refuse)
        with pytest.raises(ConfigError, match="no such extractor"):
            train.train(config(), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]
    with pytest.raises(ConfigError, match="no such field"):
        train.train(changed(lambda c: c.data.update(nmae="x")), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_after_a_divergence_another_config_of_the_stage_starts_from_the_trained_teacher(workdir, monkeypatch, tmp_path):
    """Distilled anew from the finished run's teacher, it diverges after a checkpoint, and then the learning rate changes."""
    shutil.rmtree(workdir / "checkpoints" / "distill")
    (workdir / "summary.json").unlink()
    teacher = {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints" / "teacher").rglob("*")}

    def diverge(stage, seed, arm, values, first, cause):
        if stage == "distill" and first == 1:
            raise DivergedError(f"ce of student became nan at step 2 of stage {stage}", "try a lower learning rate")

    with monkeypatch.context() as patch:
        patch.setattr(train, "check_finite", diverge)
        with pytest.raises(DivergedError) as error:
            train.train(config(), workdir)
    message = str(error.value)
    kept = message.partition("checkpoint is kept in ")[2].rstrip(")")
    assert (workdir / "checkpoints" / "distill" / "00000001").is_dir()
    assert kept == str(workdir / "checkpoints" / "distill")
    assert "from the trained teacher" in message
    modes.report(None, workdir)
    assert "it diverged, ce of student became nan at step 2" in (workdir / "report.html").read_text()

    made = changed(lambda c: c.players.student.update(optimizer=dict(learning_rate=0.05)))
    train.train(made, workdir)
    assert {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints" / "teacher").rglob("*")} == teacher
    aside = workdir / "aside" / "distill-1"
    assert (aside / "checkpoints" / "00000001").is_dir()
    assert json.loads((aside / "config.json").read_text()) == json.loads(json.dumps(train.plain(config())))
    assert {line["step"] for line in monitor.read_metrics(aside)} == {1}
    lines = [line for line in monitor.read_metrics(workdir) if line["stage"] == "distill" and line["split"] == "train"]
    assert [line["step"] for line in lines if (line["arm"], line["seed"]) == ("kd", 0)] == [1, 2]
    assert claims.read(workdir).diverged is None


def test_a_divergence_before_any_checkpoint_names_no_folder(tmp_path, monkeypatch):
    made = config(seeds=1)
    made.players.teacher.optimizer = dict(learning_rate=1e30)
    made.evaluate.every = 2
    with pytest.raises(DivergedError) as error:
        train.train(made, tmp_path)
    assert "it had no checkpoint yet" in str(error.value)
    assert not (tmp_path / "checkpoints").exists()
    assert what_is_left(settled(config(), tmp_path)) == {"teacher": [], "distill": []}  # free for any config


def test_a_stop_says_by_which_signal_and_the_report_how_far_it_is(workdir, capsys):
    shutil.rmtree(workdir / "checkpoints" / "distill" / "00000002")
    shutil.rmtree(workdir / "checkpoints" / "distill" / "00000001")
    (workdir / "summary.json").unlink()
    monitor.retain(workdir, {"teacher": {(0, "main"), (1, "main")}})
    modes.report(None, workdir)
    assert "Unfinished: stage teacher is trained, stage distill is next." in capsys.readouterr().out
    tiny.train_until(config(), workdir, "distill", 1)
    capsys.readouterr()
    modes.report(None, workdir)
    assert "Unfinished: stage distill at step 1 of 2." in capsys.readouterr().out
    page = (workdir / "report.html").read_text()
    assert "Unfinished: stage distill at step 1 of 2." in page
    assert "Learning curves: distill" in page
    assert not modes.is_complete(workdir)
    assert interrupt.Stopped("x", 2).exit_code == 130
    assert interrupt.Stopped("x").exit_code == 143
