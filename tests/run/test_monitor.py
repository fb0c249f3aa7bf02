"""Metrics, events and progress: whole lines, the same after a kill as without one, and quiet where nobody looks."""

import io
import json
import os
import pty
import select
import struct
import sys
import termios
import threading
import types

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from kdgan.run import monitor as monitor_module
from kdgan.run import progress
from kdgan.run.monitor import Monitor, read_metrics


def lines_of(workdir):
    """Strictly parsed."""

    def refuse(constant):
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def crc32c(data):
    """Castagnoli, bit by bit (RFC 3720, B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def events_of(folder):
    """The events of a TensorBoard run, file after file by name, every checksum verified."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            length, of_length = struct.unpack_from("<QI", content)
            data = content[12 : 12 + length]
            assert of_length == masked(content[:8])
            assert struct.unpack_from("<I", content, 12 + length)[0] == masked(data)
            events.append(Event.FromString(data))
            content = content[16 + length :]
    return events


def scalars_of(folder):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events_of(folder)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    ]


def tell(workdir, stages, *, stop=None):
    """Stages of two members; `stages`: name -> (first step, last step, step of the checkpoint)."""
    with Monitor(workdir, progress=False, enabled=True) as monitor:
        for order, (name, (first, last)) in enumerate(stages.items()):
            monitor.start_stage(name, total=20, done=2 * first, step=first, order=order)
            for step in range(first + 1, last + 1):
                for seed in (0, 1):
                    monitor.write(name, "kd", seed, step, "train", {"student/loss": 1 / step + seed})
                if step % 2 == 0:
                    monitor.write(name, "kd", 0, step, "validation", {"student/accuracy": step / 10})
            monitor.end_stage()


def test_the_line(tmp_path):
    scalars = {"student/loss": np.float32(0.5), "student/kd": float("nan"), "lambda/student/ce": np.array(0.1), "λ": 1}
    with Monitor(tmp_path / "run", progress=False, enabled=True) as monitor:
        monitor.write(stage="distill", arm="kd", seed=3, step=100, split="train", scalars=scalars)
        monitor.write("distill", "kd", 3, 100, "validation", {"student/accuracy": 0.91})
        assert len(lines_of(tmp_path / "run")) == 2  # on the disk before anything is closed
    first, second = lines_of(tmp_path / "run")
    assert first == {
        "step": 100, "stage": "distill", "arm": "kd", "seed": 3, "split": "train",
        "student/loss": 0.5, "student/kd": None, "lambda/student/ce": 0.1, "λ": 1,
    }  # fmt: skip
    assert second == {
        "step": 100, "stage": "distill", "arm": "kd", "seed": 3, "split": "validation", "student/accuracy": 0.91,
    }  # fmt: skip
    assert read_metrics(tmp_path / "run") == [first, second]
    assert read_metrics(tmp_path) == []


def test_a_scalar_may_not_take_the_name_of_a_field(tmp_path):
    with Monitor(tmp_path, progress=False, enabled=True) as monitor, pytest.raises(ValueError, match="'seed'"):
        monitor.write("a", "main", 0, 1, "train", {"seed": 1.0})


def test_events(tmp_path):
    with Monitor(tmp_path, progress=False, enabled=True) as monitor:
        for order, stage in enumerate(("teacher", "distill")):
            monitor.start_stage(stage, total=10, order=order)
            monitor.write(stage, "kd", 0, 5, "train", {"student/loss": 0.5, "student/kd": float("nan")})
            monitor.write(stage, "kd", 0, 5, "validation", {"student/loss": 0.25})
            monitor.end_stage()
            monitor.write(stage, "kd", 0, 10, "validation", {"student/loss": 0.125})
    runs = sorted(str(path.parent.relative_to(tmp_path / "tensorboard")) for path in tmp_path.rglob("events.out*"))
    assert sorted(set(runs)) == ["1-teacher/kd/seed0", "2-distill/kd/seed0"]
    folder = tmp_path / "tensorboard" / "2-distill" / "kd" / "seed0"
    found = scalars_of(folder)
    assert found[1][:2] == (5, "train/student/kd")
    assert np.isnan(found[1][2])
    assert [found[0], *found[2:]] == [
        (5, "train/student/loss", 0.5), (5, "validation/student/loss", 0.25), (10, "validation/student/loss", 0.125),
    ]  # fmt: skip
    events = events_of(folder)
    assert events[0].file_version == "brain.Event:2"
    assert not any(event.HasField("session_log") for event in events)  # it would hide what was just written


def test_images_and_texts(tmp_path):
    with Monitor(tmp_path, progress=False, enabled=True) as monitor:
        monitor.image("samples", np.zeros((4, 6, 3), np.uint8), step=7)
        monitor.image("grey", np.linspace(0, 1.2, 12).reshape(3, 4))
        monitor.text("explanation", "student: 0.1·ce", step=0)
        with pytest.raises(ValueError, match=r"'bad' has shape \(2, 2, 2\)"):
            monitor.image("bad", np.zeros((2, 2, 2)))
    values = [(event.step, value) for event in events_of(tmp_path / "tensorboard") for value in event.summary.value]
    assert [(step, value.tag.split("/")[0]) for step, value in values] == [
        (7, "samples"),
        (0, "grey"),
        (0, "explanation"),
    ]
    assert (values[0][1].image.height, values[0][1].image.width) == (4, 6)
    from PIL import Image

    grey = np.asarray(Image.open(io.BytesIO(values[1][1].image.encoded_image_string)))
    np.testing.assert_array_equal(grey[..., 0], np.round(255 * np.clip(np.linspace(0, 1.2, 12), 0, 1)).reshape(3, 4))
    assert values[2][1].tensor.string_val[0].decode() == "student: 0.1·ce"


@pytest.mark.parametrize("checkpoint", [0, 3, 6, 10])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, checkpoint):
    """Killed in the second stage at step 8, or with half a line written; gone on from a checkpoint before."""
    tell(tmp_path / "whole", {"teacher": (0, 4), "distill": (0, 10)})
    killed = tmp_path / "killed"
    tell(killed, {"teacher": (0, 4), "distill": (0, max(8, checkpoint))})
    for path in [killed / "metrics.jsonl", *killed.rglob("2-distill/kd/seed*/events.out*")]:
        with open(path, "ab") as file:
            file.write(b'{"step": 9, "stage": "distill", "ar'[: 20 if "events" in path.name else None])
    tell(killed, {"teacher": (4, 4), "distill": (checkpoint, 10)})
    assert (killed / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    for run in ("1-teacher/kd/seed0", "1-teacher/kd/seed1", "2-distill/kd/seed0", "2-distill/kd/seed1"):
        assert scalars_of(killed / "tensorboard" / run) == scalars_of(tmp_path / "whole" / "tensorboard" / run)
    if 0 < checkpoint < 10:  # a TensorBoard that has read the dropped events is told to forget them
        events = events_of(killed / "tensorboard" / "2-distill" / "kd" / "seed0")
        starts = [event.step for event in events if event.session_log.status == SessionLog.START]
        assert starts == [checkpoint + 1]


def test_half_a_line_is_removed_even_without_a_stage(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st')
    assert read_metrics(tmp_path) == [{"step": 1}]
    with Monitor(tmp_path, tensorboard=False, progress=False, enabled=True) as monitor:
        monitor.write("a", "main", 0, 2, "train", {"x": 1.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_reader_never_sees_half_a_line(tmp_path):
    done = threading.Event()

    def write():
        with Monitor(tmp_path, tensorboard=False, progress=False, enabled=True) as monitor:
            for step in range(500):
                monitor.write("a", "main", 0, step, "train", {f"player/term{i}": step / 7 for i in range(40)})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        lines = read_metrics(tmp_path)
        assert [line["step"] for line in lines] == list(range(len(lines)))
        assert all(len(line) == 45 for line in lines)
    writer.join()
    assert len(lines_of(tmp_path)) == 500


def test_other_processes_write_nothing(tmp_path, capfd):
    with Monitor(tmp_path / "run", enabled=False) as monitor:
        monitor.start_stage("teacher", total=10, done=0, step=0, order=0)
        monitor.write("teacher", "main", 0, 1, "train", {"x": 1.0})
        monitor.advance(5, loss=0.5)
        monitor.show(accuracy=0.5)
        monitor.image("x", np.zeros((2, 2)))
        monitor.text("x", "y")
        monitor.say("hello")
        monitor.end_stage()
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr() == ("", "")


def test_by_default_process_0_writes(tmp_path, monkeypatch):
    for index in (0, 1):
        monkeypatch.setattr(monitor_module.parallel, "is_writer", lambda index=index: index == 0)
        with Monitor(tmp_path / str(index), progress=False) as monitor:
            monitor.write("teacher", "main", 0, 1, "train", {"x": 1.0})
    assert os.listdir(tmp_path) == ["0"]


# Progress.


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """`clock.now` in seconds."""
    found = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: found.now)
    return found


def test_lines_where_no_one_watches(clock):
    stream = io.StringIO()
    shown = progress.choose(stream)
    shown.start("distill", 4000, 1000)
    for _ in range(30):
        clock.now += 1
        shown.advance(50)
    shown.show({"loss": 0.41234})
    shown.show({"accuracy": 0.5})
    clock.now += 30
    shown.advance(1500)
    shown.end()
    shown.end()
    assert stream.getvalue().splitlines() == [
        "distill 1,500/4,000 38%: 50.0 steps/s, 0:50 left",
        "distill 2,000/4,000 50%: 50.0 steps/s, 0:40 left",
        "distill 2,500/4,000 62%: 50.0 steps/s, 0:30 left",
        "distill 4,000/4,000 100%: 50.0 steps/s, 0:00 left, loss 0.4123, accuracy 0.5",
        "distill 4,000/4,000 100%: 50.0 steps/s, after 1:00, loss 0.4123, accuracy 0.5",
    ]


def test_a_stage_that_was_done_before_says_only_that(clock):
    stream = io.StringIO()
    shown = progress.choose(stream)
    shown.start("teacher", 500, 500)
    shown.end()
    assert stream.getvalue() == "teacher 500/500 100%\n"


def test_a_bar_in_a_terminal(capsys):
    before = threading.active_count()
    stream = Terminal()
    shown = progress.choose(stream)
    shown.start("distill", 4000, 1000)
    shown.advance(500)
    shown.show({"loss": 0.41234, "accuracy": 0.913})
    shown.say("saved")
    shown.advance(2500)
    shown.end()
    drawn = stream.getvalue().split("\r")
    assert "distill 1,000/4,000  25%|" in drawn[1]
    assert "distill 4,000/4,000 100%|" in drawn[-1]
    assert " steps/s, 00:00 left, loss 0.4123, accuracy 0.913" in drawn[-1]
    assert stream.getvalue().count("\n") == 1  # one line, drawn over and over
    assert capsys.readouterr().out == "saved\n"
    assert threading.active_count() == before


@pytest.mark.parametrize(("columns", "rows"), [(0, 0), (70, 20)])
def test_a_bar_in_a_terminal_of_any_size(columns, rows):
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (rows, columns))
    with open(inner, "w") as stream:
        shown = progress.choose(stream)
        shown.start("distill", 4000, 1000)
        shown.advance(3000)
        shown.end()
        written = b""
        while select.select([outer], [], [], 1.0)[0]:  # a terminal hands on what was written in several pieces
            written += os.read(outer, 100_000)
    os.close(outer)
    drawn = written.decode().strip().split("\r")
    assert drawn[-1].startswith("distill 4,000/4,000 100%|███")
    assert len(drawn[-1]) <= (columns or 100)


def test_notebooks(monkeypatch):
    assert not progress.in_notebook()
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert progress.in_notebook()
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # not installed: lines, and no warning
    assert isinstance(progress.choose(Terminal()), progress.Lines)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert isinstance(progress.choose(Terminal()), progress.Bar)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (754.0, "12:34"), (3600.0, "1:00:00"), (90061.0, "25:01:01")]
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


def test_monitor_drives_the_progress(tmp_path, monkeypatch, capsys):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Monitor(tmp_path, tensorboard=False, enabled=True) as monitor:
        monitor.start_stage("teacher", total=10, done=4, step=2)
        monitor.advance()
        monitor.advance(5, loss=np.float32(0.5), accuracy=None)
        monitor.show(accuracy=0.25)
        monitor.say("hello")
    line = stream.getvalue()
    assert line.startswith("teacher 10/10 100%: ")
    assert line.endswith(", loss 0.5, accuracy 0.25\n")
    assert capsys.readouterr().out == "hello\n"


def test_without_progress_only_what_is_said_is_printed(tmp_path, capfd):
    with Monitor(tmp_path, tensorboard=False, progress=False, enabled=True) as monitor:
        monitor.start_stage("teacher", total=10)
        monitor.advance(10)
        monitor.show(loss=0.5)
        monitor.say("hello")
    assert capfd.readouterr() == ("hello\n", "")
