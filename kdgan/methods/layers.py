"""Layers of a student beside layers of its teacher: the parts of `taught.py` that compare features say here which."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan.game import Players, Terms
from kdgan.methods.taught import Part, Seen

# Of the student's modules; or pairs of the student's and the teacher's; or a mapping of them.
Paths = Sequence[str | Sequence[str]] | Mapping[str, str]
Layers = Mapping[str, Any]  # features by module path
Weights = Sequence[float] | None  # one number a layer; None: 1 each
Adapt = Callable[[Players, Layers, Layers], tuple[Any, ...]]


def layer_pairs(method: str, features: Paths, least: int = 1) -> dict[str, str]:
    """The student's path of a module -> the teacher's, in order.

    Raises:
      ValueError: they are no paths, fewer than `least`, or name one twice.
    """
    pairs = _pairs(features)
    accepted = "paths of modules, as ('stage2',), pairs of the student's and the teacher's, or a mapping of them"
    if pairs is None or not all(len(pair) == 2 and all(isinstance(path, str) for path in pair) for pair in pairs):
        raise ValueError(f"method.features = {features!r}: {accepted} are accepted")
    if not pairs:
        raise ValueError(
            f"method.features = {features!r}: {accepted}; {method} needs {least} or more, and `--mode=explain` lists them"
        )
    if len(pairs) < least:
        raise ValueError(
            f"method.features = {features!r}: {method} is of what leads from one layer to the next; 2 or more"
        )
    if any(len(set(paths)) < len(pairs) for paths in zip(*pairs, strict=True)):
        raise ValueError(f"method.features = {features!r}: {method} accepts each path of a network once")
    return dict(pairs)


def _pairs(features: Any) -> list[tuple[Any, ...]] | None:
    """(the student's, the teacher's) in order; None of what is neither a sequence nor a mapping.

    A mapping is read in the order of its keys sorted, since configs hand mappings on so.
    """
    if isinstance(features, Mapping):
        return [(path, features[path]) for path in sorted(features, key=str)]
    if isinstance(features, str) or not isinstance(features, Sequence):
        return None
    return [tuple(one) if isinstance(one, Sequence) and not isinstance(one, str) else (one, one) for one in features]


def features_of(seen: Seen, pairs: Mapping[str, str]) -> tuple[Layers, Layers]:
    """The student's features of these pairs, and the teacher's, each by its own paths, in the order of the pairs."""
    return {path: seen.features[path] for path in pairs}, {path: seen.targets[path] for path in pairs.values()}


def compared(method: str, loss: Callable[..., Any], *arguments: Any) -> Any:
    """A loss of features, whose complaint names the method's field.

    Raises:
      ValueError: the loss does not take these features.
    """
    try:
        return loss(*arguments)
    except ValueError as error:
        raise ValueError(f"method.features: {method}: {error}") from error


def through(player: str) -> Adapt:
    """The student's features as an adapter gives them, in the teacher's order, and the teacher's."""

    def adapt(players: Players, student: Layers, teacher: Layers) -> tuple[Layers, Layers]:
        return in_order(players[player](student, teacher), teacher, player), teacher

    return adapt


def in_order(layers: Any, teacher: Layers, player: str) -> Layers:
    """What an adapter gives by the teacher's paths, in the teacher's order.

    Raises:
      ValueError: it gives something else.
    """
    if not isinstance(layers, Mapping) or not set(teacher) <= set(layers):
        given = f"features {', '.join(map(str, layers))}" if isinstance(layers, Mapping) else type(layers).__name__
        raise ValueError(
            f"players.{player}.model gives {given}; a model that gives features by the teacher's paths"
            f" {', '.join(teacher)}, as the method asks, is accepted"
        )
    return {path: layers[path] for path in teacher}


def of_layers(
    method: str, features: Paths, losses: Mapping[str, Callable[..., Any]], *, weights: Weights = None,
    flow: bool = False, adapter: str = "", adapt: Adapt | None = None, detail: str = "",
) -> Part:  # fmt: skip
    """The part whose terms are losses of features.

    Args:
      method: its name.
      features: paths of modules, as of `layer_pairs`.
      losses: term -> (student's features, teacher's, ..., weights) -> scalar or [n].
      weights: one a layer, or, of a flow, one a pair of consecutive layers.
      flow: whether losses are of what leads from one layer to the next.
      adapter: a player that learns with the student.
      adapt: (players, student's features, teacher's) -> what losses are given before the weights; None: the student's,
        through the adapter where there is one, and the teacher's.
      detail: what an explanation prints behind the layers.

    Raises:
      ValueError: paths or weights that are refused.
    """
    pairs = layer_pairs(method, features, least=2 if flow else 1)
    check_weights(weights, len(pairs) - flow, "pair of consecutive layers" if flow else "layer")
    if adapt is None and adapter:
        adapt = through(adapter)

    def terms(seen: Seen) -> Terms:
        both = features_of(seen, pairs)
        arguments = both if adapt is None else adapt(seen.players, *both)
        return {term: compared(method, loss, *arguments, weights) for term, loss in losses.items()}

    layers = ", ".join(mine if mine == theirs else f"{mine}→{theirs}" for mine, theirs in pairs.items())
    text = f"{layers}; {detail}" if detail else layers
    return Part(
        method,
        terms,
        features=tuple(pairs),
        targets=tuple(pairs.values()),
        movers=(adapter,) if adapter else (),
        details=dict.fromkeys(losses, text),
    )


def check_weights(weights: Weights, layers: int, of: str = "layer") -> None:
    """Raises ValueError unless there is one number a layer."""
    if weights is None:
        return
    numbers = not isinstance(weights, str) and isinstance(weights, Sequence)
    numbers = numbers and all(isinstance(one, int | float) and math.isfinite(one) for one in weights)
    if not numbers or len(weights) != layers:
        raise ValueError(f"method.weights = {weights!r}: one number a {of} is accepted, {layers} here, or None")
    if min(weights) < 0 or max(weights) == 0:
        raise ValueError(f"method.weights = {weights!r}: numbers of at least 0, not all of them 0, are accepted")


def one_of(field: str, name: str, options: Mapping[str, Any]) -> Any:
    """An option by its name, or a ValueError that lists them."""
    if name not in options:
        raise ValueError(f"method.{field} = {name!r}: accepted are {', '.join(options)}")
    return options[name]
