"""Classes in portions, 0 to 4 and then 5 to 9, the old data gone: what keeps the old ones, on the UCI digits.

python -m kdgan.main --config=configs/incremental.py --workdir=runs/incremental      # about four minutes on 2 idle CPU cores
python -m kdgan.main --config=configs/incremental.py:steps=5 --workdir=runs/incremental_5      # five portions of two classes
python -m kdgan.main --config=configs/incremental.py:set=mnist --workdir=runs/incremental_mnist      # LeNet-5

After each portion every student is measured on the whole test split: on all classes seen, on each portion with all ten
outputs open and with the portion's alone, and by what it has forgotten. Stages `step_1`, `step_2`, ... have the data of one
portion. Arms of the last one, whose students learned the earlier portions by the same rule:

finetune    cross-entropy on the new classes
lwf         and the old model's soft labels of the old classes, on images of new ones
lwf_new     the same, cross-entropy over the new classes alone, as with a head for each portion
grow        lwf, with a head that has the classes seen so far and grows
replay      and as many images of a generator, labelled by the old model; stages `memory_1`, ... train it on one portion,
            from the second on with the images of the one before (`gan_replay`)

Five seeds, all ten classes, %: finetune 46.9 ± 0.8, lwf 47.1 ± 0.6, grow 48.9 ± 2.4, icarl 80.0 ± 2.6, rehearse 86.9 ± 4.6,
replay 90.2 ± 1.9, joint 93.3 ± 1.1; by task, and more, in results/other_data.md.

Stages beside them have other data: `exemplars_2`, ..., the new portion and ten images of each old class (arms `rehearse`,
cross-entropy on all, and `icarl`, iCaRL's loss); `joint`, all classes at once, for as many steps as all portions together.
`:exemplars=20` takes more; each stands in an epoch so often that old classes are drawn like new ones. Nothing is selected: a
validation split would hold the new classes only.
"""

import numpy as np

from kdgan import config as common

CLASSES = 10
LATENT = 64
SHARED = ("finetune", "lwf", "lwf_new", "replay")  # arms that begin alike
# The student's network, a side of the images, training images of a class, how its convolutions run on a CPU.
SETS = dict(
    digits=dict(
        network=dict(model="cnn", model_args=dict(features=(8, 16), dense=32)),
        side=8,
        of_class=110,
        convolutions="auto",
    ),
    mnist=dict(network=dict(model="lenet5"), side=28, of_class=6_000, convolutions="rows"),
)


def get_config(text=None):
    chosen = common.arguments(text, steps=(2, 5), exemplars=(10, 1, 2, 5, 20, 50), set=tuple(SETS))
    of_set = SETS[chosen["set"]]
    portions = [tuple(map(int, part)) for part in np.array_split(np.arange(CLASSES), chosen["steps"])]
    config = common.get_config()
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.data.name = chosen["set"]
    config.parallel.convolutions = of_set["convolutions"]
    config.players = players(portions, **of_set)
    config.stages = common.named(**stages(portions, chosen["exemplars"], of_set["of_class"]))
    config.stage.batch_size, config.stage.steps = 64, 400
    config.population.seeds = 5 if chosen["steps"] == 2 else 3
    return config


def judged(portions, seen):
    """By what a player is judged that has learned so many portions, beside what it was after each of those before."""
    before = [f"after_{number}" for number in range(1, seen)] or ["teacher"]
    return dict(name="incremental", tasks=portions, seen=seen, before=before)


def players(portions, *, network, side, **of_set):
    """The student, the old model as `teacher`, the student after each portion, generators."""
    classifier = dict(**network, optimizer=dict(learning_rate=2e-3))
    generator = dict(
        model="dcgan_generator", model_args=dict(image_size=side, channels=1, width=1 / 4), evaluate="nothing",
        optimizer=dict(learning_rate=1e-3, b1=0.0, schedule="cosine"),
    )  # fmt: skip
    after = {f"after_{n}": dict(**classifier, evaluate=judged(portions, n)) for n in range(1, len(portions))}
    return common.named(
        student=classifier,
        teacher=dict(**classifier, evaluate="nothing"),
        **after,
        generator=generator,
        old_generator=generator,
        discriminator=dict(
            model="dcgan_discriminator", model_args=dict(width=1 / 4),
            optimizer=dict(learning_rate=1e-3, b1=0.0, schedule="cosine"),
        ),
    )  # fmt: skip


def stages(portions, exemplars, of_class):
    """Of each portion its own stage, its generator and its exemplars; all classes at once before the last one."""
    made = {"step_1": first(portions)}
    for number in range(2, len(portions) + 1):
        made[f"memory_{number - 1}"] = memory(portions, number - 1)
        made[f"exemplars_{number}"] = with_exemplars(portions, number, exemplars, of_class)
        if number == len(portions):
            made["joint"] = joint(portions)
        made[f"step_{number}"] = step(portions, number)
    return made


def sized(outputs):
    return dict(model_args=dict(num_classes=outputs))


def first(portions):
    """The first portion: for all arms alike, with a small head for `grow`, with sigmoids for `icarl`."""
    new = portions[0]
    ce = dict(lambdas=dict(student=dict(ce=1.0)))
    return dict(
        data=dict(classes=new),
        players=dict(student=dict(evaluate=judged(portions, 1))),
        arms=common.named(
            shared=ce,
            grow=dict(**ce, players=dict(student=sized(len(new)))),
            icarl=dict(**ce, method=dict(name="lwf_exemplar", old=(), new=new)),
        ),
    )


def start_of(number, arm, prefix="step"):
    """Where an arm of a later portion starts: its student and the old model, and those that it is measured beside."""
    alone = "shared" if arm in (*SHARED, "rehearse") else arm
    of = lambda n: dict(stage="step_1", arm=alone) if n == 1 else dict(stage=f"{prefix}_{n}", arm=arm)
    model = lambda n: dict(**of(n), player="student")
    return dict(
        student=model(number - 1), teacher=model(number - 1), **{f"after_{n}": model(n) for n in range(1, number)}
    )


def later(portions, number, arms, **more):
    """A stage of a later portion, whose players are measured beside what they were after each earlier one."""
    return dict(
        players=dict(student=dict(evaluate=judged(portions, number))),
        beside=[f"after_{n}" for n in range(1, number)],
        arms=common.named(**arms),
        **more,
    )


def step(portions, number):
    """A later portion without any example of those before."""
    new, old = portions[number - 1], tuple(c for part in portions[: number - 1] for c in part)
    seen = lambda n: sum(map(len, portions[:n]))
    lwf = lambda **fields: dict(method=dict(name="lwf", **fields), lambdas=dict(student=dict(ce=1.0, kd=1.0)))
    methods = dict(
        finetune=dict(lambdas=dict(student=dict(ce=1.0))),
        lwf=lwf(old=old),
        lwf_new=lwf(old=old, new=new),
        grow=lwf(),
        replay=dict(
            method=dict(name="replay", latent=LATENT, old=old),
            lambdas=dict(student=dict(ce=1.0, replay=float(number - 1))),  # each portion has as much weight
        ),
    )
    arms = {name: dict(**method, start=start_of(number, name)) for name, method in methods.items()}
    arms["replay"]["start"]["generator"] = f"memory_{number - 1}"
    arms["grow"]["start"]["student"]["transfer"] = "grow"
    smaller = {f"after_{n}": sized(seen(n)) for n in range(1, number)}
    arms["grow"]["players"] = dict(student=sized(seen(number)), teacher=sized(seen(number - 1)), **smaller)
    return later(portions, number, arms, data=dict(classes=new))


def with_exemplars(portions, number, count, of_class):
    """A later portion, and a few examples of each class before."""
    new, old = portions[number - 1], tuple(c for part in portions[: number - 1] for c in part)
    arms = dict(
        rehearse=dict(lambdas=dict(student=dict(ce=1.0))),
        icarl=dict(method=dict(name="lwf_exemplar", old=old, new=new), lambdas=dict(student=dict(ce=1.0, kd=1.0))),
    )
    started = {name: dict(**arm, start=start_of(number, name, "exemplars")) for name, arm in arms.items()}
    few = dict(exemplars=count, exemplars_of=old, exemplar_repeats=of_class // count)
    return later(portions, number, started, data=dict(classes=new, **few))


def memory(portions, number):
    """The generator that stands for the portions so far, trained on the last of them and on what the one before makes."""
    method = dict(name="gan", generator="generator", latent=LATENT, penalty="r1", penalty_every=4)
    start = {}
    if number > 1:
        method = dict(name="gan_replay", share=(number - 1) / number, latent=LATENT, penalty="r1", penalty_every=4)
        start = dict(old_generator=dict(stage=f"memory_{number - 1}", player="generator"))
    return dict(
        data=dict(classes=portions[number - 1]),
        method=method,
        start=start,
        lambdas=dict(discriminator=dict(real=1.0, fake=1.0, r1=1.0), generator=dict(adv=1.0)),
        steps=1_500 if len(portions) == 2 else 800,
    )


def joint(portions):
    """All portions at once, what a student could reach."""
    return dict(
        players=dict(student=dict(evaluate=dict(judged(portions, len(portions)), before=["teacher"]))),
        lambdas=dict(student=dict(ce=1.0)),
        steps=400 * len(portions),
    )
