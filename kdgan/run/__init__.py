"""The run: configs and files. Everything that reads a config or touches a workdir lives here.

`run.load(workdir, player=..., arm=...)` gives a trained classifier as a function of images (`run/prediction.py`), or a
player that makes an image of an image as one of photographs of any size (`run/restoring.py`);
`run.sampling.load` a trained generator; `run.export.export` writes either as files of other programs, and judges them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdgan.run import export, sampling
    from kdgan.run.prediction import load

__all__ = ["export", "load", "sampling"]


def __getattr__(name: str) -> Any:
    """They are imported when they are asked for: a command line that only prints its help imports no JAX."""
    if name == "load":
        return importlib.import_module("kdgan.run.prediction").load
    if name in ("export", "sampling"):
        return importlib.import_module(f"kdgan.run.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
