"""Teachers one after another: born-again generations, and a teacher's assistant between a large teacher and a small student.

python -m kdgan.main --config=configs/generations.py --workdir=runs/generations
python -m kdgan.main --config=configs/generations.py:kind=assistant --workdir=runs/assistant

born_again (Furlanello et al. 2018): a network teaches a fresh one of its own kind, and this the next; labels and soft labels
at temperature 1. Beside the third stand `scratch`, as long from labels alone, and `long`, from labels for as many steps as
all three took together.
assistant (Mirzadeh et al. 2020): ResNet-26 teaches ResNet-14 and that the ResNet-8 of the table, where `direct` is taught by
ResNet-26 itself.

UCI digits, 200 labels. A stage takes a player of an earlier one by `start`: of another name by `player`. Test accuracy,
five seeds, last step, nothing tuned: scratch 91.4 ± 3.8 %, long 92.9 ± 1.5, third generation 91.9 ± 2.6; direct 92.2 ± 2.0,
assisted 92.4 ± 1.7. No difference is clear (paired, third generation − long: −1.0 ± 1.6 points). Seven and ten minutes on
two busy cores.
"""

from kdgan import config as common

STEPS = 400
WIDTHS = dict(stem=4, features=(4, 8, 16))
LABELS = dict(method=dict(name="supervised"), lambdas=dict(student=dict(ce=1.0)))


def get_config(text=None):
    kind = common.arguments(text, kind=("born_again", "assistant"))["kind"]
    config = common.get_config()
    config.data.labelled, config.data.validation = 200, 200
    config.data.augment.affine = dict(rotate=10.0, shift=0.1, zoom=0.1)
    config.player.optimizer = dict(learning_rate=5e-3, schedule="cosine")
    config.players = common.named(**{name: dict(model="resnet8", model_args=WIDTHS) for name in ("teacher", "student")})
    stages = dict(born_again=born_again, assistant=assistant)[kind]()
    config.stages = common.named(**{name: {"steps": STEPS, **fields} for name, fields in stages.items()})
    config.stage.batch_size = 64
    config.population.seeds = 5
    return config


def born_again():
    """The first from labels, each other generation taught by the one before; beside the last what labels alone do."""
    taught_by = lambda stage: {
        **dict(method=dict(name="kd", temperature=1.0), lambdas=dict(student=dict(ce=1.0, kd=1.0))),
        "start": dict(teacher=student_of(stage)),
    }
    long = dict(**LABELS, steps=3 * STEPS)
    third = dict(arms=common.named(scratch=LABELS, long=long, again=taught_by("second")))
    return dict(first=LABELS, second=taught_by("first"), third=third)


def assistant():
    """A large network from labels, a smaller one of it, and the student of either."""
    soft = dict(method=dict(name="kd", temperature=4.0), lambdas=dict(student=dict(ce=0.1, kd=0.9)))
    model = lambda depth: dict(model=f"resnet{depth}", model_args=WIDTHS)
    taught_by = lambda stage, depth: {
        **soft, "start": dict(teacher=student_of(stage)), "players": dict(teacher=model(depth)),
    }  # fmt: skip
    return dict(
        large={**LABELS, "players": dict(student=model(26))},
        assistant={**taught_by("large", 26), "players": dict(teacher=model(26), student=model(14))},
        small=dict(
            arms=common.named(scratch=LABELS, direct=taught_by("large", 26), assisted=taught_by("assistant", 14))
        ),
    )


def student_of(stage):
    """Where a teacher starts that was the student of a stage."""
    return dict(stage=stage, player="student")
