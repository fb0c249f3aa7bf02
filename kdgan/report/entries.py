"""Which players a table shows, and under which name.

A stage's arms are what a run compares: of every stage that has several, and of the last. A player that is frozen there
is equal in every arm and stands once, under its own name; one that an arm trained stands once per arm; one of an earlier
stage only where this stage does not show it. Later stages have no part in it.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

TEACHER = "teacher"
STUDENT = "student"
ALONE = "main"  # the arm of a stage that compares none


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        label: what it is called: "teacher", "student · kd".
        player: whose parameters these are.
        arm: the arm of the stage compared that trained it; None for a frozen player, or one of an earlier stage.
        variant: "" for the player at the last step; else what its parameters are: "best by validation".
        metrics: metric -> {"mean", "std", "ci95", "values"}.
        name: its key in the summary and in evaluation.npz: "student (best by validation)".
        source: (stage, arm) where it stands under that key: of those that have it as it is, the earliest.
    """

    label: str
    player: str
    arm: str | None
    variant: str
    metrics: Mapping[str, Any]
    name: str
    source: tuple[str, str]


def comparisons(summary: Mapping[str, Any]) -> list[str]:
    """The stages whose arms a report compares: every stage of several arms, and the last, where the run ended."""
    last = last_stage(summary)
    return [name for name in summary.get("stages") or {} if name == last or len(arm_names(summary, name)) > 1]


def shown(summary: Mapping[str, Any], stage: str | None = None) -> tuple[Entry, ...]:
    """The rows of a stage (the last one by default), the teacher's first; each player's variants follow it."""
    stages = _until(summary, stage)
    if not stages:
        return ()
    return tuple(entry for player in _players(stages) for entry in _of_player(summary, stages, player))


def compared(summary: Mapping[str, Any], stage: str | None = None) -> tuple[str | None, dict[str, Mapping[str, Any]]]:
    """(the player that a stage's arms are compared by, arm -> its metrics): the student, where there is one."""
    arms: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in shown(summary, stage):
        if entry.arm is not None and not entry.variant:
            arms.setdefault(entry.player, {})[entry.arm] = entry.metrics
    if not arms:
        return None, {}
    # A discriminator may be listed with nothing measured.
    player = max(arms, key=lambda name: (name == STUDENT, name != TEACHER, any(arms[name].values()), len(arms[name])))
    return player, arms[player]


def cost_of(summary: Mapping[str, Any], stage: str, player: str) -> Mapping[str, Any]:
    """Parameters, FLOPs and latency of a player; it may have another size in another stage."""
    own = (((summary.get("stages") or {}).get(stage) or {}).get("cost") or {}).get(player)
    return own or (summary.get("cost") or {}).get(player) or {}


def training_of(summary: Mapping[str, Any], entry: Entry, stage: str | None = None, what: str = "train_flops") -> Any:
    """What the training took that made an entry's parameters; None where that is unknown, as from a checkpoint.

    Args:
        summary: the content of summary.json.
        entry: as `shown` gives it.
        what: `train_flops`, or `train_seconds`: of one seed.
        stage: the stage it was shown for.
    """
    source, arm = entry.source
    if entry.arm is None and source == (last_stage(summary) if stage is None else stage):
        return None  # frozen there, and no earlier stage left it
    return ((summary["stages"][source].get("arms") or {}).get(arm) or {}).get(what)


def best_on_test_of(summary: Mapping[str, Any], entry: Entry) -> Mapping[str, Any]:
    """The highest test accuracy that an entry's player had in any evaluation of its stage; {} where none was made."""
    stage, arm = entry.source
    of_players = (((summary["stages"].get(stage) or {}).get("arms") or {}).get(arm) or {}).get("best_on_test") or {}
    return of_players.get(entry.player) or {}


def validation_of(summary: Mapping[str, Any], entry: Entry) -> Mapping[str, Any]:
    """An entry's metrics on the validation split, at the last step of the stage that trained it; {} where unknown."""
    stage, arm = entry.source
    return ((arm_records(summary, stage).get(arm) or {}).get("validation") or {}).get(entry.name) or {}


def split_name(name: str) -> tuple[str, str]:
    """Of "student (best by validation)": ("student", "best by validation")."""
    player, _, variant = name.partition(" (")
    return player, variant.removesuffix(")").replace(") (", ", ")


def last_stage(summary: Mapping[str, Any]) -> str | None:
    return next(reversed(summary.get("stages") or {}), None)


def arm_names(summary: Mapping[str, Any], stage: str | None = None) -> list[str]:
    """Arms of a stage (the last one by default), in the order of the config: the first is the baseline."""
    stage = last_stage(summary) if stage is None else stage
    return list(((summary.get("stages") or {}).get(stage) or {}).get("arms") or {})


def arm_records(summary: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """Arm -> what the summary has of it."""
    return ((summary.get("stages") or {}).get(stage) or {}).get("arms") or {}


def _until(summary: Mapping[str, Any], stage: str | None) -> dict[str, Any]:
    """The stages up to one, which stands last; all of them by default."""
    stages = dict(summary.get("stages") or {})
    names = list(stages)
    return stages if stage is None else {name: stages[name] for name in names[: names.index(stage) + 1]}


def _players(stages: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys(
        split_name(name)[0] for stage in stages.values() for players in _arms(stage).values() for name in players
    )
    return sorted(names, key=lambda name: name != TEACHER)


def _arms(stage: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {arm: record.get("players") or {} for arm, record in (stage.get("arms") or {}).items()}


def _of_player(summary: Mapping[str, Any], stages: dict[str, Any], player: str) -> Iterator[Entry]:
    last = next(reversed(stages))
    arms = _arms(stages[last])
    trained_before = any(player in players for stage in list(stages)[:-1] for players in _arms(stages[stage]).values())
    trained: list[str] = []
    frozen: dict[str, list[str]] = {}
    for arm, players in arms.items():
        if player not in players:
            continue
        if _origin(stages, player, players[player]) or (
            not trained_before and _has_no_weights(summary, last, arm, player)
        ):
            frozen.setdefault(_fingerprint(players[player]), []).append(arm)
        else:
            trained.append(arm)
    for names in frozen.values():
        label = player if len(frozen) == 1 else f"{player} · {', '.join(names)}"
        metrics = arms[names[0]][player]
        origin = _origin(stages, player, metrics)
        yield Entry(label, player, None, "", metrics, player, origin or (last, names[0]))
        if origin is not None:
            yield from _variants(label, player, None, origin, _arms(stages[origin[0]])[origin[1]])
    if not frozen and len(trained) < len(arms):
        yield from _earlier(stages, player)
    for arm in trained:
        label = player if list(arms) == [ALONE] else f"{player} · {arm}"
        yield Entry(label, player, arm, "", arms[arm][player], player, (last, arm))
        yield from _variants(label, player, arm, (last, arm), arms[arm])


def _earlier(stages: Mapping[str, Any], player: str) -> Iterator[Entry]:
    """The player as the latest earlier stage left it."""
    for stage in list(stages)[-2::-1]:
        arms = {arm: players for arm, players in _arms(stages[stage]).items() if player in players}
        for arm, players in arms.items():
            label = player if len(arms) == 1 else f"{player} · {stage}/{arm}"
            yield Entry(label, player, None, "", players[player], player, (stage, arm))
            yield from _variants(label, player, None, (stage, arm), players)
        if arms:
            return


def _variants(
    label: str, player: str, arm: str | None, source: tuple[str, str], players: Mapping[str, Any]
) -> Iterator[Entry]:
    for name, metrics in players.items():
        base, variant = split_name(name)
        if base == player and variant:
            yield Entry(label, player, arm, variant, metrics, name, source)


def _origin(stages: Mapping[str, Any], player: str, metrics: Mapping[str, Any]) -> tuple[str, str] | None:
    """(stage, arm) of an earlier stage that left the player exactly as it is here: it was not trained since."""
    wanted = _fingerprint(metrics)
    for stage in list(stages)[:-1]:
        for arm, players in _arms(stages[stage]).items():
            if player in players and _fingerprint(players[player]) == wanted:
                return stage, arm
    return None


def _fingerprint(metrics: Mapping[str, Any]) -> str:
    """The numbers that a player's parameters alone decide; agreement depends on the teacher, too."""
    own = {name: record.get("values") for name, record in metrics.items() if name != "agreement"}
    return json.dumps(own, sort_keys=True)


def _has_no_weights(summary: Mapping[str, Any], stage: str, arm: str, player: str) -> bool:
    """Whether the arm has λ's, and none for this player: it comes from a checkpoint and was not trained."""
    config = ((summary.get("config") or {}).get("stages") or {}).get(stage) or {}
    own = (config.get("arms") or {}).get(arm) or {}
    # As a config is resolved: an arm's λ's join its stage's, and a method of another name starts with none.
    base = config.get("lambdas") or {} if _method(own, config) == _method({}, config) else {}
    weighted = {**base, **(own.get("lambdas") or {})}
    return bool(weighted) and player not in weighted


def _method(own: Mapping[str, Any], stage: Mapping[str, Any]) -> Any:
    for fields in (own, stage):
        method = fields.get("method")
        name = method.get("name") if isinstance(method, Mapping) else method
        if name is not None:
            return name
    return None
