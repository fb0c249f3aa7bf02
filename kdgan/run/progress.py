"""How far a stage is, for a person: a bar in terminals and notebooks, a line now and then where output goes to a file."""

import os
import sys
import time
from typing import Any, Protocol, runtime_checkable

from tqdm.std import tqdm

SECONDS_BETWEEN_LINES = 10.0
STEPS = "steps"  # what is counted
BAR = "{desc} {n:,}/{total:,} {percentage:3.0f}%|{bar}| {rate_noinv_fmt}, {remaining} left{postfix}"


@runtime_checkable
class Progress(Protocol):
    """One stage after another, counted in steps of all members; or one file after another, in tiles."""

    def start(self, name: str, total: int, done: int) -> None:
        """A stage of `total` steps begins, `done` of them having been done before."""

    def advance(self, count: int) -> None:
        """`count` more steps are done."""

    def show(self, values: dict[str, float]) -> None:
        """Numbers to show from now on, besides those shown."""

    def end(self) -> None:
        """The stage is over, or given up."""

    def say(self, text: str) -> None:
        """Print a line without tearing the bar."""


class TerminalBar(tqdm):
    monitor_interval = 0  # no thread beside the training for the sake of a bar


class Bar:
    """A tqdm bar."""

    def __init__(self, bar: Any, stream: Any, unit: str = STEPS):
        self._class, self._stream, self._bar, self._unit = bar, stream, None, unit
        self._values: dict[str, float] = {}

    def start(self, name: str, total: int, done: int) -> None:
        self.end()
        self._bar = self._class(
            desc=name, total=total, initial=done, unit=f" {self._unit}", file=self._stream, bar_format=BAR,
            mininterval=0.2, miniters=1, smoothing=0.1, **_size(self._stream),
        )  # fmt: skip

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def show(self, values: dict[str, float]) -> None:
        self._values |= values
        if self._bar is not None:
            self._bar.set_postfix_str(describe(self._values), refresh=False)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        self._bar, self._values = None, {}

    def say(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def _size(stream: Any) -> dict[str, Any]:
    """Tqdm's arguments for the width of a bar. Pseudo-terminals often have no size, and tqdm draws nothing in them."""
    if stream is None:  # a notebook's
        return {"dynamic_ncols": True}
    try:
        has_size = all(os.get_terminal_size(stream.fileno()))
    except (OSError, ValueError, AttributeError):
        has_size = False
    return {"dynamic_ncols": True} if has_size else {"ncols": 100, "nrows": 24}


class Lines:
    """A line every so many seconds, and one at the end."""

    def __init__(self, stream: Any, seconds: float = SECONDS_BETWEEN_LINES, unit: str = STEPS):
        self._stream, self._seconds, self._unit = stream, seconds, unit
        self._name: str | None = None

    def start(self, name: str, total: int, done: int) -> None:
        self.end()
        self._name, self._total, self._done, self._first = name, total, done, done
        self._values: dict[str, float] = {}
        self._started = self._printed = time.monotonic()

    def advance(self, count: int) -> None:
        if self._name is None:
            return
        self._done += count
        now = time.monotonic()
        if now - self._printed >= self._seconds:
            self._printed = now
            self._print(now, f"{duration(self._left(now))} left")

    def show(self, values: dict[str, float]) -> None:
        if self._name is not None:
            self._values |= values

    def end(self) -> None:
        if self._name is not None:
            now = time.monotonic()
            self._print(now, f"after {duration(now - self._started)}")
        self._name = None

    def say(self, text: str) -> None:
        print(text, flush=True)

    def _left(self, now: float) -> float:
        made = self._done - self._first
        return (self._total - self._done) * (now - self._started) / made if made else 0.0

    def _print(self, now: float, time_text: str) -> None:
        line = f"{self._name} {self._done:,}/{self._total:,} {100 * self._done / max(self._total, 1):.0f}%"
        if made := self._done - self._first:
            parts = [f"{made / max(now - self._started, 1e-9):.1f} {self._unit}/s", time_text, describe(self._values)]
            line += f": {', '.join(filter(None, parts))}"
        print(line, file=self._stream, flush=True)


class Silent:
    """Says what it is told to, and nothing else."""

    def start(self, name: str, total: int, done: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def show(self, values: dict[str, float]) -> None: ...

    def end(self) -> None: ...

    def say(self, text: str) -> None:
        print(text, flush=True)


def choose(stream: Any = None, unit: str = STEPS) -> Progress:
    """What suits the place where stderr goes to: a notebook, a terminal, or a file or pipe; it counts in `unit`."""
    stream = sys.stderr if stream is None else stream
    if in_notebook():
        try:
            import ipywidgets  # noqa: F401 - the notebook's bar is made of it
            from tqdm.notebook import tqdm_notebook
        except ImportError:
            return Lines(stream, unit=unit)
        return Bar(type("NotebookBar", (tqdm_notebook,), {"monitor_interval": 0}), None, unit)
    return Bar(TerminalBar, stream, unit) if stream.isatty() else Lines(stream, unit=unit)


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook (Jupyter, Colab)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def describe(values: dict[str, float]) -> str:
    """`loss 0.412, accuracy 0.973`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def duration(seconds: float) -> str:
    """`0:05`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
