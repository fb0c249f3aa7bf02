"""A process of a run, and what can be seen of it from outside: where it started, its saves, what it left half done."""

import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from kdgan.run import checkpoint, monitor

ROOT = pathlib.Path(__file__).parent.parent
PATIENCE = 300.0  # seconds that one process may take

Place = tuple[str, int]  # (stage, step)


class Process:
    """A process of a run in `workdir`, in stages of so many steps; a context that leaves none behind.

    Args:
      program: Python code that runs it, given the workdir and the steps as arguments.
      environment: variables beside this process's; None: no others.
    """

    def __init__(self, workdir: pathlib.Path, program: str, steps: int, environment: Mapping[str, str] | None):
        self.workdir, self._steps = workdir, steps
        workdir.parent.mkdir(parents=True, exist_ok=True)
        self._log = workdir.with_name(workdir.name + ".log")
        self.born_ns = time.time_ns()
        self._born, self._died = time.monotonic(), math.inf
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, str(workdir), str(steps)], cwd=ROOT,
                env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def seconds(self) -> float:
        """Its age, or at what age it died."""
        return min(time.monotonic(), self._died) - self._born

    def runs(self) -> bool:
        """Whether it still runs.

        Raises:
          RuntimeError: it failed by itself, or takes longer than `PATIENCE`.
        """
        if self._died < math.inf:
            return False
        if self._process.poll() is not None:
            self._died = time.monotonic()
            if self._process.returncode not in (0, -signal.SIGKILL):
                raise RuntimeError(f"{self.workdir.name} failed: {self._process.returncode}\n{self._text()[-2000:]}")
            return False
        if self.seconds > PATIENCE:
            raise RuntimeError(f"{self.workdir.name} took longer than {PATIENCE:g} s\n{self._text()[-2000:]}")
        return True

    def wait(self, until: float = math.inf) -> None:
        """Until it ends, at most to its age `until` in seconds."""
        while self.seconds < until and self.runs():
            time.sleep(min(0.02, max(until - self.seconds, 0)))

    def kill(self) -> bool:
        """SIGKILL; False where it had come to its end before."""
        if self.runs():
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self.runs()
        return self._process.returncode == -signal.SIGKILL

    def _text(self) -> str:
        return self._log.read_text(errors="replace")

    def said(self, pattern: str) -> list[str]:
        """The lines of its output in which a pattern is found."""
        return [line for line in self._text().splitlines() if re.search(pattern, line)]

    def started(self) -> Place | None:
        """Where it took the run up: the first stage that was not complete."""
        told = re.findall(r"^stage (\w+) at (\d+)$", self._text(), re.MULTILINE)
        places = [(stage, int(step)) for stage, step in told]
        return next((place for place in places if place[1] < self._steps), places[-1] if places else None)


def _folders(workdir: pathlib.Path, since_ns: int = 0) -> Iterator[tuple[Place, str]]:
    """((stage, step), suffix) of each folder of a checkpoint, whole or not, that was made or changed since then."""
    for stage in (workdir / "checkpoints").glob("*/"):
        try:
            entries = list(os.scandir(stage))
        except FileNotFoundError:  # removed since
            continue
        for entry in entries:
            if named := re.match(r"(\d{8})(.*)", entry.name):
                try:
                    changed = entry.stat().st_ctime_ns
                except FileNotFoundError:  # renamed or removed since
                    continue
                if changed >= since_ns:
                    yield (stage.name, int(named[1])), named[2]


def watch_saves(running: Process) -> Iterator[float]:
    """Seconds that each save takes, until the process ends; one that is too short to be seen is left out."""
    begun: dict[Place, float] = {}
    while running.runs():
        saving = {place for place, suffix in _folders(running.workdir) if checkpoint.SAVING in suffix}
        now = time.monotonic()
        for place in [place for place in begun if place not in saving]:
            yield now - begun.pop(place)
        begun.update({place: now for place in saving if place not in begun})
        time.sleep(0.001)


def await_saves(running: Process, count: int) -> None:
    """Until the process has begun its `count`-th save, or ended."""
    seen: set[Place] = set()
    while running.runs():
        # What is removed was saved before; what an earlier process left half done is older than this one.
        recent = _folders(running.workdir, running.born_ns)
        seen |= {place for place, suffix in recent if checkpoint.DELETED not in suffix}
        if len(seen) >= count:
            return
        time.sleep(0.001)


def left_inside(running: Process) -> str:
    """What a process left half done: "save", "removal" (of an old checkpoint), or ""."""
    suffixes = [suffix for _, suffix in _folders(running.workdir, running.born_ns)]
    inside = {"save": checkpoint.SAVING, "removal": checkpoint.DELETED}
    return next((name for name, mark in inside.items() if any(mark in suffix for suffix in suffixes)), "")


def checkpointed(workdir: pathlib.Path) -> dict[str, int]:
    """Stage -> step of its last whole checkpoint."""
    return {stage: step for (stage, step), suffix in sorted(_folders(workdir)) if re.fullmatch(r"(-\d+)?", suffix)}


def reached(workdir: pathlib.Path) -> Place | None:
    """Where the last line of metrics.jsonl was written; None: there is none yet."""
    lines = monitor.read_metrics(workdir)
    return (lines[-1]["stage"], lines[-1]["step"]) if lines else None
