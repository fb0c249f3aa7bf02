"""RepDistiller's and mdistiller's comparison on CIFAR-100, in their setting: six pairs of networks, 22 ways to teach.

python -m kdgan.main --config=configs/cifar100_zoo.py --workdir=runs/cifar100_zoo
python -m kdgan.main --config=configs/cifar100_zoo.py:pair=wrn_40_2-wrn_16_2,methods=kd+dkd+crd --workdir=runs/cifar100_wrn
python -m configs.cifar100_published resnet32x4-resnet8x4 runs/cifar100_zoo

Made for an accelerator, not run yet. 240 epochs of 50,000 images in batches of 64; SGD of momentum 0.9 at 0.05, for
MobileNetV2 and ShuffleNet at 0.01, a tenth of it from epochs 150, 180 and 210; weight decay 5e-4 of all parameters; crops
of images padded by 4, flips. λ's are the published ones, converted (`kdgan.methods.published`); where ReviewKD has none of
a pair it is 5. Layers are those that RepDistiller compares. Behind the colon: `pair`, `methods`, `validation`, `epochs`.
Five seeds, each with a teacher of its own, where published tables have one teacher for all.

Published runs have no validation split, and so has this by default: what it reports is the last step, as RepDistiller does.
mdistiller and its forks report the best epoch on the test split. That number is in the table too (`evaluate.watch_test`)
and selects nothing; an honest "best" needs `:validation=5000`, and then the student learns from 45,000 images.

FSP and AB start a student, for 30 epochs, and labels alone teach it then; FT's paraphraser learns for 30 epochs first. FSP
compares products of channels and wants a student as wide as its teacher: it is left out of `all` for the two pairs of other
architectures, as in the published table, and refused there. What else differs from published code: `cc` and `ft` are their
papers', not RepDistiller's; `ab` and `ofd` have a regressor where shapes agree, too; `crd` draws negatives of all classes;
`mlkd` compares no second, strongly augmented view, so that no published number stands beside it; an epoch is 781¼ steps,
not 782.
"""

from typing import Any, NamedTuple

from configs import cifar100_published, zoo_rows
from kdgan import config as common

EPOCHS, MARKS = 240, (150, 180, 210)
START_EPOCHS = 30  # of what comes before `distill`
IMAGES, BATCH, INTERVAL = 50_000, 64, 750  # steps between measurements, about an epoch; every stage is a multiple of it
RATES = {"mobilenet_v2": 0.01, "shufflenet_v1": 0.01}
ROWS = (
    "scratch", "kd", "kd_standardised", "dkd", "dist", "mlkd", "ctkd", "hint", "attention", "fsp", "nst", "vid", "ab",
    "ofd", "review", "ickd", "srd", "ft", "sp", "pkt", "rkd", "cc", "crd",
)  # fmt: skip


class Layers(NamedTuple):
    """Module paths of a network that methods compare.

    Attributes:
      first: before the layers between, RepDistiller's f0.
      between: what each further resolution or stage ends with.
      before: the same before the last ReLU; of a network without one there, as it is.
      norms: the last batch norm of each before that ReLU.
    """

    first: str
    between: tuple[str, ...]
    before: tuple[str, ...]
    norms: tuple[str, ...] = ()


def _resnet(blocks: int) -> Layers:
    inside = lambda layer: tuple(f"{stage}/block{blocks}/{layer}" for stage in zoo_rows.STAGES)
    return Layers("stem", zoo_rows.STAGES, inside("sum"), inside("bn2"))


def _vgg(convolutions: int) -> Layers:
    between = tuple(f"stage{i}" for i in range(2, 6))
    norms = tuple(f"{stage}/bn{convolutions}" for stage in between)
    return Layers("stage1", between, norms, norms)


_WRN_NORMS = ("stage2/block1/bn1", "stage3/block1/bn1", "bn")  # a stage's sum is normalised by what follows it
_MOBILE = tuple(f"stage{i}" for i in range(1, 5))
NETWORKS = {
    "resnet32x4": _resnet(5),
    "resnet8x4": _resnet(1),
    "resnet56": _resnet(9),
    "resnet20": _resnet(3),
    **dict.fromkeys(("wrn_40_2", "wrn_16_2"), Layers("stem", zoo_rows.STAGES, _WRN_NORMS, _WRN_NORMS)),
    "vgg13": _vgg(2),
    "vgg8": _vgg(1),
    "mobilenet_v2": Layers("stem", _MOBILE, _MOBILE),
    "shufflenet_v1": Layers("stem", zoo_rows.STAGES, ("stage1/block4/sum", "stage2/block8/sum", "stage3/block4/sum")),
}
# Row -> of a network the layers that it compares.
COMPARED = {
    **dict.fromkeys(("attention", "nst", "vid"), lambda of: of.between),
    **dict.fromkeys(("ab", "ofd"), lambda of: of.before),
    **dict.fromkeys(("ickd", "ft", "sp"), lambda of: of.between[-1:]),
    **dict.fromkeys(("srd", "pkt", "rkd", "cc"), lambda of: ("embedding",)),
    "hint": lambda of: of.between[1:2],
    "fsp": lambda of: (of.first, *of.between),
    "review": lambda of: (*of.between, "embedding"),
}
# By pair, in the order of `cifar100_published.PAIRS`: mdistiller's β of DKD; ReviewKD's λ, where none is published 5.
OTHERS = dict(zip(cifar100_published.PAIRS, (8.0, 2.0, 6.0, 6.0, 8.0, 6.0), strict=True))
REVIEW = dict(zip(cifar100_published.PAIRS, (5.0, 0.6, 5.0, 5.0, 5.0, 5.0), strict=True))
# Row -> the earlier stage in which its student starts.
STARTED = {"fsp": "start_fsp", "ab": "start_ab"}


def get_config(text=None):
    accepted = dict(pair=cifar100_published.PAIRS, validation=(0, 1_000, 5_000, 10_000), epochs=(EPOCHS, 60, 120))
    chosen = common.arguments(text, methods="all", **accepted)
    pair, rows = chosen["pair"], rows_of(chosen["pair"], chosen["methods"])
    teacher, student = pair.split("-")
    length = lambda epochs: _steps(epochs * chosen["epochs"] / EPOCHS, IMAGES - chosen["validation"])
    config = common.get_config()
    config.data.name, config.data.validation = "cifar100", chosen["validation"]
    config.data.mean, config.data.std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
    config.data.augment = dict(crop=dict(padding=4), flip={})
    config.player.optimizer = dict(
        name="sgd", learning_rate=RATES.get(student, 0.05), momentum=0.9, weight_decay=5e-4, decay_all=True,
        schedule="steps", boundaries=tuple(mark / EPOCHS for mark in MARKS), factor=0.1,
    )  # fmt: skip
    config.players = common.named(
        teacher=dict(model=teacher, optimizer=dict(learning_rate=0.05)), student=dict(model=student), **beside(rows)
    )
    arms = {row: _arm(row, pair, length) for row in rows}
    config.stages = common.named(
        teacher=dict(
            method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=length(EPOCHS)
        ),
        **_before(rows, pair, length(START_EPOCHS)),
        distill=dict(arms=common.named(**arms), steps=length(EPOCHS)),
    )
    config.stage.batch_size = BATCH
    config.population.seeds = 5
    config.evaluate.batch_size, config.evaluate.watch_test = 1_000, True
    config.evaluate.every = config.log.every = INTERVAL
    config.checkpoint.every, config.checkpoint.keep = 10 * INTERVAL, 1
    config.report.source = "RepDistiller (last), mdistiller and others (best on test): configs/cifar100_published.py"
    quoted = {row: quote for row, quote in cifar100_published.texts(pair).items() if row in rows}
    config.report.published = dict(teacher=dict(main=f"{cifar100_published.TEACHER[pair]:.2f} (last)"), distill=quoted)
    return config


def rows_of(pair: str, text: str) -> tuple[str, ...]:
    """The rows that are asked for: all that fit the pair, or those named with + between them."""
    fitting = tuple(row for row in ROWS if row != "fsp" or "fsp" in cifar100_published.LAST[pair])
    if text != "all" and "fsp" in text.split("+") and "fsp" not in fitting:
        raise common.ConfigError(
            f"--config=...:methods={text}: 'fsp' wants a student as wide as its teacher, and {pair} is none;"
            f" accepted are {', '.join(fitting)}"
        )
    return zoo_rows.named(text, fitting)


def method_of(row: str, pair: str, warmup: int = 0) -> dict[str, Any]:
    """What a row is set to: as in the zoo, on the layers of these networks."""
    teacher, student = (NETWORKS[name] for name in pair.split("-"))
    method = zoo_rows.method(row)
    if row in COMPARED:
        method["features"] = tuple(zip(COMPARED[row](student), COMPARED[row](teacher), strict=True))
    if row in ("ab", "ofd"):
        method["weights"] = tuple(2.0 ** (place - len(teacher.before) + 1) for place in range(len(teacher.before)))
    if row == "ofd":
        method["norms"] = teacher.norms
    if row == "crd":
        method["negatives"] = 16_384
    if row == "dist":
        method["temperature"] = 4.0
    if row == "kd_standardised" and pair.startswith("vgg13"):
        method["temperature"] = 3.0
    if row == "ctkd":
        method["reversal"] = dict(kind="cosine", start=0.0, end=1.0, **(dict(steps=warmup) if warmup else {}))
    return method


def lambdas_of(row: str, pair: str, warmup: int) -> dict[str, Any]:
    """The student's λ's of a row; those of DKD and ReviewKD rise in the first epochs."""
    rising = lambda value: dict(kind="constant", start=value, warmup=warmup)
    if row == "dkd":
        return dict(ce=1.0, target=rising(1.0), others=rising(OTHERS[pair]))
    if row == "review":
        return dict(ce=1.0, review=rising(REVIEW[pair]))
    if row == "dist":
        return dict(ce=1.0, inter=32.0, intra=32.0)  # its code's 2, times τ² for τ = 4
    return zoo_rows.lambdas(row)


def _steps(epochs: float, images: int) -> int:
    """Steps of so many epochs, to the nearest multiple of `INTERVAL`."""
    return INTERVAL * max(round(epochs * images / BATCH / INTERVAL), 1)


def _arm(row: str, pair: str, length: Any) -> dict[str, Any]:
    if row in STARTED:
        # The head stays fresh: nothing but weight decay moved it.
        start = dict(student=dict(stage=STARTED[row], skip=("head",)))
        return dict(method=dict(name="supervised"), lambdas=dict(student=dict(ce=1.0)), start=start)
    rise, of_ctkd = length(20), length(10)
    fields: dict[str, Any] = dict(
        method=method_of(row, pair, of_ctkd), lambdas=dict(student=lambdas_of(row, pair, rise))
    )
    if row != "scratch":
        fields["start"] = dict(teacher="teacher", **(dict(paraphraser="paraphrase") if row == "ft" else {}))
    return fields


def _before(rows: tuple[str, ...], pair: str, steps: int) -> dict[str, Any]:
    """The stages between `teacher` and `distill`: at a constant rate, on the teacher's features, without labels."""
    constant = dict(schedule="constant", boundaries=())
    stages: dict[str, Any] = {}
    if "ft" in rows:
        rate = 0.05 if pair.endswith("vgg8") else 0.01  # of the published code for each student
        stages["paraphrase"] = dict(
            method=dict(name="paraphrase", features=method_of("ft", pair)["features"]), start=dict(teacher="teacher"),
            lambdas=dict(paraphraser=dict(reconstruction=1.0)), steps=steps,
            optimizers=dict(paraphraser=dict(learning_rate=rate, **constant)),
        )  # fmt: skip
    for row, stage in STARTED.items():
        if row in rows:
            players = ("student", *zoo_rows.BESIDE.get(row, {}))
            own = {term: value for term, value in lambdas_of(row, pair, 0).items() if term != "ce"}
            stages[stage] = dict(
                method=dict(method_of(row, pair), labels=False), lambdas=dict(student=own), steps=steps,
                start=dict(teacher="teacher"), optimizers=dict.fromkeys(players, constant),
            )  # fmt: skip
    return stages


def beside(rows: tuple[str, ...]) -> dict[str, Any]:
    """Players that learn beside the student; FitNets' regressor is that of the published code."""
    players = zoo_rows.beside(rows)
    if "hint" in rows:
        players["adapter"] = dict(model="regressor", model_args=dict(bias=True, relu=True))
    return players
