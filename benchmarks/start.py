"""Suite start: from the start of a process to the end of its first step, cold and with compiled programs on the disk.

Each of PyTorch's compiled ways has its own cache, of the same folder; eager PyTorch compiles nothing and is told once.
"""

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import fresh, rivals, work
from benchmarks.measure import Setting

PIECES = ("mlp_lenet", "resnet20")
TIMES = 3  # processes of each


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """Piece of work -> way -> "cold" and "cached" -> medians of the parts, and all times to the first step."""
    rows: dict[str, Any] = {}
    pytorch = ("eager", "compile") if rivals.pytorch(setting.device) else ()
    for name in PIECES[: 1 if setting.quick else None]:
        piece = work.named(name, quick=setting.quick)
        rows[name] = {"title": piece.title, "ways": {}}
        for way in ("kdgan", "jax", *pytorch):
            row = rows[name]["ways"][way] = {"cold": started(way, piece, setting, None)}
            if way != "eager":
                with tempfile.TemporaryDirectory() as folder:
                    fresh.measure(way, piece, setting, pathlib.Path(folder))
                    row["cached"] = started(way, piece, setting, pathlib.Path(folder))
            for kind, found in row.items():
                say(f"{name:10s} {way:10s} {kind:8s} first step after {found['to_first_step_seconds']:.2f} s")
    return rows


def started(way: str, piece: work.Work, setting: Setting, cache: pathlib.Path | None) -> dict[str, Any]:
    """Medians over fresh processes."""
    found = [fresh.measure(way, piece, setting, cache) for _ in range(1 if setting.quick else TIMES)]
    medians = {name: float(np.median([one[name] for one in found])) for name in found[0]}
    return {**medians, "all_seconds": [one["to_first_step_seconds"] for one in found]}
