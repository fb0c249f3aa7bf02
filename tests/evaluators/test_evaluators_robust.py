"""Accuracy under attack of linear classifiers, where it is known; what noise on answers costs; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from kdgan import evaluators
from kdgan.data.fields import Field
from kdgan.evaluators import check

RNG = np.random.default_rng(0)
B, EPSILON = 200, 0.02
IMAGES = RNG.uniform(0.3, 0.7, (B, 4, 4, 1)).astype(np.float32)
W = RNG.normal(size=16).astype(np.float32)
BIAS = np.float32(-0.5 * W.sum())
SECOND = np.float64(IMAGES.reshape(B, 16)) @ W + BIAS
LABELS = ((SECOND + RNG.normal(scale=0.2, size=B)) > 0).astype(np.int32)
MARGIN = (2 * LABELS - 1) * SECOND  # of the label
EXACT = {
    "clean_accuracy": np.mean(MARGIN > 0),
    "fgsm_accuracy": np.mean(MARGIN > EPSILON * np.abs(W).sum()),
    "pgd_accuracy": np.mean(MARGIN > EPSILON * np.abs(W).sum()),
}


def linear(image, scale=1.0):
    second = scale * (image.reshape(len(image), 16) @ jnp.asarray(W) + BIAS)[:, None]
    return jnp.concatenate([jnp.zeros_like(second), second], -1)


def measured(evaluator, network=lambda batch: linear(batch["image"]), batches=1, **fields):
    """What it measures of a network, over so many batches of equal size."""
    run = jax.jit(lambda batch: evaluator.sums(lambda v, given: network(given), {}, batch, jax.random.key(0), {}))
    given = {"image": IMAGES, "label": LABELS, "mask": np.ones(B, bool), **fields}
    part = lambda i: {name: jnp.asarray(np.split(value, batches)[i]) for name, value in given.items()}
    return evaluator.summarise(
        jax.tree.map(lambda *sums: sum(sums), *(jax.device_get(run(part(i))) for i in range(batches)))
    )


def test_the_contract():
    check(evaluators.build("robust", steps=2))
    check(evaluators.build("answers"))


@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
def test_a_linear_classifier_is_right_where_its_margin_exceeds_the_norm(objective):
    assert 0.3 < EXACT["pgd_accuracy"] < EXACT["clean_accuracy"] < 1
    mine = evaluators.build("robust", epsilon=EPSILON, steps=5, objective=objective, restarts=2)
    found = measured(mine)
    assert found == pytest.approx(EXACT)
    assert list(found) == [measure.name for measure in mine.measures]
    assert measured(mine, batches=8) == found


def test_padding_does_not_count():
    spoilt, mask = IMAGES.copy(), np.arange(B) < 120
    spoilt[~mask] = np.nan
    found = measured(evaluators.build("robust", epsilon=EPSILON, steps=3), image=spoilt, mask=mask)
    assert found["pgd_accuracy"] == pytest.approx(np.mean(MARGIN[mask] > EPSILON * np.abs(W).sum()))


def test_a_ball_of_no_radius_is_the_accuracy_of_the_classifier():
    found = measured(evaluators.build("robust", epsilon=0.0, steps=2))
    accuracy = measured(evaluators.build("classifier"))["accuracy"]
    assert set(found.values()) == {accuracy}


def test_it_is_the_same_in_every_normalisation():
    mean, std = 0.4, 0.25
    mine = evaluators.build("robust", epsilon=EPSILON, steps=3)
    undone = lambda variables, batch: linear(batch["image"] * std + mean)
    batch = {"image": (IMAGES - np.float32(mean)) / np.float32(std), "label": LABELS, "mask": np.ones(B, bool)}
    pixels = {"mean": mean, "std": std}
    found = jax.jit(lambda batch: mine.sums(undone, {}, {**batch, "pixels": pixels}, None, {}))(batch)
    assert mine.summarise(jax.device_get(found)) == pytest.approx(EXACT)


def test_vanishing_gradients_are_seen_by_the_margin():
    """Logits in the thousands: the softmax is certain to the last bit, and the cross-entropy has no gradient."""
    certain = lambda batch: linear(batch["image"], scale=1e5)
    blind = measured(evaluators.build("robust", epsilon=EPSILON, steps=3), certain)
    assert blind["pgd_accuracy"] > EXACT["pgd_accuracy"] + 0.1
    assert measured(evaluators.build("robust", epsilon=EPSILON, steps=3, objective="margin"), certain) == pytest.approx(
        EXACT
    )


def test_the_images_that_a_player_is_given_are_attacked():
    """One that reads another field of images is attacked there; one that reads none is refused."""
    mine = evaluators.build("robust", epsilon=EPSILON, steps=3)
    other = measured(mine, lambda batch: linear(batch["part"]), image=IMAGES[:, ::-1], part=IMAGES)
    assert other == pytest.approx(EXACT)
    words = RNG.normal(size=(B, 16)).astype(np.float32)
    with pytest.raises(ValueError, match="its output depends on no image of the batch"):
        measured(mine, lambda batch: linear(batch["words"]), words=words)


def test_the_first_measure_is_the_one_that_is_asked_for():
    names = lambda **given: [measure.name for measure in evaluators.build("robust", **given).measures]
    assert names() == ["pgd_accuracy", "clean_accuracy", "fgsm_accuracy"]
    assert names(measures=["clean", "pgd"]) == ["clean_accuracy", "pgd_accuracy"]
    assert names(measures="pgd") == ["pgd_accuracy"]
    mine = evaluators.build("robust", epsilon=0.1, steps=7, restarts=3)
    assert "3 starts of 7 steps" in mine.measures[0].note
    assert "within 0.1 of each pixel" in mine.measures[0].note


def test_what_noise_on_answers_costs():
    """The larger of two logits m apart stays the larger with probability Φ(m/(σ√2))."""
    images = jnp.asarray(RNG.integers(0, 256, (4_000, 4, 4, 1)) / 255, jnp.float32)
    logits = jnp.tile(jnp.array([[0.8, 0.0]]), (4_000, 1))
    mine = evaluators.build("answers", noise=(0.5, 2.0))
    batch = {"image": images, "label": jnp.zeros(4_000, jnp.int32), "mask": jnp.ones(4_000, bool)}
    found = mine.summarise(jax.device_get(mine.sums(lambda v, b: logits, {}, batch, None, {})))
    for sigma in (0.5, 2.0):
        kept = norm.cdf(0.8 / (sigma * np.sqrt(2)))
        assert found[f"answered_accuracy_{sigma:g}"] == pytest.approx(kept, abs=4 * np.sqrt(kept * (1 - kept) / 4_000))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("robust", {"x": Field("vector", (4,)), "label": Field("class", (), size=3)}, "the data have none"),
        ("answers", {"x": Field("vector", (4,)), "label": Field("class", (), size=3)}, "have no field 'image'"),
        (
            "robust",
            {"image": Field("image", (4, 4, 1)), "label": Field("tags", (3,), size=3)},
            "a label of kind 'tags'",
        ),
        ("answers", {"image": Field("image", (4, 4, 1))}, "have no labels"),
    ],
)
def test_data_that_they_do_not_fit(name, fields, message):
    output = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    mine = evaluators.build(name)
    assert message in mine.fits(output, fields)
    assert mine.fits(output, {"image": Field("image", (4, 4, 1)), "label": Field("class", (), size=3)}) is None


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("robust", {"epsilon": -1.0}, "epsilon = -1.0"),
        ("robust", {"restarts": 0}, "restarts = 0"),
        ("robust", {"objective": "kl"}, "objective = 'kl': accepted are cross_entropy, margin"),
        ("robust", {"measures": ("pgd", "autoattack")}, "one or more of pgd, clean, fgsm"),
        ("robust", {"measures": ("pgd", "pgd")}, "each once"),
        ("answers", {"noise": ()}, r"noise = \(\)"),
        ("answers", {"noise": (1.0, -1.0)}, "noise = -1.0"),
    ],
)
def test_arguments_that_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluators.build(name, **arguments)
