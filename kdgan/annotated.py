"""The check of arguments that a config names, by the annotations of the function that takes them."""

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def called(function: Callable[..., Any], values: Mapping[str, Any], of: str = "") -> Any:
    """What the function returns; of what it takes, or fails on in words of its own, `check` has the last word.

    Raises:
      ValueError: the function's own, where it names an argument's value; else that of `check`.
    """
    try:
        result = function(**values)
    except Exception as error:
        if not any(f"{name} = " in str(error) for name in values):
            check(function, values, of)
        raise
    check(function, values, of)
    return result


def check(function: Callable[..., Any], values: Mapping[str, Any], of: str = "") -> None:
    """Raises ValueError for the first value that its parameter's annotation does not admit.

    True and False are no numbers, a number is finite, a whole one has no fraction, and a text is no list. Arrays and what an
    annotation says beyond these kinds pass; so does everything where there is none.

    Args:
      function: whose parameters these are.
      values: argument -> value.
      of: what stands before the argument's name in the config: "method.".
    """
    try:
        annotated = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # of a function from outside: annotations that nothing defines
        return
    for name in inspect.signature(function).parameters:
        if name in values and name in annotated:
            kinds = _kinds(annotated[name])
            if kinds and not any(admits(values[name]) for admits, _ in kinds.values()):
                words = [text for _, text in kinds.values()]
                listed = ", ".join(words[:-1]) + " or " * (len(words) > 1) + words[-1]
                raise ValueError(f"{of}{name} = {values[name]!r}: {listed} is accepted")


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return math.isfinite(value)
    return isinstance(value, jax.Array | np.ndarray)


def _several(value: Any) -> bool:
    return isinstance(value, collections.abc.Sequence | np.ndarray) and not isinstance(value, str | bytes)


# Kind of an annotation -> whether it admits a value, and how a message says what it admits.
_KINDS: Mapping[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool | np.bool_), "True or False"),
    int: (_whole, "a whole number"),
    float: (_number, "a finite number"),
    str: (lambda value: isinstance(value, str), "a text"),
    types.NoneType: (lambda value: value is None, "None"),
    collections.abc.Callable: (callable, "a schedule"),
    collections.abc.Sequence: (_several, "a list"),
    collections.abc.Mapping: (lambda value: isinstance(value, Mapping), "a mapping"),
}


def _kinds(annotation: Any) -> dict[Any, tuple[Callable[[Any], bool], str]]:
    """The kinds that an annotation admits; none where it has one that is not known here."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if union else (annotation,)
    origins = [typing.get_origin(option) or option for option in options]
    return {} if any(origin not in _KINDS for origin in origins) else {origin: _KINDS[origin] for origin in origins}
