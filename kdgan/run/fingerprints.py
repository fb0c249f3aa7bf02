"""What a run is made from, known again by content: its data sets, and the players and weights of checkpoint folders.

They are recorded when a run claims its workdir (`run/workdir.py`), and the players are copied into it, under `starts/`: a
run goes on, is measured and drawn from where the folders it started from have moved or are gone. A folder that is there, and
holds another player than before, is noticed.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kdgan.data.fingerprint import differences as data_differences
from kdgan.data.fingerprint import fingerprint
from kdgan.run import identity
from kdgan.run.checkpoint import Checkpoints, load_player
from kdgan.run.config import ConfigError
from kdgan.run.identity import Programs
from kdgan.run.inputs import Inputs
from kdgan.run.program import Variables, program_of
from kdgan.run.schema import Run, Start

FOLDER = "starts"
SPLITS = {"train": "training set", "test": "test set"}


class Source(NamedTuple):
    """A player in a checkpoint folder, or a file of weights (then of no player)."""

    path: str
    player: str = ""
    arm: str | None = None


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """Of everything that a run reads from outside.

    Attributes:
      data: split -> fingerprint (`kdgan/data/fingerprint.py`).
      sources: player or weights -> digest of its contents.
    """

    data: Mapping[str, Mapping[str, Any]]
    sources: Mapping[Source, str]

    def as_json(self) -> dict[str, Any]:
        sources = [{**source._asdict(), "digest": digest} for source, digest in self.sources.items()]
        return {"data": self.data, "sources": sources}


def from_json(content: Mapping[str, Any]) -> Fingerprints:
    """The inverse of `as_json`."""
    sources = {Source(each["path"], each["player"], each["arm"]): each["digest"] for each in content["sources"]}
    return Fingerprints(content["data"], sources)


class Reader:
    """Reads players from checkpoint folders, each once; from their copies in a workdir where the folders are gone."""

    def __init__(self, workdir: pathlib.Path | None = None, known: Fingerprints | None = None):
        self._workdir, self._known = workdir, known
        self.read = functools.cache(self._read)

    def place(self, source: Source) -> Source:
        """Where a player is read from."""
        digest = None if self._known is None else self._known.sources.get(source)
        if self._workdir is None or digest is None or not source.player or pathlib.Path(source.path).exists():
            return source
        copied = _copy(self._workdir, digest)
        return Source(str(copied), source.player) if copied.is_dir() else source

    def _read(self, source: Source) -> Variables:
        place = self.place(source)
        part = None if place.arm is None else f"{place.arm}/state"
        try:
            params, model_state = load_player(place.path, place.player, part=part)
        except (ValueError, LookupError, OSError) as error:
            raise ConfigError(f"config start from checkpoint {source.path!r}: {error}") from error
        return {"params": params, "model_state": model_state}


def source_of(start: Start) -> Source:
    """What a start from a checkpoint reads."""
    return Source(start.checkpoint or "", start.player, start.arm)


def sources(run: Run, programs: Programs) -> Iterator[Source]:
    """Everything that a run reads from checkpoint folders and files of weights."""
    for stage in run.stages:
        for arm in stage.arms:
            called = program_of(programs[stage.name], arm.name).modules
            starts = [start for name, start in arm.start.items() if name in called]
            yield from (source_of(start) for start in starts if start.checkpoint is not None)
    if any(identity.generates(several) for several in programs.values()):
        yield from extractor_sources(run)


def extractor_sources(run: Run) -> Iterator[Source]:
    """What the extractor of a run's generators is read from, where no stage of the run trains it."""
    spec = run.evaluate.extractor
    if spec.checkpoint is not None:
        yield Source(spec.checkpoint, spec.player)
    if spec.inception is not None:
        yield Source(spec.inception)


def of(run: Run, inputs: Inputs, programs: Programs, read: Callable[[Source], Variables]) -> Fingerprints:
    """Fingerprints of a run's data sets, and of what it reads from checkpoint folders.

    Raises:
      ConfigError: a checkpoint that cannot be read.
    """
    data = {split: fingerprint(getattr(inputs, split)) for split in SPLITS}
    return Fingerprints(data, {source: _digest(source, read) for source in dict.fromkeys(sources(run, programs))})


def data_changes(old: Fingerprints, new: Fingerprints) -> list[str]:
    """In what the data sets differ, a line each."""
    return [line for split, name in SPLITS.items() for line in data_differences(old.data[split], new.data[split], name)]


def redirected(run: Run, reader: Reader) -> Run:
    """The run, with the copies in its workdir in place of checkpoint folders that are gone."""

    def moved(start: Start) -> Start:
        if start.checkpoint is None:
            return start
        place = reader.place(source_of(start))
        return dataclasses.replace(start, checkpoint=place.path, arm=place.arm)

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
    if spec.checkpoint is not None:
        spec = dataclasses.replace(spec, checkpoint=reader.place(Source(spec.checkpoint, spec.player)).path)
    return dataclasses.replace(run, stages=stages, evaluate=dataclasses.replace(run.evaluate, extractor=spec))


def copy(workdir: pathlib.Path, new: Fingerprints, read: Callable[[Source], Variables]) -> None:
    """Write the players that a run starts from into its workdir, each once, whole or not at all."""
    for source, digest in new.sources.items():
        folder = _copy(workdir, digest)
        if source.player and not folder.is_dir():
            variables = read(source)
            tree = {
                "params": {source.player: variables["params"]},
                "model_state": {source.player: variables["model_state"]},
            }
            with Checkpoints(folder) as checkpoints:
                checkpoints.save(0, tree, metadata={"from": source.path, **_seeds(source)})


def _seeds(source: Source) -> dict[str, Any]:
    """Of the members of a population that a checkpoint holds, where it says so."""
    path = pathlib.Path(source.path).absolute()
    latest = Checkpoints(path).latest() or Checkpoints(path.parent).latest()
    return {"seeds": latest.metadata["seeds"]} if latest and "seeds" in latest.metadata else {}


def _copy(workdir: pathlib.Path, digest: str) -> pathlib.Path:
    return workdir / FOLDER / digest[:24]


def _digest(source: Source, read: Callable[[Source], Variables]) -> str:
    content = hashlib.sha256()
    if not source.player:
        try:
            with open(source.path, "rb") as file:
                while block := file.read(1 << 22):
                    content.update(block)
        except OSError as error:
            raise ConfigError(f"config.evaluate.extractor.inception = {source.path!r}: {error.strerror}") from error
        return content.hexdigest()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(read(source)), key=lambda pair: str(pair[0])):
        array = np.ascontiguousarray(leaf)
        content.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        content.update(array.tobytes())
    return content.hexdigest()
