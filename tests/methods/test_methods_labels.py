"""Methods on tags, numbers and tokens: their terms against NumPy, their gradients where declared, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, rel_entr, softmax

from kdgan import game, methods
from kdgan.methods import taught
from kdgan.models import MLP, LabelDiscriminator, OutputDiscriminator

B, K, T = 4, 3, 5
RNG = np.random.default_rng(0)
OUTPUTS = {
    name: RNG.normal(scale=2, size=(B, K)).astype(np.float32) for name in ("student", "teacher", "discriminator")
}
TOKENS_OUT = {name: RNG.normal(scale=2, size=(B, T, K)).astype(np.float32) for name in ("student", "teacher")}
TAGS = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 1, 1]], np.float32)
NUMBERS = RNG.normal(size=(B, K)).astype(np.float32)
TARGET = RNG.integers(0, K, size=(B, T))
MASK = np.arange(T)[None, :] < np.array([5, 3, 1, 2])[:, None]
IMAGE = np.zeros((B, 2), np.float32)

BATCHES = {
    "tags": {"image": IMAGE, "label": jnp.asarray(TAGS)},
    "number": {"image": IMAGE, "label": jnp.asarray(NUMBERS)},
    "tokens": {"image": IMAGE, "target": jnp.asarray(TARGET), "target_mask": jnp.asarray(MASK)},
}
ALL_KINDS = {"supervised": ("tags", "number", "tokens"), "kd": ("tags", "number", "tokens"),
             "mimic": ("tags", "number", "tokens"), "noisy": ("tags", "number", "tokens"),
             "joint": ("tags", "number", "tokens"), "mutual": ("tags", "number", "tokens"),
             "logistic": ("tags", "tokens"), "adversarial": ("tags", "number"), "nagan": ("tags", "number"),
             "kdgan": ("tags", "number")}  # fmt: skip
CASES = [(name, kind) for name, kinds in ALL_KINDS.items() for kind in kinds]


def terms(name, kind, outputs, batch=None, discriminator=None, **hyperparameters):
    """Leading player -> its terms [b], of players whose outputs are known."""
    if name == "mutual":
        hyperparameters["peers"] = ("student", "teacher")
    method = methods.build(name, label_kind=kind, **hyperparameters)

    def all_terms(outputs):
        players = {player: lambda *args, value=value: value for player, value in outputs.items()}
        if discriminator is not None:
            players["discriminator"] = discriminator
        bound = game.Players(players, jnp.int32(0))
        given = BATCHES[kind] if batch is None else batch
        return {move.lead: move.terms(bound, given, jax.random.key(0)) for move in method.moves}

    return jax.jit(all_terms)(outputs)


def outputs_of(kind):
    return {name: jnp.asarray(value) for name, value in (TOKENS_OUT if kind == "tokens" else OUTPUTS).items()}


def of_tokens(values):
    return np.array([row[keep].mean() for row, keep in zip(values, MASK, strict=True)])


S, TE = (np.float64(OUTPUTS[name]) for name in ("student", "teacher"))
SEQUENCE, TAUGHT = (np.float64(TOKENS_OUT[name]) for name in ("student", "teacher"))
CE = {
    "tags": -(TAGS * log_expit(S) + (1 - TAGS) * log_expit(-S)).sum(1),
    "number": ((S - NUMBERS) ** 2).sum(1) / 2,
    "tokens": of_tokens(-np.take_along_axis(log_softmax(SEQUENCE, -1), TARGET[..., None], -1)[..., 0]),
}
KD = {  # at T = 2
    "tags": 4 * sum(rel_entr(expit(sign * TE / 2), expit(sign * S / 2)).sum(1) for sign in (1, -1)),
    "number": ((S - TE) ** 2).sum(1) / 2,
    "tokens": of_tokens(4 * rel_entr(softmax(TAUGHT / 2, -1), softmax(SEQUENCE / 2, -1)).sum(-1)),
}
MIMIC = {"tags": ((S - TE) ** 2).sum(1) / 2, "number": ((S - TE) ** 2).sum(1) / 2,
         "tokens": of_tokens(((SEQUENCE - TAUGHT) ** 2).sum(-1) / 2)}  # fmt: skip


@pytest.mark.parametrize("kind", BATCHES)
def test_terms_of_supervised_kd_and_mimic(kind):
    outputs = outputs_of(kind)
    np.testing.assert_allclose(terms("supervised", kind, outputs)["student"]["ce"], CE[kind], rtol=1e-5)
    kd = terms("kd", kind, outputs, temperature=2.0)["student"]
    np.testing.assert_allclose(kd["ce"], CE[kind], rtol=1e-5)
    np.testing.assert_allclose(kd["kd"], KD[kind], rtol=1e-5)
    np.testing.assert_allclose(terms("mimic", kind, outputs)["student"]["mimic"], MIMIC[kind], rtol=1e-5)
    still = terms("noisy", kind, outputs, sigma=0.0)["student"]
    np.testing.assert_allclose(still["mimic"], MIMIC[kind], rtol=1e-5)
    both = terms("mutual", kind, outputs, temperature=2.0)["student"]
    np.testing.assert_allclose([both["ce"], both["kd"]], [CE[kind], KD[kind]], rtol=1e-5)
    joint = terms("joint", kind, outputs, temperature=2.0)["student"]
    np.testing.assert_allclose([joint["ce"], joint["kd"]], [CE[kind], KD[kind]], rtol=1e-5)


def test_logistic_matching_is_that_of_classes():
    found = terms("logistic", "tags", outputs_of("tags"))["student"]
    expected = -(expit(TE) * log_expit(S) + expit(-TE) * log_expit(-S)).sum(1)
    np.testing.assert_allclose(found["logistic"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["ce"], CE["tags"], rtol=1e-5)


def test_probabilities_of_classes_are_no_tags():
    """Mixup's labels [b, k] keep their softmax: the kind is said and not guessed."""
    mixed = softmax(S, axis=1).astype(np.float32)
    batch = {"image": IMAGE, "label": jnp.asarray(mixed)}
    found = terms("supervised", "class", outputs_of("class"), batch)["student"]["ce"]
    np.testing.assert_allclose(found, -(mixed * log_softmax(S, 1)).sum(1), rtol=1e-5)


def test_numbers_of_one_dimension():
    outputs = {"student": jnp.asarray(OUTPUTS["student"][:, :1])}
    batch = {"image": IMAGE, "label": jnp.asarray(NUMBERS[:, 0])}
    found = terms("supervised", "number", outputs, batch)["student"]["ce"]
    np.testing.assert_allclose(found, (S[:, 0] - NUMBERS[:, 0]) ** 2 / 2, rtol=1e-5)


def test_kdgan_of_tags_by_hand():
    """E_real over an example's tags, all as likely; C and T by the expectation under their softmax."""
    found = terms("kdgan", "tags", outputs_of("tags"), labels="expected")
    scores = np.float64(OUTPUTS["discriminator"])
    share = TAGS / np.maximum(TAGS.sum(1, keepdims=True), 1)
    np.testing.assert_allclose(found["discriminator"]["real"], -(share * log_expit(scores)).sum(1), rtol=1e-5)
    assert found["discriminator"]["real"][2] == 0  # no tag, nothing that is real
    for player, outputs in (("student", S), ("teacher", TE)):
        made = (softmax(outputs, 1) * log_expit(-scores)).sum(1)
        np.testing.assert_allclose(found["discriminator"][player], -made, rtol=1e-5)
        np.testing.assert_allclose(found[player]["adv"], made, rtol=1e-5)
    np.testing.assert_allclose(found["student"]["ce"], CE["tags"], rtol=1e-5)
    np.testing.assert_allclose(found["student"]["kd"], MIMIC["tags"], rtol=1e-5)
    np.testing.assert_allclose(
        terms("kdgan", "tags", outputs_of("tags"), distillation="kl", temperature=2.0)["student"]["kd"],
        KD["tags"],
        rtol=1e-5,
    )


def test_several_labels_are_drawn_for_an_example():
    """As an example has several tags: with two draws its loss is the mean of two of the scores' losses."""
    few = terms("kdgan", "tags", outputs_of("tags"), draws=2)["discriminator"]["student"]
    losses = -log_expit(-np.float64(OUTPUTS["discriminator"]))
    pairs = (losses[:, :, None] + losses[:, None, :]) / 2
    assert all(np.isclose(value, pairs[i], rtol=1e-5).any() for i, value in enumerate(np.asarray(few)))


@pytest.mark.parametrize("name", ["kdgan", "nagan"])
def test_a_discriminator_of_numbers_scores_the_pair(name):
    found = terms(name, "number", outputs_of("number"), discriminator=lambda x, number: jnp.sum(number, axis=1))
    np.testing.assert_allclose(found["discriminator"]["real"], -log_expit(np.float64(NUMBERS).sum(1)), rtol=1e-5)
    np.testing.assert_allclose(found["discriminator"]["student"], -log_expit(-S.sum(1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["student"]["adv"], log_expit(-S.sum(1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "sees", "shown"),
    [("tags", "logits", S), ("tags", "probabilities", expit(S)), ("number", "logits", S)],
)
def test_what_the_discriminator_of_outputs_is_shown(kind, sees, shown):
    found = terms("adversarial", kind, outputs_of(kind), discriminator=lambda y: y[:, 1], sees=sees)
    np.testing.assert_allclose(found["student"]["adv"], -log_expit(shown[:, 1]), rtol=1e-5)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_each_term_of_the_student_pulls_at_it(name, kind):
    """A gradient that is zero everywhere is the usual fault of adversarial terms."""
    outputs = outputs_of(kind)
    paired = kind == "number" and name in ("kdgan", "nagan")
    judge = (lambda x, y: jnp.sum(y, axis=1)) if paired else None
    judge = (lambda y: jnp.sum(y, axis=1)) if name == "adversarial" else judge

    def totals(s):
        found = terms(name, kind, {**outputs, "student": s}, discriminator=judge)["student"]
        return {term: value.sum() for term, value in found.items() if term != "teacher_ce"}

    for term, pull in jax.jit(jax.jacrev(totals))(outputs["student"]).items():
        assert np.isfinite(pull).all()
        assert np.abs(pull).max() > 1e-4, term
        if kind == "tokens":
            assert np.all(np.asarray(pull)[~MASK] == 0), term


@pytest.mark.parametrize("kind", ["tags", "number"])
@pytest.mark.parametrize("name", ["kdgan", "nagan", "adversarial"])
def test_players_of_the_package_play_these_games(name, kind):
    net = MLP(hidden=(4,), num_classes=K)
    paired = OutputDiscriminator(hidden=(4,)) if name == "adversarial" else LabelDiscriminator(hidden=(4,))
    judge = net if kind == "tags" and name != "adversarial" else paired
    modules = {"student": net, "teacher": net, "discriminator": judge}
    example = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in BATCHES[kind].items()}
    method = methods.build(name, label_kind=kind)
    assert game.inspect_method(method, modules, example).terms.keys() >= {"discriminator", "student"}


def test_unlabelled_tokens_are_matched_where_their_mask_is_on():
    outputs = {name: jnp.concatenate([value, value]) for name, value in outputs_of("tokens").items()}
    both = {"image": np.zeros((2 * B, 2)), "target_mask": jnp.concatenate([jnp.asarray(MASK)] * 2)}
    batch = {**BATCHES["tokens"], "unlabelled": {}, "all": both}
    found = terms("kd", "tokens", outputs, batch, temperature=2.0, unlabelled=True)["student"]
    np.testing.assert_allclose(found["kd"], np.tile(KD["tokens"], 2), rtol=1e-5)
    np.testing.assert_allclose(found["ce"], CE["tokens"], rtol=1e-5)
    del both["target_mask"]
    with pytest.raises(ValueError, match="unlabelled examples have no field 'target_mask'"):
        terms("kd", "tokens", outputs, batch, unlabelled=True)


# What is refused, and how the kind is known


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: methods.build("kd", label_kind="tag"), "label_kind = 'tag': kd accepts class, tags, number, tokens"),
        (lambda: methods.build("logistic", label_kind="number"), "numbers have no sigmoid, take kd or mimic"),
        (lambda: methods.build("kdgan", label_kind="tokens"), "kdgan accepts class, tags, number"),
        (lambda: methods.build("nagan", label_kind="tokens"), "nagan accepts class, tags, number"),
        (
            lambda: methods.build("adversarial", label_kind="number", sees="probabilities"),
            "a number has no probabilities",
        ),
        (lambda: methods.build("kd", label_kind="number", teacher_temperature=2.0), "numbers have no temperature"),
        (
            lambda: terms("supervised", "tags", outputs_of("tags"), {"image": IMAGE, "label": jnp.zeros(B, jnp.int32)}),
            r"label has shape \(4,\), the outputs \(4, 3\); with method.label_kind = 'tags' both are \[b, k\]",
        ),
        (
            lambda: terms(
                "supervised", "class", outputs_of("class"), {"image": IMAGE, "label": jnp.asarray(TAGS, int)}
            ),
            r"labels has shape \(4, 3\); integer labels",
        ),
        (
            lambda: terms("supervised", "number", outputs_of("number"), label_smoothing=0.1),
            "label_smoothing = 0.1: a number is not smoothed",
        ),
        (
            lambda: terms("supervised", "tokens", outputs_of("tokens"), {"image": IMAGE}),
            "needs a field 'target'",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("said", "kind"), [({}, "tags"), ({"label_kind": "number"}, "number")])
def test_the_kind_comes_with_the_data_unless_the_config_says_it(said, kind):
    method = methods.build("supervised", of_data={"label_kind": "tags"}, **said)
    bound = game.Players({"student": lambda x: jnp.asarray(OUTPUTS["student"])}, jnp.int32(0))
    found = method.moves[0].terms(bound, BATCHES[kind], jax.random.key(0))
    np.testing.assert_allclose(found["ce"], CE[kind], rtol=1e-5)


def test_tags_are_no_classes_whatever_the_config_says():
    with pytest.raises(ValueError, match=r"method\.label_kind = 'class': the data say 'tags'"):
        methods.build("kd", of_data={"label_kind": "tags"}, label_kind="class")


def test_a_method_without_the_argument_is_not_given_the_kind():
    assert methods.build("vae", of_data={"label_kind": "tags"}).trained == ("student",)


class Field:
    def __init__(self, kind):
        self.kind = kind


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"image": "image", "label": "class"}, "class"),
        ({"label": "tags"}, "tags"),
        ({"label": "number", "target": "tokens"}, "number"),
        ({"text": "tokens", "target": "tokens"}, "tokens"),
        ({"image": "image", "target": "image"}, "class"),
        ({"text": "tokens"}, "class"),
    ],
)
def test_the_kind_of_data(fields, kind):
    assert taught.kind_of({name: Field(value) for name, value in fields.items()}) == kind
