"""The quickstart has hyper-parameters that its search tried; the search sees no test image and no seed of its table."""

import dataclasses
import json

import pytest

from configs import kdgan_rows, quickstart, quickstart_search
from kdgan.run.config import resolve

WIDTH = 4


def settings(run, arm):
    """What an arm's hyper-parameters are: its method, its λ's, the optimizer and start of each player that it trains."""
    optimizers = {
        name: {**dataclasses.asdict(player.optimizer), **arm.optimizers.get(name, {})}
        for name, player in arm.players.items()
        if name in arm.lambdas
    }
    starts = {name: start for name, start in arm.start.items() if name in arm.lambdas}
    return {"method": arm.method, "lambdas": arm.lambdas, "optimizers": optimizers, "start": starts}


@pytest.fixture(scope="module")
def runs():
    """The quickstart, and the searches of its teacher and of its students."""
    return resolve(quickstart.get_config()), {
        rows: resolve(quickstart_search.get_config(f"rows={rows},width={WIDTH}"))
        for rows in ("teacher", "scratch+kd", "kdgan")
    }


def test_every_arm_of_the_quickstart_is_one_of_the_trials(runs):
    run, searches = runs
    tried = {
        arm.name: settings(search, arm) for search in searches.values() for stage in search.stages for arm in stage.arms
    }
    arms = {arm.name: arm for stage in run.stages for arm in stage.arms}
    for row, name in (("teacher", "main"), ("scratch", "scratch"), ("kd", "kd"), ("kdgan", "kdgan")):
        ours = settings(run, arms[name])
        assert ours in [tried[f"{row}{number}"] for number in range(kdgan_rows.TRIALS)], row
    student = arms["scratch"].players["student"]
    assert student.model_args == searches["scratch+kd"].players["student"].model_args


def test_the_search_sees_neither_the_test_split_nor_a_seed_of_the_table(runs):
    run, searches = runs
    for search in searches.values():
        assert search.data == dataclasses.replace(run.data, test="train")
        assert not set(search.seeds) & set(run.seeds)
        assert {stage.steps for stage in search.stages} == {stage.steps for stage in run.stages}


def test_every_row_has_as_many_trials():
    for row in quickstart_search.SPACES:
        tried = quickstart_search.trials(row)
        assert len({json.dumps(trial) for trial in tried}) == kdgan_rows.TRIALS == len(tried)


def test_the_best_trial_is_that_of_the_highest_mean_validation_accuracy(tmp_path):
    """By hand: trial 1 is ahead on the last step, trial 0 on an earlier one and on another split."""

    def line(arm, seed, step, split, accuracy, nll):
        values = {"student/accuracy": accuracy, "student/nll": nll}
        return json.dumps({"stage": "search", "arm": arm, "seed": seed, "step": step, "split": split, **values})

    lines = [
        line("kd0", 100, 250, "validation", 0.99, 0.1), line("kd0", 100, 500, "validation", 0.6, 1.0),
        line("kd0", 101, 500, "validation", 0.8, 1.0), line("kd0", 100, 500, "test", 1.0, 0.0),
        line("kd1", 100, 500, "validation", 0.7, 0.9), line("kd1", 101, 500, "validation", 0.9, 0.7),
        line("kd2", 100, 500, "validation", 0.8, 0.9), line("kd2", 101, 500, "validation", 0.8, 0.8),
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    judged = quickstart_search.judged(tmp_path)["kd"]
    assert [trial["accuracy"] for trial in judged] == pytest.approx([0.7, 0.8, 0.8])
    assert judged[1]["error"] == pytest.approx(0.1)  # half of the distance between two seeds
    assert quickstart_search.best(judged) is judged[1]  # level with the third in accuracy, of lower NLL: 0.8 and 0.85
