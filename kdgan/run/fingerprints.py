"""What a run is made from, known again by content: its data sets, and the players and weights of checkpoint folders.

They are recorded when a run claims its workdir (`run/claim.py`), and the players are copied into it, under `starts/`: a run
goes on, is measured and drawn from where the folders it started from have moved or are gone. A folder that is there, and
holds another player than before, is noticed.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from kdgan.around import innermost
from kdgan.data.fingerprint import differences, fingerprint
from kdgan.run import extractors
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError
from kdgan.run.identity import Programs
from kdgan.run.inputs import Inputs
from kdgan.run.program import program_of
from kdgan.run.schema import Arm, Run, Start
from kdgan.run.sources import Source, digest

FOLDER = "starts"
SPLITS = {"train": "training set", "test": "test set"}


class Place(NamedTuple):
    """Where a config says that a player is: in a checkpoint folder; or a file of weights (then of no player)."""

    path: str
    player: str = ""
    arm: str | None = None


@dataclasses.dataclass(frozen=True)
class Print:
    """What the player at a place is known by.

    Attributes:
      members: digest of each member that was taken, by its seed; of a single player, or a file, under "".
      copy: name of its copy in `starts/`; "" where there is none.
    """

    members: Mapping[str, str]
    copy: str = ""

    def is_of_same(self, other: "Print") -> bool:
        """Whether the members that both know are the same."""
        return all(self.members[name] == other.members[name] for name in self.members.keys() & other.members.keys())


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """Of everything that a run reads from outside.

    Attributes:
      data: split -> fingerprint (`kdgan/data/fingerprint.py`); of the data of a stage "stage/split".
      players: of each place.
      sources: the players themselves, as they were read; not part of a record.
    """

    data: Mapping[str, Mapping[str, Any]]
    players: Mapping[Place, Print]
    sources: Mapping[Place, Source] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        players = [{**place._asdict(), **dataclasses.asdict(of)} for place, of in self.players.items()]
        return {"data": self.data, "players": players}


def from_json(content: Mapping[str, Any]) -> Fingerprints:
    """The inverse of `as_json`."""
    players = {
        Place(each["path"], each["player"], each["arm"]): Print(each["members"], each["copy"])
        for each in content["players"]
    }
    return Fingerprints(content["data"], players)


def of(run: Run, read: Run, inputs: Inputs, programs: Programs) -> Fingerprints:
    """Fingerprints of a run's data sets, and of what it reads from checkpoint folders.

    Args:
      run: as configured.
      read: the same as it was read, which may be from copies (`redirected`).
      inputs: its data.
      programs: of `read`.
    """
    sources = {
        place_of(arm.start[name]): source
        for stage in run.stages
        for arm in stage.arms
        for name, source in program_of(programs[stage.name], arm.name).sources.get(arm.name, {}).items()
    }
    players = {place: _print(source) for place, source in sources.items()}
    players |= {place: Print({"": found}) for place, found in _contents(run, programs)}
    if (first := extractors.first_stage(programs)) is not None:
        spec = run.evaluate.extractor
        if spec.inception is not None:
            players[Place(spec.inception)] = Print({"": _of_file(spec.inception)})
        if spec.checkpoint is not None:
            place = Place(spec.checkpoint, spec.player)
            sources[place] = extractors.from_checkpoint(read, inputs.of(first))[1]
            players[place] = _print(sources[place])
    of_splits = lambda own, where: {
        f"{where}{split}": fingerprint(getattr(own, split)) for split in SPLITS if own.has_training or split != "train"
    }
    data = of_splits(inputs, "")
    for stage, own in inputs.stages.items():
        data |= of_splits(own, f"{stage}/")
    return Fingerprints(data, players, sources)


def _contents(run: Run, programs: Programs) -> Iterator[tuple[Place, str]]:
    """(place, digest) of the players whose module reads a file, or brings parameters that no start replaces."""
    for stage in run.stages:
        for arm in stage.arms:
            for name, module in program_of(programs[stage.name], arm.name).local_modules.items():
                if name not in arm.start and (content := getattr(innermost(module), "content", "")):
                    yield place_of_module(arm, name), content


def place_of_module(arm: Arm, player: str) -> Place:
    """Where the content of a player's module is recorded."""
    return Place(arm.players[player].model, player)


def place_of(start: Start) -> Place:
    """Where a start from a checkpoint is read."""
    return Place(start.checkpoint or "", start.player, start.arm)


def extractor_places(run: Run) -> Iterator[Place]:
    """Where the extractor of a run is read, unless a stage of the run trains it."""
    spec = run.evaluate.extractor
    if spec.checkpoint is not None:
        yield Place(spec.checkpoint, spec.player)
    if spec.inception is not None:
        yield Place(spec.inception)


def data_changes(old: Fingerprints, new: Fingerprints) -> list[str]:
    """In what the data sets differ, a line each."""
    return [
        line
        for place, now in new.data.items()
        if place in old.data
        for line in differences(old.data[place], now, _named(place))
    ]


def _named(place: str) -> str:
    """As "training set", or "test set of stage target"."""
    stage, _, split = place.rpartition("/")
    return SPLITS[split] + (f" of stage {stage}" if stage else "")


def redirected(run: Run, workdir: pathlib.Path | None, known: Fingerprints | None) -> Run:
    """The run, with the copies in its workdir in place of checkpoint folders that are gone."""
    if workdir is None or known is None:
        return run

    def copied(place: Place) -> str | None:
        of = known.players.get(place)
        folder = None if of is None or not of.copy else workdir / FOLDER / of.copy
        return str(folder) if folder is not None and folder.is_dir() and not pathlib.Path(place.path).exists() else None

    def moved(start: Start) -> Start:
        path = None if start.checkpoint is None else copied(place_of(start))
        return start if path is None else dataclasses.replace(start, checkpoint=path, arm=None, names={})

    stages = tuple(
        dataclasses.replace(
            stage,
            arms=tuple(
                dataclasses.replace(arm, start={name: moved(start) for name, start in arm.start.items()})
                for arm in stage.arms
            ),
        )
        for stage in run.stages
    )
    spec = run.evaluate.extractor
    if spec.checkpoint is not None and (path := copied(Place(spec.checkpoint, spec.player))):
        spec = dataclasses.replace(spec, checkpoint=path)
    return dataclasses.replace(run, stages=stages, evaluate=dataclasses.replace(run.evaluate, extractor=spec))


def copy(workdir: pathlib.Path, prints: Fingerprints) -> None:
    """Write the players that a run starts from into its workdir, each once, whole or not at all."""
    for place, source in prints.sources.items():
        folder = workdir / FOLDER / prints.players[place].copy
        if not folder.is_dir():
            members = source.seeds
            tree = {
                "params": {source.entry: source.variables["params"]},
                "model_state": {source.entry: source.variables["model_state"]},
                "step": np.zeros(() if members is None else len(members), np.int32),  # tells one player from a stack
            }
            metadata = {"from": str(source.folder)} | ({} if members is None else {"seeds": list(members)})
            with Checkpoints(folder) as checkpoints:
                checkpoints.save(0, tree, metadata=metadata)


def _print(source: Source) -> Print:
    taken = {"" if member is None else str(member): member for member in source.taken.values()}
    return Print({name: digest(source.member(member)) for name, member in taken.items()}, digest(source.variables)[:24])


def _of_file(path: str) -> str:
    content = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                content.update(block)
    except OSError as error:
        raise ConfigError(f"{extractors.WHERE}.inception = {path!r}: {error.strerror}") from error
    return content.hexdigest()
