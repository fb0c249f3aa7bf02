"""Distillation without data: whose gradients are where, what each move may touch, known optima, and memories."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import players as small
from kdgan import game, methods, models
from kdgan.losses import data_free as losses
from kdgan.step import make_train_step

BATCH = {"place": jnp.arange(8)}
KEY = jax.random.key(7)


class Maps(nn.Module):
    """A classifier with batch norm, maps and an embedding; smooth, and without random numbers."""

    width: int = 4

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.tanh(nn.Conv(self.width, (3, 3), name="stage1")(x))
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.tanh(nn.Dense(5, name="embedding")(x.reshape(len(x), -1)))
        return nn.Dense(small.CLASSES, name="head")(x)


MAKERS = {"generator": small.Paints(), "student": Maps(3), "teacher": Maps()}
REMEMBERED = {**MAKERS, "memory": models.Memory(24)}
CONTRASTED = {**REMEMBERED, "contrast": models.Contrast(3, 0, 16, 8)}
OF_IMAGES = {"images": models.Images(8, 4, 1), "student": Maps(3), "teacher": Maps()}
AVERAGED = {**REMEMBERED, "averages": models.MovingStatistics(0.5)}
STILL = {"padding": 0, "flip": False, "latent": 3}
# what -> (method, its hyper-parameters, players)
GAMES = {
    "dafl": ("dafl", {"latent": 3}, MAKERS),
    "dafl in turn": ("dafl", {"latent": 3, "joint": False}, MAKERS),
    "dfad": ("dfad", {"latent": 3, "student_repeats": 1}, MAKERS),
    "dfad log": ("dfad", {"latent": 3, "adversarial": "log_l1", "student_repeats": 1}, MAKERS),
    "zskt": ("zskt", {"latent": 3, "attention": ("stage1",), "student_repeats": 1}, MAKERS),
    "dfq": ("dfq", {"latent": 3, "student_repeats": 1}, MAKERS),
    "deep_inversion": ("deep_inversion", {"norm": "image", "competition": "js", "jitter": 1}, OF_IMAGES),
    "deep_inversion code": ("deep_inversion", {"competition": "code", "jitter": 0, "flip": False}, OF_IMAGES),
    "cmi": ("cmi", {**STILL, "padding": 1, "student_repeats": 1}, CONTRASTED),
    "fast": ("fast", {**STILL, "inner_steps": 2, "student_repeats": 1}, REMEMBERED),
    "fast moving": ("fast", {**STILL, "inner_steps": 1, "moving": True, "student_repeats": 1}, AVERAGED),
}
MAKER = {"deep_inversion": "images"}
AGAINST_THE_STUDENT = ("adversarial", "competition")


def started(method, modules, **lambdas):
    """A state of a method without data; those λ's that are not said are 1."""
    terms = game.inspect_method(method, modules, BATCH).terms
    given = {lead: {term: lambdas.get(term, 1.0) for term in names} for lead, names in terms.items()}
    return small.make_state(method, modules, example=BATCH, lambdas=given)


def step_of(method, modules, rate=0.1):
    return jax.jit(make_train_step(method, modules, {name: optax.sgd(rate) for name in method.trained}))


def apart(a, b):
    return small.largest_difference(a, b)


def gradients(method, modules, state):
    """{lead: {term: {player: gradient}}} of all players, trained, moving or not."""
    found = {}
    for move in method.moves:

        def terms(params, move=move):
            players = game.bind(
                modules, params, state.model_state, step=state.step, key=KEY, trained=method.trained, moving=()
            )
            return {name: jnp.mean(value) for name, value in move.terms(players, BATCH, KEY).items()}

        found[move.lead] = jax.jit(jax.jacrev(terms))(state.params)
    return found


def largest(tree):
    return max((float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree)), default=0.0)


@pytest.fixture(scope="module", params=list(GAMES))
def played(request):
    name, hyperparameters, modules = GAMES[request.param]
    method = methods.build(name, **hyperparameters)
    state = started(method, modules)
    if "memory" in modules:  # of an empty one the student is given zeros
        memory = step_of(method, modules)(state, BATCH)[0].model_state["memory"]
        state = state.replace(model_state={**state.model_state, "memory": memory})
    return name, method, modules, state, gradients(method, modules, state)


# Gradients. A widely copied script passes the teacher in the student's place: adversarial terms and gradients are then 0.


def test_no_gradient_of_a_maker_of_images_is_zero(played):
    name, _, _, _, found = played
    maker = MAKER.get(name, "generator")
    own = [term for term in found[maker] if term != "kd"]
    assert own
    for term in own:
        assert largest(found[maker][term][maker]) > 1e-6, term
    adversarial = [term for term in own if term in AGAINST_THE_STUDENT]
    assert bool(adversarial) == (name != "dafl")
    for term in adversarial:  # it reads the student, whose parameters change it
        assert largest(found[maker][term]["student"]) > 1e-6, term


def test_the_students_terms_pull_the_student_alone(played):
    name, _, _, _, found = played
    maker = MAKER.get(name, "generator")
    of_student = {**found.get("student", {}), **{term: g for term, g in found[maker].items() if term == "kd"}}
    assert of_student
    for term, each in of_student.items():
        assert largest(each["student"]) > 1e-6, term
        assert largest(each[maker]) == 0, term
    for term in ("onehot", "activation", "balance", "statistics", "ce", "contrastive"):
        assert largest(found[maker].get(term, {}).get("student", {})) == 0, term


@pytest.mark.parametrize("name", ["dfad", "zskt", "dfq"])
def test_a_student_that_is_its_teacher_leaves_an_adversary_nothing(name):
    """What the copied script does, seen by the same measure: the test above would fail."""
    method, modules = methods.build(name, latent=3), {**MAKERS, "student": Maps()}
    state = started(method, modules)
    params = {**state.params, "student": state.params["teacher"]}
    model_state = {**state.model_state, "student": state.model_state["teacher"]}
    move = next(move for move in method.moves if move.lead == "generator")

    def term(params):
        # Both in evaluation mode, so that their batch norms agree.
        players = game.bind(modules, params, model_state, step=state.step, key=KEY, trained=("generator",), moving=())
        return jnp.mean(move.terms(players, BATCH, KEY)["adversarial"])

    assert largest(jax.jit(jax.grad(term))(params)["generator"]) < 1e-6


# Moves.


def test_each_move_changes_its_own_players_and_no_other(played):
    _, method, modules, state, _ = played
    for move in method.moves:
        rate = {name: optax.sgd(0.1) for name in move.players}
        lambdas = {move.lead: state.lambdas[move.lead]}
        alone = state.replace(opt_state={name: state.opt_state[name] for name in move.players}, lambdas=lambdas)
        after, _ = jax.jit(make_train_step(game.Method(move), modules, rate))(alone, BATCH)
        for name in state.params:
            before = state.params[name], state.model_state.get(name, {})
            changed = apart((after.params[name], after.model_state.get(name, {})), before)
            assert (changed > 0) == (name in move.players), (move.lead, name)


def test_noise_is_drawn_anew_by_each_move_and_repeat():
    seen = []
    method = methods.build("dfad", latent=3, student_repeats=2)
    state = started(method, MAKERS)

    class Spy(nn.Module):
        @nn.compact
        def __call__(self, noise):
            jax.debug.callback(lambda noise: seen.append(np.asarray(noise)), noise)
            return small.Paints(name="net")(noise)

    modules = {**MAKERS, "generator": Spy()}
    state = started(method, modules)
    seen.clear()
    step_of(method, modules)(state, BATCH)[0].step.block_until_ready()
    jax.effects_barrier()
    assert len(seen) == 3
    assert len({noise.tobytes() for noise in seen}) == 3
    assert seen[0].shape == (8, 3)


@pytest.mark.parametrize("name", ["dafl", "dfad", "zskt", "dfq"])
def test_a_generator_may_be_frozen_and_the_student_learns_on_what_it_makes(name):
    method = methods.build(name, latent=3, generator_repeats=0)
    assert method.trained == ("student",)
    state = started(method, MAKERS)
    after, _ = step_of(method, MAKERS)(state, BATCH)
    assert apart(after.params["student"], state.params["student"]) > 0
    assert apart(after.params["generator"], state.params["generator"]) == 0


# Known optima.


def trained(method, modules, steps, rate, batch=BATCH, **lambdas):
    state, metrics = started(method, modules, **lambdas), {}
    step = make_train_step(method, modules, {name: optax.adam(rate) for name in method.trained})
    state = state.replace(opt_state={name: optax.adam(rate).init(state.params[name]) for name in method.trained})

    @jax.jit
    def run(state):
        return jax.lax.scan(lambda state, _: step(state, batch), state, None, length=steps)

    state, metrics = run(state)
    return state, {name: np.asarray(values[-10:]).mean() for name, values in metrics.items()}


def test_balance_and_confidence_make_all_classes_as_often_as_each_other_and_surely():
    method = methods.build("dafl", latent=3, activation="", joint=False)
    modules = {**MAKERS, "generator": small.Paints(16), "teacher": small.Plain()}
    # Of eight images of sure classes, drawn of three, the entropy is too low by 2/16 on average; of 64 by 2/128.
    batch = {"place": jnp.arange(64)}
    _, metrics = trained(method, modules, 300, 1e-2, batch, balance=1.0, onehot=0.5)
    first = step_of(method, modules)(started(method, modules), batch)[1]
    assert metrics["generator/balance"] < -0.95 * np.log(small.CLASSES)
    assert metrics["generator/onehot"] < 0.5 * first["generator/onehot"]


@pytest.mark.parametrize("name", ["dfad", "zskt"])
def test_a_student_comes_near_its_teacher_on_images_that_a_generator_looks_for(name):
    method = methods.build(name, latent=3, student_repeats=3)
    modules = {"generator": small.Paints(), "student": small.Plain(7), "teacher": small.Plain()}
    term = {"dfad": "student/l1", "zskt": "student/kd"}[name]
    start = step_of(method, modules)(started(method, modules), BATCH)[1][term]
    _, metrics = trained(method, modules, 300, 5e-3)
    assert metrics[term] < 0.3 * start


def test_images_take_the_classes_and_the_statistics_that_are_asked_for():
    method = methods.build("deep_inversion", variation="", jitter=0, flip=False, student_repeats=0)
    modules = {"images": models.Images(9, 4, 1), "teacher": Maps()}
    before = step_of(method, modules)(started(method, modules), BATCH)[1]
    state, after = trained(method, modules, 600, 5e-2, ce=3.0)
    assert after["images/statistics"] < 0.25 * before["images/statistics"]
    players = {"params": state.params["teacher"], **state.model_state["teacher"]}
    logits = Maps().apply(players, state.params["images"]["images"])
    # All nine, though a batch has eight: they take turns. Image i is of class i modulo 3.
    np.testing.assert_array_equal(logits.argmax(-1), np.arange(9) % 3)


# Fast: first-order MAML by hand.


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_meta_gradient_is_the_mean_of_those_on_the_way(inner_steps):
    """Adam's first step is the sign of the gradient. λ 0 of all but `statistics`, which knows no classes."""
    inner = {"inner_steps": inner_steps, "inner_rate": 0.01, "noise_rate": 0.02}
    method = methods.build("fast", **{**STILL, **inner}, student_repeats=1)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
    example = {**BATCH, "noise": noise}
    state = started(method, REMEMBERED, ce=0.0, adversarial=0.0, statistics=2.0)
    teacher = state.params["teacher"]
    kept = {"mean": np.float32([0.3, -0.2, 0.1, 0.5]), "var": np.float32([0.5, 1.5, 0.2, 1.0])}
    state = state.replace(model_state={**state.model_state, "teacher": {"batch_stats": {"norm": kept}}})

    def statistics(theta, noise):
        image = small.Paints().apply({"params": theta}, noise)
        x = nn.tanh(nn.Conv(4, (3, 3)).apply({"params": teacher["stage1"]}, image))
        far = x.mean((0, 1, 2)) - kept["mean"], x.var((0, 1, 2)) - kept["var"]
        return sum(jnp.sqrt(jnp.sum(jnp.square(one))) for one in far)

    theta, both, total = state.params["generator"], jax.jit(jax.grad(statistics, (0, 1))), None
    here, values = (theta, noise), []
    for _ in range(inner_steps):
        values.append(statistics(*here))
        gradient = both(*here)
        total = gradient[0] if total is None else jax.tree.map(jnp.add, total, gradient[0])
        signs = jax.tree.map(lambda g: 2 * g / (jnp.abs(2 * g) + 1e-8), gradient)
        here = jax.tree.map(lambda x, s: x - 0.01 * s, here[0], signs[0]), here[1] - 0.02 * signs[1]
    after, metrics = step_of(method, REMEMBERED)(state, example)
    np.testing.assert_allclose(metrics["generator/statistics"], np.mean(values), rtol=1e-4)
    expected = jax.tree.map(lambda x, g: x - 0.1 * 2.0 * g / inner_steps, theta, total)
    assert apart(after.params["generator"], expected) < 1e-5
    assert apart(after.params["generator"], theta) > 1e-3
    # What is remembered are the images of the place of least cost.
    best = small.Paints().apply({"params": theta}, noise)
    if inner_steps == 1:
        np.testing.assert_allclose(after.model_state["memory"]["memory"]["pixels"][:8], best, rtol=1e-5)
    else:
        assert values[1] < values[0]
        assert apart(after.model_state["memory"]["memory"]["pixels"][:8], best) > 1e-4


# Memory.


def test_what_is_made_is_remembered_and_a_student_learns_of_that_alone():
    name, hyperparameters, modules = GAMES["cmi"]
    method = methods.build(name, **hyperparameters)
    step, state = step_of(method, modules), started(method, modules)
    for made in (8, 16, 24, 32):
        state, _ = step(state, BATCH)
        memory = state.model_state["memory"]["memory"]
        assert memory["count"] == state.model_state["contrast"]["memory"]["count"] == made
        assert np.abs(memory["pixels"][:made]).max((1, 2, 3)).min() > 0
        assert not memory["pixels"][made:].any()
    # Images that nobody made, in the memory: they are what the student's term is of.
    move = next(move for move in method.moves if move.lead == "student")

    def kd(value):
        remembered = {**memory, "pixels": jnp.full_like(memory["pixels"], value)}
        players = game.bind(
            modules, state.params, {**state.model_state, "memory": {"memory": remembered}},
            step=state.step, key=KEY, trained=method.trained, moving=(),
        )  # fmt: skip
        return float(jnp.mean(move.terms(players, BATCH, KEY)["kd"]))

    assert abs(kd(0.0) - kd(2.0)) > 1e-6


def test_a_batch_of_images_serves_as_well_as_one_of_places():
    method = methods.build("dafl", latent=3)
    state = started(method, MAKERS)
    step = step_of(method, MAKERS)
    ours, theirs = step(state, BATCH)[0], step(state, {"image": jnp.zeros((8, 4, 4, 1))})[0]
    assert apart(ours.params, theirs.params) == 0


def test_confidence_is_of_the_teachers_logits():
    """What a method reports is its loss on the images that it makes."""
    method = methods.build("dafl", latent=3)
    state = started(method, MAKERS)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3)), jnp.float32)
    _, metrics = step_of(method, MAKERS)(state, {**BATCH, "noise": noise})
    image = small.Paints().apply({"params": state.params["generator"]}, noise)
    logits = Maps().apply({"params": state.params["teacher"], **state.model_state["teacher"]}, image)
    np.testing.assert_allclose(metrics["generator/onehot"], losses.one_hot(logits).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["generator/balance"], losses.balance(logits), rtol=1e-5)


def test_images_take_turns_the_same_however_a_batch_is_split():
    """Of 12 images a step of 4 moves four, the next step the next four: on one device, and on two that share them."""
    method = methods.build("deep_inversion", variation="", jitter=0, flip=False, student_repeats=0)
    modules = {**OF_IMAGES, "images": models.Images(12, 4, 1)}
    batch = {"place": jnp.arange(4, dtype=jnp.int32)}
    state = small.make_state(
        method, modules, example=batch, lambdas={"images": {"ce": 1.0, "statistics": 0.0}}, rate=1.0
    )

    def moved(split):
        local = {**modules, "images": models.Images(12, 4, 1, axis_name="batch" if split else None)}
        step = make_train_step(method, local, {"images": optax.sgd(1.0)}, axis_name="batch" if split else None)
        over = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="batch") if split else step
        after, rows = state, []
        for _ in range(3):
            before = after.params["images"]["images"]
            given = {"place": batch["place"].reshape(2, 2)} if split else batch
            after, _ = over(after, given)
            changed = np.abs(np.asarray(after.params["images"]["images"] - before)).max((1, 2, 3)) > 0
            rows.append(np.flatnonzero(changed).tolist())
        return rows

    assert moved(split=False) == moved(split=True) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
