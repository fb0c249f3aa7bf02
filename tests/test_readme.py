"""README's recipes and snippets run as they stand, on small players and few steps."""

import importlib
import json
import pathlib
import re
import sys
import typing

import flax
import jax
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import kdgan
import tiny
from kdgan.run import build, stage_data, train, trained
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FENCE = r"```python\n(.*?)```"
# What makes README's own config small.
SMALLER = {
    r'model="resnet20"': 'model="mlp", model_args=dict(hidden=(8,))',
    r'model="resnet8"': 'model="mlp", model_args=dict(hidden=(4,))',
    r"steps=[\d_]+": "steps=2",
    r'"digits", 200': '"digits", 20',
    r"population.seeds = 3": "population.seeds = 2",
    r"    return config": "    config.evaluate.latency = config.log.tensorboard = config.log.progress = False\n"
    "    config.parallel.keep_compiled = False\n    config.stage.batch_size = 8\n    return config",
}


def recipe(title):
    """The snippets behind a recipe's bold title."""
    (text,) = re.findall(rf"^\*\*{re.escape(title)}.*?(?=^\*\*|^## )", README, flags=re.M | re.S)
    return re.findall(FENCE, text, flags=re.S)


def snippet(containing, text=README):
    (code,) = [code for code in re.findall(FENCE, text, flags=re.S) if containing in code]
    return code


def get_config():
    """README's config, made smaller."""
    code = snippet("def get_config()")
    for pattern, replacement in SMALLER.items():
        code, count = re.subn(pattern, replacement, code)
        assert count, pattern
    names = {}
    exec(code, names)
    return names["get_config"]()


def changed(code, **names):
    """README's config after the lines of a recipe."""
    config = get_config()
    exec(code, {"config": config, "kdgan": kdgan, **names})
    return config


def built(config, data=None):
    """(inputs, programs) of a config: every mistake that a run would refuse is found here."""
    run = resolve(config if data is None else run_inputs.handed_over(config, data))
    inputs = run_inputs.load(run, data)
    return inputs, build.all_programs(run, inputs)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a file of `my_project`, in a folder that is also the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()

    def write(name, code):
        (tmp_path / "my_project").mkdir(exist_ok=True)
        (tmp_path / "my_project" / name).write_text(code)

    return write


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """(workdir, summary) of README's own run."""
    workdir = tmp_path_factory.mktemp("readme") / "mine"
    return workdir, train.train(get_config(), workdir)


def test_readme_is_short_and_so_are_its_recipes():
    assert len(README.splitlines()) <= 360
    for code in re.findall(FENCE, README[README.index("**Your data") : README.index("## A method")], flags=re.S):
        assert len([line for line in code.splitlines() if line.strip()]) <= 6, code


def test_every_snippet_is_run_by_some_test():
    # The generator's: tests/run/test_generators.py; the evaluator's: tests/evaluators/test_evaluators_outside.py.
    assert len(re.findall(FENCE, README, flags=re.S)) == 19
    assert len(re.findall(FENCE, (ROOT / "docs" / "python.md").read_text(), flags=re.S)) == 1


def test_every_link_leads_to_a_file():
    for file in (
        "README.md",
        "CONTRIBUTING.md",
        "configs/README.md",
        "docs/python.md",
        "docs/reference.md",
        "docs/methods.md",
        "docs/evaluator.md",
        "docs/in.md",
        "docs/out.md",
        "docs/robust.md",
        "docs/incremental.md",
    ):
        folder = (ROOT / file).parent
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / file).read_text()):
            assert (folder / link).exists(), f"{file}: {link}"


def test_every_config_is_listed():
    configs = {path.stem for path in (ROOT / "configs").glob("*.py")} - tiny.PARTS_OF_CONFIGS
    text = (ROOT / "configs" / "README.md").read_text()
    assert configs == set(re.findall(r"^\| \[\w+\]\((\w+)\.py\)", text, flags=re.M))


def test_a_run_of_ones_own_trains_a_teacher_and_two_arms(mine):
    _, summary = mine
    assert list(summary["stages"]["distill"]["arms"]) == ["scratch", "kd"]
    assert summary["data"]["sizes"]["validation"] == 20


def test_your_data_in_class_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 3)):
        for name in ("rose", "tulip"):
            for number in range(count):
                path = tmp_path / "flowers" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, 256, (20 + number, 25, 3), dtype=np.uint8)).save(path)
    (code,) = recipe("Your data")
    config = changed(code)
    del config.stages.distill
    summary = train.train(config, tmp_path / "run")
    assert summary["data"]["class_names"] == ["rose", "tulip"]
    predict = kdgan.load(tmp_path / "run")
    assert predict.image_shape == (32, 32, 3)
    for setting in re.findall(r"`(config\.data\.\w+ = \"\S+)`", README):
        exec(setting, {"config": config})
    inputs, _ = built(config)
    assert (len(inputs.train), len(inputs.test)) == (48, 12)  # of the 60 in flowers/train


def fields(rng, count):
    return {
        "images": rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8),
        "features": rng.normal(size=(count, 5)).astype(np.float32),
        "labels": np.arange(count) % 3,
    }


def test_data_of_several_fields_and_a_teacher_that_sees_more(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    rng, names = np.random.default_rng(0), {"kdgan": kdgan}
    (code,) = recipe("A table, a text, tags, numbers")
    makes, setting = code.splitlines()
    sets = {}
    for split, count in (("train", 60), ("test", 30)):
        arrays = fields(rng, count)
        exec(makes, names | arrays, found := {})
        sets[split] = found["train"]
        own = {"image": arrays["images"], "text": arrays["features"], "label": arrays["labels"]}
        np.savez(tmp_path / f"{split}.npz", **own)
    (code,) = recipe("A teacher that sees more")
    config = changed(code)
    config.data.validation = 6
    config.population.seeds = 1
    summary = train.train(stage_data.handed_over(config, sets), tmp_path / "run", data=sets)
    assert "accuracy" in summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]
    taught = trained.find(
        tmp_path / "run", trained.Wanted("player", trained.predicts, one_arm=True), player="teacher", stage="teacher",
        arm=None, member=None, average=True,
    )  # fmt: skip
    assert taught.variables["params"]["dense1"]["kernel"].shape[0] == 8 * 8 * 3 + 5
    exec(setting, {"config": config})
    inputs, programs = built(config)  # the same from the files
    assert (len(inputs.train), len(inputs.test)) == (60, 30)
    assert {program.inputs.get("teacher") for program in programs["distill"]} == {None, ("image", "text")}


def test_a_stage_of_other_data(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 3)):
        for name in map(str, range(10)):
            for number in range(count):
                path = tmp_path / "roses" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    (code,) = recipe("Other data in a stage")
    inputs = stage_data.load(resolve(changed(code)))
    assert len(inputs.of("distill").test) == 30
    assert inputs.of("teacher").config.name == "digits"


@pytest.mark.shared
def test_your_data_by_its_tfds_name(shared_data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path))
    (code,) = recipe("Your data")
    (name,) = re.findall(r'# or "(\w+)"', code)
    config = changed(code)
    config.data.name, config.data.data_dir = name, str(shared_data_dir)
    config.data.train, config.data.test = "train[:200]", "test[:50]"
    inputs, _ = built(config)
    assert (len(inputs.train), inputs.train.image_shape, inputs.num_classes) == (200, (32, 32, 3), 10)


def arrays():
    data = kdgan.data.load("digits", "train").take(range(60))
    return {"images": data.image, "labels": data.label, "test_images": data.image / 255.0, "test_labels": data.label}


def test_arrays_of_ones_own_make_a_table(project, capsys):
    (code,) = recipe("Arrays of your own")
    names = {"kdgan": kdgan, "get_config": get_config, **arrays()}
    exec(code, names)
    accuracy = names["summary"]["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"]
    assert len(accuracy["values"]) == 2
    printed = capsys.readouterr().out
    assert str(accuracy) in printed
    assert "2 seeds" in printed
    assert pathlib.Path("runs/arrays/report.html").exists()


@pytest.mark.extra("jax2onnx", "onnxruntime")
def test_ten_lines_compare_a_teacher_and_its_student_and_export_it(project, capsys):
    net = MyNet()
    variables = net.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
    code = snippet("kdgan.compare(").replace(
        '"resnet8"', 'kdgan.models.MLP(hidden=(4,)), fields={"evaluate.latency": False}'
    )
    code = code.replace("seeds=5", "seeds=2").replace("steps=2_000", "steps=2, batch_size=8")
    code = code.replace('"scratch", "kd", "kdgan"', '"scratch", "kd"')
    exec(code, {"kdgan": kdgan, "teacher": (net, variables), **arrays()})
    assert "student · kd" in capsys.readouterr().out
    session = importlib.import_module("onnxruntime").InferenceSession("student.onnx")
    (outputs,) = session.run(None, {session.get_inputs()[0].name: arrays()["images"][:3]})
    np.testing.assert_allclose(outputs.sum(-1), 1, atol=1e-5)  # probabilities of uint8 images


def test_your_teacher_from_another_run(mine, project):
    workdir, summary = mine
    pathlib.Path("runs").mkdir()
    pathlib.Path("runs/large").symlink_to(workdir)
    (code,) = recipe("Your teacher, from another run")
    config = changed(code.replace('model="resnet56"', 'model="mlp", model_args=dict(hidden=(8,))'))
    del config.stages.distill.arms.scratch
    taught = train.train(config, "runs/taught")["stages"]["distill"]["arms"]["kd"]["players"]["teacher"]
    there = summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]
    assert taught["nll"]["values"][0] == there["nll"]["values"][0]


class MyNet(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(10)(images.reshape(len(images), -1))


def test_your_teacher_from_a_file_of_weights(project):
    """A Flax module of one's own and its msgpack in place of README's ResNet and .pth."""
    test = kdgan.data.load("digits", "test")
    net = MyNet()
    variables = net.init(jax.random.key(0), test.image[:1] / 255.0)
    pathlib.Path("teacher.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    (code,) = recipe("Your teacher, a file of weights")
    code = code.replace('"resnet20", model_args=dict(shortcut="A")', '"test_readme.MyNet"')
    code = code.replace("resnet20.pth", "teacher.msgpack")
    code = code.replace("(0.485, 0.456, 0.406)", "0.4").replace("(0.229, 0.224, 0.225)", "0.2")
    config = changed(code)
    del config.stages.distill.arms.scratch
    players = train.train(config, "run")["stages"]["distill"]["arms"]["kd"]["players"]
    accuracy = (np.argmax(net.apply(variables, (test.image / 255.0 - 0.4) / 0.2), -1) == test.label).mean()
    np.testing.assert_allclose(players["teacher"]["accuracy"]["values"], accuracy, atol=1e-6)
    assert "agreement" in players["student"]


class Classifier:
    """Stands for one of scikit-learn; it notes how many images it is called with."""

    calls: typing.ClassVar[list[int]] = []

    def predict_proba(self, rows):
        assert type(rows) is np.ndarray
        self.calls.append(len(rows))
        weights = np.exp(rows[:, 20:30])
        return weights / weights.sum(-1, keepdims=True)


def test_your_teacher_as_any_function_is_called_once_for_each_image(project):
    lines, function = recipe("Your teacher, in PyTorch or ONNX, or any function")
    project("models.py", "import kdgan\nfrom test_readme import Classifier\nclassifier = Classifier()\n" + function)
    assert {line.split("=")[0].strip() for line in lines.splitlines()[:3]} == {"config.players.teacher"}
    config = changed("\n".join(lines.splitlines()[2:]))  # of the three teachers the last one
    config.data.labelled = 40
    del config.stages.distill.arms.scratch
    importlib.import_module("my_project.models")
    calls = sys.modules["test_readme"].Classifier.calls
    calls.clear()
    summary = train.train(config, "run")
    assert "teacher" in summary["stages"]["distill"]["arms"]["kd"]["players"]
    assert 8 not in calls  # the batch size: no step calls it; a table of the training images does, and evaluations


def test_your_classes_out_of_many():
    (code,) = recipe("Your classes")
    config = changed(code)
    config.data.validation = 0
    data = kdgan.data.from_arrays(np.zeros((30, 4, 4, 1), np.uint8), np.arange(30) % 3)
    _, programs = built(config, {"train": data, "test": data})
    program = programs["distill"][-1]
    assert program.inspection.outputs["teacher"].shape == (8, 3)
    module = program.local_modules["teacher"]
    images = jax.random.uniform(jax.random.key(1), (2, 4, 4, 1))
    variables = module.init(jax.random.key(0), images)
    whole = module.module.apply(variables, images)
    assert whole.shape == (2, 1000)
    np.testing.assert_array_equal(module.apply(variables, images), whole[:, [985, 301, 27]])


def test_a_grid_of_nine_arms_is_one_table(tmp_path):
    (code,) = recipe("A grid")
    config = changed(code)
    config.population.seeds, config.stages.distill.steps, config.data.labelled = 1, 1, 40
    train.train(config, tmp_path)
    arms = json.loads((tmp_path / "summary.json").read_text())["stages"]["distill"]["arms"]
    assert list(arms) == [f"kd{percent}_T{T}" for percent in (10, 50, 90) for T in (1, 2, 4)]
    assert config.stages.distill.arms.kd90_T2.lambdas.student.to_dict() == {"ce": pytest.approx(0.1), "kd": 0.9}
    table = kdgan.report.text(tmp_path)
    assert all(re.search(rf"student · {arm}\b", table) for arm in arms)


def test_feature_hints_by_a_loss_of_ones_own(project):
    method, lines = recipe("Feature hints")
    project("methods.py", "import kdgan\n" + method)
    config = changed(lines)
    for name, features in (("teacher", (3, 5)), ("student", (2, 4))):
        config.players[name] = dict(model="cnn", model_args=dict(features=features, dense=4))
    config.data.validation = 0
    config.population.seeds, config.log.every, config.data.labelled = 1, 1, 40
    del config.stages.distill.arms.scratch, config.stages.distill.arms.kd
    train.train(config, "run")
    logged = [json.loads(line) for line in pathlib.Path("run/metrics.jsonl").read_text().splitlines()]
    hints = [line["student/hint"] for line in logged if line.get("arm") == "hints" and line["split"] == "train"]
    assert len(hints) == 2
    assert all(value > 0 for value in hints)


def test_the_student_is_taken_out_and_predicts(mine):
    workdir, summary = mine
    (code,) = recipe("Take the student out")
    test = kdgan.data.load("digits", "test")
    names = {"kdgan": kdgan, "images": test.image}
    exec(code.replace('"runs/mine"', repr(str(workdir))), names)
    measured = summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"]["values"][0]
    assert np.mean([int(name) for name in names["names"]] == test.label) == pytest.approx(measured, abs=1e-6)


def test_the_functional_snippet_trains_a_student(capsys):
    code = snippet("def fit(", (ROOT / "docs" / "python.md").read_text())
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 30
    with jax.numpy_rank_promotion("raise"):
        exec(compile(code, "python.md", "exec"), {})
    accuracy = float(re.search(r"accuracy of the student: ([\d.]+)", capsys.readouterr().out)[1])
    assert accuracy > 0.8  # chance is 0.1


def test_a_method_from_outside_is_named_by_its_dotted_path(project):
    project("methods.py", snippet("def trusting("))
    config = changed(snippet("arms.trusting"))
    config.population.seeds = 1
    del config.stages.distill.arms.scratch, config.stages.distill.arms.kd
    summary = train.train(config, "run")
    assert "student" in summary["stages"]["distill"]["arms"]["trusting"]["players"]
