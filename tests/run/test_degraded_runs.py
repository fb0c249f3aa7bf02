"""Runs on degraded images: windows of whole cached outputs, teachers for another noise, learning at half the scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import degraded
import kdgan
import tiny
from configs import common
from degraded import NOISY, SEVERAL
from kdgan import data, files
from kdgan.data import degrade
from kdgan.run import batches as run_batches
from kdgan.run import build, export, judging, stage_data, teacher_outputs
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

FIELDS = ("image", "target")


@pytest.mark.parametrize(
    ("scale", "memory_mb", "sizes"),
    [pytest.param(1, 64, SEVERAL, marks=pytest.mark.extra("flatbuffers")), (2, 0, ((16, 12),))],
)
def test_a_run_with_whole_cached_outputs_learns_from_the_windows_of_them(scale, memory_mb, sizes, tmp_path):
    spec = {"bicubic": {"scale": scale}, "gaussian": {"sigma": (0.0, 25.0)}}
    sets = {"train": degraded.clean(9, sizes), "test": degraded.clean(3, sizes)}
    made = degraded.whole_run(("teacher",), scale, degrade=spec, noises=2, memory_mb=memory_mb, validation=2)
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
    image = degraded.RNG.integers(0, 256, (8, 12, 12, 1), np.uint8)
    both = data.from_fields({"image": image, "target": image[::-1].copy()})
    made = degraded.whole_run(())
    made.stages.main.lambdas = dict(student=dict(clean=0.5, teacher=0.5))
    made.data.labelled, made.data.unlabelled_batch_size = None, 0
    for name in ("teacher", "main"):
        made.stages[name].augment = {n: {**of, "fields": ("image", "target")} for n, of in made.stage.augment.items()}
    with made.unlocked(), made.ignore_type():
        made.stages.main.update(dict(
            method=dict(name="degraded.halves"), cached=(),
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
    made = degraded.whole_run(("teacher",))
    del made.stages.teacher
    made.players.student.model_args.scale = scale
    made.players.teacher.inputs, made.players.teacher.evaluate = ("target",), "nothing"
    image = degraded.RNG.integers(0, 256, (8, 14, 12, 1), np.uint8)
    target = degraded.RNG.integers(0, 256, (8, 14 * scale, 12 * scale, 1), np.uint8)
    both = data.from_fields({"image": image, "target": target}, kinds=dict(image="image", target="image"))
    made.data.labelled, made.data.unlabelled_batch_size = None, 0
    made.stages.main.lambdas = dict(student=dict(clean=0.5, teacher=0.5))
    made.stages.main.method, made.stages.main.augment = dict(name="degraded.halves"), augment
    made.stages.main.start = dict(teacher=dict(checkpoint="unread"))
    sets = {"train": both, "test": both}
    run = resolve(run_inputs.handed_over(made, sets))
    inputs = run_inputs.load(run, sets)
    return run, inputs, build.all_programs(run, inputs, read_checkpoints=False)["main"][0]


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


def test_a_player_trained_for_another_noise_is_refused_unless_its_range_contains_it(tmp_path):
    sets = {"train": degraded.clean(), "test": degraded.clean(3)}
    first = degraded.whole_run((), degrade={"gaussian": {"sigma": 15.0}})
    del first.stages.main
    kdgan.train(first, tmp_path / "first", data=sets)
    record = files.read_json(tmp_path / "first" / "players.json")
    assert record["data"]["degrade"] == {"gaussian": {"sigma": 15.0}}

    def started(sigma, start):
        made = degraded.whole_run((), degrade={"gaussian": {"sigma": sigma}})
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
        made = degraded.whole_run((), **NOISY)
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
    made = tiny.on_data(degrade={"bicubic": {"scale": 2}})
    made.players = common.named(student=dict(model="unshuffle", model_args=dict(scale=2), evaluate="restorer"))
    made.stages = common.named(
        main=dict(method=dict(name="restore", targets="half"), lambdas=dict(student=dict(pixel=1.0)), steps=2)
    )
    made.stage.augment = {"crop": {"size": 4}}
    sets = {"train": degraded.clean(), "test": degraded.clean(3)}  # of one size, which is known beforehand
    run = resolve(run_inputs.handed_over(made, sets))
    (program,) = build.all_programs(run, run_inputs.load(run, sets))["main"]
    assert program.inspection.inputs["student"][0][0].shape[1:] == (4, 4, 1)  # its method gives it 2×2
    assert program.inspection.outputs["student"].shape[1:] == (8, 8, 1)
