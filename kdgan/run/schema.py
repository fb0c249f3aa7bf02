"""A run's config as typed values: the names and types of its fields. `run/config.py` checks and makes them."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Data:
    name: str
    data_dir: str | None
    train: str
    test: str
    image_key: str
    label_key: str
    labelled: int | None
    validation: int
    unlabelled_batch_size: int
    mean: float | Sequence[float]
    std: float | Sequence[float]
    memory_mb: int
    workers: int
    prefetch: int
    image_size: Sequence[int] | None
    on_bad_image: str
    augment: Mapping


@dataclasses.dataclass(frozen=True)
class Optimizer:
    name: str
    learning_rate: float
    schedule: str
    warmup: int
    end: float
    boundaries: Sequence[float]
    factor: float
    momentum: float
    nesterov: bool
    b1: float
    b2: float
    eps: float
    weight_decay: float
    decay_all: bool
    clip_norm: float | None
    accumulate: int


@dataclasses.dataclass(frozen=True)
class Player:
    model: str
    model_args: Mapping
    optimizer: Optimizer
    ema: float | None
    sync_batch_norm: bool
    classes: Sequence[int] | None
    evaluate: str | None


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a player starts: a stage of this run (and its arm), or a checkpoint folder; all of it or a part.

    From a stage every seed takes its own. Of a checkpoint's population `member` "each" gives every seed the member of its
    own number, a number gives all seeds the member of that number; a single player goes to all. With `transfer` the source
    may be wider or deeper, and is cut down by that rule of `kdgan.transfer`.
    """

    stage: str | None = None
    arm: str | None = None
    checkpoint: str | None = None
    member: int | str = "each"
    player: str = ""
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    transfer: str | None = None
    scale: float = 0.0


@dataclasses.dataclass(frozen=True)
class Arm:
    name: str
    players: Mapping[str, Player]
    method: Mapping
    lambdas: Mapping
    start: Mapping[str, Start]
    steps: int
    batch_size: int
    optimizers: Mapping
    augment: Mapping
    views: int | None
    cached: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    index: int
    arms: tuple[Arm, ...]

    @property
    def steps(self) -> int:
        return max(arm.steps for arm in self.arms)


@dataclasses.dataclass(frozen=True)
class Population:
    seeds: int


@dataclasses.dataclass(frozen=True)
class Parallel:
    devices: int
    members: str
    seeds_per_chunk: int | None
    steps_per_call: int | None
    convolutions: str
    compute: str
    keep_compiled: bool


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Whose features generators are measured by: a classifier of this run, of a checkpoint, or InceptionV3's weights."""

    stage: str | None
    checkpoint: str | None
    inception: str | None
    player: str
    layer: str
    name: str | None


@dataclasses.dataclass(frozen=True)
class Evaluate:
    every: int | None
    batch_size: int
    latency: bool
    watch_test: bool
    samples: int
    validation_samples: int
    extractor: Extractor


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    every: int | None
    keep: int


@dataclasses.dataclass(frozen=True)
class Log:
    every: int | None
    tensorboard: bool
    progress: bool


@dataclasses.dataclass(frozen=True)
class Profile:
    steps: Sequence[int]
    stage: str | None


@dataclasses.dataclass(frozen=True)
class Report:
    """What a table shows beside this run's numbers: stage -> arm -> a published one, and where it stands."""

    published: Mapping
    source: str


@dataclasses.dataclass(frozen=True)
class Run:
    """A whole config. `stages` are in order, each with its arms (one, `main`, where none are named)."""

    seed: int
    data: Data
    players: Mapping[str, Player]
    stages: tuple[Stage, ...]
    population: Population
    parallel: Parallel
    evaluate: Evaluate
    checkpoint: Checkpoint
    log: Log
    profile: Profile
    report: Report

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.population.seeds))
