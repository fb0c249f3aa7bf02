"""A config is checked by name, type and range before anything is built."""

import itertools
import re

import pytest

import tiny
from kdgan.config import describe, get_config, named
from kdgan.run import schema
from kdgan.run.config import ConfigError, differences, plain, resolve


def changed(path, value):
    """The tiny config as plain dicts with one field set, or removed where value is None and the field is there."""
    fields = plain(tiny.config())
    *parents, last = path.split(".")
    at = fields
    for name in parents:
        at = at[name]
    at[last] = value
    return fields


def test_a_config_has_the_sections_and_fields_of_the_schema():
    defaults = plain(get_config())
    assert set(defaults) == set(schema.hints(schema.Config))
    assert resolve({**defaults, "stages": {"a": {}}}) == resolve({"stages": {"a": {}}})


def test_every_field_is_printed_with_its_default_and_its_comment():
    lines = describe().splitlines()
    for above, line in itertools.pairwise(lines):
        if line.startswith("config."):
            assert "  # " in line or above.startswith("# "), line
    fields = {line.partition(" = ")[0] for line in lines}
    for section in ("data", "parallel", "evaluate", "log"):
        cls = type(getattr(schema.Config(), section))
        assert {f"config.{section}.{name}" for name in schema.hints(cls)} - fields <= {"config.evaluate.extractor"}
    assert '# "digits" or "sklearn:wine" (ship' in describe()
    assert "config.player.optimizer.learning_rate = 0.001  # of an update" in describe()


def test_stages_and_arms_keep_the_order_in_which_they_are_written():
    run = resolve(tiny.config())
    assert [stage.name for stage in run.stages] == ["teacher", "distill"]
    assert [arm.name for arm in run.stages[1].arms] == ["scratch", "kd"]
    assert [arm.name for arm in run.stages[0].arms] == ["main"]
    assert run.seeds == (0, 1)


def test_players_stages_and_arms_inherit_field_by_field():
    fields = changed("players.student.optimizer", {"learning_rate": 0.5})
    fields["stages"]["distill"]["optimizers"] = {"student": {"clip_norm": 1.0}}
    fields["stages"]["distill"]["arms"]["kd"]["batch_size"] = 4
    run = resolve(fields)
    assert run.players["student"].optimizer.learning_rate == 0.5
    assert run.players["student"].optimizer.name == "sgd"  # from config.player
    scratch, kd = run.stages[1].arms
    assert (scratch.batch_size, kd.batch_size) == (8, 4)
    assert scratch.optimizers == kd.optimizers == {"student": {"clip_norm": 1.0}}


def test_an_arm_of_another_method_does_not_inherit_the_lambdas():
    fields = changed("stages.distill.lambdas", {"student": {"ce": 0.3}})
    scratch, kd = resolve(fields).stages[1].arms
    assert scratch.lambdas == {"student": {"ce": 1.0}}
    assert kd.lambdas == {"student": {"ce": 0.1, "kd": 0.9}}


def test_a_method_may_be_named_alone_and_a_start_by_stage_and_arm():
    fields = changed("stages.distill.arms.kd.method", "mimic")
    fields["stages"]["distill"]["arms"]["kd"]["lambdas"] = {"student": {"ce": 1.0, "mimic": 1.0}}
    run = resolve(fields)
    assert run.stages[1].arms[1].method == {"name": "mimic"}
    assert run.stages[1].arms[1].start["teacher"] == schema.Start(stage="teacher", arm="main", player="teacher")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("dta", {}, "config.dta: no such field; did you mean 'data'"),
        ("data.nmae", "mnist", "config.data.nmae: no such field; did you mean 'name'"),
        ("data.name", 3, r"config.data.name = 3 \(int\): expected str"),
        ("data.labelled", "all", "expected int or None"),
        ("data.validation", -1, "config.data.validation = -1: must be at least 0"),
        ("players.student.optimizer", {"lr": 0.1}, "config.players.student.optimizer.lr: no such field"),
        ("players.student.modle", "mlp", "did you mean 'model'"),
        ("players.student.ema", 1.5, "config.players.student.ema = 1.5: must be between 0 and 1"),
        ("stages.distill.stpes", 3, "config.stages.distill.stpes: no such field; did you mean 'steps'"),
        ("stages.distill.steps", 0, "config.stages.distill.arms.scratch.steps = 0: must be at least 1"),
        ("stages.distill.steps", True, "expected int"),
        ("stages.distill.arms.kd.arms", {"a": {}}, "an arm has no arms of its own"),
        ("stages.distill.start.teacher", "teahcer", "no earlier stage of that name; earlier stages are teacher"),
        ("stages.distill.start.teacher", "teacher/best", "has no arm 'best'; arms are main"),
        ("stages.distill.start.teacher", {"only": ["a"]}, "name either a stage of this run or a checkpoint"),
        ("stages.distill.start.teacher", {"stage": "teacher", "member": 1}, "every seed takes its own"),
        ("stages.distill.start.techer", "teacher", "did you mean 'teacher'"),
        ("stages.distill.optimizers", {"student": {"lr": 1.0}}, "optimizers.student.lr: no such field"),
        ("stages", {}, "config.stages is empty"),
        ("parallel.members", "both", "accepted are auto, in_turn, unrolled, vmap, devices"),
        ("parallel.compute", "float16", "accepted are float32, bfloat16"),
        ("population.seeds", 0, "must be at least 1"),
    ],
)
def test_each_mistake_is_one_clear_error(path, value, message):
    with pytest.raises(ConfigError, match=message):
        resolve(changed(path, value))


def test_a_field_left_out_has_its_default():
    fields = plain(tiny.config())
    del fields["data"]["mean"], fields["log"], fields["player"]["ema"]
    run = resolve(fields)
    assert (run.data.mean, run.log, run.players["student"].ema) == (0.0, schema.Log(), None)


def test_a_dict_that_stands_in_two_places_is_changed_in_one_alone():
    config = tiny.config()
    network = dict(model="mlp", model_args=dict(hidden=(4,)), optimizer=dict(learning_rate=0.1))
    config.players = named(teacher=network, student=network)
    arm = dict(lambdas=dict(student=dict(ce=1.0)))
    config.stages.distill.arms = named(short=arm, long=dict(arm, steps=9))
    config.players.student.ema = 0.9
    config.players.student.optimizer.learning_rate = 0.2
    config.stages.distill.arms.long.lambdas.student.ce = 2.0
    run = resolve(config)
    of = lambda name: (run.players[name].ema, run.players[name].optimizer.learning_rate)
    assert (of("teacher"), of("student")) == ((None, 0.1), (0.9, 0.2))
    short, long = run.stages[-1].arms
    assert (short.lambdas["student"]["ce"], long.lambdas["student"]["ce"]) == (1.0, 2.0)


def test_a_name_with_a_dot_is_refused_where_it_is_written():
    with pytest.raises(ConfigError, match=r"config.players.*: the name 'kd.1' cannot be used"):
        named(**{"kd.1": {}})


def test_a_path_of_a_user_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"config.data.data_dir = ~nobodyhere/data: there is no user ~nobodyhere"):
        resolve(changed("data.data_dir", "~nobodyhere/data"))


@pytest.mark.parametrize("name", ["a.b", "a/b", "a b", "a (b)", ""])
@pytest.mark.parametrize("kind", ["players", "stages", "stages.distill.arms"])
def test_a_name_that_cannot_be_a_folder_or_a_field_is_refused(kind, name):
    fields = plain(tiny.config())
    entries = fields["stages"]["distill"]["arms"] if kind.endswith("arms") else fields[kind]
    entries[name] = {}
    with pytest.raises(ConfigError, match=rf"config.{kind}: the name {re.escape(repr(name))} cannot be used"):
        resolve(fields)


def test_every_path_of_a_config_starts_at_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    fields = changed("data.data_dir", "~/data")
    fields["data"]["name"] = "folder:~/images"
    fields["evaluate"]["extractor"]["inception"] = "~/inception.npz"
    fields["stages"]["distill"]["start"]["teacher"] = {"checkpoint": "~/teacher"}
    run = resolve(fields)
    assert (run.data.name, run.data.data_dir) == ("folder:/home/ann/images", "/home/ann/data")
    assert run.evaluate.extractor.inception == "/home/ann/inception.npz"
    assert run.stages[1].arms[0].start["teacher"].checkpoint == "/home/ann/teacher"
    assert resolve(changed("data.name", "mnist")).data.name == "mnist"


def test_differences_name_the_fields():
    old, new = plain(tiny.config()), changed("stages.distill.arms.kd.lambdas.student.kd", 0.5)
    assert differences(old, new) == ["config.stages.distill.arms.kd.lambdas.student.kd: 0.9 -> 0.5"]
    assert differences(old, old) == []


def test_an_empty_path_of_weights_is_refused():
    config = tiny.config()
    config.players.teacher.weights = ""
    with pytest.raises(ConfigError, match=r"players\.teacher\.weights = '': a file, a folder, or None is accepted"):
        resolve(config)
