"""Runs on images that are degraded where batches are made: batches, evaluation, cached whole outputs, each mistake."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import kdgan
import tiny
from configs import common
from kdgan import bicubic, data, files
from kdgan.data import degrade
from kdgan.game import Method, Move
from kdgan.losses import images as image_losses
from kdgan.run import batches as run_batches
from kdgan.run import build, export, judging, stage_data, teacher_outputs, totals
from kdgan.run import inputs as run_inputs
from kdgan.run import splits as splits_of_a_run
from kdgan.run.config import ConfigError, resolve
from kdgan.run.splits import Splits

RNG = np.random.default_rng(0)
N, BATCH = 6, 4
WINDOW = {"crop": {"size": (6, 4)}, "flip": {}}


def clean(count=N, sizes=((16, 12),), channels=1):
    images = [RNG.integers(0, 256, (*sizes[i % len(sizes)], channels), np.uint8) for i in range(count)]
    return data.from_fields({"image": np.stack(images) if len(sizes) == 1 else images})


SEVERAL = ((16, 12), (12, 18), (12, 12))


def config(stages=None, **fields):
    made = tiny.config(seeds=1, steps=2, validation=0)
    made.data.labelled = None
    with made.unlocked(), made.ignore_type():
        for name, value in fields.items():
            made.data[name] = value
    return made


def load(train=None, test=None, **fields):
    data_sets = {"train": train or clean(), "test": test or clean(3)}
    return run_inputs.load(resolve(run_inputs.handed_over(config(**fields), data_sets)), data_sets)


def draw(inputs, spec, *, steps=4, **more):
    prepare = jax.jit(run_batches.make_prepare(inputs, spec))
    raw = run_batches.batches(
        inputs, seed=0, stage=0, batch_size=BATCH, start=0, steps=steps, spec=spec, **more
    )  # fmt: skip
    return [(one, jax.device_get(prepare(one, inputs.device_arrays()))) for one in raw]


NOISY = dict(degrade={"gaussian": {"sigma": 25.0}})


@pytest.mark.parametrize("sizes", [((16, 12),), SEVERAL])
@pytest.mark.parametrize("scale", [1, 2])
def test_windows_are_those_of_the_whole_degraded_image(sizes, scale):
    spec = {"bicubic": {"scale": scale}, "gaussian": {"sigma": 25.0}}
    train = clean(sizes=sizes)
    on_device, on_host = (
        load(train, degrade=spec, noises=2, memory_mb=memory, augment=None or {}) for memory in (64, 0)
    )
    assert on_device.on_device
    assert not on_host.on_device
    window = {"crop": {"size": (4, 3)}}
    degradation = on_device.degradation
    for (raw, batch), (_, same) in zip(draw(on_device, window), draw(on_host, window), strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, same)
        for i, row in enumerate(raw["index"]):
            (top, left), s = raw["drawn"]["origin"][i], scale
            target = train.arrays["image"][row]
            whole = np.asarray(degradation.noisy(raw["drawn"]["words"][i][:1], degradation.reduced(target)[None]))[0]
            np.testing.assert_array_equal(batch["image"][i], whole[top : top + 4, left : left + 3])
            levels = np.round(255 * batch["target"][i])
            np.testing.assert_array_equal(levels, target[s * top :, s * left :][: 4 * s, : 3 * s])


def test_fixed_noises_come_in_turn_and_again_is_the_next_one():
    inputs = load(**NOISY, noises=3)
    by_epoch = {}
    for step, (raw, batch) in enumerate(draw(inputs, {}, steps=9)):
        for i, row in enumerate(raw["index"]):
            by_epoch[(step * BATCH + i) // N, int(row)] = batch["image"][i], batch["again"][i]
    for row in range(N):
        seen = [by_epoch[epoch, row] for epoch in range(6)]
        for epoch in range(3):
            np.testing.assert_array_equal(seen[epoch][0], seen[epoch + 3][0])
            np.testing.assert_array_equal(seen[epoch][1], seen[epoch + 1][0])
            assert not np.array_equal(seen[epoch][0], seen[epoch + 1][0])
    assert "again" not in draw(load(**NOISY, noises=1), {})[0][1]
    assert "again" not in draw(load(degrade={"bicubic": {"scale": 2}}), {})[0][1]


def test_fresh_noise_is_another_at_every_step_and_its_flips_come_after_it():
    inputs = load(**NOISY)
    spec = {"crop": {"size": 6}, "flip": {}, "turn": {}}
    plain = draw(inputs, {"crop": {"size": 6}}, steps=3)
    noises = []
    for (_, batch), (_, turned) in zip(plain, draw(inputs, spec, steps=3), strict=True):
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
    inputs = load(clean(40), clean(3, SEVERAL), **NOISY, validation=4)
    run = resolve(config(**NOISY))
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
    train = clean(40, *((sides,) if sides else ()))
    mean = np.mean([image.shape[0] * image.shape[1] for image in train.arrays["image"]])
    inputs, run = load(train, **NOISY), resolve(config(**NOISY))
    assert Splits(run, inputs).size("training") == 40
    monkeypatch.setattr(splits_of_a_run, "PIXELS", int(mean * seen) + 1)
    assert Splits(run, inputs).size("training") == seen


def test_the_training_set_of_a_stream_is_the_one_in_memory():
    train = clean(12)
    streamed = dataclasses.replace(train, arrays={}, reader=lambda index: train.arrays["image"][index], length=12)
    spec = {"bicubic": {"scale": 2}, "poisson": {"peak": 30.0}}
    of_both = [
        draw(load(one, degrade=spec, memory_mb=m), {"crop": {"size": 4}}) for one, m in ((train, 64), (streamed, 0))
    ]
    for (_, batch), (_, same) in zip(*of_both, strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, same)


class Doubles(nn.Module):
    """A restorer of scale 1 or 2 that sees two pixels around each."""

    scale: int = 1

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(self.scale**2, (5, 5))(x)
        b, h, w, _ = y.shape
        y = y.reshape(b, h, w, self.scale, self.scale).transpose(0, 1, 3, 2, 4)
        return bicubic.upscale(x, self.scale) + y.reshape(b, h * self.scale, w * self.scale, 1)


def everything() -> Method:
    """Uses all that a batch of degraded images has."""

    def terms(players, batch, key):
        restored = players.student(batch["image"])
        lone = players.student(batch["unlabelled"]["image"])
        of = {
            "clean": image_losses.l2(restored, batch["target"]),
            "teacher": image_losses.l2(restored, players.teacher(batch["image"])),
            "others": image_losses.l2(lone, players.teacher(batch["unlabelled"]["image"])),
        }
        if restored.shape == batch["image"].shape:
            of["again"] = image_losses.l2(restored, batch["again"])
        return of

    return Method(Move("student", terms))


def first_stage() -> Method:
    terms = lambda players, batch, key: {"clean": image_losses.l2(players.teacher(batch["image"]), batch["target"])}
    return Method(Move("teacher", terms))


def whole_run(cached, scale=1, **fields):
    made = config(**fields)
    made.players = common.named(
        teacher=dict(model="test_degraded.Doubles", model_args=dict(scale=scale)),
        student=dict(model="test_degraded.Doubles", model_args=dict(scale=scale)),
    )
    terms = dict(clean=0.5, teacher=0.3, others=0.2) | (dict(again=0.1) if scale == 1 else {})
    made.stages = common.named(
        teacher=dict(method=dict(name="test_degraded.first_stage"), lambdas=dict(teacher=dict(clean=1.0)), steps=2),
        main=dict(
            method=dict(name="test_degraded.everything"), lambdas=dict(student=terms), start=dict(teacher="teacher"),
            steps=6, cached=cached,
        ),
    )  # fmt: skip
    made.player.optimizer.learning_rate = 0.01
    made.data.labelled, made.data.unlabelled_batch_size = 4, 2
    made.stage.augment = {"crop": {"size": 6}, "flip": {}, "turn": {}}
    return made


@pytest.mark.parametrize(
    ("scale", "memory_mb", "sizes"),
    [pytest.param(1, 64, SEVERAL, marks=pytest.mark.extra("flatbuffers")), (2, 0, ((16, 12),))],
)
def test_a_run_with_whole_cached_outputs_learns_from_the_windows_of_them(scale, memory_mb, sizes, tmp_path):
    spec = {"bicubic": {"scale": scale}, "gaussian": {"sigma": (0.0, 25.0)}}
    sets = {"train": clean(9, sizes), "test": clean(3, sizes)}
    made = whole_run(("teacher",), scale, degrade=spec, noises=2, memory_mb=memory_mb, validation=2)
    if scale == 2:
        made.stage.augment = {"crop": {"size": 4}, "turn": {}}
    summary = kdgan.train(made, tmp_path / "run", data=sets)
    players = summary["stages"]["main"]["arms"]["main"]["players"]
    assert np.isfinite(players["student"]["psnr"]["mean"])
    assert "teacher" in players
    # The batch's outputs are the windows, turned as the image is, of what the teacher says of whole noisy images.
    run = resolve(run_inputs.handed_over(made, sets))
    inputs = run_inputs.load(run, sets)
    program = build.all_programs(run, inputs)["main"][0]
    assert program.whole
    module = program.local_modules["teacher"]
    variables = {"params": module.init(jax.random.key(3), jnp.zeros((1, 8, 8, 1)))["params"], "model_state": {}}
    table = teacher_outputs.Tables(run, inputs, tmp_path / "cached").of(program, {0: {"teacher": variables}})[0]
    raws = run_batches.batches(
        inputs, seed=0, stage=1, batch_size=program.batch_size, start=0, steps=2, cached=table, whole=True,
        spec=program.augment,
    )  # fmt: skip
    prepare, apply = jax.jit(program.prepare), jax.jit(module.apply)
    for raw in raws:
        prepared = prepare(raw, inputs.device_arrays())
        for part, source in ((prepared, raw), (prepared["unlabelled"], raw["unlabelled"])):
            size = part["image"].shape[1]
            for i, words in enumerate(source["drawn"]["words"]):
                rows = range(len(inputs.train))
                row, number = next(
                    (r, d)
                    for r in rows
                    for d in range(2)
                    if (degrade.fixed("train", np.array([r]), d) == words[0]).all()
                )
                assert (degrade.fixed("train", np.array([row]), 1 - number) == words[1]).all()
                noisy = inputs.degradation.noisy(words[:1], inputs.train.arrays["image"][row][None])
                output = np.asarray(apply({"params": variables["params"]}, noisy))[0]
                top, left = source["drawn"]["origin"][i]
                given = np.asarray(noisy)[0][top : top + size, left : left + size]
                window = output[scale * top :, scale * left :][: scale * size, : scale * size]
                forms = [(np.rot90(given[:, ::f], k), np.rot90(window[:, ::f], k)) for f in (1, -1) for k in range(4)]
                there = [form for form in forms if np.array_equal(form[0], part["image"][i])]
                assert any(np.allclose(form[1], part["cached"]["teacher"][i], atol=1e-5) for form in there)
    assert bool(list((tmp_path / "run").glob("cached/*"))) == (memory_mb == 0)
    # Files are judged, and the player beside them, on noisy images that are rounded; they take images of any size.
    if scale == 1:
        made_of = export.export(tmp_path / "run", tmp_path / "out", formats=["stablehlo"], player="student", data=sets)
        assert judging.ROUNDED in made_of.record["notes"]
        rows = {row["kind"]: row["measures"]["psnr"] for row in made_of.record["rows"]}
        assert rows["artefact"] == pytest.approx(rows["float"], abs=1e-3)
        assert rows["float"] == pytest.approx(players["student"]["psnr"]["mean"], abs=0.3)


def test_cached_and_uncached_arms_see_the_same_windows(tmp_path):
    """Of pairs of one size, too, which are not degraded: all arms of a stage with a cached one have windows first."""
    image = RNG.integers(0, 256, (8, 12, 12, 1), np.uint8)
    both = data.from_fields({"image": image, "target": image[::-1].copy()})
    made = whole_run(())
    made.stages.main.lambdas = dict(student=dict(clean=0.5, teacher=0.5))
    made.data.labelled, made.data.unlabelled_batch_size = None, 0
    for name in ("teacher", "main"):
        made.stages[name].augment = {n: {**of, "fields": ("image", "target")} for n, of in made.stage.augment.items()}
    with made.unlocked(), made.ignore_type():
        made.stages.main.update(dict(
            method=dict(name="test_degraded.halves"), cached=(),
            arms=common.named(kept=dict(cached=("teacher",)), run=dict()),
        ))  # fmt: skip
    sets = {"train": both, "test": both}
    run = resolve(run_inputs.handed_over(made, sets))
    inputs = run_inputs.load(run, sets)
    kept, other = build.all_programs(run, inputs)["main"]
    assert (kept.whole, other.whole) == (True, False)
    assert kept.windows_first
    assert other.windows_first
    batches = []
    for program in (kept, other):
        (raw,) = run_batches.batches(
            inputs, seed=0, stage=1, batch_size=4, start=0, steps=1, spec=program.augment, first=True
        )  # fmt: skip
        batches.append(jax.jit(program.prepare)(raw, inputs.device_arrays()))
    jax.tree.map(np.testing.assert_array_equal, *batches)


def of_target(scale, **augment):
    """A stage whose cached teacher is given the target, `scale` times as large as the image."""
    made = whole_run(("teacher",))
    del made.stages.teacher
    made.players.student.model_args.scale = scale
    made.players.teacher.inputs, made.players.teacher.evaluate = ("target",), "nothing"
    image = RNG.integers(0, 256, (8, 14, 12, 1), np.uint8)
    target = RNG.integers(0, 256, (8, 14 * scale, 12 * scale, 1), np.uint8)
    both = data.from_fields({"image": image, "target": target}, kinds=dict(image="image", target="image"))
    made.data.labelled, made.data.unlabelled_batch_size = None, 0
    made.stages.main.lambdas = dict(student=dict(clean=0.5, teacher=0.5))
    made.stages.main.method, made.stages.main.augment = dict(name="test_degraded.halves"), augment
    made.stages.main.start = dict(teacher=dict(checkpoint="unread"))
    sets = {"train": both, "test": both}
    run = resolve(run_inputs.handed_over(made, sets))
    inputs = run_inputs.load(run, sets)
    return run, inputs, build.all_programs(run, inputs, read_checkpoints=False)["main"][0]


FIELDS = ("image", "target")


@pytest.mark.parametrize("scale", [1, 2])
def test_windows_of_outputs_lie_where_those_of_the_players_own_field_do(scale, tmp_path):
    run, inputs, program = of_target(scale, crop={"size": 4, "fields": FIELDS}, turn={"fields": FIELDS})
    assert program.whole
    module, target = program.local_modules["teacher"], inputs.train.arrays["target"]
    variables = {"params": module.init(jax.random.key(3), jnp.zeros((1, 8, 8, 1)))["params"], "model_state": {}}
    table = teacher_outputs.Tables(run, inputs, tmp_path).of(program, {0: {"teacher": variables}})[0]
    raw = next(run_batches.batches(
        inputs, seed=0, stage=0, batch_size=4, start=0, steps=1, cached=table, whole=True, spec=program.augment,
        first=True,
    ))  # fmt: skip
    batch = jax.jit(program.prepare)(raw, inputs.device_arrays())
    assert batch["target"].shape == batch["cached"]["teacher"].shape == (4, 4 * scale, 4 * scale, 1)
    for i, row in enumerate(raw["index"]):
        top, left = scale * raw["drawn"]["origin"][i]
        window = np.s_[top : top + 4 * scale, left : left + 4 * scale]
        made = np.asarray(module.apply({"params": variables["params"]}, target[row][None] / np.float32(255)))[0]
        forms = [(np.rot90(target[row][window][:, ::f], k), np.rot90(made[window][:, ::f], k))
                 for f in (1, -1) for k in range(4)]  # fmt: skip
        of_this = [one for form, one in forms if np.array_equal(form, np.round(255 * batch["target"][i]))]
        assert any(np.allclose(one, batch["cached"]["teacher"][i], atol=1e-5) for one in of_this)


@pytest.mark.parametrize("left", ["crop", "flip"])
def test_outputs_of_a_field_that_is_not_changed_with_the_images_are_refused(left):
    augment = {"crop": {"size": (14, 12)}, "flip": {}}
    augment = {name: {**of, "fields": ("image",) if name == left else FIELDS} for name, of in augment.items()}
    with pytest.raises(
        ConfigError, match=rf"teacher is given the field 'target', which .*augment\.{left} leaves"
    ) as error:
        of_target(1, **augment)
    assert "\n" not in str(error.value)


def halves() -> Method:
    def terms(players, batch, key):
        restored = players.student(batch["image"])
        of_teacher = image_losses.l2(restored, players.teacher(batch["image"]))
        return {"clean": image_losses.l2(restored, batch["target"]), "teacher": of_teacher}

    return Method(Move("student", terms))


def speckled(key, image, strength=0.1):
    return image * (1 + strength * jax.random.normal(key, image.shape))


def test_a_function_from_outside_degrades():
    inputs = load(degrade={"function": {"name": "test_degraded.speckled", "strength": 0.5}})
    (_, batch), *_ = draw(inputs, {"crop": {"size": 6}})
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
        (dict(degrade="test_degraded.absent"), {}, "degrade.function = 'test_degraded.absent' cannot be imported"),
        (dict(degrade={"function": {"name": "test_degraded.speckled", "power": 1}}), {}, "unexpected keyword.*'power'"),
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
    made = whole_run((), **fields)
    with made.unlocked(), made.ignore_type():
        made.stages.main.update(stage)
        if "augment" in stage:
            made.stages.teacher.augment = stage["augment"]
    sets = {"train": clean(), "test": clean(3)}
    monkeypatch.setattr(jax, "jit", None)
    run = resolve(run_inputs.handed_over(made, sets))
    with pytest.raises(ConfigError, match=expected) as error:
        build.all_programs(run, run_inputs.load(run, sets))
    assert "\n" not in str(error.value)


def test_the_smallest_image_that_ssim_cannot_take_is_named():
    mixed = data.from_fields({"image": [*clean(5).arrays["image"], RNG.integers(0, 256, (12, 7, 1), np.uint8)]})
    narrow = clean(12, ((12, 8), (12, 7)))

    def programs(train, test, **fields):
        sets = {"train": train, "test": test}
        run = resolve(run_inputs.handed_over(whole_run((), **NOISY, **fields), sets))
        return build.all_programs(run, run_inputs.load(run, sets))

    of_test, of_validation = (
        rf"target \[12, 7, 1\] \({name}\): ValueError: SSIM has" for name in ("example 5", r"example \d+")
    )
    with pytest.raises(ConfigError, match=of_test):
        programs(clean(12, SEVERAL), mixed)
    with pytest.raises(ConfigError, match=of_validation):
        programs(narrow, clean(3), validation=4)
    assert programs(narrow, clean(3))


def test_data_with_a_target_are_refused():
    image = np.zeros((N, 8, 8, 1), np.uint8)
    both = data.from_fields({"image": image, "target": image})
    with pytest.raises(
        ConfigError, match=r"degrade makes the field 'target' of clean images, and the data .* have one"
    ):
        load(both, both, **NOISY)


def test_a_player_trained_for_another_noise_is_refused_unless_its_range_contains_it(tmp_path):
    sets = {"train": clean(), "test": clean(3)}
    first = whole_run((), degrade={"gaussian": {"sigma": 15.0}})
    del first.stages.main
    kdgan.train(first, tmp_path / "first", data=sets)
    record = files.read_json(tmp_path / "first" / "players.json")
    assert record["data"]["degrade"] == {"gaussian": {"sigma": 15.0}}

    def started(sigma, start):
        made = whole_run((), degrade={"gaussian": {"sigma": sigma}})
        del made.stages.teacher
        with made.unlocked(), made.ignore_type():
            made.stages.main.start = dict(teacher=start)
        run = resolve(run_inputs.handed_over(made, sets))
        return build.all_programs(run, run_inputs.load(run, sets))

    workdir = str(tmp_path / "first")
    assert started(15.0, dict(checkpoint=workdir))
    assert started(25.0, dict(checkpoint=workdir, any_degradation=True))
    with pytest.raises(
        ConfigError, match=r"main.start.teacher.*first': it was trained for Gaussian noise of σ 15, here it is 25"
    ):
        started(25.0, dict(checkpoint=workdir))
    # Of a stage of the same run, whose data differ, likewise; a blind one serves all widths of its range.
    for sigma, fits in (((0.0, 50.0), True), (50.0, False)):
        made = whole_run((), **NOISY)
        with made.unlocked(), made.ignore_type():
            made.stages.teacher.data = dict(degrade={"gaussian": {"sigma": sigma}})
        data_sets = {**sets, "teacher": sets}
        run = resolve(stage_data.handed_over(made, data_sets))
        inputs = stage_data.load(run, data_sets)
        if fits:
            assert build.all_programs(run, inputs)
        else:
            with pytest.raises(
                ConfigError, match="stage 'teacher': it was trained for Gaussian noise of σ 50, here it is 25"
            ):
                build.all_programs(run, inputs)


def test_a_player_that_learns_at_half_the_scale_is_judged_and_counted_at_the_size_of_the_data():
    made = config(degrade={"bicubic": {"scale": 2}})
    made.players = common.named(student=dict(model="unshuffle", model_args=dict(scale=2), evaluate="restorer"))
    made.stages = common.named(
        main=dict(method=dict(name="restore", targets="half"), lambdas=dict(student=dict(pixel=1.0)), steps=2)
    )
    made.stage.augment = {"crop": {"size": 4}}
    sets = {"train": clean(), "test": clean(3)}  # of one size, which is known beforehand
    run = resolve(run_inputs.handed_over(made, sets))
    (program,) = build.all_programs(run, run_inputs.load(run, sets))["main"]
    assert program.inspection.inputs["student"][0][0].shape[1:] == (4, 4, 1)  # its method gives it 2×2
    assert program.inspection.outputs["student"].shape[1:] == (8, 8, 1)
