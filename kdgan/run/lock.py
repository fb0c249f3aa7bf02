"""One training process in a workdir at a time: a lock that the system releases when its holder dies, however it dies."""

import contextlib
import datetime
import errno
import os
import pathlib
import socket
from collections.abc import Iterator

from absl import logging

from kdgan.run.config import ConfigError

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None  # type: ignore[assignment]

FILE = "run.lock"
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # what the system says of a lock that another process has


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
    """Hold the lock of a workdir; `run.lock` in it names the holder and stays when the lock is released.

    Where the file system has no locks (some network file systems, Colab's Drive) a warning says so, and nothing is held.

    Raises:
      ConfigError: another process holds it; the message names its host and process.
      OSError: the workdir cannot be written to.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(workdir / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, workdir)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, workdir: pathlib.Path) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOTSUP, "this system has no file locks")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
            raise ConfigError(
                f"workdir {workdir} is in use by {holder}; wait until it ends, stop it, or choose another workdir"
            ) from error
        logging.warning(
            "workdir %s: its file system has no locks (%s); make sure that no other process trains in it",
            workdir, error.strerror,
        )  # fmt: skip
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on host {socket.gethostname()} since {since}\n".encode(), 0)
