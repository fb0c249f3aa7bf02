"""The zoo's search and its tables: which trials there are, what they may see, and numbers by hand from made-up workdirs."""

import json

import numpy as np
import pytest
from scipy import stats

from configs import tables, zoo, zoo_cifar10, zoo_rows, zoo_table
from kdgan import files
from kdgan.run.config import resolve

RNG = np.random.default_rng(0)
SEEDS, FIRST = 4, 10


def arms_of(text):
    (distill,) = [stage for stage in resolve(zoo.get_config(text)).stages if stage.name == "distill"]
    return {arm.name: arm for arm in distill.arms}


def test_each_row_is_one_of_its_four_trials_at_most():
    tried = arms_of("set=mnist,part=search")
    settled = lambda arm: (arm.method, arm.lambdas, arm.start)
    for row, arm in arms_of("set=mnist").items():
        trials = [zoo_rows.trial_name(row, factor) for factor in zoo_rows.trials(row)]
        assert len(trials) == (1 if row == "scratch" else 4)
        assert settled(arm) in [settled(tried[name]) for name in trials], row
        different = [json.dumps([tried[name].method, tried[name].lambdas], default=str) for name in trials]
        assert len(set(different)) == len(trials), row


def test_the_search_has_no_seed_of_the_table_and_all_rows_have_equal_steps():
    table, search = (resolve(zoo.get_config(f"set=mnist,part={part}")) for part in ("table", "search"))
    assert not set(table.seeds) & set(search.seeds)
    assert table.data.validation == search.data.validation == 1000
    (distill,) = [stage for stage in table.stages if stage.name == "distill"]
    assert len({(arm.steps, arm.batch_size, arm.views, str(arm.augment)) for arm in distill.arms}) == 1
    alone = arms_of("methods=pskd+byot")  # no teacher to keep the outputs of
    assert {name: tuple(arm.cached) for name, arm in alone.items()} == {"pskd": (), "byot": ()}
    assert zoo_cifar10.get_config("methods=scratch").stages.distill.cached == ()


def test_a_row_takes_the_trial_of_highest_accuracy_and_of_equal_ones_of_lowest_nll(tmp_path, monkeypatch):
    accuracy = {0.1: (0.8, 0.5), 0.3: (0.9, 0.4), 1.0: (0.9, 0.3), 3.0: (0.7, 0.2)}
    mean = lambda value: {"mean": value}
    arms = {
        zoo_rows.trial_name("kd", factor): {"validation": {"student": {"accuracy": mean(a), "nll": mean(n)}}}
        for factor, (a, n) in accuracy.items()
    }
    (tmp_path / "summary.json").write_text(json.dumps({"stages": {"distill": {"arms": arms}}}))
    monkeypatch.setattr(zoo_rows, "FILE", tmp_path / "search.json")
    zoo_rows.main(["digits", str(tmp_path)])
    assert zoo_rows.chosen("digits") == {"kd": 1.0}
    assert zoo_rows.chosen("mnist") == {}


def workdir(path, rows, *, seed=FIRST, teacher=0.95):
    """A workdir with these rows, row -> accuracies by seed."""
    numbers = lambda values: {"mean": float(np.mean(values)), "ci95": 0.01, "values": list(map(float, values))}
    measured = lambda values: {"accuracy": numbers(values), "nll": numbers(1 - values), "ece": numbers(values / 10)}
    arms = {
        row: {
            "players": {"student": measured(values), "teacher": measured(np.full(SEEDS, teacher))},
            "train_flops": 2e12, "train_seconds": 12.0,
        }
        for row, values in rows.items()
    }  # fmt: skip
    path.mkdir()
    summary = {
        "config": {"seed": seed, "population": {"seeds": SEEDS}},
        "stages": {"distill": {"arms": arms, "steps": 600}},
        "environment": {"device": "1 × cpu", "jax": "0"},
    }
    (path / "summary.json").write_text(json.dumps(summary))
    return path


VALUES = {row: 0.9 + 0.02 * RNG.normal(size=SEEDS) for row in ("scratch", "kd", "hint", "crd")}


def test_rows_of_two_workdirs_are_compared_by_seed(tmp_path):
    first = workdir(tmp_path / "a", {row: VALUES[row] for row in ("scratch", "kd")})
    second = workdir(tmp_path / "b", {row: VALUES[row] for row in ("hint", "crd")})
    made = zoo_table.read([first, second])
    assert made["seeds"] == [10, 11, 12, 13]
    found = tables.differences(made["rows"], "accuracy", "kd")
    tests = {row: stats.ttest_rel(VALUES[row], VALUES["kd"]) for row in ("scratch", "hint", "crd")}
    for row, test in tests.items():
        assert found[row]["mean"] == pytest.approx(np.mean(VALUES[row] - VALUES["kd"]))
        half = test.confidence_interval(1 - 0.05 / 3)
        assert found[row]["ci95"] == pytest.approx((half.high - half.low) / 2)
    assert min(one["holm"] for one in found.values()) == pytest.approx(
        min(1, 3 * min(test.pvalue for test in tests.values()))
    )
    table = zoo_table.markdown(made)
    best = max(VALUES, key=lambda row: VALUES[row].mean())
    assert table.splitlines()[2].startswith(f"| {best} | {100 * VALUES[best].mean():.2f} ± 1.00 |")
    gain = 100 * np.mean(VALUES["hint"] - VALUES["scratch"]) / 2
    (line,) = [line for line in table.splitlines()[7:] if line.startswith("| hint |")]
    assert line.endswith(f"| {gain:+.2f} |".replace("-", "−"))


@pytest.mark.parametrize(("dataset", "rows"), [("mnist", zoo_rows.METHODS), ("cifar10", zoo_cifar10.ROWS)])
def test_the_page_of_results_has_the_recorded_numbers(dataset, rows):
    of_set = files.read_json(zoo_table.FILE)[dataset]
    assert set(of_set["rows"]) == set(rows)
    assert zoo_table.markdown(of_set) in zoo_table.FILE.with_suffix(".md").read_text()


def test_workdirs_that_are_not_of_one_comparison_are_refused(tmp_path):
    first = workdir(tmp_path / "a", {"kd": VALUES["kd"]})
    with pytest.raises(ValueError, match=r"other: .*'seeds': .11, 12, 13, 14.*the workdirs before it have"):
        zoo_table.read([first, workdir(tmp_path / "other", {"hint": VALUES["hint"]}, seed=11)])
    with pytest.raises(ValueError, match=r"taught: .*0.96"):
        zoo_table.read([first, workdir(tmp_path / "taught", {"hint": VALUES["hint"]}, teacher=0.96)])
    with pytest.raises(ValueError, match="again: kd stands in a workdir before it"):
        zoo_table.read([first, workdir(tmp_path / "again", {"kd": VALUES["kd"]})])
