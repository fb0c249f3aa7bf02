"""The command line as a user meets it: one line for a mistake, and SIGTERM saves."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import tiny
from kdgan.run.config import plain

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = """
import tiny

def get_config():
    config = tiny.config(steps=100_000, seeds=1)
    config.evaluate.every = config.log.every = 10
    return config
"""


def start(*options, **variables):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "kdgan.main", *options], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config=configs/quickstart.py", "--config.data.nmae=x"], "no such field; did you mean 'name'?"),
        (["--config=configs/quickstart.py", "--config.lambda.student.kd=0.5"], "did you mean 'lambdas' of a stage?"),
        (["--config=configs/quickstart.py:foo"], "takes no arguments; leave out ':foo'"),
        (["--config=configs/nope.py"], "there is no file configs/nope.py"),
        (["--config=configs/quickstart.py"], "--workdir is missing"),
        (["--config=configs/kdgan_mnist.py:n=7"], "--config=...:n=7: accepted are 100, 1000, 10000"),
        (["--config=configs/quickstart.py", "--workdir=README.md"], "README.md is a file; a folder"),
        (
            ["--config=configs/quickstart.py", "--workdir=README.md/x", "--mode=explain"],
            "README.md is a file; a folder",
        ),
        (["--config=configs/quickstart.py", "--workdir="], "the name is empty"),
        (["--config=configs/quickstart.py", "--workdir=~nobodyhere/x"], "there is no user ~nobodyhere"),
        (["--config.data.name=mnist"], "--config.data.name: name the file of the config before its fields"),
        (["--config=configs/quickstart.py", "--workdir=/proc/run"], "'/proc/run'"),
        (["--mode=report", "--workdir=/nonexistent"], "/nonexistent is no folder"),
        (["--mode=evaluate", "--workdir=/nonexistent", "--config=configs/quickstart.py"], "holds no run"),
    ],
)
def test_a_mistake_is_one_line(options, message):
    process = start(*options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_platform_that_is_not_there_is_one_line():
    process = start("--mode=explain", "--config=configs/quickstart.py", JAX_PLATFORMS="cuda")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: JAX_PLATFORMS=cuda: ")
    assert "name a platform that this machine has" in err.splitlines()[-1]


def test_another_default_generator_of_random_numbers_trains_a_run(tmp_path):
    fields = plain(tiny.config(steps=2, seeds=1))
    fields["data"]["augment"] = {"flip": {}, "mixup": {"alpha": 0.2}}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    process = start(
        f"--config={tmp_path / 'config.json'}", f"--workdir={tmp_path / 'run'}", JAX_DEFAULT_PRNG_IMPL="rbg"
    )
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_signal_before_the_run_trains_is_not_lost_in_the_garbage_collector():
    code = """
import gc, os, signal, sys
from kdgan.run import interrupt
interrupt.end_at_once()
number = getattr(signal, sys.argv[1])
gc.callbacks.append(lambda *about: os.kill(os.getpid(), number))
gc.collect()
print("went on")
"""
    for name, expected in (("SIGINT", 130), ("SIGTERM", 143)):
        ended = subprocess.run([sys.executable, "-c", code, name], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stdout) == (expected, "interrupted; what was saved before is kept\n")


def test_a_report_needs_no_device_and_a_bad_variable_of_jax_is_one_line(tmp_path):
    process = start("--mode=report", f"--workdir={tmp_path}", JAX_PLATFORMS="tpu")
    _, err = process.communicate(timeout=120)
    assert err.splitlines()[-1].startswith("error: workdir")
    process = start("--mode=explain", "--config=configs/quickstart.py", JAX_DEFAULT_PRNG_IMPL="foo")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.splitlines()[-1][:30]) == (1, 'error: Invalid value "foo" for')


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    process = start(f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'run'}")
    metrics = tmp_path / "run" / "metrics.jsonl"
    give_up = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "everything is saved. The same command goes on from there." in out
    steps = [path for path in (tmp_path / "run" / "checkpoints" / "teacher").iterdir() if path.name.isdigit()]
    assert steps
