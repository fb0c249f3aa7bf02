"""Ratios of blocks in turn, results that keep the other suites' parts, and tables that are written from them."""

import json

import numpy as np
import pytest

from benchmarks import measure, process, run, steps, table
from benchmarks.measure import Contestant, Effort


class Clock:
    """Time that passes only where a contestant lets it, and for everyone at once more slowly."""

    def __init__(self):
        self.now, self.drift = 0.0, 1.0

    def contestant(self, seconds, **kwargs):
        def steps(count):
            self.now += count * seconds * self.drift
            self.drift *= 1.01

        return Contestant(steps, **kwargs)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_steady_drift_cancels_in_the_median_of_the_ratios(clock):
    found = measure.compare(clock.contestant(0.01), clock.contestant(0.03), Effort(blocks=20, block_seconds=0.1))
    assert found["blocks"] == 20
    assert found["speedup"]["median"] == pytest.approx(3.0, rel=0.02)
    low, high = found["speedup"]["interval95"]
    assert low <= found["speedup"]["median"] <= high


def test_a_members_step_is_compared_with_one_networks(clock):
    ours, other = clock.contestant(0.02, members=10), clock.contestant(0.01)
    found = measure.compare(ours, other, Effort(blocks=6, block_seconds=0.1))
    assert found["speedup"]["median"] == pytest.approx(5.0, rel=0.03)


def test_blocks_are_whole_calls_and_fewer_where_they_take_long(clock):
    ours, other = clock.contestant(1.0, per_call=10), clock.contestant(1.0)
    found = measure.compare(ours, other, Effort(blocks=30, block_seconds=0.1, pair_seconds=1.0))
    assert found["steps"] == [10, 1]
    assert found["blocks"] == measure.MIN_BLOCKS


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = measure.spread(generator.lognormal(size=30))["interval95"]
        covered += low <= 1.0 <= high
    assert 0.92 <= covered / 400 <= 1.0


def comparison():
    return {
        "kdgan_ms": 1.0,
        "other_ms": 2.0,
        "speedup": {"median": 2.0, "interval95": [1.9, 2.1], "quartiles": [1.8, 2.2]},
        "parity": {"loss": 0.0, "gradient": 1e-7},
    }


def step_part():
    row = {
        "title": "MLP", "batch": 8, "flops": 1e6, "rivals": {"jax": comparison(), "compile": {"error": "no C++ compiler",
        "parity": {}}}, "rounding": 1e-7, "control": comparison(), "fresh": {},
    }  # fmt: skip
    return {"peak": {"flops_per_second": 1e10, "size": 1024}, "pieces": {"mlp": row}}


def test_who_computed_something_else_is_named_and_who_cannot_run_here_is_not():
    part = step_part()
    assert steps.refused(part) == []
    part["pieces"]["mlp"]["rivals"]["eager"] = {"error": "the loss of student", "refused": True}
    part["pieces"]["mlp"]["difference_after_a_step"] = "mlp"
    assert steps.refused(part) == ["mlp, eager", "mlp, jax after a step"]


def test_a_suites_part_replaces_its_own_and_no_others(tmp_path):
    path, setting = tmp_path / "cpu.json", measure.Setting(measure.QUICK, "cpu", "float32", True)
    run.record(path, "kd", step_part(), setting)
    run.record(path, "start", {"first": 1}, setting)
    run.record(path, "start", {"second": 2}, setting)
    suites = json.loads(path.read_text())["suites"]
    assert set(suites) == {"kd", "start"}
    assert suites["start"]["measured"] == {"second": 2}
    assert suites["kd"]["measured"] == step_part()


def test_chosen_pieces_replace_their_rows_and_no_others(tmp_path):
    path, setting = tmp_path / "cpu.json", measure.Setting(measure.QUICK, "cpu", "float32", True)
    run.record(path, "population", {"rows": [{"name": "mlp", "ms": 1}, {"name": "resnet20", "ms": 2}]}, setting)
    run.record(path, "population", {"rows": [{"name": "mlp", "ms": 3}]}, setting._replace(pieces=("mlp",)))
    run.record(path, "kd", {"peak": 1, "pieces": {"mlp": 1}}, setting._replace(pieces=("mlp",)))
    run.record(path, "kd", {"peak": 2, "pieces": {"host": 2}}, setting._replace(pieces=("host",)))
    suites = json.loads(path.read_text())["suites"]
    assert suites["population"]["measured"] == {"rows": [{"name": "resnet20", "ms": 2}, {"name": "mlp", "ms": 3}]}
    assert suites["kd"]["measured"] == {"peak": 2, "pieces": {"mlp": 1, "host": 2}}


def test_pieces_are_those_of_their_suites(capsys):
    assert run.parse(["--suite=kd", "--pieces=mlp,host"]).pieces == ("mlp", "host")
    for arguments, message in (
        (["--suite=kd", "--pieces=lenet"], "--pieces=lenet: accepted are mlp, mlp_lenet"),
        (["--suite=images", "--pieces=mlp"], "--pieces=mlp: the suite images has no pieces to choose"),
    ):
        with pytest.raises(SystemExit):
            run.parse(arguments)
        assert message in capsys.readouterr().err


def test_the_tables_stand_between_the_marks_and_nothing_else_changes(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(readme, results)
    assert readme.read_text() == f"before\n{table.BEGIN}\n\n{table.NOTHING}\n\n{table.END}\nafter\n"
    run.record(results / "cpu.json", "kd", step_part(), measure.Setting(measure.QUICK, "cpu", "float32", True))
    table.write(readme, results)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| **2** | 1.9 .. 2.1 | 1.8 .. 2.2 |" in text
    assert "a quick run: not a result" in text
    assert "no C++ compiler" in text
    assert "1 GFLOP/s, 10% of the peak" in text


def test_an_unknown_suite_is_refused(capsys):
    with pytest.raises(SystemExit):
        run.parse(["--suite=speed"])
    assert "--suite=speed: accepted are kd, kdgan" in capsys.readouterr().err


def test_a_function_runs_in_a_process_of_its_own():
    found = process.call("benchmarks.process:simulated_devices", {"count": 3}, {"XLA_FLAGS": "--other"})
    assert found["XLA_FLAGS"] == "--other --xla_force_host_platform_device_count=3"


def test_a_process_that_fails_says_how():
    with pytest.raises(process.FailedError, match="TypeError"):
        process.call("benchmarks.process:simulated_devices", {"number": 3})
