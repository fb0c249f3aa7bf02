"""Which degradation a player was trained for: what a workdir or an exported file says, against that of a stage it starts in.

A teacher of another noise or scale is refused before anything compiles, unless its range contains the stage's, or the start
says `any_degradation`. Players that nothing judges, critics among them, go anywhere; so do those of which nothing is known.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from kdgan import files
from kdgan.data import degrade
from kdgan.run import formats, sources
from kdgan.run.config import ConfigError
from kdgan.run.evaluators import NOT_MEASURED
from kdgan.run.program import Program, player_of
from kdgan.run.schema import Run, Stage, Start, Weights
from kdgan.run.sources import Source

MOST_HEADER = 2**24  # bytes of a safetensors header


def check(run: Run, stage: Stage, program: Program) -> None:
    """Refuse starts from players that were trained for another degradation.

    Raises:
      ConfigError: one was.
    """
    if not stage.data.degrade:
        return
    data_of = {other.name: other.data.degrade for other in run.stages}
    for arm, starts in program.start.items():
        for name, start in starts.items():
            if start.any_degradation or name.startswith(NOT_MEASURED):
                continue
            source = program.sources.get(arm, {}).get(name)
            trained = data_of.get(start.stage, {}) if start.stage is not None else recorded(start, source)
            reason = degrade.difference(trained, stage.data.degrade) if trained else None
            if reason is not None:
                where = start.field if isinstance(start, Weights) else f"config.stages.{stage.name}.start.{name}"
                given = f"stage {start.stage!r}" if start.stage is not None else repr(start.checkpoint)
                raise ConfigError(
                    f"{where} = {given}: {reason}; take one that was trained for config.data.degrade ="
                    f" {degrade.of(stage.data.degrade)}, or set any_degradation=True there"
                )


def recorded(start: Start, source: Source | None) -> Mapping[str, Any] | str:
    """The `data.degrade` for which a player of a checkpoint or file was trained; {}: it is not known, or there was none."""
    if source is None:
        return {}
    if source.folder.is_file():
        return _of_file(source.folder)
    workdir, stage = sources.of_run(source, formats.PLAYERS) or (None, "")
    return {} if workdir is None else _of_workdir(workdir, stage, player_of(start.player))


def _of_workdir(workdir: pathlib.Path, stage: str, player: str) -> Mapping[str, Any] | str:
    try:
        record = files.read_json(workdir / formats.PLAYERS)
        arms = record["stages"].get(stage, {})
        several = [players.get(player, {}) for players in arms.values()]
        restores = any(about.get("evaluators") or about.get("gives") for about in several)
        return record.get("stage_data", {}).get(stage, record["data"]).get("degrade", {}) if restores else {}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}  # of an earlier version, or no run's


def _of_file(path: pathlib.Path) -> Mapping[str, Any] | str:
    """What the header of a safetensors file says that this project wrote."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= MOST_HEADER else {}
        return json.loads(header.get("__metadata__", {}).get("degrade", "{}"))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
