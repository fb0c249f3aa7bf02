"""How a run ends before its last step: asked to stop (SIGTERM, Ctrl-C), or by a loss that is NaN or infinite."""

import signal
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
