"""Every field of a config, once, with its default. A run's own file starts from `get_config()` and says what differs.

    from configs import common

    def get_config():
        config = common.get_config()
        config.data.name = "mnist"
        config.players = common.named(teacher=dict(model="lenet5"), student=dict(model="mlp"))
        config.stages = common.named(
            teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=2_000),
            distill=dict(start=dict(teacher="teacher"), steps=4_000, arms=common.named(scratch=dict(...), kd=dict(...))))
        return config

Any field can be set on the command line: `--config.stages.distill.steps=100 --config.data.labelled=1000`.
"""

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder  # None, to be set to a value of this type


def named(**entries) -> ConfigDict:
    """Players, stages or arms by name, in the order written (a plain ConfigDict would sort them)."""
    return ConfigDict(entries, sort_keys=False)


def anything(default) -> FieldReference:
    """A default that a value of another type may replace: one number, or one per channel."""
    return FieldReference(default, field_type=object)


def get_config() -> ConfigDict:
    config = ConfigDict()

    config.seed = 0  # first seed of the population; the seeds are seed, seed+1, ...

    config.data = ConfigDict()
    config.data.name = "digits"  # "digits" (ships with scikit-learn), any TFDS name, or "folder:/path/to/images"
    config.data.data_dir = placeholder(
        str
    )  # where prepared TFDS data sets lie; None: $KDGAN_DATA_DIR, else TFDS's default
    config.data.train = "train"  # TFDS split or slice: "train[:80%]"
    config.data.test = "test"  # never selects anything
    config.data.image_key = "image"  # names of the features in a TFDS data set
    config.data.label_key = "label"
    config.data.labelled = placeholder(
        int
    )  # class-balanced subset of so many labelled examples, drawn by seed; None: all
    config.data.validation = 0  # examples set apart from the training split, class-balanced, the same for every seed
    config.data.unlabelled_batch_size = 0  # images without labels per step, from the rest of the training split
    config.data.mean = anything(0.0)  # a pixel becomes (value/255 - mean)/std; a number, or one per channel
    config.data.std = anything(1.0)
    config.data.memory_mb = 4096  # a set larger than this streams through Grain instead of lying on the device
    config.data.workers = 0  # worker processes of a stream
    config.data.prefetch = 4  # batches that a stream reads ahead
    config.data.image_size = placeholder(
        tuple
    )  # (height, width) to which a folder's images are scaled; None: all agree
    config.data.on_bad_image = "refuse"  # unreadable images of a folder: "refuse" or "skip"
    # On the device, per example: affine={rotate: degrees, shift: fraction, zoom: fraction}, crop={padding: pixels},
    # flip={}, cutout={size: pixels}; on the batch: mixup={alpha: 0.2}, cutmix={alpha: 1.0}.
    config.data.augment = ConfigDict()

    # What every player is unless config.players.<name> says otherwise.
    config.player = ConfigDict()
    config.player.model = "mlp"  # a name of kdgan.models, or a dotted path to a Flax module
    config.player.model_args = ConfigDict()  # fields of the module; num_classes is set from the data
    config.player.optimizer = ConfigDict()
    config.player.optimizer.name = "adam"  # sgd, adam, adamw, rmsprop, lion
    config.player.optimizer.learning_rate = 1e-3
    # Shape of the learning rate over the stage, times learning_rate:
    config.player.optimizer.schedule = "constant"  # constant, linear, cosine, exponential, steps
    config.player.optimizer.warmup = 0  # steps from 0 to learning_rate
    config.player.optimizer.end = 0.0  # linear, cosine, exponential: share of learning_rate at the last step
    config.player.optimizer.boundaries = ()  # steps: step numbers, or fractions of the stage
    config.player.optimizer.factor = 0.1  # steps: factor at each boundary
    config.player.optimizer.momentum = 0.9  # sgd, rmsprop
    config.player.optimizer.nesterov = False  # sgd
    config.player.optimizer.b1 = 0.9  # adam, adamw, lion
    config.player.optimizer.b2 = 0.999  # adam, adamw, lion; rmsprop's decay
    config.player.optimizer.eps = 1e-8  # adam, adamw, rmsprop
    config.player.optimizer.weight_decay = 0.0  # decoupled in adamw and lion, else L2 on the gradient
    config.player.optimizer.decay_all = False  # biases and norms decay, too
    config.player.optimizer.clip_norm = placeholder(float)  # global norm to which this player's gradient is clipped
    config.player.optimizer.accumulate = 1  # moves whose gradients make one update
    config.player.ema = placeholder(
        float
    )  # decay of a moving average of the parameters, evaluated beside them; None: none
    config.player.sync_batch_norm = False  # batch norm over all devices' examples (models with an axis_name field)
    config.player.classes = placeholder(tuple)  # these of its classes, in this order, stand for the data's classes
    config.player.evaluate = placeholder(
        str
    )  # measured as a "classifier", "generator", "autoencoder" or "nothing"; None: by its name and output
    config.players = named()  # name -> fields that differ from config.player

    # What every stage is unless config.stages.<name> says otherwise; an arm may set any of them again, but `arms`.
    config.stage = ConfigDict()
    config.stage.players = ConfigDict()  # player -> fields of config.players that differ in this stage: another width
    config.stage.method = ConfigDict()
    config.stage.method.name = "supervised"  # a name of kdgan.methods, or a dotted path; beside it its hyper-parameters
    # leading player -> term -> λ: a number, or dict(kind="linear", start=0.0, end=1.0, warmup=0) over the stage
    config.stage.lambdas = ConfigDict()
    # player -> where it starts: a stage, "stage/arm", or a dict(stage=... | checkpoint=path, arm=..., player=...,
    # member=..., only=("conv*",), skip=("head*",)) that takes a part of the parameters. Absent: fresh. From a wider or
    # deeper network transfer="uniform" selects units and blocks; scale=0.5 keeps the variance of their sums
    # (kdgan/transfer.py). The path leads to a run, to a stage in its checkpoints/, or to one checkpoint. Of a run of several
    # seeds member="each", the default, gives every seed the player of the same seed; member=0 that of seed 0 to all.
    config.stage.start = ConfigDict()
    config.stage.steps = 1_000
    config.stage.batch_size = 64  # examples per step, over all devices
    config.stage.optimizers = ConfigDict()  # player -> optimizer fields that differ in this stage
    config.stage.augment = None  # None: data.augment; else it replaces it here
    # each example in so many fixed augmented forms, one in each epoch, in turn; None: augmented anew at every step
    config.stage.views = placeholder(int)
    # Frozen players, ("teacher",), whose outputs are computed once, for each example and view, and not in every step. Where
    # they take more than data.memory_mb they lie in the workdir. Wants views, or no augmentation.
    config.stage.cached = ()
    config.stage.arms = named()  # name -> fields of the stage that differ; they start from the same players
    config.stages = named()  # name -> fields that differ from config.stage, in the order in which they run

    config.population = ConfigDict()
    config.population.seeds = 1  # members per arm; a table shows their mean and 95 % confidence interval

    config.parallel = ConfigDict()
    config.parallel.devices = 1  # devices over which a batch is split (pmap); 0: all
    # members of a population: "in_turn"; "unrolled", a seed's arms in one program, so that a frozen teacher runs once for
    # them; "vmap"; "devices" (one on each); "auto": vmap, but on a CPU in turn, or unrolled where the teacher is costly
    config.parallel.members = "auto"
    config.parallel.seeds_per_chunk = placeholder(int)  # seeds vmapped together; None: as many as memory holds
    config.parallel.steps_per_call = placeholder(int)  # steps in one compiled call; None: 1 on a CPU, 10 elsewhere
    # "direct": as XLA has them; "patches": as a matrix product, which under vmap beats a grouped convolution on a CPU;
    # "auto": patches under vmap on a CPU
    config.parallel.convolutions = "auto"
    config.parallel.compute = "float32"  # "bfloat16": players compute in it on float32 parameters
    # Compiled programs are kept for the next run in $JAX_COMPILATION_CACHE_DIR, else in the user's cache folder.
    config.parallel.keep_compiled = True

    config.evaluate = ConfigDict()
    config.evaluate.every = placeholder(
        int
    )  # steps between evaluations on the validation split; None: a tenth of the stage
    config.evaluate.batch_size = 500
    config.evaluate.latency = True  # time each player's forward pass on this device, batch of one
    # Also measure the test split at every evaluation, for its curve and for "best on test", the number that some papers
    # report, since it stands beside theirs. It selects nothing here.
    config.evaluate.watch_test = False
    config.evaluate.samples = 5_000  # images drawn from a generator for its final numbers
    config.evaluate.validation_samples = 2_000  # and while training, against the validation split
    # Whose features generators are measured by: a player of an earlier stage of this run (of its first seed), or of a
    # checkpoint folder, or the weights of InceptionV3 (then the distance may be called FID).
    config.evaluate.extractor = ConfigDict()
    config.evaluate.extractor.stage = placeholder(str)  # "stage" or "stage/arm"
    config.evaluate.extractor.checkpoint = placeholder(str)
    config.evaluate.extractor.inception = placeholder(str)  # path of the .npz or .pth (kdgan/models/inception.py)
    config.evaluate.extractor.player = "extractor"
    config.evaluate.extractor.layer = "embedding"  # module path of the features
    config.evaluate.extractor.name = placeholder(str)  # as in "FD-<name>"; None: the name of the player's model

    config.checkpoint = ConfigDict()
    config.checkpoint.every = placeholder(int)  # steps between checkpoints; None: at every evaluation
    config.checkpoint.keep = 2  # newest ones kept of each stage

    config.log = ConfigDict()
    config.log.every = placeholder(int)  # steps between logged losses; None: a fiftieth of the stage
    config.log.tensorboard = True
    config.log.progress = True

    config.profile = ConfigDict()  # a trace of some steps, in the workdir's folder profile/
    config.profile.steps = ()  # (first, last), e.g. (10, 20)
    config.profile.stage = placeholder(str)  # None: the first

    config.report = ConfigDict()  # what stands beside this run's numbers in its table
    config.report.published = ConfigDict()  # stage -> arm -> text, as "77.95 ± 0.05"
    config.report.source = ""  # where those stand
    return config


def arguments(text: str | None, **accepted) -> dict:
    """What stands behind a config's name: `--config=configs/x.py:n=100,part=search`.

    Args:
      text: that, "n=100,part=search".
      **accepted: of each argument what is accepted, first what it is by default; a string accepts any other.

    Raises:
      ValueError: an argument that the config does not have, or a value that is not accepted.
    """
    given = {name: values if isinstance(values, str) else next(iter(values)) for name, values in accepted.items()}
    for pair in filter(None, (text or "").split(",")):
        name, _, value = pair.partition("=")
        if name not in accepted:
            raise ValueError(f"--config=...:{pair}: no argument {name!r}; there are {', '.join(accepted)}")
        values = (value,) if isinstance(accepted[name], str) else accepted[name]
        given[name] = next((each for each in values if str(each) == value), None)
        if given[name] is None:
            raise ValueError(f"--config=...:{pair}: accepted are {', '.join(map(str, values))}")
    return given
