"""kdgan: knowledge distillation and adversarial training as one game between players.

What people start with stands here, and is imported when it is asked for: `import kdgan` alone imports no JAX.

| name | what it is |
|---|---|
| `get_config`, `named` | a config with every default; players, stages or arms by name (`kdgan.config`) |
| `train` | train a config in a workdir, print its table, write its report (`kdgan.run.modes`) |
| `compare` | a student learned in several ways from a teacher, with what is at hand in Python (`kdgan.direct.compare`) |
| `load` | a trained player as a function: predictions, or of a restorer images (`kdgan.run.prediction`, `restoring`) |
| `Method`, `Move` | what a method of one's own returns (`kdgan.game`) |
| `ConfigError` | what `train` raises for a mistake in a config, its data or its workdir |
| `weights` | `weights.load(path, module)`: variables from a file of PyTorch, Flax or Orbax (`kdgan.weights`) |
| `config`, `data`, `evaluators`, `export`, `losses`, `methods`, `models`, `report`, `run` | each says what it holds |
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdgan import config, data, evaluators, export, losses, methods, models, report, run, weights
    from kdgan.config import get_config, named
    from kdgan.direct.compare import compare
    from kdgan.game import Method, Move
    from kdgan.run.config import ConfigError
    from kdgan.run.modes import train
    from kdgan.run.prediction import load

__version__ = "0.1.0"
__all__ = [
    "ConfigError", "Method", "Move", "compare", "config", "data", "evaluators", "export", "get_config", "load", "losses",
    "methods", "models", "named", "report", "run", "train", "weights",
]  # fmt: skip

_MODULES = {
    "ConfigError": "kdgan.run.config",
    "Method": "kdgan.game",
    "Move": "kdgan.game",
    "compare": "kdgan.direct.compare",
    "get_config": "kdgan.config",
    "load": "kdgan.run.prediction",
    "named": "kdgan.config",
    "train": "kdgan.run.modes",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
