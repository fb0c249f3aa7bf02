"""Notes below a table: which players came from checkpoints, which member of them, and which one served all seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.report.entries import Entry, is_recorded


def notes(summary: Mapping[str, Any], entries: Sequence[Entry]) -> list[str]:
    """A line for each origin that a label does not say, with the rows that have it."""
    lines: dict[str, list[str]] = {}
    for entry in entries:
        if not entry.variant and (text := _text(entry)):
            lines.setdefault(text, []).append(entry.label)
    said = [f"{', '.join(labels)}: {text}" for text, labels in lines.items()]
    if not is_recorded(summary):
        said.append(
            "An older version wrote this summary, without where players came from: frozen ones may stand once per arm;"
            " --mode=evaluate writes it anew"
        )
    return said


def _text(entry: Entry) -> str:
    """As "one teacher for all seeds, member 1 of runs/t/checkpoints/teacher/00000400"; "" where nothing is to be said."""
    record = entry.origin
    if record.get("start") == "function":
        return f"one {entry.player} for all seeds, {record.get('of', 'a function')}"
    if record.get("start") != "checkpoint":
        whose = record.get("entry", entry.player)
        return "" if entry.trained is None or whose == entry.player else f"{whose} of stage {'/'.join(entry.trained)}"
    members = list(dict.fromkeys(record["members"]))
    named = [str(member) for member in members if member is not None]
    whose = f"member{'s' if len(named) > 1 else ''} {', '.join(named)} of " if named else ""
    if record.get("player") != entry.player:
        whose = f"{record.get('player')}, {whose}" if whose else f"{record.get('player')} of "
    text = f"{whose}{record['checkpoint']}"
    if len(members) > 1:
        text += ", one for each seed"
    elif len(record["members"]) > 1:
        text = f"one {entry.player} for all seeds, {text}"
    return f"started from {text}" if entry.trained is not None else text
