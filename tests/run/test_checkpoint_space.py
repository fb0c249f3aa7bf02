"""A full disk ends a save in one OSError, and leaves the checkpoint before it."""

import collections
import shutil

import numpy as np
import pytest

from kdgan.checkpoints import folder as checkpoint_folder
from kdgan.run.checkpoint import Checkpoints
from same import assert_same

Usage = collections.namedtuple("Usage", "total used free")


def test_a_checkpoint_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    first, second = {"a": np.arange(3.0)}, {"a": np.arange(2**18, dtype=np.float64)}  # the second has 2 MiB
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, first)
        checkpoints.wait()
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30, 2**29, 3 * 2**20))
        checkpoints.save(2, second)
        with pytest.raises(OSError, match=r"checkpoint of step 2: it takes up to 3.5 MiB, and 3.0 MiB are free"):
            checkpoints.wait()
        assert_same(checkpoints.restore_latest().tree, first)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def test_what_orbax_cannot_write_is_an_oserror_and_is_removed(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def save(self, path, args):
            (path.parent / f"{path.name}.orbax-checkpoint-tmp").mkdir(parents=True)
            raise ValueError("RESOURCE_EXHAUSTED: no space left\nmore of it")

    monkeypatch.setattr(checkpoint_folder, "_checkpointer", Full)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.ones(3)})
    with pytest.raises(
        OSError, match=r"checkpoint 00000001 cannot be written to .*: RESOURCE_EXHAUSTED: no space left$"
    ):
        checkpoints.close()
    assert list(tmp_path.iterdir()) == []
