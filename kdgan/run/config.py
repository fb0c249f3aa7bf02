"""A config checked: `resolve(config)` turns nested mappings into a `Run` (`run/schema.py`), or raises one clear error.

Fields, types and defaults stand in `run/schema.py`, each once; what a config leaves out has its default. Nothing is computed
and nothing is built: that a method or a model exists is checked where it is built (`run/build.py`). Types are checked in
`run/values.py`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.run import no_data, schema
from kdgan.run.schema import Arm, Config, Data, Evaluate, Optimizer, Player, Run, Stage, StageFields, Start, Weights
from kdgan.run.values import ConfigError, build, check_labels, check_names, mapping_of, typed

__all__ = ["ConfigError", "check_labels", "differences", "plain", "resolve"]


SECTIONS = tuple(schema.hints(Config))
_STAGE_FIELDS = tuple(schema.hints(StageFields))
WEIGHTS = ("path", "names", "player", "arm", "member", "any_degradation")  # fields of a player's weights


def plain(config: Any) -> Any:
    """A config (ConfigDict or mapping) as plain dicts and lists in the order written: what config.json holds."""
    if hasattr(config, "items"):
        return {str(name): plain(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    return config


def resolve(config: Any) -> Run:
    """Check every field's name and type, and merge the defaults into players, stages and arms.

    Raises:
      ConfigError: the first field that is unknown, missing, or of another type or range.
    """
    raw = plain(config)
    check_names(raw, SECTIONS, "config")
    raw = {**_defaults(Config()), **raw}
    for kind in ("players", "stages"):
        check_labels(raw[kind], kind)
    defaults = _merge(_defaults(Player()), raw["player"], "player", free=("model_args",))
    fields = {
        name: _merge(defaults, own, f"players.{name}", free=("model_args",)) for name, own in raw["players"].items()
    }
    players = {name: build(Player, own, f"players.{name}") for name, own in fields.items()}
    raw["stage"] = _merge_stage(_defaults(StageFields()), raw["stage"], "stage")
    raw["data"] = no_data.fields({}, mapping_of(raw["data"], "data"), "data")
    sections = {
        name: typed(raw[name], hint, name)
        for name, hint in schema.hints(Config).items()
        if name not in ("player", "players", "stage", "stages")
    }
    run = Run(players=players, stages=tuple(_stages(raw, fields)), **sections)
    _check_extractor(run.evaluate)
    _check_ranges(run)
    _check_profile(run)
    _check_published(run)
    return run


def differences(old: Mapping, new: Mapping, path: str = "") -> list[str]:
    """Lines `field: old value -> new value` for every field in which two plain configs differ."""
    lines = []
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name, "absent"), new.get(name, "absent")
        where = f"{path}{name}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{where}.")
        elif a != b:
            lines.append(f"config.{where}: {a} -> {b}")
    return lines


def _defaults(section: Any) -> dict[str, Any]:
    """The fields of a section with their defaults, as plain dicts."""
    return plain(dataclasses.asdict(section))


def _check_extractor(evaluate: Evaluate) -> None:
    given = [n for n in ("stage", "checkpoint", "inception") if getattr(evaluate.extractor, n) is not None]
    if len(given) > 1:
        raise ConfigError(f"config.evaluate.extractor: {' and '.join(given)} are set; name one source of weights")


def _stages(raw: Mapping, players: Mapping[str, Mapping]):
    known: dict[str, tuple[str, ...]] = {}
    for index, (name, own) in enumerate(raw["stages"].items()):
        path = f"stages.{name}"
        merged = _merge_stage(raw["stage"], own, path)
        arms, data = merged.pop("arms"), _stage_data(raw["data"], merged.pop("data"), path)
        check_labels(arms, f"{path}.arms")
        if of_its_own := next((arm for arm, fields in arms.items() if "data" in mapping_of(fields, path)), None):
            raise ConfigError(f"config.{path}.arms.{of_its_own}.data: arms of a stage share its data; set {path}.data")
        each = {arm: _merge_stage(merged, fields, f"{path}.arms.{arm}") for arm, fields in arms.items()}
        for arm, fields in each.items():
            del fields["data"]
            if fields.pop("arms", None):
                raise ConfigError(f"config.{path}.arms.{arm}.arms: an arm has no arms of its own")
        each = each or {"main": merged}
        places = {arm: f"{path}.arms.{arm}" if arms else path for arm in each}
        built = tuple(_arm(arm, fields, places[arm], data.augment, players, known) for arm, fields in each.items())
        if data.train is None:
            for arm in built:
                no_data.check(arm, places[arm.name])
        yield Stage(name, index, built, data)
        known[name] = tuple(each)


def _stage_data(of_run: Any, own: Mapping, path: str) -> Data:
    """The data of a stage: the run's, with the fields in which the stage differs; its augmentation replaces the run's."""
    check_names(own, tuple(schema.hints(Data)), f"{path}.data")
    fields = no_data.fields(mapping_of(of_run, "data"), own, f"{path}.data")
    return typed(fields, Data, f"{path}.data" if own else "data")


def _arm(name, fields, path, augment, players, known) -> Arm:
    check_names(fields, tuple(name for name in _STAGE_FIELDS if name not in ("arms", "data")), path)
    for field in ("start", "optimizers", "players"):
        check_names(fields[field], tuple(players), f"{path}.{field}")
    own_players = {
        player: _override(defaults, fields["players"].get(player, {}), f"{path}.players.{player}")
        for player, defaults in players.items()
    }
    for player, terms in fields["lambdas"].items():
        for term, value in mapping_of(terms, f"{path}.lambdas.{player}").items():
            if isinstance(value, Mapping):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(
                    f"config.{path}.lambdas.{player}.{term} = {value!r}: expected a finite number, or dict(kind=...)"
                )
    for player, settings in fields["optimizers"].items():
        check_names(settings, tuple(schema.hints(Optimizer)), f"{path}.optimizers.{player}")
    start = {
        player: _start(player, where, f"{path}.start.{player}", known) for player, where in fields["start"].items()
    }
    start = {**_weights(own_players, fields["players"], path), **start}
    fields = {**fields, "start": start, "name": name, "players": own_players}
    fields["augment"] = augment if fields["augment"] is None else fields["augment"]
    arm = build(Arm, fields, path)
    for names in ("cached", "beside"):
        check_names(dict.fromkeys(getattr(arm, names)), tuple(players), f"{path}.{names}")
    return arm


def _override(defaults: Mapping, own: Any, path: str) -> Player:
    """A player with the fields in which a stage differs; another model starts with no arguments or weights of the first."""
    if mapping_of(own, path).get("model", defaults["model"]) != defaults["model"]:
        defaults = {**defaults, "model_args": {}, "weights": None}
    return build(Player, _merge(defaults, own, path, free=("model_args",)), path)


def _weights(players: Mapping[str, Player], own: Mapping[str, Any], path: str) -> dict[str, Start]:
    """The starts that weights of players stand for; `own` is what a stage says of players."""
    starts: dict[str, Start] = {}
    for name, player in players.items():
        field = f"{path}.players.{name}.weights" if "weights" in own.get(name, {}) else f"players.{name}.weights"
        given = {"path": player.weights} if isinstance(player.weights, str) else player.weights
        if given is None:
            continue
        if given == {"path": ""}:
            raise ConfigError(f"config.{field} = {player.weights!r}: a file, a folder, or None is accepted")
        check_names(given, WEIGHTS, field)
        if not isinstance(given.get("path"), str):
            raise ConfigError(f"config.{field} = {dict(given)}: path, a file or a folder, is missing")
        fields = {**{key: value for key, value in given.items() if key != "path"}, "checkpoint": given["path"]}
        start = _start(name, fields, field, {})
        starts[name] = Weights(**{**vars(start), "field": f"config.{field}"})
    return starts


def _start(player: str, where: Any, path: str, known: Mapping[str, tuple[str, ...]]) -> Start:
    if isinstance(where, str):
        stage, _, arm = where.partition("/")
        where = {"stage": stage, "arm": arm or None}
    start = build(Start, mapping_of(where, path), path)
    if (start.stage is None) == (start.checkpoint is None):
        raise ConfigError(f"config.{path} = {where}: name either a stage of this run or a checkpoint folder")
    bad = [pair for pair in start.names.items() if not all(isinstance(name, str) for name in pair)]
    if bad or (start.names and start.checkpoint is None):
        raise ConfigError(
            f"config.{path}.names = {dict(start.names)}: of a file of PyTorch, layer of the player -> layer of the file, is"
            " accepted"
        )
    if isinstance(start.member, str) and start.member != "each":
        raise ConfigError(
            f"config.{path}.member = {start.member!r}: accepted are 'each' or a seed of the checkpoint's run"
        )
    if start.stage is not None and start.member != "each":
        raise ConfigError(
            f"config.{path}.member = {start.member!r}: from a stage of this run every seed takes its own; member belongs to"
            " a checkpoint of several seeds"
        )
    start = dataclasses.replace(start, player=start.player or player)
    if start.stage is None:
        return start
    if start.stage not in known:
        earlier = ", ".join(known) or "none"
        raise ConfigError(
            f"config.{path} = {start.stage!r}: no earlier stage of that name; earlier stages are {earlier}"
        )
    arms = known[start.stage]
    if start.arm is None and len(arms) > 1:
        raise ConfigError(
            f"config.{path} = {start.stage!r}: say which arm, '{start.stage}/ARM'; arms are {', '.join(arms)}"
        )
    if start.arm is not None and start.arm not in arms:
        raise ConfigError(f"config.{path}: stage {start.stage!r} has no arm {start.arm!r}; arms are {', '.join(arms)}")
    return dataclasses.replace(start, arm=start.arm or arms[0])


def _merge(defaults: Mapping, own: Any, path: str, free: Sequence[str] = ()) -> dict:
    """`own` over `defaults`, field by field; fields in `free` hold names of others' choosing and are not checked."""
    own = mapping_of(own, path)
    check_names(own, tuple(defaults), path)
    merged = dict(defaults)
    for name, value in own.items():
        nested = isinstance(defaults[name], Mapping) and isinstance(value, Mapping)
        if nested and name not in free:
            merged[name] = _merge(defaults[name], value, f"{path}.{name}")
        else:
            merged[name] = {**defaults[name], **value} if nested else value
    return merged


def _merge_stage(defaults: Mapping, own: Any, path: str) -> dict:
    """A stage over its defaults, an arm over its stage: λ's and starts join by player, a method of another name replaces."""
    own = mapping_of(own, path)
    check_names(own, _STAGE_FIELDS, path)
    merged = {**defaults, **own}
    if isinstance(merged["method"], str):
        merged["method"] = {"name": merged["method"]}
    method = mapping_of(own.get("method", {}), f"{path}.method") if not isinstance(own.get("method"), str) else None
    if method is not None and method.get("name", defaults["method"]["name"]) == defaults["method"]["name"]:
        merged["method"] = {**defaults["method"], **method}
    same_method = merged["method"]["name"] == defaults["method"]["name"]
    merged["data"] = {
        **no_data.written_out(defaults.get("data", {}), f"{path}.data"),
        **no_data.written_out(own.get("data", {}), f"{path}.data"),
    }
    for field in ("lambdas", "start", "optimizers", "players"):
        mine = mapping_of(own.get(field, {}), f"{path}.{field}")
        base = defaults[field] if field != "lambdas" or same_method else {}
        merged[field] = {
            **base,
            **{k: {**base[k], **v} if isinstance(v, Mapping) and isinstance(base.get(k), Mapping) else v
               for k, v in mine.items()},
        }  # fmt: skip
    return merged


def _check_ranges(run: Run) -> None:
    """Numbers that no part of the run could use."""
    of_stages = {f"stages.{stage.name}.data": stage.data for stage in run.stages if stage.data != run.data}
    at_least: dict[str, tuple[Any, int]] = {
        f"{where}.{field}": (getattr(data, field), 0)
        for where, data in {"data": run.data, **of_stages}.items()
        for field in ("validation", "unlabelled_batch_size", "workers")
    }
    at_least |= {
        "population.seeds": (run.population.seeds, 1),
        "evaluate.batch_size": (run.evaluate.batch_size, 1),
        "evaluate.samples": (run.evaluate.samples, 1),
        "evaluate.validation_samples": (run.evaluate.validation_samples, 1),
        "evaluate.every": (run.evaluate.every, 1),
        "checkpoint.every": (run.checkpoint.every, 1),
        "checkpoint.keep": (run.checkpoint.keep, 1),
        "log.every": (run.log.every, 1),
        "parallel.devices": (run.parallel.devices, 0),
        "parallel.steps_per_call": (run.parallel.steps_per_call, 1),
        "parallel.seeds_per_chunk": (run.parallel.seeds_per_chunk, 1),
    }
    for stage in run.stages:
        for arm in stage.arms:
            where = f"stages.{stage.name}" + ("" if arm.name == "main" else f".arms.{arm.name}")
            at_least[f"{where}.steps"] = (arm.steps, 1)
            at_least[f"{where}.batch_size"] = (arm.batch_size, 1)
            at_least[f"{where}.views"] = (arm.views, 1)
    for name, (value, low) in at_least.items():
        if value is not None and value < low:
            raise ConfigError(f"config.{name} = {value}: must be at least {low}")
    accepted = {
        "parallel.members": (run.parallel.members, ("auto", "in_turn", "unrolled", "vmap", "devices")),
        "parallel.convolutions": (run.parallel.convolutions, ("auto", "direct", "patches", "rows")),
        "parallel.compute": (run.parallel.compute, ("float32", "bfloat16")),
        **{
            f"{where}.on_bad_image": (data.on_bad_image, ("refuse", "skip"))
            for where, data in {"data": run.data, **of_stages}.items()
        },
    }
    for name, (found, values) in accepted.items():
        if found not in values:
            raise ConfigError(f"config.{name} = {found!r}: accepted are {', '.join(values)}")
    chunk = run.parallel.seeds_per_chunk
    if chunk is not None and run.population.seeds % chunk:
        raise ConfigError(
            f"config.parallel.seeds_per_chunk = {chunk}: must divide the {run.population.seeds} of population.seeds"
        )
    if not run.stages:
        raise ConfigError("config.stages is empty: name at least one stage")
    for stage in run.stages:
        for arm in stage.arms:
            for name, player in arm.players.items():
                _check_player(name, player)
                if player.quantise is not None and run.parallel.convolutions in ("patches", "rows"):
                    raise ConfigError(
                        f"config.players.{name}.quantise = {player.quantise!r}: {run.parallel.convolutions} are rounded by"
                        ' other scales than images; set config.parallel.convolutions to "direct" or "auto"'
                    )


def _check_profile(run: Run) -> None:
    steps, names = tuple(run.profile.steps), [stage.name for stage in run.stages]
    if run.profile.stage not in (None, *names):
        raise ConfigError(f"config.profile.stage = {run.profile.stage!r}: stages are {', '.join(names)}")
    if steps and not (len(steps) == 2 and all(isinstance(s, int) for s in steps) and 0 <= steps[0] < steps[1]):
        raise ConfigError(f"config.profile.steps = {steps}: expected (first, last), 0 <= first < last, or () for none")
    profiled = next(stage for stage in run.stages if stage.name == (run.profile.stage or names[0]))
    if steps and steps[1] > profiled.steps:
        raise ConfigError(f"config.profile.steps = {steps}: stage {profiled.name} has {profiled.steps:,} steps")


def _check_published(run: Run) -> None:
    known = {stage.name: tuple(arm.name for arm in stage.arms) for stage in run.stages}
    check_names(run.report.published, tuple(known), "report.published")
    for stage, arms in run.report.published.items():
        check_names(arms, known[stage], f"report.published.{stage}")


def _check_player(name: str, player: Player) -> None:
    if player.ema is not None and not 0 < player.ema < 1:
        raise ConfigError(f"config.players.{name}.ema = {player.ema}: must be between 0 and 1, or None")
    if player.outputs not in schema.OUTPUTS:
        raise ConfigError(
            f"config.players.{name}.outputs = {player.outputs!r}: {' or '.join(map(repr, schema.OUTPUTS))} is accepted"
        )
    inputs = player.inputs
    if "" in inputs or len({*inputs}) != len(inputs):
        raise ConfigError(
            f"config.players.{name}.inputs = {inputs}: names of fields of the data, each once, are accepted"
        )
    for field in ("mean", "std"):
        value = getattr(player, field)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        bad = [n for n in numbers if isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n)]
        if value == () or bad or (field == "std" and any(n <= 0 for n in numbers)):
            wanted = "a positive number" if field == "std" else "a number"
            raise ConfigError(
                f"config.players.{name}.{field} = {value}: {wanted}, one for each channel, or None is accepted"
            )
    if player.image_size is not None:
        sides = player.image_size if isinstance(player.image_size, tuple) else (player.image_size,) * 2
        if len(sides) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
            raise ConfigError(
                f"config.players.{name}.image_size = {player.image_size}: (height, width), the side of a square, or None is"
                " accepted"
            )
