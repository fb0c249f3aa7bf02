"""Which layer of a PyTorch state dict is which layer of a module: by name, by shape, by order; or it cannot be told.

A name that is given counts before all. Then names that agree; layers that alone have their shape; and among layers of equal
shape the order, in which PyTorch registered its layers and in which the module calls its own. Where a file has no order
(safetensors sorts its names), numbers in names give one: `layer1.0.conv1` before `layer1.0.conv2`; groups of names that
differ in more than numbers are told apart by how many there are of each shape. Order and names that contradict each
other, and names that tell nothing, are refused: a network with two of its layers exchanged would be wrong without a word.
"""

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from kdgan.weights import conversion
from kdgan.weights.layers import Layer
from kdgan.weights.state_dict import Stored


@dataclasses.dataclass(frozen=True)
class Match:
    """Pairs of layers, and those that have none.

    Attributes:
      pairs: name of the module's layer -> (name of the file's, how it was told: "given", "name", "shape" or "order").
      missing: the module's that have no other.
      left: the file's that have none.
    """

    pairs: Mapping[str, tuple[str, str]]
    missing: tuple[str, ...]
    left: tuple[str, ...]


class Ambiguous(ValueError):
    """Layers that could be exchanged."""


def match(
    layers: Sequence[Layer],
    stored: Sequence[Stored],
    *,
    names: Mapping[str, str],
    in_order: bool,
    any_size: Callable[[Layer], bool] = lambda layer: False,
) -> Match:
    """Pair a module's layers with those of a state dict.

    Args:
      layers: of the module, in the order in which they are called.
      stored: of the state dict, in its order.
      names: layers that are given by name.
      in_order: whether the state dict's order is that in which PyTorch registered its layers.
      any_size: layers that may have another size in the file.

    Raises:
      ValueError: a given name that is none, or of a layer that does not fit.
      Ambiguous: what cannot be told.
    """
    here, there = {layer.name: layer for layer in layers}, {one.name: one for one in stored}
    pairs = {name: (other, "given") for name, other in _given(names, here, there).items()}
    for name, (other, _) in pairs.items():
        same_kind = conversion.is_of_kind(here[name], there[other].shapes)
        if not same_kind or not (any_size(here[name]) or conversion.fits(here[name], there[other].shapes)):
            wanted, given = conversion.expected(here[name]), there[other].shapes
            raise ValueError(f"names gives {other!r} for {name!r}, which is {_shown(given)}; {_shown(wanted)} fits")
    for crosses in (False, True):
        for loose in (False, True):
            taken = {other for other, _ in pairs.values()}
            left = [one for one in stored if one.name not in taken]
            open_ = [layer for layer in layers if layer.name not in pairs and any_size(layer) is loose]
            told = conversion.is_of_kind if loose else conversion.fits
            fits = lambda layer, one, told=told, crosses=crosses: (
                told(layer, one.shapes) and conversion.crosses(layer, one.shapes) is crosses
            )
            pairs |= _told(open_, left, fits, in_order)
    taken = {other for other, _ in pairs.values()}
    return Match(
        pairs,
        tuple(layer.name for layer in layers if layer.name not in pairs),
        tuple(one.name for one in stored if one.name not in taken),
    )


def _given(names: Mapping[str, str], here: Mapping[str, Layer], there: Mapping[str, Stored]) -> dict[str, str]:
    given = {}
    for name, other in names.items():
        mine = name.replace(".", "/")
        if mine not in here:
            raise ValueError(f"names: the module has no layer {name!r}{nearest(mine, here)}")
        if other not in there:
            raise ValueError(f"names: the file has no layer {other!r}{nearest(other, there)}")
        given[mine] = other
    twice = [other for other, count in Counter(given.values()).items() if count > 1]
    if twice:
        raise ValueError(f"names gives {twice[0]!r} to two layers")
    return given


def _told(
    layers: Sequence[Layer], stored: Sequence[Stored], fits: Callable[[Layer, Stored], bool], in_order: bool
) -> dict[str, tuple[str, str]]:
    """Pairs among what is left, by name, shape or order."""
    groups = _groups(layers, stored, fits)
    exact, partly = _by_name(groups, stored)
    pairs = {name: (other, "name") for name, other in exact.items()}
    rest = []
    for mine, theirs in groups:
        mine = [layer for layer in mine if layer.name not in exact]
        theirs = [one for one in theirs if one.name not in exact.values()]
        rest.append((mine, theirs))
    classes = _classes(rest)
    for mine, theirs in rest:
        for layer, one, how in _by_order(mine, theirs, classes, in_order):
            if fits(layer, one):
                pairs[layer.name] = (one.name, how)
    for name, other in partly.items():
        if pairs.get(name, (other, ""))[0] != other:
            raise Ambiguous(_cannot(name, [other, pairs[name][0]], "its name and the order say different things"))
    return pairs


Group = tuple[list[Layer], list[Stored]]


def _groups(layers: Sequence[Layer], stored: Sequence[Stored], fits: Callable[[Layer, Stored], bool]) -> list[Group]:
    """The layers of either side that fit each other: of one kind and shape.

    Kinds that one shape may be, a dense layer without bias and an embedding, are one group.
    """
    key_of = {layer.name: (layer.kind, tuple(sorted(conversion.expected(layer).items()))) for layer in layers}
    example = {key_of[layer.name]: layer for layer in layers}
    joined = {key: key for key in example}
    of_shape: dict[tuple, list[tuple]] = {}
    for one in stored:
        shape = tuple(sorted(one.shapes.items()))
        if shape not in of_shape:
            of_shape[shape] = keys = [key for key, layer in example.items() if fits(layer, one)]
            together = {joined[key] for key in keys}
            joined = {key: joined[keys[0]] if first in together else first for key, first in joined.items()}
    groups: dict[tuple, Group] = {}
    for layer in layers:
        groups.setdefault(joined[key_of[layer.name]], ([], []))[0].append(layer)
    for one in stored:
        if keys := of_shape[tuple(sorted(one.shapes.items()))]:
            groups[joined[keys[0]]][1].append(one)
    return list(groups.values())


def _by_name(groups: Sequence[Group], stored: Sequence[Stored]) -> tuple[dict[str, str], dict[str, str]]:
    """(module's name -> the file's equal one, where all names of a kind agree; the same where only some do)."""
    root = _root([one.name for one in stored])
    exact: dict[str, str] = {}
    partly: dict[str, str] = {}
    for mine, theirs in groups:
        equal = {layer.name.replace("/", "."): layer.name for layer in mine}
        agree = {one.name: equal[name] for one in theirs if (name := one.name.removeprefix(root)) in equal}
        for skeleton in {skeleton_of(one.name) for one in theirs}:
            members = [one.name for one in theirs if skeleton_of(one.name) == skeleton]
            whole = all(name in agree for name in members)
            (exact if whole else partly).update({agree[name]: name for name in members if name in agree})
    return exact, partly


def _root(names: Sequence[str]) -> str:
    """What all names begin with, as "backbone."."""
    firsts = {name.partition(".")[0] for name in names}
    return f"{firsts.pop()}." if len(firsts) == 1 and all("." in name for name in names) and len(names) > 1 else ""


def skeleton_of(name: str) -> str:
    """A name without its numbers."""
    return re.sub(r"\d+", "#", name)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


def _classes(groups: Sequence[Group]) -> dict[str, str]:
    """Skeleton of the file's names -> that of the module's that has as many layers of each shape, where only one has."""
    mine: dict[str, Counter] = {}
    theirs: dict[str, Counter] = {}
    for i, (layers, stored) in enumerate(groups):
        kind = (layers[0].kind if layers else "", i)
        for layer in layers:
            mine.setdefault(f"{kind[0]} {skeleton_of(layer.name)}", Counter())[i] += 1
        for one in stored:
            theirs.setdefault(f"{kind[0]} {skeleton_of(one.name)}", Counter())[i] += 1
    classes = {}
    for name, counts in theirs.items():
        alike = [other for other, own in mine.items() if own == counts]
        rivals = [other for other, own in theirs.items() if own == counts]
        if len(alike) != 1 or len(rivals) != 1:
            alike = [other for other in alike if _ends_alike(other, name)]
            rivals = [other for other in rivals if any(_ends_alike(one, other) for one in alike)]
        if len(alike) == len(rivals) == 1:
            classes[name] = alike[0]
    return classes


def _ends_alike(one: str, other: str) -> bool:
    """Whether the last parts of names say the same: "query", "query", "q", "q_proj"."""
    ends = [re.split(r"[./ ]", name)[-1].partition("_")[0] for name in (one, other)]
    return bool(all(ends)) and (ends[0].startswith(ends[1]) or ends[1].startswith(ends[0]))


def _by_order(
    mine: Sequence[Layer], theirs: Sequence[Stored], classes: Mapping[str, str], in_order: bool
) -> list[tuple[Layer, Stored, str]]:
    if not mine or not theirs:
        return []
    if len(mine) == len(theirs) == 1:
        return [(mine[0], theirs[0], "shape")]
    kind = mine[0].kind
    skeletons = list(dict.fromkeys(skeleton_of(one.name) for one in theirs))
    for skeleton in skeletons:
        numbers = [_numbers(one.name) for one in theirs if skeleton_of(one.name) == skeleton]
        if in_order and numbers != sorted(numbers):
            members = [one.name for one in theirs if skeleton_of(one.name) == skeleton]
            raise Ambiguous(_cannot(mine[0].name, members, "the file has them in another order than their numbers"))
    told = [classes.get(f"{kind} {skeleton}") for skeleton in skeletons]
    by_class = {}
    if None not in told and len({*told}) == len(told):
        for skeleton, other in zip(skeletons, told, strict=True):
            numbered = sorted(
                (one for one in theirs if skeleton_of(one.name) == skeleton), key=lambda o: _numbers(o.name)
            )
            same = [layer for layer in mine if f"{kind} {skeleton_of(layer.name)}" == other]
            by_class.update({layer.name: one for layer, one in zip(same, numbered, strict=False)})
    if in_order:
        pairs = list(zip(mine, theirs, strict=False))
        for layer, one in pairs:
            if by_class.get(layer.name, one) is not one:
                raise Ambiguous(
                    _cannot(layer.name, [one.name, by_class[layer.name].name], "order and names say different things")
                )
        return [(layer, one, "order") for layer, one in pairs]
    if len(skeletons) == 1:
        numbered = sorted(theirs, key=lambda one: _numbers(one.name))
        return [(layer, one, "order") for layer, one in zip(mine, numbered, strict=False)]
    if len(by_class) < min(len(mine), len(theirs)):
        raise Ambiguous(_cannot(mine[0].name, [one.name for one in theirs], "the file has no order of its layers"))
    return [(layer, by_class[layer.name], "order") for layer in mine if layer.name in by_class]


def _cannot(name: str, others: Sequence[str], why: str) -> str:
    shown = " or ".join(map(repr, others[:4])) + (f" or one of {len(others) - 4} more" if len(others) > 4 else "")
    return f'which of its layers is {name!r} cannot be told, {shown}: {why}; say it, names={{"{name}": "{others[0]}"}}'


def nearest(name: str, names: Mapping[str, object] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.3)
    return f" (the nearest name is {close[0]!r})" if close else ""


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
