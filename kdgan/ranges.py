"""In which interval the numbers lie that a function gives, read off its traced program: of tanh [-1, 1], a sigmoid [0, 1].

Intervals go forward through the program (Moore 1966): nothing is known of the arguments, constants are what they are, and
each operation gives an interval that certainly holds its results. What an operation that is not listed gives is unknown,
(−∞, ∞), and so the answer is never too narrow; it may be too wide, as where two things that depend on each other meet.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

Interval = tuple[float, float]
ANYTHING: Interval = (-math.inf, math.inf)


def output_ranges(fn: Callable[..., Any], *args: Any) -> Any:
    """The interval of each array that `fn(*args)` gives, in the structure of its output; nothing is computed.

    Args:
        fn: a function of pytrees of arrays, e.g. a generator's variables and noise.
        args: arrays, or `jax.ShapeDtypeStruct`s; only shapes and types are read.

    Returns:
        (low, high) in place of each array; an end that is not known is infinite.
    """
    program, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
    intervals = _through(program.jaxpr, [_of(value) for value in program.consts], [ANYTHING] * len(program.in_avals))
    return jax.tree.unflatten(jax.tree.structure(shapes), intervals)


def pixel_ranges(mean: float | Sequence[float], std: float | Sequence[float]) -> list[Interval]:
    """Of each channel (or one for all), where a pixel of [0, 1] lies after (pixel − mean) / std."""
    means, stds = np.broadcast_arrays(np.atleast_1d(mean), np.atleast_1d(std))
    return [((0.0 - m) / s, (1.0 - m) / s) for m, s in zip(means.tolist(), stds.tolist(), strict=True)]


def _through(program: core.Jaxpr, consts: Sequence[Interval], arguments: Sequence[Interval]) -> list[Interval]:
    known: dict[Any, Interval] = dict(zip([*program.constvars, *program.invars], [*consts, *arguments], strict=True))
    read = lambda atom: _of(atom.val) if isinstance(atom, core.Literal) else known[atom]
    for equation in program.eqns:
        found = _apply(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in program.outvars]


def _apply(equation: core.JaxprEqn, given: list[Interval]) -> list[Interval]:
    name = equation.primitive.name
    if name in _RULES:
        low, high = _RULES[name](given, equation.params)
        # ∞ − ∞ and 0·∞ are not known.
        return [(-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)]
    called = [equation.params[field] for field in _CALLED if field in equation.params]
    if name in _CALLS and called and len(getattr(called[0], "jaxpr", called[0]).invars) == len(given):
        inner = called[0]
        consts = [_of(value) for value in getattr(inner, "consts", ())]
        return _through(getattr(inner, "jaxpr", inner), consts, given)
    return [ANYTHING] * len(equation.outvars)


_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


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


def _divide(given: list[Interval], params: Any) -> Interval:
    low, high = given[1]
    if low <= 0 <= high:
        return ANYTHING
    return _corners(lambda x, y: x / y)(given, params)


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
    "div": _divide,
    "max": lambda given, params: (max(given[0][0], given[1][0]), max(given[0][1], given[1][1])),
    "min": lambda given, params: (min(given[0][0], given[1][0]), min(given[0][1], given[1][1])),
    "clamp": _clamp,
    "select_n": lambda given, params: _union(given[1:]),
    "concatenate": lambda given, params: _union(given),
    "pad": lambda given, params: _union(given[:2]),
    "reduce_max": _same,
    "reduce_min": _same,
    **dict.fromkeys(
        ("reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "convert_element_type", "slice", "rev",
         "copy", "copy_p", "stop_gradient", "reduce_precision"),
        _same,
    ),
}  # fmt: skip
