"""Suite population: 1, 4, 10 and 32 networks by kdgan, in every way it runs them, beside PyTorch run after run.

Two kinds of members: `seeds` with their own batches and teachers; `rows`, which differ in their λ's and share batches and a
frozen teacher. A row tells the time of one member's step. PyTorch trains one network and then the next, so that its
time of a member's step is that of one network, compiled already. Beside it stands kdgan with one member.
"""

import os
from collections.abc import Callable
from typing import Any

from benchmarks import ours, process, rivals, runs, work
from benchmarks.measure import Effort, Setting, compare
from benchmarks.steps import tell

WAYS = ("in_turn", "unrolled", "vmap", "devices")
# (piece of work, kinds, numbers of members, ways): where a step takes long, what the question is about.
PLAN = (
    ("mlp_lenet", ("seeds", "rows"), (1, 4, 10, 32), WAYS),
    ("resnet20", ("rows",), (4, 10), ("in_turn", "unrolled", "vmap")),
)
# An accelerator, where rows under vmap are what `auto` chooses.
PLAN_ACCELERATOR = (
    ("mlp_lenet", ("seeds", "rows"), (10,), ("in_turn", "vmap")),
    ("resnet20", ("rows",), (10,), ("in_turn", "vmap")),
)
RIVALS = ("eager", "compile")  # of PyTorch's ways
EXAMPLES = 4_096  # in the data set


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """A list of rows: a population in one way, beside its rivals."""
    rows = []
    plan = PLAN if setting.device == "cpu" else PLAN_ACCELERATOR
    for name, kinds, counts, ways in (row for row in plan if setting.of(row[:1])):
        for kind in kinds:
            for members in (1, 3) if setting.quick else counts:
                for way in ways if members > 1 else ways[:1]:
                    if (way, kind) == ("unrolled", "seeds"):  # only what shares a batch shares a program
                        continue
                    arguments = {"name": name, "kind": kind, "members": members, "way": way, "setting": setting}
                    rows.append(measure_population(**arguments) if way != "devices" else _in_devices(arguments))
                    for rival, found in rows[-1]["rivals"].items():
                        say(f"{name:10s} {kind:6s} {members:3d} {way:8s} {rival:12s} {tell(found)}")
    return {"rows": rows}


def _in_devices(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same in a process to which XLA shows a device for each core of the CPU; on an accelerator, its devices."""
    setting = arguments["setting"]
    environment = process.simulated_devices(os.cpu_count() or 1) if setting.device == "cpu" else {}
    passed = {**arguments, "setting": [list(setting.effort), *setting[1:]]}
    row = process.call("benchmarks.populations:measure_population", passed, environment)
    del row["started"]
    return row


def measure_population(name: str, kind: str, members: int, way: str, setting: Any) -> dict[str, Any]:
    """One population in one way; `setting` as such, or as JSON has it."""
    setting = Setting(Effort(*setting[0]), *setting[1:])
    rivals.set_precision(setting)
    piece = work.named(name, quick=setting.quick)
    state, batches = ours.make_state(piece), work.batches(piece)
    data = work.data_set(piece, min(EXAMPLES, 8 * piece.batch) if setting.quick else EXAMPLES)
    counts = {"seeds": {"seeds": members}, "rows": {"rows": members}}[kind]
    population, _ = runs.make_population(piece, state, *data, way=way, **counts)
    contestant = runs.contestant(piece, population)
    found = {}
    if members > 1:
        one, _ = runs.make_population(piece, state, *data, way="in_turn")
        found["one"] = compare(contestant, runs.contestant(piece, one), setting.effort)
    module = rivals.pytorch(setting.device)
    for rival in RIVALS if module else ():
        other = module.make_steps(piece, rival, setting.device, batches, ours.variables_of(state))
        found[rival] = compare(contestant, other, setting.effort)
    return {"name": name, "title": piece.title, "kind": kind, "members": members, "way": way, "rivals": found}
