"""Each example's number among those that batches are drawn from, as methods see it, and how many these are."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from configs import common
from kdgan import data, methods
from kdgan.data.batches import indices_of_step
from kdgan.game import Method, Move
from kdgan.losses.logits import cross_entropy
from kdgan.run import batches as run_batches
from kdgan.run import build, stage_data, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

RNG = np.random.default_rng(0)
N, BATCH, STEPS = 24, 4, 3
WAYS = {
    "one device": dict(members="vmap"),
    "batches over devices, two steps per call": dict(devices=4, steps_per_call=2, members="vmap"),
    "batches over devices, in turn": dict(devices=4, members="in_turn"),
    "one on each device": dict(members="devices"),
}


def split(count=N, *, ragged=False):
    """Images whose first pixel is the example's number, and numbers [1] that are."""
    sizes = [(5, 6), (7, 5), (6, 6)] if ragged else [(6, 6)]
    images = [np.full((*sizes[i % len(sizes)], 1), i, np.uint8) for i in range(count)]
    image = images if ragged else np.stack(images)
    return data.from_fields({"image": image, "wave": np.arange(count)[:, None] * 1.0, "label": np.arange(count) % 3})


def load(**fields):
    config = tiny.config(seeds=1, steps=2, validation=0)
    config.data.labelled = 16
    ragged = fields.pop("ragged", False)
    for name, value in fields.items():
        config.data[name] = value
    sets = {"train": split(ragged=ragged), "test": split(8, ragged=ragged)}
    return run_inputs.load(resolve(run_inputs.handed_over(config, sets)), sets)


def draw(inputs, spec, views=None):
    prepare = jax.jit(run_batches.make_prepare(inputs, spec))
    several = run_batches.batches(
        inputs, seed=0, stage=0, batch_size=BATCH, start=0, steps=STEPS, views=views, spec=spec
    )
    return [jax.device_get(prepare(raw, inputs.device_arrays())) for raw in several]


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize(
    ("spec", "views", "ragged"),
    [
        ({}, None, False),
        ({"crop": {"padding": 2, "fields": "image"}}, 3, False),
        ({"crop": {"size": 4, "fields": "image"}}, None, True),
        ({"crop": {"size": 4, "fields": "image"}}, 2, True),
    ],
)
def test_an_example_is_found_by_its_number_however_its_batch_is_made(spec, views, ragged, on_device):
    inputs = dataclasses.replace(load(ragged=ragged, unlabelled_batch_size=3), on_device=on_device)
    partition = inputs.partitions[0]
    assert (len(partition.train), len(partition.unlabelled), inputs.examples) == (16, N - 16, N)
    order = np.concatenate([partition.train, partition.unlabelled])  # number -> place
    seen, others = set(), set()
    for batch in draw(inputs, spec, views):
        for part, count in ((batch, BATCH), (batch["unlabelled"], 3)):
            assert part["index"].shape == (count,)
            assert part["index"].dtype == np.int32
            place = order[part["index"]]
            np.testing.assert_array_equal(part["wave"], inputs.train.arrays["wave"][place])
            np.testing.assert_array_equal(np.round(255 * part["image"].max((1, 2, 3))), place)
        seen |= set(batch["index"].tolist())
        others |= set(batch["unlabelled"]["index"].tolist())
    assert seen <= set(range(16))
    assert others <= set(range(16, N))
    assert len(seen) == STEPS * BATCH  # of 16: none comes twice
    example = run_batches.example_batch(inputs, run_batches.make_prepare(inputs, spec), BATCH, spec)
    assert (example["index"].shape, example["index"].dtype) == ((BATCH,), np.int32)
    assert example["unlabelled"]["index"].shape == (3,)


def test_of_two_images_that_are_mixed_it_is_the_number_of_the_first():
    inputs = load()
    fields = {name: field for name, field in inputs.train.fields.items() if name != "wave"}
    arrays = {name: inputs.train.arrays[name] for name in fields}
    inputs = dataclasses.replace(inputs, train=data.from_fields({name: arrays[name] for name in fields}))
    for step, batch in enumerate(draw(inputs, {"mixup": {"alpha": 1.0}})):
        numbers = indices_of_step(16, BATCH, seed=0, stage=0, step=step)
        np.testing.assert_array_equal(batch["index"], numbers)
        places = inputs.partitions[0].train[numbers]
        assert (batch["label"][np.arange(BATCH), places % 3] > 0).all()  # the first's class is among the two


def placed(examples: int):
    """A method whose terms tell the numbers of its examples, among so many."""

    def terms(players, batch, key):
        ce = cross_entropy(players.student(batch["image"]), batch["label"])
        both = batch["all"]["index"]
        others = jnp.sum(batch["unlabelled"]["index"])
        return {"ce": ce, "place": batch["index"] * 1.0, "all": both.sum() * 1.0, "others": others * 1.0,
                "share": both.max() < examples}  # fmt: skip

    return Method(Move("student", terms))


def config(**parallel):
    lambdas = dict(student=dict(ce=1.0, place=0.0, all=0.0, others=0.0, share=0.0))
    arm = dict(method=dict(name="placed"), lambdas=lambdas)
    made = tiny.config(arms=common.named(placed=arm, again=arm))
    made.data.unlabelled_batch_size, made.data.memory_mb = 4, parallel.pop("memory_mb", 4096)
    made.parallel.update(parallel)
    return made


@pytest.mark.parametrize("way", [*WAYS, "streamed"])
def test_a_method_sees_the_numbers_of_its_members_examples_in_every_way_of_running(way, tmp_path, monkeypatch):
    monkeypatch.setitem(methods.BY_NAME, "placed", placed)
    made = config(**WAYS.get(way, dict(memory_mb=0)))
    train.train(made, tmp_path)
    inputs = run_inputs.load(resolve(made))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["stage"] == "distill" and "student/place" in row]
    assert len(rows) == 2 * 2 * 4  # seeds, arms, steps
    devices = WAYS.get(way, {}).get("devices", 1)
    for row in rows:
        of = lambda rows, size, stage, row=row: indices_of_step(
            len(rows), size, seed=row["seed"], stage=stage, step=row["step"] - 1
        )
        partition = inputs.partitions[row["seed"]]
        labelled = of(partition.train, 8, 1)
        extra = len(partition.train) + of(partition.unlabelled, 4, 1 + run_batches.UNLABELLED_STREAM)
        np.testing.assert_allclose(row["student/place"], labelled.mean(), rtol=1e-6)
        np.testing.assert_allclose(row["student/others"] * devices, extra.sum(), rtol=1e-6)
        np.testing.assert_allclose(row["student/all"] * devices, labelled.sum() + extra.sum(), rtol=1e-6)
        assert row["student/share"] == 1


def test_a_method_is_told_how_many_examples_there_are_and_may_not_say_another_number(monkeypatch):
    said = []
    monkeypatch.setitem(methods.BY_NAME, "placed", lambda examples: said.append(examples) or placed(examples))
    run = resolve(config())
    inputs = run_inputs.load(run)
    build.stage_programs(run, run.stages[1], inputs)
    assert set(said) == {inputs.examples} == {len(inputs.partitions[0].train) + len(inputs.partitions[0].unlabelled)}
    other = config()
    with other.unlocked():
        other.stages.distill.arms.placed.method.examples = 7
    with pytest.raises(ConfigError, match=r"method.examples = 7: the data say \d+; leave it out"):
        build.stage_programs(resolve(other), resolve(other).stages[1], inputs)


def test_a_stage_without_data_has_no_places(monkeypatch):
    reads = lambda: Method(Move("student", lambda players, batch, key: {"t": batch["index"].sum() * 1.0}))
    monkeypatch.setitem(methods.BY_NAME, "reads", reads)
    made = tiny.config(arms=common.named(reads=dict(method=dict(name="reads"), lambdas=dict(student=dict(t=1.0)))))
    with made.unlocked(), made.ignore_type():
        made.stages.distill.data = None
    run = resolve(made)
    inputs = stage_data.load(run)
    with pytest.raises(ConfigError, match="'reads' reads the field 'index' of the data, and the stage has none"):
        build.stage_programs(run, run.stages[1], inputs.of("distill"))
