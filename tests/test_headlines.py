"""Tables in the docstrings of configs are those of recorded runs, and a record is what a run's summary has."""

import importlib
import re

import pytest
from scipy import stats

from configs import headlines
from kdgan import files

RECORDED = files.read_json(headlines.FILE)


def test_a_docstring_has_the_recorded_table_and_no_other_interval():
    for name, record in RECORDED.items():
        text = importlib.import_module(f"configs.{name}").__doc__
        table = "\n".join(record["lines"])
        assert table in text, name
        assert not headlines.INTERVAL.search(text.replace(table, "")), name


A, B, C = (1.0, 3.0, 2.5), (0.0, 1.0, 2.0), (4.0, 4.5, 4.0)


def values(*of_seeds):
    return {"mean": sum(of_seeds) / len(of_seeds), "ci95": 0.5, "values": list(of_seeds)}


def arm(fd, **others):
    """An arm that trained a student, beside a teacher of the stage before."""
    return {
        "players": {"student": {"fd": values(*fd), **others}, "teacher": {"fd": values(9.0, 9.0, 9.0)}},
        "origins": {"student": {"trained": True}, "teacher": {"trained": False}, "discriminator": {"trained": True}},
    }


SUMMARY = {
    "measures": {
        "fd": {"head": "FD-cnn", "better": "lower", "digits": 2},
        "accuracy": {"head": "accuracy", "unit": "%", "scale": 100.0, "digits": [2, 1, 2]},
    },
    "stages": {"distill": {"arms": {"scratch": arm(A), "kd": arm(B, accuracy=values(0.5, 0.6, 0.7)), "hint": arm(C)}}},
}


def test_rows_are_of_trained_players_and_differences_are_paired_and_hold_at_once():
    table = headlines.lines(SUMMARY, ["fd", "accuracy"], "scratch")
    half = stats.ttest_rel(B, A).confidence_interval(1 - 0.05 / 2)
    assert [line.split()[0] for line in table] == ["FD-cnn", "scratch", "kd", "hint"]
    name, fd, accuracy, apart = re.split("    +", table[2])
    assert (name, fd, accuracy) == ("kd", "1.00 ± 0.50", "60.0 ± 50.0 %")
    assert apart == f"−1.2 ± {(half.high - half.low) / 2:.1f}"
    assert re.split("    +", table[1]) == ["scratch", "2.17 ± 0.50", "–"]


def test_without_an_arm_to_compare_with_there_are_no_differences():
    assert all("−" not in line for line in headlines.lines(SUMMARY, ["fd"]))
    with pytest.raises(ValueError, match="no measure 'elbo'; it has fd, accuracy"):
        headlines.lines(SUMMARY, ["elbo"])
