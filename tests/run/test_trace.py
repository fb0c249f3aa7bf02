"""Where a run's time goes: phases that add up, a trace of the steps asked for, programs kept for the next process."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tiny
from kdgan.run import build, inputs, train
from kdgan.run.config import ConfigError, resolve
from kdgan.run.population import steps_per_call


def test_phases_are_parts_of_the_stage_s_time(tmp_path):
    summary = train.train(tiny.config(), tmp_path)
    for stage in summary["stages"].values():
        assert set(stage["phases"]) == {"data", "step", "evaluate", "save"}
        assert all(seconds > 0 for seconds in stage["phases"].values())
        assert sum(stage["phases"].values()) < stage["seconds"] + stage["phases"]["save"]  # the last save comes after
        members = sum(2 * arm["train_seconds"] for arm in stage["arms"].values())
        np.testing.assert_allclose(stage["phases"]["data"] + stage["phases"]["step"], members)


def test_a_resumed_run_goes_on_counting(tmp_path, monkeypatch):
    config = tiny.config()
    tiny.train_until(config, tmp_path, "teacher", 2)
    (folder,) = (tmp_path / "checkpoints" / "teacher").glob("*/")
    before = train.Checkpoints(folder.parent).restore_latest().metadata["times"]["main"][0]
    # The next process takes no time at all, by its own clock.
    monkeypatch.setattr(train.time, "monotonic", lambda: 0.0)
    summary = train.train(config, tmp_path)
    np.testing.assert_allclose(2 * summary["stages"]["teacher"]["arms"]["main"]["train_seconds"], before)


def test_a_profile_changes_nothing_and_leaves_a_trace_of_its_stage(tmp_path):
    config = tiny.config(steps=6)
    plain = train.train(config, tmp_path / "plain")
    config.profile.steps, config.profile.stage = (1, 3), "distill"
    profiled = train.train(config, tmp_path / "profiled")
    assert [path.name for path in (tmp_path / "profiled" / "profile").iterdir()] == ["distill"]
    assert list((tmp_path / "profiled" / "profile").rglob("*.xplane.pb"))
    players = lambda summary: json.dumps([a["players"] for s in summary["stages"].values() for a in s["arms"].values()])
    assert players(profiled) == players(plain)


def test_several_steps_a_call_stop_at_the_marks_of_a_profile():
    config = tiny.config(steps=40)
    config.evaluate.every = config.log.every = 20
    config.parallel.steps_per_call = 10
    run = resolve(config)
    (program,) = build.stage_programs(run, run.stages[0], inputs.load(run))
    assert [steps_per_call(run, stage, program, 0) for stage in run.stages] == [10, 10]
    config.profile.steps = (5, 15)
    run = resolve(config)
    assert [steps_per_call(run, stage, program, 0) for stage in run.stages] == [5, 10]


@pytest.mark.parametrize(
    ("steps", "stage", "said"),
    [
        ((3,), None, r"expected \(first, last\)"),
        ((3, 3), None, r"expected \(first, last\)"),
        ((0, 9), None, "stage teacher has 4 steps"),
        ((0, 2), "distil", "stages are teacher, distill"),
    ],
)
def test_what_cannot_be_profiled_is_refused(steps, stage, said):
    config = tiny.config()
    config.profile.steps, config.profile.stage = steps, stage
    with pytest.raises(ConfigError, match=said):
        resolve(config)


KEPT = """
import sys, jax, jax.numpy as jnp
from kdgan import parallel
parallel.keep_compiled(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(float(parallel.compiled(lambda x: jnp.sin(x) @ x)(jnp.arange(3.0))))
print(sum(name == "/jax/compilation_cache/cache_hits" for name in hits) > 0)
print(jax.config.jax_compilation_cache_dir)
"""


def test_compiled_programs_are_kept_for_the_next_process(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    run = lambda **more: subprocess.run(
        [sys.executable, "-c", KEPT, str(tmp_path / "ours")], env={**environment, **more}, capture_output=True, text=True,
        check=True,
    ).stdout.split()  # fmt: skip
    first, second = run(), run()
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("False", "True")
    assert run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"))[2] == str(tmp_path / "theirs")
