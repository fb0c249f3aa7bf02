"""The pieces of work that are measured: what the players are, what they minimise, and on batches of what shape.

A piece is data alone. `ours` builds it from kdgan, `bare` by hand in JAX, `pytorch` in PyTorch; all read their sizes, λ's
and optimizers here. Nothing is imported but NumPy, so that a process that measures PyTorch's start never imports JAX.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

CLASSES = 10


class Model(NamedTuple):
    """A network: a name of `kdgan.models`, and its fields."""

    name: str
    fields: Mapping[str, Any]


class Optimizer(NamedTuple):
    """How a player is updated: "adam" (with `momentum` its first β) or "sgd" (with `momentum`)."""

    name: str
    learning_rate: float
    momentum: float


@dataclasses.dataclass(frozen=True)
class Work:
    """One step that is measured.

    Attributes:
      name: under which its results stand.
      title: what a table calls it.
      game: "kd", "crd", "fsp", "kdgan", "generator_distill" or "restore": the method.
      hyperparameters: of the method.
      lambdas: player that leads a move -> term -> λ, in the order of the moves.
      models: player -> its network.
      optimizers: moving player -> its optimizer, in the order of the moves.
      image: (h, w, c).
      batch: examples.
    """

    name: str
    title: str
    game: str
    hyperparameters: Mapping[str, Any]
    lambdas: Mapping[str, Mapping[str, float]]
    models: Mapping[str, Model]
    optimizers: Mapping[str, Optimizer]
    image: tuple[int, int, int]
    batch: int

    @property
    def trained(self) -> tuple[str, ...]:
        """The players that move, in order; the others are frozen."""
        return tuple(self.optimizers)

    @property
    def convolves(self) -> bool:
        """Whether some player has convolutions, for which a memory layout can be chosen."""
        return any(model.name != "mlp" for model in self.models.values())


MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
ADAM = Optimizer("adam", 1e-3, 0.9)


def kd(name: str, title: str, student: Model, teacher: Model, *, image, batch: int, optimizer: Optimizer) -> Work:
    """0.1·CE + 0.9·T²·KL of a frozen teacher's soft labels, T = 4."""
    return Work(
        name, title, "kd", {"temperature": 4.0}, {"student": {"ce": 0.1, "kd": 0.9}},
        {"student": student, "teacher": teacher}, {"student": optimizer}, image, batch,
    )  # fmt: skip


def mlp(*hidden: int) -> Model:
    return Model("mlp", {"hidden": hidden})


def lenet(features: tuple[int, int] = (32, 64), dense: int = 1024) -> Model:
    return Model("kdgan_lenet", {"features": features, "dense": dense})


def resnet(depth: int, stem: int = 16, features: tuple[int, int, int] = (16, 32, 64)) -> Model:
    return Model("resnet", {"depth": depth, "stem": stem, "features": features})


def kdgan(student: Model, large: Model, *, image, batch: int) -> Work:
    """KDGAN's game (Wang et al. 2018) with α = 0.5: discriminator, teacher and student move in turn."""
    return Work(
        "kdgan", "KDGAN: MLP 800-800, LeNet 32/64/1024 twice", "kdgan", {"concrete_temperature": 1.0},
        {
            "discriminator": {"real": 1.0, "student": 0.5, "teacher": 0.5},
            "teacher": {"ce": 1.0, "kd": 0.01, "adv": 0.5},
            "student": {"ce": 1.0, "kd": 0.5, "adv": 0.5},
        },
        {"discriminator": large, "teacher": large, "student": student},
        dict.fromkeys(("discriminator", "teacher", "student"), ADAM), image, batch,
    )  # fmt: skip


def dcgan(*, image, batch: int, widths: tuple[float, float, float], latent: int = 64) -> Work:
    """A frozen generator teaches one of less width by its images and a discriminator; `widths`: S, T, D."""
    size = {"image_size": image[0], "channels": image[2]}
    of_student, of_teacher, of_discriminator = widths
    adam = Optimizer("adam", 5e-4, 0.5)
    return Work(
        "dcgan", "DCGAN distillation: width 1/8 ← 1/4, discriminator 1/4", "generator_distill",
        {"latent": latent, "pixel": "l1"},
        {"discriminator": {"real": 0.5, "teacher": 0.5, "fake": 1.0}, "student": {"adv": 1.0, "pixel": 1.0}},
        {
            "discriminator": Model("dcgan_discriminator", {"width": of_discriminator}),
            "student": Model("dcgan_generator", {"width": of_student, **size}),
            "teacher": Model("dcgan_generator", {"width": of_teacher, **size}),
        },
        dict.fromkeys(("discriminator", "student"), adam), image, batch,
    )  # fmt: skip


def restorer(name: str, title: str, *, image, batch: int, **fields: Any) -> Work:
    """A denoiser by L2 from clean images: pixels unshuffled, convolutions, the residual to the image."""
    return Work(
        name, title, "restore", {"loss": "l2"}, {"student": {"pixel": 1.0}}, {"student": Model("unshuffle", fields)},
        {"student": Optimizer("adam", 3e-3, 0.9)}, image, batch,
    )  # fmt: skip


def crd(student: Model, teacher: Model, *, image, batch: int, examples: int, negatives: int, width: int) -> Work:
    """CE + 0.8·CRD (Tian et al. 2020) on pooled last maps, with a bank of all examples that learns with the student."""
    bank = Model("memory_bank", {"examples": examples, "features": width})
    sgd = Optimizer("sgd", 0.05, 0.9)
    return Work(
        "crd", f"CRD, {examples:,} examples, {negatives:,} negatives", "crd",
        {"feature": "stage3", "negatives": negatives, "examples": examples}, {"student": {"ce": 1.0, "crd": 0.8}},
        {"student": student, "teacher": teacher, "memory_bank": bank}, {"student": sgd, "memory_bank": sgd}, image, batch,
    )  # fmt: skip


def fsp(student: Model, teacher: Model, *, image, batch: int) -> Work:
    """CE + FSP (Yim et al. 2017) of three stages."""
    return Work(
        "fsp", "FSP, three stages", "fsp", {"features": ("stage1", "stage2", "stage3")},
        {"student": {"ce": 1.0, "fsp": 1.0}}, {"student": student, "teacher": teacher},
        {"student": Optimizer("sgd", 0.05, 0.9)}, image, batch,
    )  # fmt: skip


def pieces() -> dict[str, Work]:
    """Every piece of work by its name."""
    sgd = Optimizer("sgd", 0.05, 0.9)
    wide = (64, 128, 256)
    narrow = {"student": resnet(8, 8, (8, 16, 32)), "teacher": resnet(14, 8, (8, 16, 32)), "image": CIFAR, "batch": 64}
    works = (
        kd(
            "mlp", "MLP 256-128 ← MLP 800-800", mlp(256, 128), mlp(800, 800), image=MNIST, batch=128, optimizer=ADAM
        ),
        kd("mlp_lenet", "MLP 800-800 ← LeNet 32/64/1024", mlp(800, 800), lenet(), image=MNIST, batch=64, optimizer=ADAM),
        kd("resnet20", "resnet20 ← resnet56", resnet(20), resnet(56), image=CIFAR, batch=64, optimizer=sgd),
        kd(
            "resnet8x4", "resnet8x4 ← resnet32x4", resnet(8, 32, wide), resnet(32, 32, wide), image=CIFAR, batch=64,
            optimizer=sgd,
        ),
        kdgan(mlp(800, 800), lenet(), image=MNIST, batch=64),
        dcgan(image=MNIST, batch=64, widths=(1 / 8, 1 / 4, 1 / 4)),
        kd(
            "host", "players of a few parameters: the host's part", mlp(2, 2), lenet((1, 1), 2), image=(4, 4, 1), batch=1,
            optimizer=ADAM,
        ),
        restorer("denoise", "denoiser of 17,380 parameters", image=(40, 40, 1), batch=8, width=24, depth=5),
        crd(examples=4096, negatives=1024, width=128, **narrow),
        fsp(**narrow),
    )  # fmt: skip
    return {work.name: work for work in works}


def small_pieces() -> dict[str, Work]:
    """The same pieces so small that each is over in milliseconds: to check that all of it works.

    Channels in eighths: with 4 → 6 of them PyTorch 2.13 computes another gradient on a CPU in the layout of channels last
    (the 1×1 convolution of stride 2, by 40 times its norm) than in its own; the check of equality found it.
    """
    sgd = Optimizer("sgd", 0.05, 0.9)
    large, image = lenet((4, 6), 16), (8, 8, 1)
    narrow = {
        "student": resnet(8, 8, (8, 8, 16)), "teacher": resnet(14, 8, (8, 8, 16)), "image": (8, 8, 3), "batch": 8,
    }  # fmt: skip
    works = (
        kd("mlp", "small MLP ← MLP", mlp(16, 8), mlp(32, 32), image=image, batch=8, optimizer=ADAM),
        kd("mlp_lenet", "small MLP ← LeNet", mlp(16, 16), large, image=image, batch=8, optimizer=ADAM),
        kd(
            "resnet20", "small resnet8 ← resnet14", resnet(8, 8, (8, 16, 16)), resnet(14, 8, (8, 16, 16)), image=(8, 8, 3),
            batch=8, optimizer=sgd,
        ),
        kd(
            "resnet8x4", "small resnet8 ← resnet8", resnet(8, 8, (8, 8, 8)), resnet(8, 8, (16, 16, 16)), image=(8, 8, 3),
            batch=8, optimizer=sgd,
        ),
        kdgan(mlp(16, 16), large, image=image, batch=8),
        dcgan(image=image, batch=8, widths=(1 / 32, 1 / 16, 1 / 16), latent=6),
        pieces()["host"],
        restorer("denoise", "small denoiser", image=(8, 8, 1), batch=4, width=8, depth=3),
        crd(examples=64, negatives=16, width=8, **narrow),
        fsp(**narrow),
    )  # fmt: skip
    return {work.name: work for work in works}


def named(name: str, *, quick: bool = False) -> Work:
    """A piece of work by its name, or its small form."""
    return (small_pieces() if quick else pieces())[name]


def batches(work: Work, count: int = 8, seed: int = 2) -> list[dict[str, np.ndarray]]:
    """Random batches: "image" float32 [b, h, w, c], in [0, 1], or [−1, 1] beside a generator's; "label" int32 [b].

    Of a restorer "target" in place of the label, of the image's shape; for CRD "index" int32 [b], too, each example once.
    """
    generator = np.random.default_rng(seed)
    low = -1.0 if work.game == "generator_distill" else 0.0
    pixels = lambda: generator.uniform(low, 1.0, (work.batch, *work.image)).astype(np.float32)
    wanted = lambda: (
        {"target": pixels()}
        if work.game == "restore"
        else {"label": generator.integers(0, CLASSES, work.batch, dtype=np.int32)}
    )
    examples = work.hyperparameters.get("examples")
    places = lambda: (
        {} if examples is None else {"index": generator.permutation(examples)[: work.batch].astype(np.int32)}
    )
    return [{"image": pixels(), **wanted(), **places()} for _ in range(count)]


def rounded_otherwise(batch: Mapping[str, np.ndarray], count: int = 4) -> list[dict[str, np.ndarray]]:
    """The batch `count` times, every pixel a part in 2²² more or less: as uncertain as one layer's float32 sums."""
    generator, image = np.random.default_rng(4), batch["image"]
    signs = generator.choice(np.float32([-1, 1]), (count, *image.shape))
    return [{**batch, "image": image + image * sign * np.float32(2.0**-22)} for sign in signs]


def data_set(work: Work, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random examples as a data set has them: images uint8 [n, h, w, c], labels int32 [n]."""
    generator = np.random.default_rng(3)
    return generator.integers(0, 256, (size, *work.image), np.uint8), np.arange(size, dtype=np.int32) % CLASSES
