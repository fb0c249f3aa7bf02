"""`kdgan.compare`: what is at hand in Python becomes a config, a run and a student."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn

import kdgan
from kdgan import models
from kdgan.direct import compare as comparing
from kdgan.direct import given, presets
from kdgan.run.config import ConfigError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 8, 8, 1), np.uint8)
LABELS = np.arange(60) % 3
EXAMPLE = (np.zeros((2, 8, 8, 1), np.float32),)
SMALL = dict(
    train=(IMAGES, LABELS), test=(IMAGES[:20], LABELS[:20]), seeds=1, steps=2, batch_size=8,
    fields={"evaluate.latency": False, "log.progress": False, "log.tensorboard": False},
)  # fmt: skip


class InATest(nn.Module):
    """Its field holds a function, which no config can."""

    activation: object = nn.relu

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(self.activation(x.reshape(len(x), -1)))


@pytest.fixture(scope="module")
def result():
    return kdgan.compare(teacher="mlp", student=models.MLP(hidden=(4,)), arms=["scratch", "kd"], **SMALL)


def test_the_run_lies_in_a_folder_with_a_page_and_its_config_says_everything(result):
    assert (result.workdir / "report.html").exists()
    assert json.loads((result.workdir / "config.json").read_text())["stages"] == result.config.stages.to_dict()
    assert list(result.config.stages.distill.arms) == ["scratch", "kd"]
    assert result.config.data.validation == 6  # a tenth of 60, more than one of each class
    assert result.config.players.student.model == "kdgan.models.mlp.MLP"


def test_its_table_is_the_reports(result, capsys):
    result.show()
    assert "student · kd" in capsys.readouterr().out


def test_best_is_chosen_on_validation_alone(result):
    """The table is changed so that one arm is best there, and another on the test split."""
    arms = result.summary["stages"]["distill"]["arms"]
    changed = json.loads(json.dumps(result.summary))
    for arm in arms:
        record = changed["stages"]["distill"]["arms"][arm]
        record["validation"]["student"]["accuracy"] |= {"mean": float(arm == "kd"), "values": [float(arm == "kd")]}
        record["players"]["student"]["accuracy"] |= {"mean": float(arm == "scratch")}
    chosen = comparing.Result(changed, result.config, result.workdir, result.models).best("student")
    assert "arm kd" in chosen.about
    assert chosen(IMAGES[:5]).shape == (5, 3)
    with pytest.raises(ConfigError, match=r"best\('generator'\): the arms have .*student"):
        result.best("generator")


def test_called_again_in_its_folder_it_trains_what_is_missing(result, capsys):
    again = kdgan.compare(
        teacher="mlp", student=models.MLP(hidden=(4,)), arms=["scratch", "kd"], workdir=result.workdir, **SMALL
    )
    assert "is complete; nothing is left to train" in capsys.readouterr().out
    assert again.summary["stages"] == result.summary["stages"]


def test_without_a_validation_split_the_test_split_does_not_choose(tmp_path):
    summary = {"stages": {"distill": {"arms": {"kd": {"validation": {}, "players": {"student": {}}}}}}}
    with pytest.raises(ConfigError, match=r"no validation split .* load\('student', arm='kd'\)"):
        comparing.Result(summary, kdgan.get_config(), tmp_path).best()


def test_a_module_that_a_config_can_hold_is_written_into_it():
    own = given.player("student", models.CNN(features=(2, 4)), EXAMPLE, None)
    assert own.player == {"model": "kdgan.models.cnn.CNN", "model_args": {"features": (2, 4)}}
    assert not own.modules
    assert own.trains


def test_a_module_that_a_config_cannot_hold_is_handed_over_and_named():
    module = InATest(nn.tanh)
    own = given.player("student", module, EXAMPLE, "v1")
    assert own.player == {"model": "python:v1/student"}
    assert own.modules == {"python:v1/student": module}


def test_parameters_become_a_file_called_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = models.MLP(hidden=(2,), num_classes=3)
    variables = jax.jit(module.init)(jax.random.key(0), *EXAMPLE)
    first, second, bare = (
        given.player("teacher", (module, tree), EXAMPLE, None) for tree in (variables, variables, variables["params"])
    )
    assert first.start == second.start == bare.start
    assert first.player["model_args"] == {"hidden": (2,), "num_classes": 3}
    assert first.is_frozen


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (3, "teacher = 3: the name of a model"),
        (InATest, r"a class; an instance is accepted, teacher=InATest\(...\)"),
        ("nothing.npz", "teacher = 'nothing.npz': there is no such file or folder"),
        (
            lambda images: images.reshape(3),
            r"called with inputs \[\[2, 8, 8, 1\]\] it raises ValueError: cannot reshape",
        ),
        (lambda images: np.zeros((7, 3)), r"of inputs \[\[2, 8, 8, 1\]\] it gives float64 \[7, 3\]"),
    ],
)
def test_what_is_no_player_is_refused(teacher, message):
    with pytest.raises(ConfigError, match=message):
        given.player("teacher", teacher, EXAMPLE, None)


def test_an_arm_is_a_name_or_the_fields_of_a_config():
    teacher = given.Given({"model": "mlp"})
    own = dict(method=dict(name="kd", temperature=2.0), lambdas=dict(student=dict(ce=0.5, kd=0.5)))
    made = presets.arms({"scratch": None, "kd_T2": own}, teacher, 1e-3)
    assert made["kd_T2"] == own
    assert made["scratch"]["lambdas"] == {"student": {"ce": 1.0}}
    with pytest.raises(ConfigError, match="no arm 'soft' by name; there are scratch, kd, mimic, kdgan"):
        presets.arms(["soft"], teacher, 1e-3)


def test_kdgan_leaves_a_teacher_without_parameters_as_it_is():
    arm = presets.kdgan(given.Given({"model": "python:f/teacher"}, trains=False), 1e-3)
    assert arm["method"]["teacher_repeats"] == 0
    assert {*arm["lambdas"]} == {"discriminator", "student"}
    assert kdgan.methods.kdgan(teacher_repeats=0).trained == ("discriminator", "student")


def test_a_run_with_a_function_goes_on_only_under_a_name(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=r"its student is the one that is given now; give it a name"):
        kdgan.compare(teacher="mlp", student=InATest(nn.tanh), workdir=tmp_path, **SMALL)


def test_fields_of_the_config_are_named_with_dots():
    with pytest.raises(ConfigError, match="config has no 'dada'"):
        kdgan.compare(teacher="mlp", student="mlp", **{**SMALL, "fields": {"dada.name": 1}})
