"""A module's variables in a tree of Flax's: which part of the file they are, and whether they fit.

A file may hold the variables themselves, the parameters alone, a whole training state, or several players by name. What
has the module's names counts; the states of optimizers, which have them too, do not.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kdgan.weights.tree import flat, nested

_NOT_PARAMETERS = ("opt_state", "optimizer", "opt", "mu", "nu", "grads", "intermediates")
_AVERAGES = ("ema", "ema_params", "params_ema", "average")

Shapes = Mapping[str, Any]  # collection -> path -> array or shape


def choose(tree: Mapping[str, Any], shapes: Shapes, player: str | None = None) -> dict[str, dict[str, Any]]:
    """Collection -> nested arrays, of the part of a tree that has the module's names.

    Args:
      tree: nested mappings of arrays.
      shapes: the module's variables.
      player: the name of the part, where several have them.

    Raises:
      ValueError: several parts have them; no part has any.
    """
    wanted = {kind: {path for path, _ in flat(of_kind)} for kind, of_kind in shapes.items()}
    parts = list(_parts(tree, wanted))
    named = [part for part in parts if player is not None and player in part[0]]
    parts = named or parts
    whole = [part for part in parts if {path for path, _ in flat(part[1]["params"])} == wanted.get("params", set())]
    if not whole:
        # The one that has most of the names, for a message that says what it lacks.
        common = lambda part: len({path for path, _ in flat(part[1]["params"])} & wanted.get("params", set()))
        best = max(parts, key=common, default=None)
        return best[1] if best is not None and common(best) else {"params": dict(tree)}
    plain = [part for part in whole if not {*part[0]} & {*_AVERAGES}] or whole
    fewest = min(len(where) for where, _ in plain)
    plain = [part for part in plain if len(part[0]) == fewest]
    if len(plain) > 1:
        places = ", ".join(repr("/".join(where)) for where, _ in plain)
        raise ValueError(f"several of its parts have these parameters; say which by player: {places}")
    return plain[0][1]


def _parts(tree: Mapping[str, Any], wanted: Mapping[str, set[str]]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(where, collection -> arrays) of every part that may be the module's."""
    for where, node in _nodes(tree, ()):
        paths = {path for path, _ in flat(node)}
        if len(wanted) > 1 and paths == set().union(*wanted.values()):
            # Statistics among the parameters, as files without collections have them.
            leaves = dict(flat(node))
            yield where, {kind: nested({path: leaves[path] for path in own}, "/") for kind, own in wanted.items()}
            continue
        others = {}
        for kind in wanted.keys() - {"params"}:
            for place in _places_beside(where, kind):
                if isinstance(beside := _at(tree, place), Mapping):
                    others[kind] = beside
                    break
        yield where, {"params": node, **others}


def _places_beside(where: tuple[str, ...], kind: str) -> Iterator[tuple[str, ...]]:
    """Where a collection lies, of parameters at `where`."""
    for i, name in enumerate(where):
        if name == "params":
            yield (*where[:i], kind, *where[i + 1 :])
            yield (*where[:i], "model_state", *where[i + 1 :], kind)
            yield (*where[:i], "model_state", kind, *where[i + 1 :])
    yield (*where[:-1], kind)


def _nodes(tree: Mapping[str, Any], where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    yield where, tree
    for name, inside in tree.items():
        if isinstance(inside, Mapping) and name not in _NOT_PARAMETERS and len(where) < 6:
            yield from _nodes(inside, (*where, name))


def _at(tree: Any, where: tuple[str, ...]) -> Any:
    for name in where:
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree
