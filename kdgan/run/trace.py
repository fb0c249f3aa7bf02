"""A profile of some steps of a stage, `config.profile.steps`: a trace in the workdir that TensorBoard and Perfetto read."""

import pathlib

import jax

from kdgan import parallel
from kdgan.run.schema import Run, Stage


def marks(run: Run, stage: Stage) -> tuple[int, ...]:
    """(first, last) step that bound the profile of a stage; () where it has none. By default the first stage has it."""
    wanted = run.profile.stage or run.stages[0].name
    return tuple(run.profile.steps) if run.profile.steps and wanted == stage.name else ()


class Trace:
    """Starts and stops the profiler as a stage passes its marks; a stage that ends or fails between them stops it, too."""

    def __init__(self, run: Run, stage: Stage, workdir: pathlib.Path):
        self._marks = marks(run, stage) if parallel.is_writer() else ()
        self._folder = workdir / "profile" / stage.name
        self._running = False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *exception) -> None:
        self._stop()

    def before(self, step: int, target: int) -> int:
        """Called at `step`, with the step to go to: starts what starts there; returns the next mark if it comes first."""
        if self._marks and step == self._marks[0] and not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        return min((mark for mark in (*self._marks, target) if mark > step), default=target)

    def after(self, step: int) -> None:
        """Called at the step reached."""
        if self._running and step >= self._marks[1]:
            self._stop()

    def _stop(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
        self._running = False
