"""Features of a student's layers beside those of another network, matched by their order."""

from collections.abc import Mapping, Sequence

from jax import Array
from jax.typing import ArrayLike

Features = Mapping[str, Array] | Sequence[Array]
Weights = Sequence[ArrayLike]


def matched(student: Features, teacher: Features, weights: Weights | None) -> list[tuple[str, Array, Array, ArrayLike]]:
    """(which layers, for an error; the student's; the teacher's; weight) in order; the shapes are not compared.

    Raises:
        ValueError: no layers, other numbers of layers, names or weights.
    """
    (names, ours), (other_names, theirs) = _named(student), _named(teacher)
    if not ours or len(ours) != len(theirs):
        raise ValueError(
            f"the student's features are {names} and the teacher's {other_names}: {len(ours)} and {len(theirs)} layers. "
            "They are matched by their order, and there must be as many of both, at least 1"
        )
    if names != other_names and set(names) == set(other_names):
        raise ValueError(
            f"the student's features are {names} and the teacher's {other_names}: the same names in another order. They "
            "are matched by their order; state them alike"
        )
    if weights is None:
        weights = [1.0] * len(ours)
    if len(weights) != len(ours):
        raise ValueError(f"weights has {len(weights)} numbers for {len(ours)} layers, {names}; one a layer is wanted")
    return [
        (f"the features {name!r} of the student and {other!r} of the teacher", s, t, weight)
        for name, other, s, t, weight in zip(names, other_names, ours, theirs, weights, strict=True)
    ]


def _named(features: Features) -> tuple[list[str | int], list[Array]]:
    if isinstance(features, Mapping):
        return list(features), list(features.values())
    if hasattr(features, "shape"):  # would iterate over its examples
        raise ValueError(f"features is one array of shape {features.shape}; a mapping or sequence of layers is wanted")
    return list(range(len(features))), list(features)
