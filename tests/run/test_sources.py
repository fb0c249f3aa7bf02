"""Players that start from checkpoints: which folder a path leads to, which member a seed takes, and what is refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import players as small
import tiny
from configs import common
from kdgan.report.tables import results_table
from kdgan.run import build, checkpoint, explain, extractors, modes, sources, starts, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

KD = dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9)))


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """(workdir, summary) of a run of two seeds: a teacher, then a student of it."""
    workdir = tmp_path_factory.mktemp("taught")
    return workdir, train.train(tiny.config(steps=2, arms=common.named(kd=KD)), workdir)


def from_checkpoint(path, *, seeds=2, player="teacher", **start):
    """The same run, whose second stage takes a player from a checkpoint and not from the first stage."""
    config = tiny.config(steps=2, seeds=seeds, arms=common.named(kd=KD))
    with config.unlocked(), config.ignore_type():
        config.stages.distill.start[player] = dict(checkpoint=str(path), **start)
    return config


def built(config):
    """(run, inputs, programs)."""
    run = resolve(config)
    inputs = run_inputs.load(run)
    return run, inputs, build.all_programs(run, inputs)


def source_of(config, player="teacher"):
    _, _, programs = built(config)
    return programs["distill"][0].sources["kd"][player]


def explained(config):
    return explain.explain(*built(config))


def members(workdir, stage="teacher", player="teacher"):
    """A trained player's variables of each seed, from the last checkpoint."""
    (arm,) = checkpoint.read(workdir / "checkpoints" / stage).tree.values()
    return [{"params": jax.tree.map(lambda leaf, i=i: leaf[i], arm["state"]["params"][player])} for i in (0, 1)]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def save(folder, tree, metadata=None):
    with checkpoint.Checkpoints(folder) as saved:
        saved.save(1, tree, metadata=metadata or {})
    return folder


@pytest.mark.parametrize("inside", ["", "checkpoints", "checkpoints/teacher", "checkpoints/teacher/00000002"])
def test_each_seed_takes_its_own_member_wherever_in_the_run_the_path_leads(inside, taught):
    source = source_of(from_checkpoint(taught[0] / inside))
    assert source.folder == taught[0] / "checkpoints/teacher/00000002"
    for seed, expected in enumerate(members(taught[0])):
        assert_same(source.of(seed)["params"], expected["params"])


def test_a_member_is_named_by_its_seed(taught):
    config = from_checkpoint(taught[0], seeds=1)
    config.seed = 1
    assert_same(source_of(config).of(1)["params"], members(taught[0])[1]["params"])


@pytest.mark.parametrize(("start", "says", "tables"), [
    ({}, "members 0, 1, one for each seed", 2), (dict(member=1), "member 1, one teacher for all seeds", 1)
])  # fmt: skip
def test_the_explanation_names_the_members_and_counts_a_table_for_each(taught, start, says, tables):
    config = from_checkpoint(taught[0], **start)
    config.stages.distill.cached = ("teacher",)
    text = explained(config)
    assert f"frozen (from {taught[0]}/checkpoints/teacher/00000002, {says})" in text
    assert f"teacher        {tables} table" in text


def test_one_seed_has_one_member(taught):
    assert "00000002, member 0)" in explained(from_checkpoint(taught[0], seeds=1))


@pytest.mark.parametrize(
    ("config", "recorded", "expected"),
    [
        ({"seed": 5, "population": {"seeds": 2}}, [8, 9], (8, 9)),
        ({"seed": 5, "population": {"seeds": 2}}, None, (5, 6)),
        ({"seed": 5, "population": {"seeds": 3}}, None, (0, 1)),  # the config is of another run
        ({"stages": {}}, None, (0, 1)),
        (None, None, (0, 1)),
    ],
)
def test_members_are_named_by_the_checkpoint_else_by_the_config_beside_it(config, recorded, expected, taught, tmp_path):
    tree = checkpoint.read(taught[0] / "checkpoints/teacher").tree
    folder = save(tmp_path / "checkpoints" / "teacher", tree, None if recorded is None else {"seeds": recorded})
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert source_of(from_checkpoint(folder, member=expected[1])).seeds == expected


@pytest.mark.parametrize("stacked", [False, True])
def test_a_checkpoint_that_no_run_wrote_holds_a_player_or_a_stack_as_its_shapes_say(stacked, taught, tmp_path):
    rows = [own["params"] for own in members(taught[0])]
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *rows) if stacked else rows[0]
    save(tmp_path, {"params": {"teacher": params}})
    source = source_of(from_checkpoint(tmp_path))
    assert source.seeds == ((0, 1) if stacked else None)
    assert_same(source.of(1)["params"], rows[stacked])
    _, _, programs = built(from_checkpoint(tmp_path))
    assert programs["distill"][0].shared == (() if stacked else ("teacher",))


def test_a_student_is_cut_from_each_seeds_own_wider_teacher(taught):
    config = from_checkpoint(taught[0] / "checkpoints/teacher", player="student", transfer="uniform")
    config.stages.distill.start.student.player = "teacher"
    run, _, programs = built(config)
    (program,) = programs["distill"]
    assert set(program.sources["kd"]) == {"student"}
    started = lambda seed: {"student": program.sources["kd"]["student"].of(seed), "teacher": members(taught[0])[seed]}
    for seed, expected in enumerate(members(taught[0])):
        state = starts.create_state(program, run.stages[-1], "kd", seed, started(seed))
        found = state.params["student"]["dense1"]["kernel"]
        np.testing.assert_array_equal(found, expected["params"]["dense1"]["kernel"][:, ::2])


def test_the_best_by_validation_is_a_player_of_a_checkpoint(taught):
    config = from_checkpoint(taught[0] / "checkpoints/teacher")
    config.stages.distill.start.teacher.player = "teacher (best by validation)"
    best = checkpoint.read(taught[0] / "checkpoints/teacher").tree["main"]["best"]["teacher"]["params"]
    source = source_of(config)
    for seed in (0, 1):
        assert_same(source.of(seed)["params"], jax.tree.map(lambda leaf, seed=seed: leaf[seed], best))
    assert "00000002, teacher (best by validation), members 0, 1" in explained(config)


def without(folder, destination):
    """A copy of a run whose teacher's files are cut in half."""
    shutil.copytree(folder, destination)
    arrays = [path for path in (destination / "checkpoints/teacher").rglob("*") if path.is_file()]
    for path in arrays:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return destination


TEACHER = "config.stages.distill.start.teacher"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, tmp: dict(path=d, seeds=3),
         rf"{TEACHER}: .* members \(seeds\) 0, 1; this run has seed 2: set {TEACHER}.member = 0 \(one teacher for all"),
        (lambda d, tmp: dict(path=d, member=5), rf"{TEACHER}.member = 5: .* has the members \(seeds\) 0, 1"),
        (lambda d, tmp: dict(path=d, member="all"), r"member = 'all': accepted are 'each' or a seed"),
        (lambda d, tmp: dict(path=tmp), rf"{TEACHER}.checkpoint = .*: no checkpoint in this folder; give that of a stage"),
        (lambda d, tmp: dict(path=tmp / "absent"), r"absent': there is no such folder"),
        (lambda d, tmp: dict(path=d / "checkpoints/distill"), r"no player 'teacher' in checkpoint .*; it has kd: student"),
        (lambda d, tmp: dict(path=d, start="nobody"), r"no stage has a player 'nobody'; .*distill: student, .*teacher: "),
        (lambda d, tmp: dict(path=d, start="student"), rf"{TEACHER} \(from .*dense1/bias is \(4,\), expected \(8,\)"),
        (lambda d, tmp: dict(path=without(d, tmp / "copy") / "checkpoints/teacher"), r"no whole checkpoint in"),
        (lambda d, tmp: dict(path=without(d, tmp / "copy") / "checkpoints/teacher/00000002"), r"kdgan.json|DamagedChe"),
        (lambda d, tmp: dict(path=without(d, tmp / "copy")), r"no stage has a player 'teacher'; there are .*damaged"),
    ],
)  # fmt: skip
def test_what_training_would_refuse_the_explanation_refuses(change, message, taught, tmp_path, monkeypatch):
    given = change(taught[0], tmp_path)
    config = from_checkpoint(given["path"], seeds=given.get("seeds", 2))
    start = config.stages.distill.start.teacher
    with config.unlocked():
        start.update({"member": given.get("member", "each"), "player": given.get("start", "teacher")})
    monkeypatch.setattr(jax, "jit", None)  # nothing may be compiled on the way
    with pytest.raises(ConfigError, match=message) as error:
        modes.explain(config, None)
    assert "\n" not in str(error.value)


def test_arms_and_stages_that_have_the_same_player_are_told_apart(taught, tmp_path):
    tree = checkpoint.read(taught[0] / "checkpoints/teacher").tree
    for stage in ("first", "second"):
        save(tmp_path / "checkpoints" / stage, tree)
    with pytest.raises(ConfigError, match=r"several stages have 'teacher'; give one of .*/first, .*/second"):
        source_of(from_checkpoint(tmp_path))
    folder = save(tmp_path / "arms", {"small": tree["main"], "large": tree["main"]})
    with pytest.raises(
        ConfigError, match=r"several arms of checkpoint .* have 'teacher'; set arm = 'large' or 'small'"
    ):
        source_of(from_checkpoint(folder))
    assert source_of(from_checkpoint(folder, arm="large")).part == "large/state"
    with pytest.raises(
        ConfigError, match=r"no player 'teacher' in arm 'huge' .* it has large: teacher.*; small: teacher"
    ):
        source_of(from_checkpoint(folder, arm="huge"))


def test_a_frozen_player_without_its_batch_statistics_is_refused(tmp_path):
    module = small.Net(width=8, num_classes=10)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    half = {"params": {"teacher": variables["params"]}}
    whole = {**half, "model_state": {"teacher": {"batch_stats": variables["batch_stats"]}}}
    config = from_checkpoint(save(tmp_path / "whole", whole))
    config.players.teacher = dict(model="players.Net", model_args=dict(width=8))
    assert source_of(config).seeds is None
    config.stages.distill.start.teacher.checkpoint = str(save(tmp_path / "half", half))
    with pytest.raises(ConfigError, match="has no batch_stats of teacher, which is frozen"):
        source_of(config)


def test_equal_contents_have_equal_digests():
    tree = {"params": {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(1)}}
    assert sources.digest(tree) == sources.digest({"params": dict(reversed(tree["params"].items()))})
    others = [
        {"params": {**tree["params"], "b": np.ones(1)}},
        {"params": {"a": tree["params"]["a"].reshape(3, 2), "b": np.zeros(1)}},
        {"params": {"c": tree["params"]["a"], "b": np.zeros(1)}},
        {"params": {**tree["params"], "b": np.zeros(1, np.float32)}},
    ]
    assert len({sources.digest(other) for other in (tree, *others)}) == 5


def trained_student(workdir):
    return checkpoint.read(workdir / "checkpoints/distill").tree["kd"]["state"]["params"]["student"]


def row(tree, seed):
    return jax.tree.map(lambda leaf: leaf[seed], tree)


def test_a_teacher_of_each_seed_teaches_as_if_its_stage_had_been_in_the_run(taught, tmp_path, monkeypatch):
    reads, read = [], checkpoint.read
    monkeypatch.setattr(checkpoint, "read", lambda path: reads.append(path) or read(path))
    config = from_checkpoint(taught[0])
    config.parallel.members = "vmap"
    summary = train.train(config, tmp_path)
    assert len(reads) == 1  # checked and trained with
    monkeypatch.undo()
    assert small.largest_difference(trained_student(tmp_path), trained_student(taught[0])) < 1e-6
    arm, there = (of["stages"]["distill"]["arms"]["kd"] for of in (summary, taught[1]))
    assert arm["players"]["teacher"] == there["players"]["teacher"]
    assert len(arm["players"]["teacher"]["accuracy"]["values"]) == 2
    digests = [sources.digest({**own, "model_state": {}}) for own in members(taught[0])]
    assert arm["origins"] == {
        "teacher": {"trained": False, "shared": False, "start": "checkpoint", "arm": "main", "player": "teacher",
                    "checkpoint": str(taught[0] / "checkpoints/teacher/00000002"), "members": [0, 1], "digests": digests},
        "student": {"trained": True, "shared": False, "start": "fresh"},
    }  # fmt: skip
    assert there["origins"]["teacher"] == {
        "trained": False, "shared": False, "start": "stage", "stage": "teacher", "arm": "main", "player": "teacher"
    }  # fmt: skip


def test_one_teacher_for_all_seeds_has_one_number_and_is_called_one(taught, tmp_path):
    config = from_checkpoint(taught[0], member=1)
    config.parallel.members = "vmap"
    summary = train.train(config, tmp_path)
    ours, theirs = trained_student(tmp_path), trained_student(taught[0])
    assert small.largest_difference(row(ours, 1), row(theirs, 1)) < 1e-6
    assert small.largest_difference(row(ours, 0), row(theirs, 0)) > 1e-6
    accuracy = summary["stages"]["distill"]["arms"]["kd"]["players"]["teacher"]["accuracy"]
    of_seeds = taught[1]["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]["accuracy"]["values"]
    assert accuracy["values"] == [of_seeds[1]]
    assert accuracy["ci95"] is None
    table = results_table(summary)
    assert "±" not in table.rows[0].cells[0].text
    folder = taught[0] / "checkpoints/teacher/00000002"
    assert f"teacher: one teacher for all seeds, member 1 of {folder}" in table.notes


def test_an_extractor_says_which_member_it_is_and_is_checked_with_the_rest(taught):
    config = tiny.config()
    config.data.mean = config.data.std = 0.5
    generator = dict(model="dcgan_generator", model_args=dict(image_size=8, channels=1, width=1 / 64))
    judge = dict(model="dcgan_discriminator", model_args=dict(width=1 / 64))
    config.players = common.named(
        teacher=dict(model="mlp", model_args=dict(hidden=(8,))), student=generator, discriminator=judge
    )
    weights = dict(discriminator=dict(real=1.0, fake=1.0), student=dict(adv=1.0))
    config.stages = common.named(gan=dict(method=dict(name="gan", generator="student", latent=6), lambdas=weights))
    config.evaluate.extractor.checkpoint, config.evaluate.extractor.player = str(taught[0]), "teacher"
    config.seed, config.population.seeds = 1, 1
    run, inputs, _ = built(config)
    extractor, whose = extractors.from_files(run, inputs)
    assert whose == f"teacher of {taught[0]}/checkpoints/teacher/00000002, member 1"
    images = np.asarray(inputs.test.image[:3], np.float32) / 255
    dense = members(taught[0])[1]["params"]["dense1"]
    expected = np.maximum(images.reshape(3, -1) @ dense["kernel"] + dense["bias"], 0)
    np.testing.assert_allclose(extractor(images)["features"], expected, rtol=1e-5, atol=1e-6)
    config.evaluate.extractor.player = "student"
    with pytest.raises(ConfigError, match=r"config\.evaluate\.extractor\.player = 'student': .* noise of shape"):
        built(config)
    config.evaluate.extractor.player, config.players.teacher.model_args.hidden = "teacher", (16,)
    with pytest.raises(
        ConfigError, match=r"config\.evaluate\.extractor\.checkpoint = .*dense1/bias is \(8,\), expected"
    ):
        built(config)
    config.players.teacher.model_args.hidden, config.evaluate.extractor.layer = (8,), "stage9"
    with pytest.raises(ConfigError, match=r"config\.evaluate\.extractor\.layer = 'stage9'"):
        built(config)


def test_a_copy_is_called_what_it_is_a_copy_of(taught, tmp_path):
    params = {"params": {"teacher": members(taught[0])[1]["params"]}}
    save(tmp_path, params, {"from": "runs/t/checkpoints/teacher/00000400"})
    assert "frozen (from runs/t/checkpoints/teacher/00000400, one teacher for all seeds)" in explained(
        from_checkpoint(tmp_path)
    )


def test_a_frozen_teacher_that_knew_images_of_another_normalisation_is_refused_until_the_config_says_which(taught):
    workdir, _ = taught

    def with_means(**of_teacher):
        config = from_checkpoint(workdir)
        config.data.mean, config.data.std = 0.3, 0.4
        config.players.teacher.update(of_teacher)
        return config

    before = tiny.config()
    then = f"data.mean = {before.data.mean}, std = {before.data.std}, and here they have 0.3 and 0.4"
    with pytest.raises(
        ConfigError, match=f"distill.start.teacher = .*{then}; set config.players.teacher.mean and .std"
    ):
        built(with_means())
    assert built(with_means(mean=before.data.mean, std=before.data.std))
    assert built(with_means(mean=0.3, std=0.4))
    nearly = from_checkpoint(workdir)
    nearly.data.mean, nearly.data.std = before.data.mean + 1e-3, before.data.std
    assert built(nearly)
    # The student learns on, and may learn other images.
    learning = from_checkpoint(workdir, player="student")
    learning.stages.distill.start.teacher = "teacher"
    learning.data.mean = 0.3
    assert built(learning)
