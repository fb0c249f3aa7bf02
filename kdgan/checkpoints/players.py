"""The players that a checkpoint holds, as a run writes them: where a path leads, which there are, whose members they have.

A checkpoint of a run holds a population: each array is stacked over the run's seeds, which name its members.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kdgan import files
from kdgan.checkpoints import reading
from kdgan.checkpoints.folder import is_checkpoint, read_record

# Behind a player's name: another set of its parameters, measured beside the last step's.
AVERAGE = " (moving average)"
BEST = " (best by validation)"

Variables = dict[str, Any]  # {"params": tree, "model_state": tree}
Reader = Callable[[pathlib.Path], reading.Found]


class Stored(NamedTuple):
    """A player as a checkpoint has it.

    Attributes:
      folder: the checkpoint that was read, of one step.
      part: where in it: "kd/state"; "" for its root.
      variables: "params" and "model_state"; stacked over the members of a population.
      seeds: of the run that wrote the population, one of each member; None: a single player.
    """

    folder: pathlib.Path
    part: str
    variables: Variables
    seeds: tuple[int, ...] | None


def read(path: pathlib.Path, player: str, arm: str | None, like: Any, load: Reader = reading.read) -> Stored:
    """A player of the checkpoint to which a path leads.

    Args:
      path: folder of one checkpoint, of a stage's checkpoints (then the last whole one), or of a whole run.
      player: its name there.
      arm: where several arms have that player.
      like: shapes of the parameters that are wanted: what tells a single player from a stack, where a checkpoint that no
        run wrote does not.
      load: reads a checkpoint; one that remembers serves several players of the same.

    Raises:
      ValueError: there is no such folder, no whole checkpoint or no such player, or several; what there is, is named.
    """
    if not path.is_dir():
        raise ValueError("there is no such folder")
    folder, tree, metadata = load(_locate(path, player))
    part, holder, variables = _player(tree, player, arm, folder)
    seeds = _seeds(folder, metadata, holder, variables, like)
    folder = pathlib.Path(metadata.get("from", folder))  # a copy in a workdir says what it is a copy of
    return Stored(folder, part, variables, seeds)


def is_of_a_run(path: pathlib.Path) -> bool:
    """Whether a folder is a checkpoint of a run, holds some, or is a run's workdir or its checkpoints."""
    if is_checkpoint(path) or reading.holds_checkpoints(path):
        return True
    return any(map(reading.holds_checkpoints, _folders(path)))


def names_in(path: pathlib.Path) -> tuple[str, ...]:
    """Names of the players, averages and best players that lie at a path, by the records of the last checkpoints."""
    if is_checkpoint(path):
        return tuple(_named(list(read_record(path)["stored"])))
    stages = [path] if reading.holds_checkpoints(path) else _folders(path)
    return tuple(dict.fromkeys(name for folder in stages for name in _entries(folder)))


def member(stored: Stored, seed: int | None) -> Variables:
    """The variables of the member of this seed; of the single player, where there are no members."""
    if stored.seeds is None or seed is None:
        return stored.variables
    row = stored.seeds.index(seed)
    return jax.tree.map(lambda leaf: leaf[row], stored.variables)


def listed(seeds: Any) -> str:
    """As "0, 1, 2"; a long range as "0 to 99"."""
    if len(seeds) > 6 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
    inside = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    return sorted(folder for folder in inside.iterdir() if folder.is_dir())


def _locate(path: pathlib.Path, player: str) -> pathlib.Path:
    """`path` itself where it is or holds checkpoints; of a run the folder of the only stage that has the player."""
    if is_checkpoint(path) or reading.holds_checkpoints(path):
        return path
    stages = [folder for folder in _folders(path) if reading.holds_checkpoints(folder)]
    if not stages:
        raise ValueError("no checkpoint in this folder; give that of a stage, as WORKDIR/checkpoints/STAGE")
    names = {folder: _entries(folder) for folder in stages}
    having = [folder for folder in stages if player in names[folder]]
    if len(having) == 1:
        return having[0]
    if having:
        raise ValueError(f"several stages have {player!r}; give one of {', '.join(map(str, having))}")
    there = "; ".join(f"{folder}: {', '.join(dict.fromkeys(names[folder])) or 'damaged'}" for folder in stages)
    raise ValueError(f"no stage has a player {player!r}; there are {there}")


def _entries(folder: pathlib.Path) -> list[str]:
    """Names of the players, averages and best players in the last checkpoint of a stage, as its record lists them."""
    return _named(reading.array_names(folder))


def _named(arrays: Sequence[str]) -> list[str]:
    """The players that paths of arrays belong to."""
    paths = [name.split("/") for name in arrays]
    entries = []
    for path in paths:
        for kind, variant in (("params", ""), ("ema", AVERAGE), ("best", BEST)):
            if kind in path[:-1] and not (kind == "params" and "best" in path[: path.index(kind)]):
                entries.append(path[path.index(kind) + 1] + variant)
    return sorted(dict.fromkeys(entries), key=lambda entry: "(" in entry)


def _player(tree: Any, player: str, arm: str | None, folder: pathlib.Path) -> tuple[str, dict[str, Any], Variables]:
    """(part, what holds it, variables) of the player of this name."""
    holders = {part: holder for part, holder in reading.holders_of(tree) if "/best/" not in f"/{part}"}
    entries = {part: _variables(tree, part, holder) for part, holder in holders.items()}
    wanted = [
        part
        for part, players in entries.items()
        if player in players and arm in (None, part, part.removesuffix("/state"))
    ]
    if len(wanted) == 1:
        return wanted[0], holders[wanted[0]], entries[wanted[0]][player]
    there = "; ".join(f"{part.removesuffix('/state') or '(root)'}: {', '.join(of)}" for part, of in entries.items())
    if wanted:
        arms = " or ".join(repr(part.removesuffix("/state")) for part in wanted)
        raise ValueError(f"several arms of checkpoint {folder} have {player!r}; set arm = {arms}")
    within = "" if arm is None else f" in arm {arm!r}"
    raise ValueError(f"no player {player!r}{within} in checkpoint {folder}; it has {there or 'no params at all'}")


def _variables(tree: Any, part: str, holder: Mapping[str, Any]) -> dict[str, Variables]:
    """Name -> variables of every player of a part, of the averages and of the best beside them."""
    states = holder.get("model_state", {})
    state = lambda name: states.get(name, {}) if isinstance(states, Mapping) else {}
    entries = {name: {"params": params, "model_state": state(name)} for name, params in holder["params"].items()}
    averages = holder.get("ema") or {}
    of_averages = holder.get("ema_state") or {}
    entries |= {
        name + AVERAGE: {"params": params, "model_state": of_averages.get(name, {})}
        for name, params in averages.items()
    }
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
