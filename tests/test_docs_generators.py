"""docs/generators.md: its config makes a run that can start, on a folder of images without classes."""

import pathlib
import re

import numpy as np
from PIL import Image

from configs import gan_arms
from kdgan.run import prepare

TEXT = (pathlib.Path(__file__).parent.parent / "docs" / "generators.md").read_text(encoding="utf-8")


def test_its_config_is_one_for_images_without_classes(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    names = {}
    exec(code, names)
    config = names["get_config"]()
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for i in range(40):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f"{i}.png")
    config.data.name, config.data.validation = f"folder:{tmp_path}", 20
    config.stage.batch_size, config.evaluate.samples, config.evaluate.validation_samples = 4, 20, 20
    prepared = prepare.prepare(config, None)
    assert "label" not in prepared.inputs.train.arrays
    (extractor,), _, (*students,) = prepared.programs.values()
    assert extractor.method.trained == ("extractor",)
    assert {arm for program in students for arm in program.arms} == set(gan_arms.SHORT)
    assert {"fd", "recall"} <= {measure.name for measure in students[0].measures("student")}
