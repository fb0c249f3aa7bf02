"""Weights from elsewhere: `load(path, module)` gives a module's variables out of a file or folder, which executes nothing.

| what lies at the path | where it comes from |
|---|---|
| msgpack | `flax.serialization`: variables, parameters, or a training state |
| `.npz` | arrays by their names, joined by "/" or "."; of Flax or of PyTorch |
| safetensors | the same; bfloat16, too |
| `.pth` | a PyTorch state dict in its zip form, since 1.6; torch is not needed |
| a folder of Orbax | a tree of parameters, with batch statistics where there are any |
| a checkpoint folder or workdir of this project | see `players.x.start` in `python -m kdgan.config` |

PyTorch's layers are laid out anew, and matched by name, shape and order: `kdgan/weights/matching.py`.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from flax import linen as nn

from kdgan.checkpoints import players
from kdgan.files import expanded
from kdgan.weights import formats
from kdgan.weights.fitting import Map, fit
from kdgan.weights.tree import FLAX, PYTORCH, Tree

__all__ = ["FLAX", "PYTORCH", "Map", "Tree", "fit", "is_foreign", "load", "read"]


def load(
    path: str | os.PathLike,
    module: nn.Module,
    example: Any = None,
    *,
    names: Mapping[str, str] | None = None,
    player: str | None = None,
    arm: str | None = None,
    member: int | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """The variables of a module, {"params": ..., "batch_stats": ...}, from a file or folder; float32 where the module is.

    Args:
      path: of a file of weights, a folder of Orbax, or a checkpoint folder or workdir of this project.
      module: whose variables; their shapes are checked against its own.
      example: what it is called with, an array or its shape, (1, 32, 32, 3), or a tuple of arrays; where it is left out the
        sides of images are found from the file.
      names: layer of the module -> layer of a PyTorch state dict, where it cannot be told:
        {"stage1/block1/conv1": "layer1.0.conv1"}.
      player: its name in a file or a run that has several; of a run "teacher", where it has one.
      arm: of a run, where several arms have that player.
      member: seed of a run of several; the first by default.
      show: print which layer came from which.

    Raises:
      ValueError: there is no such path; it is none of these; it does not fit. One line that begins with the path.
    """
    if not os.fspath(path):
        raise ValueError("the path is empty; a file of weights, or a folder, is accepted")
    place = pathlib.Path(expanded(path))
    if place.is_dir() and players.is_of_a_run(place):
        with _named(path):
            variables, map_ = _of_a_run(place, module, example, player, arm, member)
    else:
        tree = read(path, player=player)
        with _named(path):
            if arm is not None or member is not None:
                raise ValueError("arm and member are of a run's checkpoints; this is none")
            variables, map_ = fit(tree, module, example, names=names, player=player)
    if show:
        print(map_)
    return variables


def read(path: str | os.PathLike, *, player: str | None = None) -> Tree:
    """The arrays of a file of weights or a folder of Orbax, in nobody's order but the file's.

    Args:
      path: of it.
      player: which state dict, of a PyTorch file that holds several.

    Raises:
      ValueError: there is no such path, or no weights are there; one line that begins with the path.
    """
    place = pathlib.Path(expanded(path))
    with _named(path):
        if place.is_dir():
            return formats.read_folder(place)
        if not place.is_file():
            raise ValueError("there is no such file or folder")
        return formats.read_file(place, player)


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
    """Errors begin with the path that was given."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).splitlines())}") from error


def is_foreign(path: str | os.PathLike) -> bool:
    """Whether a path leads to weights from elsewhere: a file, or a folder that no run of this project wrote."""
    place = pathlib.Path(path)
    return place.is_file() or (place.is_dir() and not players.is_of_a_run(place) and formats.is_orbax(place))


def _of_a_run(
    path: pathlib.Path, module: nn.Module, example: Any, player: str | None, arm: str | None, member: int | None
) -> tuple[dict[str, Any], Map]:
    """The variables of a player that a run trained; of the only one that fits, where none is named."""
    names = players.names_in(path) if player is None else (player,)
    fitting_ones: dict[str, tuple[dict[str, Any], Map]] = {}
    problems: dict[str, ValueError] = {}
    for name in names:
        try:
            stored = players.read(path, name, arm, {})
            if member is not None and member not in (stored.seeds or ()):
                raise ValueError(f"member = {member}: it has the members {players.listed(stored.seeds or ())}")
            own = players.member(stored, member if member is not None else (stored.seeds or (None,))[0])
            tree = Tree(str(path), FLAX, {"params": own["params"], **own["model_state"]}, f"{name} of {stored.folder}")
            fitting_ones[name] = fit(tree, module, example)
        except ValueError as error:
            problems[name] = error
    if len(fitting_ones) == 1:
        return next(iter(fitting_ones.values()))
    if fitting_ones:
        raise ValueError(f"several of its players fit; say which by player: {', '.join(map(repr, fitting_ones))}")
    if len(problems) == 1:
        raise next(iter(problems.values()))
    raise ValueError(
        f"none of its players fits; say which by player: {', '.join(map(repr, problems)) or 'it has none'}"
    )
