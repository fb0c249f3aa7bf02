"""What arms of a stage differ in: the λ's and hyper-parameters beside each arm, and grids of two of them.

Arms of one method that have the same settings, with other values, are a sweep: only what varies within one says anything
beside its arms (that KDGAN has a discriminator's λ and soft labels have none, their names say).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.report import numbers
from kdgan.report.entries import arm_records

MOST = 4  # columns of settings
FILLED = 0.75  # share of a grid's places that must have an arm


@dataclasses.dataclass(frozen=True)
class Setting:
    """A λ or hyper-parameter, or several that vary together: the name, and what each arm that has it is set to, as text."""

    head: str
    values: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Arms that differ in two settings; each axis may be several that vary together, as a λ and one minus it.

    Attributes:
        rows, columns: (what varies, its values in order) as text.
        arms: [row][column] -> the arm, or None where the grid has none.
    """

    rows: tuple[str, tuple[str, ...]]
    columns: tuple[str, tuple[str, ...]]
    arms: tuple[tuple[str | None, ...], ...]


def varying(summary: Mapping[str, Any], stage: str) -> list[Setting]:
    """The settings that vary within a sweep of a stage's arms, in the order in which arms name them."""
    settings = _settings(summary, stage)
    chosen = {key for arms in _sweeps(settings) for key in _varies(settings, arms)}
    order = dict.fromkeys(key for values in settings.values() for key in values if key in chosen)
    having = {key: [arm for arm, values in settings.items() if key in values] for key in order}
    groups: dict[Any, list[Key]] = {}
    for key in order:
        # λ's that vary together, as one and one minus it, are one column.
        place = _partition(settings, having[key], key) if len(key) == 2 else key
        groups.setdefault((tuple(having[key]), place), []).append(key)
    return [
        Setting(_head(settings, keys), {arm: _written(settings[arm], keys) for arm in having[keys[0]]})
        for keys in groups.values()
    ]


def grids(summary: Mapping[str, Any], stage: str) -> list[Grid]:
    """The sweeps of a stage in which exactly two things vary, and nearly every combination of them has an arm."""
    settings = _settings(summary, stage)
    squares = (_grid(settings, arms) for arms in _sweeps(settings))
    return [grid for grid in squares if grid is not None]


def text(value: Any) -> str:
    """A setting as it is written: 0.30000000000000004 as "0.3"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.6g}".replace("-", numbers.MINUS)


Key = tuple[str, ...]
METHOD = "name"  # of a method, among its hyper-parameters


def _settings(summary: Mapping[str, Any], stage: str) -> dict[str, dict[Key, Any]]:
    """Arm -> its settings by (player, term) of a λ, or (hyper-parameter,) of its method."""
    result: dict[str, dict[Key, Any]] = {}
    for arm, record in arm_records(summary, stage).items():
        settings = record.get("settings") or {}
        weights: dict[Key, Any] = {
            (player, term): weight
            for player, terms in (settings.get("lambdas") or {}).items()
            for term, weight in terms.items()
        }
        result[arm] = weights | {(name,): value for name, value in (settings.get("method") or {}).items()}
    return result


def _head(settings: Mapping[str, Mapping[Key, Any]], keys: Sequence[Key]) -> str:
    """Of one or several settings: "λ kd", "λ ce/kd", "λ student kd" where other players have such a term, "temperature"."""
    every = {key for values in settings.values() for key in values}
    terms = [key[-1] for key in every if len(key) == 2]
    unique = all(terms.count(key[-1]) == 1 for key in keys if len(key) == 2)
    lambdas = [key[-1] if unique else " ".join(key) for key in keys if len(key) == 2]
    return " / ".join([*([f"λ {'/'.join(lambdas)}"] if lambdas else []), *(key[0] for key in keys if len(key) == 1)])


def _written(values: Mapping[Key, Any], keys: Sequence[Key]) -> str:
    """The values of settings that vary together, as their head has them: "0.9/0.1"."""
    lambdas = [text(values[key]) for key in keys if len(key) == 2]
    return " / ".join(
        [*(["/".join(lambdas)] if lambdas else []), *(text(values[key]) for key in keys if len(key) == 1)]
    )


def _partition(settings: Mapping[str, Mapping[Key, Any]], arms: Sequence[str], key: Key) -> tuple[int, ...]:
    """Which arms have the same value: equal for settings that vary together."""
    column = [text(settings[arm][key]) for arm in arms]
    return tuple(column.index(value) for value in column)


def _sweeps(settings: Mapping[str, Mapping[Key, Any]]) -> list[list[str]]:
    """Arms of one method and the same settings, two or more of them, whatever the values of these."""
    groups: dict[tuple[str, frozenset[Key]], list[str]] = {}
    for arm, values in settings.items():
        groups.setdefault((str(values.get((METHOD,))), frozenset(values)), []).append(arm)
    return [arms for arms in groups.values() if settings[arms[0]] and len(arms) > 1]


def _varies(settings: Mapping[str, Mapping[Key, Any]], arms: Sequence[str]) -> list[Key]:
    return [key for key in settings[arms[0]] if len({text(settings[arm][key]) for arm in arms}) > 1]


def _grid(settings: Mapping[str, Mapping[Key, Any]], arms: Sequence[str]) -> Grid | None:
    axes: dict[tuple[int, ...], list[Key]] = {}
    for key in _varies(settings, arms):
        axes.setdefault(_partition(settings, arms, key), []).append(key)
    if len(axes) != 2:
        return None
    rows, columns = sorted((_axis(settings, arms, keys) for keys in axes.values()), key=lambda axis: len(axis[0][1]))
    (_, row_values), row_of = rows
    (_, column_values), column_of = columns
    places = {(row_of[arm], column_of[arm]): arm for arm in arms}
    size = len(row_values) * len(column_values)
    if len(places) != len(arms) or size < 4 or len(arms) < FILLED * size:
        return None
    return Grid(rows[0], columns[0], tuple(tuple(places.get((r, c)) for c in column_values) for r in row_values))


def _axis(
    settings: Mapping[str, Mapping[Key, Any]], arms: Sequence[str], keys: Sequence[Key]
) -> tuple[tuple[str, tuple[str, ...]], dict[str, str]]:
    """((head, values in order), arm -> its value)."""
    last = keys[-1]
    numeric = all(isinstance(settings[arm][last], int | float) for arm in arms)
    order = sorted(arms, key=lambda arm: settings[arm][last]) if numeric else list(arms)
    written = {arm: _written(settings[arm], keys) for arm in order}
    return (_head(settings, keys), tuple(dict.fromkeys(written.values()))), written
