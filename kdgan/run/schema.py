"""Every field of a config, once: its name, type, default and comment. `kdgan/config.py` makes a config of them.

`Config` is a config as a file writes it; `Run` is what `run/config.py` makes of it: checked, and with the defaults of
`player` and `stage` in every player, stage and arm. The comment of a field stands above it or behind it; what is written
there is what `python -m kdgan.config` prints.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

OUTPUTS = ("logits", "probabilities")  # what a player may give; kdgan/models/probabilities.py, which would import JAX
Path = Annotated[str, "path"]  # "~" at its start is the user's home


def empty() -> Any:
    return dataclasses.field(default_factory=dict)


def hints(cls: Any) -> dict[str, Any]:
    """Field -> type of a section, in the order written."""
    return _hints(cls)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    types_of = typing.get_type_hints(cls, include_extras=True)
    return {field.name: types_of[field.name] for field in dataclasses.fields(cls)}


def options(hint: Any) -> tuple[Any, ...]:
    """The types that a field takes: of `int | None` both; of `Path` str."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return tuple(typing.get_args(member)[0] if is_path(member) else member for member in members)


def is_path(hint: Any) -> bool:
    """Whether a field is a `Path`, or may be one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(is_path(member) for member in typing.get_args(hint))
    return hint == Path


@dataclasses.dataclass(frozen=True)
class Data:
    # "digits" or "sklearn:wine" (ship with scikit-learn), "skimage:photographs" (with scikit-image), any TFDS name,
    # "folder:/path/to/images", "npz:/path" or "npz:/train.npz,/test.npz", or a dotted path to a function of a split that
    # gives a data set, "my_project.data.load"
    name: Path = "digits"
    data_dir: Path | None = None  # where prepared TFDS data sets lie; None: $KDGAN_DATA_DIR, else TFDS's default
    # TFDS split or slice: "train[:80%]"; None: none is opened, and what is trained learns without data
    train: str | None = "train"
    test: str = "test"  # never selects anything
    image_key: str = "image"  # names of the features in a TFDS data set
    label_key: str = "label"  # the same of the label
    # field -> its feature in a TFDS data set, or its array in a file: dict(image="photo", text="tokens", label="y"); of
    # pairs in a folder its sub-folder: dict(image="noisy", target="clean");
    # {}: those of image_key and label_key, or all arrays of the file
    fields: Mapping = empty()
    kinds: Mapping = empty()  # field -> what it holds, where its array looks like something else: dict(x="vector")
    args: Mapping = empty()  # keyword arguments of the function that name is a dotted path to
    # subset of so many labelled examples, drawn by seed, balanced by class where labels are classes; None: all
    labelled: int | None = None
    # examples set apart from the training split, the same for every seed, balanced by class where labels are classes
    validation: int = 0
    unlabelled_batch_size: int = 0  # examples without labels per step, from the rest of the training split
    # numbers of the classes of which training, validation and unlabelled examples are taken, once these are drawn as above;
    # they keep their numbers, and the test split is whole; None: all
    classes: Sequence[int] | None = None
    exemplars: int = 0  # training examples, drawn by seed, of each class of exemplars_of, beside those of classes
    exemplars_of: Sequence[int] = ()  # classes of which only these remain: an exemplar memory, or a task of few labels
    exemplar_repeats: int = 1  # how often each exemplar stands in an epoch, so that few are drawn as often as many
    mean: float | Sequence[float] = 0.0  # a pixel becomes (value/255 - mean)/std; a number, or one per channel
    std: float | Sequence[float] = 1.0  # likewise
    memory_mb: int = 4096  # a set larger than this streams through Grain instead of lying on the device
    workers: int = 0  # worker processes of a stream
    prefetch: int = 4  # batches that a stream reads ahead
    image_size: int | Sequence[int] | None = None  # (height, width), or a square's side, to which images are scaled
    channels: int | None = None  # 1 or 3, to which images are converted; None: as the data are
    num_classes: int | None = None  # where the data do not say it: labels that are numbers only
    on_bad_image: str = "refuse"  # unreadable images and empty classes of a folder: "refuse" or "skip"
    # on the device, per example: affine={rotate: degrees, shift: fraction, zoom: fraction}, crop={padding: pixels},
    # flip={}, turn={} (by quarters), cutout={size: pixels}; on the batch: mixup={alpha: 0.2}, cutmix={alpha: 1.0}. Of
    # several fields of images each names those that it changes alike: flip={fields: ("image", "target")}; with degrade it
    # changes all. Of images of several sizes, and with degrade, windows are cut first: crop={size: (h, w)}, of `image`.
    augment: Mapping = empty()
    # how the images that players are given are made of the data's clean ones, which become the field `target`; in this
    # order: bicubic={scale: 2, trim: False}, poisson={peak: 30.0}, gaussian={sigma: 25.0} (of 255; (low, high): drawn by
    # image), function={name: "my_project.degrade", arguments}; or a dotted path alone. {}: they are given as they are
    degrade: str | Mapping = empty()
    # fixed noises of each training image, in turn from epoch to epoch; None: drawn anew at every step
    noises: int | None = None


@dataclasses.dataclass(frozen=True)
class Optimizer:
    name: str = "adam"  # sgd, adam, adamw, rmsprop, lion
    learning_rate: float = 1e-3  # of an update, after the warm-up
    # shape of the learning rate over the stage, times learning_rate: constant, linear, cosine, exponential, steps
    schedule: str = "constant"
    warmup: int = 0  # steps from 0 to learning_rate
    end: float = 0.0  # linear, cosine, exponential: share of learning_rate at the last step
    boundaries: Sequence[float] = ()  # steps: step numbers, or fractions of the stage
    factor: float = 0.1  # steps: factor at each boundary
    momentum: float | None = None  # sgd, rmsprop; None: 0.9 of sgd, 0 of rmsprop
    nesterov: bool = False  # sgd
    b1: float = 0.9  # adam, adamw, lion
    b2: float | None = None  # None: 0.999 of adam and adamw, 0.99 of lion
    decay: float = 0.99  # rmsprop: of the average of squared gradients
    eps: float = 1e-8  # adam, adamw, rmsprop
    weight_decay: float = 0.0  # decoupled in adamw and lion, else L2 on the gradient
    decay_all: bool = False  # biases and norms decay, too
    clip_norm: float | None = None  # global norm to which this player's gradient is clipped
    accumulate: int = 1  # moves whose gradients make one update


@dataclasses.dataclass(frozen=True)
class Player:
    # a name of kdgan.models, a dotted path to a Flax module, "torch:" and one to a PyTorch module, "onnx:" and a file's path
    model: str = "mlp"
    model_args: Mapping = empty()  # fields of the module; num_classes is set from the data
    optimizer: Optimizer = Optimizer()
    # decay of a moving average of parameters and batch statistics, evaluated beside them; None: none
    ema: float | None = None
    sync_batch_norm: bool = False  # batch norm over all devices' examples (models with an axis_name field)
    # fields of the data that it is given, ("image", "text"), where a method passes batch["image"]; (): those of the data
    inputs: Sequence[str] = ()
    # of every image that it is given, also of generated ones, where they differ from data.mean and data.std
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None  # likewise
    # (height, width), or a square's side, to which they are scaled for it
    image_size: int | Sequence[int] | None = None
    # "w8a8": it computes, and learns, with weights and inputs of layers rounded to 8 bits, as its int8 export will; "w8":
    # with rounded weights; None: in parallel.compute (kdgan/models/quantised.py)
    quantise: str | None = None
    # indices of its classes, in the order of the data's classes; None: as they are
    classes: Sequence[int] | None = None
    # where its parameters lie, in every stage that gives it no other start: a file of weights of PyTorch or Flax (.pth,
    # safetensors, .npz, msgpack), a folder of Orbax, a checkpoint folder or workdir. Or dict(path=..., names={...},
    # player=..., arm=..., member=...), the fields of `Start`
    weights: Path | Mapping | None = None
    outputs: str = "logits"  # what it gives: "logits", or "probabilities", of which the logarithm is taken
    # what it is judged by: a name of kdgan.evaluators or a dotted path, dict(name=..., arguments), or several of them;
    # "nothing"; None: by its name and output
    evaluate: str | Mapping | Sequence | None = None


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a player starts: a stage of this run (and its arm), a checkpoint folder, or a file; all of it or a part."""

    stage: str | None = None  # an earlier stage of this run, of which every seed takes its own
    arm: str | None = None  # the arm of that stage or checkpoint; None: the only one
    # a run's workdir, a stage in its checkpoints/, or the folder of one checkpoint; a file of weights, or a folder of Orbax
    checkpoint: Path | None = None
    # of a checkpoint of several seeds: "each", for every seed the player of its own seed, or a seed, whose player all take
    member: int | str = "each"
    player: str = ""  # its name there; "": the same
    only: Sequence[str] = ()  # patterns of module paths, "conv*": only these parameters are taken
    skip: Sequence[str] = ()  # patterns of module paths that stay fresh
    # from a wider or deeper network: "uniform", "low_rank", ... (kdgan/transfer.py); from one with fewer classes: "grow"
    transfer: str | None = None
    scale: float = 0.0  # transfer: 0.5 keeps the variance of the units' sums
    # layer of the player -> layer of a PyTorch file, where it cannot be told: {"stage1/block1/conv1": "layer1.0.conv1"}
    names: Mapping = empty()
    # whether it may have been trained for another degradation (data.degrade) than the one of this stage
    any_degradation: bool = False


@dataclasses.dataclass(frozen=True)
class Weights(Start):
    """The start that a player's `weights` stand for, in a stage that gives it no other."""

    field: str = ""  # of the config, for messages


@dataclasses.dataclass(frozen=True)
class Training:
    """What a stage says, and again an arm where it differs."""

    # player -> fields of config.players that differ in this stage: another width
    players: Mapping[str, Player] = empty()
    # name: one of kdgan.methods, or a dotted path; beside it its hyper-parameters
    method: Mapping = dataclasses.field(default_factory=lambda: {"name": "supervised"})
    # leading player -> term -> λ: a number, or dict(kind="linear", start=0.0, end=1.0, warmup=0) over the stage
    lambdas: Mapping = empty()
    # player -> where it starts: a stage, "stage/arm", or a dict of the fields of `Start`. Absent: fresh.
    start: Mapping[str, Start] = empty()
    steps: int = 1_000  # updates of each member
    batch_size: int = 64  # examples per step, over all devices
    optimizers: Mapping[str, Optimizer] = empty()  # player -> optimizer fields that differ in this stage
    augment: Mapping | None = None  # None: data.augment; else it replaces it here
    # each example in so many fixed augmented forms, one in each epoch, in turn; None: augmented anew at every step
    views: int | None = None
    # frozen players, ("teacher",), whose outputs, and the features that the method asks for, are computed once, for each
    # example and view, and not in every step. Where they take more than data.memory_mb they lie in the workdir. Wants views,
    # or no augmentation; of players that make images, windows, flips and turns, too: whole outputs are cut, flipped and
    # turned as the image is.
    cached: Sequence[str] = ()
    # frozen players, ("input", "bicubic"), that the method does not call, and that are measured beside those that it does:
    # rows of a table to compare with
    beside: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class StageFields(Training):
    """What a config says of a stage."""

    # fields of config.data that differ in this stage, which is then measured on its own test split: another set, fewer
    # classes, no augmentation. None: the stage learns without data, as {"train": None}: it opens no training split, selects
    # nothing, stops by its steps, and is measured on the test split
    data: Mapping | None = empty()
    # name -> fields of the stage that differ; they start from the same players
    arms: Mapping[str, Training] = empty()


@dataclasses.dataclass(frozen=True)
class Arm(Training):
    """An arm, resolved: every player, start and augmentation that it has."""

    optimizers: Mapping[str, Mapping] = empty()  # type: ignore[assignment]  # only the fields that differ from the player's
    augment: Mapping = empty()
    name: str = "main"


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    index: int
    arms: tuple[Arm, ...]
    data: Data = Data()

    @property
    def steps(self) -> int:
        return max(arm.steps for arm in self.arms)


@dataclasses.dataclass(frozen=True)
class Population:
    seeds: int = 1  # members per arm; a table shows their mean and 95 % confidence interval


@dataclasses.dataclass(frozen=True)
class Parallel:
    devices: int = 1  # devices over which a batch is split (pmap); 0: all
    # members of a population: "in_turn"; "unrolled", a seed's arms in one program, so that a frozen teacher runs once for
    # them; "vmap"; "devices" (one on each); "auto": vmap, but on a CPU in turn, or unrolled where the teacher is costly
    members: str = "auto"
    seeds_per_chunk: int | None = None  # seeds vmapped together; None: as many as memory holds
    steps_per_call: int | None = None  # steps in one compiled call; None: 1 on a CPU, 10 elsewhere
    # "direct": as XLA has them; "patches": as a matrix product, which under vmap beats a grouped convolution on a CPU;
    # "auto": patches under vmap on a CPU; "rows": the same, and on a CPU layers of few channels as rows of pixels times a
    # band matrix, which makes a LeNet-5's step up to twice as fast
    convolutions: str = "auto"
    compute: str = "float32"  # "bfloat16": players compute in it on float32 parameters
    # compiled programs are kept for the next run in $JAX_COMPILATION_CACHE_DIR, else in the user's cache folder.
    keep_compiled: bool = True


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Whose features made images are measured by.

    A player of an earlier stage of this run (of its first seed), or of a checkpoint folder, or the weights of InceptionV3
    (then the distance may be called FID).
    """

    stage: str | None = None  # "stage" or "stage/arm"
    checkpoint: Path | None = None  # a folder of checkpoints, or a file of weights
    inception: Path | None = None  # path of the .npz or .pth (kdgan/models/inception.py)
    player: str = "extractor"  # its name there
    layer: str = "embedding"  # module path of the features
    name: str | None = None  # as in "FD-<name>"; None: the name of the player's model


@dataclasses.dataclass(frozen=True)
class Evaluate:
    every: int | None = None  # steps between evaluations on the validation split; None: a tenth of the stage
    batch_size: int = 500  # examples of a forward pass that measures
    latency: bool = True  # time each player's forward pass on this device
    # also measure the test split at every evaluation, for its curve and for "best on test", the number that some papers
    # report, since it stands beside theirs. It selects nothing here.
    watch_test: bool = False
    samples: int = 5_000  # images drawn for final numbers where distributions are compared
    validation_samples: int = 2_000  # and while training, against the validation split
    extractor: Extractor = Extractor()


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    every: int | None = None  # steps between checkpoints; None: at every evaluation
    keep: int = 2  # newest ones kept of each stage


@dataclasses.dataclass(frozen=True)
class Log:
    every: int | None = None  # steps between logged losses; None: a fiftieth of the stage
    # at those steps also the norm of each term's gradient and the cosine of each two terms of a move, without their λ's:
    # "student/gradient/kd", "student/cosine/ce,kd". Such a step is made twice, the second time with a backward pass of each
    # term and without effect, by a program of its own, so that no other number changes. --mode=explain says what it costs
    gradients: bool = False
    tensorboard: bool = True  # events for TensorBoard, in the workdir
    progress: bool = True  # a bar in a terminal or notebook, else a line every ten seconds


@dataclasses.dataclass(frozen=True)
class Profile:
    """A trace of some steps, in the workdir's folder profile/."""

    steps: Sequence[int] = ()  # (first, last), e.g. (10, 20)
    stage: str | None = None  # None: the first


@dataclasses.dataclass(frozen=True)
class Report:
    """What stands beside this run's numbers in its table."""

    published: Mapping = empty()  # stage -> arm -> text, as "77.95 ± 0.05"
    source: str = ""  # where those stand


@dataclasses.dataclass(frozen=True)
class Config:
    """A config as a file writes it."""

    seed: int = 0  # first seed of the population; the seeds are seed, seed+1, ...
    data: Data = Data()
    player: Player = Player()  # what every player is unless config.players.<name> says otherwise
    players: Mapping[str, Player] = empty()  # name -> fields that differ from config.player
    stage: StageFields = StageFields()  # what every stage is unless config.stages.<name> says otherwise
    # name -> fields that differ from config.stage, in the order in which they run
    stages: Mapping[str, StageFields] = empty()
    population: Population = Population()
    parallel: Parallel = Parallel()
    evaluate: Evaluate = Evaluate()
    checkpoint: Checkpoint = Checkpoint()
    log: Log = Log()
    profile: Profile = Profile()
    report: Report = Report()


@dataclasses.dataclass(frozen=True)
class Run:
    """A whole config, resolved. `stages` are in order, each with its arms (one, `main`, where none are named).

    `models` are modules handed over in Python, by the names that players call them: {"python:mine": module}.
    """

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
    models: Mapping[str, Any] = empty()

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.population.seeds))
