"""The table of results: which rows, which numbers, what is marked, and its three renderings."""

import copy
import math

import pytest
from test_report_workdir import TRAINED, left_by, make_summary, read_from, summarised, with_measures

from kdgan.report.entries import shown
from kdgan.report.rendering import as_html, as_markdown, as_text
from kdgan.report.table import Cell, Row, Table
from kdgan.report.tables import results_table


def cell(table, label, column):
    row = next(row for row in table.rows if row.label == label)
    return row.cells[table.columns.index(column)]


def small_summary(**arms):
    """One stage; arm -> accuracies over seeds of its student."""
    players = {
        arm: {"players": {"student": {"accuracy": summarised(values)}}, "origins": {"student": TRAINED}}
        for arm, values in arms.items()
    }
    return with_measures({"stages": {"distill": {"arms": players}}, "cost": {}})


def test_rows_are_the_teacher_then_each_arms_student_and_variants_beside():
    table = results_table(make_summary())
    assert [row.label for row in table.rows if not row.secondary] == [
        "teacher", "teacher · kdgan", "student · scratch", "student · kd", "student · kdgan",
    ]  # fmt: skip
    assert [row.label for row in table.rows[:2]] == ["teacher", "best by validation"]
    assert sum(row.secondary for row in table.rows) == 5
    assert table.columns == (
        "accuracy", "validation", "NLL", "ECE", "agreement", "parameters", "size", "FLOPs", "latency, 1", "latency, 64",
    )  # fmt: skip


def test_numbers_are_those_computed_by_hand():
    # Mean 0.92, standard deviation 0.02 of 3 seeds: t(0.975, 2) = 4.302653, so the half width is 0.0496828.
    summary = small_summary(scratch=[0.90, 0.92, 0.94], kd=[0.95, 0.95, 0.95])
    table = results_table(summary)
    scratch = cell(table, "student · scratch", "accuracy")
    assert scratch.mean == pytest.approx(92.0)
    assert scratch.ci95 == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)
    assert scratch.text == "92.0 ± 5.0 %"
    assert cell(table, "student · kd", "accuracy").text == "95.0 ± 0.0 %"
    assert table.columns == ("accuracy",)


def marked(table):
    """(row, column) of the marked cells."""
    return [(row.label, table.columns[i]) for row in table.rows for i, found in enumerate(row.cells) if found.best]


def test_the_best_on_validation_is_marked_there_and_nowhere_else():
    summary = make_summary()
    arms = summary["stages"]["distill"]["arms"]
    arms["kd"]["validation"]["student"]["accuracy"] = summarised([0.95] * 5)
    table = results_table(summary)
    assert marked(table) == [("student · kd", "validation")]
    # kdgan is better on the test split, and so is the teacher on both.
    assert cell(table, "student · kdgan", "accuracy").mean > cell(table, "student · kd", "accuracy").mean
    assert cell(table, "teacher", "validation").mean > 95
    assert table.marked == "chosen on validation"


def test_without_validation_the_best_on_test_is_marked_and_said_to_be_it():
    table = results_table(make_summary(validated=False))
    assert "validation" not in table.columns
    assert marked(table) == [("student · kdgan", "accuracy")]
    assert table.marked == "highest on the test split, of 3 arms"


def test_validation_stands_beside_test_for_what_the_stages_trained():
    summary = make_summary()
    table = results_table(summary)
    assert table.columns.index("validation") == table.columns.index("accuracy") + 1
    arms = summary["stages"]["distill"]["arms"]
    for arm, record in arms.items():
        found = cell(table, f"student · {arm}", "validation")
        assert found.mean == pytest.approx(100 * record["validation"]["student"]["accuracy"]["mean"])
        assert "±" in found.text
    assert cell(table, "teacher", "validation").text == "97.00 ± 0.00 %"  # of the stage that trained it
    assert cell(table, "best by validation", "validation").text == ""
    assert "Validation: accuracy on the validation split, 200 examples" in table.notes


def test_a_single_arm_shows_its_validation_and_no_mark():
    table = results_table(make_summary(arms={"main": 0.9}))
    assert "validation" in table.columns
    assert marked(table) == []
    assert table.marked == ""


def test_one_arm_has_no_best():
    table = results_table(small_summary(kd=[0.9, 0.8]))
    assert not any(c.best for row in table.rows for c in row.cells)


def test_one_seed_shows_no_interval():
    table = results_table(make_summary(seeds=1))
    accuracy = cell(table, "student · kd", "accuracy")
    assert accuracy.ci95 is None
    assert "±" not in accuracy.text
    assert accuracy.text.endswith(" %")
    zero = small_summary(kd=[0.9])
    zero["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"]["ci95"] = 0
    assert cell(results_table(zero), "student · kd", "accuracy").text == "90.00 %"
    assert any("one seed" in note for note in table.notes)


@pytest.mark.parametrize("broken", [math.nan, None])
def test_a_diverged_arm_is_a_dash_and_never_the_best(broken):
    summary = small_summary(scratch=[0.90, 0.91], kd=[0.92, 0.93], bad=[0.99, 0.99])
    metric = summary["stages"]["distill"]["arms"]["bad"]["players"]["student"]["accuracy"]
    metric |= {"mean": broken, "std": broken, "ci95": broken, "values": [0.99, broken]}
    table = results_table(summary)
    assert cell(table, "student · bad", "accuracy").text == "–"
    assert marked(table) == [("student · kd", "accuracy")]
    assert table.marked == "highest on the test split, of 2 arms"


def test_cost_is_written_with_units_and_once_per_player():
    table = results_table(make_summary())
    row = next(row for row in table.rows if row.label == "student · kd")
    # 31.2 µs are less than two empty calls of 20; 64 times 2.34 µs are more.
    assert [c.text for c in row.cells[-5:]] == ["1.21 k", "4.84 kB", "2.40 k", "†31.2 µs", "2.34 µs"]
    assert row.cells[-2].mean == 0.0312
    assert [c.text for c in table.rows[0].cells[-2:]] == ["183 µs", "71.1 µs"]
    assert [c.text for c in table.rows[1].cells[-5:]] == [""] * 5
    assert "†: call overhead, under twice an empty call, which takes 20.0 µs" in table.notes
    assert any(
        note.startswith(
            "Latency: wall time of a call of 1 or 64 examples over their number, nothing subtracted, on 1 ×"
        )
        for note in table.notes
    )


def test_latencies_that_were_not_timed_or_of_an_older_version():
    without = make_summary()
    for costs in without["cost"].values():
        del costs["latency_ms"], costs["empty_call_ms"]
    table = results_table(without)
    assert table.columns[-2:] == ("size", "FLOPs")
    assert "atency" not in " ".join(table.notes)
    for costs in without["cost"].values():
        costs["latency_ms"] = 0.0312
    table = results_table(without)
    assert table.columns[-2:] == ("FLOPs", "latency, 1")
    assert cell(table, "student · kd", "latency, 1").text == "31.2 µs"
    assert any("of a call of 1 example, nothing" in note for note in table.notes)


def test_the_best_on_test_and_the_published_number_stand_beside_and_never_compete():
    summary = make_summary()
    arms = summary["stages"]["distill"]["arms"]
    arms["scratch"]["best_on_test"] = {"student": summarised([0.9999, 0.9997])}
    summary["config"]["report"] = {"source": "Somebody, Table 1", "published": {"distill": {"kd": "68.34 ± 0.06"}}}
    table = results_table(summary)
    assert table.columns[5:7] == ("best on test", "published")
    assert cell(table, "student · scratch", "best on test").mean == pytest.approx(99.98)
    assert cell(table, "student · kd", "best on test").text == ""
    assert cell(table, "student · kd", "published").text == "68.34 ± 0.06"
    assert not any(row.cells[i].best for row in table.rows for i in (5, 6))
    assert "Published: Somebody, Table 1" in table.notes
    assert cell(table, "student · scratch", "accuracy") == cell(
        results_table(make_summary()), "student · scratch", "accuracy"
    )


def test_the_time_of_training_is_of_one_seed_and_of_the_stage_that_trained():
    summary = make_summary()
    summary["stages"]["teacher"]["arms"]["main"]["train_seconds"] = 75.2
    for arm, seconds in zip(summary["stages"]["distill"]["arms"].values(), (1.5, 12.0, 90.0), strict=True):
        arm["train_seconds"] = seconds
    table = results_table(summary)
    times = {row.label: row.cells[-1].text for row in table.rows if not row.secondary}
    assert times == {
        "teacher": "1 min 15 s", "teacher · kdgan": "1 min 30 s", "student · scratch": "1.5 s", "student · kd": "12 s",
        "student · kdgan": "1 min 30 s",
    }  # fmt: skip


def labels(summary):
    return [entry.label for entry in shown(summary) if not entry.variant]


def test_a_frozen_player_stands_once_and_a_trained_one_per_arm():
    summary = make_summary()
    arms = summary["stages"]["distill"]["arms"]
    arms["scratch"]["players"]["teacher"] = copy.deepcopy(arms["kdgan"]["players"]["teacher"])
    arms["scratch"]["origins"]["teacher"] = left_by("teacher")
    assert labels(summary)[:2] == ["teacher", "teacher · kdgan"]
    # Equal numbers are no sign of equal players: it was trained on, and stayed as good as it was.
    arms["kdgan"]["players"]["teacher"] = copy.deepcopy(arms["kd"]["players"]["teacher"])
    assert labels(summary)[:2] == ["teacher", "teacher · kdgan"]


def test_a_teacher_that_no_arm_of_the_last_stage_asks_for_is_shown_from_its_stage():
    summary = make_summary(arms={"scratch": 0.9})
    assert labels(summary) == ["teacher", "student · scratch"]


def test_a_pretrained_student_is_not_shown_where_every_arm_trains_it_further():
    summary = make_summary()
    summary["stages"]["teacher"]["arms"]["main"]["players"]["student"] = {"accuracy": summarised([0.5, 0.6])}
    summary["stages"]["teacher"]["arms"]["main"]["origins"]["student"] = TRAINED
    assert labels(summary) == labels(make_summary())


def test_teachers_of_several_arms_of_an_earlier_stage_are_told_apart():
    summary = make_summary(arms={"kd": 0.92, "scratch": 0.9})
    first = summary["stages"]["teacher"]["arms"]
    first["large"] = first.pop("main")
    first["small"] = {"players": {"teacher": {"accuracy": summarised([0.8, 0.9])}}, "origins": {"teacher": TRAINED}}
    arms = summary["stages"]["distill"]["arms"]
    arms["scratch"]["players"]["teacher"] = first["small"]["players"]["teacher"]
    arms["scratch"]["origins"]["teacher"] = left_by("teacher", "small")
    arms["kd"]["origins"]["teacher"] = left_by("teacher", "large")
    assert labels(summary)[:2] == ["teacher · kd", "teacher · scratch"]
    assert [entry.source for entry in shown(summary)[:3:2]] == [("teacher", "large"), ("teacher", "small")]
    for arm in arms.values():
        del arm["players"]["teacher"], arm["origins"]["teacher"]
    assert labels(summary)[:2] == ["teacher · teacher/large", "teacher · teacher/small"]


def from_checkpoint(record, seeds=2):
    """Two arms of one stage, with a teacher of that record."""
    summary = make_summary(seeds=seeds, arms={"kd": 0.92, "other": 0.9})
    teacher = summary["stages"].pop("teacher")["arms"]["main"]["players"]["teacher"]
    if record["shared"]:
        teacher = {"accuracy": summarised([0.662])}
    for arm in summary["stages"]["distill"]["arms"].values():
        arm["players"]["teacher"], arm["origins"]["teacher"] = teacher, record
    return summary


def test_a_teacher_from_a_checkpoint_stands_once_where_it_is_frozen_and_costs_no_training():
    summary = from_checkpoint(read_from(0, 1))
    summary["config"]["report"] = {"published": {"distill": {"kd": "68.34"}}}
    for arm in summary["stages"]["distill"]["arms"].values():
        arm["train_seconds"] = 12.0
    assert labels(summary) == ["teacher", "student · kd", "student · other"]
    table = results_table(summary)
    assert cell(table, "teacher", "time").text == "–"
    assert cell(table, "teacher", "published").text == ""
    assert cell(table, "student · kd", "published").text == "68.34"
    other = summary["stages"]["distill"]["arms"]["other"]
    other["origins"]["teacher"] = read_from(0, 1, trained=True)
    assert labels(summary) == ["teacher", "teacher · other", "student · kd", "student · other"]
    assert "teacher · other: started from members 0, 1 of runs/t/checkpoints/teacher/00000400, one for each seed" in (
        results_table(summary).notes
    )


@pytest.mark.parametrize(
    ("record", "note"),
    [
        (read_from(0, 1), "teacher: members 0, 1 of runs/t/checkpoints/teacher/00000400, one for each seed"),
        (read_from(1, 1), "teacher: one teacher for all seeds, member 1 of runs/t/checkpoints/teacher/00000400"),
        (read_from(None, None), "teacher: one teacher for all seeds, runs/t/checkpoints/teacher/00000400"),
        (
            read_from(1, 1, player="student (best by validation)"),
            "teacher: one teacher for all seeds, student (best by validation), member 1 of"
            " runs/t/checkpoints/teacher/00000400",
        ),
        (
            {"trained": False, "shared": True, "start": "function"},
            "teacher: one teacher for all seeds, a function",
        ),
    ],
)
def test_a_note_says_which_member_a_teacher_is_and_one_teacher_has_no_interval(record, note):
    table = results_table(from_checkpoint(record))
    assert note in table.notes
    assert ("±" in cell(table, "teacher", "accuracy").text) == (not record["shared"])
    if record["shared"]:
        assert cell(table, "teacher", "accuracy").text == "66.20 %"


def test_a_teacher_is_followed_through_stages_that_kept_it_frozen():
    summary = make_summary(arms={"kd": 0.92})
    second = copy.deepcopy(summary["stages"]["distill"])
    second["arms"]["kd"]["origins"]["teacher"] = left_by("distill", "kd")
    summary["stages"]["again"] = second
    summary["stages"]["teacher"]["arms"]["main"]["train_seconds"] = 7.0
    summary["stages"]["distill"]["arms"]["kd"]["train_seconds"] = 100.0
    teacher = shown(summary)[0]
    assert (teacher.label, teacher.source, teacher.trained) == ("teacher", ("teacher", "main"), ("teacher", "main"))
    assert cell(results_table(summary), "teacher", "time").text == "7 s"
    # Where the stage shows no teacher, it is still the one of the stage that trained it.
    del second["arms"]["kd"]["players"]["teacher"]
    assert shown(summary)[0] == teacher


def test_a_teacher_that_was_another_entry_is_called_what_it_was():
    summary = make_summary(arms={"kd": 0.92})
    best = left_by("teacher", player="teacher (best by validation)")
    summary["stages"]["distill"]["arms"]["kd"]["origins"]["teacher"] = best
    teacher = shown(summary)[0]
    assert (teacher.source, teacher.trained) == (("distill", "kd"), ("teacher", "main"))
    assert "teacher: teacher (best by validation) of stage teacher/main" in results_table(summary).notes


def test_a_summary_without_origins_says_that_an_older_version_wrote_it():
    summary = make_summary()
    for stage in summary["stages"].values():
        for arm in stage["arms"].values():
            del arm["origins"]
    assert any("An older version wrote this summary" in note for note in results_table(summary).notes)
    assert not any("older version" in note for note in results_table(make_summary()).notes)
    assert labels(summary)[:3] == ["teacher", "teacher · kd", "teacher · kdgan"]


def test_two_arms_that_end_equal_are_two_rows():
    summary = small_summary(scratch=[0.9, 0.91], kd=[0.9, 0.91])
    assert labels(summary) == ["student · scratch", "student · kd"]
    table = results_table(summary)
    assert marked(table) == [("student · scratch", "accuracy")]  # the first of the config
    assert table.marked == "highest on the test split, of 2 arms, tied with kd"


def test_a_stage_without_arms_names_players_alone():
    summary = small_summary(main=[0.9, 0.8])
    assert labels(summary) == ["student"]
    assert labels({}) == []
    assert results_table({}).rows == ()


def test_text_is_aligned():
    text = as_text(results_table(make_summary()))
    rows = [line for line in text.splitlines() if line.startswith(("teacher", "student")) and "±" in line]
    assert len(rows) == 5
    first = [line.index("±") for line in rows]
    assert len(set(first)) == 1
    assert len({line.index(" %") for line in rows}) == 1
    assert text.count("*") == 1 + 1  # the arm chosen on validation, and the note that explains it
    assert "\033" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_bold_text_has_the_same_numbers():
    table = results_table(make_summary())
    bold, plain = as_text(table, bold=True), as_text(table)
    assert "\033[1m" in bold
    assert "*" not in bold
    words = lambda text: [word for line in text.splitlines() if not line.startswith("─") for word in line.split()]
    stripped = bold.replace("\033[1m", "").replace("\033[2m", "").replace("\033[0m", "")
    assert words(stripped) == words(plain.replace("*:", "Bold:").replace("*", ""))


def test_numbers_without_an_interval_keep_their_column():
    table = Table(("accuracy",), (Row("a", (Cell("97.2 %", 97.2),)), Row("b", (Cell("93.4 ± 0.3 %", 93.4, 0.3),))))
    first, second = as_text(table).splitlines()[2:]
    assert first.index("97.2") == second.index("93.4")
    assert first.index("%") == second.index("%")


def test_markdown_has_a_row_per_row_and_escapes():
    table = results_table(make_summary())
    lines = as_markdown(table).splitlines()
    assert lines[1] == "|:--|" + "--:|" * 10
    assert "**" in next(line for line in lines if line.startswith("| student · kdgan"))
    assert "Bold: chosen on validation  " in lines
    odd = Table(("a|b",), (Row("<b>*x*", (Cell("1"),)),))
    assert as_markdown(odd).splitlines()[0] == "| | a\\|b |"
    assert as_markdown(odd).splitlines()[2] == "| \\<b\\>\\*x\\* | 1 |"


def test_html_escapes():
    odd = Table(("<i>",), (Row("<b>", (Cell("1 & 2"),), arm="<b>"),), ('"<script>"',))
    html = as_html(odd, colours={"<b>": "red"})
    assert "<b>" not in html
    assert "<script>" not in html
    assert "&lt;b&gt;" in html
    assert "1 &amp; 2" in html
