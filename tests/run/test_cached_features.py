"""Cached features in runs: the numbers of the uncached run, on disk, resumed and shared; their sizes; what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import players as small
import tiny
from configs import common
from kdgan import methods
from kdgan.game import Method, Move
from kdgan.losses.logits import cross_entropy
from kdgan.run import batches as run_batches
from kdgan.run import build, checkpoint, costs, explain, teacher_outputs, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

STEPS = (
    6  # of 8 out of 40 labelled examples, the second of their epochs is begun; of 4 out of 1,237 unlabelled: the first
)
IMAGES = 2 * 40 + 1237
AFFINE = {"affine": {"rotate": 20.0, "shift": 0.1}, "flip": {}}


def hinted(paths=("dense1", "head"), reads=False):
    """A student's hidden units follow the teacher's, on all images, and its outputs the teacher's head.

    Where it `reads` a parameter of the teacher, the terms that compare outputs are weighed by that.
    """

    def terms(players, batch, key):
        outputs, mine = players.student(batch["all"]["image"], features=("dense1",))
        wanted, theirs = players.teacher(batch["all"]["image"], features=paths)
        weight = jnp.mean(players.teacher.params["head"]["kernel"] ** 2) if reads else 1.0
        total = sum(theirs[path].mean(-1) for path in paths)
        ce = cross_entropy(outputs[: len(batch["image"])], batch["label"])
        mimic = weight * ((outputs - wanted) ** 2).mean(-1)
        return {"ce": ce, "hint": (mine["dense1"].sum(-1) - total) ** 2, "mimic": mimic}

    return Method(Move("student", terms))


@pytest.fixture(autouse=True)
def _by_name(monkeypatch):
    monkeypatch.setitem(methods.BY_NAME, "hinted", hinted)


def config(*, cached=("teacher",), memory_mb=4096, seeds=1, arms=None, **stage):
    """Two programs: one that asks for two features and reads a parameter, and one that asks for a feature of them."""
    lambdas = dict(student=dict(ce=1.0, hint=0.1, mimic=0.1))
    of = lambda *paths, **read: dict(method=dict(name="hinted", paths=paths, **read), lambdas=lambdas)
    made = tiny.config(seeds=seeds, arms=arms or common.named(both=of("dense1", "head", reads=True), one=of("dense1")))
    made.data.unlabelled_batch_size, made.data.memory_mb = 4, memory_mb
    made.evaluate.every, made.log.every = 6, 2
    with made.unlocked(), made.ignore_type():
        made.stages.distill.update(dict(steps=STEPS, augment=AFFINE, views=2, cached=cached) | stage)
    return made


def last_state(workdir):
    return checkpoint.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree


@pytest.fixture(scope="module")
def uncached(tmp_path_factory):
    """(workdir, summary) of the run whose teacher runs in every step, on the same views."""
    workdir = tmp_path_factory.mktemp("uncached")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.BY_NAME, "hinted", hinted)
        return workdir, train.train(config(cached=()), workdir)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cached")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.BY_NAME, "hinted", hinted)
        return workdir, train.train(config(), workdir)


def test_a_run_with_cached_features_is_the_one_without(uncached, cached):
    assert small.largest_difference(last_state(uncached[0]), last_state(cached[0])) < 1e-5
    for arm in ("both", "one"):
        expected, found = (summary["stages"]["distill"]["arms"][arm] for _, summary in (uncached, cached))
        assert found["players"]["student"]["agreement"] == expected["players"]["student"]["agreement"]
        assert found["train_flops"] != expected["train_flops"]  # the teacher once for each image, not at each step


def test_over_devices_the_numbers_are_those_of_one(uncached, tmp_path):
    changed = config()
    changed.parallel.update(devices=4, steps_per_call=2, members="vmap")
    train.train(changed, tmp_path)
    assert small.largest_difference(last_state(uncached[0]), last_state(tmp_path)) < 1e-5


def test_on_disk_each_path_has_a_file_that_programs_share_and_a_resumed_run_is_bitwise_the_same(cached, tmp_path):
    tiny.train_until(config(memory_mb=0), tmp_path, "distill", 3)
    train.train(config(memory_mb=0), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, last_state(tmp_path), last_state(cached[0]))
    files = [np.load(file) for file in (tmp_path / "cached").iterdir()]
    assert sorted(file.shape for file in files) == [(IMAGES, 8), (IMAGES, 10), (IMAGES, 10)]
    assert {file.dtype for file in files} == {np.dtype(np.float32)}


def parts(config):
    run = resolve(config)
    inputs = run_inputs.load(run)
    return run, inputs, build.all_programs(run, inputs)["distill"]


def teacher(program, seed=5):
    variables = program.local_modules["teacher"].init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))
    return {"teacher": {"params": variables["params"], "model_state": {}}}


def test_what_a_batch_carries_are_the_features_of_its_very_images(tmp_path):
    run, inputs, (program, _) = parts(config())
    variables = teacher(program)
    tables = teacher_outputs.Tables(run, inputs, tmp_path).of(program, {0: variables})[0]
    module, prepare = program.local_modules["teacher"], jax.jit(program.prepare)
    drawn = run_batches.batches(
        inputs, seed=0, stage=1, batch_size=8, start=0, steps=3, views=program.views, cached=tables
    )
    for raw in drawn:
        batch = prepare(raw, inputs.device_arrays())
        for images in (batch, batch["unlabelled"]):
            own = {"params": variables["teacher"]["params"]}
            output, found = module.apply(own, images["image"], capture_intermediates=True)
            np.testing.assert_allclose(images["cached"]["teacher"], output, atol=1e-5)
            assert list(images["cached_features"]["teacher"]) == ["dense1", "head"]
            for path, feature in images["cached_features"]["teacher"].items():
                (expected,) = found["intermediates"][path]["__call__"]
                np.testing.assert_allclose(feature, expected, atol=1e-5)
    shapes = jax.tree.map(lambda leaf: leaf.shape, program.step_example)
    assert shapes["cached_features"] == {"teacher": {"dense1": (8, 8), "head": (8, 10)}}
    assert shapes["unlabelled"]["cached_features"] == {"teacher": {"dense1": (4, 8), "head": (4, 10)}}


def test_programs_share_the_arrays_of_a_path_and_only_what_is_absent_is_computed(tmp_path, monkeypatch):
    run, inputs, (both, one) = parts(config())
    made = teacher_outputs.Tables(run, inputs, tmp_path)
    whole = made.of(both, {0: teacher(both)})[0]["teacher"]
    monkeypatch.setattr(teacher_outputs, "forward", None)  # nothing is computed
    shared = made.of(one, {0: teacher(one)})[0]["teacher"]
    assert shared.outputs is whole.outputs
    assert shared.features["dense1"].outputs is whole.features["dense1"].outputs
    assert list(shared.features) == ["dense1"]


def test_what_any_program_of_a_stage_asks_for_is_made_in_one_pass(tmp_path, monkeypatch):
    run, inputs, programs = parts(config())
    both, one = programs
    made = teacher_outputs.Tables(run, inputs, tmp_path, programs=programs)
    first = made.of(one, {0: teacher(one)})[0]["teacher"]
    assert list(first.features) == ["dense1"]  # of which alone its batches hold rows
    monkeypatch.setattr(teacher_outputs, "forward", None)  # nothing more is computed
    whole = made.of(both, {0: teacher(both)})[0]["teacher"]
    assert list(whole.features) == ["dense1", "head"]
    assert whole.outputs is first.outputs


@pytest.mark.parametrize("field", ["views", "augment"])
def test_what_is_asked_for_on_other_views_is_not_made_with_it(field):
    both, one = parts(config())[2]
    assert list(teacher_outputs.shapes_of(one, "teacher", (both, one))) == ["", "dense1", "head"]
    other = dataclasses.replace(both, **{field: {"views": 3, "augment": {"flip": {}}}[field]})
    assert list(teacher_outputs.shapes_of(one, "teacher", (other, one))) == ["", "dense1"]


def test_a_damaged_file_alone_is_written_again(tmp_path):
    run, inputs, (both, _) = parts(config(memory_mb=0))
    make = lambda: teacher_outputs.Tables(run, inputs, tmp_path).of(both, {0: teacher(both)})[0]["teacher"]
    first = {path: np.array(table.outputs) for path, table in make().features.items()}
    times = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (hidden,) = [file for file in times if np.load(file).shape == (IMAGES, 8)]
    half = hidden.read_bytes()[:300]
    hidden.unlink()
    hidden.write_bytes(half)
    again = make()
    for path, expected in first.items():
        np.testing.assert_array_equal(again.features[path].outputs, expected)
    assert all(file.stat().st_mtime_ns == time for file, time in times.items() if file != hidden)


def test_an_explanation_names_the_features_and_counts_their_bytes():
    run, inputs, programs = parts(config())
    text = explain.explain(run, inputs, build.all_programs(run, inputs))
    # 1,317 images of 10 + 8 + 10 numbers of 4 bytes, for both arms. 1,210 operations each, whatever is kept.
    row = "1 table of 1,317 images with the features "
    assert row + "dense1, head, 144 KiB in memory, made by 1.59 MFLOP before the first step\n" in text
    assert text.count(row) == 1
    without = parts(config(cached=()))[2][0]
    frozen = costs.step_cost(run, without).frozen - costs.step_cost(run, programs[1]).frozen
    assert frozen == 4 * (64 * 8 + 8 + 8 * 10 + 10)  # the teacher's parameters are not there


def asks(path="dense1", sign=1):
    """A method that asks its teacher for a feature of the batch's images, or of others."""

    def terms(players, batch, key):
        image = batch["image"] if sign > 0 else -batch["image"]
        return {"t": players.teacher(image, features=(path,))[1][path].sum() + players.student(batch["image"]).sum()}

    return lambda: Method(Move("student", terms))


def asking(monkeypatch, method, **change):
    monkeypatch.setitem(methods.BY_NAME, "asks", method)
    arm = dict(method=dict(name="asks"), lambdas=dict(student=dict(t=1.0)))
    return config(**change, arms=common.named(odd=arm, again=arm))


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        (asks(sign=-1), {}, r"odd.cached = \('teacher',\): players.teacher\(an array \(8, 8, 8, 1\), features="),
        (
            asks(), dict(views=None, augment={"flip": {}}),
            r"odd.cached = \('teacher',\): the method asks teacher for the features dense1, and of whole images its outputs"
            r" alone are kept, .*; set config.stages.distill.arms.odd.views to the number",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_cached_is_one_line_before_anything_compiles(method, change, message, monkeypatch):
    changed = asking(monkeypatch, method, **change)
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message) as error:
        parts(changed)
    assert "\n" not in str(error.value)


class Positions(small.nn.Module):
    """Vectors for places, [3, 10], whatever the batch is."""

    @small.nn.compact
    def __call__(self):
        return self.param("vectors", small.nn.initializers.normal(), (3, 10))


class Placed(small.nn.Module):
    num_classes: int = 10

    @small.nn.compact
    def __call__(self, image):
        hidden = small.nn.Dense(10, name="dense1")(image.reshape(len(image), -1))
        return hidden + Positions(name="positions")().sum(0)[None]


def test_a_feature_that_is_not_of_examples_is_refused(monkeypatch):
    changed = asking(monkeypatch, asks("positions"))
    changed.players = common.named(teacher=dict(model=f"{__name__}.Placed"), student=dict(model="mlp"))
    with pytest.raises(
        ConfigError, match=r"the feature 'positions' of teacher is an array \(3, 10\); arrays \[b, ...\]"
    ):
        parts(changed)


def test_a_table_gives_features_of_the_same_places():
    places = np.array([1, 4, 9])
    table = teacher_outputs.Table(places, np.array([[1.0], [4.0], [9.0]], np.float32))
    whole = dataclasses.replace(table, features={"a": teacher_outputs.Table(places, -table.outputs)})
    np.testing.assert_array_equal(whole(np.array([9, 1])), [[9.0], [1.0]])
    np.testing.assert_array_equal(whole.features["a"](np.array([9, 1])), [[-9.0], [-1.0]])
