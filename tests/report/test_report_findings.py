"""The sentences: when "better" may be said, which arm is singled out, and that no test number has a say in it."""

import re

import numpy as np
import pytest
from test_report_tables import small_summary
from test_report_workdir import as_older, make_evaluation, make_summary, make_workdir, summarised

from kdgan import report
from kdgan.older import upgraded
from kdgan.report import differences, figures, findings, tables
from kdgan.report.choice import chosen_arm
from kdgan.report.read import Results

CLAIMS = re.compile(r"\b(better|worse|above|below)\b")


def said(**arms):
    return findings.sentences(small_summary(**arms))


def validate(summary, **means):
    """The summary with validation accuracies: arm -> one for all seeds, or a list."""
    for arm, values in means.items():
        record = summary["stages"]["distill"]["arms"][arm]
        seeds = len(record["players"]["student"]["accuracy"]["values"])
        values = [values] * seeds if isinstance(values, float) else values
        record["validation"] = {"student": {"accuracy": summarised(values)}}
    return summary


def test_a_clear_difference():
    # Differences 1.8, 2.0, 1.9, 1.7, 2.1 points: mean 1.9, std 0.158114, half width 2.776445·0.158114/√5 = 0.196.
    scratch = [0.90, 0.91, 0.92, 0.90, 0.91]
    kd = [0.918, 0.930, 0.939, 0.917, 0.931]
    assert said(scratch=scratch, kd=kd) == ("kd is better than scratch by 1.9 ± 0.2 points (5 seeds)",)
    assert said(kd=kd, scratch=scratch) == ("scratch is worse than kd by 1.9 ± 0.2 points (5 seeds)",)


def test_no_clear_difference():
    # Differences +1, −1, +1, −1, +0.5 points: mean 0.1, standard error 0.458.
    (sentence,) = said(scratch=[0.90] * 5, kd=[0.91, 0.89, 0.91, 0.89, 0.905])
    assert sentence == "kd and scratch: no clear difference (+0.1 ± 1.3 points, 5 seeds)"


def test_an_interval_with_zero_in_it_is_no_claim_however_many_standard_errors():
    # Differences −14.2, −30.6 points: mean −22.4, standard error 8.2 (2.7 of them), half width 12.7062·8.2 = 104.2.
    (sentence,) = said(scratch=[0.9, 0.95], kd=[0.758, 0.644])
    assert sentence == "kd and scratch: no clear difference (−22.4 ± 104.2 points, 2 seeds)"
    # Differences 1, 2, 3 points: mean 2, standard error 0.577 (3.46 of them), half width 4.3027·0.577 = 2.48.
    (sentence,) = said(scratch=[0.90, 0.90, 0.90], kd=[0.91, 0.92, 0.93])
    assert sentence == "kd and scratch: no clear difference (+2.0 ± 2.5 points, 3 seeds)"


def test_a_third_arm_widens_the_intervals_and_with_them_the_words():
    # Differences 1, 2, 3, 1.9 points: mean 1.975, standard error 0.409; t(0.975, 3) = 3.182, t(1 − 0.025/3, 3) = 4.857.
    scratch, kd = [0.90] * 4, [0.91, 0.92, 0.93, 0.919]
    assert said(scratch=scratch, kd=kd) == ("kd is better than scratch by 2.0 ± 1.3 points (4 seeds)",)
    first, *_ = said(scratch=scratch, kd=kd, third=[0.90, 0.93, 0.89, 0.91])
    assert first == "kd and scratch: no clear difference (+2.0 ± 2.0 points, 4 seeds)"


def test_an_interval_that_excludes_zero_by_a_hair_is_written_so():
    half = 12.7062047  # t(0.975, 1); of two seeds that differ by 2e the half width is t·e
    e = 0.0193 / half
    (sentence,) = said(scratch=[0.9, 0.9], kd=[0.9 + 0.0194 + e, 0.9 + 0.0194 - e])
    assert sentence == "kd is better than scratch by 1.94 ± 1.93 points (2 seeds)"
    table = differences.differences_table(small_summary(scratch=[0.9, 0.9], kd=[0.9 + 0.0194 + e, 0.9 + 0.0194 - e]))
    assert table.rows[1].cells[0].text == "+1.94 ± 1.93"


def test_one_seed_never_says_better_or_worse():
    (sentence,) = said(scratch=[0.90], kd=[0.92])
    assert sentence == "kd and scratch: no clear difference (+2.0 points on one seed, which says nothing of the spread)"
    summary = small_summary(scratch=[0.90], kd=[0.92], third=[0.5])
    assert not any(CLAIMS.search(text) for text in (*findings.sentences(summary), findings.headline(summary)))


def test_the_same_difference_in_every_seed_leaves_nothing_to_judge_by():
    (sentence,) = said(scratch=[0.90, 0.91, 0.92], kd=[0.93, 0.94, 0.95])
    assert sentence == (
        "kd and scratch: no clear difference (+3.0 points on each of 3 seeds, which leaves no spread to judge by)"
    )
    (sentence,) = said(scratch=[0.9, 0.8, 0.7], kd=[0.9, 0.8, 0.7])
    assert sentence.startswith("kd and scratch: no clear difference (+0.0 points on each of 3 seeds")


def interval_of(text):
    found = re.search(r"([+−]?[\d.]+) ± ([\d.]+)", text)
    return found and (float(found[1].replace("−", "-")), float(found[2]))


@pytest.mark.parametrize("seed", range(60))
def test_no_text_claims_what_its_interval_denies(seed):
    """Random arms: every sentence goes by the interval that it shows, which is the table's, and by nothing else."""
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(2, 6)), int(rng.integers(1, 7))
    spread = 10 ** rng.uniform(-4, -1.5)
    levels = 0.8 + spread * rng.choice([0, 1, 3, 10]) * rng.normal(size=(k, 1))
    values = np.round(np.clip(levels + spread * rng.normal(size=(k, n)), 0, 1), int(rng.integers(2, 6)))
    summary = small_summary(**{f"arm{i}": list(of) for i, of in enumerate(values)})
    if rng.random() < 0.5:
        summary = validate(summary, **{f"arm{i}": list(rng.random(n)) for i in range(k)})
    table = differences.differences_table(summary)
    cells = {row.arm: row.cells[0] for row in table.rows}
    for text in (*findings.sentences(summary), findings.headline(summary)):
        claims, shown = CLAIMS.search(text), interval_of(text.rpartition("arm")[2] if "reaches" in text else text)
        if "reaches" in text:
            clause = re.search(r"\)(?:, ([\d.]+) ± ([\d.]+) points (?:above|below)|; no clear)", text)
            assert bool(claims) == bool(clause and clause[1])
            assert not claims or float(clause[1]) > float(clause[2])
            continue
        assert bool(claims) != ("no clear difference" in text)
        if n == 1 or shown is None:
            assert not claims
        else:
            assert bool(claims) == (abs(shown[0]) > shown[1])
        arm, other = re.match(r"(arm\d) (?:and|is \w+ than) (arm\d)", text).groups()
        if other == "arm0":
            cell = cells[arm]
            assert bool(claims) == (cell.ci95 is not None and abs(cell.mean) > cell.ci95)
            written = interval_of(cell.text)
            assert written is None or (abs(written[0]) > written[1]) == bool(claims)


def test_ten_arms_that_tie_on_validation_announce_none_for_its_test_accuracy():
    rng = np.random.default_rng(0)
    arms = {f"a{i}": list(0.80 + 0.01 * i + 0.001 * rng.normal(size=5)) for i in range(10)}
    summary = validate(small_summary(**arms), **dict.fromkeys(arms, 0.85))
    headline = findings.headline(summary)
    assert "in arm a0, the baseline (chosen on validation, tied with 9 other arms)" in headline
    assert "a9" not in headline
    table = tables.results_table(summary)
    assert [row.arm for row in table.rows for cell in row.cells if cell.best] == ["a0"]
    assert table.marked == "chosen on validation, tied with 9 other arms"
    assert differences.differences_table(summary).rows[0].cells[2].text.endswith("(a1, tied)")


def test_a_tie_is_one_up_to_rounding():
    # The same 9 of 10 images over two seeds, as float32 has their shares.
    summary = small_summary(scratch=[0.5, 0.7], kd=[0.6, 0.6], third=[0.9, 0.9])
    thirds = [float(np.float32(5 / 9)), float(np.float32(7 / 9))]
    summary = validate(summary, scratch=thirds, kd=[float(np.float32(6 / 9))] * 2, third=0.1)
    chosen = chosen_arm(summary)
    assert (chosen.arm, chosen.tied) == ("scratch", ("kd",))
    assert chosen.words == "chosen on validation, tied with kd"


def test_without_validation_the_words_say_which_split_chose_and_of_how_many():
    summary = make_summary(validated=False)
    assert "in arm kdgan (highest on the test split, of 3 arms), " in findings.headline(summary)
    assert tables.results_table(summary).marked == "highest on the test split, of 3 arms"
    one = findings.headline(small_summary(main=[0.90, 0.92, 0.94]))
    assert one == "The student reaches 92.0 ± 5.0 % test accuracy."


def test_headline_says_the_main_result():
    headline = findings.headline(make_summary())
    assert "in arm kdgan (chosen on validation), " in headline
    assert "points above scratch. Its teacher reaches " in headline
    assert headline.endswith("with 51 times the parameters.")
    assert findings.headline({}) == ""


def test_headline_does_not_boast():
    unclear = findings.headline(small_summary(scratch=[0.90] * 5, kd=[0.91, 0.89, 0.91, 0.89, 0.905]))
    assert unclear.endswith("in arm kd (highest on the test split, of 2 arms); no clear difference from scratch"
                            " (+0.1 ± 1.3 points, 5 seeds).")  # fmt: skip
    lost = findings.headline(small_summary(scratch=[0.95, 0.96], kd=[0.90, 0.91]))
    assert lost.endswith("in arm scratch, the baseline (highest on the test split, of 2 arms).")


def test_the_chosen_arm_may_have_no_number_on_the_test_split():
    summary = validate(small_summary(scratch=[0.9, 0.9], kd=[0.9, 0.91]), scratch=0.5, kd=0.6)
    summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"] |= {
        "mean": None,
        "values": [0.9, None],
    }
    assert findings.headline(summary) == "Arm kd (chosen on validation) has no test accuracy: a seed of it diverged."


def test_a_run_of_a_teacher_alone_has_a_headline():
    summary = make_summary()
    del summary["stages"]["distill"]
    assert findings.headline(summary).startswith("The teacher reaches 97.")


def test_the_chosen_arm_is_compared_with_the_next_best():
    sentences = findings.sentences(make_summary())
    assert len(sentences) == 3
    assert sentences[-1].startswith("kdgan is better than kd by ")


@pytest.mark.parametrize("seed", range(2))
def test_numbers_of_the_test_split_choose_nothing(seed):
    """Test values change hands among the arms; what is singled out, and the pairs compared, stay."""
    rng = np.random.default_rng(seed)
    summary = make_summary()
    arms = summary["stages"]["distill"]["arms"]
    order = list(arms)
    validate(summary, **{arm: list(rng.random(5)) for arm in order})
    best = max(order, key=lambda arm: arms[arm]["validation"]["student"]["accuracy"]["mean"])

    def singled_out():
        table = tables.results_table(summary)
        marked = [(row.arm, table.columns[i]) for row in table.rows for i, cell in enumerate(row.cells) if cell.best]
        others = [row.cells[2].text.rpartition("(")[2] for row in differences.differences_table(summary).rows]
        new, arrays = upgraded(as_older(summary), make_evaluation())
        matrix, *_ = figures.sections(Results("run", new, (), "", arrays))
        return marked, others, re.search(r"student · \w+", matrix)[0]

    before = singled_out()
    assert before[0] == [(best, "validation")]
    assert before[2] == f"student · {best}"
    for _ in range(2):
        players = [arms[arm]["players"]["student"] for arm in rng.permutation(order)]
        for arm, moved in zip(order, players, strict=True):
            arms[arm]["players"]["student"] = moved
        assert f"in arm {best}" in findings.headline(summary)
        assert singled_out() == before


def test_terminal_markdown_and_page_say_the_same(tmp_path):
    folder = make_workdir(tmp_path / "run")
    path = report.write(folder)
    page = path.read_text().replace("\u00a0", " ")
    for sentence in findings.sentences(make_summary()):
        assert sentence in report.text(folder)
        assert f"- {sentence}" in report.markdown(folder)
        assert f"<li>{sentence}.</li>" in page
    for words in ("chosen on validation", "simultaneous over the 3 comparisons"):
        assert words in page
        assert words in report.markdown(folder)
        assert words in " ".join(report.text(folder).split())


def test_the_summary_of_an_older_run_is_still_reported(tmp_path):
    summary = make_summary(validated=False)
    folder = make_workdir(tmp_path / "run", summary=summary)
    text = report.text(folder)
    assert "*: highest on the test split, of 3 arms" in text
    assert "validation split" not in text
    assert "highest on the test split, of 3 arms" in report.write(folder).read_text().replace("\u00a0", " ")


def test_many_arms_without_a_clear_difference_are_counted_in_one_sentence():
    noisy = {f"arm{i}": [0.90 + 0.01 * ((i + j) % 3 - 1) for j in range(4)] for i in range(12)}
    lines = said(scratch=[0.90, 0.91, 0.90, 0.89], best=[0.99, 0.999, 0.99, 0.98], **noisy)
    assert lines[0].startswith("best is better than scratch by 9")
    assert "12 arms and scratch: no clear difference" in lines
    assert sum("no clear difference" in line and "scratch" in line for line in lines) == 1
