"""The config of a command line: `--config=FILE`, and `--config.<field>=<value>` for any field that a config may have.

A file is a config's .py (with arguments behind a colon), a run's config.json, or a run's workdir. ml_collections sets the
fields that the config has; `open_field` first makes those that it leaves to their defaults, as `run/schema.py` has them.
"""

import dataclasses
import difflib
import importlib.util
import inspect
import json
import keyword
import pathlib
import sys
import traceback
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FieldReference

from kdgan import files
from kdgan.run import schema
from kdgan.run.config import ConfigError


class CommandLineError(Exception):
    """What is wrong with --config or one of its fields; no ValueError, which absl would put its own words around."""


class ConfigParser(flags.ArgumentParser):
    """Makes a config of a file's name, ready to take the fields that the command line sets."""

    def parse(self, argument: str) -> ConfigDict:
        """The config of a file, locked.

        Raises:
          CommandLineError: there is no such file, it makes no config, or a field on the command line cannot be set.
        """
        try:
            config = load(argument)
            for path in overridden(sys.argv):
                open_field(config, path)
        except (ConfigError, OSError) as error:
            raise CommandLineError(str(error)) from error
        config.lock()
        return config

    def flag_type(self) -> str:
        return "config object"


def overridden(arguments: Sequence[str]) -> list[str]:
    """The fields that a command line sets: "data.name" of `--config.data.name=mnist` and `--noconfig.data.name`."""
    names = (argument.lstrip("-").partition("=")[0] for argument in arguments if argument.startswith("-"))
    return [name.partition(".")[2] for name in names if name.startswith(("config.", "noconfig."))]


def load(argument: str) -> ConfigDict:
    """The config that `FILE.py`, `FILE.py:arguments`, a run's `config.json` or a run's workdir makes.

    Raises:
      ConfigError: it makes none; the message says at which line.
    """
    name, _, given = argument.partition(":")
    path = files.folder(name)
    if (path / "config.json").is_file():
        path = path / "config.json"
    if path.is_dir():
        raise ConfigError(
            f"--config={argument}: {path} is a folder without a config.json; a .py file, or a run's workdir"
        )
    if not path.is_file():
        near = _nearest(path.name, [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else [])
        raise ConfigError(f"--config={argument}: there is no file {path}{near}")
    if path.suffix == ".json":
        return _load_json(path, argument)
    return _load_python(path, given, argument)


def _load_json(path: pathlib.Path, argument: str) -> ConfigDict:
    try:
        fields = files.read_json(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config={argument}: {error}") from error
    if not isinstance(fields, Mapping):
        raise ConfigError(f"--config={argument}: {path} holds {json.dumps(fields)[:40]}, no mapping of fields")
    return _ordered(fields)


def _ordered(fields: Mapping) -> ConfigDict:
    config = ConfigDict(sort_keys=False)
    for name, value in fields.items():
        config[name] = _ordered(value) if isinstance(value, Mapping) else value
    return config


def _load_python(path: pathlib.Path, given: str, argument: str) -> ConfigDict:
    spec = importlib.util.spec_from_file_location("config_file", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config={argument}: a .py file, a run's config.json or its workdir is accepted")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a file of the user's own raises
        raise _of_file(error, path, argument) from error
    make = getattr(module, "get_config", None)
    if not callable(make):
        raise ConfigError(f"--config={argument}: {path} has no function get_config()")
    if given and not inspect.signature(make).parameters:
        raise ConfigError(f"--config={argument}: {path} takes no arguments; leave out ':{given}'")
    try:
        config = make(given) if given else make()
    except ConfigError:
        raise
    except Exception as error:
        raise _of_file(error, path, argument) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"--config={argument}: get_config() of {path} returns {type(config).__name__}, no ConfigDict")
    return config


def _of_file(error: Exception, path: pathlib.Path, argument: str) -> ConfigError:
    """An error inside a config's file, as one line with its place there."""
    if isinstance(error, SyntaxError):
        line, words = error.lineno, error.msg
    else:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line, words = (lines[-1] if lines else None), str(error)
    where = f"{path}" + (f", line {line}" if line else "")
    return ConfigError(f"--config={argument}: {where}: {type(error).__name__}: {' '.join(words.split())}")


# Fields that a file leaves to their defaults.


def open_field(config: ConfigDict, path: str) -> None:
    """Make a field such that the command line can set it, to a value of any type that it may have.

    Args:
      config: changed in place.
      path: "players.student.optimizer.weight_decay".

    Raises:
      ConfigError: no config has such a field, or this one no such player, stage or arm.
    """
    names = path.split(".")
    node, kind, where = config, schema.Config, "config"
    for place, name in enumerate(names):
        kind = _kind_of(name, kind, _labels(config, node, names[:place]), where)
        where += f".{name}"
        with node.unlocked():
            if place == len(names) - 1:
                _open(node, name, kind)
            else:
                node = _section(node, name, kind, where, names[place + 1])


def _kind_of(name: str, kind: Any, labels: Sequence[str] | None, where: str) -> Any:
    """The type of a field of a section of some type; `labels` are the names that a mapping takes, None: any."""
    if dataclasses.is_dataclass(kind):
        accepted, entry = list(schema.hints(kind)), schema.hints(kind).get(name)
    else:
        accepted, entry = list(labels or ()), (typing.get_args(_mapping(kind)) or (None, object))[1]
    if name in accepted or (labels is None and not dataclasses.is_dataclass(kind)):
        return entry
    near = _nearest(name, accepted)
    if keyword.iskeyword(name) and not near:
        elsewhere = difflib.get_close_matches(name, schema.hints(schema.StageFields), n=1)
        meant = f": did you mean {elsewhere[0]!r} of a stage?" if elsewhere else ""
        near = f"; {name} is a keyword of Python{meant}"
    raise ConfigError(f"--{where}.{name}: no such field{near}; accepted are {', '.join(accepted) or 'none'}")


def _labels(config: ConfigDict, node: ConfigDict, names: Sequence[str]) -> Sequence[str] | None:
    """The names that a mapping of players, stages or arms takes; None where any name is accepted."""
    if not names:
        return None
    if names[-1] in ("players", "start", "optimizers") and (len(names) == 1 or names[0] != "players"):
        return list(config.get("players", {}))
    return list(node) if names[-1] in ("stages", "arms") else None


def _mapping(kind: Any) -> Any:
    """The mapping among the types of a field."""
    return next((o for o in schema.options(kind) if (typing.get_origin(o) or o) is Mapping), None)


def _section(node: ConfigDict, name: str, kind: Any, where: str, inside: str) -> ConfigDict:
    """The mapping at `node[name]`, made where it is absent or written in short: start="teacher", method="kd"."""
    value = node.get(name)
    if isinstance(value, str) and kind is schema.Start:
        stage, _, arm = value.partition("/")
        value = {"stage": stage, **({"arm": arm} if arm else {})}
    elif isinstance(value, str) and name == "method":
        value = {"name": value}
    if value is None:
        value = {"train": None} if name == "data" and name in node else {}  # of a stage without data
    if not isinstance(value, ConfigDict | Mapping):
        raise ConfigError(f"--{where}.{inside}: {where} is {value!r}, which has no fields")
    if not isinstance(value, ConfigDict):
        if name in node:
            del node[name]
        node[name] = ConfigDict(dict(value), sort_keys=False)
    return node[name]


def _open(node: ConfigDict, name: str, kind: Any) -> None:
    """Text where the field takes nothing but text; else the value as Python writes it, checked when it is resolved."""
    value = node.get(name)
    only_text = set(schema.options(kind)) == {str}
    if name in node:
        del node[name]
    node[name] = FieldReference(value, field_type=str if only_text else object)


def _nearest(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
