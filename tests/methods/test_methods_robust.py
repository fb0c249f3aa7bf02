"""Robust methods on linear players of two classes, whose worst image in a ball is known; batch norm; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import norm

import players as small
from kdgan import attacks, game, methods
from kdgan.losses.logits import cross_entropy

RNG = np.random.default_rng(0)
B, EPSILON = 6, 0.05
IMAGES = RNG.uniform(0.3, 0.7, (B, 3, 3, 1)).astype(np.float32)
LABELS = np.arange(B, dtype=np.int32) % 2
NOISE = RNG.normal(size=(B, 9)).astype(np.float32)


class Linear(nn.Module):
    """Logits [b, 2]: the second by a linear function of the pixels, the first 0."""

    @nn.compact
    def __call__(self, image):
        second = nn.Dense(1, name="head")(image.reshape(len(image), -1))
        return jnp.concatenate([jnp.zeros_like(second), second], -1)


WEIGHTS = {name: RNG.normal(scale=3, size=9).astype(np.float32) for name in ("student", "teacher")}
PARAMS = {
    name: {"head": {"kernel": jnp.asarray(w)[:, None], "bias": jnp.array([-0.5 * w.sum()])}}
    for name, w in WEIGHTS.items()
}
W, BIAS = np.float64(WEIGHTS["student"]), -0.5 * np.float64(WEIGHTS["student"]).sum()
S = np.float64(IMAGES.reshape(B, 9)) @ W + BIAS  # second logits
T = np.float64(IMAGES.reshape(B, 9)) @ WEIGHTS["teacher"] - 0.5 * np.float64(WEIGHTS["teacher"]).sum()
REACH = EPSILON * np.abs(W).sum()  # by which the ball moves the student's second logit
SIGN = 2.0 * LABELS - 1


def two(second):
    return np.stack([np.zeros(B), second], -1)


def ce(second):
    return -log_softmax(two(second), -1)[np.arange(B), LABELS]


def kl(p, q, temperature=1.0):
    """T²·KL(softmax(p/T) ‖ softmax(q/T)) of second logits."""
    return temperature**2 * rel_entr(softmax(two(p) / temperature, -1), softmax(two(q) / temperature, -1)).sum(-1)


def bound(params=None, step=0):
    modules = {"student": Linear(), "teacher": Linear()}
    return game.bind(modules, params or PARAMS, {}, step=jnp.int32(step), key=jax.random.key(0), trained=("student",),
                     moving=("student",))  # fmt: skip


def terms(name, *, batch=None, params=None, step=0, pixels=None, **hyperparameters):
    of_data = {"normalisation": pixels} if pixels else {}
    method = methods.build(name, of_data=of_data, epsilon=hyperparameters.pop("epsilon", EPSILON), **hyperparameters)
    given = batch or {"image": jnp.asarray(IMAGES), "label": jnp.asarray(LABELS), "noise": jnp.asarray(NOISE)}
    return method.moves[0].terms(bound(params, step), given, jax.random.key(1))


@pytest.mark.parametrize("attack", [dict(steps=1, step_size=EPSILON, random_start=False), dict(steps=8)])
def test_adversarial_training_is_the_loss_at_the_margin_less_the_norm(attack):
    found = terms("robust_ce", clean=True, **attack)
    np.testing.assert_allclose(found["ce"], ce(S), rtol=1e-4)
    np.testing.assert_allclose(found["robust_ce"], ce(S - SIGN * REACH), rtol=1e-4)
    assert set(terms("robust_ce", **attack)) == {"robust_ce"}


def test_trades_is_the_divergence_at_the_end_towards_which_the_start_lies():
    found = terms("trades", steps=8)
    side = np.sign((2 * norm.cdf(np.float64(NOISE)) - 1) @ W)
    assert set(side) == {-1.0, 1.0}
    np.testing.assert_allclose(found["ce"], ce(S), rtol=1e-4)
    np.testing.assert_allclose(found["robust_kl"], kl(S, S + side * REACH), rtol=1e-3, atol=1e-5)


def test_ard_matches_the_clean_teacher_where_the_label_is_hardest():
    found = terms("ard", steps=8, temperature=3.0)
    np.testing.assert_allclose(found["ce"], ce(S), rtol=1e-4)
    np.testing.assert_allclose(found["robust_kd"], kl(T, S - SIGN * REACH, 3.0), rtol=1e-3, atol=1e-5)


def test_ard_and_rslad_may_go_away_from_the_teacher():
    farthest = S + np.sign(S - T) * REACH
    found = terms("ard", objective="teacher", temperature=3.0, steps=8, random_start=False)
    np.testing.assert_allclose(found["robust_kd"], kl(T, farthest, 3.0), rtol=1e-3, atol=1e-5)
    found = terms("rslad", steps=8, random_start=False)
    np.testing.assert_allclose(found["kd"], kl(T, S), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["robust_kd"], kl(T, farthest), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["trades", "ard", "rslad"])
def test_a_ball_of_no_radius_is_training_on_clean_images(name):
    found = terms(name, epsilon=0.0, steps=2)
    expected = {"trades": kl(S, S), "ard": kl(T, S, 30.0), "rslad": kl(T, S)}[name]
    np.testing.assert_allclose(list(found.values())[-1], expected, rtol=1e-3, atol=1e-5)


def test_a_schedule_gives_the_radius():
    found = terms("robust_ce", epsilon=lambda step: EPSILON * step / 4, steps=4, random_start=False, step=2)
    np.testing.assert_allclose(found["robust_ce"], ce(S - SIGN * REACH / 2), rtol=1e-4)


def test_pixels_are_those_of_the_data():
    """Images as (pixel − mean)/std, of a student whose weights undo it: the same number."""
    mean, std = 0.4, 0.25
    seen = {"image": jnp.asarray((IMAGES - mean) / std), "label": jnp.asarray(LABELS), "noise": jnp.asarray(NOISE)}
    undone = {
        "head": {"kernel": jnp.asarray(WEIGHTS["student"] * std)[:, None], "bias": jnp.array([BIAS + mean * W.sum()])}
    }
    params = {"student": undone, "teacher": PARAMS["teacher"]}
    found = terms("robust_ce", batch=seen, params=params, pixels={"mean": mean, "std": std}, steps=4)
    np.testing.assert_allclose(found["robust_ce"], ce(S - SIGN * REACH), rtol=1e-4)
    with pytest.raises(ValueError, match=r"method\.normalisation = .*: the data say .*; leave it out"):
        methods.build(
            "trades", of_data={"normalisation": {"mean": mean, "std": std}}, normalisation={"mean": 0.0, "std": 1.0}
        )


def test_gradients_are_those_at_the_images_that_were_found():
    """Danskin: δ is fixed where the loss is differentiated."""
    worst = jnp.asarray(IMAGES - EPSILON * np.sign(W).reshape(3, 3, 1) * SIGN[:, None, None, None], jnp.float32)
    method = methods.build("robust_ce", epsilon=EPSILON, steps=4, random_start=False)
    batch = {"image": jnp.asarray(IMAGES), "label": jnp.asarray(LABELS)}

    def found(own):
        return jnp.mean(method.moves[0].terms(bound({**PARAMS, "student": own}), batch, jax.random.key(0))["robust_ce"])

    def expected(own):
        return jnp.mean(cross_entropy(Linear().apply({"params": own}, worst), batch["label"]))

    slopes, wanted = (jax.jit(jax.grad(loss))(PARAMS["student"]) for loss in (found, expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), slopes, wanted)


def test_the_attack_sees_running_statistics_and_leaves_them():
    module = small.Net()
    batch = {name: jnp.asarray(value) for name, value in small.batch().items()}
    variables = module.init(jax.random.key(0), batch["image"])
    state = {"batch_stats": jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])}
    players = game.bind({"student": module}, {"student": variables["params"]}, {"student": state}, step=jnp.int32(0),
                        key=jax.random.key(0), trained=("student",), moving=("student",))  # fmt: skip
    method = methods.build("robust_ce", epsilon=0.1, steps=2, random_start=False)
    found = method.moves[0].terms(players, batch, jax.random.key(0))["robust_ce"]

    own = {"params": variables["params"], **state}
    worst = attacks.pgd(
        lambda images: cross_entropy(module.apply(own, images), batch["label"]), batch["image"], epsilon=0.1, steps=2
    )
    logits, after = module.apply(own, worst, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, cross_entropy(logits, batch["label"]), rtol=1e-4)
    assert small.largest_difference(players.student.model_state, after) < 1e-6
    assert small.largest_difference(after, state) > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: methods.build("ard", epsilon=-0.1), r"method\.epsilon = -0.1"),
        (lambda: methods.build("trades", steps=0), r"method\.steps = 0"),
        (lambda: methods.build("trades", random_start=False), "takes no such hyper-parameter"),
        (lambda: methods.build("ard", objective="both"), r"method\.objective = 'both': accepted are label, teacher"),
        (lambda: methods.build("ard", temperature=0.0), r"method\.temperature = 0.0"),
        (lambda: methods.build("rslad", label_kind="tokens"), "rslad accepts class, tags, number"),
        (
            lambda: terms("robust_ce", batch={"image": jnp.zeros((2, 9)), "label": jnp.zeros(2, jnp.int32)}),
            r"an attack moves images \[b, h, w, c\] .* float32 \[2, 9\]",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
