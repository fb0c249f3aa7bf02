"""In which interval the numbers lie that a function gives, read off its traced program: of tanh [-1, 1], a sigmoid [0, 1].

Intervals go forward through the program (Moore 1966): nothing is known of the arguments, constants are what they are, and
each operation gives an interval that certainly holds its results. What an operation that is not listed gives is unknown,
(−∞, ∞), and so the answer is never too narrow; it may be too wide, as where two things that depend on each other meet.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from kdgan import calls

Interval = tuple[float, float]
ANYTHING: Interval = (-math.inf, math.inf)
DEEPEST = 8  # nested choices that are looked at together; their paths are up to two to this power


def output_ranges(fn: Callable[..., Any], *args: Any) -> Any:
    """The interval of each array that `fn(*args)` gives, in the structure of its output; nothing is computed.

    Args:
        fn: a function of pytrees of arrays, e.g. a generator's variables and noise.
        args: arrays, or `jax.ShapeDtypeStruct`s; only shapes and types are read.

    Returns:
        (low, high) in place of each array; an end that is not known is infinite.
    """
    program, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
    results = _called(program, [_Value(ANYTHING) for _ in program.in_avals])
    return jax.tree.unflatten(jax.tree.structure(shapes), [result.interval for result in results])


def pixel_ranges(mean: float | Sequence[float], std: float | Sequence[float]) -> list[Interval]:
    """Of each channel (or one for all), where a pixel of [0, 1] lies after (pixel − mean) / std."""
    means, stds = np.broadcast_arrays(np.atleast_1d(mean), np.atleast_1d(std))
    return [((0.0 - m) / s, (1.0 - m) / s) for m, s in zip(means.tolist(), stds.tolist(), strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class _Value:
    """An array of the program: where its numbers lie, and what it was made of; the same array is the same object."""

    interval: Interval
    operation: str = ""
    operands: tuple["_Value", ...] = ()


def _through(program: core.Jaxpr, consts: Sequence[_Value], arguments: Sequence[_Value]) -> list[_Value]:
    known: dict[Any, _Value] = dict(zip([*program.constvars, *program.invars], [*consts, *arguments], strict=True))
    read = lambda atom: _Value(_of(atom.val)) if isinstance(atom, core.Literal) else known[atom]
    for equation in program.eqns:
        results = _apply(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.outvars]


def _called(program: Any, arguments: Sequence[_Value]) -> list[_Value]:
    """Of a program with or without constants of its own."""
    consts = [_Value(_of(value)) for value in getattr(program, "consts", ())]
    return _through(getattr(program, "jaxpr", program), consts, arguments)


def _apply(equation: core.JaxprEqn, given: list[_Value]) -> list[_Value]:
    name, params = equation.primitive.name, equation.params
    if name in _RULES:
        intervals = [value.interval for value in given]
        return [_Value(_known(_RULES[name](intervals, params)), name, tuple(given))]
    if name in _OF_SHAPES:
        interval = _known(_OF_SHAPES[name]([value.interval for value in given], equation))
        return [_Value(interval, name, tuple(given)) for _ in equation.outvars]
    if name in _OF_VALUES:
        return [_Value(_known(_OF_VALUES[name](given)), name, tuple(given))]
    if name in _OF_PROGRAMS:
        return _OF_PROGRAMS[name](given, equation)
    inner = calls.inner(equation)
    if name in calls.PRIMITIVES and inner is not None and len(getattr(inner, "jaxpr", inner).invars) == len(given):
        return _called(inner, given)
    return [_Value(ANYTHING) for _ in equation.outvars]


def _known(interval: Interval) -> Interval:
    """∞ − ∞ and 0·∞ are not known."""
    low, high = interval
    return -math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high


def _branches(given: list[_Value], equation: core.JaxprEqn) -> list[_Value]:
    """Of `jax.lax.cond` and `switch`: what some branch gives."""
    results = [_called(branch, given[1:]) for branch in equation.params["branches"]]
    return [_either(several) for several in zip(*results, strict=True)]


def _scan(given: list[_Value], equation: core.JaxprEqn) -> list[_Value]:
    """Of `jax.lax.scan`, `map` and loops of a known number of steps: what the body gives of some carry."""
    program, rank = equation.params["jaxpr"], lambda value: len(value.shape)
    # What is scanned over, and what is stacked, has an axis more outside the body; how params tell it depends on jax.
    scanned = sum(
        rank(outer.aval) > rank(inner) for outer, inner in zip(equation.invars, program.in_avals, strict=True)
    )
    carries = sum(rank(out.aval) == rank(inner) for out, inner in zip(equation.outvars, program.out_avals, strict=True))
    consts = len(given) - scanned - carries
    fixed, start = given[:consts], given[consts : consts + carries]
    rows = [_Value(value.interval) for value in given[consts + carries :]]
    body = lambda carry: _called(program, [*fixed, *carry, *rows])
    if equation.params["length"] == 0:
        return [_Value(ANYTHING) for _ in body(start)]
    return [_Value(value.interval) for value in body(_carry(start, body))]


def _while(given: list[_Value], equation: core.JaxprEqn) -> list[_Value]:
    """Of `jax.lax.while_loop`: the start, or what the body gives of some carry."""
    params = equation.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    fixed, start = given[first:second], given[second:]
    return _carry(start, lambda carry: _called(params["body_jaxpr"], [*fixed, *carry]))


def _carry(start: list[_Value], body: Callable[[list[_Value]], list[_Value]]) -> list[_Value]:
    """What a loop may carry: the start, or what its body gives of anything."""
    results = body([_Value(ANYTHING) for _ in start])
    return [_either(pair) for pair in zip(start, results[: len(start)], strict=True)]


def _remembered(name: str) -> Callable[[list[_Value], core.JaxprEqn], list[_Value]]:
    """Of what gives no numbers, and is asked for its operands."""
    return lambda given, equation: [_Value(ANYTHING, name, tuple(given))]


def _either(values: Sequence[_Value]) -> _Value:
    return _Value(_union([value.interval for value in values]))


def _of(value: Any) -> Interval:
    """Of a constant."""
    if not hasattr(value, "dtype") and not isinstance(value, int | float):
        return ANYTHING
    dtype = jnp.result_type(value)
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)) or not np.size(value):
        return ANYTHING
    array = np.asarray(value, np.float64)
    return ANYTHING if np.isnan(array).any() else (float(array.min()), float(array.max()))


def _union(intervals: Sequence[Interval]) -> Interval:
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _corners(operation: Callable[[float, float], float]) -> Callable[[list[Interval], Any], Interval]:
    """Of an operation on two numbers whose extremes lie at ends of their intervals."""

    def rule(given: list[Interval], params: Any) -> Interval:
        values = [operation(x, y) for x in given[0] for y in given[1]]
        return (math.nan, math.nan) if any(map(math.isnan, values)) else (min(values), max(values))

    return rule


def _rising(function: Callable[[float], float], low: float = -math.inf, high: float = math.inf):
    """Of a function that does not fall; `low` and `high` are what it cannot leave."""

    def rule(given: list[Interval], params: Any) -> Interval:
        ends = []
        for end, limit in zip(given[0], (low, high), strict=True):
            try:
                ends.append(limit if math.isinf(end) else function(end))
            except (OverflowError, ValueError):  # exp of a large number, log of a negative one
                ends.append(limit)
        return ends[0], ends[1]

    return rule


def _divide(given: list[_Value]) -> Interval:
    value, divisor = given
    if _exceeds(divisor, value):
        return max(-1.0, min(value.interval[0], 0.0)), min(1.0, max(value.interval[1], 0.0))
    low, high = divisor.interval
    if low <= 0 <= high:
        return ANYTHING
    return _corners(lambda x, y: x / y)([value.interval, divisor.interval], None)


def _exceeds(value: _Value, other: _Value) -> bool:
    """Whether a value is |other| plus what is positive, as in x / (1 + |x|), which lies in [-1, 1]."""
    for one, rest in (value.operands, value.operands[::-1]) if value.operation == "add" else ():
        if one.operation == "abs" and one.operands[0] is other and rest.interval[0] > 0:
            return True
    return False


def _select(given: list[_Value], assumed: Sequence[tuple[_Value, Interval]] = (), depth: int = 0) -> Interval:
    """Of `jnp.where(x < bound, ...)`: each case as it is where it is taken, so that what x is compared with bounds it."""
    chooses, *cases = given
    facts: list[Sequence[tuple[_Value, Interval]]] = [()] * len(cases)
    if chooses.operation in _COMPARISONS and len(cases) == 2:
        left, right = chooses.operands
        for x, y, less in (
            (left, right, chooses.operation in ("lt", "le")),
            (right, left, chooses.operation in ("gt", "ge")),
        ):
            # Where x < y, x is at most y's high end; elsewhere it is at least y's low end.
            below, above = (x, (-math.inf, y.interval[1])), (x, (y.interval[0], math.inf))
            facts = [
                (*fact, side) for fact, side in zip(facts, (above, below) if less else (below, above), strict=True)
            ]
    reachable = [_where(case, (*assumed, *fact), depth) for case, fact in zip(cases, facts, strict=True)]
    intervals = [interval for interval in reachable if interval[0] <= interval[1]]  # others are never taken
    return _union(intervals) if intervals else _union(reachable)


def _where(value: _Value, facts: Sequence[tuple[_Value, Interval]], depth: int) -> Interval:
    """A value's interval where other values lie in the intervals of `facts`; low > high where that cannot be."""
    nested = value.operation == "select_n" and depth < DEEPEST
    low, high = _select(list(value.operands), facts, depth + 1) if nested else value.interval
    for other, (least, most) in facts:
        if other is value:
            low, high = max(low, least), min(high, most)
    return low, high


_COMPARISONS = ("lt", "le", "gt", "ge")


def _absolute(given: list[Interval], params: Any) -> Interval:
    low, high = given[0]
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _power(given: list[Interval], params: Any) -> Interval:
    y = params["y"]
    if y < 0:
        return ANYTHING
    base = _absolute(given, params) if y % 2 == 0 else given[0]
    try:
        return base[0] ** y, base[1] ** y
    except OverflowError:
        return ANYTHING


def _root(given: list[Interval], params: Any) -> Interval:
    return math.sqrt(max(given[0][0], 0.0)), math.sqrt(max(given[0][1], 0.0))


def _clamp(given: list[Interval], params: Any) -> Interval:
    (least, _), (low, high), (_, most) = given
    return min(max(low, least), most), max(min(high, most), least)


def _sum_of_axes(given: list[Interval], equation: core.JaxprEqn) -> Interval:
    size = lambda atom: math.prod(atom.aval.shape)
    summed = size(equation.invars[0]) // max(size(equation.outvars[0]), 1)
    return summed * given[0][0], summed * given[0][1]


def _sum_of_windows(given: list[Interval], equation: core.JaxprEqn) -> Interval:
    count, (low, high) = math.prod(equation.params["window_dimensions"]), given[0]
    padded = any(width for side in equation.params["padding"] for width in side)
    dilated = any(step > 1 for step in equation.params["base_dilation"])
    if padded or dilated:  # some windows then hold fewer of the values
        low, high = min(low, 0.0), max(high, 0.0)
    return count * low, count * high


def _gather(given: list[Interval], equation: core.JaxprEqn) -> Interval:
    fill, aval = equation.params.get("fill_value"), equation.outvars[0].aval
    if fill is not None:
        return _union([given[0], _of(fill)])
    return given[0] if jnp.issubdtype(getattr(aval, "dtype", np.int32), jnp.floating) else ANYTHING  # filled with NaN


_same = lambda given, params: given[0]
_wave = lambda given, params: (-1.0, 1.0)
_sum = lambda sign: (
    lambda given, params: (
        given[0][0] + (given[1][0] if sign > 0 else -given[1][1]),
        given[0][1] + (given[1][1] if sign > 0 else -given[1][0]),
    )
)

# Primitive -> (intervals of its operands, its parameters) -> interval of its result.
_RULES: Mapping[str, Callable[[list[Interval], Any], Interval]] = {
    "tanh": _rising(math.tanh, -1.0, 1.0),
    "logistic": _rising(lambda x: 1 / (1 + math.exp(-x)), 0.0, 1.0),
    "erf": _rising(math.erf, -1.0, 1.0),
    "atan": _rising(math.atan, -math.pi / 2, math.pi / 2),
    "exp": _rising(math.exp, 0.0),
    "exp2": _rising(lambda x: 2.0**x, 0.0),
    "expm1": _rising(math.expm1, -1.0),
    "log1p": _rising(math.log1p),
    "log": _rising(math.log),
    "floor": _rising(math.floor),
    "ceil": _rising(math.ceil),
    "round": _rising(round),
    "sign": lambda given, params: (-1.0, 1.0),
    "sin": _wave,
    "cos": _wave,
    "sqrt": _root,
    "abs": _absolute,
    "integer_pow": _power,
    "square": lambda given, params: _power(given, {"y": 2}),
    "neg": lambda given, params: (-given[0][1], -given[0][0]),
    "add": _sum(1),
    "add_any": _sum(1),
    "sub": _sum(-1),
    "mul": _corners(lambda x, y: x * y),
    "max": lambda given, params: (max(given[0][0], given[1][0]), max(given[0][1], given[1][1])),
    "min": lambda given, params: (min(given[0][0], given[1][0]), min(given[0][1], given[1][1])),
    "clamp": _clamp,
    "concatenate": lambda given, params: _union(given),
    "pad": lambda given, params: _union(given[:2]),
    "dynamic_update_slice": lambda given, params: _union(given[:2]),
    **dict.fromkeys(
        ("reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "convert_element_type", "slice",
         "dynamic_slice", "rev", "copy", "copy_p", "stop_gradient", "reduce_precision", "sharding_constraint",
         "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "cummax", "cummin"),
        _same,
    ),
}  # fmt: skip

# The same of primitives whose rule needs shapes: (intervals of the operands, equation) -> interval of every result.
_OF_SHAPES: Mapping[str, Callable[[list[Interval], core.JaxprEqn], Interval]] = {
    "reduce_sum": _sum_of_axes,
    "reduce_window_sum": _sum_of_windows,
    "gather": _gather,
    "split": _same,
}

# Of primitives whose rule asks what their operands were made of.
_OF_VALUES: Mapping[str, Callable[[list[_Value]], Interval]] = {"div": _divide, "select_n": _select}

# Of primitives that run programs; the comparisons are without numbers.
_OF_PROGRAMS: Mapping[str, Callable[[list[_Value], core.JaxprEqn], list[_Value]]] = {
    "cond": _branches,
    "scan": _scan,
    "while": _while,
    **{name: _remembered(name) for name in _COMPARISONS},
}
