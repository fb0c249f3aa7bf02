"""Files are whole or untouched, whatever fails, and JSON is strict."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kdgan import files


def test_writes_text_and_bytes_into_new_folders(tmp_path):
    files.write_atomic(tmp_path / "a" / "b.txt", "λ\n")
    files.write_atomic(str(tmp_path / "a" / "c.bin"), b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\xce\xbb\n"
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\xff"
    files.write_atomic(tmp_path / "a" / "c.bin", (bytes([i]) for i in range(3)))
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\x01\x02"
    files.write_atomic(tmp_path / "a" / "c.bin", lambda file: file.write(b"from a function"))
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"from a function"
    assert sorted(os.listdir(tmp_path / "a")) == ["b.txt", "c.bin"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    files.write_atomic(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_follows_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    files.write_atomic(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    files.write_atomic(path, "old")

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="no space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_function_that_fails_halfway_leaves_the_old_content_and_nothing_else(tmp_path):
    def half(file):
        file.write(b"half")
        raise KeyboardInterrupt

    files.write_atomic(tmp_path / "file", "old")
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "file", half)
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back_and_damage_counts_as_absence(tmp_path, compressed):
    path, arrays = tmp_path / "a" / "x.npz", {"count": np.arange(300), "image": np.ones((3, 0, 2), np.uint8)}
    assert files.read_arrays(path) is None
    files.write_arrays(path, arrays, compressed=compressed)
    content = path.read_bytes()
    assert (len(content) < 300 * 8) == compressed
    for stored in (files.read_arrays(path), np.load(path)):
        assert set(stored) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(stored[name], array)
            assert stored[name].dtype == array.dtype
    flipped = (
        content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in range(100, 300, 40)
    )  # in an array
    for damaged in (content[:-40], b"", *flipped):
        path.write_bytes(damaged)
        assert files.read_arrays(path) is None


def test_nothing_else_writes_a_file_under_another_name_first():
    """Renaming into place stands here, and where whole folders move: checkpoints, and what is put aside."""
    package = pathlib.Path(files.__file__).parent
    renaming = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(f"{call}(" in path.read_text() for call in ("os.replace", "os.rename", "mkstemp", "NamedTemporaryFile"))
    }
    assert renaming == {"files.py", "run/checkpoint.py", "run/claim.py"}


def test_stale_temporary_files_of_the_same_path_go(tmp_path):
    path = tmp_path / "file[1]"
    stale, fresh, other = tmp_path / ".file[1].7-ab.tmp", tmp_path / ".file[1].8-cd.tmp", tmp_path / ".other.7-ab.tmp"
    for name in (stale, fresh, other):
        name.write_text("half")
    for name in (stale, other):
        os.utime(name, (time.time() - 3600,) * 2)
    files.write_atomic(path, "whole")
    assert not stale.exists()
    assert fresh.exists()
    assert other.exists()


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, size, stop = tmp_path / "file", 200_000, threading.Event()
    files.write_atomic(path, b"0" * size)

    def write():
        for i in range(1000):
            if stop.is_set():
                return
            files.write_atomic(path, str(i % 10).encode() * size)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            content = path.read_bytes()
            assert len(content) == size
            assert content == content[:1] * size
    finally:
        stop.set()
        writer.join()


def test_survives_sigkill(tmp_path):
    path = tmp_path / "file"
    files.write_atomic(path, "start")
    code = (
        f"import sys; sys.path.insert(0, {str(pathlib.Path(files.__file__).parents[1])!r})\n"
        "from kdgan import files\n"
        f"for i in range(10**6): files.write_atomic({str(path)!r}, str(i % 10) * 100_000); print('.', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with child:
        child.stdout.read(10)
        child.kill()
    content = path.read_text()
    assert len(content) == 100_000
    assert content == content[0] * 100_000


def test_json_round_trip(tmp_path):
    path = tmp_path / "x.json"
    obj = {
        "int": np.int32(3), "float": np.float32(0.5), "bool": np.bool_(True), "array": np.arange(6).reshape(2, 3),
        "jax": jnp.ones((2,)), "bf16": np.ones(2, ml_dtypes.bfloat16), "nan": float("nan"), "inf": np.inf,
        "inside": np.array([1.0, np.nan]), "tuple": (1, None, "λ"), "path": pathlib.Path("a/b"), 7: True, "empty": {},
    }  # fmt: skip
    files.write_json(path, obj)
    assert files.read_json(path) == {
        "int": 3, "float": 0.5, "bool": True, "array": [[0, 1, 2], [3, 4, 5]],
        "jax": [1.0, 1.0], "bf16": [1.0, 1.0], "nan": None, "inf": None,
        "inside": [1.0, None], "tuple": [1, None, "λ"], "path": "a/b", "7": True, "empty": {},
    }  # fmt: skip

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize(
    ("obj", "where"), [({"a": [1, object()]}, "/a/1"), ({"a": {1, 2}}, "/a"), ({"a": {1: 0, "1": 0}}, "/a")]
)
def test_json_names_what_it_cannot_hold(tmp_path, obj, where):
    with pytest.raises(ValueError, match=f"^{where}:"):
        files.write_json(tmp_path / "x.json", obj)
    assert os.listdir(tmp_path) == []


def test_read_json_names_a_broken_file(tmp_path):
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"x\.json is not valid JSON"):
        files.read_json(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "y.json")


def test_a_temporary_file_has_a_name_no_longer_than_a_long_target(tmp_path, monkeypatch):
    target, seen = tmp_path / ("ü" * 125), []
    stale = pathlib.Path(f"{tmp_path}/{files._beginning(target)}7-ab.tmp")
    stale.write_text("")
    os.utime(stale, (0, 0))
    files.write_atomic(target, lambda file: seen.append(os.path.basename(file.name)))
    assert len(os.fsencode(seen[0])) <= 250
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
