"""The published comparison on CIFAR-100: its rows fit the networks of every pair, and its table says whose a number is."""

import importlib

import jax
import jax.numpy as jnp
import pytest

import tiny  # noqa: F401 - makes configs importable
from configs import cifar100_published, cifar100_zoo, zoo_rows
from kdgan import game, methods, models
from kdgan.run import prepare
from kdgan.run.config import ConfigError, resolve

PAIRS = cifar100_published.PAIRS
# In one move: each term has a name of its own. Those of logits have no layers.
TOGETHER = tuple(row for row in cifar100_zoo.ROWS if row in cifar100_zoo.COMPARED or row == "crd")


def stages_of(arguments):
    return {stage.name: stage for stage in resolve(cifar100_zoo.get_config(arguments)).stages}


@pytest.mark.parametrize("pair", PAIRS)
def test_every_row_of_features_fits_the_networks_of_the_pair(pair):
    rows = [row for row in cifar100_zoo.rows_of(pair, "all") if row in TOGETHER]
    parts = tuple(cifar100_zoo.method_of(row, pair) for row in rows)
    teacher, student = (models.build(name, num_classes=100) for name in pair.split("-"))
    beside = {
        name: models.build(fields["model"], **fields.get("model_args", {}))
        for name, fields in cifar100_zoo.beside(tuple(rows)).items()
    }
    batch = {
        "image": jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32), "index": jax.ShapeDtypeStruct((2,), jnp.int32),
    }  # fmt: skip
    players = {"teacher": teacher, "student": student, **beside}
    inspection = game.inspect_method(methods.build("combine", parts=parts), players, batch)
    terms = {term for row in rows for term in cifar100_zoo.lambdas_of(row, pair, 1)}
    terms |= {"ab", "fsp"} & set(rows)
    assert set(inspection.terms["student"]) == terms


@pytest.mark.parametrize("pair", PAIRS)
def test_students_make_equal_steps_at_the_published_rate(pair):
    stages = stages_of(f"pair={pair}")
    arms = {arm.name: arm for arm in stages["distill"].arms}
    assert {arm.steps for arm in arms.values()} == {187_500}  # 240 epochs of 50,000 images in batches of 64
    rate = 0.01 if pair.endswith(("shufflenet_v1", "mobilenet_v2")) else 0.05
    for arm in arms.values():
        optimizer = arm.players["student"].optimizer
        assert (optimizer.learning_rate, optimizer.momentum, optimizer.weight_decay) == (rate, 0.9, 5e-4)
        assert tuple(240 * mark for mark in optimizer.boundaries) == (150, 180, 210)
        assert arm.players["teacher"].optimizer.learning_rate == 0.05
    assert set(cifar100_published.LAST[pair]) | set(cifar100_published.BEST[pair]) <= set(arms)
    assert ("fsp" in arms) == (rate == 0.05)
    assert arms["ab"].start["student"].stage == "start_ab"
    assert "adapter_ab" not in arms["ab"].start
    starting = stages["start_ab"].arms[0]
    assert (dict(starting.lambdas["student"]), starting.method["labels"]) == ({"ab": 3 / 1000}, False)
    assert starting.optimizers["student"]["schedule"] == "constant"


def test_lambdas_are_published_ones():
    arms = {arm.name: arm.lambdas["student"] for arm in stages_of("")["distill"].arms}
    assert arms["kd"] == {"ce": 0.1, "kd": 0.9}
    assert arms["sp"] == {"ce": 1.0, "sp": 3000.0}
    assert arms["dkd"]["others"] == {"kind": "constant", "start": 8.0, "warmup": 15_750}
    weak = {arm.name: arm.lambdas["student"] for arm in stages_of("pair=resnet56-resnet20")["distill"].arms}
    assert (weak["dkd"]["others"]["start"], weak["review"]["review"]["start"]) == (2.0, 0.6)


def test_without_a_validation_split_unless_one_is_asked_for():
    assert resolve(cifar100_zoo.get_config()).data.validation == 0
    stages = stages_of("validation=5000,methods=kd+crd")
    assert stages["distill"].data.validation == 5_000
    assert stages["distill"].arms[0].steps == 168_750


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("methods=kd+hints", "there is no 'hints'; accepted are all"),
        ("pair=vgg13-mobilenet_v2,methods=fsp", "'fsp' wants a student as wide as its teacher, and vgg13-mobilenet_v2 is"),
        ("pair=vgg13-resnet8", "accepted are resnet32x4-resnet8x4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(arguments, said):
    with pytest.raises(ConfigError, match=said) as error:
        cifar100_zoo.get_config(arguments)
    assert "\n" not in str(error.value)


def number(mean, ci95=0.001):
    return {"mean": mean, "ci95": ci95, "std": 0.0, "values": [mean]}


def test_a_table_standsbeside_what_was_published():
    students = {"student": {"accuracy": number(0.7412)}, "student (best by validation)": {"accuracy": number(0.745)}}
    arms = {
        "kd": {"players": students, "best_on_test": {"student": number(0.75, None)}},
        "dkd": {"players": {"student": {"accuracy": number(0.76)}}, "best_on_test": {}},
        "cc": {"players": {"student": {"accuracy": number(0.72, None)}}, "best_on_test": {}},
    }
    teacher = {"main": {"players": {"teacher": {"accuracy": number(0.79)}}, "best_on_test": {}}}
    summary = {"stages": {"teacher": {"arms": teacher}, "distill": {"arms": arms}}}
    text = cifar100_published.table("resnet32x4-resnet8x4", summary)
    assert "| kd | 74.12 ± 0.10 | 74.50 ± 0.10 | 75.00 | 73.33 |  |" in text
    assert "| dkd | 76.00 ± 0.10 |  |  |  | 76.32 |" in text
    assert "| teacher | 79.00 ± 0.10 |  |  | 79.42 |  |" in text
    assert "cc, published of another loss" in text
    with pytest.raises(ValueError, match="no such pair"):
        cifar100_published.table("resnet8", summary)
    with pytest.raises(ValueError, match="with a stage 'distill'"):
        cifar100_published.table("vgg13-vgg8", {"stages": {}})


def test_rows_are_the_zoo_s():
    assert set(cifar100_zoo.ROWS) <= set(zoo_rows.METHODS)
    assert importlib.import_module("configs.cifar100_zoo").__doc__.count("22 ways") == 1 == len(cifar100_zoo.ROWS) - 22


def test_schedules_and_the_stages_before_can_start_on_small_networks():
    config = cifar100_zoo.get_config("pair=vgg13-vgg8,methods=dkd+ab+ft")
    config.data.name, config.data.mean, config.data.std = "digits", 0.5, 0.25
    config.data.validation, config.population.seeds = 10, 1
    for name in ("teacher", "student"):
        config.players[name].model_args = dict(features=(2,) * 5)
    prepared = prepare.prepare(config, None)
    assert set(prepared.programs) == {"teacher", "paraphrase", "start_ab", "distill"}
    assert sum(len(program.arms) for program in prepared.programs["distill"]) == 3
    assert "187500 steps" in prepared.explanation().replace(",", "")
