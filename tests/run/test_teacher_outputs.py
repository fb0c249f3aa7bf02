"""Cached outputs in runs: the numbers of the uncached run whichever way members run, aligned under any order, or refused."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import players as small
import tiny
from configs import common
from kdgan import methods
from kdgan.data import splits
from kdgan.game import Method, Move
from kdgan.run import batches as run_batches
from kdgan.run import build, checkpoint, explain, progress, teacher_outputs, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

STEPS = (
    12  # of 8 out of 40 labelled examples: the third of their epochs is begun; of 4 out of 1,237 unlabelled: the first
)
IMAGES = 3 * 40 + 1237
AFFINE = {"affine": {"rotate": 20.0, "shift": 0.1}, "flip": {}}


def config(*, cached=("teacher",), memory_mb=4096, arms=None, **stage):
    """Soft labels on augmented images, labelled and not, of a teacher that would drop units if it were trained."""
    of = lambda kd: dict(method=dict(name="kd", unlabelled=True), lambdas=dict(student=dict(ce=0.1, kd=kd)))
    config = tiny.config(arms=arms or common.named(much=of(0.9), little=of(0.1)))
    config.data.unlabelled_batch_size, config.data.memory_mb = 4, memory_mb
    config.evaluate.every, config.log.every = 6, 2
    drops = dict(teacher=dict(model_args=dict(dropout=0.5)))  # where it is frozen, and so drops nothing
    with config.unlocked(), config.ignore_type():
        config.stages.distill.update(dict(steps=STEPS, players=drops, augment=AFFINE, views=3, cached=cached) | stage)
    return config


def last_state(workdir):
    return checkpoint.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree


@pytest.fixture(scope="module")
def uncached(tmp_path_factory):
    """(workdir, summary) of the run whose teacher runs in every step, on the same views."""
    workdir = tmp_path_factory.mktemp("uncached")
    return workdir, train.train(config(cached=()), workdir)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cached")
    return workdir, train.train(config(), workdir)


def test_a_cached_run_is_the_uncached_one(uncached, cached):
    assert small.largest_difference(last_state(uncached[0]), last_state(cached[0])) < 1e-5
    for arm in ("much", "little"):
        expected, found = (summary["stages"]["distill"]["arms"][arm]["players"] for _, summary in (uncached, cached))
        assert found.keys() == expected.keys()
        assert found["teacher"] == expected["teacher"]  # measured all the same
        assert found["student"]["agreement"] == expected["student"]["agreement"]


WAYS = {
    "side by side": dict(members="vmap"),
    "one on each device": dict(members="devices"),
    "batches over devices, two steps per call": dict(devices=4, steps_per_call=2, members="vmap"),
    "batches over devices, in turn": dict(devices=4, members="in_turn"),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_of_running_members_gives_the_uncached_numbers(way, uncached, tmp_path):
    changed = config()
    changed.parallel.update(WAYS[way])
    train.train(changed, tmp_path)
    assert small.largest_difference(last_state(uncached[0]), last_state(tmp_path)) < 1e-5
    assert not (tmp_path / "cached").exists()


def test_a_streamed_set_with_its_outputs_on_disk_gives_the_uncached_numbers(uncached, tmp_path):
    train.train(config(memory_mb=0), tmp_path)
    assert small.largest_difference(last_state(uncached[0]), last_state(tmp_path)) < 1e-5
    files = list((tmp_path / "cached").iterdir())
    assert [np.load(file).shape for file in files] == [(IMAGES, 10)] * 2  # a teacher each seed; the arms share them


@pytest.mark.parametrize("memory_mb", [4096, 0])
def test_a_run_stopped_amid_an_epoch_ends_bitwise_as_the_uninterrupted_one(cached, memory_mb, tmp_path):
    tiny.train_until(config(memory_mb=memory_mb), tmp_path, "distill", 7)
    train.train(config(memory_mb=memory_mb), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, last_state(tmp_path), last_state(cached[0]))
    assert (tmp_path / "metrics.jsonl").read_bytes() == (cached[0] / "metrics.jsonl").read_bytes()


def test_training_takes_the_operations_of_the_teacher_once_for_each_image(uncached, cached):
    # 64 -> 8 -> 10: two operations a weight, one a bias, one a relu
    forward = 2 * (64 * 8 + 8 * 10) + (8 + 10) + 8
    of = lambda run: run[1]["stages"]["distill"]["arms"]["much"]["train_flops"]
    saved = of(uncached) - of(cached)
    np.testing.assert_allclose(saved, (STEPS * (8 + 4) - IMAGES) * forward, rtol=0.01)


def parts(config, inputs=None):
    """(run, inputs, first program of the stage that distills) of a config."""
    run = resolve(config)
    inputs = inputs or run_inputs.load(run)
    return run, inputs, build.all_programs(run, inputs)["distill"][0]


def teacher(program, seed):
    variables = program.local_modules["teacher"].init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))
    return {"teacher": {"params": variables["params"], "model_state": {}}}


def permuted(run, inputs, seed):
    """The same training set in another order, divided anew."""
    train = inputs.train.take(np.random.default_rng(seed).permutation(len(inputs.train)))
    partition = lambda seed: splits.partition(train.label, validation=20, labelled=40, seed=seed)
    return dataclasses.replace(inputs, train=train, partitions={seed: partition(seed) for seed in run.seeds})


def misalignment(run, inputs, program, found, variables):
    """The largest difference, over all seeds and steps, of what a batch carries and what the teacher says of its images."""
    apply, prepare = jax.jit(program.local_modules["teacher"].apply), jax.jit(program.prepare)
    worst = 0.0
    for seed in run.seeds:
        batches = run_batches.batches(
            inputs, seed=seed, stage=1, batch_size=8, start=0, steps=STEPS, views=program.views, cached=found[seed]
        )
        for raw in batches:
            batch = prepare(raw, inputs.device_arrays())
            for images in (batch, batch["unlabelled"]):
                expected = apply({"params": variables[seed]["teacher"]["params"]}, images["image"])
                worst = max(worst, float(np.abs(images["cached"]["teacher"] - expected).max()))
    return worst


@pytest.mark.parametrize("memory_mb", [4096, 0])
@pytest.mark.parametrize("order", [None, 1, 2])
def test_what_a_batch_carries_is_what_the_teacher_says_of_its_very_images(order, memory_mb, tmp_path):
    run, first, program = parts(config(memory_mb=memory_mb))
    variables = {seed: teacher(program, seed) for seed in run.seeds}
    make = lambda inputs: teacher_outputs.Tables(run, inputs, tmp_path).of(program, variables)
    inputs = first if order is None else permuted(run, first, order)
    outdated = make(dataclasses.replace(inputs, train=first.train))  # of the first order, where files of it may lie
    found = make(inputs)
    assert misalignment(run, inputs, program, found, variables) < 1e-5
    assert misalignment(run, inputs, program, found, {0: variables[1], 1: variables[0]}) > 0.1  # the measure tells
    assert order is None or misalignment(run, inputs, program, outdated, variables) > 0.1


def test_members_of_equal_players_share_a_table_and_others_have_their_own(tmp_path):
    run, inputs, program = parts(config())
    made = teacher_outputs.Tables(run, inputs, tmp_path)
    shared = made.of(program, {0: teacher(program, 5), 1: teacher(program, 5)})
    assert shared[0]["teacher"] is shared[1]["teacher"]
    union = np.union1d(*(inputs.partitions[seed].train for seed in (0, 1)))
    later = shared[0]["teacher"].places
    np.testing.assert_array_equal(later[later >= len(inputs.train)] % len(inputs.train), np.tile(union, 2))
    own = made.of(program, {0: teacher(program, 5), 1: teacher(program, 6)})
    assert own[0]["teacher"] is not own[1]["teacher"]
    assert made.of(program, {0: teacher(program, 5), 1: teacher(program, 6)})[1]["teacher"] is own[1]["teacher"]


@pytest.mark.parametrize("memory_mb", [4096, 0])
def test_how_far_a_table_is_shows_where_it_takes_long(memory_mb, tmp_path, monkeypatch, capsys):
    run, inputs, program = parts(config(memory_mb=memory_mb))
    make = lambda number: teacher_outputs.Tables(run, inputs, tmp_path, progress.Lines(sys.stderr, unit="outputs")).of(
        program, {0: teacher(program, number)}
    )
    monkeypatch.setattr(teacher_outputs, "SILENT_SECONDS", float("inf"))
    make(5)
    assert not capsys.readouterr().err
    monkeypatch.setattr(teacher_outputs, "SILENT_SECONDS", -1.0)
    total = len(make(6)[0]["teacher"].places)
    assert f"outputs of teacher {total:,}/{total:,} 100%" in capsys.readouterr().err


def test_a_file_is_used_again_for_the_same_outputs_only(tmp_path, monkeypatch):
    run, inputs, program = parts(config(memory_mb=0))
    make = lambda inputs=inputs, program=program, number=5: teacher_outputs.Tables(run, inputs, tmp_path).of(
        program, {0: teacher(program, number)}
    )
    first = np.array(make()[0]["teacher"].outputs)
    (file,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(teacher_outputs, "forward", None)  # nothing is computed
        np.testing.assert_array_equal(make()[0]["teacher"].outputs, first)
    brighter = dataclasses.replace(inputs.train, reader=lambda index: inputs.train.reader(index) // 2)
    make(inputs=dataclasses.replace(inputs, train=brighter))
    make(program=dataclasses.replace(program, augment={"flip": {}}))
    make(number=6)
    assert len(list(tmp_path.iterdir())) == 4
    half = file.read_bytes()[:200]
    file.unlink()
    file.write_bytes(half)
    np.testing.assert_array_equal(make()[0]["teacher"].outputs, first)


def test_a_view_that_was_not_computed_is_no_other_one():
    table = teacher_outputs.Table(np.array([1, 4, 9]), np.array([[1.0], [4.0], [9.0]], np.float32))
    np.testing.assert_array_equal(table(np.array([9, 1, 1])), [[9.0], [1.0], [1.0]])
    for missing in (0, 5, 10):
        with pytest.raises(LookupError, match=f"view {missing} is not among the 3"):
            table(np.array([4, missing]))


def test_without_augmentation_each_example_has_one_view():
    run, inputs, program = parts(config(augment={"flip": None}, views=None))
    assert program.views == 1
    assert len(teacher_outputs.drawn(inputs, program, run.seeds[:1])) == 40 + 1237


def test_an_explanation_says_what_is_cached_its_size_and_its_cost():
    run = resolve(config())
    inputs = run_inputs.load(run)
    text = explain.explain(run, inputs, build.all_programs(run, inputs))
    assert f"distill: {STEPS} steps of 8, each example in 3 views" in text
    # 2 · 1,357 images of 10 numbers of 4 bytes; 1,210 operations each
    assert "cached    teacher        2 tables of 1,357 images, 106 KiB in memory, made by 3.28 MFLOP" in text


def shifted():
    """A method that shows its teacher other images than the student."""
    terms = lambda players, batch, key: {
        "kd": (players.student(batch["image"]) - players.teacher(-batch["image"])).sum(-1)
    }
    return Method(Move("student", terms))


SCRATCH = common.named(**{arm: dict(lambdas=dict(student=dict(ce=1.0))) for arm in "ab"})
SHIFTED = common.named(odd=dict(method=dict(name="shifted"), lambdas=dict(student=dict(kd=1.0))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(cached=("techer",)), r"distill.arms.much.cached.techer: no such field; did you mean 'teacher'"),
        (dict(cached="teacher"), "distill.arms.much.cached = 'teacher' .*expected Sequence"),
        (dict(cached=("student",)), "student is trained in this stage; frozen players are accepted: teacher"),
        (dict(arms=SCRATCH), r"arms.a.cached = \('teacher',\): no method of the stage calls teacher; .* are student"),
        (
            dict(arms=SHIFTED),
            r"odd.cached = \('teacher',\): players.teacher\(an array \(8, 8, 8, 1\)\): teacher is cached",
        ),
        (
            dict(views=None),
            r"augment = .*affine.* other images at every step; set config.stages.distill.arms.much.views",
        ),
        (dict(views=None, augment={"mixup": {"alpha": 1.0}}), "augment = .*mixup.* other images at every step"),
        (dict(augment={"mixup": {"alpha": 1.0}}), "views = 3: mixup and cutmix of .*augment draw partners anew"),
        (dict(views=0), "distill.arms.much.views = 0: must be at least 1"),
        (dict(views=2**30), "views = 1073741824: of 1,297 examples at most 1,655,731 are accepted"),
    ],
)
def test_each_mistake_is_one_clear_error_before_compilation(change, message, monkeypatch):
    monkeypatch.setitem(methods.BY_NAME, "shifted", shifted)
    changed = config(**change)
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message):
        parts(changed)
