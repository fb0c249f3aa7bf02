"""Chains and schedules against their rules worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import optim

W = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([1.0])}
G = {"kernel": jnp.array([[0.3, 0.4]]), "bias": jnp.array([0.0])}


def updates(chain, gradients=G, steps=1, params=W):
    """The parameters after some equal gradients."""
    state = chain.init(params)
    for _ in range(steps):
        change, state = chain.update(gradients, state, params)
        params = {name: params[name] + change[name] for name in params}
    return params


def kernel(*args, **options):
    return np.asarray(updates(*args, **options)["kernel"][0])


def test_sgd_with_momentum_and_nesterov():
    g = np.array([0.3, 0.4])
    plain = kernel(optim.make_optimizer("sgd", learning_rate=0.1, momentum=0.0), steps=2)
    np.testing.assert_allclose(plain, [3, -4] - 0.1 * 2 * g, rtol=1e-6)
    heavy = kernel(optim.make_optimizer("sgd", learning_rate=0.1, momentum=0.9), steps=2)
    np.testing.assert_allclose(heavy, [3, -4] - 0.1 * (g + 1.9 * g), rtol=1e-6)
    nesterov = kernel(optim.make_optimizer("sgd", learning_rate=0.1, momentum=0.9, nesterov=True), steps=1)
    np.testing.assert_allclose(nesterov, [3, -4] - 0.1 * 1.9 * g, rtol=1e-6)


def test_adam_and_lion_step_by_the_sign_first():
    np.testing.assert_allclose(kernel(optim.make_optimizer("adam", learning_rate=0.1)), [2.9, -4.1], rtol=1e-5)
    np.testing.assert_allclose(kernel(optim.make_optimizer("lion", learning_rate=0.1)), [2.9, -4.1], rtol=1e-5)


def test_rmsprop_of_constant_gradients_moves_as_pytorchs_does():
    """Of 30 gradients of 1 at rate 1e-3 the last update is −1e-3/√(1 − 0.99³⁰) = −0.00196."""
    one = {"kernel": jnp.ones((1, 2)), "bias": jnp.ones(1)}
    chain = optim.make_optimizer("rmsprop", learning_rate=1e-3)
    before, after = (kernel(chain, one, steps=steps) for steps in (29, 30))
    np.testing.assert_allclose(after - before, -1e-3 / np.sqrt(1 - 0.99**30), rtol=1e-3)


def _average(m, share, g):
    return share * m + (1 - share) * g


# The rules as torch/optim has them, and algorithm 2 of Chen et al. 2023, in float64: gradient, first and second average,
# number of the step (from 1) and fields -> what the learning rate multiplies, and the averages after it.
def _sgd(g, m, v, t, o):
    m = o["momentum"] * m + g
    return (g + o["momentum"] * m if o.get("nesterov") else m), m, v


def _adam(g, m, v, t, o):
    m, v = _average(m, o["b1"], g), _average(v, o["b2"], g * g)
    return m / (1 - o["b1"] ** t) / (np.sqrt(v / (1 - o["b2"] ** t)) + o["eps"]), m, v


def _rmsprop(g, m, v, t, o):
    v = _average(v, o["decay"], g * g)
    m = o["momentum"] * m + g / (np.sqrt(v) + o["eps"])
    return m, m, v


def _lion(g, m, v, t, o):
    return np.sign(_average(m, o["b1"], g)), _average(m, o["b2"], g), v


RULES = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "rmsprop": _rmsprop, "lion": _lion}
DEFAULTS = {
    "sgd": dict(momentum=0.9),
    "adam": dict(b1=0.9, b2=0.999, eps=1e-8),
    "adamw": dict(b1=0.9, b2=0.999, eps=1e-8),
    "rmsprop": dict(decay=0.99, momentum=0.0, eps=1e-8),
    "lion": dict(b1=0.9, b2=0.99),
}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in RULES),
        *((name, {"weight_decay": 0.1}) for name in RULES),
        ("sgd", {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
        ("adam", {"b1": 0.5, "b2": 0.9, "eps": 1e-2}),
        ("adamw", {"b1": 0.5, "b2": 0.9, "eps": 1e-2, "weight_decay": 0.1}),
        ("rmsprop", {"decay": 0.9, "momentum": 0.9, "eps": 1e-2, "weight_decay": 0.1}),
        ("lion", {"b1": 0.8, "b2": 0.9, "weight_decay": 0.1}),
    ],
)
def test_twenty_updates_are_those_of_the_rules_as_published(name, options):
    """With a learning rate that changes, which tells a rate inside the momentum's average from one outside."""
    draw = np.random.default_rng(0)
    w, gradients = draw.normal(size=(3, 2)), draw.normal(size=(20, 3, 2)) * np.array([1.0, 1e-4])
    rate = lambda count: 0.1 / (1 + count)
    chain = optim.make_optimizer(name, learning_rate=rate, **options)
    found = {"kernel": jnp.asarray(w, jnp.float32)}
    state = chain.init(found)
    step = jax.jit(chain.update)
    o, decay, m, v = {**DEFAULTS[name], **options}, options.get("weight_decay", 0.0), np.zeros_like(w), np.zeros_like(w)
    for count, g in enumerate(gradients):
        change, state = step({"kernel": jnp.asarray(g, jnp.float32)}, state, found)
        found = {"kernel": found["kernel"] + change["kernel"]}
        decoupled = name in ("adamw", "lion")
        update, m, v = RULES[name](g if decoupled else g + decay * w, m, v, count + 1, o)
        w = w - rate(count) * (update + (decay * w if decoupled else 0.0))
    np.testing.assert_allclose(found["kernel"], w, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
def test_weight_decay_shrinks_weights_and_spares_biases(name):
    zero = {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}
    options = {"learning_rate": 0.1, "weight_decay": 0.5, "momentum": 0.0}
    after = updates(optim.make_optimizer(name, **options), zero)
    np.testing.assert_allclose(after["bias"], [1.0])
    np.testing.assert_allclose(after["kernel"][0], [3 * 0.95, -4 * 0.95], rtol=1e-5)  # 1 − rate·decay, either way
    everything = updates(optim.make_optimizer(name, decay_all=True, **options), zero)
    np.testing.assert_allclose(everything["bias"], [0.95], rtol=1e-5)


def test_l2_decay_joins_adams_gradient():
    """Unlike adamw's: the first step is the sign of gradient + decay·w, whatever the decay's size."""
    zero = {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}
    after = updates(optim.make_optimizer("adam", learning_rate=0.1, weight_decay=1e-3), zero)
    np.testing.assert_allclose(after["kernel"][0], [2.9, -3.9], rtol=1e-4)


def test_the_global_norm_of_a_player_is_clipped():
    clipped = kernel(optim.make_optimizer("sgd", learning_rate=1.0, momentum=0.0, clip_norm=0.25))
    np.testing.assert_allclose(clipped, [3 - 0.15, -4 - 0.2], rtol=1e-6)  # norm 0.5 halved


def test_accumulated_gradients_make_one_averaged_update():
    chain = optim.make_optimizer("sgd", learning_rate=0.1, momentum=0.0, accumulate=4)
    state, params = chain.init(W), W
    for i in range(4):
        change, state = chain.update({"kernel": G["kernel"] * i, "bias": G["bias"]}, state, params)
        assert (i == 3) == bool(np.any(change["kernel"] != 0))
        params = {name: params[name] + change[name] for name in params}
    np.testing.assert_allclose(params["kernel"][0], np.array([3, -4]) - 0.1 * 1.5 * np.array([0.3, 0.4]), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "values"),
    [
        ("constant", {}, {0: 1, 10: 1}),
        ("linear", {"start": 2.0, "end": 1.0}, {0: 2, 5: 1.5, 10: 1, 20: 1}),
        ("cosine", {}, {0: 1, 5: 0.5, 10: 0}),
        ("exponential", {"start": 10.0, "end": 0.1}, {0: 10, 5: 1, 10: 0.1}),
        ("steps", {"boundaries": (0.5, 8), "factor": 0.1}, {4: 1, 6: 0.1, 9: 0.01}),
        ("constant", {"warmup": 4}, {0: 0, 2: 0.5, 4: 1, 10: 1}),
        ("linear", {"warmup": 2, "start": 4.0}, {1: 2, 2: 4, 6: 2, 10: 0}),
    ],
)
def test_schedules_pass_through_their_points(kind, options, values):
    schedule = optim.make_schedule(kind, steps=10, **options)
    for step, value in values.items():
        np.testing.assert_allclose(schedule(step), value, atol=1e-6, err_msg=f"{kind} at {step}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.make_optimizer("sdg"), "accepted are sgd, adam, adamw, rmsprop, lion"),
        (lambda: optim.make_optimizer(learning_rate=-1.0), "learning_rate = -1.0"),
        (lambda: optim.make_optimizer(clip_norm=0.0), "clip_norm = 0.0"),
        (lambda: optim.make_optimizer(accumulate=0), "accumulate = 0"),
        (lambda: optim.make_optimizer("rmsprop", decay=1.0), r"decay = 1.0: must be at least 0 and below 1"),
        (lambda: optim.make_optimizer("sgd", momentum=-0.1), r"momentum = -0.1: must be at least 0 and below 1"),
        (lambda: optim.make_optimizer("adam", b1=1.0), r"b1 = 1.0: must be at least 0 and below 1"),
        (lambda: optim.make_optimizer("lion", b2=-0.5), r"b2 = -0.5: must be at least 0 and below 1"),
        (lambda: optim.make_optimizer("rmsprop", eps=-1.0), r"^optimizer eps = -1.0: must be at least 0, and finite$"),
        (lambda: optim.make_optimizer(weight_decay=-1e-4), r"^optimizer weight_decay = -0.0001: must be at least 0"),
        (lambda: optim.make_optimizer(weight_decay=float("nan")), "weight_decay = nan"),
        (lambda: optim.make_optimizer(eps=float("inf")), "eps = inf"),
        (lambda: optim.make_optimizer(learning_rate=float("nan")), "learning_rate = nan"),
        (lambda: optim.make_optimizer(clip_norm=float("nan")), "clip_norm = nan"),
        (lambda: optim.make_schedule("cosin", steps=10), "accepted are constant, linear, cosine, exponential, steps"),
        (lambda: optim.make_schedule(steps=10, warmup=10), "warmup = 10"),
        (lambda: optim.make_schedule("exponential", steps=10), "both must be of one sign and not 0"),
        (lambda: optim.make_schedule("steps", steps=10, warmup=5, boundaries=(3,)), "must come after the 5 warm-up"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "lion"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("momentum", 0.5), ("nesterov", True), ("b1", 0.3), ("b2", 0.3), ("decay", 0.3), ("eps", 0.1)],
)
def test_a_field_changes_the_updates_of_the_rules_that_have_it_and_of_no_others(name, field, value):
    g = {"kernel": jnp.array([[0.3, -0.02]]), "bias": jnp.zeros(1)}
    plain, changed = (optim.make_optimizer(name, learning_rate=0.1, **fields) for fields in ({}, {field: value}))

    # Gradients that change sign, so that lion's averages show in the signs.
    def path(chain):
        state, params = chain.init(W), W
        for factor in (1.0, -0.05, -0.6, -0.2):
            change, state = chain.update({k: factor * v for k, v in g.items()}, state, params)
            params = {k: params[k] + change[k] for k in params}
        return params["kernel"]

    assert np.array_equal(path(plain), path(changed)) == (name not in optim.OF_RULES[field])
