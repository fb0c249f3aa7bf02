"""Distilled generators at their known optima, their gradients by hand, and what each λ is for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import closed_forms as closed
import players as small
from kdgan import game, methods
from kdgan.losses.adversarial import GAN_LOSSES
from kdgan.losses.latents import project
from kdgan.models.adapters import Adapter
from kdgan.models.function import Function
from kdgan.state import TrainState
from kdgan.step import make_train_step
from players import with_noise as batch

PIXEL = {name: closed.PLAYERS[name] for name in ("student", "teacher")}
JUDGED = {**PIXEL, "discriminator": closed.PLAYERS["discriminator"]}
PAINTERS = {"student": small.Paints(), "teacher": small.Paints(9), "discriminator": small.Critic()}
FUSED = {**PAINTERS, "generator": small.Paints(9)}
KEY = jax.random.key(3)


def fresh(modules, conditional=False):
    """Random parameters of every player, of NumPy's making: nothing is compiled for them."""
    label, rng = (batch()["label"],) if conditional else (), np.random.default_rng(0)
    given = lambda module: batch()["image" if isinstance(module, small.Critic) else "noise"]
    shapes = {name: jax.eval_shape(module.init, KEY, given(module), *label) for name, module in modules.items()}
    draw = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape, scale=0.5), leaf.dtype)
    return {name: jax.tree.map(draw, variables["params"]) for name, variables in shapes.items()}


def bound(modules, params):
    """Players on given parameters, to call a move's terms with."""
    return game.bind(modules, params, {}, step=jnp.int32(0), key=KEY, trained=tuple(modules), moving=())


def terms(method, lead, modules, params, example):
    move = next(move for move in method.moves if move.lead == lead)
    return move.terms(bound(modules, params), example, KEY)


def parameters(modules):
    return {name: closed.PARAMS[name] for name in modules}


# Optima.


def images_of(values):
    return jnp.asarray(values[:, None, None, None], jnp.float32)


@pytest.mark.parametrize(("latent", "teacher_latent"), [(1, None), (2, 3), (3, 2)])
def test_a_mimic_reaches_the_best_student_of_its_latent_size(latent, teacher_latent):
    """Of a linear teacher ⟨w, z⟩ + b the best ⟨s, P z⟩ + c is s = P w, c = b, and leaves ‖w‖² − ‖P w‖²."""
    larger = max(latent, teacher_latent or latent)
    weights, shift = np.float32([-0.7, 1.1, 0.4][: teacher_latent or latent]), 0.3
    noise = jnp.asarray(closed.signs(larger))
    example = {"image": images_of(np.zeros(len(noise))), "noise": noise}
    method = methods.build("generator_mimic", latent=latent, teacher_latent=teacher_latent)
    state = closed.state_of(
        method,
        PIXEL,
        example,
        closed.sgd(method, 0.25),
        params={"teacher": closed.affine(weights, shift)},
        lambdas={"student": {"pixel": 1.0}},
    )
    state, metrics = closed.loop(method, PIXEL, closed.sgd(method, 0.25), steps=100)(state, example)
    # The projections of the unit vectors: [d, latent] and [d, teacher's].
    own, taught = (np.float64(project(jnp.eye(larger), size)) for size in (latent, len(weights)))
    expected = own.T @ (taught @ weights)
    np.testing.assert_allclose(state.params["student"]["scale"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.params["student"]["shift"], shift, rtol=1e-5)
    left = np.sum(weights**2) - np.sum(expected**2)
    assert (left > 0.01) == (latent < len(weights))
    np.testing.assert_allclose(metrics["student/pixel"], left, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["nonsaturating", "relativistic_average"])
def test_a_distilled_generator_reaches_the_mixture_that_the_weights_ask_for(loss):
    """A critic of x and x² is content where both moments are those of λ_real data + λ_teacher teacher."""
    example = closed.example(16, mean=0.5, deviation=0.8)
    method = methods.build("generator_distill", latent=1, loss=loss, pixel="l2", penalty="r1")
    given = {"student": closed.affine(1.2, 0.2), "teacher": closed.affine(-0.6, -0.2)}
    run = closed.loop(method, JUDGED, closed.sgd(method), steps=2000)
    ones = small.ones(method, JUDGED, example)
    start = closed.state_of(method, JUDGED, example, closed.sgd(method), params=given, lambdas=ones)

    def reached(real, teacher, pixel=0.0):
        # TinyGAN's rule: the student's images count as often as what they are compared with. Else no D = 1/2.
        lambdas = {
            "discriminator": {"real": real, "teacher": teacher, "fake": real + teacher, "r1": 1.0},
            "student": {"adv": 1.0, "pixel": pixel},
        }
        after, _ = run(start.replace(lambdas=jax.tree.map(jnp.float32, lambdas)), example)
        assert small.largest_difference(after.params["teacher"], given["teacher"]) == 0
        return [float(after.params["student"][name].sum()) for name in ("scale", "shift")]

    np.testing.assert_allclose(reached(1.0, 0.0), [0.8, 0.5], atol=1e-4)
    # The teacher's distribution, by images that need not be its own: the sign of the scale is free, and kept.
    np.testing.assert_allclose(reached(0.0, 1.0), [0.6, -0.2], atol=1e-4)
    # The pixel term says whose noise makes whose image.
    np.testing.assert_allclose(reached(0.0, 1.0, pixel=1.0), [-0.6, -0.2], atol=1e-4)
    mean = 0.25 * 0.5 + 0.75 * -0.2
    second = 0.25 * (0.8**2 + 0.5**2) + 0.75 * (0.6**2 + 0.2**2)
    np.testing.assert_allclose(reached(0.25, 0.75), [np.sqrt(second - mean**2), mean], atol=1e-4)


# Adversarial gradients: the widely copied bug passes the teacher where the student belongs, and nothing is learnt.


@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_no_adversarial_gradient_of_a_distilled_generator_is_zero(loss):
    method, params = methods.build("generator_distill", latent=1, loss=loss), parameters(JUDGED)
    found = closed.differentiate(method, JUDGED, params, closed.example())
    assert closed.norm_of(found["student"]["adv"][1]["student"]) > 1e-3
    assert closed.norm_of(found["student"]["adv"][1]["teacher"]) == 0
    gradients = {term: gradients for term, (_, gradients) in found["discriminator"].items()}
    paired = loss.startswith("relativistic")  # both sides of a pair stand in its `real` or `teacher`, and `fake` is 0
    for term, of_student, of_teacher in (("real", paired, False), ("teacher", paired, True), ("fake", True, False)):
        live = not (paired and term == "fake")
        assert (closed.norm_of(gradients[term]["discriminator"]) > 1e-3) == live, term
        assert (closed.norm_of(gradients[term]["student"]) > 1e-3) == (of_student and live), term
        assert (closed.norm_of(gradients[term]["teacher"]) > 1e-3) == of_teacher, term


def test_the_discriminator_learns_from_the_students_images_and_not_from_the_teachers_in_their_place():
    method, params = methods.build("generator_distill", latent=1), parameters(JUDGED)
    before, after_student, after_teacher = (
        closed.differentiate(method, JUDGED, {**params, **changed}, closed.example())["discriminator"]
        for changed in ({}, {"student": closed.affine(1.5, 0.0)}, {"teacher": closed.affine(1.5, 0.0)})
    )
    learnt = lambda after, term: small.largest_difference(
        before[term][1]["discriminator"], after[term][1]["discriminator"]
    )
    assert learnt(after_student, "fake") > 1e-3
    assert learnt(after_student, "teacher") == learnt(after_student, "real") == 0
    assert learnt(after_teacher, "teacher") > 1e-3
    assert learnt(after_teacher, "fake") == learnt(after_teacher, "real") == 0


@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_no_adversarial_gradient_of_the_fused_game_is_zero(loss):
    method = methods.build("fused", latent=1, loss=loss)
    found = closed.differentiate(method, closed.PLAYERS, closed.PARAMS, closed.example())
    for lead in ("generator", "student"):
        assert closed.norm_of(found[lead]["adv"][1][lead]) > 1e-3
    gradients = {term: gradients for term, (_, gradients) in found["discriminator"].items()}
    of_generator = "real" if loss == "relativistic" else "fake"  # where both sides of a pair stand
    for term, seen, unseen in ((of_generator, "generator", "student"), ("fake_student", "student", "generator")):
        assert closed.norm_of(gradients[term]["discriminator"]) > 1e-3
        assert closed.norm_of(gradients[term][seen]) > 1e-3
        assert closed.norm_of(gradients[term][unseen]) == 0
    assert all(closed.norm_of(each["teacher"]) == 0 for each in gradients.values())


@pytest.mark.parametrize("loss", ["nonsaturating", "relativistic_average"])
def test_a_student_that_equals_its_teacher_leaves_nothing_to_tell(loss):
    """D = ½ everywhere is then D's optimum between the two: its loss is 2·log 2, and its gradient 0."""
    method = methods.build("generator_distill", latent=1, loss=loss)

    def at(teacher):
        params = {"student": closed.PARAMS["student"], "teacher": teacher, "discriminator": {"weights": jnp.zeros(3)}}
        found = closed.differentiate(method, JUDGED, params, closed.example())["discriminator"]
        (value, to_teacher), (other, to_fake) = found["teacher"], found["fake"]
        return value + other, np.abs(to_teacher["discriminator"]["weights"] + to_fake["discriminator"]["weights"]).max()

    value, gradient = at(closed.PARAMS["student"])
    np.testing.assert_allclose(value, 2 * np.log(2), rtol=1e-6)
    assert gradient < 1e-6
    assert at(closed.PARAMS["teacher"])[1] > 1e-2  # and with another teacher there is something to tell


# λ's.


@pytest.mark.parametrize("loss", ["nonsaturating", "relativistic_average"])
def test_without_a_teacher_it_is_the_ordinary_gan(loss):
    def after(name, modules, lambdas, **hyperparameters):
        method = methods.build(name, latent=1, loss=loss, **hyperparameters)
        optimizers, example = closed.sgd(method), closed.example()
        state = closed.state_of(method, modules, example, optimizers, params=parameters(modules), lambdas=lambdas)
        return closed.loop(method, modules, optimizers, steps=2)(state, example)[0].params

    without = {"discriminator": {"real": 1.0, "teacher": 0.0, "fake": 1.0}, "student": {"adv": 1.0, "pixel": 0.0}}
    found = after("generator_distill", JUDGED, without)
    rest = {name: JUDGED[name] for name in ("student", "discriminator")}
    alone = {"discriminator": {"real": 1.0, "fake": 1.0}, "student": {"adv": 1.0}}
    expected = after("gan", rest, alone, generator="student")
    for name in rest:
        assert small.largest_difference(expected[name], closed.PARAMS[name]) > 1e-3
        assert small.largest_difference(found[name], expected[name]) < 1e-6


def test_the_fused_game_of_the_source_trains_the_student_by_matching_alone():
    """λ 0 of `fake_student` and of the student's `adv`: L_T = λ5·WD(T, G), and T changes nothing for D and G."""
    method, example = methods.build("fused", latent=1), closed.example()
    optimizers = closed.sgd(method)
    run = closed.loop(method, closed.PLAYERS, optimizers, steps=1)

    def moved(judged, **changed):
        lambdas = {
            "discriminator": {"real": 1.0, "fake": 1.0, "fake_student": judged},
            "generator": {"mse": 1.0, "adv": 1.0},
            "student": {"adv": judged, "match": 3.0},
        }
        params = {**closed.PARAMS, **changed}
        state = closed.state_of(method, closed.PLAYERS, example, optimizers, params=params, lambdas=lambdas)
        return run(state, example)[0].params

    after = moved(0.0)
    # On noise of mean 0 and variance 1 the term is 3·((a − a_G)² + (b − b_G)²), of the generator that has just moved.
    for name in ("scale", "shift"):
        own, target = closed.PARAMS["student"][name], after["generator"][name]
        assert small.largest_difference(target, closed.PARAMS["generator"][name]) > 1e-3
        np.testing.assert_allclose(after["student"][name], own - 0.1 * 3 * 2 * (own - target), rtol=1e-5)
    with_another = moved(0.0, student=closed.affine(-2.0, 1.0))
    for name in ("discriminator", "generator"):
        assert small.largest_difference(with_another[name], after[name]) == 0
    judged = moved(1.0)
    for name in ("discriminator", "student"):
        assert small.largest_difference(judged[name], after[name]) > 1e-3


def test_weights_are_matched_by_hand():
    """Of four hidden units a student of two takes 0 and 2; WD is the mean over its own numbers."""
    modules = {**FUSED, "student": small.Paints(2), "generator": small.Paints(4)}
    params = fresh(modules)
    method = methods.build("fused", latent=3, match="weights")
    wd = lambda own: terms(method, "student", modules, {**params, "student": own}, batch())["wd"]
    value, gradients = jax.jit(jax.value_and_grad(wd))(params["student"])
    large, own = params["generator"], params["student"]
    taken = {
        "hidden": {"kernel": large["hidden"]["kernel"][:, [0, 2]], "bias": large["hidden"]["bias"][jnp.array([0, 2])]},
        "image": {"kernel": large["image"]["kernel"][jnp.array([0, 2])], "bias": large["image"]["bias"]},
    }
    count = 3 * 2 + 2 + 2 * 16 + 16
    assert count == sum(leaf.size for leaf in jax.tree.leaves(own))
    expected = jax.tree.map(lambda s, g: 2 * (np.float64(s) - np.float64(g)) / count, own, taken)
    jax.tree.map(lambda found, leaf: np.testing.assert_allclose(found, leaf, rtol=1e-5, atol=1e-8), gradients, expected)
    squares = jax.tree.map(lambda s, g: np.sum((np.float64(s) - np.float64(g)) ** 2), own, taken)
    np.testing.assert_allclose(value, sum(jax.tree.leaves(squares)) / count, rtol=1e-5)


# The other terms.


def test_equal_networks_differ_in_nothing_and_other_ones_in_everything():
    modules = {**PAINTERS, "teacher": small.Paints()}
    method = methods.build("generator_distill", latent=3, aligned=("hidden",), seen=("hidden",))
    params = fresh(modules)
    names = ("pixel", "aligned", "seen")
    same = terms(method, "student", modules, {**params, "teacher": params["student"]}, batch())
    other = terms(method, "student", modules, params, batch())
    assert max(float(jnp.max(jnp.abs(same[name]))) for name in names) < 1e-6
    assert min(float(jnp.max(other[name])) for name in names) > 1e-3


def test_terms_of_features_by_hand():
    """A student's path may be adapted to one layer of the teacher and aligned with another."""
    modules = {"student": small.Paints(), "teacher": small.Paints(9), "adapter": Adapter()}
    method = methods.build("generator_mimic", latent=3, adapted={"hidden": "image"}, aligned=("hidden",), pixel="l1")
    assert method.moves[0].players == ("student", "adapter")
    params = fresh({name: modules[name] for name in ("student", "teacher")})
    layer = {"kernel": jnp.full((5, 16), 0.1), "bias": jnp.full(16, 0.2)}
    found = terms(method, "student", modules, {**params, "adapter": {"image": layer}}, batch())

    def layers(name):
        noise, weights = np.float64(batch()["noise"]), jax.tree.map(np.float64, params[name])
        hidden = noise @ weights["hidden"]["kernel"] + weights["hidden"]["bias"]  # before its tanh
        return hidden, np.tanh(hidden) @ weights["image"]["kernel"] + weights["image"]["bias"]

    (own, own_image), (taught, taught_image) = layers("student"), layers("teacher")
    np.testing.assert_allclose(found["pixel"], np.abs(np.tanh(own_image) - np.tanh(taught_image)).mean(1), rtol=1e-4)
    adapted = 0.1 * own.sum(1, keepdims=True) + 0.2
    np.testing.assert_allclose(found["adapted"], ((adapted - taught_image) ** 2).mean(1), rtol=1e-4)
    kernels = [x @ x.T / np.linalg.norm(x @ x.T) for x in (own, taught)]
    np.testing.assert_allclose(found["aligned"], 1 - np.sum(kernels[0] * kernels[1]), rtol=1e-3)


def test_the_generator_is_held_near_the_teacher_or_the_batch():
    params = fresh(FUSED)
    made = {
        name: np.float64(FUSED[name].apply({"params": params[name]}, batch()["noise"]))
        for name in ("generator", "teacher", "student")
    }
    found = terms(methods.build("fused", latent=3), "generator", FUSED, params, batch())
    squared = lambda a, b: ((a - b) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(found["mse"], squared(made["generator"], made["teacher"]), rtol=1e-4)
    to_batch = methods.build("fused", latent=3, reference="batch", pixel="l1", match="outputs")
    unneeded = {name: FUSED[name] for name in FUSED if name != "teacher"}
    assert "teacher" not in game.inspect_method(to_batch, unneeded, batch()).inputs
    found = terms(to_batch, "generator", FUSED, params, batch())
    images = np.float64(batch()["image"])
    np.testing.assert_allclose(found["mse"], np.abs(made["generator"] - images).mean((1, 2, 3)), rtol=1e-4)
    found = terms(to_batch, "student", FUSED, params, batch())
    np.testing.assert_allclose(found["match"], np.abs(made["student"] - made["generator"]).mean((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("name", ["generator_distill", "fused"])
def test_labels_count_in_conditional_games_only(name):
    others = {**batch(), "label": (batch()["label"] + 1) % small.CLASSES}
    modules = FUSED if name == "fused" else PAINTERS
    for conditional in (False, True):
        method = methods.build(name, latent=3, seen=("hidden",), conditional=conditional)
        params = fresh(modules, conditional)
        for move in method.moves:
            before, after = (terms(method, move.lead, modules, params, example) for example in (batch(), others))
            for term in before:
                changed = small.largest_difference(before[term], after[term])
                assert (changed > 1e-6) == conditional, (move.lead, term)


def test_any_function_of_noise_serves_as_a_teacher():
    """It has no parameters, and none are asked for; a frozen player that has some must still be given them."""
    method, noise = methods.build("generator_mimic", latent=1), jnp.asarray(closed.signs(1))
    example = {"image": images_of(np.zeros(2)), "noise": noise}
    modules = {"student": closed.Affine(), "teacher": Function(lambda noise: images_of(2 * noise[:, 0] - 1))}
    make = lambda modules: TrainState.create(
        method, modules, closed.sgd(method), example, key=KEY, lambdas={"student": {"pixel": 1.0}}
    )
    state = make(modules)
    assert state.params["teacher"] == {}
    state, metrics = jax.jit(make_train_step(method, modules, {"student": optax.sgd(0.5)}))(state, example)
    # From (1, 0): the loss is (a − 2)² + (b + 1)², and one step of rate ½ solves it.
    np.testing.assert_allclose(metrics["student/pixel"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(state.params["student"]["scale"], [2.0], rtol=1e-6)
    np.testing.assert_allclose(state.params["student"]["shift"], -1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="'teacher' is frozen in this method: pass its parameters"):
        make(PIXEL)
