"""Which form a workdir has: the number in its workdir.json, read before anything else of it."""

import pathlib
from typing import Any

from kdgan import files
from kdgan.run.config import ConfigError

FORMAT = 2  # 1 had no workdir.json
RECORD = "workdir.json"
PLAYERS, CHECKPOINTS = "players.json", "checkpoints"  # beside it


def read(workdir: pathlib.Path) -> dict[str, Any]:
    """The content of workdir.json; of a workdir without one, `{"format": 1}`.

    Raises:
      ConfigError: it is of a later form, or damaged.
    """
    try:
        content: Any = files.read_json(workdir / RECORD) if (workdir / RECORD).exists() else {"format": 1}
    except ValueError as error:
        raise ConfigError(f"workdir {workdir}: {error}") from error
    if not isinstance(content, dict) or content.get("format") not in range(1, FORMAT + 1):
        form = content.get("format") if isinstance(content, dict) else None
        raise ConfigError(
            f"workdir {workdir} has format {form}; this version of kdgan reads 1 to {FORMAT}: use the one that made it, or"
            " choose another workdir"
        )
    return content
