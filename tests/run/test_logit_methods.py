"""A run whose student learns by several ways at once, which learn or remember something beside it: resumed bitwise."""

import jax
import pytest

import tiny
from configs import common
from kdgan.run import train, trained
from kdgan.run.config import resolve
from same import assert_same

PARTS = (
    dict(name="ctkd", reversal=dict(kind="cosine", start=0.0, end=1.0)),
    "mean_teacher",
    "cskd",
    dict(name="byot", blocks=("hidden1",)),
)
TERMS = ("ce", "kd", "consistency", "partner", "ce_blocks", "kd_blocks", "hint_blocks")
BESIDE = {"temperature": "temperature", "memory_average": "moving_parameters", "adapter_heads": "block_heads"}


def config():
    made = tiny.config(steps=3, validation=0)
    made.evaluate.every, made.evaluate.latency = 3, True
    with made.unlocked():
        for player, model in BESIDE.items():
            made.players[player] = dict(model=model)
    made.stages = common.named(
        teacher=made.stages.teacher,
        combined=dict(
            method=dict(name="combine", parts=PARTS), start=dict(teacher="teacher"), steps=3,
            lambdas=dict(student=dict.fromkeys(TERMS, 0.5)),
        ),
    )  # fmt: skip
    return made


def state_of(workdir):
    return trained.restore_member(workdir, resolve(config()), "combined", "main", 1)["state"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("logits")
    return workdir, train.train(config(), workdir)


def test_the_student_is_measured_and_what_stands_beside_it_is_not(finished):
    stage = finished[1]["stages"]["combined"]
    assert set(stage["arms"]["main"]["players"]) == {"student", "teacher"}
    assert {name for name, cost in stage["cost"].items() if "latency_ms" in cost} == {"student", "teacher"}
    assert set(stage["cost"]) > set(BESIDE)  # their parameters are counted


def test_the_average_and_the_heads_are_part_of_the_state(finished):
    state = state_of(finished[0])
    memory = state["model_state"]["memory_average"]["memory"]
    assert int(memory["count"]) == 3
    assert jax.tree.structure(memory["average"]) == jax.tree.structure(state["params"]["student"])
    assert state["params"]["adapter_heads"]["hidden1-head"]["kernel"].shape[-1] == 10  # classes of the data


def test_a_resumed_run_is_the_same(finished, tmp_path):
    tiny.train_until(config(), tmp_path, "combined", 2)
    train.train(config(), tmp_path)
    assert_same(state_of(tmp_path), state_of(finished[0]))
