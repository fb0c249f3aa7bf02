"""What a stage costs is known before it compiles: against its real states, and what is made of it."""

import json
from unittest import mock

import jax
import numpy as np
import pytest
from flax import linen as nn

import kdgan
import players as small
import tiny
from configs import common
from kdgan.metrics import cost
from kdgan.models import patches, rows
from kdgan.run import build, costs, explain, latency, population, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve
from kdgan.run.program import Program


def prepared(config):
    run = resolve(config)
    inputs = run_inputs.load(run)
    return run, inputs, build.all_programs(run, inputs)


def weights(rate):
    return dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=1 - rate, kd=rate)))


def config_of(members):
    """Four seeds by two arms of one program."""
    config = tiny.config(steps=2, seeds=4, optimizer="adam", arms=common.named(low=weights(0.1), high=weights(0.9)))
    config.parallel.members = members
    return config


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A run of them side by side."""
    config = config_of("vmap")
    workdir = tmp_path_factory.mktemp("mapped")
    train.train(config, workdir)
    return config, workdir


def last_state(workdir):
    return train.Checkpoints(workdir / "checkpoints" / "distill").restore_latest().tree


def test_a_state_takes_the_bytes_that_were_counted(mapped):
    config, workdir = mapped
    run, _, programs = prepared(config)
    found = costs.step_cost(run, programs["distill"][0])
    # teacher 64-8-10, student 64-4-10; of the student Adam's two moments and their count, the key, the step, two λ's
    teacher, student = 65 * 8 + 9 * 10, 65 * 4 + 5 * 10
    assert found.frozen == 4 * teacher
    state = last_state(workdir)["high"]["state"]
    of_all_seeds = cost.size({name: tree for name, tree in state.items() if name != "key"})
    assert found.moving == of_all_seeds // 4 + 8 == pytest.approx(4 * 3 * student, abs=64)
    assert found.working > 4 * student  # its gradient


def test_members_of_a_stage_and_their_data_are_counted(mapped):
    run, inputs, programs = prepared(mapped[0])
    (program,) = programs["distill"]
    one = costs.step_cost(run, program)
    found = population.memory(run, [program], inputs)
    assert found.data == inputs.train.image.nbytes + inputs.train.label.nbytes
    assert found.states == 8 * one.moving + 4 * one.frozen  # a seed's arms share their teacher
    assert found.working == 8 * one.working
    twice = population.memory(run, [program, program], inputs)
    assert twice == (found.data, 2 * found.states, found.working)
    recorded = json.loads((mapped[1] / "summary.json").read_text())["stages"]["distill"]["memory"]
    assert recorded == {"estimated": sum(found), "peak": None}  # a CPU does not say


@pytest.mark.parametrize(("seeds", "expected"), [(4, 4), (3.9, 2), (2, 2), (1.9, 1), (0.5, 1)])
def test_as_many_seeds_step_together_as_memory_holds(mapped, seeds, expected):
    run, inputs, programs = prepared(mapped[0])
    (program,) = programs["distill"]
    idle = sum(population.memory(run, [program], inputs)[:2])
    limit = idle + int(seeds * 2 * costs.step_cost(run, program).working)
    assert costs.seeds_that_fit(run, program, inputs, limit) == expected
    assert costs.seeds_that_fit(run, program, inputs, None) == 4


def test_a_device_too_small_for_all_members_runs_them_in_chunks_to_the_same_end(mapped, tmp_path, monkeypatch):
    config, workdir = mapped
    run, inputs, programs = prepared(config)
    (program,) = programs["distill"]
    idle = sum(population.memory(run, [program], inputs)[:2])
    monkeypatch.setattr(costs, "device_limit", lambda: idle + int(5 * costs.step_cost(run, program).working))
    assert population.seeds_per_chunk(run, program, inputs) == 2
    train.train(config, tmp_path)
    assert small.largest_difference(last_state(workdir), last_state(tmp_path)) < 1e-6


@pytest.mark.parametrize("members", ["auto", "in_turn"])
def test_arms_unrolled_into_one_program_end_as_in_turn_and_side_by_side(members, mapped, tmp_path, monkeypatch):
    monkeypatch.setattr(population, "COMPILING", 0.0)
    config = config_of(members)
    train.train(config, tmp_path)
    assert (
        small.largest_difference(last_state(mapped[1]), last_state(tmp_path)) < 1e-3
    )  # Adam at 0.1 magnifies rounding
    found = (tmp_path / "explanation.txt").read_text()
    # teacher: 8 · (2 · 592 + 18 + 8) of 26.1 thousand operations
    unrolled = "4 seeds × 2 arms, a seed's arms in one program (auto: cpu, 37% of a step is the same for them)"
    assert (unrolled in found) == (members == "auto")


def test_a_teacher_that_is_a_small_part_of_the_step_is_run_again_for_each_arm():
    config = config_of("auto")
    config.stages.distill.steps = 10**9
    config.players.student.model_args.hidden = (64, 64)
    run, _, programs = prepared(config)
    (program,) = programs["distill"]
    assert costs.frozen_share(run, program) < 0.1
    assert population.chosen_members(run, program) == "in_turn"


def test_arms_are_unrolled_where_the_teachers_passes_saved_outweigh_the_compilation():
    # 9,680 operations of the teacher, 4 seeds, half of the two arms' passes: 2e11 are saved for each in 10.3 million steps.
    for steps, expected in ((10_200_000, "in_turn"), (10_400_000, "unrolled")):
        config = config_of("auto")
        config.stages.distill.steps = steps
        run, _, programs = prepared(config)
        assert population.chosen_members(run, programs["distill"][0]) == expected


@pytest.mark.parametrize(
    ("members", "convolutions", "by_rows", "by_patches"),
    [
        ("vmap", "auto", False, True),
        ("in_turn", "auto", False, False),
        ("in_turn", "patches", False, True),
        ("vmap", "direct", False, False),
        ("in_turn", "rows", True, False),
        ("vmap", "rows", True, True),
    ],
)
def test_convolutions_are_by_patches_where_kernels_are_mapped_or_the_config_says_so(
    members, convolutions, by_rows, by_patches
):
    config = config_of(members)
    config.parallel.convolutions = convolutions
    run, _, programs = prepared(config)
    chosen = population.convolution(run, programs["distill"][0])
    if by_rows:
        assert getattr(chosen, "func", chosen) is rows.convolve_few
        chosen = getattr(chosen, "keywords", {}).get("otherwise")
    assert chosen is (patches.convolve if by_patches else None)


@pytest.mark.parametrize(
    ("arms", "expected"), [(1, 1), (5, 5), (11, 11), (12, 12), (13, 1), (16, 8), (21, 7), (24, 12)]
)
def test_unrolled_programs_hold_an_equal_number_of_arms(arms, expected):
    assert population.arms_per_chunk(arms) == expected


def test_an_explanation_warns_of_more_than_the_device_has(mapped, monkeypatch):
    run, inputs, programs = prepared(mapped[0])
    text = explain.explain(run, inputs, programs)
    assert "4 seeds × 2 arms, side by side (vmap); 1 compiled step\n" in text
    assert "more than the" not in text
    monkeypatch.setattr(costs, "device_limit", lambda: 100 * 1024)
    assert "more than the 100 KiB that may be planned for on this device" in explain.explain(run, inputs, programs)


def test_a_step_s_operations_are_those_of_its_products(mapped):
    run, inputs, programs = prepared(mapped[0])
    # Of 8 examples: the teacher's forward pass, and the student's three products less the gradient of the images.
    products = 8 * 2 * ((64 * 8 + 8 * 10) + 3 * (64 * 4 + 4 * 10) - 64 * 4)
    found = costs.step_cost(run, programs["distill"][0]).flops
    assert products < found < 2 * products
    whole = costs.training_flops(run, programs["distill"][0], inputs)
    np.testing.assert_allclose(whole, 2 * found)


def test_what_is_not_due_at_each_step_is_counted_as_often_as_it_is():
    """R1 at every fourth step costs a quarter of R1 at every step; the step without it is that of a game without it."""

    def operations(**penalty):
        config = tiny.config(steps=2)
        config.data.mean = config.data.std = 0.5
        image = dict(image_size=8, channels=1, width=1 / 64)
        config.players = common.named(
            generator=dict(model="dcgan_generator", model_args=image, evaluate="nothing"),
            discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 64)),
        )
        lambdas = dict(
            discriminator=dict(real=1.0, fake=1.0, **({"r1": 1.0} if penalty else {})), generator=dict(adv=1.0)
        )
        config.stages = common.named(game=dict(method=dict(name="gan", latent=3, **penalty), lambdas=lambdas))
        run, _, programs = prepared(config)
        return costs.step_cost(run, programs["game"][0]).flops

    without, each, fourth = operations(), operations(penalty="r1"), operations(penalty="r1", penalty_every=4)
    assert fourth - without == pytest.approx((each - without) / 4, rel=0.01)
    assert each - without > 0.1 * without


def test_players_of_any_inputs_are_timed_for_one_example_and_for_many():
    """A teacher by position, and a discriminator of a pair, one of which is named: both are arguments of the call."""
    config = tiny.config(arms=common.named(adversarial=dict(
        method=dict(name="adversarial"),
        lambdas=dict(discriminator=dict(real=1.0, fake=1.0), student=dict(ce=1.0, adv=1.0)),
    )))  # fmt: skip
    config.players.discriminator = dict(model="output_discriminator", model_args=dict(hidden=(4,)))
    _, _, programs = prepared(config)
    (program,) = programs["distill"]
    timed = latency.Latencies()
    for name in ("discriminator", "teacher"):
        shapes = costs.variable_shapes(program.local_modules[name], program.inspection.inputs[name])
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes["params"])
        variables = {"params": params, "model_state": {}}
        for examples in (1, 64):
            forward, (args, kwargs) = costs.forward_of(program, name, examples)
            assert {len(leaf) for leaf in jax.tree.leaves((args, kwargs))} == {examples}
            output = forward(variables, args, kwargs)
            assert len(output) == examples
        found = timed.of(program, name, variables)
        assert list(found["latency_ms"]) == ["1", "64"]
        assert all(value > 0 for value in (*found["latency_ms"].values(), found["empty_call_ms"]))
        assert timed.of(program, name, variables) == found  # timed once
    assert costs.parameter_bytes(program, "teacher") == 4 * (64 * 8 + 8 + 8 * 10 + 10)


class Tempered(nn.Module):
    """Of a batch [b, k], a number, a vector [k] and labels [b]."""

    @nn.compact
    def __call__(self, x, temperature, *, scale, label, train=False):
        return (x + label[:, None]) / temperature * scale[None]


def test_what_has_no_axis_of_examples_is_given_as_it_is():
    program = mock.Mock(
        spec=Program,
        local_modules={"tempered": Tempered()},
        inspection=mock.Mock(inputs={"tempered": (
            (jax.ShapeDtypeStruct((8, 3), np.float32), jax.ShapeDtypeStruct((), np.float32)),
            {"scale": jax.ShapeDtypeStruct((3,), np.float32), "label": jax.ShapeDtypeStruct((8,), np.int32)},
        )}),
    )  # fmt: skip
    forward, (args, kwargs) = costs.forward_of(program, "tempered", 64)
    shapes = [leaf.shape for leaf in (*args, kwargs["scale"], kwargs["label"])]
    assert shapes == [(64, 3), (), (3,), (64,)]
    assert forward({}, args, kwargs).shape == (64, 3)


def test_a_player_that_is_another_network_in_an_arm_costs_there_what_that_costs(tmp_path):
    made = tiny.config(seeds=1, steps=1)
    wide = dict(lambdas=dict(student=dict(ce=1.0)), players=dict(student=dict(model_args=dict(hidden=(5,)))))
    alone = dict(lambdas=dict(student=dict(ce=1.0)))
    made.stages = common.named(alone=dict(arms=common.named(as_it_is=alone, wide=wide, again=alone), steps=1))
    made.evaluate.latency = False
    stage = kdgan.train(made, tmp_path, show=False)["stages"]["alone"]
    count = lambda hidden: 64 * hidden + hidden + 10 * hidden + 10
    (hidden,) = made.players.student.model_args.hidden
    assert stage["cost"]["student"]["parameters"] == count(hidden) != count(5)
    assert stage["arms"]["wide"]["cost"]["student"]["parameters"] == count(5)
    assert not {"cost"} & {*stage["arms"]["as_it_is"], *stage["arms"]["again"]}
