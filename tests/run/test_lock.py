"""The lock of a workdir: one holder, named to the second; gone with a process that is killed; and file systems without."""

import errno
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from absl import logging

import tiny
from kdgan.run import lock, train
from kdgan.run.config import ConfigError

ROOT = pathlib.Path(__file__).parent.parent.parent
HOLDER = """
import pathlib, sys, time
from kdgan.run import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_told_who_holds_it_and_gets_it_when_the_first_is_killed(holder, tmp_path):
    with pytest.raises(ConfigError) as error, lock.held(tmp_path):
        pass
    assert f"workdir {tmp_path} is in use by process {holder.pid} on host {socket.gethostname()} since 20" in str(
        error.value
    )
    assert "\n" not in str(error.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / lock.FILE).read_text()
    with lock.held(tmp_path):  # released without a death, too
        pass


def test_neither_a_run_nor_an_evaluation_starts_in_a_workdir_in_use_and_nothing_is_written(tmp_path):
    with lock.held(tmp_path):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(ConfigError, match="is in use by process"):
            train.train(tiny.config(), tmp_path)
        assert sorted(tmp_path.iterdir()) == before
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ConfigError, match="is in use by process"):
            train.train(tiny.config(), tmp_path, only_evaluate=True)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_warns_once_and_goes_on(number, tmp_path, monkeypatch):
    said = []

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    monkeypatch.setattr(logging, "warning", lambda text, *args: said.append(text % args))
    inside = False
    with lock.held(tmp_path):
        inside = True
    assert inside
    (text,) = said
    assert "has no locks" in text
    assert os.strerror(number) in text


def test_a_system_without_file_locks_warns_too(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(logging, "warning", lambda text, *args: said.append(text % args))
    with lock.held(tmp_path):
        assert len(said) == 1
