"""Players from checkpoints and files: which one a start names, whose members its seeds take, and a digest of them.

A checkpoint of a run holds a population: each array is stacked over the run's seeds, which name its members.
"""

import dataclasses
import fnmatch
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan import weights
from kdgan.checkpoints import players
from kdgan.checkpoints.players import Reader, Variables, listed
from kdgan.run import checkpoint
from kdgan.run.formats import CHECKPOINTS
from kdgan.run.schema import Start, Weights
from kdgan.weights import formats

EACH = "each"  # `start.member`: every seed takes the member of its own number


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
      said: of weights from elsewhere, what the file is and how its layers were told, in words.
    """

    given: str
    folder: pathlib.Path
    part: str
    entry: str
    variables: Variables
    seeds: tuple[int, ...] | None
    taken: Mapping[int, int | None] = dataclasses.field(default_factory=dict)
    said: str = ""

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


def of_run(source: Source, record: str) -> tuple[pathlib.Path, str] | None:
    """(workdir, stage, or "") of the run that wrote a checkpoint, if a file of this name lies in its workdir."""
    folder = source.folder.absolute()
    workdir = next((above for above in folder.parents if (above / record).is_file()), None)
    if workdir is None:
        return None
    parts = folder.relative_to(workdir).parts
    return workdir, parts[1] if len(parts) > 1 and parts[0] == CHECKPOINTS else ""


def read(path: str, start: Start, like: Any, load: Reader = checkpoint.read) -> Source:
    """The player that a start names, in the checkpoint to which its path leads: `kdgan.checkpoints.players.read`."""
    stored = players.read(pathlib.Path(path), start.player, start.arm, like, load)
    return Source(path, stored.folder, stored.part, start.player, stored.variables, stored.seeds)


def from_elsewhere(path: str, start: Start, module: nn.Module, inputs: Any) -> Source:
    """The player in a file of weights, or in a folder that no run wrote.

    Args:
      path: of it.
      start: its `player`, where the file has several, its `names`, and which parameters are taken.
      module: the player's.
      inputs: (args, kwargs) that it is called with.

    Raises:
      ValueError: there are none, or they do not fit.
    """
    if start.arm is not None or start.member != EACH:
        raise ValueError("arm and member are of a run's checkpoints; this is none")
    place = pathlib.Path(path)
    tree = formats.read_folder(place) if place.is_dir() else formats.read_file(place, start.player)
    any_size = None
    if start.transfer is not None:
        any_size = lambda name: True
    elif start.only or start.skip:
        any_size = lambda name: not takes(start, name)
    variables, map_ = weights.fit(
        tree, module, inputs, names=start.names, player=start.player, any_size=any_size, partial=True
    )
    rest = {kind: own for kind, own in variables.items() if kind != "params"}
    kept = {"params": variables.get("params", {}), "model_state": rest}
    return Source(path, place, "", start.player, kept, None, said=map_.summary)


def takes(start: Start, name: str) -> bool:
    """Whether a start takes the parameter of this path, "conv1/kernel"."""
    wanted = not start.only or any(fnmatch.fnmatch(name, pattern) for pattern in start.only)
    return wanted and not any(fnmatch.fnmatch(name, pattern) for pattern in start.skip)


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
        first = source.seeds[0]
        whole = isinstance(start, Weights)  # which may be a path alone, without fields
        cure = f"{where} = dict(path={source.given!r}, member={first})" if whole else f"{where}.member = {first}"
        raise ValueError(
            f"{where}: {has}; this run has seed {listed(missing)}: set {cure} (one {name} for all"
            " seeds), or config.seed and config.population.seeds to seeds that the checkpoint has"
        )
    return {seed: seed for seed in seeds}


def digest(variables: Mapping[str, Any]) -> str:
    """SHA-256 of a player's arrays with their paths, types and shapes: equal for equal contents, wherever they lie."""
    content = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    for path, leaf in sorted(leaves, key=lambda pair: jax.tree_util.keystr(pair[0])):
        array = np.ascontiguousarray(leaf)
        content.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        content.update(array.tobytes())
    return content.hexdigest()
