"""Runs whose teacher is a PyTorch module, an ONNX file, or a function on the host."""

import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

import functions
import onnx_files
import tiny
from configs import common
from kdgan import data
from kdgan.models import host
from kdgan.run import train
from kdgan.run.config import ConfigError

KD = dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9)))
SCRATCH = dict(lambdas=dict(student=dict(ce=1.0)))


def taught_by(*, cached=False, steps=2, seeds=1, arms=None, validation=20, **teacher):
    """A student of this teacher, which starts nowhere."""
    config = tiny.config(steps=steps, seeds=seeds, arms=arms or common.named(kd=KD), validation=validation)
    config.players.teacher = teacher
    with config.unlocked():
        del config.stages["teacher"]
        config.stages.distill.start = {}
    if cached:
        config.stages.distill.cached = ("teacher",)
    return config


def of(summary, arm="kd"):
    return summary["stages"]["distill"]["arms"][arm]


def student(workdir):
    from kdgan.run.checkpoint import Checkpoints

    with Checkpoints(workdir / "checkpoints" / "distill") as checkpoints:
        return checkpoints.restore_latest().tree


def same(one, other, **tolerances):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


def test_a_model_of_scikit_learn_teaches_through_cached(tmp_path, capsys):
    config = taught_by(model="functions.neighbours", outputs="probabilities", cached=True, seeds=2)
    config.evaluate.latency = True
    summary = train.train(config, tmp_path)
    test = data.load("digits", "test")
    predicted = functions.predict_proba(np.asarray(test.image) / 255.0).argmax(-1)
    accuracy = np.mean(predicted == test.label)
    assert of(summary)["players"]["teacher"]["accuracy"]["values"] == pytest.approx([accuracy], abs=0.003)
    assert of(summary)["origins"]["teacher"] == {"trained": False, "shared": True, "start": "function"}
    cost = summary["stages"]["distill"]["cost"]["teacher"]
    assert cost["flops"] is None  # nobody counts them
    assert cost["latency_ms"]["1"] > 0
    assert "? MFLOP" in capsys.readouterr().out


def test_a_function_on_the_host_is_refused_in_a_step(tmp_path):
    with pytest.raises(ConfigError) as error:
        train.train(taught_by(model="functions.neighbours"), tmp_path)
    assert str(error.value) == (
        "config.stages.distill.arms.kd: teacher is a function on the host, which no compiled step calls; its outputs can be"
        " computed before the first step: add config.stages.distill.arms.kd.cached = ('teacher',)"
    )
    assert not (tmp_path / "config.json").exists()


def test_a_service_that_fails_is_one_line_that_names_the_player(tmp_path):
    with pytest.raises(ConfigError, match=r"players\.teacher \(ask\): ConnectionError: 503 Service Unavailable"):
        train.train(taught_by(model="functions.fails", cached=True), tmp_path)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (dict(model="players.nearest_mean"), "holds a negative number or NaN"),
        (dict(model="players.nearest_mean", evaluate="nothing"), "holds a negative number or NaN"),
        (dict(model="players.nearest_mean", classes=(1, 0, *range(2, 10))), "holds a negative number or NaN"),
        (dict(model="players.twos"), "sums to 20"),
    ],
)
def test_what_gives_no_probabilities_is_refused_when_it_is_seen_first(tmp_path, teacher, message):
    with pytest.raises(ConfigError) as error:
        train.train(taught_by(outputs="probabilities", **teacher), tmp_path)
    assert str(error.value).startswith(
        "config.players.teacher.outputs = 'probabilities': its output for validation example 0"
    )
    assert message in str(error.value)


def test_probabilities_teach_as_their_logits_do(tmp_path):
    for name, fields in (("softmax", dict(outputs="probabilities")), ("logits", {})):
        train.train(taught_by(model=f"players.{name}_of_means", **fields), tmp_path / name)
    same(student(tmp_path / "softmax"), student(tmp_path / "logits"), atol=1e-5)


def test_an_unknown_kind_of_output_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"config.players.teacher.outputs = 'odds': 'logits' or 'probabilities' is accepted"
    ):
        train.train(taught_by(model="functions.neighbours", outputs="odds", cached=True), tmp_path)


@pytest.mark.extra("torch", "torchax")
def test_a_pytorch_module_teaches_in_the_step_under_vmap_and_cached(tmp_path):
    teacher = dict(model="torch:torch_nets.Small", mean=0.5, std=0.25)
    summary = train.train(taught_by(seeds=2, **teacher), tmp_path / "step")
    origin = of(summary)["origins"]["teacher"]
    assert (origin["start"], origin["of"], origin["shared"]) == ("function", "torch:torch_nets.Small", True)
    import torch_nets

    count = sum(parameter.numel() for parameter in torch_nets.Small().parameters())
    cost = summary["stages"]["distill"]["cost"]["teacher"]
    assert cost["parameters"] == count
    assert cost["flops"] > count
    config = taught_by(seeds=2, **teacher)
    config.parallel.members = "vmap"
    train.train(config, tmp_path / "vmap")
    same(student(tmp_path / "vmap"), student(tmp_path / "step"), atol=1e-5)
    train.train(taught_by(seeds=2, cached=True, **teacher), tmp_path / "cached")
    mine, cached = (student(tmp_path / name)["kd"]["state"]["params"]["student"] for name in ("step", "cached"))
    same(mine, cached, atol=1e-5)


@pytest.mark.extra("torch", "torchax")
def test_a_pytorch_module_that_is_trained_is_refused(tmp_path):
    config = taught_by(model="mlp", arms=common.named(scratch=SCRATCH))
    config.players.student = dict(model="torch:torch_nets.Net")
    with pytest.raises(
        ConfigError, match="the method trains student, a PyTorch module, which runs in evaluation mode; it is"
    ):
        train.train(config, tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "teacher.onnx", onnx_files.network(tmp_path / "teacher.onnx")


@pytest.mark.extra("onnx", "onnxruntime")
def test_an_onnx_file_teaches_in_the_step_and_cached_and_is_known_by_its_content(tmp_path, file, capsys):
    path, in_numpy = file
    arms = common.named(scratch=SCRATCH, kd=KD)
    summary = train.train(taught_by(model=f"onnx:{path}", arms=arms), tmp_path / "step")
    test = data.load("digits", "test")
    accuracy = np.mean(in_numpy(np.asarray(test.image) / 255.0).argmax(-1) == test.label)
    assert of(summary)["players"]["teacher"]["accuracy"]["values"] == pytest.approx([accuracy])
    origin = of(summary)["origins"]["teacher"]
    assert origin["of"] == f"onnx:{path}"
    assert len(origin["digest"]) == 64
    train.train(taught_by(model=f"onnx:{path}", arms=arms, cached=True), tmp_path / "cached")
    mine, cached = (student(tmp_path / name)["kd"]["state"]["params"]["student"] for name in ("step", "cached"))
    same(mine, cached, atol=1e-6)

    onnx_files.network(path, seed=1)
    for changed in (taught_by(model=f"onnx:{path}", arms=arms, seeds=2), taught_by(model=f"onnx:{path}", arms=arms)):
        with pytest.raises(ConfigError, match="what its run is made from has changed since it began") as error:
            train.train(changed, tmp_path / "step")
        assert f"teacher of stage distill: onnx:{path} holds another one than when the run began" in str(error.value)
    again = train.train(taught_by(model=f"onnx:{path}", arms=arms), tmp_path / "step", accept_changed_inputs=True)
    assert again["changed_inputs"]


@pytest.mark.extra("onnx", "onnxruntime")
def test_class_counts_that_differ_and_a_field_that_is_none_are_refused(tmp_path):
    onnx_files.network(tmp_path / "net.onnx", classes=7)
    with pytest.raises(ConfigError, match=r"teacher_logits .8, 7.: 10 and 7 classes"):
        train.train(taught_by(model=f"onnx:{tmp_path / 'net.onnx'}"), tmp_path / "run")
    mimic = dict(method=dict(name="players.agreeing"), lambdas=dict(student=dict(ce=1.0)))
    config = taught_by(model=f"onnx:{tmp_path / 'net.onnx'}", arms=common.named(agree=mimic))
    with pytest.raises(ConfigError, match="it tells 7 classes apart, the data have 10"):
        train.train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"config.players.teacher: model 'onnx:.*net.onnx' has no field 'depth'"):
        train.train(taught_by(model=f"onnx:{tmp_path / 'net.onnx'}", model_args=dict(depth=2)), tmp_path / "run")


@pytest.mark.extra("onnx", "onnxruntime")
def test_a_backend_without_calls_of_the_host_is_refused_but_for_cached(tmp_path, file, monkeypatch):
    monkeypatch.setattr(host, "PLATFORMS", ("cuda",))
    with pytest.raises(
        ConfigError, match="teacher runs on the host: a program on cpu cannot call functions on the host"
    ):
        train.train(taught_by(model=f"onnx:{file[0]}"), tmp_path / "run")


@pytest.mark.extra("onnx", "onnxruntime")
def test_a_batch_split_over_devices_calls_the_host_from_each(file, tmp_path):
    """Against a run on one device, in a process that may be stopped where they wait for each other."""
    program = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        import conftest
        import test_functions as run
        config = run.taught_by(model="onnx:{file[0]}", steps=2)
        config.parallel.devices = 4
        run.train.train(config, "{tmp_path / "four"}")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run(command, check=True, timeout=180, stdout=subprocess.DEVNULL)
    train.train(taught_by(model=f"onnx:{file[0]}", steps=2), tmp_path / "one")
    same(student(tmp_path / "four"), student(tmp_path / "one"), atol=1e-5)


@pytest.mark.extra("onnx", "onnxruntime")
def test_a_failure_in_the_step_ends_the_run_with_its_reason(file, tmp_path, monkeypatch):
    run, made = host.HostCall.__call__, []

    def fails_later(self, *arrays):
        made.append(len(arrays[0]))
        if len(arrays[0]) == 8 and made.count(8) > 1:  # in a step
            self._function = lambda *_: (_ for _ in ()).throw(OSError("gone"))
        return run(self, *arrays)

    monkeypatch.setattr(host.HostCall, "__call__", fails_later)
    with pytest.raises(ConfigError, match=r"players.teacher \(.*teacher.onnx\): OSError: gone"):
        train.train(taught_by(model=f"onnx:{file[0]}", steps=4), tmp_path / "run")


def test_a_backend_that_cannot_call_the_host_takes_a_function_through_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "PLATFORMS", ())
    summary = train.train(taught_by(model="functions.neighbours", outputs="probabilities", cached=True), tmp_path)
    assert of(summary)["players"]["teacher"]["accuracy"]["mean"] > 0.9


@pytest.mark.extra("torch", "torchax", "safetensors")
def test_a_pytorch_module_takes_its_weights_from_a_file(tmp_path):
    """Wrapped for its own normalisation, too; in bfloat16 it still runs."""
    import torch
    from safetensors.torch import save_file

    import torch_nets

    other = torch_nets.Small().eval()
    save_file(other.state_dict(), tmp_path / "net.safetensors")
    config = taught_by(model="torch:torch_nets.Small", weights=str(tmp_path / "net.safetensors"), mean=0.5, std=0.25)
    config.parallel.compute = "bfloat16"
    summary = train.train(config, tmp_path / "run")
    assert of(summary)["origins"]["teacher"]["start"] == "checkpoint"
    test = data.load("digits", "test")
    with torch.no_grad():
        images = torch.tensor((np.asarray(test.image, np.float32) / 255 - 0.5) / 0.25)
        predicted = other(images.permute(0, 3, 1, 2)).argmax(-1).numpy()
    accuracy = of(summary)["players"]["teacher"]["accuracy"]["mean"]
    assert accuracy == pytest.approx(np.mean(predicted == test.label), abs=0.02)
    torch.save(torch_nets.Net().state_dict(), tmp_path / "other.pth")
    config.players.teacher.weights = str(tmp_path / "other.pth")
    with pytest.raises(
        ConfigError, match=r"not the weights of PyTorch module torch:torch_nets.Small: missing: conv.weight"
    ):
        train.train(config, tmp_path / "refused")
