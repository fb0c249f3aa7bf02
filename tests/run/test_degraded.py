"""Images that are degraded where batches are made: batches, evaluation, data that do not fit, each mistake."""

import dataclasses

import jax
import numpy as np
import pytest

import degraded
import tiny
from degraded import BATCH, NOISY, SEVERAL, N
from kdgan import data
from kdgan.run import build, totals
from kdgan.run import inputs as run_inputs
from kdgan.run import splits as splits_of_a_run
from kdgan.run.config import ConfigError, resolve
from kdgan.run.splits import Splits

WINDOW = {"crop": {"size": (6, 4)}, "flip": {}}


@pytest.mark.parametrize("sizes", [((16, 12),), SEVERAL])
@pytest.mark.parametrize("scale", [1, 2])
def test_windows_are_those_of_the_whole_degraded_image(sizes, scale):
    spec = {"bicubic": {"scale": scale}, "gaussian": {"sigma": 25.0}}
    train = degraded.clean(sizes=sizes)
    on_device, on_host = (
        degraded.load(train, degrade=spec, noises=2, memory_mb=memory, augment=None or {}) for memory in (64, 0)
    )
    assert on_device.on_device
    assert not on_host.on_device
    window = {"crop": {"size": (4, 3)}}
    degradation = on_device.degradation
    for (raw, batch), (_, same) in zip(degraded.draw(on_device, window), degraded.draw(on_host, window), strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, same)
        for i, row in enumerate(raw["index"]):
            (top, left), s = raw["drawn"]["origin"][i], scale
            target = train.arrays["image"][row]
            whole = np.asarray(degradation.noisy(raw["drawn"]["words"][i][:1], degradation.reduced(target)[None]))[0]
            np.testing.assert_array_equal(batch["image"][i], whole[top : top + 4, left : left + 3])
            levels = np.round(255 * batch["target"][i])
            np.testing.assert_array_equal(levels, target[s * top :, s * left :][: 4 * s, : 3 * s])


def test_fixed_noises_come_in_turn_and_again_is_the_next_one():
    inputs = degraded.load(**NOISY, noises=3)
    by_epoch = {}
    for step, (raw, batch) in enumerate(degraded.draw(inputs, {}, steps=9)):
        for i, row in enumerate(raw["index"]):
            by_epoch[(step * BATCH + i) // N, int(row)] = batch["image"][i], batch["again"][i]
    for row in range(N):
        seen = [by_epoch[epoch, row] for epoch in range(6)]
        for epoch in range(3):
            np.testing.assert_array_equal(seen[epoch][0], seen[epoch + 3][0])
            np.testing.assert_array_equal(seen[epoch][1], seen[epoch + 1][0])
            assert not np.array_equal(seen[epoch][0], seen[epoch + 1][0])
    assert "again" not in degraded.draw(degraded.load(**NOISY, noises=1), {})[0][1]
    assert "again" not in degraded.draw(degraded.load(degrade={"bicubic": {"scale": 2}}), {})[0][1]


def test_fresh_noise_is_another_at_every_step_and_its_flips_come_after_it():
    inputs = degraded.load(**NOISY)
    spec = {"crop": {"size": 6}, "flip": {}, "turn": {}}
    plain = degraded.draw(inputs, {"crop": {"size": 6}}, steps=3)
    noises = []
    for (_, batch), (_, turned) in zip(plain, degraded.draw(inputs, spec, steps=3), strict=True):
        noises += [batch[name] - batch["target"] for name in ("image", "again")]
        for i in range(BATCH):
            names = ("image", "again", "target")
            forms = [
                [np.rot90(batch[n][i][:, ::f], k) for n in names] for f in (1, -1) for k in range(4)
            ]  # the very same form of all three
            assert any(all(np.array_equal(a, turned[n][i]) for a, n in zip(form, names, strict=True)) for form in forms)
    flat = np.stack(noises).reshape(len(noises), -1)
    assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.35
    assert flat.std() == pytest.approx(25 / 255, rel=0.05)


def test_evaluation_has_one_noise_for_each_image_whatever_is_asked_first():
    inputs = degraded.load(degraded.clean(40), degraded.clean(3, SEVERAL), **NOISY, validation=4)
    run = resolve(tiny.on_data(**NOISY))
    seen = {}
    for size in (1, 2):
        splits = Splits(dataclasses.replace(run, evaluate=dataclasses.replace(run.evaluate, batch_size=size)), inputs)
        for split in ("test", "validation", "training"):
            images = [
                np.asarray(image)
                for raw in splits.batches(split)
                for image, there in zip(totals.as_players_see(inputs.config, raw)["image"], raw["mask"], strict=True)
                if there
            ]
            seen.setdefault(split, images)
            jax.tree.map(np.testing.assert_array_equal, seen[split], images)
    raw = next(iter(splits.batches("test")))
    shown = totals.rounded(inputs.config, raw)
    np.testing.assert_array_equal(shown["image"][0], np.round(255 * np.clip(seen["test"][0], 0, 1)))
    assert "drawn" not in shown


@pytest.mark.parametrize(("sides", "seen"), [(None, 4), (SEVERAL, 3)])
def test_a_frozen_restorer_is_looked_at_on_about_so_many_pixels_of_training_images(monkeypatch, sides, seen):
    """Of a few images all are looked at, of one size or of several; of many about as many as have `PIXELS`."""
    train = degraded.clean(40, *((sides,) if sides else ()))
    mean = np.mean([image.shape[0] * image.shape[1] for image in train.arrays["image"]])
    inputs, run = degraded.load(train, **NOISY), resolve(tiny.on_data(**NOISY))
    assert Splits(run, inputs).size("training") == 40
    monkeypatch.setattr(splits_of_a_run, "PIXELS", int(mean * seen) + 1)
    assert Splits(run, inputs).size("training") == seen


def test_the_training_set_of_a_stream_is_the_one_in_memory():
    train = degraded.clean(12)
    streamed = dataclasses.replace(train, arrays={}, reader=lambda index: train.arrays["image"][index], length=12)
    spec = {"bicubic": {"scale": 2}, "poisson": {"peak": 30.0}}
    of_both = [
        degraded.draw(degraded.load(one, degrade=spec, memory_mb=m), {"crop": {"size": 4}})
        for one, m in ((train, 64), (streamed, 0))
    ]
    for (_, batch), (_, same) in zip(*of_both, strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, same)


def test_a_function_from_outside_degrades():
    inputs = degraded.load(degrade={"function": {"name": "degraded.speckled", "strength": 0.5}})
    (_, batch), *_ = degraded.draw(inputs, {"crop": {"size": 6}})
    ratio = batch["image"] / np.maximum(batch["target"], 1 / 255)
    assert np.std(ratio[batch["target"] > 0.05]) == pytest.approx(0.5, rel=0.15)
    assert not np.array_equal(batch["image"], batch["again"])


CACHED = dict(cached=("teacher",))


@pytest.mark.parametrize(
    ("fields", "stage", "expected"),
    [
        (dict(noises=3), {}, "config.data.noises = 3: nothing of data.degrade is random"),
        (dict(**NOISY, noises=0), {}, "config.data.noises = 0: at least 1"),
        (dict(**NOISY, noises=2**32), {}, "config.data.noises = 4294967296: of 6 examples at most 357,913,941 are"),
        (dict(degrade={"poisson": {"peak": 1e-300}}), {}, "degrade.poisson.peak = 1e-300: .* from 0.001 to 10000"),
        (dict(degrade={"gaussian": {"sigma": 1e-300}}), {}, "degrade.gaussian.sigma = 1e-300: .* from 0.001 to 255"),
        (NOISY, dict(augment={"crop": {"size": "16"}}), "augment.crop.size must be .*, got '16'"),
        (NOISY, dict(augment={"crop": {"size": (2.7, 3)}}), r"augment.crop.size must be .*, got \[2.7, 3\]"),
        (NOISY, dict(augment={**WINDOW, "flip": {"fields": "image"}}), r"augment.flip.fields = \('image',\): .*alike"),
        (NOISY, dict(augment={"crop": {"size": 6}, "turn": {"fields": "target"}}), "augment.turn.fields = .*alike"),
        (dict(degrade={"gausian": {}}), {}, "config.data.degrade has no 'gausian'"),
        (dict(degrade={"gaussian": {"sigma": -1}}), {}, "config.data.degrade.gaussian.sigma = -1: "),
        (dict(degrade={"gaussian": {"sigma": (30, 20)}}), {}, "config.data.degrade.gaussian.sigma = .*(low, high)"),
        (dict(degrade={"poisson": {"peak": 0}}), {}, "config.data.degrade.poisson.peak = 0: "),
        (dict(degrade={"bicubic": {"scale": 1.5}}), {}, "config.data.degrade.bicubic.scale = 1.5: a whole number"),
        (dict(degrade={"bicubic": {"scale": 5}}), {}, "scale = 5 does not divide the sides of example 0, 16×12; .*trim"),
        (dict(degrade="degraded.absent"), {}, "degrade.function = 'degraded.absent' cannot be imported"),
        (dict(degrade={"function": {"name": "degraded.speckled", "power": 1}}), {}, "unexpected keyword.*'power'"),
        (NOISY, dict(augment={"crop": {"size": 20}}), r"example 0 of 'image' is \(16, 12\); a window that"),
        (NOISY, dict(augment={"crop": {"size": (4, 6)}, "turn": {}}), r"augment.turn turns squares.* \(4, 6\)"),
        (NOISY, CACHED, "draws other noise at every step; set config.data.noises to a number"),
        (
            dict(**NOISY, noises=2),
            dict(**CACHED, augment={"crop": {"size": 6}, "affine": {"rotate": 5.0}}),
            "affine.* makes other images at every step; set config.stages.main.views",
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_before_anything_compiles(fields, stage, expected, monkeypatch):
    made = degraded.whole_run((), **fields)
    with made.unlocked(), made.ignore_type():
        made.stages.main.update(stage)
        if "augment" in stage:
            made.stages.teacher.augment = stage["augment"]
    sets = {"train": degraded.clean(), "test": degraded.clean(3)}
    monkeypatch.setattr(jax, "jit", None)
    run = resolve(run_inputs.handed_over(made, sets))
    with pytest.raises(ConfigError, match=expected) as error:
        build.all_programs(run, run_inputs.load(run, sets))
    assert "\n" not in str(error.value)


def test_the_smallest_image_that_ssim_cannot_take_is_named():
    mixed = data.from_fields(
        {"image": [*degraded.clean(5).arrays["image"], degraded.RNG.integers(0, 256, (12, 7, 1), np.uint8)]}
    )
    narrow = degraded.clean(12, ((12, 8), (12, 7)))

    def programs(train, test, **fields):
        sets = {"train": train, "test": test}
        run = resolve(run_inputs.handed_over(degraded.whole_run((), **NOISY, **fields), sets))
        return build.all_programs(run, run_inputs.load(run, sets))

    of_test, of_validation = (
        rf"target \[12, 7, 1\] \({name}\): ValueError: SSIM has" for name in ("example 5", r"example \d+")
    )
    with pytest.raises(ConfigError, match=of_test):
        programs(degraded.clean(12, SEVERAL), mixed)
    with pytest.raises(ConfigError, match=of_validation):
        programs(narrow, degraded.clean(3), validation=4)
    assert programs(narrow, degraded.clean(3))


def test_data_with_a_target_are_refused():
    image = np.zeros((N, 8, 8, 1), np.uint8)
    both = data.from_fields({"image": image, "target": image})
    with pytest.raises(
        ConfigError, match=r"degrade makes the field 'target' of clean images, and the data .* have one"
    ):
        degraded.load(both, both, **NOISY)
