"""A run with generators, from its config to its files: what is measured, shown and drawn; and each of its mistakes."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

import kdgan
import same
import tiny
from configs import common
from kdgan import report
from kdgan.evaluators.drawing import maker
from kdgan.evaluators.generator import heads_of, spherical
from kdgan.metrics import generative
from kdgan.run import build, modes, sampling, shown, train
from kdgan.run import inputs as run_inputs
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError, resolve

LATENT = 4


def config():
    """An extractor, a teacher and two ways to train a student of half its width, a few steps each."""
    config = tiny.config(optimizer="adam", seeds=2)
    config.data.labelled, config.data.mean, config.data.std = None, 0.5, 0.5
    dcgan = lambda width: dict(model="dcgan_generator", model_args=dict(image_size=8, channels=1, width=width))
    config.players = common.named(
        extractor=dict(model="mlp", model_args=dict(hidden=(6,))),
        teacher=dcgan(1 / 32),
        student=dict(dcgan(1 / 64), ema=0.5),
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 32)),
    )
    gan = lambda player: dict(
        method=dict(name="gan", generator=player, latent=LATENT),
        lambdas=dict(discriminator=dict(real=1.0, fake=1.0), **{player: dict(adv=1.0)}),
    )
    start = dict(stage="teacher", player="teacher", transfer="uniform")
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=2
        ),
        teacher=dict(**gan("teacher"), steps=2),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=4,
            arms=common.named(
                scratch=gan("student"),
                mse=dict(method=dict(name="generator_mimic", latent=LATENT), lambdas=dict(student=dict(pixel=1.0))),
                init=dict(
                    method=dict(name="generator_mimic", latent=LATENT),
                    lambdas=dict(student=dict(pixel=0.0)),
                    start=dict(student=start),
                ),
            ),
        ),
    )
    config.evaluate.extractor.stage = "extractor"
    config.evaluate.samples, config.evaluate.validation_samples = 40, 20
    return config


def build_all(config):
    run = resolve(config)
    return run, build.all_programs(run, run_inputs.load(run))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, summary) of the run."""
    workdir = tmp_path_factory.mktemp("generators")
    return workdir, train.train(config(), workdir)


def test_generators_are_measured_by_the_extractors_features(finished):
    _, summary = finished
    assert summary["evaluators"]["generator"]["label"] == "FD-mlp"
    assert summary["evaluators"]["generator"]["features"] == 6
    players = summary["stages"]["distill"]["arms"]["mse"]["players"]
    assert {"student", "student (moving average)", "student (best by validation)", "teacher"} <= players.keys()
    wanted = {"fd", "kid", "inception_score", "precision", "recall", "density", "coverage"}
    assert players["student"].keys() == wanted
    assert all(len(record["values"]) == 2 for record in players["student"].values())
    assert "accuracy" in summary["stages"]["extractor"]["arms"]["main"]["players"]["extractor"]


def test_a_kernel_distance_is_shown_in_thousandths_of_inceptions_features_alone(finished):
    shown = finished[1]["measures"]["kid"]
    assert (shown["head"], shown["scale"]) == ("KID", 1.0)
    assert heads_of("FID")["kid"] == {"head": "KID ×10³", "scale": 1e3}


def test_the_report_says_first_which_generators_collapsed(finished):
    workdir, summary = finished
    told = {(r["stage"], r["arm"], r["player"]): r["seeds"] for r in summary["remarks"] if "collapsed" in r["text"]}
    for stage, arms in (("teacher", ("main",)), ("distill", ("scratch", "mse", "init"))):
        player = "teacher" if stage == "teacher" else "student"
        for arm in arms:
            recall = summary["stages"][stage]["arms"][arm]["players"][player]["recall"]["values"]
            low = [seed for seed, value in enumerate(recall) if value < 0.1]
            assert told.get((stage, arm, player), []) == low
    assert told  # two steps are not enough for any
    assert not {place for place in told if place[0] == "distill" and place[2] == "teacher"}  # said where it was trained
    first = report.text(workdir).splitlines()[0]
    assert re.match(
        r"Stage teacher: teacher( \(.*\))? has collapsed, or is far from the data: its recall is under 0.1", first
    )


def test_numbers_are_those_of_before_there_were_evaluators(finished):
    same.as_before(finished[1], "generators")


def test_what_was_trained_has_its_distances_on_validation_from_the_last_step(finished):
    workdir, summary = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for arm in ("scratch", "mse", "init"):
        validated = summary["stages"]["distill"]["arms"][arm]["validation"]
        assert validated.keys() == {"student", "student (moving average)"}
        last = {line["seed"]: line["student/fd"] for line in lines
                if (line["arm"], line["split"], line["step"]) == (arm, "validation", 4)}  # fmt: skip
        assert validated["student"]["fd"]["values"] == [last[0], last[1]]
        assert validated["student"].keys() == {"fd", "kid", "inception_score"}
    assert summary["evaluators"]["generator"]["validation_samples"] == 20


@pytest.mark.parametrize("entry", ["student", "student (moving average)"])
def test_the_distance_is_that_of_images_drawn_from_the_saved_player(finished, entry):
    """Recomputed from the workdir alone: draws of `sampling.load`'s generator, the extractor's features, SciPy-free."""
    workdir, summary = finished
    run = resolve(json.loads((workdir / "config.json").read_text()))
    inputs = run_inputs.load(run)
    programs = build.all_programs(run, inputs)
    draw = sampling.load(workdir, stage="distill", arm="scratch", average=entry != "student")
    made = draw(jax.random.key(2), 40)
    extractor = Checkpoints(workdir / "checkpoints" / "extractor").restore_latest().tree["main"]["state"]
    params = jax.tree.map(lambda leaf: leaf[0], extractor["params"]["extractor"])
    module = programs["extractor"][0].local_modules["extractor"]

    def features(images):
        x = (images / 255.0 - 0.5) / 0.5
        hidden = x.reshape(len(x), -1) @ params["dense1"]["kernel"] + params["dense1"]["bias"]
        return np.maximum(hidden, 0)

    assert module.hidden == (6,)
    expected = generative.frechet_distance(features(made), features(inputs.test.image))
    found = summary["stages"]["distill"]["arms"]["scratch"]["players"][entry]["fd"]["values"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_frozen_teacher_has_the_numbers_of_the_stage_that_trained_it(finished):
    _, summary = finished
    own = summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]
    assert summary["stages"]["distill"]["arms"]["mse"]["players"]["teacher"] == own
    # An arm whose λ is 0 leaves the student at its start: the selected weights of the teacher.
    player = summary["stages"]["distill"]["arms"]["init"]["players"]["student"]
    assert player["fd"]["values"] != own["fd"]["values"]


def test_a_moving_average_has_batch_statistics_of_its_own(finished):
    folder = finished[0] / "checkpoints" / "distill"
    state = Checkpoints(folder).restore_latest().tree["scratch"]["state"]
    assert state["ema_state"].keys() == {"student"}
    averaged, last = state["ema_state"]["student"], state["model_state"]["student"]
    assert max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (averaged, last)), strict=True)) > 1e-5


def arrays_of(workdir, summary, title):
    """(stage, arm, entry) -> array of the figures of that title."""
    with np.load(workdir / "evaluation.npz") as arrays:
        return {
            (figure["stage"], figure["arm"], figure["entry"]): arrays[figure["array"]]
            for figure in summary["figures"]
            if figure["title"] == title
        }


def test_all_generators_are_shown_by_the_same_noise_while_they_train_and_at_the_end(finished):
    workdir, summary = finished
    samples = arrays_of(workdir, summary, "Samples")
    student = samples["distill", "scratch", "student"]
    steps, images = shown.read(workdir, "distill", "scratch", "student")
    assert steps == [2, 4]
    np.testing.assert_array_equal(images[-1], student)
    np.testing.assert_array_equal(samples["distill", "mse", "teacher"], samples["teacher", "main", "teacher"])
    progress = arrays_of(workdir, summary, "While training")["distill", "scratch", "student"]
    np.testing.assert_array_equal(progress, images[:, :6])
    (rows,) = [
        figure["rows"] for figure in summary["figures"]
        if (figure["title"], figure["arm"], figure["entry"]) == ("While training", "scratch", "student")
    ]  # fmt: skip
    assert rows == ["2 steps", "4 steps"]
    neighbours = arrays_of(workdir, summary, "Nearest training images")["distill", "scratch", "student"]
    np.testing.assert_array_equal(neighbours[:, 0], student[: len(neighbours)])
    assert arrays_of(workdir, summary, "Interpolations")["distill", "scratch", "student"].shape[2:] == (8, 8, 1)
    draw = sampling.load(workdir, arm="scratch", average=False)
    np.testing.assert_array_equal(draw(jax.random.key(0), 64), student)


def test_sample_draws_a_grid_from_any_trained_generator(finished, tmp_path):
    workdir, _ = finished
    options = dict(num=6, columns=3, seed=0, label=None, player=None, stage=None, arm=None, member=None)
    modes.sample(None, workdir, grid=tmp_path / "out.png", **options)
    drawn = np.asarray(Image.open(tmp_path / "out.png"))
    assert drawn.shape == (2 * 8 + 1, 3 * 8 + 2)  # and a pixel between images
    for change, message in (
        (
            {"player": "student", "stage": "teacher"},
            r"those that it trained \(stage/arm: player\) are teacher/main: teacher",
        ),
        ({"member": 9}, "member 9: the run has the seeds 0, 1"),
        ({"num": 0}, "at least one image"),
        ({"columns": 7}, "1 to 6 columns"),
        ({"num": 9_000_000, "columns": None}, "a side are accepted"),
        ({"label": 3}, "not conditioned on classes"),
    ):
        with pytest.raises(ConfigError, match=message):
            modes.sample(None, workdir, grid=tmp_path / "out.png", **{**options, **change})
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        modes.sample(None, workdir, grid=tmp_path / "out.jpg", **options)
    with pytest.raises(ConfigError, match="holds no run"):
        modes.sample(None, tmp_path, grid=tmp_path / "out.png", **options)


def test_the_readmes_lines_draw_images_without_the_data(finished, monkeypatch):
    monkeypatch.setattr(run_inputs, "load", None)
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    code = re.search(r"```python\n(draw = .*?)```", readme, flags=re.S)[1]
    names = {"jax": jax, "kdgan": kdgan}
    exec(code.replace('"runs/digits_gan_distill"', repr(str(finished[0]))).replace("adversarial", "mse"), names)
    assert names["images"].shape == (64, 8, 8, 1)
    assert names["images"].dtype == np.uint8


def test_evaluating_again_changes_nothing(finished):
    workdir, summary = finished
    again = train.train(config(), workdir, only_evaluate=True)
    for part in ("players", "validation"):
        found, before = (
            {arm: record[part] for arm, record in of["stages"]["distill"]["arms"].items()} for of in (again, summary)
        )
        assert found == before


def test_arms_that_start_elsewhere_share_one_program():
    _, programs = build_all(config())
    assert [program.arms for program in programs["distill"]] == [("scratch",), ("mse", "init")]


def change(path, value):
    def apply(config):
        *parents, name = path.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[name] = value

    return apply


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (change("evaluate.extractor.stage", None), "measured by a network's features, and none is named"),
        (change("evaluate.extractor.stage", "distill"), "must be a stage before teacher"),
        (change("evaluate.extractor.player", "judge"), "'judge': stage extractor has the players extractor"),
        (change("evaluate.extractor.layer", "hidden7"), "layer = 'hidden7': .*no module at path 'hidden7'"),
        (change("evaluate.samples", 6), "config.evaluate.samples = 6: a Fréchet distance of 6 features"),
        (change("players.student.evaluate", "classifer"), "did you mean 'classifier'"),
        (change("players.student.evaluate", "classifier"), r"'classifier': its output is \(8, 8, 8, 1\), the data"),
        (change("players.student.model_args.image_size", 12), r"student makes images of shape \(12, 12, 1\), the"),
        (change("stages.distill.arms.mse.method.latent", 5), r"dense/kernel.*method\.latent, and method\.teacher_latent"),
        (change("stages.distill.arms.init.start.student.only", ("dense*",)), "leave out only and skip"),
        (change("stages.distill.players", {"student": {"model_args": {"width": 1 / 8}}}), "conv2/kernel|bn1|dense"),
        (change("data.mean", 0.0), r"players.teacher: it makes images in \[-1, 1\], the data's pixels lie in \[0, 2\]"),
        (change("players.student.evaluate", "picture"), "'picture'; accepted are classifier, .*; or 'nothing'"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_clear_error_before_compilation(mistake, message, monkeypatch, tmp_path):
    wrong = config()
    mistake(wrong)
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message):
        build_all(wrong)


def test_missing_weights_of_inception_are_one_clear_error(tmp_path):
    wrong = config()
    wrong.evaluate.extractor.stage, wrong.evaluate.extractor.inception = None, str(tmp_path / "inception.npz")
    with pytest.raises(ConfigError, match=r"extractor\.inception = .*there is no such file"):
        build_all(wrong)
    wrong.evaluate.extractor.stage = "extractor"
    with pytest.raises(ConfigError, match="stage and inception are set; name one"):
        resolve(wrong)


def test_a_stage_may_give_a_player_another_size():
    wider = config()
    wider.stages.distill.players = {"student": {"model_args": {"width": 1 / 32}}}
    run, programs = build_all(wider)
    assert programs["distill"][0].local_modules["student"].width == 1 / 32
    assert run.players["student"].model_args["width"] == 1 / 64


def test_a_conditional_generator_is_given_classes_in_turn_or_one():
    conditional = config()
    del conditional.stages["distill"]
    conditional.stages.teacher.method["conditional"] = True
    for name in ("teacher", "discriminator"):
        conditional.players[name].model_args.classes = 10
    run, programs = build_all(conditional)
    program = programs["teacher"][0]
    generator = maker(
        program.local_modules["teacher"], program.draws("teacher"), num_classes=10, mean=run.data.mean, std=run.data.std
    )
    assert (generator.latent, generator.classes) == (LATENT, 10)
    noise = jax.numpy.ones((12, LATENT))
    variables = program.local_modules["teacher"].init(jax.random.key(0), noise, jax.numpy.zeros(12, int))
    own = {"params": variables["params"], "model_state": {"batch_stats": variables["batch_stats"]}}
    in_turn, threes = generator.draw(own, noise), generator.draw(own, noise, np.full(12, 3))
    np.testing.assert_array_equal(in_turn[0], in_turn[10])  # the same noise and class
    np.testing.assert_array_equal(in_turn[3], threes[0])
    assert (in_turn[0] != in_turn[1]).any()


def test_sheets_of_samples_come_back_as_they_were_written(tmp_path):
    for channels in (1, 3):
        images = np.random.default_rng(0).integers(0, 256, (64, 5, 4, channels), np.uint8)
        shown.write(tmp_path, "a", f"b{channels}", "student (moving average)", 7, images)
        steps, found = shown.read(tmp_path, "a", f"b{channels}", "student (moving average)")
        assert steps == [7]
        np.testing.assert_array_equal(found[0], images)


def test_interpolation_stays_on_the_great_circle():
    a, b = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    np.testing.assert_allclose(spherical(a, b, 0.5), [[2**0.5, 2**0.5]], rtol=1e-6)
    np.testing.assert_allclose(spherical(a, b, np.array([[0.0], [1.0]])), [[2.0, 0.0], [0.0, 2.0]], atol=1e-6)
