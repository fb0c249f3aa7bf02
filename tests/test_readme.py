"""The README's snippets run as they stand."""

import pathlib
import re
import sys

import jax

import tiny
from kdgan.run import train

README = pathlib.Path(__file__).parent.parent / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)


def snippet(containing):
    (found,) = [code for code in SNIPPETS if containing in code]
    return found


def test_the_functional_snippet_trains_a_student(capsys):
    code = snippet("def fit(")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 30
    with jax.numpy_rank_promotion("raise"):
        exec(compile(code, "README.md", "exec"), {})
    accuracy = float(re.search(r"accuracy of the student: ([\d.]+)", capsys.readouterr().out)[1])
    assert accuracy > 0.8  # chance is 0.1


def test_a_method_from_outside_is_named_by_its_dotted_path(tmp_path, monkeypatch):
    package = tmp_path / "my_project"
    package.mkdir()
    (package / "methods.py").write_text(snippet("def trusting("))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_project", raising=False)
    config = tiny.config(steps=2, seeds=1)
    with config.unlocked():
        exec(snippet("arms.trusting"), {"config": config})
    summary = train.train(config, tmp_path / "run")
    assert "student" in summary["stages"]["distill"]["arms"]["trusting"]["players"]


def test_every_snippet_is_run_by_some_test():
    assert len(SNIPPETS) == 4  # the one that draws from a generator: tests/run/test_generators.py


def test_every_config_is_listed():
    configs = {path.stem for path in (README.parent / "configs").glob("*.py")} - {
        "common",
        "kdgan_rows",
        "kdgan_search",
        "quickstart_search",
    }
    assert configs == set(re.findall(r"^\| \[\w+\]\(configs/(\w+)\.py\)", README.read_text(), flags=re.M))
