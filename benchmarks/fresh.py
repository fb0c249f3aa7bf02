"""What a fresh process takes to its first step: seconds, compilation, memory. One way of one piece of work each time.

The parts of a process that trains: importing, building (players, state, batches on the device), the first step (which
compiles), and the next ones. Memory is the accelerator's peak, or on a CPU (Linux) the largest resident set:
libraries, compiler and all; beside it stands what the process had before it built anything.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks import process, work
from benchmarks.measure import Contestant, Setting, seconds_per_step

MIB = 2**20


def measure(way: str, piece: work.Work, setting: Setting, cache: pathlib.Path | None = None) -> dict[str, Any]:
    """Seconds, compile time and memory of a fresh process that makes a few steps of `piece` in this way.

    Args:
      way: "kdgan", "jax" or one of PyTorch's.
      piece: the work.
      setting: the precision and the device.
      cache: folder of compiled programs; empty it is filled, full it is used. None: an empty one, thrown away.
    """
    with tempfile.TemporaryDirectory() as empty:
        folder = str(cache or empty)
        environment = {
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch",
        }
        arguments = {
            "way": way, "name": piece.name, "quick": setting.quick, "device": setting.device,
            "precision": setting.precision,
        }  # fmt: skip
        found = process.call("benchmarks.fresh:first_steps", arguments, environment)
    found["to_first_step_seconds"] = found.pop("first_step_at") - found.pop("started")
    return found


def first_steps(way: str, name: str, quick: bool, device: str, precision: str) -> dict[str, Any]:
    """The part that the process itself sees; see `measure`."""
    piece = work.named(name, quick=quick)
    start = time.perf_counter()
    build, peak = BUILDERS.get(way, _pytorch)(way, piece, device, precision)
    imported, before = time.perf_counter(), _resident("VmRSS")
    contestant = build()
    built = time.perf_counter()
    contestant.steps(contestant.per_call)
    first_step_at, first = time.time(), time.perf_counter()
    again = statistics.median(seconds_per_step(contestant, contestant.per_call) for _ in range(3)) * contestant.per_call
    return {
        "import_seconds": imported - start,
        "build_seconds": built - imported,
        "first_call_seconds": first - built,
        "compile_seconds": max(first - built - again, 0.0),
        "peak_mib": (_resident("VmHWM") if device == "cpu" else peak()) / MIB,
        "before_mib": before / MIB,
        "first_step_at": first_step_at,
    }


Built = tuple[Callable[[], Contestant], Callable[[], int]]  # (what builds, peak memory of an accelerator in bytes)


def _kdgan(way: str, piece: work.Work, device: str, precision: str) -> Built:
    from benchmarks import ours, rivals

    rivals.set_jax(precision)
    return lambda: ours.make_steps(piece, ours.make_state(piece), work.batches(piece)), _jax_peak


def _jax(way: str, piece: work.Work, device: str, precision: str) -> Built:
    from benchmarks import bare, rivals

    rivals.set_jax(precision)
    return lambda: bare.make_steps(piece, bare.init(piece), work.batches(piece)), _jax_peak


def _pytorch(way: str, piece: work.Work, device: str, precision: str) -> Built:
    from benchmarks import pytorch

    pytorch.set_precision(precision)
    return lambda: pytorch.make_steps(piece, way, device, work.batches(piece)), pytorch.peak_bytes


BUILDERS = {"kdgan": _kdgan, "jax": _jax}


def _jax_peak() -> int:
    import jax

    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]


def _resident(field: str) -> int:
    """Bytes of this process in memory: "VmRSS" now, "VmHWM" at most since it was started.

    From the kernel's file: `getrusage` goes on counting from the size of the process that started this one.
    """
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024
