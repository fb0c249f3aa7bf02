"""Thirty arms: their order, the few that are named, settings and grids beside them, costs once, and colours."""

import re

import numpy as np
import pytest
from test_report_measures import ARMS, restoring_summary, write
from test_report_page import page_of
from test_report_workdir import summarised

from kdgan import report
from kdgan.report import choice, costs, differences, drawing, findings, heat, palette, settings, tables, trade
from kdgan.report.read import Results

WEIGHTS, TEMPERATURES = (0.1, 0.3, 0.5, 0.7, 0.9), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)


def level(weight, temperature):
    return 30 + 3 * np.exp(-(((weight - 0.7) / 0.3) ** 2) - ((temperature - 3) / 2) ** 2)


def many_summary(seeds=3, validated=True):
    """A grid of thirty arms, best at λ 0.7 and temperature 3; on the test split every arm's values are 1 lower."""
    rng = np.random.default_rng(0)
    grid = {f"kd{100 * w:.0f}_T{t:g}": (w, t) for w in WEIGHTS for t in TEMPERATURES}
    summary = restoring_summary({arm: level(*at) - 1 + 0.01 * rng.normal(size=seeds) for arm, at in grid.items()})
    for i, (arm, (weight, temperature)) in enumerate(grid.items()):
        record = summary["stages"]["restore"]["arms"][arm]
        record["validation"] = {}
        if validated:
            record["validation"] = {
                "student": {"psnr": summarised(level(weight, temperature) + np.linspace(-0.1, 0.1, seeds))}
            }
        record["settings"] = {"lambdas": {"student": {"ce": 1 - weight, "kd": weight}},
                              "method": {"temperature": temperature, "epsilon": 1e-8}}  # fmt: skip
        record |= {"train_flops": 5e8, "train_seconds": 1.0 + i / 10}
    summary["cost"] = {"student": {"parameters": 2190, "flops": 57_800.0, "latency_ms": {"1": 0.1}}}
    return summary


def rows(table):
    return [row.label.removeprefix("student · ") for row in table.rows]


def test_many_arms_stand_behind_the_baseline_in_the_order_of_validation():
    summary = many_summary()
    labels = rows(tables.results_table(summary))
    assert len(labels) == 30
    assert labels[0] == "kd10_T1"
    assert labels[1] == "kd70_T3"
    where = {arm: record["validation"]["student"]["psnr"]["mean"] for arm, record in
             summary["stages"]["restore"]["arms"].items()}  # fmt: skip
    assert labels[1:] == sorted(labels[1:], key=where.get, reverse=True)


def test_few_arms_keep_the_order_of_the_config():
    assert rows(tables.results_table(restoring_summary())) == list(ARMS)


def test_arms_are_sorted_by_the_better_end_and_those_that_diverged_stand_last():
    summary = many_summary(validated=False)
    summary["measures"]["psnr"] = summary["measures"]["psnr"] | {"better": "lower"}
    broken = summary["stages"]["restore"]["arms"]["kd70_T3"]["players"]["student"]["psnr"]
    broken |= {"mean": None, "ci95": None, "values": [None] * 3}
    table = tables.results_table(summary)
    means = [row.cells[table.columns.index("PSNR")].mean for row in table.rows]
    assert rows(table)[0] == "kd10_T1"
    assert means[1:-1] == sorted(means[1:-1])
    assert rows(table)[-1] == "kd70_T3"


def test_the_best_few_are_named_and_the_others_counted():
    summary = many_summary()
    headline = findings.headline(summary)
    assert "in arm kd70_T3 (chosen on validation), " in headline
    assert " above kd10_T1. Next best on validation: kd70_T2, kd70_T4 and kd50_T3" in headline
    said = findings.sentences(summary)
    assert len(said) <= 2 * choice.FEW + 2
    assert said[0].startswith("kd70_T3 is better than kd10_T1 by 3.0 ± 0.6 dB")
    assert re.fullmatch(r"\d+ further arms are better than kd10_T1", said[-2] if "no clear" in said[-1] else said[-1])
    assert "Next best" not in findings.headline(restoring_summary())


def test_the_table_of_differences_is_short_and_counts_what_it_leaves_out():
    summary = many_summary()
    table, whole = (differences.differences_table(summary, whole=whole) for whole in (False, True))
    assert rows(table) == list(choice.few(summary, "restore"))
    assert len(rows(table)) == choice.FEW + 1
    assert table.rows[0].cells[0].text == "baseline"
    assert rows(whole) == rows(tables.results_table(summary))
    cells = {row.label: row.cells[0].mean for row in whole.rows}
    assert all(row.cells[0].mean == cells[row.label] for row in table.rows)
    counts = re.search(r"24 further arms against kd10_T1: (\d+) better, (\d+) not clearly different", table.notes[-1])
    assert sum(map(int, counts.groups())) == 24
    assert "simultaneous over the 435 comparisons" in table.notes[0]  # all pairs are counted as before


def test_costs_stand_once_with_the_span_of_their_times():
    quality, cost = tables.results_tables(many_summary())
    assert "parameters" not in quality.columns
    assert [row.label for row in cost.rows] == ["student · 30 arms"]
    assert [cell.text for cell in cost.rows[0].cells] == ["2.19 k", "57.8 k", "100 µs", "500 M", "1 s to 3.9 s"]
    summary = many_summary()
    summary["stages"]["restore"]["arms"]["kd70_T3"]["train_flops"] = 9e8
    _, cost = tables.results_tables(summary)
    assert [row.label for row in cost.rows] == ["student · 29 arms", "student · kd70_T3"]
    assert cost.rows[1].cells[-1].text == "3 s"


def test_settings_that_vary_stand_beside_their_arm():
    summary = many_summary()
    table = tables.results_table(summary)
    assert table.columns[:2] == ("λ ce/kd", "temperature")
    assert [cell.text for cell in table.rows[1].cells[:2]] == ["0.3/0.7", "3"]
    assert "epsilon" not in table.columns


def set_to(**arms):
    return {"stages": {"s": {"arms": {arm: {"settings": of} for arm, of in arms.items()}}}}


def test_settings_of_one_sweep_do_not_vary_because_another_arm_has_none_of_them():
    kd = lambda weight, t: {"lambdas": {"student": {"ce": 0.1, "kd": weight}}, "method": {"temperature": t}}
    scratch = {"lambdas": {"student": {"ce": 1.0}}, "method": {}}
    assert settings.varying(set_to(scratch=scratch, kd=kd(0.9, 4.0)), "s") == []
    (found,) = settings.varying(set_to(scratch=scratch, a=kd(0.9, 4.0), b=kd(0.9, 2.0), c=kd(0.9, 0.1 + 0.2)), "s")
    assert (found.head, found.values) == ("temperature", {"a": "4", "b": "2", "c": "0.3"})


def test_arms_of_two_methods_are_two_sweeps():
    arm = lambda name, t: {"lambdas": {"student": {"ce": 1.0}}, "method": {"name": name, "temperature": t}}
    assert settings.varying(set_to(a=arm("kd", 1.0), b=arm("mimic", 2.0)), "s") == []
    (found,) = settings.varying(set_to(a=arm("kd", 1.0), b=arm("mimic", 2.0), c=arm("kd", 2.0)), "s")
    assert (found.head, found.values) == ("temperature", {"a": "1", "b": "2", "c": "2"})


def test_a_term_of_two_players_is_told_apart():
    arm = lambda weight: {"lambdas": {"student": {"adv": weight}, "teacher": {"adv": 1.0}}, "method": {}}
    (found,) = settings.varying(set_to(a=arm(0.1), b=arm("linear(0→1)")), "s")
    assert (found.head, found.values) == ("λ student adv", {"a": "0.1", "b": "linear(0→1)"})


def test_a_grid_of_two_settings_is_found_and_its_values_are_the_measure():
    summary = many_summary()
    validation, test = heat.heats(summary, "restore")
    assert validation.grid.rows == ("λ ce/kd", ("0.9/0.1", "0.7/0.3", "0.5/0.5", "0.3/0.7", "0.1/0.9"))
    assert validation.grid.columns == ("temperature", ("1", "2", "3", "4", "6", "8"))
    expected = np.array([[level(w, t) for t in TEMPERATURES] for w in WEIGHTS])
    np.testing.assert_allclose(validation.means, expected)
    np.testing.assert_allclose(test.means, expected - 1, atol=0.05)
    assert validation.goodness.max() == validation.goodness[3, 2] == 1
    assert validation.goodness.min() == 0
    table = heat.grid_table(validation)
    assert table.columns[2] == "temperature 3"
    assert table.rows[3].label == "λ ce/kd 0.3/0.7"
    assert table.rows[3].cells[2].text == "33.0"
    assert [cell.best for row in table.rows for cell in row.cells].count(True) == 1
    assert table.rows[3].cells[2].best
    svg = heat.draw(validation)
    numbers = re.findall(r">\s*(3\d\.\d)\s*</text>", svg)
    assert numbers == [f"{value:.1f}" for value in expected.ravel()]


def test_an_arm_outside_the_grid_has_no_frame():
    summary = many_summary()
    arms = summary["stages"]["restore"]["arms"]
    arms["plain"] = {**arms["kd70_T3"], "settings": {"lambdas": {"student": {"ce": 1.0}}, "method": {}},
                     "validation": {"student": {"psnr": summarised(np.array([39.9, 40.0, 40.1]))}}}  # fmt: skip
    drawn = heat.heats(summary, "restore")
    assert [one.chosen for one in drawn] == [None, None]
    assert not any(cell.best for row in heat.grid_table(drawn[0]).rows for cell in row.cells)


def test_the_better_end_is_the_strong_one():
    summary = many_summary()
    summary["measures"]["psnr"] = summary["measures"]["psnr"] | {"better": "lower"}
    lower = heat.heats(summary, "restore")[0]
    assert lower.goodness[np.unravel_index(lower.means.argmin(), lower.means.shape)] == 1
    assert "Lower is better" in heat.grid_table(lower).notes


def test_what_is_no_grid_has_no_heat_map():
    assert heat.heats(restoring_summary(), "restore") == []
    summary = many_summary()
    arms = summary["stages"]["restore"]["arms"]
    for arm in list(arms)[3:29]:  # few of the places are left
        del arms[arm]
    assert settings.grids(summary, "restore") == []
    three = many_summary()
    for i, record in enumerate(three["stages"]["restore"]["arms"].values()):
        record["settings"]["method"]["margin"] = i % 7
    assert settings.grids(three, "restore") == []


def test_a_nearly_full_grid_has_an_empty_place():
    summary = many_summary()
    del summary["stages"]["restore"]["arms"]["kd50_T4"]
    found = heat.heats(summary, "restore")[0]
    assert np.isnan(found.means[2, 3])
    assert heat.grid_table(found).rows[2].cells[3].text == ""
    assert heat.draw(found)


def test_no_colour_stands_for_two_arms_of_a_page(tmp_path):
    summary = many_summary()
    shades = palette.colours(Results("run", summary, (), "", {}))
    own = {arm: colour for arm, colour in shades.items() if colour != drawing.REST}
    assert len(set(own.values())) == len(own) == len(drawing.SERIES)
    assert {"kd10_T1", "kd70_T3", "kd70_T2", "kd50_T3"} <= set(own)
    ten = Results("run", restoring_summary({f"a{i}": [30.0 + i, 31.0 + i] for i in range(10)}), (), "", {})
    of_ten = [colour for colour in palette.colours(ten).values() if colour != drawing.REST]
    assert len(of_ten) == len(set(of_ten)) == len(drawing.SERIES)


def test_arms_of_another_stage_take_free_colours_only():
    lines = [{"stage": "first", "arm": arm, "step": 1} for arm in ("x", "y", "z")]
    shades = palette.colours(Results("run", restoring_summary(), tuple(lines), "", {}))
    assert len(set(shades.values())) == len(shades) == 5


def test_the_page_and_the_text_of_thirty_arms(tmp_path):
    folder = write(tmp_path / "run", many_summary())
    text, page = page_of(folder)
    words = "".join(page.words).replace("\u00a0", " ")
    assert "30 arms compared in stage restore" in words
    assert "Next best on validation: kd70_T2, kd70_T4" in words
    assert text.count('<figure class="heat">') == 2
    assert "Differences of every arm" in words
    assert "Every arm, seed by seed" in words
    told = report.text(folder)
    assert max(map(len, told.splitlines())) <= 120
    assert len(told.splitlines()) < 90  # 139 before arms were sorted and costs merged
    assert told.count("temperature 3") == 2


def test_quality_against_cost_has_a_dot_and_an_interval_for_every_entry():
    summary = restoring_summary()
    arms = summary["stages"]["restore"]["arms"]
    arms["kd"]["players"]["teacher"] = {"psnr": summarised([33.0, 33.5, 33.2])}
    arms["kd"]["origins"]["teacher"] = {"trained": False, "shared": False, "start": "function"}
    summary["cost"] = {
        "student": {"parameters": 1_000, "flops": 10.0},
        "teacher": {"parameters": 40_000, "flops": 10.0},
    }
    assert costs.points(summary, trade.shown(summary, "restore")[1], "parameters") == {
        "teacher": 40_000.0, "student · plain": 1_000.0, "student · kd": 1_000.0,
    }  # fmt: skip
    shades = drawing.colours_of(list(ARMS))
    svg = trade.draw(summary, "restore", "parameters", shades)
    names = {" ".join(name.split()) for name in re.findall(r">([^<]*)</text>", svg)}
    assert {"teacher", "student · plain", "student · kd"} <= names
    assert len(re.findall(r"<use ", svg)) >= 3
    assert trade.draw(summary, "restore", "flops", shades) == ""  # all cost the same
    assert trade.draw(restoring_summary(), "restore", "parameters", shades) == ""


@pytest.mark.parametrize("arms", [3, 30])
def test_quality_against_cost_names_the_few(arms):
    summary = restoring_summary({f"a{i}": [30.0 + i, 30.1 + i] for i in range(arms)})
    measured, entries = trade.shown(summary, "restore")
    assert measured.name == "psnr"
    assert [entry.arm for entry in entries] == list(choice.few(summary, "restore"))
    assert len(entries) == min(arms, choice.FEW + 1)
