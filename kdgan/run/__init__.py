"""The run: configs and files. Everything that reads a config or touches a workdir lives here.

`run.load(workdir, player=..., arm=...)` gives a trained classifier as a function of images (`run/prediction.py`);
`run.sampling.load` a trained generator.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdgan.run.prediction import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """`load`, imported when it is asked for: a command line that only prints its help imports no JAX."""
    if name in __all__:
        from kdgan.run import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
