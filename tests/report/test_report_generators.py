"""Runs that train generators: comparisons by the Fréchet distance in several stages, and costs that differ by stage."""

import re

import numpy as np
import pytest
from test_report_workdir import (
    DIGITS,
    SEGMENTS,
    TRAINED,
    left_by,
    make_workdir,
    read_from,
    summarised,
    with_measures,
)

from kdgan import older, report
from kdgan.report import curves, differences, drawing, findings, measured, palette, plots, rendering, tables
from kdgan.report.entries import comparisons, cost_of, shown
from kdgan.report.read import Results

STAGES = {"half": {"scratch": 21.0, "kd": 18.4, "fused": 15.2}, "quarter": {"scratch": 38.0, "kd": 31.0, "fused": 26.5}}
SETTINGS = {"extractor": "lenet", "label": "FD-lenet", "samples": 5000, "reference": 10_000, "reference_split": "test",
            "features": 84, "k_precision": 3, "k_density": 5}  # fmt: skip
COST = {"teacher": {"parameters": 1_240_000, "flops": 31e6, "latency_ms": 0.91},
        "half": {"parameters": 330_000, "flops": 8.4e6, "latency_ms": 0.41},
        "quarter": {"parameters": 92_000, "flops": 2.3e6, "latency_ms": 0.22}}  # fmt: skip
STEPS = {"teacher": 4000, "half": 2000, "quarter": 2000}


def generator_metrics(rng, fd, seeds=3):
    around = lambda mean, spread: summarised(mean + spread * rng.normal(size=seeds))
    return {
        "fd": around(fd, 0.02 * fd), "kid": around(0.0004 * fd, 2e-4), "inception_score": around(9 - 0.05 * fd, 0.05),
        "precision": around(0.95 - 0.006 * fd, 0.01), "recall": around(0.9 - 0.01 * fd, 0.01),
        "density": around(1.1 - 0.01 * fd, 0.01), "coverage": around(0.95 - 0.008 * fd, 0.01),
    }  # fmt: skip


def make_generator_summary(stages=STAGES, seeds=3):
    rng = np.random.default_rng(0)
    teacher = generator_metrics(rng, 8.1, seeds)
    found = {"teacher": {"arms": {"main": {"players": {"teacher": teacher}, "origins": {"teacher": TRAINED},
                                           "train_flops": 6.1e14}}, "steps": 4000,
                         "cost": {"teacher": COST["teacher"]}}}  # fmt: skip
    for stage, arms in stages.items():
        found[stage] = {"arms": {}, "steps": 2000, "cost": {"teacher": COST["teacher"], "student": COST[stage]}}
        for arm, fd in arms.items():
            players = {"student": generator_metrics(rng, fd, seeds),
                       "student (moving average)": generator_metrics(rng, 0.9 * fd, seeds)}  # fmt: skip
            if arm != "scratch":
                players = {"teacher": teacher, **players}
            origins = {"student": TRAINED, "teacher": left_by("teacher")}
            found[stage]["arms"][arm] = {
                "players": players,
                "origins": origins,
                "train_flops": 2.2e14 if arm == "fused" else 9.1e13,
            }
    return with_measures({
        "config": {"seed": 0}, "data": {"name": "mnist", "class_names": [str(i) for i in range(10)],
                                        "sizes": {"train": 60_000, "validation": 0, "test": 10_000}},
        "stages": found, "cost": {"teacher": COST["teacher"], "student": COST["half"]}, "generation": SETTINGS,
        "environment": {"device": "1 × cpu (cpu)", "kdgan": "0.1.0"},
    })  # fmt: skip


def digits(rng, shape, blur=18.0, colours=1):
    """Images uint8 [*shape, 28, 28, colours] of digits, the k-th of a row always the same digit."""
    images = np.zeros((*shape, 8, 8))
    for index in np.ndindex(*shape):
        for segment in DIGITS[index[-1] % 10].split():
            images[(*index, *SEGMENTS[segment])] = 225
    images = np.pad(images.repeat(3, -1).repeat(3, -2), [(0, 0)] * len(shape) + [(2, 2), (2, 2)])
    images = images[..., None] * (1.0 if colours == 1 else np.array([1.0, 0.75, 0.4]))
    return np.clip(images + rng.normal(0, blur, images.shape), 0, 255).astype(np.uint8)


def make_pictures(stages=STAGES, colours=1):
    rng = np.random.default_rng(3)
    made = {"teacher/main/teacher": 12.0}
    for stage, arms in stages.items():
        for arm, fd in arms.items():
            made |= {f"{stage}/{arm}/student": 3 * fd, f"{stage}/{arm}/student (moving average)": 2 * fd}
    arrays = {"real": digits(rng, (64,), 6.0, colours)}
    for entry, blur in made.items():
        arrays |= {
            f"sample/{entry}": digits(rng, (64,), blur, colours),
            f"interpolation/{entry}": digits(rng, (6, 8), blur, colours),
            f"neighbour/{entry}": digits(rng, (10, 6), blur, colours),
            f"progress/{entry}": np.stack([digits(rng, (16,), blur + 200 / (1 + i), colours) for i in range(11)]),
            f"progress_step/{entry}": np.arange(11) * STEPS[entry.split("/")[0]] // 10,
        }
    return arrays


def make_generator_metrics(stages=STAGES, seeds=3):
    rng = np.random.default_rng(4)
    plan = [("teacher", "main", "teacher", 8.1)]
    plan += [(stage, arm, "student", fd) for stage, arms in stages.items() for arm, fd in arms.items()]
    lines = []
    for stage, arm, player, fd in plan:
        for seed in range(seeds):
            for step in range(0, STEPS[stage] + 1, STEPS[stage] // 10):
                head = {"step": step, "stage": stage, "arm": arm, "seed": seed}
                reached = fd + 250 * np.exp(-6 * step / STEPS[stage]) + rng.normal(0, 0.5)
                lines.append({**head, "split": "train", f"{player}/adv": 0.7 + 0.1 * rng.normal(),
                              f"{player}/loss": 0.8 + 0.1 * rng.normal()})  # fmt: skip
                lines.append({**head, "split": "validation", f"{player}/fd": reached, f"{player}/kid": reached / 2000})
    return lines


def make_generator_workdir(folder, *, stages=STAGES, colours=1, **replaced):
    content = {"summary": make_generator_summary(stages), "metrics": make_generator_metrics(stages),
               "evaluation": make_pictures(stages, colours)}  # fmt: skip
    return make_workdir(folder, **(content | replaced))


def distances(label="FD-lenet", **arms):
    """One stage; arm -> Fréchet distances over seeds of its student."""
    players = {
        arm: {"players": {"student": {"fd": summarised(values)}}, "origins": {"student": TRAINED}}
        for arm, values in arms.items()
    }
    return with_measures({"stages": {"distill": {"arms": players}}, "generation": {"label": label} if label else {}})


def test_every_stage_of_several_arms_is_compared_and_the_last():
    summary = make_generator_summary()
    assert comparisons(summary) == ["half", "quarter"]
    summary["stages"]["after"] = {"arms": {"main": {"players": {}}}}
    assert comparisons(summary) == ["half", "quarter", "after"]
    assert comparisons(distances(main=[3.0])) == ["distill"]
    assert comparisons({}) == []


def test_a_stage_shows_its_own_arms_and_nothing_of_later_ones():
    summary = make_generator_summary()
    labels = [entry.label for entry in shown(summary, "half") if not entry.variant]
    assert labels == ["teacher", "student · scratch", "student · kd", "student · fused"]
    student = next(entry for entry in shown(summary, "half") if entry.label == "student · fused")
    assert student.metrics == summary["stages"]["half"]["arms"]["fused"]["players"]["student"]
    assert student.source == ("half", "fused")
    assert shown(summary)[0].source == ("teacher", "main")
    assert [e.label for e in shown(summary, "teacher")] == ["teacher"]


def test_a_player_costs_what_it_costs_in_its_stage():
    summary = make_generator_summary()
    cells = lambda stage: dict(
        zip(
            tables.results_table(summary, stage).columns,
            tables.results_table(summary, stage).rows[-2].cells,
            strict=True,
        )
    )
    assert cells("half")["parameters"].text == "330 k"
    assert cells("quarter")["parameters"].text == "92.0 k"
    assert cells("quarter")["training"].text == "220 T"
    del summary["stages"]["quarter"]["cost"]
    assert cost_of(summary, "quarter", "student") == COST["half"]  # the run's is the fallback
    assert cost_of(summary, "quarter", "nobody") == {}


def test_a_player_costs_what_it_costs_in_its_arm():
    summary = make_generator_summary()
    summary["stages"]["half"]["arms"]["kd"]["cost"] = {"student": {"parameters": 1234}}
    table = tables.results_table(summary, "half")
    parameters = [row.cells[table.columns.index("parameters")].text for row in table.rows]
    assert [text == "1.23 k" for text in parameters] == [row.label == "student · kd" for row in table.rows]
    assert cost_of(summary, "half", "student", "kd") == {"parameters": 1234}
    assert cost_of(summary, "half", "student", "scratch") == cost_of(summary, "half", "student")


def test_training_flops_stand_where_they_are_known():
    summary = make_generator_summary()
    table = tables.results_table(summary, "half")
    column = [row.cells[-1].text for row in table.rows]
    assert column == ["610 T", "91.0 T", "", "91.0 T", "", "220 T", ""]
    for stage in summary["stages"].values():
        for arm in stage["arms"].values():
            arm["train_flops"] = None
    assert "training" not in tables.results_table(summary, "half").columns
    # A teacher that comes from a checkpoint was trained by nobody here: the arm's FLOPs are its student's.
    loaded = distances(kd=[3.0, 4.0], fused=[2.0, 3.0])
    for arm in loaded["stages"]["distill"]["arms"].values():
        arm |= {"train_flops": 1e9, "players": {"teacher": {"fd": summarised([1.0, 1.5])}, **arm["players"]}}
        arm["origins"] = {**arm["origins"], "teacher": read_from(0, 1)}
    assert [row.cells[-1].text for row in tables.results_table(loaded).rows] == ["–", "1.00 G", "1.00 G"]


def test_what_arms_are_compared_by():
    generated = {"measures": older.MEASURES} | distances(a=[1.0], b=[2.0])
    assert measured.primary(generated, [{}, {"fd": {}}]).head == "FD-lenet"
    generated["measures"] = older.MEASURES
    # The first that all of them have, in the order of the first of them.
    assert measured.primary(generated, [{"kid": {}, "fd": {}, "elbo": {}}]).name == "kid"
    assert measured.primary(generated, [{"kid": {}, "fd": {}, "elbo": {}}, {"elbo": {}, "fd": {}}]).name == "fd"
    assert measured.second(generated, [{"kid": {}, "fd": {}, "elbo": {}}, {"elbo": {}, "fd": {}}]).name == "elbo"
    assert measured.primary(generated, [{"recall": {}}, {}]).name == "recall"
    assert measured.primary(generated, [{"mine": {}}, {}]) is None
    assert measured.primary(generated, [{"recall": {}}, {"fd": {}}, {"fd": {}}]).name == "fd"  # what most of them have
    assert (
        differences.differences_table({"stages": {"s": {"arms": {a: {"players": {"student": {}}} for a in "ab"}}}})
        is None
    )


def test_lower_distances_are_better_in_words_marks_and_order():
    # Differences −2.8, −3.0, −3.5: mean −3.1, std 0.360555, half width 4.302653·0.360555/√3 = 0.896.
    summary = distances(scratch=[20.0, 21.0, 22.0], fused=[17.2, 18.0, 18.5])
    assert findings.sentences(summary) == ("fused is better than scratch by 3.1 ± 0.9 in FD-lenet (3 seeds)",)
    worse = distances(fused=[17.2, 18.0, 18.5], scratch=[20.0, 21.0, 22.0])
    assert findings.sentences(worse) == ("scratch is worse than fused by 3.1 ± 0.9 in FD-lenet (3 seeds)",)
    assert [row.cells[0].best for row in tables.results_table(summary).rows] == [False, True]
    table = differences.differences_table(summary)
    assert table.columns == ("FD-lenet − scratch", "p")
    assert table.rows[1].cells[0].mean == pytest.approx(-3.1)
    assert "lower is better" in table.notes[0]
    assert "points" not in table.notes[0]
    headline = findings.headline(summary)
    reached = "The student reaches FD-lenet 17.9 ± 1.6 in arm fused"
    assert headline == f"{reached} (lowest on the test split, of 2 arms), 3.1 ± 0.9 below scratch."
    assert findings.headline(distances(main=[20.0, 21.0, 22.0])) == "The student reaches FD-lenet 21.0 ± 2.5."
    assert "in arm fused, the baseline (lowest on the test split, of 2 arms)." in findings.headline(worse)


def test_no_difference_of_distances():
    # Differences −1, 1, 0.6: mean 0.2, std 1.058301, half width 2.629.
    (said,) = findings.sentences(distances(scratch=[20.0, 20.0, 20.0], kd=[19.0, 21.0, 20.6]))
    assert said == "kd and scratch: no clear difference (+0.2 ± 2.6 in FD-lenet, 3 seeds)"


def test_kid_stands_beside_the_distance_times_a_thousand():
    summary = make_generator_summary()
    table = differences.differences_table(summary, "quarter")
    assert table.columns == (
        "FD-lenet − scratch", "p (Holm)", "FD-lenet − lowest other on test", "p (Holm)", "KID ×10³ − scratch",
    )  # fmt: skip
    arms = {arm: record["players"]["student"] for arm, record in summary["stages"]["quarter"]["arms"].items()}
    kid = {arm: 1000 * np.array(metrics["kid"]["values"]) for arm, metrics in arms.items()}
    assert table.rows[2].cells[4].mean == pytest.approx((kid["fused"] - kid["scratch"]).mean())
    assert table.rows[1].cells[2].text.endswith("(fused)")  # the best other arm has the lowest distance


def test_the_arm_is_chosen_by_the_lowest_distance_on_validation_and_its_sample_sizes_are_told():
    summary = make_generator_summary({"half": STAGES["half"]})
    summary["data"]["sizes"]["validation"] = 5000
    summary = with_measures(summary | {"generation": SETTINGS | {"validation_samples": 2000}})
    for arm, fd in {"scratch": 30.0, "kd": 20.0, "fused": 25.0}.items():  # on the test split fused is the lowest
        record = summary["stages"]["half"]["arms"][arm]
        record["validation"] = {
            name: {"fd": summarised([fd - 1, fd, fd + 1])} for name in record["players"] if name != "teacher"
        }
    assert "in arm kd (chosen on validation)" in findings.headline(summary)
    table = tables.results_table(summary)
    assert table.columns[:2] == ("FD-lenet", "validation")
    assert [row.arm for row in table.rows for cell in row.cells if cell.best] == ["kd"]
    assert [row.cells[1].text for row in table.rows if row.label == "moving average"] == [
        "30.0 ± 2.5", "20.0 ± 2.5", "25.0 ± 2.5",
    ]  # fmt: skip
    (note,) = (note for note in table.notes if note.startswith("Validation"))
    assert "2,000 generated images against 5,000 images; " in note
    assert differences.differences_table(summary).columns[2] == "FD-lenet − best other on validation"


def test_a_vae_without_features_is_compared_by_its_elbo():
    players = {arm: {"players": {"student": {"elbo": summarised(values)}}}
               for arm, values in {"scratch": [-110.0, -111.0, -109.0], "kd": [-104.0, -105.5, -103.5]}.items()}  # fmt: skip
    summary = with_measures({"stages": {"distill": {"arms": players}}})
    players = summary["stages"]["distill"]["arms"]
    (said,) = findings.sentences(summary)
    assert said.startswith("kd is better than scratch by 5.7 ± ")
    assert said.endswith(" in ELBO (3 seeds)")
    table = tables.results_table(summary)
    assert table.columns == ("ELBO",)
    assert [row.cells[0].best for row in table.rows] == [False, True]
    assert "above scratch" in findings.headline(summary)
    for arm, elbo in {"scratch": -100.0, "kd": -120.0}.items():
        players[arm]["validation"] = {"student": {"elbo": summarised([elbo, elbo + 1, elbo - 1])}}
    assert "in arm scratch, the baseline (chosen on validation)" in findings.headline(summary)
    assert any("nats" in note for note in table.notes)


def test_the_table_of_generators_says_what_was_measured():
    table = tables.results_table(make_generator_summary(), "half")
    assert table.columns == ("FD-lenet", "KID ×10³", "precision", "recall", "density", "coverage",
                             "parameters", "FLOPs", "latency, 1", "training")  # fmt: skip
    notes = " ".join(table.notes)
    assert "5,000 generated images against 10,000 images of the test split" in notes
    assert "lenet, 84 dimensions; precision and recall by 3 nearest" in notes
    assert "density and coverage by 5 nearest" in notes
    assert "Lower is better for FD-lenet and KID ×10³" in notes
    assert "FID" not in notes + " ".join(table.columns)
    unnamed = with_measures(make_generator_summary() | {"generation": {}})
    assert tables.results_table(unnamed, "half").columns[0] == "FD"


def test_players_of_other_kinds_stand_where_they_were_measured():
    summary = make_generator_summary({"half": STAGES["half"]})
    lenet = {"lenet": {"accuracy": summarised([0.99, 0.992]), "nll": summarised([0.03, 0.02])}}
    summary["stages"] = {"features": {"arms": {"main": {"players": lenet}}}, **summary["stages"]}
    summary = with_measures(summary)
    broken = summary["stages"]["half"]["arms"]["kd"]["players"]["student"]
    for name in broken:
        broken[name] = {"mean": None, "std": None, "ci95": None, "values": [None] * 3}
    table = tables.results_table(summary, "half")
    assert table.groups == (2, 6, 4)
    classifying, generating, cost = rendering.as_text(table).split("\n\n")
    assert "accuracy" in classifying
    assert "student" not in classifying
    assert "\nlenet " not in generating
    assert "student · kd" in generating  # it diverged, which is something to know
    assert "\nlenet " not in cost
    html = rendering.as_html(table)
    assert html.count("<table>") == 3
    assert html.count(">lenet<") == 1


def test_text_fits_a_terminal_and_names_its_stages(tmp_path):
    text = report.text(make_generator_workdir(tmp_path / "run", metrics=[], evaluation={}))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert [line for line in lines if line.startswith("stage ")] == ["stage half", "stage quarter"]
    assert sum("parameters" in line and "training" in line for line in lines) == 2
    # Quality and cost stand below each other; a variant has no cost of its own.
    assert sum(line.startswith("student · fused") for line in lines) == 6
    assert sum(line.startswith("  moving average") for line in lines) == 6
    assert "FID" not in text


def test_text_of_one_comparing_stage_has_no_head_line(tmp_path):
    summary = make_generator_summary({"half": STAGES["half"]})
    folder = make_generator_workdir(tmp_path / "run", summary=summary, metrics=[], evaluation={})
    assert "stage half" not in report.text(folder)
    assert "half" not in findings.headlines(summary)[0]


def test_colours_are_the_same_in_every_stage():
    summary = make_generator_summary(
        {"half": {"scratch": 20.0, "kd": 18.0}, "quarter": {"scratch": 30.0, "fused": 28.0}}
    )
    results = Results("run", summary, (), "", {})
    assert list(palette.colours(results)) == ["scratch", "kd", "fused"]
    assert list(palette.marks(results, "quarter")) == ["scratch", "fused"]
    assert palette.marks(results, "half")["scratch"] == palette.marks(results, "quarter")["scratch"]
    assert palette.marks(results, "teacher") == {}


def test_distances_have_a_learning_curve_on_a_scale_that_tells_arms_apart(tmp_path):
    lines = make_generator_metrics({"half": STAGES["half"]})
    for stage, player in (("half", "student"), ("teacher", "teacher")):
        first = [("validation", f"{player}/fd"), ("validation", f"{player}/kid"), ("train", f"{player}/loss")]
        assert curves.looked_at(lines, stage) == (first, [])
    summary = make_generator_summary({"half": STAGES["half"]})
    html = report.curves_html(make_generator_workdir(tmp_path / "run", summary=summary, metrics=lines, evaluation={}))
    assert html.count("FD-lenet <span>validation, lower is better, log scale</span>") == 2
    spread = lambda *values: {"kd": curves.Curve(np.arange(2), *[np.array(values)] * 3, 1)}
    assert plots.spans_decades(spread(10.0, 3.0), 3.0)
    assert not plots.spans_decades(spread(10.0, 4.0), 3.0)
    ticks = re.findall(r">(\d+)</text>", plots.curves(spread(200.0, 12.0), {"kd": drawing.INK}, wide=3.0))
    assert {"20", "50", "100"} <= set(ticks)
