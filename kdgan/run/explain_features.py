"""The features of a run's networks: paths of modules with the shapes of what they give, so that a hint can be named."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from kdgan.player import call_module
from kdgan.run import on_host
from kdgan.run.program import Program
from kdgan.state import variable_shapes

INDENT = 10  # width of the explanation's first column
OUTER = 2  # names of a path, of those that are shown where not all are asked for


def explain(programs: Mapping[str, Sequence[Program]], *, every: bool = False) -> str:
    """A block for each network that a method of the run calls: a line a path, in the order in which they are made.

    Args:
      programs: of each stage.
      every: whether modules of any depth are listed, and not the outer ones alone.
    """
    arms: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for stage, of_stage in programs.items():
        for program in of_stage:
            for name in program.modules:
                if name not in program.beside and (rows := tuple(_rows(program, name, every))):
                    where = [stage if arm == "main" else f"{stage}/{arm}" for arm in program.arms]
                    arms.setdefault(name, {}).setdefault(rows, []).extend(where)
    blocks = []
    for name, several in arms.items():
        for rows, where in several.items():
            of = f" [{', '.join(where)}]" if len(several) > 1 else ""
            blocks.append("\n".join([f"features of {name}{of}", *rows]))
    return "\n\n".join(blocks)


def _rows(program: Program, name: str, every: bool) -> list[str]:
    shapes = features_of(program, name)
    shown = [path for path in shapes if every or path.count("/") < OUTER]
    width = max(map(len, shown), default=0)
    rows = [f"{'':<{INDENT}}{path:<{width}}  [{', '.join(map(str, shapes[path]))}]" for path in shown]
    deeper = len(shapes) - len(shown)
    return rows + [f"{'':<{INDENT}}and {deeper:,} inside of these: --features=all"] * bool(deeper)


def features_of(program: Program, name: str) -> dict[str, tuple[Any, ...]]:
    """Module path -> ("b", ...), of a player's modules that are called once and give one array."""
    module = program.local_modules[name]
    if on_host.runs_outside(module):
        return {}
    leaves, structure = jax.tree.flatten(program.inspection.inputs[name])
    return _features(module, structure, tuple(leaves))


@functools.lru_cache(maxsize=128)  # programs and stages share their players
def _features(module: nn.Module, structure: Any, leaves: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    args, kwargs = jax.tree.unflatten(structure, leaves)
    size = next((leaf.shape[0] for leaf in leaves if leaf.shape), None)
    shapes: dict[str, tuple[Any, ...]] = {}

    def note(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, inside in node.items():
            if isinstance(inside, Mapping):
                note(inside, (*path, name))
            elif name == "__call__" and path and len(inside) == 1 and getattr(inside[0], "shape", ()):
                shape = inside[0].shape
                shapes["/".join(path)] = ("b", *shape[1:]) if shape[0] == size else shape

    def run(variables, args, kwargs):
        _, updates, _ = call_module(
            module, variables, *args, train=False, mutable=["intermediates"], capture_intermediates=True, **kwargs
        )
        note(updates.get("intermediates", {}), ())  # here, as what is given back has its names in another order

    jax.eval_shape(run, variable_shapes(module, (args, kwargs)), args, kwargs)
    return shapes
