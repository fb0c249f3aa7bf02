"""An evaluator, and a player of images that become images, from outside of the package: docs/evaluator.md in a whole run."""

import importlib
import json
import pathlib
import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import kdgan
import tiny
from configs import common
from kdgan import report
from kdgan.run import checkpoint, train
from kdgan.run.config import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
PSNR = re.search(
    r"```python\n(import jax.numpy as jnp\nfrom kdgan.evaluators.*?)```",
    (ROOT / "docs" / "evaluator.md").read_text(),
    re.S,
)[1]
NAMED = re.search(
    r"```python\n(config.players.student.evaluate = .*?)```", (ROOT / "docs" / "evaluator.md").read_text(), re.S
)[1]
REST = '''
from flax import linen as nn
from kdgan.game import Method, Move


class Denoiser(nn.Module):
    width: int = 2

    @nn.compact
    def __call__(self, image):
        hidden = nn.relu(nn.Conv(self.width, (3, 3))(image))
        return image - nn.Conv(1, (3, 3), kernel_init=nn.initializers.normal(0.01))(hidden)


def restore():
    def student(players, batch, key):
        return {"mse": jnp.mean((players.student(batch["image"]) - batch["target"]) ** 2, (1, 2, 3))}

    return Method(Move("student", student))


def worst_class():
    """The accuracy of the class that is hit least often."""

    def sums(apply, variables, batch, key, others):
        right = (apply(variables, batch).argmax(-1) == batch["label"]) & batch["mask"]
        of_class = (batch["label"][:, None] == jnp.arange(10)[None, :]) & batch["mask"][:, None]
        return {"right": (right[:, None] & of_class).sum(0), "all": of_class.sum(0)}

    def summarise(sums):
        return {"worst_class": (sums["right"] / sums["all"]).min()}

    return Evaluator(Measure("worst_class", "worst class", unit="%", scale=100.0, digits=1), sums=sums, summarise=summarise)


def twice():
    return Evaluator(
        Measure("accuracy"), sums=lambda *given: {"n": 1}, summarise=lambda sums: {"accuracy": 0.0}
    )


def misnamed():
    return Evaluator(
        Measure("hits"), sums=lambda a, v, batch, key, others: {"n": batch["mask"].sum()}, summarise=lambda s: {"hit": 1.0}
    )


def nothing():
    return Evaluator(sums=lambda *given: {"n": 1}, summarise=lambda sums: {})
'''  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package `outside` with that evaluator and more; the working directory is its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "outside"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "evaluators.py").write_text(PSNR + REST)
    importlib.invalidate_caches()
    return tmp_path


def images(rng, count):
    target = rng.integers(60, 190, (count, 8, 8, 1))
    image = np.clip(target + rng.normal(0, 20, target.shape), 0, 255)
    return kdgan.data.from_fields({"image": image.astype(np.uint8), "target": target.astype(np.uint8)}, name="noisy")


def restoring():
    config = tiny.config(steps=4, seeds=2)
    config.data.labelled, config.data.validation = None, 15
    config.players = common.named(student=dict(model="outside.evaluators.Denoiser"))
    config.stages = common.named(
        main=dict(
            steps=4,
            method=dict(name="outside.evaluators.restore"),
            arms=common.named(
                gentle=dict(lambdas=dict(student=dict(mse=1.0))), strong=dict(lambdas=dict(student=dict(mse=5.0)))
            ),
        )
    )
    exec(NAMED.replace("my_project", "outside"), {"config": config})
    config.log.tensorboard = True
    return config


@pytest.fixture
def restored(project):
    rng = np.random.default_rng(0)
    data = {"train": images(rng, 60), "test": images(rng, 35)}
    config = restoring()
    config.evaluate.batch_size = 20  # the last batch is filled up
    summary = train.train(config, project / "run", data=data)
    return project / "run", summary, data


def test_psnr_of_an_image_to_image_student_is_measured_kept_compared_and_shown(restored, monkeypatch):
    workdir, summary, data = restored
    arms = summary["stages"]["main"]["arms"]
    state = checkpoint.Checkpoints(workdir / "checkpoints" / "main").restore_latest().tree
    for arm in ("gentle", "strong"):  # by hand, from the saved parameters
        record = arms[arm]["players"]["student"]["psnr"]
        for seed in (0, 1):
            params = state[arm]["state"]["params"]["student"]
            module = sys.modules["outside.evaluators"].Denoiser()
            own = {name: {k: v[seed] for k, v in layer.items()} for name, layer in params.items()}
            image, target = (jnp.asarray(data["test"].arrays[name] / np.float32(255)) for name in ("image", "target"))
            error = np.asarray(module.apply({"params": own}, image) - target, np.float64)
            np.testing.assert_allclose(
                record["values"][seed], (-10 * np.log10((error**2).mean((1, 2, 3)))).mean(), rtol=1e-5
            )
        # the best by validation is that of the highest PSNR of all evaluations
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        told = [x["student/psnr"] for x in lines if (x["arm"], x["seed"], x["split"]) == (arm, 0, "validation")]
        kept = state[arm]["best"]["student"]["value"][0]
        np.testing.assert_allclose(kept, max(told), rtol=1e-6)
    assert summary["measures"]["psnr"] == {
        "head": "PSNR", "unit": "dB", "scale": 1.0, "better": "higher", "digits": [2, 1, 3, 2], "bounds": [None, None],
        "note": "", "column": True,
    }  # fmt: skip
    text, markdown = report.text(workdir), report.markdown(workdir)
    assert re.search(r"PSNR +validation", text)
    assert re.search(r"student · gentle +1 +\d+\.\d+ ± +\d+\.\d+ dB", text)
    assert "PSNR − gentle" in text
    assert "PSNR" in markdown
    page = report.write(workdir).read_text()
    assert re.search(r"student · PSNR <span>validation", page)
    assert "dB" in page
    # A report needs nothing of the plug-in.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(workdir.parent)])
    for name in [name for name in sys.modules if name.split(".")[0] == "outside"]:
        monkeypatch.delitem(sys.modules, name)
    assert report.text(workdir) == text
    assert report.write(workdir).read_text() == page
    events = b"".join(path.read_bytes() for path in (workdir / "tensorboard").rglob("events.*"))
    assert b"validation/student/psnr" in events


def test_one_of_ones_own_stands_beside_the_built_in_one(project):
    config = tiny.config(steps=2, seeds=1)
    config.players.student.evaluate = ("classifier", "outside.evaluators.worst_class")
    summary = train.train(config, project / "run")
    player = summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]
    assert list(player)[:3] == ["accuracy", "nll", "ece"]
    with np.load(project / "run" / "evaluation.npz") as arrays:
        right = arrays["prediction/distill/kd/student"][0] == arrays["label"]
        by_class = [right[arrays["label"] == k].mean() for k in range(10)]
    np.testing.assert_allclose(player["worst_class"]["values"], min(by_class), rtol=1e-6)
    elements = summary["stages"]["distill"]["arms"]["kd"]["elements"]["student"]["class_accuracy"]
    np.testing.assert_allclose([of["mean"] for of in elements], by_class, rtol=1e-6)
    assert "worst class" in report.text(project / "run")


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [
        ("outside.evaluators.psnr", r"cannot judge an output of \[10\] an example on data of .*image \[8, 8, 1\].*'target'"),
        (("classifier", "outside.evaluators.twice"), "'accuracy' of 'outside.evaluators.twice' is one of 'classifier', too"),
        ("outside.evaluators.nothing", "takes one or more Measures"),
        ("outside.evaluators.none", "cannot be imported: .*none"),
        ("outside.evaluators.misnamed", "summarise gave 'hit', which is none of the measures hits"),
        (dict(name="classifier", columns=("f2",)), r"'f2' is none of macro_f1, top_5"),
        (dict(name="classifier", colums=()), "takes no 'colums'; did you mean 'columns'"),
        (("classifier", "nothing"), "'nothing' stands alone"),
        (3, "expected str or Mapping or Sequence or None"),
        ("outside.evaluators.Denoiser", "gave a Denoiser; a function that returns kdgan.evaluators.Evaluator"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_before_compilation(project, evaluate, message, monkeypatch):
    config = tiny.config()
    config.players.student = dict(config.players.student, evaluate=evaluate)
    monkeypatch.setattr("jax.jit", None)
    with pytest.raises(ConfigError, match=message) as error:
        train.train(config, project / "run")
    assert "\n" not in str(error.value)
    assert "config.players.student" in str(error.value)
