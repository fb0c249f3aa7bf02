"""Players start where their config says: cut from a wider network, in part, or refused before anything compiles."""

from unittest import mock

import jax
import numpy as np
import pytest

import tiny
from configs import common
from kdgan.run import build, starts, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve
from kdgan.state import variable_shapes
from kdgan.transfer import transfer

CE = dict(lambdas=dict(student=dict(ce=1.0)))
OF_TEACHER = dict(stage="teacher", player="teacher")
CUT = dict(**OF_TEACHER, transfer="uniform", scale=0.5)


def built(config):
    """(run, last stage, its only program)."""
    run = resolve(config)
    programs = build.all_programs(run, run_inputs.load(run))
    (program,) = programs[run.stages[-1].name]
    return run, run.stages[-1], program


def student_from(start, **stage):
    """Teacher 64-8-10, then a student 64-4-10 that starts as said."""
    arms = common.named(random=dict(**CE), started=dict(**CE, start=dict(student=start)))
    config = tiny.config(arms=arms)
    with config.unlocked():
        config.stages.distill.update(stage)
    return config


def drawn(program, player, seed=0, **widths):
    """Variables of a player's module, with other fields, as the host keeps them of an earlier stage."""
    rng = np.random.default_rng(seed)
    module = program.local_modules[player].clone(**widths)
    shapes = dict(variable_shapes(module, program.inspection.inputs[player]))
    values = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    return {"params": values.pop("params"), "model_state": values}


def test_each_seeds_student_starts_as_every_other_unit_of_its_own_teacher():
    run, stage, program = built(student_from(CUT))
    teachers = {seed: drawn(program, "student", seed, hidden=(8,)) for seed in run.seeds}
    finished = {"teacher": {"main": {seed: {"teacher": variables} for seed, variables in teachers.items()}}}
    states = train.initial_states(mock.Mock(spec=train.Context, run=run), stage, program, finished)
    assert program.arms == ("random", "started")  # one compiled step serves both
    for seed, fresh, state in zip(run.seeds, states[::2], states[1::2], strict=True):
        given, found = teachers[seed]["params"], state.params["student"]
        np.testing.assert_array_equal(found["dense1"]["kernel"], given["dense1"]["kernel"][:, ::2])
        np.testing.assert_array_equal(found["dense1"]["bias"], given["dense1"]["bias"][::2])
        np.testing.assert_allclose(found["head"]["kernel"], given["head"]["kernel"][::2] * np.sqrt(2), rtol=1e-6)
        np.testing.assert_array_equal(found["head"]["bias"], given["head"]["bias"])
        np.testing.assert_array_equal(fresh.params["student"]["dense1"]["bias"], np.zeros(4))
        assert np.abs(fresh.params["student"]["dense1"]["kernel"] - found["dense1"]["kernel"]).max() > 0.01


@pytest.mark.parametrize("how", ["uniform", "first"])
def test_the_first_state_is_the_transfer_of_all_variables(how):
    config = student_from(dict(**OF_TEACHER, transfer=how))
    config.players.teacher = dict(model="players.Net", model_args=dict(width=8))
    config.players.student = dict(model="players.Net", model_args=dict(width=4))
    _, stage, program = built(config)
    given = drawn(program, "student", width=8)
    state = starts.create_state(program, stage, "started", 0, {"student": given})
    narrow = dict(variable_shapes(program.local_modules["student"], program.inspection.inputs["student"]))
    expected = transfer({"params": given["params"], **given["model_state"]}, narrow, how=how)
    assert set(expected) == {"params", "batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, state.params["student"], expected["params"])
    jax.tree.map(np.testing.assert_array_equal, state.model_state["student"], {"batch_stats": expected["batch_stats"]})


def test_a_part_is_taken_and_the_rest_is_as_fresh_as_without():
    config = student_from(dict(**OF_TEACHER, only=("dense1/*",)))
    config.players.student.model_args.hidden = (8,)
    _, stage, program = built(config)
    given = drawn(program, "student")
    state, fresh = (
        starts.create_state(program, stage, arm, 3, started).params["student"]
        for arm, started in (("started", {"student": given}), ("random", {}))
    )
    jax.tree.map(np.testing.assert_array_equal, state["dense1"], given["params"]["dense1"])
    jax.tree.map(np.testing.assert_array_equal, state["head"], fresh["head"])


def refused(config, monkeypatch, message):
    monkeypatch.setattr(jax, "jit", None)  # nothing may be compiled on the way
    with pytest.raises(ConfigError, match=message) as error:
        built(config)
    return str(error.value)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (dict(CUT, only=("dense1/*",)), "start.student: transfer cuts a whole network to size; leave out only and skip"),
        (dict(CUT, skip=("head/*",)), "transfer cuts a whole network to size"),
        (dict(CUT, transfer="evenly"), "how is 'evenly'; it accepts 'uniform', 'first', 'low_rank'"),
        (dict(CUT, transfer="low_rank"), "has no layer as two factors"),
        (dict(CUT, scale=float("inf")), "scale is inf; it must be a finite number"),
        (dict(OF_TEACHER, scale=0.5), "start.student.scale = 0.5: only a start with transfer is scaled"),
        (OF_TEACHER, r"dense1/bias is \(8,\), expected \(4,\); .*cut it to size with transfer='uniform'"),
        (dict(OF_TEACHER, only=("body/*",)), r"only=\('body/\*',\), skip=\(\) leave nothing to take.* are dense1/bias, "),
        (dict(OF_TEACHER, only=("dense1/*",)), r"dense1/bias is \(8,\) there and \(4,\) here; add it to skip"),
    ],
)  # fmt: skip
def test_a_start_that_cannot_be_is_refused_before_anything_compiles(start, message, monkeypatch):
    refused(student_from(start), monkeypatch, message)


def test_a_student_wider_than_its_source_is_refused(monkeypatch):
    config = student_from(CUT)
    config.players.student.model_args.hidden = (16,)
    message = (
        r"distill.start.student: params/dense1/bias has shape \(16,\) in the narrow network and \(8,\) in the wide one"
    )
    # To cut it to size is what it already asks for.
    assert "transfer=" not in refused(config, monkeypatch, message)


def test_a_teacher_given_other_noise_than_it_was_trained_with_is_told_which_fields_to_set(monkeypatch):
    config = tiny.config()
    config.data.mean = config.data.std = 0.5
    small = dict(model="dcgan_generator", model_args=dict(image_size=8, channels=1, width=1 / 64), evaluate="nothing")
    config.players = common.named(
        teacher=small,
        student=small,
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 64)),
    )
    game = dict(discriminator=dict(real=1.0, fake=1.0), teacher=dict(adv=1.0))
    config.stages = common.named(
        teacher=dict(method=dict(name="gan", generator="teacher", latent=6), lambdas=game, steps=1),
        distill=dict(
            start=dict(teacher="teacher"),
            method=dict(name="generator_mimic", latent=4),
            lambdas=dict(student=dict(pixel=1.0)),
            steps=1,
        ),
    )
    refused(
        config, monkeypatch, r"start.teacher: .*\[\(6,\)\] there .*\[\(4,\)\] here .*method.latent, .*teacher_latent"
    )
    monkeypatch.undo()
    config.stages.distill.method.teacher_latent = 6
    assert built(config)[2].inspection.inputs["teacher"][0][0].shape[-1] == 6
