"""Methods for classes that come later: their terms by hand, old models with fewer classes, generators that remember."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import players as small
from kdgan import game, methods
from kdgan.losses import label_spaces, logits

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.random((6, 4, 4, 1)), jnp.float32)
LABELS = jnp.array([3, 4, 3, 4, 4, 3], jnp.int32)
BATCH = {"image": IMAGES, "label": LABELS}


def head(seed, k):
    """Weights of a linear player of images."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(16, k)), jnp.float32)


OLD, NEW = head(1, 3), head(2, 5)


def linear(weights):
    return lambda images, **kwargs: images.reshape(len(images), -1) @ weights


def bound(**functions):
    """Players that are functions."""
    return game.Players(functions, jnp.zeros((), jnp.int32))


def terms(name, arguments, batch=BATCH, **others):
    (move,) = methods.build(name, **arguments).moves
    players = bound(student=linear(NEW), teacher=linear(OLD), **others)
    return move.terms(players, batch, jax.random.key(0))


S, T = linear(NEW)(BATCH["image"]), linear(OLD)(BATCH["image"])


def same(found, **expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, err_msg=name)


def test_lwf_compares_the_classes_that_the_old_model_has():
    kd = logits.kl_divergence(S[:, :3], T, temperature=2.0)
    same(terms("lwf", {}), ce=logits.cross_entropy(S, LABELS), kd=kd)
    chosen = logits.kl_divergence(S[:, np.array([0, 2])], T[:, np.array([0, 2])], temperature=2.0)
    among = label_spaces.cross_entropy_among(S, LABELS, (3, 4))
    same(terms("lwf", dict(old=(0, 2), new=(3, 4))), ce=among, kd=chosen)


def test_lwf_exemplar_is_a_sigmoid_for_each_class_old_ones_from_the_old_model_alone():
    labels = np.array([0, 4, 1, 3, 4, 3])  # two exemplars
    sigmoid = lambda x: 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    bce = lambda p, q: -(p * np.log(q) + (1 - p) * np.log(1 - q)).sum(-1)
    tags = np.eye(5)[labels]
    found = terms("lwf_exemplar", {}, {**BATCH, "label": jnp.asarray(labels, jnp.int32)})
    same(found, ce=bce(tags[:, 3:], sigmoid(S[:, 3:])), kd=bce(sigmoid(T), sigmoid(S[:, :3])))


def test_before_the_first_step_there_is_no_old_model():
    (move,) = methods.build("lwf_exemplar", old=(), new=(3, 4)).moves
    found = move.terms(bound(student=linear(NEW)), BATCH, jax.random.key(0))
    same(found, ce=logits.sigmoid_cross_entropy(S[:, 3:], jnp.eye(5)[LABELS][:, 3:]))


def test_replayed_images_are_labelled_by_the_old_model_and_go_with_the_new_ones():
    made = jnp.asarray(RNG.random((6, 4, 4, 1)), jnp.float32)
    calls = []

    def student(images):
        calls.append(images)
        return linear(NEW)(images)

    (move,) = methods.build("replay", latent=2).moves
    batch = {**BATCH, "noise": jnp.zeros((6, 2))}
    players = bound(student=student, teacher=linear(OLD), generator=lambda noise: made)
    s, t = linear(NEW)(made), linear(OLD)(made)
    soft = label_spaces.widened_kl(s, t, (0, 1, 2))
    same(move.terms(players, batch, jax.random.key(0)), ce=logits.cross_entropy(S, LABELS), replay=soft)
    (both,) = calls
    np.testing.assert_array_equal(both, jnp.concatenate([IMAGES, made]))
    hard = terms("replay", dict(latent=2, labels="hard", old=(1, 2)), batch, generator=lambda noise: made)
    same(
        hard,
        ce=logits.cross_entropy(S, LABELS),
        replay=logits.cross_entropy(s, 1 + t[:, 1:].argmax(-1)),
    )


@pytest.mark.parametrize(("share", "replaced"), [(0.0, 0), (0.5, 3), (2 / 3, 4), (1.0, 6)])
def test_a_generator_that_remembers_is_shown_the_old_ones_images_among_the_real_ones(share, replaced):
    seen = []
    plain, mine = methods.build("gan", latent=2), methods.build("gan_replay", latent=2, share=share)
    assert [move.players for move in mine.moves] == [move.players for move in plain.moves]

    def discriminator(images):
        seen.append(images)
        return images.mean((1, 2, 3))

    players = bound(
        generator=lambda noise: jnp.zeros((6, 4, 4, 1)),
        old_generator=lambda noise: jnp.full((6, 4, 4, 1), 2.0),
        discriminator=discriminator,
    )
    found = mine.moves[0].terms(players, BATCH, jax.random.key(0))
    real = np.asarray(seen[0])
    assert (real[:replaced] == 2).all()
    np.testing.assert_array_equal(real[replaced:], IMAGES[replaced:])
    again = plain.moves[0].terms(players, {**BATCH, "image": jnp.asarray(real)}, jax.random.key(0))
    same(found, **again)


def test_both_tasks_are_the_union_where_weights_are_even_and_errors_move_weight_not_its_sum():
    labels = jnp.asarray(np.array([0, 4, 1, 3, 2, 3], np.int32))
    batch = {**BATCH, "label": labels}
    source = np.asarray(labels) < 3
    even = terms("both_tasks", dict(source=(0, 1, 2)), batch)
    ce = np.asarray(logits.cross_entropy(S, labels))
    same(even, source=np.where(source, ce, 0), target=np.where(source, 0, ce))
    weighted = terms("both_tasks", dict(source=(0, 1, 2), weights="errors", floor=0.1), batch)
    weight = np.asarray(weighted["source"])[source] / ce[source]
    p = np.asarray(jax.nn.softmax(T))[source, np.asarray(labels)[source]]
    np.testing.assert_allclose(weight, (1.1 - p) / (1.1 - p).mean(), rtol=1e-4)
    np.testing.assert_array_equal(weighted["target"], even["target"])


def test_source_classes_need_not_come_first():
    batch = {**BATCH, "label": jnp.asarray(np.array([2, 0, 1, 0, 2, 4], np.int32))}
    found = terms("both_tasks", dict(source=(2, 1), weights="errors", floor=0.1), batch)["source"]
    p = np.asarray(jax.nn.softmax(T[:, np.array([2, 1])]))[[0, 2, 4], [0, 1, 0]]
    ce = np.asarray(logits.cross_entropy(S, batch["label"]))[[0, 2, 4]]
    np.testing.assert_allclose(found[np.array([0, 2, 4])], ce * (1.1 - p) / (1.1 - p).mean(), rtol=1e-4)


class Sized(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes, name="head")(x.reshape(len(x), -1))


WRONG = {
    "more old than new": (dict(name="lwf"), dict(student=3, teacher=5), "players.student has 3 outputs; set"),
    "old not there": (dict(name="lwf", old=(4,)), dict(student=5, teacher=3), "players.teacher has 3 outputs; set"),
    "no new class": (dict(name="lwf_exemplar"), dict(student=3, teacher=3), "no class of players.student is new"),
    "twice": (dict(name="lwf", new=(3, 3)), None, r"method.new = \(3, 3\): numbers of classes, each once"),
    "labels of others": (dict(name="lwf", new=(3, 4), label_classes=(2, 3, 4)), None, "labels of class 2, too"),
    "no classes": (dict(name="replay", old=()), None, r"method.old = \(\): numbers of classes"),
    "a word": (dict(name="lwf", old="all"), None, "method.old = 'all': numbers of classes"),
    "labels": (dict(name="replay", labels="none"), None, "method.labels = 'none': accepted are soft, hard"),
    "temperature": (dict(name="lwf", temperature=0), None, "method.temperature = 0: a temperature must be positive"),
    "kind": (dict(name="lwf", label_kind="tags"), None, "lwf accepts class"),
    "share": (dict(name="gan_replay", share=1.5), None, r"method.share = 1.5: a number in \[0, 1\]"),
    "weights": (dict(name="both_tasks", weights="odd"), None, "method.weights = 'odd': accepted are even, errors"),
    "floor": (dict(name="both_tasks", floor=0), None, "method.floor = 0: a positive number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_by_its_name(case):
    arguments, sizes, message = WRONG[case]
    modules = {name: Sized(k) for name, k in (sizes or {}).items()}
    with pytest.raises(ValueError, match=message):
        game.inspect_method(methods.build(**arguments), modules, BATCH)


def test_replay_by_a_conditional_or_larger_generator_is_refused_by_its_images():
    modules = {"student": Sized(5), "teacher": Sized(3), "generator": small.Scribbles()}
    with pytest.raises(ValueError, match=r"players.generator makes images of shape \(8, 8, 1\), the data's are"):
        game.inspect_method(methods.build("replay", latent=2), modules, BATCH)
