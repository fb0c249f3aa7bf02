"""What a run tells while it trains: metrics.jsonl, TensorBoard events, progress. Process 0 speaks, others keep quiet.

A run that goes on from a checkpoint first drops what it had told of later steps, so that its lines, and its events up to
their times of day, are those of a run that was never stopped.
"""

import json
import os
import pathlib
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, SupportsFloat

import numpy as np

from kdgan import parallel
from kdgan.files import jsonable, write_atomic
from kdgan.run import progress

METRICS, EVENTS = "metrics.jsonl", "tensorboard"
RESERVED = ("step", "stage", "arm", "seed", "split")


class Monitor:
    """Writes a run's metrics, events and progress; a context.

    Every call returns at once and is on its way to the disk: nothing is lost when the process is killed. In processes
    that do not write, every call does nothing.

    Args:
      workdir: the run's folder.
      tensorboard: whether to write TensorBoard events.
      progress: whether to show a bar (in a terminal or notebook) or a line every ten seconds (elsewhere) on stderr.
      enabled: whether this process writes; process 0 by default.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        tensorboard: bool = True,
        progress: bool = True,
        enabled: bool | None = None,
    ):
        workdir = pathlib.Path(workdir)
        enabled = parallel.is_writer() if enabled is None else enabled
        # The parts that are not wanted take every call and do nothing, so that nothing below asks.
        self._lines: Any = _Lines(workdir / METRICS) if enabled else _Nothing()
        self._events: Any = _Events(workdir / EVENTS) if enabled and tensorboard else _Nothing()
        self._shows = enabled and progress
        self._progress: Any = _choose_progress(progress) if enabled else _Nothing()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def start_stage(
        self, name: str, *, total: int, done: int = 0, step: int = 0, order: int = 0, title: str = "",
        others: Collection[tuple[int, str]] = (),
    ) -> None:  # fmt: skip
        """A stage begins, or goes on behind `step`: what was told of its later steps is dropped.

        Args:
          name: name of the stage.
          total: steps of all its members together.
          done: those of them that are done.
          step: step of the checkpoint it goes on from; 0: from the beginning, everything told of it before is dropped.
          order: the stage's index in the run; TensorBoard lists the stages by it.
          title: what the progress is called; the stage's name by default.
          others: (seed, arm) of members that are not meant: what was told of them stays.
        """
        self._lines.start_stage(name, step, others)
        self._events.start_stage(name, step, order, others)
        self._progress.start(title or name, total, done)

    def write(self, stage: str, arm: str, seed: int, step: int, split: str, scalars: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, and the same as events.

        Args:
          stage: name of the stage.
          arm: name of the arm, `main` where there are none.
          seed: the member's seed.
          step: steps that the member has done.
          split: `train` or `validation`.
          scalars: `student/loss` -> number; NaN and infinities become null in the line.

        Raises:
          ValueError: a scalar named like one of the fields above.
        """
        if taken := [name for name in RESERVED if name in scalars]:
            raise ValueError(f"scalar {taken[0]!r}: the line has a field of this name; choose another")
        place = {"step": int(step), "stage": stage, "arm": arm, "seed": int(seed), "split": split}
        self._lines.append({**place, **scalars})
        self._events.scalars(stage, arm, int(seed), int(step), split, scalars)

    def image(self, tag: str, array: Any, *, step: int = 0) -> None:
        """An image for TensorBoard: uint8, or float in [0, 1]; [h, w], [h, w, 1] or [h, w, 3]."""
        self._events.image(tag, array, step)

    def text(self, tag: str, text: str, *, step: int = 0) -> None:
        """A text (Markdown) for TensorBoard."""
        self._events.text(tag, text, step)

    def advance(self, count: int = 1, **numbers: SupportsFloat | None) -> None:
        """`count` more steps, of whichever members, are done."""
        self._progress.advance(count)
        if numbers:
            self.show(**numbers)

    def show(self, **numbers: SupportsFloat | None) -> None:
        """The numbers beside the bar (`loss=0.4, accuracy=0.9`); None leaves what is there."""
        self._progress.show({name: float(value) for name, value in numbers.items() if value is not None})

    def end_stage(self) -> None:
        """The stage is done."""
        self._progress.end()
        self._events.close()

    def progress_of(self, unit: str) -> progress.Progress:
        """A bar, or lines, of something else than steps, counted in `unit`; silent where those of steps are."""
        return _choose_progress(self._shows, unit)

    def say(self, text: str) -> None:
        """Print a line without tearing the bar."""
        self._progress.say(text)

    def close(self) -> None:
        """Put the bar and the files away."""
        self._progress.end()
        self._events.close()
        self._lines.close()


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The whole lines of a run's metrics.jsonl, be it running; [] where there is none yet."""
    path = pathlib.Path(workdir, METRICS)
    return [line for _, line in _read_lines(path)] if path.exists() else []


def retain(workdir: str | os.PathLike, members: Mapping[str, Collection[tuple[int, str]]]) -> None:
    """Drop what metrics.jsonl says of other stages and members than these: stage -> (seed, arm) of each."""
    path = pathlib.Path(workdir, METRICS)
    _keep_lines(path, lambda line: (line.get("seed"), line.get("arm")) in members.get(line.get("stage", ""), ()))


def _keep_lines(path: pathlib.Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    if path.exists():
        kept = b"".join(raw for raw, line in _read_lines(path) if wanted(line))
        if len(kept) != path.stat().st_size:
            write_atomic(path, kept)


def _read_lines(path: pathlib.Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """(bytes, content) of each whole line."""
    with open(path, "rb") as file:
        for raw in file:
            try:
                line = json.loads(raw) if raw.endswith(b"\n") else None
            except ValueError:
                line = None
            if isinstance(line, dict):
                yield raw, line


def _choose_progress(wanted: bool, unit: str = progress.STEPS) -> progress.Progress:
    return progress.choose(unit=unit) if wanted else progress.Silent()


class _Nothing:
    """Takes every call and does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None


class _Lines:
    """metrics.jsonl."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._descriptor: int | None = None

    def start_stage(self, stage: str, step: int, others: Collection[tuple[int, str]]) -> None:
        self._keep(
            lambda line: (
                line.get("stage") != stage
                or (line.get("seed"), line.get("arm")) in others
                or 0 < line.get("step", 0) <= step
            )
        )

    def append(self, line: Mapping[str, Any]) -> None:
        if self._descriptor is None:
            self._keep(lambda line: True)  # a killed run's half line must not become the start of ours
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        data = (json.dumps(jsonable(line), ensure_ascii=False, allow_nan=False) + "\n").encode()
        # One write a line, with its end: whoever reads while it is copied sees a line without an end, and waits.
        if os.write(self._descriptor, data) != len(data):
            raise OSError(f"{self._path}: the disk took half of a line")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        self.close()
        _keep_lines(self._path, wanted)


class _Events:
    """TensorBoard: a run `1-teacher/main/seed0` of each member, tags `train/student/loss`; images and texts in `.`.

    Records are framed here, with tensorboardX's messages: its SummaryWriter keeps a thread and a queue for every member,
    and would lose what waits in them.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._open: dict[pathlib.Path, int] = {}
        self._orders: dict[str, int] = {}
        self._resumed: dict[pathlib.Path, int] = {}  # folders with events of a run before -> step it goes on from

    def start_stage(self, stage: str, step: int, order: int, others: Collection[tuple[int, str]]) -> None:
        self.close()
        self._orders[stage] = order
        untouched = {self._member_folder(stage, arm, seed) for seed, arm in others}
        for path in list(self._stage_folder(stage).rglob("events.out.tfevents.*")):
            if path.parent not in untouched:
                self._resumed[path.parent] = step
                _drop_events(path, step)

    def scalars(self, stage: str, arm: str, seed: int, step: int, split: str, scalars: Mapping[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=f"{split}/{name}", simple_value=float(value)) for name, value in scalars.items()]
        event = Event(step=step, wall_time=time.time(), summary=Summary(value=values))
        self._append(self._member_folder(stage, arm, seed), event)

    def image(self, tag: str, array: Any, step: int) -> None:
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event

        array = np.asarray(array)
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
            raise ValueError(f"image {tag!r} has shape {array.shape}: give [h, w], [h, w, 1] or [h, w, 3]")
        array = array if array.dtype == np.uint8 else np.round(255 * np.clip(array, 0, 1)).astype(np.uint8)
        image = summary.image(tag, array, dataformats="HW" if array.ndim == 2 else "HWC")
        self._append(self._folder, Event(step=step, wall_time=time.time(), summary=image))

    def text(self, tag: str, text: str, step: int) -> None:
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event

        self._append(self._folder, Event(step=step, wall_time=time.time(), summary=summary.text(tag, text)))

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open = {}

    def _stage_folder(self, stage: str) -> pathlib.Path:
        return self._folder / (f"{self._orders[stage] + 1}-{stage}" if stage in self._orders else stage)

    def _member_folder(self, stage: str, arm: str, seed: int) -> pathlib.Path:
        return self._stage_folder(stage) / arm / f"seed{seed}"

    def _append(self, folder: pathlib.Path, event: Any) -> None:
        if folder not in self._open:
            self._open[folder] = _open_events(folder, self._resumed.pop(folder, None))
        _write_event(self._open[folder], event)


def _open_events(folder: pathlib.Path, resumed: int | None) -> int:
    """A new events file, behind those that the folder has; it tells a TensorBoard that watches to forget later steps."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.suffix[1:]) for path in folder.glob("events.out.tfevents.*.kdgan.*")), default=-1) + 1
    # TensorBoard reads the files of a folder in the order of their names, so the number keeps one second's in order.
    path = folder / f"events.out.tfevents.{int(time.time()):010d}.kdgan.{number:06d}"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    _write_event(descriptor, Event(wall_time=time.time(), file_version="brain.Event:2"))
    if resumed is not None:
        start = SessionLog(status=SessionLog.START)
        _write_event(descriptor, Event(step=resumed + 1, wall_time=time.time(), session_log=start))
    return descriptor


def _write_event(descriptor: int, event: Any) -> None:
    """A TFRecord: length, its CRC, the message, its CRC; in one write."""
    from tensorboardX.record_writer import masked_crc32c

    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    record = length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
    os.write(descriptor, record)


def _drop_events(path: pathlib.Path, step: int) -> None:
    """Keep the events up to `step`, and none of a half-written one at the end."""
    from tensorboardX.proto.event_pb2 import Event

    content, kept, position = path.read_bytes(), [], 0
    while position + 12 <= len(content):
        end = position + 16 + struct.unpack_from("<Q", content, position)[0]
        if end > len(content):
            break
        event = Event.FromString(content[position + 12 : end - 4])
        if event.file_version or 0 < event.step <= step:
            kept.append(content[position:end])
        position = end
    data = b"".join(kept)
    if len(kept) <= 1:
        path.unlink()
    elif len(data) != len(content):
        write_atomic(path, data)
