"""The package as people first meet it: names that are there when asked for, and nothing imported before."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import kdgan
import tiny
from kdgan.data import arrays as data_arrays
from kdgan.run import inputs as run_inputs
from kdgan.run import modes, prediction
from kdgan.run.config import ConfigError, resolve

ROOT = pathlib.Path(__file__).parent.parent
HEAVY = ("jax", "flax", "optax", "orbax", "tensorflow_datasets", "sklearn", "matplotlib")


def imported_by(code):
    """Which of the heavy modules a new Python has imported after `code`."""
    code += f"\nimport sys; print('imported', *[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return run.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "code",
    [
        "import kdgan; kdgan.__version__, dir(kdgan)",
        "from kdgan import run; dir(run)",
        "import runpy, sys\nsys.argv = ['kdgan.main', '--help']\n"
        "try: runpy.run_module('kdgan.main', run_name='__main__')\nexcept SystemExit: pass",
    ],
)
def test_jax_is_imported_by_what_needs_it_only(code):
    assert imported_by(code) == []


def test_every_name_is_there_when_it_is_asked_for():
    assert kdgan.train is modes.train
    assert kdgan.load is kdgan.run.load is prediction.load
    assert kdgan.data.from_arrays is data_arrays.from_arrays
    assert kdgan.Method(kdgan.Move("student", lambda players, batch, key: {})).trained == ("student",)
    assert set(kdgan.__all__) <= set(dir(kdgan))
    for name in kdgan.__all__:
        assert getattr(kdgan, name) is not None
    for module in kdgan.losses.__all__:
        assert getattr(kdgan.losses, module).__name__ == f"kdgan.losses.{module}"
    name = "nope"
    for package in (kdgan, kdgan.run, kdgan.losses):
        with pytest.raises(AttributeError, match="has no attribute 'nope'"):
            getattr(package, name)


def arrays(split, name="arrays", classes=3):
    count = {"train": 30, "test": 12}[split]
    image = np.random.default_rng(len(split)).integers(0, 256, (count, 5, 5, 1), dtype=np.uint8)
    return kdgan.data.from_arrays(image, np.arange(count) % classes, name=name)


def test_data_handed_over_are_the_runs_and_are_recorded_as_such():
    data = {"train": arrays("train", "flowers"), "test": arrays("test")}
    config = tiny.config(validation=6)
    config.data.labelled = None
    recorded = run_inputs.handed_over(config, data)
    assert recorded["data"]["name"] == "python:flowers"
    assert config.data.name == "digits"  # the caller's own is left as it is
    run = resolve(recorded)
    inputs = run_inputs.load(run, data)
    assert inputs.train is data["train"]
    assert inputs.test is data["test"]
    assert [len(rows) for rows in inputs.partitions[run.seed]] == [24, 6, 0]
    with pytest.raises(ConfigError, match=r"data\.name = 'python:flowers': the data of this run were handed over"):
        run_inputs.load(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": None}, r"data\['test'\] is a NoneType; a data set is accepted, as kdgan\.data\.from_arrays"),
        ({"train": (np.zeros((2, 5, 5, 1)), [0, 1])}, r"data\['train'\] is a tuple"),
        ({"validation": None}, "data = train, test, validation: a mapping of 'train' and 'test'"),
    ],
)
def test_what_is_no_data_set_is_refused(change, message):
    data = {"train": arrays("train"), "test": arrays("test"), **change}
    with pytest.raises(ConfigError, match=message):
        run_inputs.handed_over(tiny.config(), data)


def test_train_and_test_must_fit_together():
    data = {"train": arrays("train", classes=2), "test": arrays("test")}
    config = tiny.config(validation=0)
    config.data.labelled = None
    run = resolve(run_inputs.handed_over(config, data))
    with pytest.raises(ConfigError, match="num_classes of split 'train' is 2, of split 'test' 3"):
        run_inputs.load(run, data)
