"""A column of examples, of whatever library, as a NumPy array or as a list of arrays of several shapes.

Nothing is imported for it: a pandas column is known by `to_numpy`, an image of Pillow's by `getbands`; what has a length and
gives its examples one by one, as a column of a Hugging Face data set does, is a list.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Column(NamedTuple):
    """The examples of a field.

    Attributes:
        values: an array `[n, ...]`, or the arrays of examples that differ in shape.
        names: of the classes, where the column itself has them.
    """

    values: np.ndarray | list[np.ndarray]
    names: tuple[str, ...] = ()


def column(name: str, given: Any) -> Column:
    """The examples of the field `name`.

    Args:
        name: for messages.
        given: an array of NumPy, JAX or PyTorch, a column or a table of columns of pandas, a list or any sequence of
            numbers, strings, arrays, lists, or Pillow images.

    Raises:
        ValueError: a missing value, or what is no array of numbers or strings, with the first such example; no examples.
    """
    if hasattr(given, "cat") and hasattr(given.cat, "codes"):  # categories of pandas: by number, with their names
        codes = np.asarray(given.cat.codes)
        _no_missing(name, codes < 0)
        return Column(codes.astype(np.int64), tuple(map(str, given.cat.categories)))
    if hasattr(given, "to_numpy"):
        given = given.to_numpy()
    elif hasattr(given, "__array__"):
        given = np.asarray(given)
    if isinstance(given, np.ndarray) and given.dtype != object:
        return Column(_of_known_type(name, given))
    if isinstance(given, np.ndarray) and given.ndim > 1:  # a table whose columns are of several types
        return Column(_table(name, given))
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        raise ValueError(f"field {name!r} is a {type(given).__name__}; arrays, columns and lists are accepted")
    return Column(_from_list(name, list(given)))


def _from_list(name: str, examples: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
    if not examples:
        raise ValueError(f"field {name!r} holds no examples")
    _no_missing(name, np.array([_is_missing(example) for example in examples]))
    if any(isinstance(example, str) for example in examples):
        _all_are(name, examples, str)
        return np.array(examples, dtype=str)
    arrays = [_example(name, number, example) for number, example in enumerate(examples)]
    if len({array.ndim for array in arrays}) > 1:
        first = next(number for number, array in enumerate(arrays) if array.ndim != arrays[0].ndim)
        raise ValueError(
            f"field {name!r}: examples 0 and {first} have {arrays[0].ndim} and {arrays[first].ndim} dimensions; one number"
            " of dimensions is accepted"
        )
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _example(name: str, number: int, given: Any) -> np.ndarray:
    try:
        array = np.asarray(given)
    except ValueError:  # lists in lists, of several lengths
        array = np.array(None, object)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"field {name!r}: example {number} is a {type(given).__name__} of no numbers; numbers, strings, arrays and"
            " lists of numbers are accepted"
        )
    # Pillow gives grey images without their channel.
    return array[..., None] if hasattr(given, "getbands") and array.ndim == 2 else array


def _table(name: str, given: np.ndarray) -> np.ndarray:
    _no_missing(name, np.array([any(map(_is_missing, row)) for row in given.reshape(len(given), -1)]))
    try:
        return given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"field {name!r} is a table that is not all numbers: {error}") from error


def _of_known_type(name: str, given: np.ndarray) -> np.ndarray:
    if given.dtype.kind == "S":
        given = given.astype(str)
    if given.dtype.kind not in "biufU":
        raise ValueError(f"field {name!r} is {given.dtype}; numbers and strings are accepted")
    if not given.ndim or not len(given):
        raise ValueError(f"field {name!r} holds no examples: its shape is {list(given.shape)}")
    return given


def _all_are(name: str, examples: Sequence[Any], kind: type) -> None:
    for number, example in enumerate(examples):
        if not isinstance(example, kind):
            raise ValueError(f"field {name!r}: example {number} is a {type(example).__name__} among {kind.__name__}s")


def _is_missing(example: Any) -> bool:
    """None, pandas' NA and NaT, and, in a column of objects, NaN."""
    return example is None or type(example).__name__ in ("NAType", "NaTType") or (
        isinstance(example, float) and example != example
    )  # fmt: skip


def _no_missing(name: str, missing: np.ndarray) -> None:
    if missing.any():
        raise ValueError(
            f"field {name!r}: {missing.sum():,} of {len(missing):,} examples are missing; the first has index"
            f" {np.argmax(missing)}"
        )
