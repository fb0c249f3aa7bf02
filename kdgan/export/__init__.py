"""Trained players as files that other programs run.

| file | what |
|---|---|
| exportable.py, outputs.py | a player as one function, `uint8 images -> probabilities` |
| artefacts.py | `write`: files of a player, in the formats that are asked for |
| parameters.py | safetensors, msgpack: parameters alone |
| stablehlo.py, onnx.py, litert.py | programs with their parameters; int8.py quantises them by calibration |
| running.py | `open`: an exported file as a function, run by its own runtime |
| snippets.py | the lines that run a file, beside it |
| page.py, pages.py | a page that runs it in a browser |
| refused.py, quiet.py | which operation a format has not; what converters print is left out |

It knows no run: `kdgan.run.export` takes a player out of a workdir, and judges its files.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdgan.export.artefacts import FORMATS, Artefact, write
    from kdgan.export.exportable import Exportable
    from kdgan.export.running import open

__all__ = ["FORMATS", "Artefact", "Exportable", "open", "write"]

_MODULES = {
    "FORMATS": "artefacts", "Artefact": "artefacts", "write": "artefacts", "Exportable": "exportable", "open": "running",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: a page needs no JAX."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
