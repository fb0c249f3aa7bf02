"""A dozen ways to teach a classifier on CIFAR-10, by a published network: ResNet-56 (93.39 %) to a ResNet-8, 5,000 labels.

python -m kdgan.main --config=configs/zoo_cifar10.py:teacher=resnet56.npz --workdir=runs/zoo_cifar10
python -m kdgan.main --config=configs/zoo_cifar10.py:teacher=resnet56.npz,methods=scratch+kd+dkd --workdir=...

The teacher is that of akamaster/pytorch_resnet_cifar10 (`resnet56-4bfd9763.th`, BSD-2), as its file is: shortcuts without
parameters, images normalised as for ImageNet. It has seen the labels of all 50,000 images, so that these rows show what is
worth knowing of a strong teacher where labels are few. Without a file a stage trains one, which is for an accelerator.

Three seeds, test accuracy, %: ReviewKD 70.4 ± 1.1, hint 67.0 ± 0.5, kd 58.6 ± 3.5, labels alone 56.2 ± 1.7; the first two
are clearly better than labels alone. All rows: results/zoo.md. A row is 20 minutes to an hour of a core.

Its outputs and features are computed once for each of four views of an image. Each row has its published λ's and is set as
in configs/zoo_rows.py; nothing is tuned here. SGD, batch 64, as the comparisons on CIFAR-100 train, cosine in place of
three steps.
"""

from configs import zoo_rows
from kdgan import config as common

ROWS = (
    "scratch", "kd", "mimic", "dkd", "dist", "hint", "attention", "vid", "review", "sp", "pkt", "rkd", "crd",
)  # fmt: skip


def get_config(text=None):
    chosen = common.arguments(text, methods="all", teacher="")
    rows = zoo_rows.named(chosen["methods"], ROWS)
    config = common.get_config()
    config.data.name, config.data.labelled, config.data.validation = "cifar10", 5_000, 1_000
    config.data.augment = common.named(crop=dict(padding=4), flip=dict())
    config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    sgd = dict(name="sgd", learning_rate=0.05, momentum=0.9, weight_decay=5e-4, schedule="cosine")
    config.player.optimizer = sgd
    config.players = common.named(
        teacher=dict(model="resnet56", model_args=dict(shortcut="A")),
        student=dict(model="resnet8"),
        **zoo_rows.beside(rows),
    )
    starts, stages = {}, {}
    if chosen["teacher"]:
        config.players.teacher.weights = chosen["teacher"]
    else:
        starts["teacher"] = "teacher"
        stages["teacher"] = dict(
            method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=100_000,
            data=dict(labelled=None),
        )  # fmt: skip
    arms = common.named(**{row: zoo_rows.arm(row, **starts) for row in rows})
    stages["distill"] = dict(arms=arms, steps=1_000, cached=zoo_rows.cached(rows), views=4)
    config.stages = common.named(**stages)
    config.stage.batch_size = 64
    config.evaluate.every = 500
    config.seed, config.population.seeds = 0, 3
    return config
