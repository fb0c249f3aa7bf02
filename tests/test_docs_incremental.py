"""docs/incremental.md: its snippets, one after the other, make a run that can start, in which forgetting is measured."""

import pathlib
import re

import tiny
from configs import common
from kdgan.run import prepare

TEXT = (pathlib.Path(__file__).parent.parent / "docs" / "incremental.md").read_text(encoding="utf-8")


def test_its_snippets_make_a_run_that_can_start():
    snippets = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    assert len(snippets) == 4
    config = tiny.config(seeds=1, validation=0)
    config.data.labelled = None
    config.players.after_1 = dict(config.players.student)
    config.player.evaluate = "nothing"
    ce = dict(lambdas=dict(student=dict(ce=1.0)))
    small = dict(after_1=dict(model_args=dict(num_classes=5)))
    config.stages = common.named(first=dict(**ce, players={}), second=dict(**ce, players=small, start={}))
    for code in snippets:
        if "transposed" not in code:
            exec(code, dict(config=config))
    prepared = prepare.prepare(config, None)
    (first,), (second,) = prepared.programs.values()
    assert (first.local_modules["student"].num_classes, second.local_modules["student"].num_classes) == (5, 10)
    assert second.beside == ("after_1",)
    assert {"forgetting", "task_1", "open_2"} <= {measure.name for measure in second.measures("student")}
    assert (
        len(prepared.inputs.of("second").partitions[0].train)
        - len([label for label in prepared.inputs.train.label if label >= 5])
        == 50
    )
