"""What a run says of its frozen classifiers before it trains with them, and of one whose outputs are not finite."""

import re
from unittest import mock

import numpy as np
import pytest

import tiny
from configs import common
from kdgan import data
from kdgan.data import splits
from kdgan.evaluators.order import better_order, drawn_of_all
from kdgan.run import build, frozen, interrupt, population, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve
from kdgan.run.evaluate import Evaluation

KD = dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9)))
SCRATCH = dict(lambdas=dict(student=dict(ce=1.0)))


def taught_by(*, arms=None, steps=1, seeds=1, validation=200, **teacher):
    """A student of a function that classifies."""
    config = tiny.config(steps=steps, seeds=seeds, arms=arms or common.named(kd=KD), validation=validation)
    config.players.teacher = dict(model="players.nearest_mean", model_args=teacher)
    with config.unlocked():
        del config.stages["teacher"]
        config.stages.distill.start = {}
    return config


def expected_accuracy(shift=0, split="validation"):
    """Of the teacher, in NumPy, on the split's images."""
    train_set = data.load("digits", "train")
    rows = splits.partition(train_set.label, validation=200 if split == "validation" else 0, labelled=40, seed=0)
    rows = rows.validation if split == "validation" else rows.train
    images = np.asarray(train_set.image, np.float32).reshape(len(train_set.image), -1) / 255
    means = np.stack([images[train_set.label == label].mean(0) for label in range(10)])
    nearest = ((images[rows][:, None] - means[None]) ** 2).sum(-1).argmin(-1)
    return 100 * np.mean((nearest + shift) % 10 == train_set.label[rows])


def said(config):
    """What is said before the first step of a run of one stage."""
    run = resolve(config)
    inputs = run_inputs.load(run)
    programs = build.all_programs(run, inputs)
    evaluation = Evaluation(run, inputs, programs)
    context = mock.Mock(spec=train.Context, run=run)
    (stage,) = run.stages
    populations = [
        population.Population(run, stage, program, inputs, {}, train.initial_states(context, stage, program, {}))
        for program in programs[stage.name]
    ]
    looks = frozen.Frozen(run, evaluation)
    lines = looks.lines(stage, populations)
    assert looks.lines(stage, populations) == []  # once for each
    return lines


def test_the_accuracy_on_the_validation_split_is_said_once_for_a_teacher_of_several_arms():
    mimic = dict(method=dict(name="mimic"), lambdas=dict(student=dict(ce=1.0, mimic=0.1)))
    config = taught_by(arms=common.named(kd=KD, mimic=mimic, scratch=SCRATCH), seeds=2)
    config.stages.distill.cached = ("teacher",)
    assert said(config) == [f"frozen    teacher: accuracy {expected_accuracy():.1f} % on 200 validation images"]


def test_without_a_validation_split_it_is_of_training_images():
    (line,) = said(taught_by(validation=0))
    assert line == f"frozen    teacher: accuracy {expected_accuracy(split='training'):.1f} % on 40 training images"


def test_teachers_of_several_seeds_stand_in_a_line_and_are_said_again_where_the_stage_is_resumed(
    tmp_path, capsys, monkeypatch
):
    seen, outputs = [], Evaluation.outputs
    watched = lambda *args, **options: seen.append(args[4]) or outputs(*args, **options)
    monkeypatch.setattr(Evaluation, "outputs", watched)
    config = tiny.config(steps=4, arms=common.named(kd=KD))
    tiny.train_until(config, tmp_path, "distill", 3)
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("frozen")]
    assert re.fullmatch(r"frozen    teacher: accuracy \d+\.\d, \d+\.\d % \(seeds 0, 1\) on 20 validation images", line)
    assert "test" not in seen  # while training
    assert "frozen    " not in (tmp_path / "explanation.txt").read_text()
    train.train(config, tmp_path)
    assert [again for again in capsys.readouterr().out.splitlines() if again.startswith("frozen")] == [line]
    train.train(config, tmp_path)  # nothing is left to train
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("frozen")]


def test_a_teacher_whose_classes_are_in_another_order_is_told_which():
    shift = 3
    accuracy, warning = said(taught_by(shift=shift))
    assert f"accuracy {expected_accuracy(shift):.1f} %" in accuracy
    order = tuple((label + shift) % 10 for label in range(10))
    assert warning == (
        f"warning: teacher (a function): its accuracy is {expected_accuracy(shift):.1f} %, and"
        f" {expected_accuracy():.1f} % by another order of its classes; if they are in that order:"
        f" config.players.teacher.classes = {order}"
    )
    config = taught_by(shift=shift)
    config.players.teacher.classes = order
    assert said(config) == [f"frozen    teacher: accuracy {expected_accuracy():.1f} % on 200 validation images"]


def test_of_a_selection_of_classes_the_order_is_told_in_those_of_the_module_inside():
    config = taught_by(shift=3)
    config.players.teacher.classes = (1, 0, *range(2, 10))
    (_, warning) = said(config)
    assert warning.endswith(f"config.players.teacher.classes = {tuple((label + 3) % 10 for label in range(10))}")


@pytest.mark.parametrize(("k", "accuracy"), [(10, 0.5), (10, 0.95), (100, 0.6), (3, 0.7)])
@pytest.mark.parametrize("in_order", [True, False])
def test_an_order_is_found_where_there_is_one_and_by_chance_never(k, accuracy, in_order):
    rng = np.random.default_rng(k)
    order = np.arange(k) if in_order else rng.permutation(k)
    while not in_order and (order == np.arange(k)).mean() > 0.3:
        order = rng.permutation(k)
    labels = rng.integers(0, k, 1000)
    predictions = np.where(rng.random(1000) < accuracy, order[labels], rng.integers(0, k, 1000))
    found, share = better_order(labels, predictions, k)
    if in_order:
        assert found is None
    else:
        assert found == tuple(order)
        assert share == np.mean(order[labels] == predictions)


@pytest.mark.parametrize("k", [6, 10, 300])
def test_a_portion_of_the_classes_is_told_from_few_examples_of_all(k):
    rng = np.random.default_rng(k)
    for count in (10, 50, 200, 1000):
        assert drawn_of_all(rng.integers(0, k, count), k)
    assert not drawn_of_all(rng.integers(k // 2, k, 1000), k)


@pytest.mark.parametrize("k", [2, 10, 300])
def test_guesses_have_no_better_order(k):
    rng = np.random.default_rng(0)
    for count in (10, 200, 1000):
        labels, predictions = rng.integers(0, k, (2, count))
        assert better_order(labels, predictions, k) == (None, 0.0)
    assert better_order(np.zeros(0, int), np.zeros(0, int), k) == (None, 0.0)


def test_a_teacher_near_chance_is_warned_of():
    config = taught_by()
    config.players.teacher = dict(model="players.constant", model_args=dict(classes=10))
    accuracy, warning = said(config)
    assert "accuracy 10.0 %" in accuracy
    assert warning.startswith("warning: teacher (a function): its accuracy of 10.0 % is near chance")
    assert warning.endswith("check config.data.mean and .std, and its classes")


def test_a_teacher_of_the_run_near_chance_may_have_trained_too_briefly(tmp_path, capsys):
    config = tiny.config(steps=1, seeds=1, arms=common.named(kd=KD), validation=200)
    config.player.optimizer.learning_rate = 0.0  # it stays as it began
    train.train(config, tmp_path)
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: teacher")]
    assert warning.startswith("warning: teacher (from teacher/main): its accuracy of ")
    assert warning.endswith("check config.data.mean and .std, and its classes, or train it longer")


def test_outputs_that_are_not_finite_are_said_to_be_and_blamed_for_the_loss(tmp_path, capsys):
    config = taught_by(infinite=1.0)
    with pytest.raises(interrupt.DivergedError) as error:
        train.train(config, tmp_path)
    out = capsys.readouterr().out
    assert (
        "warning: teacher (a function): its outputs are not finite on 200 of 200 examples; make its logits finite, as by"
        " jnp.clip(logits, -1e4, 1e4) in its model" in out
    )
    message = str(error.value)
    assert message.startswith("kd of student became nan at step 1 of stage distill (arm kd, seed 0).")
    assert "The outputs of the frozen teacher (a function) are not finite on 8 of the 8 images of this step" in message
    assert "learning rate" not in message


def test_a_loss_that_was_finite_with_such_outputs_is_not_blamed_on_them(tmp_path):
    config = taught_by(infinite=1.0, steps=6, arms=common.named(agree=dict(
        method=dict(name="players.agreeing"), lambdas=dict(student=dict(ce=1.0))
    )))  # fmt: skip
    config.players.student.optimizer = dict(learning_rate=1e30)
    with pytest.raises(interrupt.DivergedError, match="Try a lower learning rate for student"):
        train.train(config, tmp_path)
