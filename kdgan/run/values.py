"""A value of a config against the type of its field (`run/schema.py`), or one clear error; a section of its fields."""

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.files import expanded
from kdgan.run import schema


class ConfigError(ValueError):
    """A config that cannot run; the message names the field, the value found, and what is accepted."""


def mapping_of(value: Any, path: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise ConfigError(f"config.{path} = {value!r}: expected a mapping of fields")
    return value


def check_labels(mapping: Any, path: str) -> None:
    """Names of players, stages and arms become names of folders, of metrics and of fields on the command line."""
    for name in mapping_of(mapping, path):
        if not re.fullmatch(r"[^\s./\\()]+", name):
            raise ConfigError(
                f"config.{path}: the name {name!r} cannot be used; accepted are letters, digits and signs without spaces,"
                " dots, slashes and brackets"
            )


def check_names(mapping: Any, accepted: Sequence[str], path: str) -> None:
    prefix = "config" if path == "config" else f"config.{path}"
    for name in mapping_of(mapping, path):
        if name not in accepted:
            near = difflib.get_close_matches(name, accepted, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{prefix}.{name}: no such field; {hint}accepted are {', '.join(accepted) or 'none'}")


def build(cls: type, mapping: Any, path: str) -> Any:
    """A section of its fields; what is left out has its default."""
    hints = schema.hints(cls)
    check_names(mapping, tuple(hints), path)
    return cls(**{name: typed(value, hints[name], f"{path}.{name}") for name, value in mapping.items()})


def typed(value: Any, hint: Any, path: str) -> Any:
    """`value` if it is of the annotated type.

    A sequence becomes a tuple, a whole number serves as a float, a mapping as a section; "~" of a path is expanded.
    """
    accepted = schema.options(hint)
    for option in accepted:
        origin = typing.get_origin(option) or option
        if dataclasses.is_dataclass(origin) and isinstance(value, Mapping):
            return build(option, value, path)
        if origin is Sequence and isinstance(value, list | tuple):
            if typing.get_args(option) == (str,) and not all(isinstance(item, str) for item in value):
                raise ConfigError(f"config.{path} = {value!r}: names (str) are accepted")
            return tuple(value)
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if origin is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if origin is str and isinstance(value, str):
            return _path(value, path) if schema.is_path(hint) else value
        if origin not in (Sequence, float, int, str) and isinstance(value, origin):
            return value
    names = " or ".join(getattr(o, "__name__", str(o)).replace("NoneType", "None") for o in accepted)
    raise ConfigError(f"config.{path} = {value!r} ({type(value).__name__}): expected {names}")


def _path(value: str, path: str) -> str:
    try:
        return expanded(value)
    except ValueError as error:
        raise ConfigError(f"config.{path} = {error}") from error
