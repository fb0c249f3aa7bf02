"""Portions of classes: what remains of a partition, and exemplars that are as many as asked for, drawn by seed alone."""

import numpy as np
import pytest

import tiny
from kdgan.data.errors import ArgumentError
from kdgan.data.restricted import restricted
from kdgan.data.splits import partition
from kdgan.run import build, explain, stage_data
from kdgan.run.config import ConfigError, resolve

LABELS = np.repeat(np.arange(5, dtype=np.int32), (20, 21, 22, 23, 4))
WHOLE = partition(LABELS, validation=10, labelled=50, seed=3)


def take(parts=WHOLE, **fields):
    return restricted(parts, LABELS, num_classes=5, **fields)


def test_nothing_is_changed_where_nothing_is_named():
    assert take() is WHOLE


def test_each_part_is_what_it_was_of_the_classes_that_are_named():
    parts = take(classes=(3, 1))
    for before, after in zip(WHOLE, parts, strict=True):
        assert after.tolist() == [row for row in before if LABELS[row] in (1, 3)]
        assert len(after)


@pytest.mark.parametrize("classes", [(3, 1), ()])
def test_exemplars_are_training_examples_of_the_others_so_many_of_each(classes):
    parts, alone = take(classes=classes, exemplars=4, exemplars_of=(0, 2)), take(classes=(3, 1))
    assert np.bincount(LABELS[parts.train], minlength=5)[[0, 2, 4]].tolist() == [4, 4, 0]
    assert set(parts.train) <= set(WHOLE.train)
    assert (np.diff(parts.train) > 0).all()
    if classes:
        assert set(alone.train) < set(parts.train)
        assert (alone.validation.tolist(), alone.unlabelled.tolist()) == (
            parts.validation.tolist(),
            parts.unlabelled.tolist(),
        )


def test_exemplars_of_a_class_follow_from_the_seed_and_fewer_are_among_more():
    of = lambda seed, count, classes: {
        row for row in take(classes=(3,), exemplars=count, exemplars_of=classes, seed=seed).train if LABELS[row] == 1
    }
    assert of(0, 5, (1,)) == of(0, 5, (0, 2, 1))
    assert of(0, 3, (1,)) < of(0, 5, (1,))
    assert len({frozenset(of(seed, 5, (1,))) for seed in range(5)}) > 1


def test_exemplars_stand_as_often_as_asked_for_and_other_examples_once():
    once, thrice = (
        take(classes=(3,), exemplars=4, exemplars_of=(0, 2), exemplar_repeats=repeats).train for repeats in (1, 3)
    )
    rows, counts = np.unique(thrice, return_counts=True)
    assert rows.tolist() == once.tolist()
    assert counts.tolist() == [1 if LABELS[row] == 3 else 3 for row in rows]


WRONG = {
    "unknown": (dict(classes=(0, 5)), "{classes} = (0, 5): numbers of classes in 0..4, each once, are accepted"),
    "twice": (dict(classes=(0, 0)), "{classes} = (0, 0): numbers of classes in 0..4, each once"),
    "no number": (dict(classes=(0.5,)), "{classes} = (0.5,): numbers of classes in 0..4, each once"),
    "exemplars of none": (dict(classes=(0,), exemplars=2), "{exemplars} = 2 of {exemplars_of} = (): a number of"),
    "none of some": (dict(classes=(0,), exemplars_of=(1,)), "{exemplars} = 0 of {exemplars_of} = (1,): a number of"),
    "in both": (
        dict(classes=(0, 1), exemplars=1, exemplars_of=(1,)),
        "all examples of class 1 are there, for {classes}",
    ),
    "beside all": (dict(exemplars=1, exemplars_of=(1,)), "for {classes} = None, which is all; leave it out"),
    "too many": (
        dict(classes=(0,), exemplars=9, exemplars_of=(4,)),
        "class 4 of {exemplars_of} has 2 training examples",
    ),
    "repeats of none": (
        dict(classes=(0,), exemplar_repeats=2),
        "{exemplar_repeats} = 2 of {exemplars} = 0: 1 is accepted",
    ),
    "too many repeats": (
        dict(classes=(0,), exemplars=4, exemplars_of=(1, 2), exemplar_repeats=10**12),
        "{exemplar_repeats} = 1000000000000: of 8 exemplars at most 8,388,608 is accepted",
    ),
    "no repeat": (
        dict(classes=(0,), exemplars=2, exemplars_of=(1,), exemplar_repeats=0),
        "{exemplar_repeats} = 0 of {exemplars} = 2: 1 is accepted, or more",
    ),
    "nothing": (dict(classes=()), "{classes} = (): no training example is of any of them"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_by_the_field(name):
    fields, message = WRONG[name]
    with pytest.raises(ArgumentError) as error:
        take(**fields)
    assert message in str(error.value.args[0])
    assert "\n" not in str(error.value)


def in_portions():
    config = tiny.config(seeds=2)
    config.data.labelled = None
    config.stages.teacher.data = dict(classes=(0, 1, 2, 3, 4))
    config.stages.distill.data = dict(classes=(5, 6, 7, 8, 9), exemplars=3, exemplars_of=(0, 1, 2, 3, 4))
    return config


def test_a_stage_is_trained_and_validated_on_its_portion_and_measured_on_the_whole_test_split():
    run = resolve(in_portions())
    inputs = stage_data.load(run)
    before, now = inputs.of("teacher"), inputs.of("distill")
    validation = [np.unique(own.train.label[own.partitions[0].validation]) for own in (before, now)]
    assert [classes.tolist() for classes in validation] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    for seed in run.seeds:
        rows = now.partitions[seed].train
        assert np.bincount(now.train.label[rows])[:5].tolist() == [3] * 5
        old = rows[now.train.label[rows] < 5]
        assert set(old) <= set(before.partitions[seed].train)
    kept = [set(now.partitions[seed].train) for seed in run.seeds]
    assert kept[0] != kept[1]
    assert (now.num_classes, len(now.test)) == (10, 500)


def test_the_explanation_says_which_classes_and_how_many_exemplars():
    run = resolve(in_portions())
    inputs = stage_data.load(run)
    text = explain.explain(run, inputs, build.all_programs(run, inputs))
    (count,) = {len(inputs.of("distill").partitions[0].train) - 15}
    assert f"trained on: {count:,} examples of 5, 6, 7, 8, 9\n" in text
    assert f"exemplars: 3 of each of 0, 1, 2, 3, 4, drawn by seed: 15 of {count + 15:,} training examples\n" in text
    assert "cannot give an equal share" not in text
    repeated = in_portions()
    repeated.stages.distill.data.exemplar_repeats = 20
    run = resolve(repeated)
    text = explain.explain(run, inputs := stage_data.load(run), build.all_programs(run, inputs))
    assert f"drawn by seed, each 20 times in an epoch: 300 of {count + 300:,} training examples\n" in text


def test_a_wrong_portion_is_one_line_that_names_the_stage():
    config = in_portions()
    config.stages.distill.data = dict(classes=(5, 10))
    with pytest.raises(
        ConfigError, match=r"^config\.stages\.distill\.data\.classes = \(5, 10\): numbers of classes in 0"
    ):
        stage_data.load(resolve(config))
