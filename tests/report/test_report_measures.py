"""An evaluator that the report has never heard of: its measures in tables, sentences, curves, figures."""

import json
import pathlib
import re

import numpy as np
import pytest
from test_report_page import Page, page_of
from test_report_workdir import TRAINED, left_by, make_summary, summarised

import kdgan.report
from kdgan import report
from kdgan.report import curves, differences, findings, measured, tables
from kdgan.report.read import Results, read

PSNR = {"head": "PSNR", "unit": "dB", "scale": 1.0, "better": "higher", "digits": [2, 1, 3, 2], "bounds": [0.0, None],
        "note": "PSNR: of the whole image"}  # fmt: skip
ERROR = {"head": "worst error ×10³", "unit": "", "scale": 1e3, "better": "lower", "digits": [1, 0, 2, 1],
         "bounds": [0.0, 1.0], "note": ""}  # fmt: skip
BLUR = {"head": "blur", "better": "lower", "digits": 2, "column": False}
ARMS = {"plain": [30.1, 30.4, 29.8], "kd": [31.2, 31.4, 31.0]}


def restoring_summary(arms=ARMS, measures=None, validated=True):
    """Arm -> PSNR over seeds of its student; the worst error falls as the PSNR rises, and so does the blur."""
    records = {}
    for arm, values in arms.items():
        psnr = np.array(values)
        record = {"psnr": summarised(psnr), "worst": summarised(0.5 - psnr / 100), "blur": summarised(40 - psnr)}
        records[arm] = {
            "players": {"student": record}, "origins": {"student": TRAINED}, "measured": {"student": list(record)},
            "validation": {"student": {"psnr": summarised(psnr + 0.5)}} if validated else {},
        }  # fmt: skip
    return {
        "measures": measures or {"worst": ERROR, "psnr": PSNR, "blur": BLUR},
        "notes": [{"measures": ["worst"], "text": "Worst error: of the 1 % of pixels that are off most"},
                  {"measures": ["nothing"], "text": "Of something that is not shown"}],
        "data": {"name": "photographs", "sizes": {"validation": 100, "test": 50}},
        "stages": {"restore": {"arms": records, "steps": 100}}, "cost": {}, "figures": [],
    }  # fmt: skip


def psnr_lines(arms=ARMS):
    return [
        {"step": step, "stage": "restore", "arm": arm, "seed": seed, "split": split} | content
        for arm, values in arms.items() for seed, value in enumerate(values) for step in (50, 100)
        for split, content in (
            ("train", {"student/l2": 1 / step, "student/loss": 1 / step}),
            ("validation", {"student/worst": 0.2, "student/blur": 9.0, "student/psnr": value - 50 / step}),
        )
    ]  # fmt: skip


def write(folder, summary=None, arrays=None, lines=(), **files):
    """A workdir as it is written now: the summary stands as it is."""
    folder.mkdir(parents=True)
    content = {**({} if summary is None else {"summary": summary}), **files}
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    np.savez(folder / "evaluation.npz", **(arrays or {}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def cell(table, label, column):
    return next(row for row in table.rows if row.label == label).cells[table.columns.index(column)]


def test_an_unknown_measure_has_its_column_with_head_unit_digits_and_interval():
    table = tables.results_table(restoring_summary())
    assert table.columns == ("worst error ×10³", "PSNR", "validation")
    # 31.2, 31.4, 31.0: standard deviation 0.2, half width 4.302653·0.2/√3 = 0.497.
    assert cell(table, "student · kd", "PSNR").text == "31.20 ± 0.50 dB"
    assert cell(table, "student · kd", "worst error ×10³").text == "188 ± 5"
    assert cell(table, "student · kd", "validation").best
    assert "Lower is better for worst error ×10³" in table.notes
    assert "PSNR: of the whole image" in table.notes
    assert "Worst error: of the 1 % of pixels that are off most" in table.notes
    assert not any("not shown" in note for note in table.notes)
    assert "Validation: PSNR on the validation split, 100 examples" in table.notes


def test_the_first_measure_of_the_player_is_compared_with_its_own_better_end_and_unit():
    # Differences 1.1, 1.0, 1.2: standard deviation 0.1, half width 0.248.
    summary = restoring_summary()
    assert findings.sentences(summary) == ("kd is better than plain by 1.1 ± 0.2 dB (3 seeds)",)
    assert findings.headline(summary) == (
        "The student reaches PSNR 31.2 ± 0.5 dB in arm kd (chosen on validation), 1.1 ± 0.2 dB above plain."
    )
    table = differences.differences_table(summary)
    assert table.columns == ("PSNR − plain", "p", "worst error ×10³ − plain")
    assert table.rows[1].cells[2].mean == pytest.approx(-11.0)
    assert "Differences of PSNR in dB" in table.notes[0]
    assert "higher is better" in table.notes[0]
    assert "points" not in " ".join((*table.notes, *findings.sentences(summary)))


def test_lower_is_better_where_the_measure_says_so():
    summary = restoring_summary(measures={"psnr": PSNR | {"better": "lower"}})
    assert findings.sentences(summary) == ("kd is worse than plain by 1.1 ± 0.2 dB (3 seeds)",)
    assert "in arm plain, the baseline" in findings.headline(summary)
    assert "lower is better" in differences.differences_table(summary).notes[0]
    assert "Lower is better for PSNR" in tables.results_table(summary).notes


def test_per_cents_alone_are_told_in_points():
    share = restoring_summary(measures={"psnr": PSNR | {"unit": "%", "head": "hits"}})
    assert findings.sentences(share) == ("kd is better than plain by 1.1 ± 0.2 points (3 seeds)",)
    assert findings.headline(share).startswith("The student reaches 31.2 ± 0.5 % test hits in arm kd")
    assert "in percentage points" in differences.differences_table(share).notes[0]


def test_arms_judged_by_different_measures_are_compared_by_one_that_all_have():
    summary = restoring_summary()
    arms = summary["stages"]["restore"]["arms"]
    del arms["kd"]["players"]["student"]["psnr"]
    arms["kd"]["measured"] = {"student": ["worst"]}
    arms["plain"]["validation"] = {}
    assert differences.comparison(summary).measured.name == "worst"
    assert findings.sentences(summary)[0].startswith("kd is better than plain by 11.0 ± 2.5 in worst error ×10³")
    assert cell(tables.results_table(summary), "student · kd", "PSNR").text == "–"


def test_a_measure_without_a_column_stands_below_on_the_page(tmp_path):
    text, page = page_of(write(tmp_path / "run", restoring_summary()))
    assert "blur" not in tables.results_table(restoring_summary()).columns
    assert "Further measures" in text
    assert "blur" in page.words


def test_the_whole_report_of_an_unknown_evaluator(tmp_path):
    folder = write(tmp_path / "run", restoring_summary(), lines=psnr_lines())
    text, page = page_of(folder)
    words = "".join(page.words).replace("\u00a0", " ")
    for told in (report.text(folder), report.markdown(folder), words):
        assert "kd is better than plain by 1.1 ± 0.2 dB" in told
        assert "31.20 ± 0.50 dB" in told
        assert "PSNR" in told
    assert "Differences between the arms" in page.headings
    assert re.search(r"student · PSNR <span>validation</span>", text)
    assert re.search(r"student · worst error ×10³ <span>validation, lower is better</span>", text)
    assert "PSNR (higher is better): a dot for each seed" in words
    assert re.search(r">\s*3\d(\.\d+)? dB</text>", text)  # ticks of the dots and the curve


def test_curves_follow_the_order_of_the_measures_and_fold_the_further_ones(tmp_path):
    results = read(write(tmp_path / "run", restoring_summary(), lines=psnr_lines()))
    first, further = curves.looked_at(results.metrics, "restore", results.measured("restore"))
    assert first == [("validation", "student/psnr"), ("validation", "student/worst"), ("train", "student/loss")]
    assert further == [("validation", "student/blur")]
    assert "Further measures (1)" in report.curves_html(tmp_path / "run")


def test_a_curve_is_scaled_and_stays_within_what_its_measure_can_be():
    from kdgan.report import plots

    share = measured.described({"hits": {"unit": "%", "scale": 100.0, "bounds": [0.0, 1.0]}})["hits"]
    lines = [line | {"student/hits": 0.9 + line["step"] / 1000} for line in psnr_lines()]
    svg = plots.learning_curves(lines, "restore", "student", "hits", measured=share)
    ticks = [float(tick) for tick in re.findall(r">\s*([\d.]+) %</text>", svg)]
    assert ticks
    assert max(ticks) <= 100


def test_an_unfinished_run_knows_its_measures_from_its_own_file(tmp_path):
    recorded = {"measures": {"psnr": PSNR, "worst": ERROR, "blur": BLUR},
                "measured": {"restore": {arm: {"student": ["psnr", "worst", "blur"]} for arm in ARMS}}}  # fmt: skip
    text = report.curves_html(write(tmp_path / "run", lines=psnr_lines(), measures=recorded))
    assert "student · PSNR <span>validation</span>" in text
    assert "worst error ×10³ <span>validation, lower is better" in text
    assert text.index("PSNR") < text.index("worst error")
    # An older version wrote none: its measures are known by their names.
    lines = [line | {"student/nll": 1.0} for line in psnr_lines() if line["split"] == "validation"]
    older = report.curves_html(write(tmp_path / "older", lines=lines))
    assert "student · NLL <span>validation, lower is better" in older
    assert "student · psnr <span>" in older


def test_the_best_of_any_evaluation_on_the_test_split_is_of_the_first_measure_by_its_better_end():
    summary = restoring_summary(measures={"psnr": PSNR | {"better": "lower"}})
    summary["stages"]["restore"]["arms"]["kd"]["best_on_test"] = {"student": summarised([28.0, 28.2, 28.1])}
    table = tables.results_table(summary)
    assert cell(table, "student · kd", "best on test").text == "28.10 ± 0.25 dB"
    assert any(note.startswith("Best on test: the lowest PSNR of any evaluation") for note in table.notes)


def test_kernel_distances_are_written_in_readable_units():
    kid = {"head": "KID ×10³", "scale": 1000.0, "better": "lower", "digits": [2, 1, 3, 2]}
    summary = restoring_summary({"a": [0.0021, 0.0023], "b": [0.0011, 0.0010]}, measures={"psnr": kid}, validated=False)
    table = tables.results_table(summary)
    assert cell(table, "student · b", "KID ×10³").mean == pytest.approx(1.05)
    assert cell(table, "student · b", "KID ×10³").best


def test_players_that_are_trained_and_not_measured_are_named_with_the_arms_that_use_them():
    summary = restoring_summary()
    summary["stages"]["restore"]["arms"]["kd"]["origins"] |= {"adapter": TRAINED, "teacher": left_by("teacher")}
    summary["cost"] = {"student": {"parameters": 1000.0}, "adapter": {"parameters": 80}}
    assert "Trained beside them: adapter (80 parameters) in kd" in tables.results_table(summary).notes
    assert not any("beside" in note for note in tables.results_table(make_summary()).notes)


def test_a_stage_on_data_of_its_own_tells_their_sizes():
    summary = restoring_summary()
    summary["stages"]["restore"]["data"] = {"name": "target", "sizes": {"validation": 7, "test": 11}}
    notes = tables.results_table(summary).notes
    assert notes[0].startswith("Test split, 11 examples")
    assert "Validation: PSNR on the validation split, 7 examples" in notes
    summary["stages"]["restore"]["data"]["sizes"]["validation"] = 0  # it has none: another stage's is meant
    assert "Validation: PSNR on the validation split" in tables.results_table(summary).notes


def test_a_report_names_no_kind_of_player_and_no_measure():
    folder = pathlib.Path(kdgan.report.__file__).parent
    named = re.compile(
        r"classif|generator|autoencoder|accuracy|\bnll\b|\bece\b|\bfd\b|\bkid\b|\belbo\b|agreement", re.I
    )
    told = {path.name: named.findall(path.read_text()) for path in folder.glob("*.py")}
    assert {name: words for name, words in told.items() if words} == {}
    lengths = {path.name: len(path.read_text().splitlines()) for path in folder.glob("*.py")}
    assert max(lengths.values()) <= 400


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3)).astype(np.uint8)


def figure(kind, arm, array, **more):
    return {"kind": kind, "stage": "restore", "arm": arm, "entry": "student", "array": array, "note": "", **more}


def test_figures_of_every_kind(tmp_path):
    rng = np.random.default_rng(0)
    counts = np.array([[[8, 2], [1, 9]], [[7, 3], [0, 10]]])
    arrays = {
        "s/plain": images(14), "s/kd": images(14, 1), "real": images(14, 2), "m/plain": counts, "m/kd": counts[:, ::-1],
        "g/kd": rng.integers(0, 256, (3, 4, 6, 6, 3)).astype(np.uint8), "v/kd": np.array([[0.5, 0.9], [0.7, 0.9]]),
        "c/kd": images(2),
    }  # fmt: skip
    strip = {"title": "Restored", "layout": "strip", "reference": "real", "reference_label": "originals"}
    rows = {"title": "Steps", "layout": "grid", "rows": ["input", "output", "target"], "gap": None}
    table = {"title": "Confusions", "names": ["cat", "dog"], "row": "true", "column": "seen", "chosen": True}
    per_class = {"title": "Hits of each class", "names": ["cat", "dog"], "unit": "%", "scale": 100.0, "better": "higher",
                 "chosen": True}  # fmt: skip
    seen = [[["true", "cat", ""], ["student", "dog", "wrong"]], [["true", "dog", ""], ["student", "dog", "right"]]]
    summary = restoring_summary() | {"figures": [
        *(figure("images", arm, f"s/{arm}", **strip) for arm in ARMS), figure("images", "kd", "g/kd", **rows),
        *(figure("matrix", arm, f"m/{arm}", **table) for arm in ARMS), figure("values", "kd", "v/kd", **per_class),
        figure("cards", "kd", "c/kd", title="Mistakes", cards=seen, captions=["image 3", "image 7"], chosen=True),
        figure("cards", "kd", None, title="Sentences", cards=seen, captions=["a film", "a book"], chosen=False),
        figure("images", "kd", "absent", **strip | {"title": "Lost"}), figure("hologram", "kd", "c/kd", title="Odd"),
    ]}  # fmt: skip
    text, page = page_of(write(tmp_path / "run", summary, arrays))
    assert [heading for heading in page.headings if heading not in ("Results", "Differences between the arms")] == [
        "Restored", "Confusions", "Hits of each class", "Mistakes", "Sentences",
    ]  # fmt: skip
    alts = re.findall(r'alt="([^"]*)"', text)
    assert alts[:3] == ["restored of student · plain", "restored of student · kd", "restored of originals"]
    assert "steps of student · kd" in alts
    assert {"image 3", "image 7"} <= set(alts)
    assert re.findall(r"<li>(input|output|target)</li>", text) == ["input", "output", "target"]
    assert "All 14 restored of each" in text
    words = "".join(page.words).replace("\u00a0", " ")
    # Of the arm that is singled out alone, both seeds together: 1 and 0 of 20 cats are seen as cats.
    assert words.count("student · kd (chosen on validation), 2 seeds together, test split") == 1
    assert "cat → dog95.0 %" in words
    assert "60.0 ± 127.1 %" in words  # 0.5 and 0.7: half width 12.706·0.1414/√2
    assert words.count("dog ✗") == 2
    assert words.count("dog ✓") == 2
    assert "a film" in words


def test_a_matrix_tells_each_row_with_its_interval_over_seeds(tmp_path):
    # Cats: 80 and 70 % are seen as cats; dogs: 90 and 100 %. Half widths: 12.706·7.071/√2 = 63.5.
    counts = np.array([[[8, 2, 0], [1, 9, 0], [0, 0, 0]], [[7, 3, 0], [0, 10, 0], [0, 0, 0]]])
    shown = figure("matrix", "kd", "m", title="Confusions", names=["cat", "dog", "never seen"], chosen=True)
    text, _ = page_of(write(tmp_path / "run", restoring_summary() | {"figures": [shown]}, {"m": counts}))
    table = text[text.index("On the diagonal, row by row") :]
    rows = dict(re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', table))
    assert rows == {"cat": "75.0 ± 63.5 %", "dog": "95.0 ± 63.5 %", "never seen": "–"}


def test_numbers_by_row_and_column_are_a_table_of_each_arm(tmp_path):
    # 0.8 and 0.7, half width 12.706·0.07071/√2 = 0.635; what is not known stays empty.
    crossed = np.array([[[0.8, np.nan], [0.5, 0.9]], [[0.7, np.nan], [0.5, 0.9]]])
    about = dict(
        title="By task", rows=["first", "second"], columns=["cats", "dogs"], unit="%", scale=100.0, digits=[2, 1, 2]
    )
    shown = [figure("crossed", arm, "t", **about) for arm in ARMS]
    text, page = page_of(write(tmp_path / "run", restoring_summary() | {"figures": shown}, {"t": crossed}))
    assert page.headings.count("By task") == 1
    table = text[text.index("By task") :]
    assert re.findall(r'<th scope="col">([^<]*)</th>', table)[:2] == ["cats", "dogs"]
    rows = re.findall(r'<th scope="row">(first|second)</th><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td>', table)
    assert rows == [("first", "75.0 ± 63.5 %", ""), ("second", "50.0 ± 0.0 %", "90.0 ± 0.0 %")] * 2
    words = "".join(page.words).replace("\u00a0", " ")
    for arm in ARMS:
        assert words.count(f"student · {arm}, test split; mean over seeds with its 95 % interval.") == 1
    text = report.markdown(tmp_path / "run")
    assert text.count("### By task\n") == 1
    assert text.count("| second | 50.0 ± 0.0 % | 90.0 ± 0.0 % |") == 2


def test_figures_of_one_arm_among_several_follow_the_choice():
    from kdgan.report import figures

    summary = restoring_summary()
    shown = [figure("values", arm, f"v/{arm}", title=f"Of {arm}", names=["a"], chosen=True) for arm in ARMS]
    arrays = {f"v/{arm}": np.array([[0.5]]) for arm in ARMS}
    heads = lambda: re.findall(
        r"<h2>(.*?)</h2>", "".join(figures.sections(Results("run", summary | {"figures": shown}, (), "", arrays)))
    )
    assert heads() == ["Of kd"]
    summary["stages"]["restore"]["arms"]["plain"]["validation"] = {"student": {"psnr": summarised([99.0] * 3)}}
    assert heads() == ["Of plain"]


def test_many_numbers_of_a_figure_are_drawn_from_both_ends(tmp_path):
    names = [f"class {i:02}" for i in range(100)]
    shown = figure("values", "kd", "v", title="Each class", names=names, unit="%", scale=100.0, chosen=False)
    summary = restoring_summary() | {"figures": [shown]}
    text, page = page_of(write(tmp_path / "run", summary, {"v": np.linspace(0.1, 0.9, 100)[None]}))
    drawn = re.findall(r"class \d\d(?=\s*</text>)", text)
    assert set(drawn) == {*names[:12], *names[-12:]}
    assert "Of 100 the 12 worst and the 12 best." in "".join(page.words)
    assert text.count('<th scope="row">class ') == 100  # all in the table


def test_a_notebook_and_a_terminal_split_a_group_of_measures_that_is_too_wide(tmp_path):
    names = [f"measure number {i}" for i in range(12)]
    summary = restoring_summary(validated=False)
    summary["measures"] = {name: {"digits": 3} for name in names}
    for record in summary["stages"]["restore"]["arms"].values():
        record["players"]["student"] = {name: summarised([1.0, 2.0]) for name in names}
        record["measured"] = {"student": names}
    folder = write(tmp_path / "run", summary)
    assert max(map(len, report.text(folder).splitlines())) <= 120
    assert all(report.text(folder).count(name) >= 1 for name in names)
    assert Page(report.tables_html(folder)).tags.count("table") == 2
