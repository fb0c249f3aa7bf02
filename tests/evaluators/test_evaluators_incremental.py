"""Accuracy by task and forgetting: by hand on a dozen examples, and in a run of two stages with its figures."""

import json
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdgan
import tiny
from configs import common
from kdgan import evaluators
from kdgan.data.fields import Field
from kdgan.evaluators import check

TASKS = ((0, 1), (2, 3))
LABELS = np.array([0, 0, 1, 1, 2, 2, 3, 3, 0, 2], np.int32)
MASK = np.array([True] * 8 + [False] * 2)


def choosing(classes, k=4):
    """Logits whose largest is that of each class, the next largest the other class of its task."""
    logits = np.zeros((len(classes), k), np.float32)
    for row, chosen in zip(logits, classes, strict=True):
        row[chosen] = 2
        if (chosen ^ 1) < k:
            row[chosen ^ 1] = 1
    return logits


# Right with all outputs open on 3 of 4 of the first task and 2 of 4 of the second.
OUTPUT = choosing([0, 1, 1, 1, 2, 0, 3, 1, 1, 1])
OLD = choosing([0, 0, 1, 1, 0, 0, 1, 1, 0, 0], k=2)


def measured(output=OUTPUT, others=None, labels=LABELS, **arguments):
    mine = evaluators.build("incremental", tasks=TASKS, **arguments)
    batch = {"label": jnp.asarray(labels), "mask": jnp.asarray(MASK)}
    given = {name: lambda batch, value=value: jnp.asarray(value) for name, value in (others or {}).items()}
    sums = jax.device_get(mine.sums(lambda v, b: jnp.asarray(output), {}, batch, None, given))
    return mine, sums, mine.summarise(sums)


def test_the_numbers_by_hand():
    _, _, found = measured(others={"teacher": OLD})
    # Of the second task the outputs 2 and 3 alone: zeros where another task's was chosen, of which the first is taken.
    assert found == pytest.approx({
        "seen_accuracy": 5 / 8,
        "open_1": 3 / 4, "open_2": 2 / 4,
        "task_1": 3 / 4, "task_2": 3 / 4,
        "task_accuracy": 3 / 4,
        "forgetting": 1 - 3 / 4, "task_forgetting": 1 - 3 / 4,
    })  # fmt: skip


def test_forgetting_is_from_the_best_earlier_model_and_negative_where_a_task_has_become_better():
    worse, half = choosing([1, 1, 0, 0] + [0] * 6, k=2), choosing([0, 1, 1, 0] + [0] * 6, k=2)
    before = {"first": worse, "second": half}
    found = measured(others=before, before=("first", "second"))[2]
    assert found["forgetting"] == pytest.approx(1 / 2 - 3 / 4)
    assert "forgetting" not in measured(others={"teacher": worse}, before=("first",))[2]
    assert "forgetting" not in measured()[2]


def test_a_player_of_the_first_task_alone_is_judged_by_what_it_has_seen():
    mine, sums, found = measured(OLD, seen=1, others={"teacher": OLD})
    assert (found["seen_accuracy"], found["task_accuracy"], found["open_2"]) == (1.0, 1.0, 0.0)
    assert "forgetting" not in found  # there is no task before it
    assert mine.of_seeds(setting(), "student", [sums]) == []


def test_a_task_without_examples_has_no_number():
    """As on the validation split of a stage that has the new classes alone."""
    found = measured(labels=np.full(10, 2, np.int32), others={"teacher": OLD})[2]
    assert {"open_1", "task_1", "task_accuracy", "forgetting"}.isdisjoint(found)
    assert found["seen_accuracy"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("compare", [None, 2])
def test_it_is_held_to_the_contract_and_the_first_measure_is_what_was_asked_for(compare):
    mine = evaluators.build("incremental", tasks=TASKS, compare=compare)
    assert mine.measures[0].name == ("seen_accuracy" if compare is None else "task_2")
    assert len({measure.name for measure in mine.measures}) == 8
    check(mine, output=OUTPUT, batch={"label": LABELS}, others={"teacher": OLD})


def setting():
    made = mock.Mock(spec=evaluators.Setting)
    made.fields = {"label": Field("class", (), names=tuple("abcd"), size=4)}
    return made


def test_its_figure_has_a_row_for_each_stage_and_nothing_of_tasks_not_yet_seen():
    mine, sums, _ = measured(others={"teacher": OLD})
    first, second = mine.of_seeds(setting(), "student", [sums, sums])
    assert (first.kind, first.about["rows"], first.about["columns"]) == (
        "crossed", ["after a, b", "after c, d"], ["a, b", "c, d"],
    )  # fmt: skip
    np.testing.assert_allclose(first.array, [[[1, np.nan], [3 / 4, 2 / 4]]] * 2)
    np.testing.assert_allclose(second.array, [[[1, np.nan], [3 / 4, 3 / 4]]] * 2)
    assert first.title != second.title
    assert mine.of_seeds(setting(), "student", [measured()[1]]) == []


FIELDS = {"label": Field("class", (), size=4)}


@pytest.mark.parametrize(
    ("arguments", "shape", "fields", "message"),
    [
        ({}, (2, 3), FIELDS, r"its output is \(2, 3\), the tasks seen have classes up to 3; set \{player\}.model_args"),
        ({}, (2, 4), {}, "the data have no labels"),
        ({}, (2, 4), {"label": Field("tags", (4,), size=4)}, "the data have a label of kind 'tags'"),
        ({}, (2, 4), {"label": Field("class", (), size=3)}, "tasks name class 3, the data have 3: 0..2"),
        (dict(seen=1), (2, 2), FIELDS, None),
        ({}, (2, 9), FIELDS, None),
    ],
)
def test_it_says_what_it_cannot_judge(arguments, shape, fields, message):
    mine = evaluators.build("incremental", tasks=TASKS, **arguments)
    found = mine.fits(jax.ShapeDtypeStruct(shape, jnp.float32), fields)
    if message is None:
        assert found is None
    else:
        assert re.search(message, found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(tasks=()), r"tasks = \(\): classes of each task"),
        (dict(tasks=(0, 1)), r"tasks = \(0, 1\): classes of each task"),
        (dict(tasks=((0, 1), (1, 2))), "each class once"),
        (dict(tasks=TASKS, seen=3), "seen = 3: 1 to 2 of tasks"),
        (dict(tasks=TASKS, seen=0), "seen = 0: 1 to 2"),
        (dict(tasks=TASKS, compare=3), "compare = 3: 1 to 2"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluators.build("incremental", **arguments)


def test_a_run_in_portions_measures_forgetting_and_its_report_has_the_table(tmp_path):
    config = tiny.config(seeds=2, validation=20)
    portions = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    judged = lambda seen: dict(evaluate=dict(name="incremental", tasks=portions, seen=seen))
    config.data.labelled = None
    small = dict(model="mlp", model_args=dict(hidden=(8,)))
    config.players = common.named(
        student=dict(**small, **judged(2)),
        teacher=dict(model="mlp", model_args=dict(hidden=(8,), num_classes=5), **judged(1)),
    )
    ce = dict(lambdas=dict(student=dict(ce=1.0)))
    old = dict(stage="first", player="student")
    config.stages = common.named(
        first=dict(
            **ce, data=dict(classes=portions[0]), steps=20,
            players=dict(student=dict(model_args=dict(num_classes=5), **judged(1))),
        ),
        second=dict(
            data=dict(classes=portions[1]), steps=2, beside=("teacher",),
            start=dict(student=dict(**old, transfer="grow"), teacher=old),
            arms=common.named(
                finetune=ce,
                lwf=dict(method=dict(name="lwf"), lambdas=dict(student=dict(ce=1.0, kd=1.0))),
            ),
        ),
    )  # fmt: skip
    stages = kdgan.train(config, tmp_path)["stages"]
    before = stages["first"]["arms"]["main"]["players"]["student"]
    for record in stages["second"]["arms"].values():
        student, teacher = record["players"]["student"], record["players"]["teacher"]
        assert teacher["open_1"]["values"] == before["open_1"]["values"]
        lost = np.subtract(before["open_1"]["values"], student["open_1"]["values"])
        np.testing.assert_allclose(student["forgetting"]["values"], lost, atol=1e-12)
        share = np.mean([student[f"open_{j}"]["values"] for j in (1, 2)], axis=0)
        np.testing.assert_allclose(
            student["seen_accuracy"]["values"], share, atol=0.02
        )  # the tasks are nearly of one size
    figures = [
        one for one in json.loads((tmp_path / "summary.json").read_text())["figures"] if one["kind"] == "crossed"
    ]
    assert {(one["arm"], one["title"].split(", ")[-1]) for one in figures} == {
        (arm, way) for arm in ("finetune", "lwf") for way in ("all outputs open", "the task's outputs alone")
    }
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("after 0-4") == 4
    assert (tmp_path / "report.md").read_text(encoding="utf-8").count("| after 0-4 |") == 4
    assert "student · lwf" in page
