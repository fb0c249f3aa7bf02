"""Checkpoints after damage of their files, full disks and kills: what is whole is found, and saving goes on."""

import logging
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from kdgan.checkpoints import folder as checkpoint_folder
from kdgan.run import checkpoint
from kdgan.run.checkpoint import Checkpoints, DamagedCheckpointError
from same import assert_same

ROOT = pathlib.Path(checkpoint.__file__).parents[2]


@pytest.fixture
def warned():
    """Lines logged, by anyone."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("absl").addHandler(handler)
    yield lines
    logging.getLogger("absl").removeHandler(handler)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "flipped": flip,
    "missing": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(os.urandom(max(path.stat().st_size, 10))),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_any_file_is_found_and_the_checkpoint_before_it_used(tmp_path, warned, kind):
    value = lambda step: {"x": np.arange(500, dtype=np.float32) + step, "y": {"z": np.full((3,), step)}}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, value(1))
        checkpoints.save(2, value(2))
        checkpoints.wait()
        paths = [path for path in (tmp_path / "00000002").rglob("*") if path.is_file() and path.stat().st_size]
        assert len(paths) > 5
        for path in paths:
            content = path.read_bytes()
            DAMAGE[kind](path)
            del warned[:]
            step, tree, _ = checkpoints.restore_latest(value(0))
            assert step == 1, path
            assert_same(tree, value(1))
            assert len(warned) == 1
            assert warned[0].startswith(f"skipping damaged checkpoint {tmp_path / '00000002'}: ")
            assert path.name in warned[0] or path.name == "kdgan.json"
            assert "\n" not in warned[0]
            path.write_bytes(content)
        assert checkpoints.restore_latest().step == 2


def test_arrays_that_orbax_reads_without_complaint_are_still_checked(tmp_path, warned, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": np.zeros(3)})
        checkpoints.save(2, {"x": np.zeros(3)})
        checkpoints.wait()
        restore = checkpoint_folder.ocp.Checkpointer.restore

        def wrong(self, path):
            tree = restore(self, path)
            return {"x": tree["x"] + 1e-300} if path.name == "00000002" else tree

        monkeypatch.setattr(checkpoint_folder.ocp.Checkpointer, "restore", wrong)
        assert checkpoints.restore_latest().step == 1
        with pytest.raises(DamagedCheckpointError, match="x is not what was written"):
            checkpoint.read(tmp_path / "00000002")
    assert "x is not what was written" in warned[0]


def test_all_damaged_means_from_the_beginning_and_saving_goes_on(tmp_path, warned):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, {"x": np.full(3, step)})
        checkpoints.wait()
    (tmp_path / "00000003").mkdir()
    (tmp_path / "00000004").write_text("garbage")
    (tmp_path / "00000002" / "kdgan.json").write_text("{")
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.restore_latest() is None
        assert len(warned) == 4
        assert "starting from the beginning" in warned[-1]
        checkpoints.save(2, {"x": np.full(3, 22)})  # the run passes the damaged step again
        assert checkpoints.restore_latest().tree["x"].tolist() == [22] * 3
    assert os.listdir(tmp_path) == ["00000002-1"]


@pytest.mark.parametrize("function", ["checkpointer", "write_json"])
def test_a_full_disk_is_told_at_the_next_call(tmp_path, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patch:
            if function == "checkpointer":
                patch.setattr(checkpoint_folder.ocp.Checkpointer, "save", fail)
            else:
                patch.setattr(checkpoint_folder, "write_json", fail)
            checkpoints.save(1, {"x": np.zeros(1)})
            with pytest.raises(OSError, match="no space left"):
                checkpoints.save(2, {"x": np.zeros(1)})
        assert checkpoints.restore_latest() is None
        checkpoints.save(1, {"x": np.ones(1)})
        assert checkpoints.restore_latest().tree["x"] == 1
    assert os.listdir(tmp_path) == ["00000001"]


def test_kills_leave_a_consistent_state(tmp_path):
    """A process that saves in a loop is killed at random moments and started again; each start checks what it finds."""
    code = f"""
        import os, random, signal, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        import numpy as np
        from absl import logging
        from kdgan.run.checkpoint import Checkpoints

        def refuse(*args):
            raise AssertionError(args)

        def child(start, ready):
            logging.warning = refuse  # a kill may cost the save in progress, but damages none
            checkpoints = Checkpoints({str(tmp_path)!r}, keep=2)
            found = checkpoints.restore_latest()
            step = start if found is None else found.step
            assert step >= start, (step, start)
            if found is not None:
                assert all((array == step).all() for array in found.tree.values()), found
                assert found.metadata["step"] == step
            first = step + 1
            while True:
                step += 1
                checkpoints.save(step, {{name: np.full(50, step) for name in "abc"}}, metadata={{"step": step}})
                if step == first:
                    checkpoints.wait()
                    os.write(ready, step.to_bytes(8, "little"))

        start = 0
        for kill in range(6):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    child(start, writer)
                finally:
                    os._exit(1)
            os.close(writer)
            reached = os.read(reader, 8)
            assert reached, "the child failed"
            start = int.from_bytes(reached, "little")
            time.sleep(random.uniform(0.0, 0.4))
            os.kill(pid, signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        print(start)
    """
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, timeout=100
    )
    assert result.returncode == 0, result.stderr
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        step, tree, _ = checkpoints.restore_latest()
        assert step >= int(result.stdout)
        assert all((array == step).all() for array in tree.values())
        checkpoints.save(step + 1, tree)
    assert len(os.listdir(tmp_path)) == 2  # what the killed saves left is gone


def test_averages_of_before_have_the_last_steps_statistics(tmp_path):
    """A version before averaged parameters alone: such a checkpoint goes on, and one of now stays as it is."""
    state = {
        "params": {"student": {"w": np.ones(3)}, "teacher": {"w": np.ones(2)}},
        "model_state": {"student": {"batch_stats": {"mean": np.arange(3.0)}}, "teacher": {"batch_stats": np.zeros(2)}},
        "ema": {"student": {"w": np.full(3, 0.5)}},
    }
    averaged = {"student": {"batch_stats": {"mean": np.full(3, 7.0)}}}
    with Checkpoints(tmp_path / "before") as before, Checkpoints(tmp_path / "now") as now:
        before.save(1, {"main": {"state": state}})
        now.save(1, {"main": {"state": {**state, "ema_state": averaged}}})
        template = {"main": {"state": {**state, "ema_state": averaged}}}
        restored = before.restore_latest(template).tree["main"]["state"]["ema_state"]
        np.testing.assert_array_equal(restored["student"]["batch_stats"]["mean"], np.arange(3.0))
        assert_same(now.restore_latest(template).tree, template)
        assert before.restore_latest().tree["main"]["state"]["ema_state"].keys() == {"student"}
