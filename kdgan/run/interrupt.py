"""How a run ends before its last step: asked to stop (SIGTERM, Ctrl-C), or by a loss that is NaN or infinite."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType


class Stopped(Exception):
    """The run was asked to stop: it finished its step and saved, and the message says how to go on.

    Attributes:
      exit_code: of the process: 128 + the signal's number, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def __init__(self, message: str, number: int = signal.SIGTERM):
        super().__init__(message)
        self.exit_code = 128 + int(number)


class DivergedError(RuntimeError):
    """A loss became NaN or infinite.

    Attributes:
      what: which, and where.
      advice: what to try.
    """

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}. {advice[:1].upper()}{advice[1:]}")
        self.what, self.advice = what, advice


def end_at_once() -> None:
    """Let SIGTERM and Ctrl-C end this process at once, with exit code 143 and 130.

    For the time before a run trains, when nothing is to be saved. The exception that Python raises otherwise is lost where
    it comes inside a callback of the garbage collector, as JAX has one, and the run would go on.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(Exception):  # the signal may have come inside of a print
        print("interrupted; what was saved before is kept", flush=True)
        sys.stderr.flush()
    os._exit(128 + number)


class Interrupt:
    """While entered, the first SIGTERM or SIGINT only sets the flag; a second Ctrl-C interrupts at once.

    Outside of the main thread, where Python takes no signals, it never sets it.

    Attributes:
      number: of the first signal; 0 before it.
    """

    def __init__(self):
        self.number = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def __call__(self) -> bool:
        return self.number != 0

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number
