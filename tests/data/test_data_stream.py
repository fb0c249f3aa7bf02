"""Streaming equals indexing in memory, from any step, in any division over processes and workers."""

import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from kdgan.data import Dataset, from_arrays
from kdgan.data.batches import indices_of_step
from kdgan.data.stream import stream

IMAGE = np.random.default_rng(0).integers(0, 256, (23, 3, 4, 1), np.uint8)
LABEL = np.arange(23) % 5
MEMORY = from_arrays(IMAGE, LABEL)


class Reader:
    """A reader of its own, picklable for worker processes."""

    def __call__(self, indices):
        return IMAGE[indices]


LAZY = Dataset("lazy", MEMORY.fields, {"label": MEMORY.label}, reader=Reader())


def check(batches, steps, *, seed=0, stage=0, batch_size=6):
    count = 0
    for step, batch in zip(steps, batches, strict=True):
        chosen = indices_of_step(23, batch_size, seed=seed, stage=stage, step=step)
        np.testing.assert_array_equal(batch["image"], IMAGE[chosen])
        np.testing.assert_array_equal(batch["label"], LABEL[chosen])
        np.testing.assert_array_equal(batch["index"], chosen)
        assert batch["position"].tolist() == list(range(batch_size))
        assert {name: value.dtype for name, value in batch.items()} == {
            "image": np.uint8,
            "label": np.int32,
            "index": np.int32,
            "position": np.int32,
        }
        count += 1
    assert count == len(steps)


@pytest.mark.parametrize("dataset", [MEMORY, LAZY], ids=["memory", "lazy"])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_equals_indexing_in_memory_from_any_step(dataset, prefetch):
    arguments = {"batch_size": 6, "seed": 2, "stage": 1, "prefetch": prefetch}
    check(stream(dataset, steps=9, **arguments), range(9), seed=2, stage=1)
    check(stream(dataset, steps=4, start_step=5, **arguments), range(5, 9), seed=2, stage=1)
    assert list(stream(dataset, steps=0, **arguments)) == []


def test_processes_read_their_shares():
    shares = [list(stream(LAZY, batch_size=6, steps=3, process_index=process, process_count=3)) for process in range(3)]
    merged = [
        {name: np.concatenate([share[step][name] for share in shares]) for name in shares[0][0]} for step in range(3)
    ]
    check(merged, range(3))
    assert shares[1][0]["position"].tolist() == [2, 3]


def test_a_taken_part_is_streamed_by_its_own_indices():
    part = LAZY.take([20, 3, 7])
    (batch,) = stream(part, batch_size=3, steps=1)
    assert sorted(batch["index"]) == [0, 1, 2]
    np.testing.assert_array_equal(batch["image"], IMAGE[np.array([20, 3, 7])[batch["index"]]])


def test_leaving_early_ends_the_threads():
    before = threading.active_count()
    batches = stream(LAZY, batch_size=6, steps=1_000)
    check(itertools.islice(batches, 2), range(2))
    batches.close()
    deadline = time.monotonic() + 10  # they end in their own time, once told
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_worker_processes_give_the_same_batches():
    check(stream(from_arrays(IMAGE, LABEL), batch_size=6, steps=5, start_step=3, workers=2), range(3, 8))


def test_a_stream_left_open_by_a_script_ends_quietly(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import numpy as np
from kdgan.data import from_arrays
from kdgan.data.stream import stream

if __name__ == "__main__":
    dataset = from_arrays(np.zeros((9, 4, 4, 1), np.uint8), np.arange(9))
    batches = stream(dataset, batch_size=3, steps=100, workers=1)
    print(next(batches)["index"].shape)
"""
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("(3,)\n", "", 0)


def test_an_error_of_the_reader_arrives():
    def broken(indices):
        raise ValueError("image 7.png cannot be read")

    dataset = Dataset("broken", MEMORY.fields, {"label": MEMORY.label}, reader=broken)
    with pytest.raises(ValueError, match=r"7\.png cannot be read"):
        next(stream(dataset, batch_size=2, steps=3))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch_size = 5 is not divisible by the 2 processes"),
        ({"process_index": 2, "process_count": 2}, r"process_index must lie in 0\.\.1, got 2"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"start_step": -3}, "start_step must be at least 0, got -3"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_refused_at_the_call(arguments, match):
    with pytest.raises(ValueError, match=match):
        stream(MEMORY, **({"batch_size": 6, "steps": 1} | arguments))
