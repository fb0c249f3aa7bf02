"""A student that learns while it is quantised, as one more arm."""

import dataclasses

import numpy as np
import pytest

import tiny
from kdgan import config as common
from kdgan.run import prediction, prepare, train
from kdgan.run.config import ConfigError, resolve


def qat():
    arm = dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9)))
    return tiny.config(seeds=1, arms=common.named(kd=arm, qat={**arm, "players": dict(student=dict(quantise="w8a8"))}))


@pytest.mark.extra("qwix")
def test_an_arm_quantises_its_student_alone_and_gives_it_back_quantised(tmp_path):
    summary = train.train(qat(), tmp_path)
    arms = summary["stages"]["distill"]["arms"]
    assert {*arms} == {"kd", "qat"}
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    kd, rounded = (prediction.load(tmp_path, arm=arm)(image) for arm in ("kd", "qat"))
    # Both learned from the same start and batches; rounding moves the logits a little.
    assert 0 < np.abs(kd - rounded).max() < 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantise": "int8"}, "config.players.student: quantise = 'int8': 'w8a8', 'w8' or None are accepted"),
        ({"quantise": "w8a8"}, "config.players.student.quantise = 'w8a8': patches are rounded by other scales"),
        ({"quantise": "w8"}, "config.players.student.quantise = 'w8': rows are rounded by other scales"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(tmp_path, change, message):
    config = tiny.config()
    config.players.student.update(change)
    config.parallel.convolutions = next((way for way in ("patches", "rows") if way in message), "auto")
    with pytest.raises(ConfigError, match=message):
        train.train(config, tmp_path)


def test_a_run_in_float_needs_no_qwix_and_keeps_everything_else():
    run = resolve(qat())
    floats = prepare.in_float(run)
    assert {player.quantise for stage in floats.stages for arm in stage.arms for player in arm.players.values()} == {
        None
    }
    (arm,) = [arm for arm in floats.stages[-1].arms if arm.name == "qat"]
    assert dataclasses.replace(arm.players["student"], quantise="w8a8") == run.stages[-1].arms[1].players["student"]
