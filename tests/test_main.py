"""The command line as a user meets it: one line for a mistake, and SIGTERM saves."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = """
import tiny

def get_config():
    config = tiny.config(steps=100_000, seeds=1)
    config.evaluate.every = config.log.every = 10
    return config
"""


def start(*options):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    return subprocess.Popen(
        [sys.executable, "-m", "kdgan.main", *options], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config=configs/quickstart.py", "--config.data.nmae=x"], "no field 'nmae'; did you mean 'name'?"),
        (["--config=configs/nope.py"], "No such file or directory: 'configs/nope.py'"),
        (["--config=configs/quickstart.py"], "--workdir is missing"),
        (["--config=configs/kdgan_mnist.py:n=7"], "--config=...:n=7: accepted are 100, 1000, 10000"),
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
