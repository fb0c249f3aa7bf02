"""The config that a command line makes: of which files, and with which fields set."""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Mapping

import pytest

from kdgan.run import command_line, schema
from kdgan.run.command_line import load, open_field, overridden
from kdgan.run.config import ConfigError, plain, resolve

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"
SHIPPED = [path for path in sorted(CONFIGS.glob("*.py")) if "\ndef get_config(" in path.read_text()]
QUICKSTART = str(CONFIGS / "quickstart.py")


def set_field(config, path, value):
    """As a flag --config.<path>=<value> does."""
    open_field(config, path)
    *parents, last = path.split(".")
    node = config
    for name in parents:
        node = node[name]
    node[last] = value


def arm(run, name="kd"):
    """An arm of the quickstart's last stage."""
    return next(arm for arm in run.stages[1].arms if arm.name == name)


def paths(kind, prefix, labels):
    """Every field below a section of some type, with the names of players, stages and arms that a config has."""
    for name, hint in schema.hints(kind).items():
        mapping = next((o for o in schema.options(hint) if typing.get_origin(o) is Mapping), None)
        if dataclasses.is_dataclass(hint):
            yield from paths(hint, f"{prefix}{name}.", labels)
        elif mapping is None:
            yield f"{prefix}{name}"
        else:
            entry = typing.get_args(mapping)[1]
            for label in labels(f"{prefix}{name}"):
                yield from paths(entry, f"{prefix}{name}.{label}.", labels)


def labels_of(config):
    def labels(path):
        if path == "stages":
            return list(config.stages)
        if path.endswith(".arms"):
            return list(config.stages[path.split(".")[1]].get("arms", {})) if path.startswith("stages") else []
        return list(config.players)

    return labels


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_field_of_every_player_stage_and_arm_can_be_set_on_every_config(path):
    config = load(str(path))
    names = list(paths(schema.Config, "", labels_of(config)))
    assert len(names) > 100
    for name in names:
        open_field(config, name)
        *parents, last = name.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        assert last in node, name


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("stages.distill.cached", ("teacher",), lambda run: arm(run).cached),
        ("stages.distill.views", 8, lambda run: arm(run).views),
        ("stages.distill.batch_size", 16, lambda run: arm(run).batch_size),
        ("players.student.ema", 0.99, lambda run: run.players["student"].ema),
        ("players.student.optimizer.weight_decay", 1e-4, lambda run: run.players["student"].optimizer.weight_decay),
        ("stages.distill.arms.kd.steps", 100, lambda run: arm(run).steps),
        ("data.augment.flip", {}, lambda run: run.data.augment["flip"]),
        ("stages.distill.arms.kd.method.temperature", 4.0, lambda run: arm(run).method["temperature"]),
        ("stages.distill.optimizers.student.clip_norm", 1.0, lambda run: arm(run).optimizers["student"]["clip_norm"]),
        ("stages.distill.start.teacher.skip", ("head*",), lambda run: arm(run).start["teacher"].skip),
        ("stages.distill.players.student.model_args.dense", 8, lambda run: arm(run).players["student"].model_args["dense"]),
        ("stages.teacher.lambdas.teacher.ce", 0.5, lambda run: run.stages[0].arms[0].lambdas["teacher"]["ce"]),
        ("stage.players.student.ema", 0.9, lambda run: arm(run).players["student"].ema),
        ("data.labelled", None, lambda run: run.data.labelled),
    ],
)  # fmt: skip
def test_a_field_that_a_file_leaves_to_its_default_is_set(path, value, read):
    config = load(QUICKSTART)
    set_field(config, path, value)
    assert read(resolve(config)) == value


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("lambda.student.kd", "lambda is a keyword of Python: did you mean 'lambdas' of a stage"),
        ("stages.distill.lambda.student.kd", "--config.stages.distill.lambda: no such field; did you mean 'lambdas'"),
        ("stages.distil.views", "--config.stages.distil: no such field; did you mean 'distill'"),
        ("stages.distill.arms.kdd.steps", "--config.stages.distill.arms.kdd: no such field; did you mean 'kd'"),
        ("stages.teacher.arms.kd.steps", "--config.stages.teacher.arms.kd: no such field; accepted are none"),
        ("players.studnet.ema", "did you mean 'student'"),
        ("stages.distill.optimizers.studnet.b1", "did you mean 'student'"),
        ("players.student.optimizer.lr", "accepted are name, learning_rate"),
        ("stages.distill.arms.kd.lambdas.student.kd.start", "config.stages.distill.arms.kd.lambdas.student.kd is 0.9"),
        ("data.nmae", "--config.data.nmae: no such field; did you mean 'name'"),
    ],
)  # fmt: skip
def test_a_field_that_no_config_has_is_refused_by_name(path, message):
    with pytest.raises(ConfigError, match=message):
        open_field(load(QUICKSTART), path)


def test_the_fields_of_a_command_line():
    words = [
        "main",
        "--mode=explain",
        "--config=a.py",
        "--config.a.b=3",
        "-config.c",
        "4",
        "--noconfig.d.e",
        "--configure=1",
    ]
    assert overridden(words) == ["a.b", "c", "d.e"]


def test_a_runs_record_and_its_workdir_are_configs(tmp_path):
    config = load(QUICKSTART)
    (tmp_path / "config.json").write_text(json.dumps(plain(config)))
    for name in (str(tmp_path / "config.json"), str(tmp_path)):
        again = load(name)
        assert resolve(again) == resolve(config)
        assert [arm.name for arm in resolve(again).stages[1].arms] == ["scratch", "kd", "kdgan"]
        set_field(again, "stages.distill.arms.kd.views", 3)
        assert resolve(again).stages[1].arms[1].views == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.py", "import nothing_there", "x.py, line 1: ModuleNotFoundError: No module named 'nothing_there'"),
        ("x.py", "def get_config(:", "x.py, line 1: SyntaxError"),
        ("x.py", "def get_config():\n  return 1/0", "x.py, line 2: ZeroDivisionError: division by zero"),
        ("x.py", "def get_config():\n  return {}", "returns dict, no ConfigDict"),
        ("x.py", "x = 1", "has no function get_config"),
        ("x.py:foo", "def get_config(): pass", "takes no arguments; leave out ':foo'"),
        ("x.json", "{", "x.json is not valid JSON"),
        ("x.json", "[1]", "no mapping of fields"),
        ("x.yaml", "", "a .py file, a run's config.json or its workdir is accepted"),
    ],
)
def test_a_file_that_makes_no_config_is_one_line(tmp_path, name, text, message):
    path = tmp_path / name.partition(":")[0]
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(str(tmp_path / name))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_names_one_that_is():
    with pytest.raises(ConfigError, match=r"there is no file .*quikstart.py; did you mean 'quickstart.py'"):
        load(str(CONFIGS / "quikstart.py"))


def test_a_config_file_is_found_at_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.py").write_text("from kdgan.config import get_config")
    assert load("~/x.py").data.name == "digits"


def test_the_parser_sets_the_fields_of_the_command_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["main", f"--config={QUICKSTART}", "--config.players.student.ema=0.5"])
    config = command_line.ConfigParser().parse(QUICKSTART)
    assert config.is_locked
    assert "ema" in config.players.student
    with pytest.raises(command_line.CommandLineError, match="no file"):
        command_line.ConfigParser().parse("nothing.py")
