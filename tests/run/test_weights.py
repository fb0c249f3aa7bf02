"""Players whose parameters come from a file: checked before anything compiles, recorded, copied, and not needed again."""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

import tiny
import torch_zip
from configs import common
from kdgan import data, models
from kdgan.run import build, checkpoint, command_line, explain, extractors, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve
from same import assert_same

KD = dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9)))


def state_dict(seed=0, widths=(64, 8, 10)):
    rng = np.random.default_rng(seed)
    state = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        state[f"net.{2 * i}.weight"] = rng.normal(size=(outputs, inputs)).astype(np.float32)
        state[f"net.{2 * i}.bias"] = rng.normal(size=outputs).astype(np.float32)
    return state


def config(path, *, seeds=1, steps=4, player="teacher"):
    """A student of a teacher whose parameters lie in a file; or a player that goes on from a file."""
    config = tiny.config(steps=steps, seeds=seeds, arms=common.named(kd=KD))
    teacher = dict(config.stages.teacher)
    config.stages = common.named(distill=dict(steps=steps, arms=common.named(kd=KD)))
    if player == "student":
        config.stages = common.named(tune=dict(teacher, method=dict(name="supervised", player="teacher")))
    with config.unlocked(), config.ignore_type():
        config.players.teacher.weights = path if isinstance(path, dict) else str(path)
    return config


def built(config):
    run = resolve(config)
    inputs = run_inputs.load(run)
    return run, inputs, build.all_programs(run, inputs)


@pytest.fixture
def file(tmp_path):
    return torch_zip.state_dict(tmp_path / "teacher.pth", state_dict())


def test_a_frozen_teacher_is_what_its_file_holds_and_one_for_all_seeds(file):
    text = explain.explain(*built(config(file, seeds=2)))
    assert f"frozen (from {file}, one teacher for all seeds; PyTorch .pth: 2 layers, 2 by shape)" in text
    _, _, programs = built(config(file, seeds=2))
    assert programs["distill"][0].shared == ("teacher",)
    params = programs["distill"][0].sources["kd"]["teacher"].of(1)["params"]
    np.testing.assert_array_equal(params["dense1"]["kernel"], state_dict()["net.0.weight"].T)
    np.testing.assert_array_equal(params["head"]["bias"], state_dict()["net.2.bias"])


def test_a_run_records_where_its_teacher_came_from_resumes_bitwise_and_needs_the_file_no_more(file, tmp_path):
    whole = train.train(config(file), tmp_path / "whole")
    origin = whole["stages"]["distill"]["arms"]["kd"]["origins"]["teacher"]
    assert (origin["start"], origin["checkpoint"], origin["members"]) == ("checkpoint", str(file), [None])
    recorded = json.loads((tmp_path / "whole" / "workdir.json").read_text())["inputs"]["players"]
    assert [(each["path"], each["members"][""]) for each in recorded] == [(str(file), origin["digests"][0])]
    tiny.train_until(config(file), tmp_path / "cut", "distill", 2)
    # Another teacher under the same name is noticed; the same one, saved in another form, is not.
    content = file.read_bytes()
    torch_zip.state_dict(file, state_dict(seed=1))
    with pytest.raises(ConfigError, match=r"teacher of stage distill: .* holds another one than when the run began"):
        train.train(config(file), tmp_path / "cut")
    np.savez(tmp_path / "same.npz", **state_dict())
    shutil.move(tmp_path / "same.npz", file)
    train.train(config(file), tmp_path / "cut")
    file.write_bytes(content)
    file.unlink()
    train.train(config(file), tmp_path / "cut")  # measured anew, from its copy
    last = lambda name: checkpoint.read(tmp_path / name / "checkpoints" / "distill").tree
    assert_same(last("whole"), last("cut"))


def test_a_player_goes_on_learning_from_its_file(file, tmp_path):
    run, _, programs = built(config(file, player="student"))
    (program,) = programs["tune"]
    assert program.method.trained == ("teacher",)
    train.train(config(file, player="student", steps=1), tmp_path / "run")
    after = checkpoint.read(tmp_path / "run/checkpoints/tune").tree["main"]["state"]["params"]["teacher"]
    kernel = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(leaf.shape[-2:]), after["dense1"]["kernel"])
    moved = np.abs(kernel - state_dict()["net.0.weight"].T)
    assert 0 < moved.max() < 3
    assert moved.mean() < 0.1
    assert run.players["teacher"].weights == str(file)


def test_a_start_that_a_stage_names_counts_before_the_players_weights(file, tmp_path):
    other = torch_zip.state_dict(tmp_path / "other.pth", state_dict(seed=1))
    own = config(file)
    with own.unlocked():
        own.stages.distill.start = dict(teacher=dict(checkpoint=str(other)))
    _, _, programs = built(own)
    assert programs["distill"][0].sources["kd"]["teacher"].given == str(other)
    # A stage's own weights of the player do, too.
    own = config(tmp_path / "absent")
    with own.unlocked():
        own.stages.distill.players = dict(teacher=dict(weights=str(other)))
    assert built(own)[2]["distill"][0].sources["kd"]["teacher"].given == str(other)
    # Another model has none of the first one's.
    with own.unlocked():
        own.stages.distill.players = dict(teacher=dict(model="cnn"))
    with pytest.raises(ConfigError, match="teacher is frozen in this stage and starts nowhere"):
        built(own)


def test_a_player_that_a_stage_does_not_call_may_have_weights(file):
    own = config(file)
    with own.unlocked():
        own.stages.distill = dict(steps=1, lambdas=dict(student=dict(ce=1.0)))
    assert "teacher" not in built(own)[2]["distill"][0].modules


def test_a_part_of_a_file_is_taken_and_a_network_cut_to_size(tmp_path):
    wide = torch_zip.state_dict(tmp_path / "wide.pth", state_dict(widths=(64, 16, 100)))
    for fields in (dict(skip=("head/*",), transfer=None), dict(transfer="uniform")):
        own = config(wide)
        with own.unlocked():
            own.players.teacher.weights = None
            own.players.teacher.model_args = dict(hidden=(16,) if "skip" in fields else (8,))
            own.stages.distill.start = dict(teacher=dict(checkpoint=str(wide), **fields))
        source = built(own)[2]["distill"][0].sources["kd"]["teacher"]
        assert source.variables["params"]["head"]["kernel"].shape == (16, 100)


@pytest.mark.parametrize(("weights", "message"), [
    ("absent.pth", r"^config\.players\.teacher\.weights = '.*absent\.pth': there is no such file or folder$"),
    ("narrow.pth", r"^config\.players\.teacher\.weights = .*: its layers do not fit MLP: of another shape: dense1 wants"),
    ("classes.pth", r"100 classes there, 10 here"),
    ("words.txt", r"^config\.players\.teacher\.weights = .*it is none of the files that are read"),
    (dict(names={"dense1": "net.0"}), r"^config\.players\.teacher\.weights = .*path, a file or a folder, is missing$"),
    (dict(path="teacher.pth", name={}), r"^config\.players\.teacher\.weights\.name: no such field; did you mean 'names'"),
    (dict(path="teacher.pth", names={"dense1": 3}), r"^config\.players\.teacher\.weights\.names = "),
    (dict(path="teacher.pth", names={"dense9": "net.0"}), "names: the module has no layer 'dense9'"),
    (dict(path="teacher.pth", member=3), "arm and member are of a run's checkpoints; this is none"),
    (dict(path="teacher.pth", member="some"), r"weights\.member = 'some': accepted are 'each'"),
    (3, r"^config\.players\.teacher\.weights = 3 \(int\): expected str or Mapping or None$"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused_by_its_field_before_anything_compiles(weights, message, tmp_path, monkeypatch):
    torch_zip.state_dict(tmp_path / "teacher.pth", state_dict())
    torch_zip.state_dict(tmp_path / "narrow.pth", state_dict(widths=(64, 7, 10)))
    torch_zip.state_dict(tmp_path / "classes.pth", state_dict(widths=(64, 8, 100)))
    (tmp_path / "words.txt").write_text("words\n")
    if isinstance(weights, str):
        weights = str(tmp_path / weights)
    elif isinstance(weights, dict) and "path" in weights:
        weights = {**weights, "path": str(tmp_path / weights["path"])}
    own = config(tmp_path / "teacher.pth")
    with own.unlocked(), own.ignore_type():
        own.players.teacher.weights = weights
    monkeypatch.setattr(build, "make_step", None)
    with pytest.raises(ConfigError, match=message) as error:
        built(own)
    assert "\n" not in str(error.value)


def test_layers_are_named_and_the_home_folder_is_known_and_the_command_line_gives_both(file, monkeypatch):
    monkeypatch.setenv("HOME", str(file.parent))
    names = {"dense1": "net.0"}
    own = config(dict(path="~/teacher.pth", names=names))
    source = built(own)[2]["distill"][0].sources["kd"]["teacher"]
    assert source.given == str(file)
    assert "1 as given" in source.said
    for value in ("~/teacher.pth", str(file)):
        own = config(file)
        with own.unlocked():
            own.players.teacher.weights = None
        command_line.open_field(own, "players.teacher.weights")
        own.players.teacher.weights = value
        assert built(own)[2]["distill"][0].sources["kd"]["teacher"].given == str(file)


def test_an_extractor_may_lie_in_a_file(file):
    own = config(file)
    own.evaluate.extractor.checkpoint, own.evaluate.extractor.player = str(file), "teacher"
    run = resolve(own)
    _, source = extractors.from_checkpoint(run, run_inputs.load(run))
    np.testing.assert_array_equal(source.of(0)["params"]["head"]["bias"], state_dict()["net.2.bias"])
    own.evaluate.extractor.checkpoint = str(file.with_name("absent.pth"))
    with pytest.raises(ConfigError, match=r"^config\.evaluate\.extractor\.checkpoint = .*absent"):
        extractors.from_checkpoint(resolve(own), run_inputs.load(run))


def test_an_extractor_from_a_file_looks_at_images_of_several_sizes_too(tmp_path):
    critic = models.build("resnet8", num_classes=3)
    shapes = jax.eval_shape(critic.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    file = tmp_path / "critic.msgpack"
    file.write_bytes(serialization.to_bytes(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)))
    own = tiny.config(seeds=1, steps=1, validation=0)
    judge = dict(name="restorer", perceptual=dict(layers=("stage1",)))
    own.players = common.named(
        student=dict(model="unshuffle", model_args=dict(width=4, depth=2), evaluate=judge),
        critic=dict(model="resnet8", model_args=dict(num_classes=3)),
    )
    restore = dict(method=dict(name="restore"), lambdas=dict(student=dict(pixel=1.0)), steps=1, batch_size=2)
    own.stages = common.named(restore=restore)
    own.data.labelled, own.data.degrade = None, common.named(gaussian=dict(sigma=25.0))
    own.data.augment = common.named(crop=dict(size=8))
    own.evaluate.extractor = dict(checkpoint=str(file), player="critic", layer="embedding")
    sides = ((16, 12), (12, 20))
    images = [np.full((*side, 1), 99, np.uint8) for side in sides]
    data_sets = {split: data.from_fields({"image": images}) for split in ("train", "test")}
    run = resolve(run_inputs.handed_over(own, data_sets))
    inputs = run_inputs.load(run, data_sets)
    assert list(build.all_programs(run, inputs)) == ["restore"]


def test_a_workdir_serves_as_weights_as_it_does_as_a_start(tmp_path):
    taught = tiny.config(steps=2, seeds=2)
    taught.stages = common.named(teacher=dict(taught.stages.teacher))
    train.train(taught, tmp_path / "taught")
    _, _, programs = built(config(tmp_path / "taught", seeds=2))
    assert programs["distill"][0].sources["kd"]["teacher"].seeds == (0, 1)
    _, _, programs = built(config(dict(path=str(tmp_path / "taught"), member=1), seeds=2))
    assert set(programs["distill"][0].sources["kd"]["teacher"].taken.values()) == {1}
    with pytest.raises(
        ConfigError,
        match=r"teacher\.weights: .* has seed 2: set config\.players\.teacher\.weights = dict\(path='.*', member=0\)",
    ):
        built(config(tmp_path / "taught", seeds=3))
    with pytest.raises(
        ConfigError, match=r"config\.players\.teacher\.weights = .*names is of a file of weights of PyTorch"
    ):
        built(config(dict(path=str(tmp_path / "taught"), names={"a": "b"})))
