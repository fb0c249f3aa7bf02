"""The page: one well-formed file that refers to nothing outside, with every section whose input is there."""

import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from test_report_workdir import ARMS, make_metrics, make_summary, make_workdir

from kdgan import report

REFERS = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
SECTIONS = ("Results", "Differences between the arms", "Learning curves: teacher", "Learning curves: distill",
            "Confusion matrix of the best student", "Where student and teacher disagree",
            "The run, as it explained itself", "Environment")  # fmt: skip


class Page(html.parser.HTMLParser):
    """Tags that open and close, headings, text, and whatever could reach outside."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.words, self.references, self.tags, self.ids = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, attrs)

    def note(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in REFERS]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def page_of(folder):
    path = report.write(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    # Pixels of an image may spell anything.
    written = re.sub(r'src="data:image/png;base64,[^"]*"', 'src=""', text)
    assert "http" not in written
    assert "@import" not in written
    assert not re.search(r"url\((?!#)", written)
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)
    assert not re.search(r"\bnan\b", written, re.IGNORECASE)
    return text, page


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return make_workdir(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture(scope="module")
def written(workdir):
    return page_of(workdir)


def test_all_sections_stand_in_one_self_contained_page(workdir, written):
    text, page = written
    assert tuple(page.headings) == SECTIONS
    assert text.count("<img ") == len(np.load(workdir / "evaluation.npz")["disagreement/index"])
    assert "<details><summary>Config</summary>" in text
    assert "<title>quickstart · kdgan</title>" in text
    assert "kdgan is better than scratch by" in " ".join(page.words).replace("\u00a0", " ")
    assert "0.1·ce + 0.9·kd(T=4)" in text
    assert len(text) < 600_000
    assert not list(workdir.glob("*.tmp")) + list(workdir.glob(".*"))


def test_the_config_is_shown_whole(written):
    text, _ = written
    shown = re.search(r"<summary>Config</summary><pre>(.*?)</pre>", text, re.DOTALL)[1]
    assert json.loads(html.unescape(shown)) == make_summary()["config"]


def test_a_page_is_written_again_the_same(workdir, written):
    assert report.write(workdir).read_text() == written[0]


@pytest.mark.parametrize(
    ("missing", "sections"),
    [("metrics.jsonl", ("Learning curves: teacher", "Learning curves: distill")),
     ("evaluation.npz", ("Confusion matrix of the best student", "Where student and teacher disagree")),
     ("explanation.txt", ("The run, as it explained itself",))],
)  # fmt: skip
def test_a_missing_file_costs_its_sections_only(tmp_path, missing, sections):
    folder = make_workdir(tmp_path / "run")
    (folder / missing).unlink()
    _, page = page_of(folder)
    assert tuple(page.headings) == tuple(name for name in SECTIONS if name not in sections)


def test_without_a_validation_split_the_training_curves_stay(tmp_path):
    text, page = page_of(make_workdir(tmp_path / "run", metrics=make_metrics(validation=False)))
    assert tuple(page.headings) == SECTIONS
    assert "validation</span>" not in text
    assert "training" in text


def test_one_seed(tmp_path):
    text, page = page_of(make_workdir(tmp_path / "run", seeds=1))
    assert tuple(page.headings) == SECTIONS
    assert "±" not in text
    assert "One seed." in text


def test_one_arm_compares_nothing(tmp_path):
    _, page = page_of(make_workdir(tmp_path / "run", arms={"main": 0.9}))
    assert "Differences between the arms" not in page.headings
    assert "Results" in page.headings


@pytest.mark.parametrize(
    "summary", [{"stages": {}}, {"stages": {"s": {"arms": {"main": {"players": {}}}}}}, {"data": {"name": "d"}}]
)
def test_a_summary_with_little_in_it(tmp_path, summary):
    folder = make_workdir(tmp_path / "run", summary=summary, metrics=[], evaluation={}, explanation="")
    _, page = page_of(folder)
    assert "Results" not in page.headings
    report.text(folder)


def test_diverged_numbers_are_dashes(tmp_path):
    summary = make_summary()
    for metric in summary["stages"]["distill"]["arms"]["kd"]["players"]["student"].values():
        metric |= {"mean": None, "std": None, "ci95": None, "values": [None] * 5}
    lines = [{**line, "student/loss": float("nan")} if line["arm"] == "kd" else line for line in make_metrics()]
    folder = make_workdir(tmp_path / "run", summary=summary, metrics=lines)
    text, _ = page_of(folder)
    row = re.search(r"student · kd</th>(.*?)</tr>", text)[1]
    assert re.findall(r"<td>(.*?)</td>", row)[:4] == ["–"] * 4
    assert "–" in report.text(folder)


def test_names_are_escaped_everywhere(tmp_path):
    evil = "<b>&\"'"
    arms = {"scratch": 0.9, evil: 0.95}
    summary = make_summary(arms=arms)
    summary["data"] |= {"name": "<u>data", "class_names": [f"<s>{i}" for i in range(10)]}
    summary["environment"]["device"] = "<em>chip"
    folder = make_workdir(tmp_path / "<i>run", arms=arms, summary=summary, explanation="1 < 2 <q>")
    text, page = page_of(folder)
    assert not {"b", "u", "s", "em", "q"} & set(page.tags)
    words = "".join(page.words)
    for name in (evil, "<u>data", "<s>3", "<em>chip", "<i>run", "1 < 2 <q>"):
        assert name in words
    assert "<i>run" not in text


def test_class_names_may_be_fewer_than_classes(tmp_path):
    summary = make_summary()
    summary["data"]["class_names"] = ["zero", "one"]
    _, page = page_of(make_workdir(tmp_path / "run", summary=summary))
    assert {"zero", "one", "9"} <= {word.strip() for word in page.words}


def test_disagreements_are_counted(workdir, written):
    arrays = np.load(workdir / "evaluation.npz")
    true = arrays["label"][arrays["disagreement/index"]]
    student, teacher = ((arrays[f"disagreement/{who}"] == true).sum() for who in ("student", "teacher"))
    text, page = written
    assert f"the student is right on {student}, the teacher on {teacher}" in text
    assert text.count("✓") == student + teacher
    assert "Student: kdgan, seed 0." in "".join(page.words)


def test_text_for_a_terminal(workdir):
    text = report.text(workdir)
    assert next(line for line in text.splitlines() if line.startswith("student · kdgan")).count("*") == 4
    assert "kd is better than scratch by" in text
    assert "accuracy − scratch" in text


def test_the_tables_lie_beside_the_page_in_markdown(workdir):
    report.write(workdir)
    lines = (workdir / "report.md").read_text().splitlines()
    assert lines == report.markdown(workdir).splitlines()
    row = next(line for line in lines if line.startswith("| student · kdgan | "))
    assert row.count("**") == 2 * 4  # best in four columns
    assert "- kd is better than scratch by " in "\n".join(lines)
    heads = [line for line in lines if line.startswith("| | ")]
    assert len(heads) == 2  # results, and differences
    assert "## " not in report.markdown(workdir)  # of one stage


def test_notebook_output_brings_its_style_and_is_well_formed(workdir):
    shown = report.show(workdir)
    inline = Page(shown._repr_html_())
    assert inline.tags[:2] == ["div", "style"]
    assert "body" not in inline.tags
    assert inline.tags.count("table") == 3  # quality, cost and differences
    assert inline.tags.count("svg") > 5
    assert repr(shown) == report.text(workdir)
    assert "svg" not in Page(report.tables_html(workdir)).tags
    assert "table" not in Page(report.curves_html(workdir)).tags


def test_a_run_that_goes_on_shows_its_curves(tmp_path):
    folder = make_workdir(tmp_path / "run")
    (folder / "summary.json").unlink()
    assert "svg" in Page(report.curves_html(folder)).tags
    shown = report.show(folder)
    assert "svg" in Page(shown._repr_html_()).tags
    assert "no summary yet" in repr(shown)
    (tmp_path / "empty").mkdir()
    for needs_something in (report.write, report.text, report.markdown, report.tables_html):
        with pytest.raises(ValueError, match=r"holds no run"):
            needs_something(tmp_path / "empty")
    assert "nothing to show yet" in report.show(tmp_path)._repr_html_()


def test_arms_keep_their_colour_through_the_page(workdir, written):
    from kdgan.report import drawing, sections
    from kdgan.report.read import read

    palette = sections.colours(read(workdir))
    assert list(palette)[: len(ARMS)] == list(ARMS)
    assert len(set(palette.values())) == len(palette) == len(ARMS) + 1
    text, _ = written
    assert all(text.count(drawing.css(palette[arm])) > 5 for arm in ARMS)


def test_a_report_imports_no_jax(workdir):
    script = (
        "import sys; from kdgan import report; report.text(sys.argv[1]); report.write(sys.argv[1]);"
        "assert not {'jax', 'flax', 'tensorflow'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script, str(workdir)], check=True)
