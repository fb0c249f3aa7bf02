"""docs/methods.md is what its generator prints: each method that teaches a classifier, with its equation and its paper."""

import json
import pathlib
import re

import numpy as np
import pytest

import one_move
import players as small
import tiny  # noqa: F401 - makes configs importable
from configs import methods_page, zoo_rows
from kdgan import methods
from kdgan.methods.published import PUBLISHED

COMMITTED = pathlib.Path(__file__).parent.parent / "docs" / "methods.md"
TAUGHT = {*PUBLISHED, *(method["name"] for method in zoo_rows.METHODS.values())}
OF_NO_PAPER = {"logistic", "adversarial", "joint"}


def sections():
    """Method -> the lines of its section that are not empty."""
    parts = re.split(r"^### (\w+)$", COMMITTED.read_text(), flags=re.M)
    bodies = (body.split("\n## ")[0] for body in parts[2::2])
    return {name: [line for line in body.splitlines() if line] for name, body in zip(parts[1::2], bodies, strict=True)}


def test_the_committed_page_is_what_the_code_prints():
    text = "run `python -m configs.methods_page > docs/methods.md`"
    assert COMMITTED.read_text() == methods_page.markdown(), text


def test_each_method_has_a_short_section_with_its_paper_and_its_terms():
    found = sections()
    assert set(found) >= TAUGHT | set(methods_page.EXAMPLES)
    for name, lines in found.items():
        text = " ".join(lines)
        assert len(lines) <= 15, name
        assert "term" in text, name
        assert re.search(r"[=·Σ‖(]", text), name
        assert name in OF_NO_PAPER or re.search(r"\b(19|20)\d\d", text), name
        assert "method=dict(" in text, name


def test_examples_are_methods_that_can_be_built():
    for name, (_, method, lambdas) in methods_page.EXAMPLES.items():
        built = methods.build(**method)
        assert method["name"] == name
        assert {lead for move in built.moves for lead in [move.players[0]]} == set(lambdas)


def test_a_row_s_numbers_stand_in_its_section_where_there_are_any(tmp_path, monkeypatch):
    rows = {"kd": {"accuracy": [0.91234, 0.004], "nll": [0.3, 0.01], "other": [1, 1]}, "mimic": {}}
    file = tmp_path / "zoo.json"
    alone = {"scratch": {"accuracy": [0.85, 0.02]}}
    sets = {
        "mnist": {"rows": rows, "factors": {"kd": 0.3}},
        "digits": {"rows": {"sp": {"accuracy": [0.9, 0.01]}, **alone}},
    }
    file.write_text(json.dumps(sets))
    monkeypatch.setattr(methods_page, "FILE", file)
    text = methods_page.markdown()
    kd = "`kd` accuracy 91.23 ± 0.40 %, NLL 0.3000 ± 0.0100 with the λ's beside `ce` times 0.3"
    assert f"\nOn mnist ([the table](../results/zoo.md)): {kd}.\n" in text
    of_digits = "accuracy 90.00 ± 1.00 %; labels alone: accuracy 85.00 ± 2.00 %"
    assert f"\nOn digits ([the table](../results/zoo.md)): {of_digits}.\n" in text
    assert len(re.findall(r"^On ", text, flags=re.M)) == 3  # labels alone have a line of their own
    monkeypatch.setattr(methods_page, "FILE", tmp_path / "absent.json")
    assert not re.search(r"^On ", methods_page.markdown(), flags=re.M)


@pytest.mark.parametrize("character", ["*", "_", "~"])
def test_nothing_of_an_equation_is_taken_for_emphasis(character):
    """A closing mark has no blank before it and no letter behind it."""
    for line in COMMITTED.read_text().splitlines():
        if not line.startswith(("    ", "|")) and not (character == "*" and "*terms*" in line):
            plain = re.sub(r"`[^`]*`", "", line)
            pairs = (
                rf"(?<![\w]){re.escape(character)}(?=\S)[^{re.escape(character)}]*(?<=\S){re.escape(character)}(?!\w)"
            )
            assert not re.search(pairs, plain), line


def test_the_part_of_one_s_own_is_one_of_a_combined_move(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", COMMITTED.read_text(), flags=re.S)
    (tmp_path / "parts_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    parts = ("kd", dict(name="parts_of_the_page.cosine", feature="hidden"))
    modules = {"student": small.Plain(), "teacher": small.Plain()}
    method, batch = methods.build("combine", parts=parts), one_move.example()
    state = small.make_state(method, modules, example=batch)
    terms, _ = one_move.evaluated(method, modules, state, batch)
    assert terms.keys() == {"ce", "kd", "cosine"}
    s, t = (one_move.taken(modules[name], state, name, batch["image"], "hidden")["hidden"] for name in modules)
    cosine = (s * t).sum(1) / (np.linalg.norm(s, axis=1) * np.linalg.norm(t, axis=1))
    np.testing.assert_allclose(terms["cosine"], 1 - cosine, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"parts_of_the_page.Seen is no part of a move; a function that returns .*as_method"
    ):
        methods.build("combine", parts=("parts_of_the_page.Seen",))
