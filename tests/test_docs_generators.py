"""docs/generators.md: its config makes a run that can start, on a folder of images without classes."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from configs import gan_arms
from kdgan.run import costs, prepare
from kdgan.run.config import resolve

TEXT = (pathlib.Path(__file__).parent.parent / "docs" / "generators.md").read_text(encoding="utf-8")


@pytest.fixture
def page():
    """The page's first snippet as a module's names, and the code that its second puts at the end."""
    code, inception = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    names = {}
    exec(code, names)
    return names, inception


def test_its_config_is_one_for_images_without_classes(page, tmp_path, monkeypatch):
    monkeypatch.setattr(costs.cost, "peak_memory", lambda *given: 0)  # which compiles
    names, _ = page
    config = names["get_config"]()
    for i in range(100):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    config.data.name, config.data.validation = f"folder:{tmp_path}", 20
    config.stages.student.arms.fused_held = gan_arms.held()
    prepared = prepare.prepare(config, None)
    assert "label" not in prepared.inputs.train.arrays
    (extractor,), _, students = prepared.programs.values()
    assert extractor.method.trained == ("extractor",)
    assert {"fd", "recall"} <= {measure.name for measure in students[0].measures("student")}
    of = {arm: costs.step_cost(prepared.run, program).flops for program in students for arm in program.arms}
    assert set(of) == {"scratch", "scratch_matched", "weights", "adversarial", "fused_held"}
    matched = config.stages.student.arms.scratch_matched.steps / names["STEPS"]
    assert of["fused_held"] / of["scratch"] == pytest.approx(matched, rel=0.01)


def test_inceptions_features_take_the_place_of_the_extractor(page):
    names, inception = page
    names["extractor"] = lambda config: exec(inception, dict(config=config))
    run = resolve(names["get_config"]())
    assert [stage.name for stage in run.stages] == ["teacher", "student"]
    assert str(run.evaluate.extractor.inception) == "inception.npz"
    assert min(run.data.validation, run.evaluate.samples, run.evaluate.validation_samples) > 2_048
