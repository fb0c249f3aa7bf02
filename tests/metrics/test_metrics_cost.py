"""Costs of layers whose parameters and operations are counted by hand, and a latency that is known."""

import time
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models
from kdgan.metrics import cost


def variables(module, shape):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros(shape)))


def test_parameters_of_a_convolutional_network():
    module = nn.Sequential([nn.Conv(8, (3, 3)), lambda x: x.reshape(len(x), -1), nn.Dense(10)])
    expected = 3 * 3 * 4 * 8 + 8 + 6 * 6 * 8 * 10 + 10
    shapes = variables(module, (1, 6, 6, 4))["params"]
    assert cost.parameters(shapes) == expected
    assert cost.parameters(jax.tree.map(lambda x: np.zeros(x.shape), shapes)) == expected
    assert cost.parameters({}) == 0


@pytest.mark.parametrize("batch", [1, 8])
def test_dense_layer_is_two_operations_a_weight_and_one_a_bias(batch):
    module = nn.Dense(64)
    found = cost.flops(module.apply, variables(module, (1, 32)), jnp.zeros((batch, 32)), examples=batch)
    assert found == 2 * 32 * 64 + 64


@pytest.mark.parametrize(
    ("padding", "strides", "taps"),
    [
        # Windows of 3 fit in 10 at 8 places, or at 4 with stride 2; padded at 10, of which the outer two lack a tap.
        ("VALID", 1, (8 * 3) ** 2),
        ("VALID", 2, (4 * 3) ** 2),
        ("SAME", 1, (10 * 3 - 2) ** 2),
    ],
)
def test_convolution_counts_the_taps_inside_the_image(padding, strides, taps):
    module = nn.Conv(8, (3, 3), strides=strides, padding=padding, use_bias=False)
    found = cost.flops(module.apply, variables(module, (1, 10, 10, 4)), jnp.zeros((2, 10, 10, 4)), examples=2)
    assert found == 2 * taps * 4 * 8


def test_nothing_is_executed():
    def fn(x):
        jax.debug.callback(lambda: calls.append(0))
        return x @ x

    calls: list[int] = []
    # XLA puts −1 for the callback, which it cannot look into.
    assert cost.flops(fn, jax.ShapeDtypeStruct((4, 4), jnp.float32)) == pytest.approx(2 * 4**3, abs=1)
    jax.effects_barrier()
    assert calls == []


def test_a_function_without_arithmetic_costs_nothing():
    assert cost.flops(lambda x: x.T, jnp.zeros((2, 3))) == 0.0


def test_random_keys_and_scalars_are_arguments_like_others():
    assert cost.flops(lambda key, x: x * 2.0, jax.random.key(0), 3.0) == 1.0


def test_the_body_of_a_loop_is_counted_once():
    # What the docstring warns of; if XLA ever counts the turns, the warning goes.
    def loop(w, x):
        return jax.lax.scan(lambda carry, _: (carry @ w, None), x, None, length=5)[0]

    once = 2 * 8 * 16 * 16
    found = cost.flops(loop, jnp.zeros((16, 16)), jnp.zeros((8, 16)))
    assert once <= found < 1.1 * once


def test_latency_is_the_median_call_without_the_first(monkeypatch):
    # The clock reads a start and an end for each of five calls: 1, 9, 2, 3 and 8 s.
    readings = iter([0.0, 1.0, 10.0, 19.0, 20.0, 22.0, 30.0, 33.0, 40.0, 48.0])
    monkeypatch.setattr(cost, "time", types.SimpleNamespace(perf_counter=lambda: next(readings)))
    assert cost.latency(lambda x: x + 1, jnp.zeros(2), repeats=5) == 3


def test_a_long_call_is_timed_three_times(monkeypatch):
    calls = []
    clock = iter(range(100))  # every call takes a second
    monkeypatch.setattr(cost, "time", types.SimpleNamespace(perf_counter=lambda: calls.append(0) or next(clock)))
    assert cost.latency(lambda x: x + 1, jnp.zeros(2), longest=0.5) == 1
    assert len(calls) == 2 * 3
    assert cost.latency(lambda x: x + 1, jnp.zeros(2), longest=4.5) == 1
    assert len(calls) == 2 * (3 + 5)


def test_an_empty_call_takes_less_than_one_that_computes():
    matrix = jnp.ones((400, 400))
    assert 0 < cost.empty_call() < cost.latency(lambda x: x @ x @ x @ x, matrix)


def test_latency_waits_for_the_result_and_leaves_out_the_warm_up():
    calls = []

    def slow(x):
        calls.append(0)
        time.sleep(0.5 if len(calls) == 1 else 0.02)
        return x

    @jax.jit
    def fn(x):
        return jax.pure_callback(slow, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    # A lower bound is sure on a busy machine; above, half the first call's time is far.
    assert 0.02 <= cost.latency(fn, np.zeros(2, np.float32), repeats=3) < 0.25


@pytest.mark.parametrize(("call", "name"), [("flops", "examples"), ("latency", "repeats")])
def test_counts_below_one(call, name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        getattr(cost, call)(jnp.sin, jnp.zeros(1), **{name: 0})


def test_size_counts_bytes_of_arrays_and_of_keys():
    tree = {
        "half": np.zeros((3, 5), np.float16),
        "key": jax.random.key(0),
        "shape": jax.ShapeDtypeStruct((7,), jnp.int32),
    }
    assert cost.size(tree) == 30 + 8 + 28


def test_memory_at_most_alive_in_a_chain_of_operations():
    w, x = jnp.zeros((100, 100)), jnp.zeros((100, 100))
    one = 4 * 100 * 100
    chain = lambda x, w: jnp.sin(x) @ w
    assert cost.peak_memory(chain, x, w) == 3 * one  # x, w, sin; then w, sin, the product
    assert cost.peak_memory(lambda nothing, x, w: chain(x, w), (), x, w) == 4 * one  # x is not given up
    assert cost.peak_memory(lambda x, w: jnp.cos(chain(x, w)) + 1, x, w) == 3 * one  # a longer chain takes no more
    assert cost.peak_memory(jax.jit(chain), x, w) == 4 * one  # a call keeps its arguments to its end


def test_memory_inside_a_loop_is_of_one_turn():
    x = jnp.zeros((100, 100))

    def turn(x, _):
        return jnp.sin(x) @ jnp.cos(x), None

    one = 4 * 100 * 100
    few, many = (cost.peak_memory(lambda x, n=n: jax.lax.scan(turn, x, length=n)[0], x) for n in (2, 200))
    assert few == many == 4 * one  # what goes in, sine, cosine, what comes out


@pytest.mark.parametrize(("model", "shape"), [("mlp", (28, 28, 1)), ("lenet5", (28, 28, 1)), ("resnet8", (8, 8, 3))])
def test_memory_of_a_training_step_is_near_what_xla_takes(model, shape):
    module = models.build(model, num_classes=10)
    image = jnp.zeros((16, *shape))
    start = variables(module, image.shape)

    def step(variables, image):
        def loss(params):
            options = dict(train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
            return jnp.mean(module.apply({**variables, "params": params}, image, **options)[0] ** 2)

        grads = jax.grad(loss)(variables["params"])
        return {**variables, "params": jax.tree.map(lambda p, g: p - g, variables["params"], grads)}

    compiled = jax.jit(step, donate_argnums=0).lower(start, image).compile().memory_analysis()
    taken = compiled.argument_size_in_bytes + compiled.output_size_in_bytes - compiled.alias_size_in_bytes
    taken += compiled.temp_size_in_bytes
    found = cost.peak_memory(step, start, image)
    assert 0.8 * taken < found < 1.6 * taken


def test_counting_and_measuring_a_program_trace_it_once():
    traces = []

    def product(a, b):
        traces.append((a.shape, b.shape))
        return a @ b

    matrices = jnp.ones((2, 3)), jnp.ones((3, 4))
    assert cost.flops(product, *matrices) == 2 * 2 * 3 * 4
    assert cost.peak_memory(product, *matrices) == 4 * (2 * 3 + 3 * 4 + 2 * 4)
    assert traces == [((2, 3), (3, 4))]
