"""A run in two processes, from the command line: process 0 writes, and it ends where one process with two devices does."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax

import players as small
import tiny
from kdgan.run import checkpoint, lock, train

ROOT = pathlib.Path(__file__).parent.parent.parent
CONFIG = """
import tiny

def get_config():
    config = tiny.config(steps={steps}, seeds=1)
    config.parallel.devices = {devices}
    return config
"""


def last_step(workdir):
    return checkpoint.Checkpoints(workdir / "checkpoints" / "teacher").latest().step


def last_state(workdir):
    return checkpoint.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree


def start(tmp_path, workdir, *, steps=2):
    """Two processes of a run."""
    (tmp_path / "config.py").write_text(CONFIG.format(devices=1, steps=steps))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }
    command = [
        sys.executable, "-m", "kdgan.main", f"--config={tmp_path / 'config.py'}", f"--workdir={workdir}",
        f"--coordinator=127.0.0.1:{port}", "--num_processes=2",
    ]  # fmt: skip
    return [
        subprocess.Popen(
            [*command, f"--process_id={rank}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]


def test_two_processes_end_as_one_with_two_devices(tmp_path):
    workers = start(tmp_path, tmp_path / "two")
    (out, err), (silent, _) = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], err.decode()[-2000:]
    assert b"student" in out
    assert b"student" not in silent  # process 1 prints no table, and writes no file
    config = tiny.config(steps=2, seeds=1)
    config.parallel.devices = 2
    summary = train.train(config, tmp_path / "one")
    assert small.largest_difference(last_state(tmp_path / "one"), last_state(tmp_path / "two")) < 1e-5
    written = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert written["stages"]["distill"]["arms"].keys() == summary["stages"]["distill"]["arms"].keys()
    assert jax.process_count() == 1


def test_a_signal_to_one_process_stops_all_of_them_when_everything_is_saved(tmp_path):
    workers = start(tmp_path, tmp_path / "run", steps=100_000)
    give_up = time.monotonic() + 240
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < give_up:
        assert workers[0].poll() is None
        time.sleep(0.05)
    workers[1].send_signal(signal.SIGINT)  # to the one that does not write
    (out, err), _ = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [130, 130], err.decode()[-2000:]
    assert b"everything is saved" in out
    assert last_step(tmp_path / "run") > 0


def test_where_the_writer_may_not_start_no_process_waits_for_it(tmp_path):
    with lock.held(tmp_path / "run"):
        workers = start(tmp_path, tmp_path / "run")
        said = [worker.communicate(timeout=240)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [1, 1]
    assert f"is in use by process {os.getpid()}" in said[0]
    assert "error: another process of this run cannot start" in said[1]
