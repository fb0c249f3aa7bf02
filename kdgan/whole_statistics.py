"""Statistics of a whole image inside of a traced program, such as instance norm and global pooling take, made of its tiles.

A reduction over rows and columns (a sum, and so a mean; a maximum, a minimum) is found by its operand: two of its axes grow
with the image, and both are reduced. A program can then be evaluated with the values that these reductions have on the whole
image in place of those on the tile, and can give what a tile adds to them. One that depends on another's value has a higher
level; as many passes over the tiles are made as there are levels.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from kdgan import calls

Program = core.ClosedJaxpr
# (place of a reduction among all, its equation, operand, level of the operand) -> (value, its level)
Visit = Callable[[int, core.JaxprEqn, Any, int], tuple[Any, int]]
# (an operation, its operands, its results) -> its results
Watch = Callable[[core.JaxprEqn, list[Any], list[Any]], list[Any]]


class _Kind(NamedTuple):
    """One kind of reduction: of JAX's arrays over axes, of two parts, and what masked pixels count as."""

    reduce: Callable[..., Any]
    add: Callable[[Any, Any], Any]
    nothing: float


_KINDS: Mapping[str, _Kind] = {
    "reduce_sum": _Kind(jnp.sum, np.add, 0.0),
    "reduce_max": _Kind(jnp.max, np.maximum, -np.inf),
    "reduce_min": _Kind(jnp.min, np.minimum, np.inf),
}


class Statistic(NamedTuple):
    """One reduction over rows and columns.

    Attributes:
      place: among all reductions of the program, in their order.
      kind: the primitive.
      axes: that are reduced.
      rows, columns: of these the two that grow with the image.
      steps: by how much they grow for each period of the image, (rows, columns).
      level: 0; or one more than the highest level of those whose values its operand depends on.
      module: path of the Flax module that has it, as far as the program knows it.
    """

    place: int
    kind: str
    axes: tuple[int, ...]
    rows: int
    columns: int
    steps: tuple[int, int]
    level: int
    module: str

    @property
    def is_sum(self) -> bool:
        return self.kind == "reduce_sum"


def find(trace: Callable[[int, int], Program], sides: tuple[int, int], period: int) -> tuple[Statistic, ...]:
    """The reductions over rows and columns of a program.

    Args:
      trace: (height, width) -> the program on images of this size; its last argument is the image.
      sides: at which it is looked at.
      period: by which sides are changed.
    """
    height, width = sides
    programs = [trace(height, width), trace(height + period, width), trace(height, width + period)]
    here, taller, wider = (_reductions(program) for program in programs)
    if not len(here) == len(taller) == len(wider):
        return ()  # another program for another size: nothing is recognised
    grown: dict[int, tuple[int, int, tuple[int, int]]] = {}
    for place, several in enumerate(zip(here, taller, wider, strict=True)):
        (kind, axes, shape, _), tall, wide = several
        if kind not in _KINDS or len({len(one[2]) for one in several}) > 1:
            continue
        rows = [axis for axis, (a, b) in enumerate(zip(shape, tall[2], strict=True)) if a != b]
        columns = [axis for axis, (a, b) in enumerate(zip(shape, wide[2], strict=True)) if a != b]
        if len(rows) == len(columns) == 1 and rows != columns and {*rows, *columns} <= set(axes):
            steps = tall[2][rows[0]] - shape[rows[0]], wide[2][columns[0]] - shape[columns[0]]
            grown[place] = rows[0], columns[0], steps
    levels = _levels(programs[0], grown)
    return tuple(
        Statistic(place, here[place][0], here[place][1], *grown[place], level=levels[place], module=here[place][3])
        for place in sorted(grown)
    )


def evaluate(program: Program, arguments: Sequence[Any], visit: Visit, watch: Watch | None = None) -> list[Any]:
    """What a program gives, where `visit` gives the results of its reductions over some axes."""
    pairs = [(value, 0) for value in arguments]
    return [value for value, _ in _through(program.jaxpr, program.consts, pairs, visit, itertools.count(), watch)]


def operands(
    program: Program, arguments: Sequence[Any], statistics: Sequence[Statistic], values: Sequence[Any],
    watch: Watch | None = None,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """(outputs, operand of each statistic) of a program where the statistics have these values, a sum's for each pixel.

    `watch`, where it is given, may put another result in the place of an operation's.
    """
    seen: dict[int, Any] = {}
    replaced = _whole(statistics, values)

    def visit(place, equation, operand, level):
        seen[place] = operand
        return replaced(place, equation, operand, level)

    outputs = evaluate(program, arguments, visit, watch)
    return outputs, [seen[one.place] for one in statistics]


def values_of(program: Program, arguments: Sequence[Any], statistics: Sequence[Statistic]) -> list[Any]:
    """The value of each statistic on the image among the arguments, a sum's for each pixel."""
    wanted = {one.place: one for one in statistics}
    values: dict[int, Any] = {}

    def visit(place, equation, operand, level):
        (value,) = _bound(equation, [operand])
        if place in wanted:
            values[place] = value / _pixels(wanted[place], operand) if wanted[place].is_sum else value
        return value, level

    evaluate(program, arguments, visit)
    return [values[one.place] for one in statistics]


def partial(
    program: Program, arguments: Sequence[Any], known: Sequence[Statistic], values: Sequence[Any],
    wanted: Sequence[Statistic], core_rows: Sequence[Any], core_columns: Sequence[Any],
) -> list[tuple[Any, Any]]:  # fmt: skip
    """(what a tile adds, of how many pixels) of the statistics that are wanted, where those of lower levels are known.

    Args:
      program: on the tile.
      arguments: of it.
      known: statistics of lower levels.
      values: their values.
      wanted: statistics of one level.
      core_rows: of each the (first, end) of its operand's rows that this tile counts for.
      core_columns: likewise.
    """
    fixed = [*values, *[jnp.zeros(()) for _ in wanted]]
    _, several = operands(program, arguments, [*known, *wanted], fixed)
    parts = []
    for statistic, operand, *spans in zip(wanted, several[len(known) :], core_rows, core_columns, strict=True):
        kind, axes = _KINDS[statistic.kind], (statistic.rows, statistic.columns)
        inside, pixels = jnp.ones(operand.shape, bool), 1
        for axis, (first, end) in zip(axes, spans, strict=True):
            place = jax.lax.broadcasted_iota(jnp.int32, operand.shape, axis)
            inside &= (place >= first) & (place < end)
            pixels *= jnp.minimum(end, operand.shape[axis]) - first
        counted = jnp.where(inside, operand, kind.nothing).astype(jnp.float32)
        parts.append((kind.reduce(counted, axis=statistic.axes), pixels))
    return parts


def joined(statistic: Statistic, value: np.ndarray | None, part: Any) -> np.ndarray:
    """The value so far with what a tile adds, in float64."""
    part = np.asarray(part, np.float64)
    return part if value is None else _KINDS[statistic.kind].add(value, part)


def value(statistic: Statistic, total: np.ndarray, pixels: int) -> np.ndarray:
    """The value of the total of all tiles, whose cores have so many pixels of the operand: a sum's for each pixel."""
    return (total / pixels if statistic.is_sum else total).astype(np.float32)


def spread_of_nan(equation: core.JaxprEqn, given: list[Any], results: list[Any]) -> list[Any]:
    """To watch with: in a matrix product NaN times 0 is 0, so that a product with a band matrix spreads it by the band."""
    if equation.primitive.name != "dot_general":
        return results
    product = lambda a, b: _bound(equation, [a, b])[0]
    known = [jnp.nan_to_num(value) for value in given]
    nan = [jnp.isnan(value).astype(value.dtype) for value in given]
    counts = [(value != 0).astype(value.dtype) for value in known]
    reached = product(nan[0], jnp.maximum(counts[1], nan[1])) + product(jnp.maximum(counts[0], nan[0]), nan[1])
    return [jnp.where(reached > 0, jnp.nan, product(*known))]


def takes_all(
    program: Program, arguments: Sequence[Any], statistics: Sequence[Statistic], values: Sequence[Any]
) -> tuple[str, str]:
    """(primitive, module) of the first operation whose result is all NaN, of operands that are so in a part; or ("", "")."""
    culprit: list[tuple[str, str]] = []

    def watch(equation, given, results):
        results = spread_of_nan(equation, given, results)
        if not culprit and any(map(_has_numbers, given)) and any(map(_is_all_nan, results)):
            culprit.append((equation.primitive.name, str(equation.source_info.name_stack)))
        return results

    operands(program, arguments, statistics, values, watch)
    return next(iter(culprit), ("", ""))


def _has_numbers(value: Any) -> bool:
    """Whether an array has NaN and numbers, too."""
    nan = np.isnan(value) if jnp.issubdtype(jnp.result_type(value), jnp.floating) else np.zeros(1, bool)
    return bool(nan.any() and not nan.all())


def _is_all_nan(value: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.floating) and np.size(value) and np.isnan(value).all())


def _whole(statistics: Sequence[Statistic], values: Sequence[Any]) -> Visit:
    """These statistics have these values; others are computed of what is there."""
    known = {one.place: (one, value) for one, value in zip(statistics, values, strict=True)}

    def visit(place, equation, operand, level):
        if place not in known:
            return _bound(equation, [operand])[0], level
        statistic, value = known[place]
        # What follows divides a sum by the pixels of the tile.
        value = value * _pixels(statistic, operand) if statistic.is_sum else value
        aval = equation.outvars[0].aval
        return jnp.broadcast_to(jnp.asarray(value, aval.dtype), aval.shape), level

    return visit


def _pixels(statistic: Statistic, operand: Any) -> int:
    return operand.shape[statistic.rows] * operand.shape[statistic.columns]


def _reductions(program: Program) -> list[tuple[str, tuple[int, ...], tuple[int, ...], str]]:
    """(primitive, axes, shape of the operand, module) of each, in order."""
    several: list[tuple[str, tuple[int, ...], tuple[int, ...], str]] = []

    def visit(place, equation, operand, level):
        where = str(equation.source_info.name_stack)
        several.append((equation.primitive.name, tuple(equation.params["axes"]), operand.shape, where))
        return _bound(equation, [operand])[0], level

    jax.eval_shape(lambda *given: evaluate(program, given, visit), *program.in_avals)
    return several


def _levels(program: Program, places: Mapping[int, Any]) -> dict[int, int]:
    levels: dict[int, int] = {}

    def visit(place, equation, operand, level):
        if place in places:
            levels[place], level = level, level + 1
        return _bound(equation, [operand])[0], level

    jax.eval_shape(lambda *given: evaluate(program, given, visit), *program.in_avals)
    return levels


def _through(
    program: Any, consts: Sequence[Any], arguments: Sequence[tuple[Any, int]], visit: Visit, places: Iterator[int],
    watch: Watch | None = None,
) -> list[tuple[Any, int]]:  # fmt: skip
    """The pairs (value, level) that a program gives; calls inside of it are gone through."""
    known = dict(zip([*program.constvars, *program.invars], [*((x, 0) for x in consts), *arguments], strict=True))
    read = lambda atom: (atom.val, 0) if isinstance(atom, core.Literal) else known[atom]
    for equation in program.eqns:
        given = [read(atom) for atom in equation.invars]
        level = max((one for _, one in given), default=0)
        inner = calls.inner(equation)
        if equation.primitive.name in calls.PRIMITIVES and inner is not None:
            results = _through(
                getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given, visit, places, watch
            )
        elif equation.primitive.name in _KINDS:
            results = [visit(next(places), equation, given[0][0], level)]
        else:
            results = [(value, level) for value in _bound(equation, [value for value, _ in given])]
        if watch is not None and inner is None:
            watched = watch(equation, [value for value, _ in given], [value for value, _ in results])
            results = [(value, level) for value, (_, level) in zip(watched, results, strict=True)]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.outvars]


def _bound(equation: core.JaxprEqn, given: Sequence[Any]) -> list[Any]:
    params = equation.primitive.get_bind_params(equation.params)
    results = equation.primitive.bind(*given, **params)
    return list(results) if equation.primitive.multiple_results else [results]
