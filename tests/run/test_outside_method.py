"""A run of a method from outside of the package, alone and in `combine`, on unlabelled images, with its teacher cached."""

import jax
import pytest

import players as small
import tiny
from configs import common
from kdgan.run import build, stage_data, train, trained
from kdgan.run.config import ConfigError, resolve

OURS = dict(name="outside_method.aligned", feature="dense1")
TERMS = {"alone": ("ce", "angle"), "combined": ("ce", "kd", "angle")}


def config(cached=("teacher",), **change):
    made = tiny.config(steps=3, validation=0)
    made.evaluate.every, made.data.unlabelled_batch_size = 3, 4
    with made.unlocked():
        made.players.adapter_aligned = dict(model="outside_method.Projection")
    methods_of = {"alone": OURS | change, "combined": dict(name="combine", parts=("kd", OURS | change))}
    arms = {
        name: dict(method=dict(method, unlabelled=True), lambdas=dict(student=dict.fromkeys(TERMS[name], 0.5)))
        for name, method in methods_of.items()
    }
    made.stages = common.named(
        teacher=made.stages.teacher,
        distill=dict(start=dict(teacher="teacher"), steps=3, cached=cached, arms=common.named(**arms)),
    )
    return made


def state_of(workdir, arm):
    return trained.restore_member(workdir, resolve(config()), "distill", arm, 1)["state"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("outside")
    return workdir, train.train(config(), workdir)


def test_it_is_explained_measured_and_its_adapter_learns(finished):
    workdir, summary = finished
    explanation = (workdir / "explanation.txt").read_text()
    assert "student+adapter_aligned" in explanation
    assert "with the features dense1" in explanation
    for arm in TERMS:
        assert set(summary["stages"]["distill"]["arms"][arm]["players"]) == {"teacher", "student"}
        assert set(state_of(workdir, arm)["params"]) == {"student", "adapter_aligned"}
    kernels = [state_of(workdir, arm)["params"]["adapter_aligned"]["project"]["kernel"] for arm in TERMS]
    assert {kernel.shape for kernel in kernels} == {(4, 8)}
    assert small.largest_difference(*kernels) > 0


def test_the_run_with_its_teacher_running_is_the_same(finished, tmp_path):
    train.train(config(cached=()), tmp_path)
    for arm in TERMS:
        assert small.largest_difference(state_of(tmp_path, arm)["params"], state_of(finished[0], arm)["params"]) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(feature="stage1"), "no module at path 'stage1'"),
        (dict(power="2"), "power"),
        (dict(width=3), "outside_method.aligned takes no such hyper-parameter; accepted are feature, teacher_feature"),
        (dict(name="outside_method.alined"), "outside_method.alined' cannot be imported"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_before_anything_compiles(change, message, monkeypatch):
    run = resolve(config(**change))
    inputs = stage_data.load(run)
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message) as refused:
        build.all_programs(run, inputs)
    assert "\n" not in str(refused.value)
