"""The rows of KDGAN's table (Wang et al. 2018, Table 1), the spaces their hyper-parameters are searched in, the parts of it.

Not a config: kdgan_mnist and kdgan_cifar10 build theirs from it. A row is a function of its hyper-parameters. Every row
has the same number of trials, drawn from its space; every student starts fresh, is updated equally often, and sees the same
augmented images; whoever is given a teacher is given the same one.
"""

import itertools
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdgan import config as common

Chosen = Mapping[str, Any]  # a row's hyper-parameters

TRIALS = 8
# row -> its steps that take about as many operations as one of KDGAN's (results/kdgan.md has both)
LONGER = {"scratch": 9, "kd": 5, "mimic": 5, "codis": 2}
UNTAUGHT = ("scratch", "nagan")  # their teacher is there for their agreement with it, where another row calls it
UNLABELLED = ("kd", "mimic", "noisy", "kdgan", "kdgan_ce")  # rows that can use images without labels
RATES = (5e-4, 1e-3, 2e-3)
WEIGHTS = (0.03, 0.1, 0.3, 1.0)
_PLAIN = dict(rate=(3e-4, *RATES), weight_decay=(0.0, 1e-4))
_MIMIC = dict(rate=RATES, match=WEIGHTS, ce=(0.0, *WEIGHTS))
_JUDGED = dict(rate=RATES, judge_rate=(1e-4, 3e-4, 1e-3), judge=("fresh", "teacher"), tau=(0.3, 1.0, 3.0, "falling"))
_GAME = dict(
    rate=RATES, judge_rate=(3e-4,), judge=("fresh", "teacher"), tau=(1.0, "falling"), alpha=(0.1, 0.3, 0.5, 0.7),
    beta=(*WEIGHTS, 3.0), gamma=(1e-3, 1e-2, 1e-1), distillation=("l2", "kl"), temperature=(2.0, 4.0, 8.0),
    teacher_rate=(1e-4, 3e-4, 1e-3),
)  # fmt: skip

ABLATED = dict(
    alpha=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), beta=(*WEIGHTS, 3.0), gamma=(1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    tau=(0.3, 1.0, 3.0, "falling"),
)  # fmt: skip
# row -> hyper-parameter -> the values that a trial draws from
SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "teacher": _PLAIN,
    "scratch": _PLAIN,
    "kd": dict(rate=RATES, temperature=(1.0, 2.0, 4.0, 8.0), soft=(0.5, 0.9, 1.0)),
    "mimic": _MIMIC,
    "noisy": dict(**_MIMIC, ratio=(0.1, 0.5, 1.0), sigma=(0.1, 0.3, 0.5)),
    "codis": dict(
        rate=RATES, teacher_rate=(1e-4, 3e-4, 1e-3), temperature=(1.0, 2.0, 4.0), match=(0.3, 1.0, 3.0),
        pull=(0.01, 0.1, 1.0), teacher=("fresh", "teacher"),
    ),
    "nagan": _JUDGED,
    "kdgan": _GAME,
    "kdgan_ce": dict(**_GAME, ce=WEIGHTS),
}  # fmt: skip


def cosine(rate: float, **fields) -> dict:
    return dict(learning_rate=rate, schedule="cosine", **fields)


def _falling(tau) -> Any:
    """τ of the label draws: a number, or one that falls exponentially from 10 to 0.1 over the stage."""
    return dict(kind="exponential", start=10.0, end=0.1) if tau == "falling" else tau


def _supervised(player: str, chosen: Chosen) -> dict:
    rate = cosine(chosen["rate"], weight_decay=chosen["weight_decay"])
    return dict(
        method=dict(name="supervised", player=player), lambdas={player: dict(ce=1.0)}, optimizers={player: rate}
    )


def _teacher(chosen: Chosen) -> dict:
    return _supervised("teacher", chosen)


def _scratch(chosen: Chosen) -> dict:
    return dict(_supervised("student", chosen), start=dict(teacher="teacher"))


def _kd(chosen: Chosen) -> dict:
    return dict(
        method=dict(name="kd", temperature=chosen["temperature"]),
        start=dict(teacher="teacher"),
        lambdas=dict(student=dict(ce=round(1 - chosen["soft"], 3), kd=chosen["soft"])),
        optimizers=dict(student=cosine(chosen["rate"])),
    )


def _mimic(chosen: Chosen) -> dict:
    return dict(
        method=dict(name="mimic"),
        start=dict(teacher="teacher"),
        lambdas=dict(student=dict(ce=chosen["ce"], mimic=chosen["match"])),
        optimizers=dict(student=cosine(chosen["rate"])),
    )


def _noisy(chosen: Chosen) -> dict:
    return dict(_mimic(chosen), method=dict(name="noisy", ratio=chosen["ratio"], sigma=chosen["sigma"]))


def _codis(chosen: Chosen) -> dict:
    return dict(
        method=dict(name="mutual", peers=("teacher", "student"), temperature=chosen["temperature"]),
        start={} if chosen["teacher"] == "fresh" else dict(teacher="teacher"),
        lambdas=dict(teacher=dict(ce=1.0, kd=chosen["pull"]), student=dict(ce=1.0, kd=chosen["match"])),
        optimizers=dict(teacher=cosine(chosen["teacher_rate"]), student=cosine(chosen["rate"])),
    )


def _judge(chosen: Chosen) -> dict:
    """Where the discriminator starts: as the teacher's network, which it shares, or fresh."""
    return {} if chosen["judge"] == "fresh" else dict(discriminator=dict(stage="teacher", player="teacher"))


def _nagan(chosen: Chosen) -> dict:
    return dict(
        method=dict(name="nagan", concrete_temperature=_falling(chosen["tau"])),
        start=dict(teacher="teacher", **_judge(chosen)),
        lambdas=dict(discriminator=dict(real=1.0, student=1.0), student=dict(ce=0.0, adv=1.0)),
        optimizers=dict(student=cosine(chosen["rate"]), discriminator=cosine(chosen["judge_rate"])),
    )


def _kdgan(chosen: Chosen) -> dict:
    alpha, ce = chosen["alpha"], chosen.get("ce", 0.0)
    rest = round(1 - alpha, 3)
    return dict(
        method=dict(
            name="kdgan",
            distillation=chosen["distillation"],
            temperature=chosen["temperature"],
            concrete_temperature=_falling(chosen["tau"]),
        ),
        start=dict(teacher="teacher", **_judge(chosen)),
        lambdas=dict(
            discriminator=dict(real=1.0, student=alpha, teacher=rest),
            teacher=dict(ce=1.0 if ce else 0.0, kd=chosen["gamma"], adv=rest),
            student=dict(ce=ce, kd=chosen["beta"], adv=alpha),
        ),
        optimizers=dict(
            student=cosine(chosen["rate"]),
            teacher=cosine(chosen["teacher_rate"]),
            discriminator=cosine(chosen["judge_rate"]),
        ),
    )  # fmt: skip


ROWS: Mapping[str, Callable[[Chosen], dict]] = {
    "teacher": _teacher, "scratch": _scratch, "kd": _kd, "mimic": _mimic, "noisy": _noisy, "codis": _codis,
    "nagan": _nagan, "kdgan": _kdgan, "kdgan_ce": _kdgan,
}  # fmt: skip


def trials(row: str, count: int = TRIALS) -> list[Chosen]:
    """The hyper-parameters of a row's trials, always the same."""
    return draws(row, SPACES[row], count)


def draws(row: str, space: Mapping[str, Sequence[Any]], count: int = TRIALS) -> list[Chosen]:
    """A whole space where that is small, else a Latin hypercube of it, in which every value stands about equally often.

    Args:
      row: the name by which it is drawn: the same for the same name.
      space: hyper-parameter -> the values that a trial draws from.
      count: trials.
    """
    grid = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    if len(grid) <= count:
        return grid
    draw = np.random.default_rng(zlib.crc32(row.encode()))
    columns = {
        name: [values[i * len(values) // count] for i in draw.permutation(count)] for name, values in space.items()
    }
    return [{name: column[number] for name, column in columns.items()} for number in range(count)]


def named(text: str, all_names: Iterable[str] = ROWS) -> tuple[str, ...]:
    """Of "all", every name; of "kd+mimic", those.

    Raises:
      ValueError: a name that there is not.
    """
    known = tuple(all_names)
    names = known if text == "all" else tuple(text.split("+"))
    for name in names:
        if name not in known:
            raise ValueError(f"--config=...:rows={text}: no row {name!r}; there are {', '.join(known)}")
    return names


def table(config, chosen: Mapping[str, Chosen], rows: str) -> None:
    """The teacher, then rows beside it."""
    arms = {row: ROWS[row](chosen[row]) for row in named(rows) if row != "teacher"}
    if set(arms) <= set(UNTAUGHT):
        for arm in arms.values():
            del arm["start"]["teacher"]
    stages = dict(teacher=ROWS["teacher"](chosen["teacher"]))
    if arms:
        stages["table"] = dict(arms=common.named(**arms))
    config.stages = common.named(**stages)


def plain(config, chosen: Mapping[str, Chosen], rows: str) -> None:
    """The same without augmentation, the teacher's included."""
    table(config, chosen, rows)
    config.data.augment = {}


def unlabelled(config, chosen: Mapping[str, Chosen], rows: str) -> None:
    """Rows that can match a teacher on images without labels, all given the same ones, as many a step as with labels."""
    config.data.unlabelled_batch_size = config.stage.batch_size
    table(config, chosen, "+".join(named(rows, ("scratch", *UNLABELLED))))
    for row, arm in config.stages.table.arms.items():
        if row in UNLABELLED:
            arm.method.unlabelled = True


def ablation(config, chosen: Mapping[str, Chosen], rows: str) -> None:
    """KDGAN, with and without cross-entropy, changed in one thing at a time; and other rows given as much compute.

    Its rows are its arms: kdgan_ce, kdgan_ce_no_adv_student, alpha_0p1, ..., kd_long, mimic_long. Five seeds: four times as
    many arms as the table has.
    """
    config.population.seeds = 5
    config.evaluate.latency = config.evaluate.watch_test = False
    arms = {}
    for row in ("kdgan_ce", "kdgan"):
        arms[row] = _kdgan(chosen[row])
        for players in (("student",), ("teacher",), ("student", "teacher")):
            arm = _kdgan(chosen[row])
            for player in players:
                arm["lambdas"][player]["adv"] = 0.0
            arms[f"{row}_no_adv_{'_'.join(players)}"] = arm
    base = chosen["kdgan_ce"]
    for name, values in ABLATED.items():
        for value in values:
            if value != base[name]:
                arms[f"{name}_{value}".replace(".", "p").replace("-", "m")] = _kdgan({**base, name: value})
    expected = _kdgan(base)
    expected["method"]["labels"] = "expected"
    arms["labels_expected"] = expected
    # As many floating-point operations as KDGAN's, put into more steps.
    for row, ratio in LONGER.items():
        arms[f"{row}_long"] = dict(ROWS[row](chosen[row]), steps=ratio * config.stage.steps)
    arms = {name: arms[name] for name in named(rows, arms)}
    config.stages = common.named(teacher=ROWS["teacher"](chosen["teacher"]), ablation=dict(arms=common.named(**arms)))


def search(config, chosen: Mapping[str, Chosen], rows: str) -> None:
    """The trials of some rows, a stage for each row, on a seed of their own.

    A trial sees neither the test set nor all n labels: it trains on four fifths of them and is judged by the other fifth,
    all that a practitioner with n labels has (the validation split), or by 1,000 images more, of the end of the training
    set (under the name of the test split).
    """
    n = config.data.labelled
    config.seed, config.population.seeds = 1_000, 1
    config.data.labelled, config.data.validation = n - n // 5, n // 5
    config.data.train, config.data.test = "train[:-1000]", "train[-1000:]"
    config.evaluate.latency = config.evaluate.watch_test = False
    config.evaluate.every = config.checkpoint.every = config.stage.steps // 2
    stages: dict[str, Any] = {} if rows == "teacher" else {"teacher": ROWS["teacher"](chosen["teacher"])}
    for row in named(rows):
        arms = {f"trial{number}": ROWS[row](own) for number, own in enumerate(trials(row))}
        stages[f"search_{row}"] = dict(arms=common.named(**arms))
    config.stages = common.named(**stages)


# What a config makes of the rows, by name; the first by default.
PARTS: Mapping[str, Callable[..., None]] = {
    "table": table, "search": search, "ablation": ablation, "plain": plain, "unlabelled": unlabelled,
}  # fmt: skip


def make(config, chosen: Mapping[str, Chosen], published: Mapping[str, str], *, part: str, rows: str) -> None:
    """Give a config a part of the table; published numbers stand beside the table itself, not beside its other parts.

    Args:
      config: with its data and players.
      chosen: row -> its hyper-parameters.
      published: row -> the published number, as text.
      part: a name of `PARTS`.
      rows: as `named` takes them.
    """
    PARTS[part](config, chosen, rows)
    if part == "table" and "table" in config.stages:
        config.report.source = "Wang et al. 2018, Table 1 (draft of May 2018): best test accuracy of a run, mean of 10"
        config.report.published.table = {row: published[row] for row in config.stages.table.arms if row in published}
