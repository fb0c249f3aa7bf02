"""Virtual data: which images a student learns on, and that a VAE and noise stand where a generator stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from kdgan import game, methods, models

B, D = 6, 4
BATCH = {"place": jnp.arange(B, dtype=jnp.int32)}


def seen(key=0, **hyperparameters):
    """What the generator is given in one move, and its term `kd`; a player's output is a function of its input."""
    given = []

    def generator(noise, *label):
        given.append((noise, *label))
        return noise.reshape(-1, 2, 2, 1)

    flat = lambda image: image.reshape(-1, D)
    players = {"generator": generator, "student": lambda x: 0.5 * flat(x), "teacher": lambda x: -flat(x)}
    method = methods.build("virtual", latent=D, **hyperparameters)
    terms = method.moves[0].terms(game.Players(players, jnp.int32(0)), BATCH, jax.random.key(key))
    return given[0], terms


def test_it_is_the_divergence_on_what_the_generator_makes():
    (noise,), terms = seen(temperature=2.0)
    assert set(terms) == {"kd"}
    teacher, student = (np.float64(factor * noise) / 2.0 for factor in (-1.0, 0.5))
    p = softmax(teacher, -1)
    divergence = (p * (log_softmax(teacher, -1) - log_softmax(student, -1))).sum(-1)
    np.testing.assert_allclose(terms["kd"], 4.0 * divergence, rtol=1e-4)


def test_images_are_new_at_each_step_or_so_many_and_always_the_same():
    rows = lambda key, **hyperparameters: {tuple(row) for row in np.asarray(seen(key, **hyperparameters)[0][0])}
    assert not rows(0) & rows(1)
    of_three = [rows(key, images=3) for key in range(8)]
    assert len(set().union(*of_three)) == 3
    assert set().union(*of_three) <= set().union(*(rows(key, images=50) for key in range(60)))


def test_classes_are_drawn_alike_and_an_image_keeps_its_class():
    labels = np.concatenate([np.asarray(seen(key, classes=3)[0][1]) for key in range(200)])
    np.testing.assert_allclose(np.bincount(labels, minlength=3) / len(labels), 1 / 3, atol=0.06)
    pairs = [
        pair for key in range(12) for pair in zip(*map(np.asarray, seen(key, classes=3, images=6)[0]), strict=True)
    ]
    of_image = {}
    for noise, label in pairs:
        of_image.setdefault(tuple(noise), set()).add(int(label))
    assert all(len(labels) == 1 for labels in of_image.values())
    assert sorted(label for labels in of_image.values() for label in labels) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(classes=-1), r"method\.classes = -1"),
        (dict(images=0), r"method\.images = 0: None or images, a whole number of at least 1"),
        (dict(images=9, classes=10), r"method\.images = 9: None or images, a whole number of at least 10"),
        (dict(latent=0), r"method\.latent = 0"),
        (dict(temperature=0.0), r"method\.temperature"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        methods.build("virtual", **given)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_vae_as_a_generator_has_its_parameters_and_makes_what_it_generates(likelihood):
    fields = dict(latent=3, width=1 / 16, image_size=8, likelihood=likelihood)
    vae, generator = models.build("vae", **fields), models.build("vae_generator", **fields)
    noise = jax.random.normal(jax.random.key(0), (2, 3))
    rngs = {"params": jax.random.key(1), "posterior": jax.random.key(2)}
    variables = vae.init(rngs, jnp.zeros((2, 8, 8, 1)))
    fresh = generator.init(jax.random.key(1), noise)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, fresh)
    np.testing.assert_array_equal(generator.apply(variables, noise), vae.apply(variables, noise, method="generate"))


def test_noise_is_its_own_image():
    noise = jnp.arange(32.0).reshape(2, 16)
    module = models.build("noise_images", image_size=4, channels=1)
    np.testing.assert_array_equal(module.apply({}, noise), np.arange(32.0).reshape(2, 4, 4, 1))
    with pytest.raises(ValueError, match=r"noise of dimension 5; for images \(4, 4, 1\) it is 16 \(method\.latent\)"):
        module.apply({}, jnp.zeros((2, 5)))


@pytest.mark.parametrize(
    ("name", "term"), [("kd", "kd"), ("logistic", "logistic"), ("mimic", "mimic"), ("noisy", "mimic")]
)
def test_without_labels_a_student_that_matches_its_teacher_has_the_other_term_alone(name, term):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(B, 3)), jnp.float32)
    players = {"student": lambda x: logits, "teacher": lambda x: -logits}
    image, label = jnp.zeros((B, 2, 2, 1)), jnp.zeros(B, jnp.int32)

    def terms(batch, **hyperparameters):
        move = methods.build(name, **hyperparameters).moves[0]
        return move.terms(game.Players(players, jnp.int32(0)), batch, jax.random.key(0))

    unlabelled = terms({"image": image}, labels=False)
    both = terms({"image": image, "label": label})
    assert (set(unlabelled), set(both)) == ({term}, {"ce", term})
    np.testing.assert_array_equal(unlabelled[term], both[term])
