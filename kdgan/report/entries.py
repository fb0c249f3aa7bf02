"""Which players a table shows, and under which name.

A stage's arms are what a run compares: of every stage that has several, and of the last. A player that is frozen there
is equal in every arm and stands once, under its own name; one that an arm trained stands once per arm; one of an earlier
stage only where this stage does not show it. Later stages have no part in it.

Which of these a player is, an arm's `origins` in the summary say (`run/origins.py` has their fields). In a summary without
them, which an older version wrote, every player counts as trained by its arm.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

TEACHER = "teacher"
STUDENT = "student"
ALONE = "main"  # the arm of a stage that compares none
PARTS = ("only", "skip", "transfer")  # fields of a record that starts from a part of a player


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        label: what it is called: "teacher", "student · kd".
        player: whose parameters these are.
        arm: the arm of the stage compared that trained it; None for a frozen player, or one of an earlier stage.
        variant: "" for the player at the last step; else what its parameters are: "best by validation".
        metrics: measure -> {"mean", "std", "ci95", "values"}, in the order of its evaluators' measures.
        name: its key in the summary and in evaluation.npz: "student (best by validation)".
        source: (stage, arm) where it stands under that key: of those that have it as it is, the earliest.
        trained: (stage, arm) that trained it; None where no stage of this run did.
        origin: the summary's record of where it came from, followed through the stages that kept it frozen.
    """

    label: str
    player: str
    arm: str | None
    variant: str
    metrics: Mapping[str, Any]
    name: str
    source: tuple[str, str]
    trained: tuple[str, str] | None
    origin: Mapping[str, Any]


class _Origin(NamedTuple):
    """As in `Entry`; equal for equal players."""

    source: tuple[str, str]
    trained: tuple[str, str] | None
    record: Mapping[str, Any]

    @property
    def identity(self) -> str:
        return json.dumps([self.trained, self.record], sort_keys=True)


def comparisons(summary: Mapping[str, Any]) -> list[str]:
    """The stages whose arms a report compares: every stage of several arms, and the last, where the run ended."""
    last = last_stage(summary)
    return [name for name in summary.get("stages") or {} if name == last or len(arm_names(summary, name)) > 1]


def shown(summary: Mapping[str, Any], stage: str | None = None) -> tuple[Entry, ...]:
    """The rows of a stage (the last one by default), the teacher's first; each player's variants follow it."""
    stages = _until(summary, stage)
    if not stages:
        return ()
    return tuple(entry for player in _players(stages) for entry in _of_player(stages, player))


def compared(summary: Mapping[str, Any], stage: str | None = None) -> tuple[str | None, dict[str, Mapping[str, Any]]]:
    """(the player that a stage's arms are compared by, arm -> its measures): the student, where there is one."""
    arms: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in shown(summary, stage):
        if entry.arm is not None and not entry.variant:
            arms.setdefault(entry.player, {})[entry.arm] = entry.metrics
    if not arms:
        return None, {}
    # A discriminator may be listed with nothing measured.
    player = max(arms, key=lambda name: (name == STUDENT, name != TEACHER, any(arms[name].values()), len(arms[name])))
    return player, arms[player]


def cost_of(summary: Mapping[str, Any], stage: str, player: str, arm: str | None = None) -> Mapping[str, Any]:
    """Parameters, FLOPs and latency of a player; it may be another network in another stage, or in another arm."""
    record = (summary.get("stages") or {}).get(stage) or {}
    of_arm = (((record.get("arms") or {}).get(arm) or {}).get("cost") or {}).get(player)
    return of_arm or (record.get("cost") or {}).get(player) or (summary.get("cost") or {}).get(player) or {}


def cost_of_entry(summary: Mapping[str, Any], entry: Entry) -> Mapping[str, Any]:
    """`cost_of` of the player of a row."""
    stage, arm = entry.source
    return cost_of(summary, stage, entry.player, arm)


def training_of(summary: Mapping[str, Any], entry: Entry, what: str = "train_flops") -> Any:
    """What the training took that made an entry's parameters; None where that is unknown, as from a checkpoint.

    Args:
        summary: the content of summary.json.
        entry: as `shown` gives it.
        what: `train_flops`, or `train_seconds`: of one seed.
    """
    if entry.trained is None:
        return None
    stage, arm = entry.trained
    return ((summary["stages"][stage].get("arms") or {}).get(arm) or {}).get(what)


def best_on_test_of(summary: Mapping[str, Any], entry: Entry) -> Mapping[str, Any]:
    """The best that an entry's player had on the test split in any evaluation of its stage; {} where none was made."""
    stage, arm = entry.source
    of_players = (((summary["stages"].get(stage) or {}).get("arms") or {}).get(arm) or {}).get("best_on_test") or {}
    return of_players.get(entry.player) or {}


def validation_of(summary: Mapping[str, Any], entry: Entry) -> Mapping[str, Any]:
    """An entry's measures on the validation split, at the last step of the stage that trained it; {} where unknown."""
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


def _of_player(stages: dict[str, Any], player: str) -> Iterator[Entry]:
    last = next(reversed(stages))
    arms = _arms(stages[last])
    origins = {arm: _origin(stages, last, arm, player) for arm, players in arms.items() if player in players}
    trained = [arm for arm, origin in origins.items() if origin.trained == (last, arm)]
    frozen: dict[str, list[str]] = {}
    for arm, origin in origins.items():
        if arm not in trained:
            frozen.setdefault(origin.identity, []).append(arm)
    for names in frozen.values():
        label = player if len(frozen) == 1 else f"{player} · {', '.join(names)}"
        yield from _entries(stages, label, player, None, arms[names[0]][player], origins[names[0]])
    if not frozen and len(trained) < len(arms):
        yield from _earlier(stages, player)
    for arm in trained:
        label = player if list(arms) == [ALONE] else f"{player} · {arm}"
        yield from _entries(stages, label, player, arm, arms[arm][player], origins[arm])


def _earlier(stages: Mapping[str, Any], player: str) -> Iterator[Entry]:
    """The player as the latest earlier stage left it."""
    for stage in list(stages)[-2::-1]:
        arms = {arm: players[player] for arm, players in _arms(stages[stage]).items() if player in players}
        origins = {arm: _origin(stages, stage, arm, player) for arm in arms}
        first = {origin.identity: arm for arm, origin in reversed(origins.items())}
        for arm in sorted(first.values(), key=list(arms).index):
            label = player if len(first) == 1 else f"{player} · {'/'.join(origins[arm].source)}"
            yield from _entries(stages, label, player, None, arms[arm], origins[arm])
        if arms:
            return


def _entries(
    stages: Mapping[str, Any], label: str, player: str, arm: str | None, metrics: Mapping[str, Any], origin: _Origin
) -> Iterator[Entry]:
    """The player, then its variants as they stand where it was trained."""
    stage, source = origin.source
    record = stages[stage]["arms"][source]
    yield Entry(label, player, arm, "", _in_order(record, player, metrics), player, *origin)
    for name, values in _arms(stages[stage])[source].items():
        base, variant = split_name(name)
        if base == player and variant:
            yield Entry(label, player, arm, variant, _in_order(record, player, values), name, *origin)


def _in_order(record: Mapping[str, Any], player: str, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """A player's measures in the order in which its arm says that it has them: it is compared by the first."""
    order = (record.get("measured") or {}).get(player) or ()
    return {name: metrics[name] for name in (*order, *metrics) if name in metrics}


def _origin(stages: Mapping[str, Any], stage: str, arm: str, player: str) -> _Origin:
    """Where the player of an arm came from: through the stages in which it was frozen, to where it was trained or read."""
    name, source = player, (stage, arm)
    while True:
        origins = ((stages[stage].get("arms") or {}).get(arm) or {}).get("origins") or {}
        record = origins.get(split_name(name)[0], {"trained": True})
        if record["trained"]:
            return _Origin(source, (stage, arm), {**record, "entry": name})
        if record["start"] != "stage" or any(record.get(part) for part in PARTS):
            return _Origin(source, None, record)
        stage, arm, name = record["stage"], record["arm"], record["player"]
        if name == player:
            source = (stage, arm)


def is_recorded(summary: Mapping[str, Any]) -> bool:
    """Whether the summary says where its players came from; one that an older version wrote does not."""
    arms = [arm for stage in (summary.get("stages") or {}).values() for arm in (stage.get("arms") or {}).values()]
    return all("origins" in arm for arm in arms if arm.get("players"))
