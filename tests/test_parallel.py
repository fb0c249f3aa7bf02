"""Ways to run give the same numbers: SGD on four CPU devices, since Adam would hide a wrong scale."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import players as small
from kdgan import members, methods, parallel
from kdgan.step import make_train_step

STEPS = 3
ROUNDING = 2e-6
MODULES = {"student": small.Plain(), "teacher": small.Plain(7), "discriminator": small.Plain(6)}
METHOD = methods.build("kdgan", labels="expected", discriminator_repeats=2)
OPTIMIZERS = {name: optax.sgd(0.1) for name in METHOD.trained}


def step_of(method=METHOD, modules=MODULES, axis_name=None):
    optimizers = {name: optax.sgd(0.1) for name in method.trained}
    return make_train_step(method, modules, optimizers, axis_name=axis_name)


def run(step, state, seed=0, steps=STEPS):
    for i in range(steps):
        state, metrics = step(state, small.batch(seed=100 * seed + i))
    return state, metrics


@pytest.fixture(scope="module")
def alone():
    """One member on one device: the reference of every other way."""
    return jax.device_get(run(parallel.jit(step_of()), small.make_state(METHOD, MODULES)))


def assert_equal_runs(ours, reference):
    (state, metrics), (expected, expected_metrics) = ours, reference
    assert small.largest_difference(state.params, expected.params) < ROUNDING
    assert metrics.keys() == expected_metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], atol=1e-5)


def test_pmap_over_four_devices_equals_one(alone):
    step = parallel.pmap(step_of(axis_name=parallel.BATCH_AXIS))
    assert_equal_runs(run(step, small.make_state(METHOD, MODULES)), alone)


def test_a_convolution_on_a_cpu_does_not_go_to_the_library_that_computes_it_in_one_thread():
    convolve = lambda image, kernel: jax.lax.conv(image, kernel, (1, 1), "SAME")
    shapes = jnp.ones((32, 32, 14, 14)), jnp.ones((8, 32, 3, 3))  # smaller ones never go there
    text = parallel.compiled(convolve).lower(*shapes).compile().as_text()
    assert "convolution(" in text
    assert "ynn" not in text


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("", {"xla_cpu_no_such_option": "1"}),
        ("--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT", parallel.CPU_OPTIONS),
    ],
)
def test_options_that_xla_does_not_know_or_the_user_has_set_are_left_away(flags, options, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(parallel, "CPU_OPTIONS", options)
    assert parallel._compiler_options.__wrapped__() is None


def test_many_steps_in_one_call_equal_single_ones(alone):
    step = parallel.jit(parallel.many_steps(step_of()))
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *[small.batch(seed=i) for i in range(STEPS)])
    state, metrics = step(small.make_state(METHOD, MODULES), batches)
    assert_equal_runs((state, {name: value[-1] for name, value in metrics.items()}), alone)


def test_many_steps_over_devices_equal_single_ones(alone):
    step = parallel.pmap(parallel.many_steps(step_of(axis_name=parallel.BATCH_AXIS)), batch_axis=1)
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *[small.batch(seed=i) for i in range(STEPS)])
    state, metrics = step(small.make_state(METHOD, MODULES), batches)
    assert_equal_runs((state, {name: value[-1] for name, value in metrics.items()}), alone)


def test_synchronised_batch_norm_over_devices_equals_one_device():
    method = methods.build("supervised")
    one = run(
        parallel.jit(step_of(method, {"student": small.Net()})), small.make_state(method, {"student": small.Net()})
    )
    step = parallel.pmap(step_of(method, {"student": small.Net(axis_name="batch")}, axis_name="batch"))
    several = run(step, small.make_state(method, {"student": small.Net()}))
    assert small.largest_difference(several[0].params, one[0].params) < ROUNDING
    assert small.largest_difference(several[0].model_state, one[0].model_state) < ROUNDING
    apart = parallel.pmap(step_of(method, {"student": small.Net()}, axis_name="batch"))
    unsynchronised = run(apart, small.make_state(method, {"student": small.Net()}))
    assert small.largest_difference(unsynchronised[0].params, one[0].params) > 100 * ROUNDING


KD = methods.build("kd")
KD_MODULES = {"student": small.Plain(), "teacher": small.Plain(7)}
LAMBDAS = [{"student": {"ce": 1.0, "kd": 0.0}}, {"student": {"ce": 0.1, "kd": 2.0}}]


def six_members(common: bool):
    """Six members, three seeds by two arms; each seed has its own teacher unless it is common to all."""
    states = []
    for seed in range(3):
        for lambdas in LAMBDAS:
            state = small.make_state(KD, KD_MODULES, lambdas=lambdas, seed=seed)
            if not common:
                teacher = jax.tree.map(lambda leaf, seed=seed: leaf * (1 + seed), state.params["teacher"])
                state = state.split()[0].join({"params": {"teacher": teacher}, "model_state": {}})
            states.append(state)
    return states


@pytest.fixture(scope="module", params=[False, True], ids=["own teachers", "one teacher"])
def reference(request):
    one, traced = step_of(KD, KD_MODULES), []

    def counted(state, batch):
        traced.append(batch)
        return one(state, batch)

    step = parallel.jit(counted)
    runs = [jax.device_get(run(step, state, seed=i // 2)) for i, state in enumerate(six_members(request.param))]
    assert len(traced) == 1  # λ's, keys and teachers are arguments: nothing is compiled again
    return request.param, runs


def make_runners(common):
    size = {"seeds": 3, "arms": 2}
    step, split = step_of(KD, KD_MODULES), step_of(KD, KD_MODULES, axis_name=parallel.BATCH_AXIS)
    shared = ("teacher",) if common else ()
    return {
        "in turn": members.in_turn(parallel.jit(step), **size),
        "in turn, batch over devices": members.in_turn(parallel.pmap(split), place=parallel.replicate, **size),
        "unrolled": members.unrolled(step, **size),
        "unrolled, one arm at a time": members.unrolled(step, arms_per_chunk=1, **size),
        "vmap": members.side_by_side(step, common=shared, **size),
        "vmap, one seed at a time": members.side_by_side(step, common=shared, seeds_per_chunk=1, **size),
        "vmap, batch over devices": members.side_by_side(
            split, common=shared, wrap=lambda s: parallel.pmap(s, batch_axis=1), place=parallel.replicate, **size
        ),
        "a member on each device": members.over_devices(step, **size),
    }


@pytest.mark.parametrize("name", list(make_runners(False)))
def test_every_way_of_running_members_gives_the_same_numbers(reference, name):
    common, expected = reference
    runner = make_runners(common)[name]
    states = six_members(common)
    arrived, metrics = {}, {}
    for chunk in runner.chunks:
        packed = runner.pack([states[i] for i in chunk])
        for step in range(STEPS):
            batches = [small.batch(seed=100 * (i // 2) + step) for i in chunk]
            packed, found = runner.step(packed, runner.pack_batch(batches))
        ours = zip(
            chunk, runner.unpack(parallel.local(packed)), runner.unpack_metrics(jax.device_get(found)), strict=False
        )
        for i, state, own in ours:
            arrived[i], metrics[i] = state, own
    assert sorted(arrived) == list(range(6))
    for i, run_alone in enumerate(expected):
        assert_equal_runs((arrived[i], metrics[i]), run_alone)


def test_under_vmap_a_shared_teacher_is_paid_once():
    """FLOPs of the compiled program: two arms of a seed cost less than twice one, by the teacher's forward pass."""

    def flops(arms):
        runner = members.side_by_side(step_of(KD, KD_MODULES), seeds=1, arms=arms)
        states = [small.make_state(KD, KD_MODULES, lambdas=LAMBDAS[i % 2]) for i in range(arms)]
        moving, frozen = runner.pack(states).split()
        batch = runner.pack_batch([small.batch()] * arms)
        return runner.step.compiled.lower(moving, frozen, batch).cost_analysis()["flops"]

    teacher_forward = 2 * 8 * (16 * 7 + 7 * 3)
    assert flops(2) <= 2 * flops(1) - teacher_forward


def test_unrolled_a_shared_teacher_is_paid_once():
    """FLOPs after optimisation, by which what the arms have in common is one: two arms of a seed less a teacher's pass."""

    def flops(arms):
        runner = members.unrolled(step_of(KD, KD_MODULES), seeds=1, arms=arms)
        states = [small.make_state(KD, KD_MODULES, lambdas=LAMBDAS[i % 2]) for i in range(arms)]
        compiled = runner.step.compiled.lower(*runner.pack(states), runner.pack_batch([small.batch()] * arms)).compile()
        return compiled.cost_analysis()["flops"]

    teacher_forward = 2 * 8 * (16 * 7 + 7 * 3)
    assert flops(2) <= 2 * flops(1) - teacher_forward
    with pytest.raises(ValueError, match="arms_per_chunk = 2 must divide the 3 arms"):
        members.unrolled(step_of(KD, KD_MODULES), seeds=1, arms=3, arms_per_chunk=2)


def test_frozen_players_are_neither_donated_nor_changed():
    state = small.make_state(KD, KD_MODULES)
    step = parallel.jit(step_of(KD, KD_MODULES))
    after, _ = step(state, small.batch())
    assert after.params["teacher"] is state.params["teacher"]
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params["student"]))


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    step = parallel.pmap(step_of(axis_name=parallel.BATCH_AXIS))
    with pytest.raises(ValueError, match="batch_size = 6 does not divide over 4 devices; nearest are 4 and 8"):
        step(small.make_state(METHOD, MODULES), small.batch(6))


def test_start_processes_wants_all_three_or_nothing(monkeypatch):
    parallel.start_processes()
    monkeypatch.setenv("KDGAN_NUM_PROCESSES", "2")
    with pytest.raises(ValueError, match="give all three"):
        parallel.start_processes()


WORKER = """
import sys, jax, numpy as np
from kdgan import parallel
port, rank = sys.argv[1:]
parallel.start_processes(f"127.0.0.1:{port}", 2, int(rank))
sys.path.insert(0, "tests")
import players as small
import test_parallel as t
step = parallel.pmap(t.step_of(axis_name=parallel.BATCH_AXIS))
state = small.make_state(t.METHOD, t.MODULES)
share = parallel.share_of_batch(8)
for i in range(t.STEPS):
    state, metrics = step(state, {name: leaf[share] for name, leaf in small.batch(seed=i).items()})
assert jax.process_count() == 2 and parallel.any_process(rank == "1")
if parallel.is_writer():
    np.savez(sys.stdout.buffer, **{str(i): leaf for i, leaf in enumerate(jax.tree.leaves(jax.device_get(state.params)))})
"""


def test_two_processes_end_equal_to_one_with_two_devices():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = pathlib.Path(__file__).parent.parent
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1", "PYTHONPATH": str(root)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(port), str(rank)], cwd=root, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs[0][1].decode()[-2000:]
    data = outputs[0][0]
    import io

    leaves = np.load(io.BytesIO(data[data.index(b"PK") :]))
    step = parallel.pmap(step_of(axis_name=parallel.BATCH_AXIS), devices=jax.local_devices()[:2])
    state, _ = run(step, small.make_state(METHOD, MODULES))
    for i, leaf in enumerate(jax.tree.leaves(state.params)):
        np.testing.assert_allclose(leaves[str(i)], leaf, atol=ROUNDING)
    assert jnp.all(jnp.isfinite(leaf))
