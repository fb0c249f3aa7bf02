"""A function of the benchmarks called in a process of its own: with its own XLA flags, memory and caches.

    python -m benchmarks.process benchmarks.fresh:first_steps '{"way": "kdgan", ...}'

Nothing is imported before the function's own module, so that what is measured from the process's start is that module's.
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
MARK = "result: "


class FailedError(RuntimeError):
    """The process ended with an error."""


def call(target: str, arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `target` ("module:function") returns for `arguments`, a mapping; with it "started", the clock at the start.

    Raises:
      FailedError: with the last line of what it said.
    """
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.process", target, json.dumps(arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, text=True, capture_output=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise FailedError(f"{target}({dict(arguments)}) ended with {done.returncode}: {said[-1]}")
    return {**json.loads(lines[-1].removeprefix(MARK)), "started": started}


def simulated_devices(count: int) -> dict[str, str]:
    """The environment in which XLA makes `count` devices of one CPU."""
    others = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    return {"XLA_FLAGS": " ".join([*others, f"--xla_force_host_platform_device_count={count}"])}


def main(target: str, arguments: str) -> None:
    module, _, function = target.partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
