"""From ten digits to other classes with few labels: what a source model gives to a target task, without download.

python -m kdgan.main --config=configs/transfer.py --workdir=runs/transfer      # about 90 s on 2 idle CPU cores
python -m kdgan.main --config=configs/transfer.py:labels=100,target=npz:letters.npz,classes=26 --workdir=runs/letters

Source: the UCI digits. Target: two digits in one small image, 25 classes (`kdgan.data.digit_pairs`), ten labels of each,
drawn by seed. Or MNIST to letters: from TFDS by target=emnist/letters, or from a file of images uint8 [n, 28, 28, 1] and
labels 0 to 25, as image_train, label_train, image_test, label_test (`kdgan.data.npz`). Both share one label space,
the target's classes behind the source's, and every student has outputs for both. Arms are compared on the target's test
images, by the target's outputs alone.

Stage `target`, which sees the target's labels only:
scratch      fresh
started      from the source model, whose head grows
distilled    from a network that was distilled from the source model on the source's data, then fine-tuned
lwf          started, the source model's outputs kept on target images (λ 1, T 2), cross-entropy over the target's classes

Stage `both`, started, which sees source examples that the source model was not trained on, too:
even         both tasks at once
errors       source examples weighted by the source model's errors on them: w = (ε + 1 − p(y|x)) over its mean in the batch

Ten seeds, the target's accuracy by its own outputs, %: scratch 64.3 ± 3.3, started 62.9 ± 3.6, distilled 59.1 ± 3.8, lwf
61.5 ± 4.0; even 56.3 ± 4.3, errors 48.1 ± 4.2. What lwf and the last two keep of the source: results/other_data.md.

The source model learns from the first half of the training split, all else from the second, so that its errors in `both` are
held-out ones. A batch of `both` is larger, so that a step sees about as many target examples as one of `target`; among
MNIST's digits each stands in an epoch many times for that. Nothing is selected: there is no validation split.
"""

from kdgan import config as common

SOURCE = tuple(range(10))
PAIRS = "kdgan.data.digit_pairs.load"
LETTERS = "emnist/letters"


def get_config(text=None):
    chosen = common.arguments(text, target=PAIRS, classes="", labels=(10, 1, 2, 5, 20, 50, 100))
    name, small = chosen["target"], chosen["target"] == PAIRS
    target = classes_of(name, chosen["classes"])
    config = common.get_config()
    config.data.name = "kdgan.data.union.load"
    names = ("digits" if small else "mnist", name)
    config.data.args = dict(names=names, transposed=(1,) if name == LETTERS else ())
    config.data.train = "train[50%:]"
    config.players = players(small, target)
    # The source model knows the source's classes alone, whatever the stage.
    config.stage.players = dict(teacher=dict(model_args=dict(num_classes=len(SOURCE))))
    config.stage.batch_size, config.stage.steps = 32, 400
    few = dict(exemplars=chosen["labels"], exemplars_of=target)
    # Beside 30,000 digits the letters stand so often that they are a third of a batch.
    balanced = dict(exemplar_repeats=1 if small else max(1, 15_000 // (chosen["labels"] * len(target))))
    old_half = dict(train="train[:50%]", classes=SOURCE)
    config.stages = common.named(
        source=dict(
            data=old_half,
            method=dict(name="supervised", player="teacher"),
            lambdas=dict(teacher=dict(ce=1.0)),
            steps=600,
        ),
        distill=dict(
            data=old_half,
            players=dict(
                student=dict(model_args=dict(num_classes=len(SOURCE)), evaluate=judged(target, seen=1)),
            ),
            start=dict(teacher="source"),
            method=dict(name="kd", temperature=4.0),
            lambdas=dict(student=dict(ce=0.1, kd=0.9)),
            steps=600,
        ),
        both=dict(
            data=dict(classes=SOURCE, **few, **balanced), batch_size=96, start=dict(teacher="source"), arms=of_both()
        ),
        target=dict(data=dict(classes=(), **few), start=dict(teacher="source"), arms=of_target(target)),
    )
    for stage in (config.stages.both, config.stages.target):
        stage.beside = ("teacher",)
    config.population.seeds = 10
    return config


def classes_of(name, count):
    """Numbers of the target's classes; EMNIST's letters are 1 to 26 of the 37 labels that TFDS declares."""
    known = {PAIRS: 25, LETTERS: 26}
    if not count and name not in known:
        raise common.ConfigError(f"--config=...:target={name}: say how many classes it has, classes=26")
    if count and not (count.isdigit() and int(count)):
        raise common.ConfigError(f"--config=...:classes={count}: a whole number from 1 is accepted")
    first = len(SOURCE) + (1 if name == LETTERS else 0)
    return tuple(range(first, first + (int(count) if count else known[name])))


def judged(target, seen):
    compared = 2 if seen == 2 else None
    return dict(name="incremental", tasks=(SOURCE, target), seen=seen, compare=compared)


def players(small, target):
    """Source model and student, of one network."""
    network = dict(model="cnn", model_args=dict(features=(8, 16), dense=64)) if small else dict(model="lenet5")
    cosine = dict(learning_rate=2e-3, schedule="cosine")
    return common.named(
        teacher=dict(**network, optimizer=cosine, evaluate=judged(target, seen=1)),
        student=dict(**network, optimizer=cosine, evaluate=judged(target, seen=2)),
    )


def grown(stage, player):
    return dict(student=dict(stage=stage, player=player, transfer="grow"))


def of_target(target):
    ce = dict(lambdas=dict(student=dict(ce=1.0)))
    return common.named(
        scratch=ce,
        started=dict(**ce, start=grown("source", "teacher")),
        distilled=dict(**ce, start=grown("distill", "student")),
        lwf=dict(
            method=dict(name="lwf", temperature=2.0, new=target),
            lambdas=dict(student=dict(ce=1.0, kd=1.0)),
            start=grown("source", "teacher"),
        ),
    )


def of_both():
    both = lambda weights: dict(
        method=dict(name="both_tasks", source=SOURCE, weights=weights),
        lambdas=dict(student=dict(source=1.0, target=1.0)),
        start=grown("source", "teacher"),
    )
    return common.named(even=both("even"), errors=both("errors"))
