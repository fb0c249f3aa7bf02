"""Where every player of every arm came from, as summary.json records it: a report reads it, and guesses nothing.

A record has `trained`, whether the arm trained the player; `start`: "fresh", "stage", "checkpoint", or "function" for a
frozen player without parameters, or with parameters that its module brings: what it is `of`, and the SHA-256 `digest` of its
file or parameters, where it has such; and `shared`, whether it is the same for every seed. From a stage: its `stage`, `arm`
and `player`. From a checkpoint: its folder as `checkpoint`, `arm` and `player` in it, and for each seed of this run its
`members` (null for a single player) and SHA-256 `digests` of what was taken. A start of a part has the fields that
say so: `only`, `skip`, `transfer`, `scale`.
"""

from typing import Any

from kdgan.around import innermost
from kdgan.run import schema
from kdgan.run.program import Program
from kdgan.run.sources import Source, digest
from kdgan.state import variable_shapes


def of_arm(program: Program, arm: str) -> dict[str, dict[str, Any]]:
    """Player -> record, of every player that the arm's method calls."""
    return {name: _record(program, arm, name) for name in program.modules}


def _record(program: Program, arm: str, name: str) -> dict[str, Any]:
    start, source = program.start[arm].get(name), program.sources.get(arm, {}).get(name)
    common = {"trained": name in program.method.trained, "shared": name in program.shared}
    if start is None:
        function = not common["trained"] and not variable_shapes(
            program.local_modules[name], program.inspection.inputs[name]
        )
        module = innermost(program.local_modules[name])
        own = {"of": module.origin, "digest": module.content} if getattr(module, "content", "") else {}
        return {**common, "start": "function" if function or own else "fresh", **own}
    part = {field: getattr(start, field) for field in ("only", "skip", "transfer", "scale") if getattr(start, field)}
    part = {field: list(value) if isinstance(value, tuple) else value for field, value in part.items()}
    return {**common, **(_of_stage(start) if source is None else _of_checkpoint(source)), **part}


def _of_stage(start: schema.Start) -> dict[str, Any]:
    return {"start": "stage", "stage": start.stage, "arm": start.arm, "player": start.player}


def _of_checkpoint(source: Source) -> dict[str, Any]:
    contents = {member: digest(source.member(member)) for member in dict.fromkeys(source.taken.values())}
    return {
        "start": "checkpoint",
        "checkpoint": str(source.folder),
        "arm": source.part.removesuffix("/state"),
        "player": source.entry,
        "members": list(source.taken.values()),
        "digests": [contents[member] for member in source.taken.values()],
    }
