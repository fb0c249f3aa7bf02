"""Players from checkpoints: where a path leads, which player lies there, whose members it has, and a digest of them.

A checkpoint of a run holds a population: each array is stacked over the run's seeds, which name its members.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import files
from kdgan.run import checkpoint
from kdgan.run.program import AVERAGE, BEST, Variables
from kdgan.run.schema import Start

EACH = "each"  # `start.member`: every seed takes the member of its own number
Reader = Callable[[pathlib.Path], checkpoint.Found]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A player as a checkpoint has it.

    Attributes:
      given: the path in the config.
      folder: the checkpoint that was read, of one step.
      part: where in it: "kd/state"; "" for its root.
      entry: name of the player there.
      variables: "params" and "model_state"; stacked over the members of a population.
      seeds: of the run that wrote the population, one of each member; None: a single player.
      taken: seed of this run -> the member that it takes; None: the single player.
    """

    given: str
    folder: pathlib.Path
    part: str
    entry: str
    variables: Variables
    seeds: tuple[int, ...] | None
    taken: Mapping[int, int | None] = dataclasses.field(default_factory=dict)

    @property
    def is_one(self) -> bool:
        """Whether all seeds take the same."""
        return len(set(self.taken.values())) == 1

    def whose(self, name: str) -> str:
        """Which member, or members, of the checkpoint a player starts from, in words."""
        members = list(dict.fromkeys(self.taken.values()))
        if len(members) > 1:
            return f"members {listed(members)}, one for each seed"
        words = [
            "" if members[0] is None else f"member {members[0]}",
            f"one {name} for all seeds" * (len(self.taken) > 1),
        ]
        return ", ".join(filter(None, words))

    def of(self, seed: int) -> Variables:
        """The variables that a seed of this run takes."""
        return self.member(self.taken[seed])

    def member(self, member: int | None) -> Variables:
        """The variables of the member of this seed; of the single player, where there are no members."""
        if self.seeds is None or member is None:
            return self.variables
        row = self.seeds.index(member)
        return jax.tree.map(lambda leaf: leaf[row], self.variables)

    def shapes(self) -> dict[str, Any]:
        """Shapes of one member's variables, the collections beside "params"."""
        axes = 0 if self.seeds is None else 1
        shape = lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf)[axes:], np.asarray(leaf).dtype)
        return jax.tree.map(shape, {"params": self.variables["params"], **self.variables["model_state"]})


def read(path: str, start: Start, like: Any, load: Reader = checkpoint.read) -> Source:
    """The player that a start names, in the checkpoint to which its path leads.

    Args:
      path: folder of one checkpoint, of a stage's checkpoints (then the last whole one), or of a whole run.
      start: its `player` and, where several arms have that player, its `arm`.
      like: shapes of the parameters that are wanted: what tells a single player from a stack, where a checkpoint that no
        run wrote does not.
      load: reads a checkpoint; one that remembers serves several players of the same.

    Raises:
      ValueError: there is no such folder, no whole checkpoint or no such player, or several; what there is, is named.
    """
    there = pathlib.Path(path)
    if not there.is_dir():
        raise ValueError("there is no such folder")
    folder, tree, metadata = load(_locate(there, start))
    part, holder, variables = _player(tree, start, folder)
    seeds = _seeds(folder, metadata, holder, variables, like)
    folder = pathlib.Path(metadata.get("from", folder))  # a copy in a workdir says what it is a copy of
    return Source(path, folder, part, start.player, variables, seeds)


def taken(source: Source, start: Start, seeds: Sequence[int], name: str, where: str) -> dict[int, int | None]:
    """Seed of this run -> the member that it takes; None: the single player.

    Raises:
      ValueError: the checkpoint lacks a member that is asked for; the members that it has, are named.
    """
    if source.seeds is None:
        return dict.fromkeys(seeds)
    has = f"the checkpoint {source.folder} has the members (seeds) {listed(source.seeds)}"
    if start.member != EACH:
        if start.member not in source.seeds:
            raise ValueError(f"{where}.member = {start.member!r}: {has}")
        return {seed: int(start.member) for seed in seeds}
    missing = [seed for seed in seeds if seed not in source.seeds]
    if missing:
        raise ValueError(
            f"{where}: {has}; this run has seed {listed(missing)}: set {where}.member = {source.seeds[0]} (one"
            f" {name} for all seeds), or config.seed and config.population.seeds to seeds that the checkpoint has"
        )
    return {seed: seed for seed in seeds}


def listed(seeds: Sequence[Any]) -> str:
    """As "0, 1, 2"; a long range as "0 to 99"."""
    if len(seeds) > 6 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def digest(variables: Mapping[str, Any]) -> str:
    """SHA-256 of a player's arrays with their paths, types and shapes: equal for equal contents, wherever they lie."""
    content = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    for path, leaf in sorted(leaves, key=lambda pair: jax.tree_util.keystr(pair[0])):
        array = np.ascontiguousarray(leaf)
        content.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        content.update(array.tobytes())
    return content.hexdigest()


def _locate(path: pathlib.Path, start: Start) -> pathlib.Path:
    """`path` itself where it is or holds checkpoints; of a run the folder of the only stage that has the player."""
    if checkpoint.is_checkpoint(path) or checkpoint.holds_checkpoints(path):
        return path
    inside = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    stages = [folder for folder in sorted(inside.iterdir()) if checkpoint.holds_checkpoints(folder)]
    if not stages:
        raise ValueError("no checkpoint in this folder; give that of a stage, as WORKDIR/checkpoints/STAGE")
    names = {folder: _entries(folder) for folder in stages}
    having = [folder for folder in stages if start.player in names[folder]]
    if len(having) == 1:
        return having[0]
    if having:
        raise ValueError(f"several stages have {start.player!r}; give one of {', '.join(map(str, having))}")
    there = "; ".join(f"{folder}: {', '.join(dict.fromkeys(names[folder])) or 'damaged'}" for folder in stages)
    raise ValueError(f"no stage has a player {start.player!r}; there are {there}")


def _entries(folder: pathlib.Path) -> list[str]:
    """Names of the players, averages and best players in the last checkpoint of a stage, as its record lists them."""
    paths = [name.split("/") for name in checkpoint.array_names(folder)]
    entries = []
    for path in paths:
        for kind, variant in (("params", ""), ("ema", AVERAGE), ("best", BEST)):
            if kind in path[:-1] and not (kind == "params" and "best" in path[: path.index(kind)]):
                entries.append(path[path.index(kind) + 1] + variant)
    return sorted(dict.fromkeys(entries), key=lambda entry: "(" in entry)


def _player(tree: Any, start: Start, folder: pathlib.Path) -> tuple[str, dict[str, Any], Variables]:
    """(part, what holds it, variables) of the player that a start names."""
    holders = {part: holder for part, holder in checkpoint.holders_of(tree) if "/best/" not in f"/{part}"}
    entries = {part: _variables(tree, part, holder) for part, holder in holders.items()}
    wanted = [
        part
        for part, players in entries.items()
        if start.player in players and start.arm in (None, part, part.removesuffix("/state"))
    ]
    if len(wanted) == 1:
        return wanted[0], holders[wanted[0]], entries[wanted[0]][start.player]
    there = "; ".join(f"{part.removesuffix('/state') or '(root)'}: {', '.join(of)}" for part, of in entries.items())
    if wanted:
        arms = " or ".join(repr(part.removesuffix("/state")) for part in wanted)
        raise ValueError(f"several arms of checkpoint {folder} have {start.player!r}; set arm = {arms}")
    within = "" if start.arm is None else f" in arm {start.arm!r}"
    raise ValueError(f"no player {start.player!r}{within} in checkpoint {folder}; it has {there or 'no params at all'}")


def _variables(tree: Any, part: str, holder: Mapping[str, Any]) -> dict[str, Variables]:
    """Name -> variables of every player of a part, of the averages and of the best beside them."""
    states = holder.get("model_state", {})
    state = lambda name: states.get(name, {}) if isinstance(states, Mapping) else {}
    entries = {name: {"params": params, "model_state": state(name)} for name, params in holder["params"].items()}
    averages = holder.get("ema") or {}
    entries |= {name + AVERAGE: {"params": params, "model_state": state(name)} for name, params in averages.items()}
    above = tree
    for name in part.split("/")[:-1]:
        above = above[name]
    best = above.get("best") if part.endswith("/state") else None
    for name, kept in (best or {}).items():
        entries[name + BEST] = {"params": kept["params"], "model_state": kept.get("model_state", {})}
    return entries


def _seeds(
    folder: pathlib.Path, metadata: Mapping[str, Any], holder: Mapping[str, Any], variables: Variables, like: Any
) -> tuple[int, ...] | None:
    """Seeds of a population's members; None: a single player.

    They stand in the checkpoint's metadata; of one that has none, in the config of the run in whose workdir it lies; else
    they count from 0.
    """
    leaves = jax.tree.leaves(variables["params"])
    if not leaves or not _is_stacked(holder, variables["params"], like):
        return None
    count = len(leaves[0])
    recorded = metadata.get("seeds")
    if isinstance(recorded, list) and len(recorded) == count:
        return tuple(recorded)
    config = folder.absolute().parents[2] / "config.json"
    try:
        content = files.read_json(config)
        if content["population"]["seeds"] == count:
            return tuple(range(content["seed"], content["seed"] + count))
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no run's, or of another form
    return tuple(range(count))


def _is_stacked(holder: Mapping[str, Any], params: Any, like: Any) -> bool:
    """Whether arrays have an axis of members: as a run's state says by its step, else by the shapes that are wanted."""
    if "step" in holder:
        return np.ndim(holder["step"]) == 1
    axes = lambda tree: {jax.tree_util.keystr(p): np.ndim(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}
    here, there = axes(like), axes(params)
    common = here.keys() & there.keys()
    return bool(common) and all(there[path] == here[path] + 1 for path in common)
