"""A config with every default, from which a run's own file starts. `python -m kdgan.config` prints every field.

    from kdgan import config as common

    def get_config():
        config = common.get_config()
        config.data.name = "mnist"
        config.players = common.named(teacher=dict(model="lenet5"), student=dict(model="mlp"))
        config.stages = common.named(
            teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=2_000),
            distill=dict(start=dict(teacher="teacher"), steps=4_000, arms=common.named(scratch=dict(...), kd=dict(...))))
        return config

The fields, their types, defaults and comments stand in `kdgan/run/schema.py`. Any of them can be set on the command line:
`--config.stages.distill.steps=100 --config.data.labelled=1000`.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder  # None, to be set to a value of this type

from kdgan.run import schema
from kdgan.run.config import ConfigError, check_labels

__all__ = ["ConfigDict", "anything", "arguments", "get_config", "named"]


def named(**entries) -> ConfigDict:
    """Players, stages or arms by name, in the order written (a plain ConfigDict would sort them).

    A dict that stands in several places is copied to each: what is set in one of them, here or on the command line, is not
    set in the others.

    Raises:
      ConfigError: a name with a dot, a slash, a space or a bracket.
    """
    check_labels(entries, "players, config.stages, config.stages.<stage>.arms")
    return ConfigDict(_copied(entries), sort_keys=False)


def _copied(value: Any) -> Any:
    """Dicts anew, in lists and tuples, too; of a dict that it meets twice a ConfigDict would make one object."""
    if type(value) is dict:
        return {key: _copied(entry) for key, entry in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value


def anything(default) -> FieldReference:
    """A default that a value of another type may replace: one number, or one per channel."""
    return FieldReference(default, field_type=object)


def get_config() -> ConfigDict:
    """Every field with its default, to be changed by a config's own file."""
    return _section(schema.Config())


def _section(defaults: Any) -> ConfigDict:
    config, kind = ConfigDict(), defaults.__class__
    for name, hint in schema.hints(kind).items():
        config[name] = _default(getattr(defaults, name), schema.options(hint))
    return config


def _default(value: Any, options: tuple[Any, ...]) -> Any:
    """A field's default such that the field takes any value of its type."""
    if dataclasses.is_dataclass(value):
        return _section(value)
    if isinstance(value, Mapping):
        return named(**value)
    kinds = [typing.get_origin(option) or option for option in options if option is not type(None)]
    if len(kinds) > 1:
        return anything(value)
    if value is None and not issubclass(kinds[0], Mapping):
        return placeholder(kinds[0] if kinds[0] in (int, float, str, bool) else tuple)
    return value


def arguments(text: str | None, **accepted) -> dict:
    """What stands behind a config's name: `--config=configs/x.py:n=100,part=search`.

    Args:
      text: that, "n=100,part=search".
      **accepted: of each argument what is accepted, first what it is by default; a string accepts any other.

    Raises:
      ConfigError: an argument that the config does not have, or a value that is not accepted.
    """
    given = {name: values if isinstance(values, str) else next(iter(values)) for name, values in accepted.items()}
    for pair in filter(None, (text or "").split(",")):
        name, _, value = pair.partition("=")
        if name not in accepted:
            raise ConfigError(f"--config=...:{pair}: no argument {name!r}; there are {', '.join(accepted)}")
        values = (value,) if isinstance(accepted[name], str) else accepted[name]
        given[name] = next((option for option in values if str(option) == value), None)
        if given[name] is None:
            raise ConfigError(f"--config=...:{pair}: accepted are {', '.join(map(str, values))}")
    return given


def several(name: str, text: str, accepted: Sequence[str]) -> tuple[str, ...]:
    """What `--config=configs/x.py:name=a+b` names: all that is accepted where the text is "all".

    Raises:
      ConfigError: one that is not accepted.
    """
    asked = tuple(accepted) if text == "all" else tuple(text.split("+"))
    if unknown := [one for one in asked if one not in accepted]:
        raise ConfigError(
            f"--config=...:{name}={text}: there is no {unknown[0]!r}; accepted are all, or with + between them"
            f" {', '.join(accepted)}"
        )
    return asked


def describe() -> str:
    """Every field as a line `config.data.name = "digits"`, with its comment above or behind it."""
    lines = [
        "# What a config may say. A player, stage or arm takes the fields of config.player, config.stage by its name:"
    ]
    lines += ["# config.players.student.ema = 0.99, config.stages.distill.arms.kd.steps = 100.", ""]
    return "\n".join([*lines, *_described(schema.Config(), "config")])


def _described(defaults: Any, path: str) -> Iterator[str]:
    kind = defaults.__class__
    comments = _comments(kind)
    for name in schema.hints(kind):
        above, behind = comments.get(name, ([], ""))
        value = getattr(defaults, name)
        yield from above
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from ([f"# {behind}"] if behind else [])
            yield from _described(value, f"{path}.{name}")
            yield ""
        else:
            shown = f'"{value}"' if isinstance(value, str) else value
            yield f"{path}.{name} = {shown}" + (f"  # {behind}" if behind else "")
            if name == "start":
                yield "#   a start is a dict of"
                yield from (f"#   {line}" for line in _described(schema.Start(), "") if line)


_FIELD = re.compile(r"^    (\w+): .*?(?:  # (.*))?$")


def _comments(cls: type) -> dict[str, tuple[list[str], str]]:
    """Field -> (the comment's lines above it, the comment behind it), from the source."""
    comments: dict[str, tuple[list[str], str]] = {}
    for base in (*cls.__mro__[-2::-1],):
        above: list[str] = []
        for line in inspect.getsource(base).splitlines():
            if line.startswith("    # "):
                above.append(line.strip())
            elif match := _FIELD.match(line):
                comments[match[1]] = (above, match[2] or "")
                above = []
            else:
                above = []
    return comments


if __name__ == "__main__":
    print(describe())
