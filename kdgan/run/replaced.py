"""Images that could not be read while a run streamed them, so that others of their class stood in (`on_bad_image="skip"`).

`replaced.json` has them by their split, with the reasons; it is written with a checkpoint, so that a run that is resumed
counts those of before. Of several processes it has what the first one read.
"""

import os
import pathlib
from typing import Any

from kdgan import files
from kdgan.run.inputs import Inputs

FILE = "replaced.json"
NAMED = 10  # in the summary

Replaced = dict[str, dict[str, str]]  # split -> path -> reason


def known(workdir: pathlib.Path, inputs: Inputs) -> Replaced:
    """Those of the run so far, in the order of their paths."""
    before: Replaced = files.read_json(workdir / FILE) if (workdir / FILE).exists() else {}
    now = {"train": inputs.train.unreadable, "test": inputs.test.unreadable}
    return {split: dict(sorted((before.get(split, {}) | now[split].copy()).items())) for split in now}


def keep(workdir: pathlib.Path, inputs: Inputs) -> None:
    """Write those of the run so far, where this process met any."""
    if inputs.train.unreadable or inputs.test.unreadable:
        files.write_json(workdir / FILE, known(workdir, inputs))


def summarised(workdir: pathlib.Path, inputs: Inputs) -> dict[str, Any]:
    """`{"replaced": {"count": n, "train": n, "test": n, "names": [...]}}` for the summary; nothing where there are none."""
    several = known(workdir, inputs)
    paths = list(dict.fromkeys(path for of_split in several.values() for path in of_split))
    if not paths:
        return {}
    names = [_inside(inputs, path) for path in paths[:NAMED]]
    return {"replaced": {"count": len(paths), **{split: len(some) for split, some in several.items()}, "names": names}}


def _inside(inputs: Inputs, path: str) -> str:
    """A path as it stands in the folder of the data set, printable whatever its bytes are."""
    _, _, root = files.expanded(inputs.config.name).partition("folder:")
    inside = os.path.relpath(path, root) if root and path.startswith(root) else path
    return inside.encode(errors="replace").decode()
