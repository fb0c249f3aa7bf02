"""Suite scaling: how time grows with members (1 to 64), with the batch (32 to 4,096) and with devices (1, 2, 4, 8).

On a CPU the devices are simulated: XLA divides the same cores among them, so that their curve shows what dividing the work
costs, and cannot fall below one device's by more than was idle. A fixed batch is split over them by `pmap`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from benchmarks import bare, ours, process, rivals, runs, work
from benchmarks.measure import Effort, Setting, several

PIECE = "mlp_lenet"
WAYS = {"seeds": ("in_turn", "vmap"), "rows": ("in_turn", "unrolled", "vmap")}
MEMBERS = (1, 2, 4, 8, 16, 32, 64)
BATCHES = tuple(2**n for n in range(5, 13))
DEVICES = (1, 2, 4, 8)
SPLIT_BATCH = 512  # examples that the devices share
EXAMPLES = 4_096


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """Axis -> curve -> points: "members" and "devices" and "batch" with the milliseconds of one step of all."""
    short = setting.quick
    return {
        "title": work.named(PIECE, quick=short).title,
        "members": over_members(setting, MEMBERS[:2] if short else MEMBERS, say),
        "batch": over_batches(setting, (8, 16) if short else BATCHES, say),
        "devices": over_devices(setting, DEVICES[:2] if short else DEVICES, say),
        "split_batch": 16 if short else SPLIT_BATCH,
    }


def over_members(setting: Setting, counts, say: Callable[[str], None]) -> dict[str, Any]:
    """Curve "seeds in_turn", ... -> [{"members", "ms", "quartiles"}]."""
    piece = work.named(PIECE, quick=setting.quick)
    state, data = ours.make_state(piece), work.data_set(piece, EXAMPLES)
    curves: dict[str, Any] = {}
    for kind, ways in WAYS.items():
        for way in ways:
            for members in counts:
                population, _ = runs.make_population(piece, state, *data, way=way, **{kind: members})
                found = several(runs.contestant(piece, population), setting.effort)
                curves.setdefault(f"{kind} {way}", []).append({"members": members, **found})
                say(f"{kind:6s} {way:8s} members {members:5d}  {found['ms']:10.2f} ms")
    return curves


def over_batches(setting: Setting, sizes, say: Callable[[str], None]) -> dict[str, Any]:
    """Curve "kdgan", "jax", "eager", "compile" -> [{"batch", "ms", "quartiles"}]."""
    curves: dict[str, Any] = {}
    module = rivals.pytorch(setting.device)
    for size in sizes:
        piece = dataclasses.replace(work.named(PIECE, quick=setting.quick), batch=size)
        state, batches = ours.make_state(piece), work.batches(piece, count=2)
        variables = ours.variables_of(state)
        made = {
            "kdgan": lambda p=piece, s=state, b=batches: ours.make_steps(p, s, b),
            "jax": lambda p=piece, v=variables, b=batches: bare.make_steps(p, v, b),
        }
        for way in ("eager", "compile") if module else ():
            made[way] = lambda p=piece, v=variables, b=batches, way=way: module.make_steps(p, way, setting.device, b, v)
        for name, make in made.items():
            found = several(make(), setting.effort)
            curves.setdefault(name, []).append({"batch": size, **found})
            say(f"{name:10s} batch {size:5d}  {found['ms']:10.2f} ms")
    return curves


def over_devices(setting: Setting, counts, say: Callable[[str], None]) -> dict[str, Any]:
    """Curve "split batch" -> [{"devices", "ms", "quartiles"}], each in a process of its own on a CPU."""
    points = []
    real = jax.local_device_count() if setting.device != "cpu" else None
    for count in counts:
        if real is not None and count > real:
            continue
        environment = process.simulated_devices(count) if real is None else {}
        arguments = {
            "count": count,
            "effort": list(setting.effort),
            "quick": setting.quick,
            "precision": setting.precision,
        }
        found = process.call("benchmarks.scaling:split_step", arguments, environment)
        points.append({"devices": count, "ms": found["ms"], "quartiles": found["quartiles"]})
        say(f"devices {count:5d}  {found['ms']:10.2f} ms")
    return {"split batch": points}


def split_step(count: int, effort: list, quick: bool, precision: str) -> dict[str, Any]:
    """The step of one batch split over `count` devices of this process."""
    rivals.set_jax(precision)
    piece = dataclasses.replace(work.named(PIECE, quick=quick), batch=16 if quick else SPLIT_BATCH)
    contestant = ours.make_split_steps(piece, ours.make_state(piece), work.batches(piece), jax.local_devices()[:count])
    return several(contestant, Effort(*effort))
