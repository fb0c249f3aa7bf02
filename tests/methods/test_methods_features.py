"""Students that learn from their teacher's features: terms on features taken by hand, who moves, combined, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy.stats import truncnorm

import one_move
import outside_method
import players as small
from kdgan import game, methods
from kdgan.losses import boundaries, factors, features, flow, logits, similarity
from kdgan.losses.log_power import log_power_distance
from kdgan.losses.review import hierarchical_context
from kdgan.losses.variational import variational_information
from kdgan.methods.published import PUBLISHED
from kdgan.methods.taught import method_of
from kdgan.models import Adapter, Paraphraser, Regressor, ReviewFusion, Translator, Variational
from kdgan.step import make_train_step

STUDENT, TEACHER, NORMED = small.Maps(), small.Maps(6), small.Net()
ONE, BOTH = {"features": ("first",)}, {"features": ("first", "second")}
ADAPTERS = {
    "adapter": Adapter(), "adapter_ickd": Regressor(), "adapter_vid": Variational(), "adapter_ab": Regressor(),
    "adapter_ofd": Regressor(), "adapter_review": ReviewFusion(), "adapter_srd": Adapter(), "translator": Translator(),
    "paraphraser": Paraphraser(),
}  # fmt: skip


def norm_margins(norm):
    """Means of the negative values of normal numbers, by SciPy."""
    mean, spread = np.float64(norm["bias"]), np.abs(np.float64(norm["scale"]))
    return truncnorm.mean(-np.inf, -mean / spread, loc=mean, scale=spread)


def translated_apart(s, wanted, run):
    return factors.factor_transfer(run("translator", s, wanted), wanted, p=2)


# Method -> (its arguments, who moves with the student, the term of (s, t, run) -> value); `run` applies a player by hand.
CASES = {
    "hint": (BOTH, "adapter", lambda s, t, run: features.feature_l2(run("adapter", s, t), t)),
    "attention": (BOTH, None, lambda s, t, run: features.attention_transfer(s, t)),
    "fsp": ({**BOTH, "pooling": "max"}, None, lambda s, t, run: flow.solution_flow(s, t, pooling="max")),
    "kdsvd": ({**BOTH, "k": 2}, None, lambda s, t, run: flow.singular_flow(s, t, k=2)),
    "nst": ({**BOTH, "weights": (1.0, 3)}, None, lambda s, t, run: similarity.neuron_selectivity(s, t, [1.0, 3.0])),
    "ickd": (
        {**ONE, "adapter": True}, "adapter_ickd",
        lambda s, t, run: similarity.channel_correlation(run("adapter_ickd", s, t), t),
    ),
    "vid": (
        BOTH, "adapter_vid",
        lambda s, t, run: variational_information(run("adapter_vid", s, t)[0], t, run("adapter_vid", s, t)[1]),
    ),
    "ab": (
        {**ONE, "margin": 2.0}, "adapter_ab",
        lambda s, t, run: boundaries.activation_boundary(run("adapter_ab", s, t), t, margin=2.0),
    ),
    "review": (
        {**BOTH, "levels": (2,)}, "adapter_review",
        lambda s, t, run: hierarchical_context(run("adapter_review", s, t), t, levels=(2,)),
    ),
    "srd": (
        {**ONE, "power": 3.0}, "adapter_srd",
        lambda s, t, run: log_power_distance(run("adapter_srd", s, t), t, power=3.0),
    ),
    "ft": (
        {**ONE, "p": 2}, "translator",
        lambda s, t, run: translated_apart(s, run("paraphraser", t)[0], run),
    ),
}  # fmt: skip
ALIKE = ("fsp", "kdsvd")  # their networks have the same channels


@pytest.mark.parametrize("name", CASES)
def test_a_term_is_the_loss_on_features_taken_by_hand_and_its_players_learn_by_it(name):
    arguments, mover, loss = CASES[name]
    modules = {"student": STUDENT, "teacher": STUDENT if name in ALIKE else TEACHER, **ADAPTERS}
    method, batch = methods.build(name, **arguments), one_move.example()
    assert method.trained == ("student", *((mover,) if mover else ()))
    state = small.make_state(method, modules, example=batch)
    terms, gradients = one_move.evaluated(method, modules, state, batch)
    s, t = (
        one_move.taken(modules[player], state, player, batch["image"], *arguments["features"])
        for player in ("student", "teacher")
    )
    value = loss(s, t, lambda player, *given: one_move.adapted(modules[player], state, player, *given))
    np.testing.assert_allclose(terms[name], value, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        terms["ce"], logits.cross_entropy(logits_of(state, batch), jnp.asarray(batch["label"])), 1e-5
    )
    assert all(one_move.largest(gradient) > 1e-6 for gradient in gradients.values())
    if name != "kdsvd":
        assert {*PUBLISHED[name]["student"], "ce"} == terms.keys()


def logits_of(state, batch):
    return STUDENT.apply({"params": state.params["student"]}, jnp.asarray(batch["image"]))


def test_ofd_has_its_margins_from_the_batch_norm_of_the_teacher():
    method, batch = methods.build("ofd", features={"first": "norm"}, norms=("norm",)), one_move.example()
    modules = {"student": STUDENT, "teacher": NORMED, **ADAPTERS}
    state = small.make_state(method, modules, example=batch)
    norm = {"scale": jnp.array([0.5, -1.0, 2.0, 1.0]), "bias": jnp.array([0.2, -1.0, 0.0, 1.0])}
    state.params["teacher"]["norm"].update(norm)
    terms, gradients = one_move.evaluated(method, modules, state, batch)
    s, t = (
        one_move.taken(modules[player], state, player, batch["image"], path)
        for player, path in (("student", "first"), ("teacher", "norm"))
    )
    s, t = np.float64(one_move.adapted(Regressor(), state, "adapter_ofd", s, t)["norm"]), np.float64(t["norm"])
    target = np.maximum(t, norm_margins(norm))
    expected = np.where((s <= target) & (target <= 0), 0, (s - target) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(terms["ofd"], expected, rtol=1e-4)
    assert all(one_move.largest(gradients[player]) > 1e-6 for player in ("student", "adapter_ofd"))


def test_attention_by_its_length_and_a_mapping_of_paths():
    method, batch = methods.build("attention", features={"first": "second"}, norm="length"), one_move.example()
    modules = {"student": STUDENT, "teacher": TEACHER}
    state = small.make_state(method, modules, example=batch)
    terms, _ = one_move.evaluated(method, modules, state, batch)
    s = one_move.taken(STUDENT, state, "student", batch["image"], "first")
    t = one_move.taken(TEACHER, state, "teacher", batch["image"], "second")
    np.testing.assert_allclose(terms["attention"], features.attention_distance(s, t), rtol=1e-5)


def test_a_paraphraser_learns_the_teachers_features_and_no_more():
    """Of a mapping it takes the teacher's paths, as `ft` does; without labels, on all images."""
    method = methods.build("paraphrase", features={"second": "first"}, unlabelled=True)
    modules = {"teacher": TEACHER, "paraphraser": Paraphraser()}
    batch = one_move.example(others=4)
    del batch["label"]
    state = small.make_state(method, modules, example=batch)
    assert method.trained == ("paraphraser",)
    terms, gradients = one_move.evaluated(method, modules, state, batch)
    image = np.concatenate([batch["image"], batch["unlabelled"]["image"]])
    t = one_move.taken(TEACHER, state, "teacher", image, "first")
    _, again = one_move.adapted(Paraphraser(), state, "paraphraser", t)
    assert terms.keys() == PUBLISHED["paraphrase"]["paraphraser"].keys()
    np.testing.assert_allclose(
        terms["reconstruction"], np.square(t["first"] - again["first"]).mean((1, 2, 3)), rtol=1e-4
    )
    assert one_move.largest(gradients["paraphraser"]["first-encoder"]) > 0


def test_without_labels_every_image_is_compared_where_asked_for():
    method, batch = methods.build("hint", **ONE, labels=False, unlabelled=True), one_move.example(others=4)
    modules = {"student": STUDENT, "teacher": TEACHER, **ADAPTERS}
    state = small.make_state(method, modules, example=batch)
    terms, _ = one_move.evaluated(method, modules, state, batch)
    image = np.concatenate([batch["image"], batch["unlabelled"]["image"]])
    s, t = (one_move.taken(modules[p], state, p, image, "first") for p in ("student", "teacher"))
    assert terms.keys() == {"hint"}
    expected = features.feature_l2(one_move.adapted(Adapter(), state, "adapter", s, t), t)
    np.testing.assert_allclose(terms["hint"], expected, rtol=1e-5)


def test_layers_come_in_the_order_of_pairs_and_of_a_mapping_in_that_of_its_keys():
    for paths, order in (
        ((("stem", "stem"), "stage1", ["stage2", "stage3"]), [("stem", "stem"), ("stage1", "stage1"), ("stage2", "stage3")]),
        ({"stem": "stem", "stage2": "stage3"}, [("stage2", "stage3"), ("stem", "stem")]),
    ):  # fmt: skip
        part = methods.BY_NAME["fsp"].part(features=paths)
        assert list(zip(part.features, part.targets, strict=True)) == order
    assert part.details == {"fsp": "stage2→stage3, stem; average"}


# Combined


def test_all_of_them_stand_in_one_move_each_with_its_adapter_and_the_teacher_stays():
    parts = [dict(arguments, name=name) for name, (arguments, _, _) in CASES.items() if name not in ALIKE]
    method = methods.build("combine", parts=(*parts, "kd"))
    modules = {"student": STUDENT, "teacher": TEACHER, **ADAPTERS}
    state = small.make_state(method, modules, example=one_move.example())
    assert set(state.lambdas["student"]) == {"ce", "kd", *CASES} - set(ALIKE)
    step = jax.jit(make_train_step(method, modules, {name: optax.sgd(1e-3) for name in method.trained}))
    after, _ = step(state, one_move.example())
    moved = {name for name in state.params if small.largest_difference(state.params[name], after.params[name]) > 0}
    assert moved == {"student", *ADAPTERS} - {"adapter_ofd", "paraphraser"}


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    names = ("attention", "fsp", "kdsvd", "nst", "ickd", "rkd", "cc", "sp", "pkt")
    method = methods.build("combine", parts=[dict(BOTH, name=name) for name in names], labels=False)
    modules = {"student": STUDENT, "teacher": STUDENT}
    state = small.make_state(method, modules, example=one_move.example())
    state.params["teacher"] = state.params["student"]
    terms, gradients = one_move.evaluated(method, modules, state, one_move.example())
    assert len(terms) == len(names) + 1
    assert all(np.abs(value).max() < 1e-6 for value in terms.values())
    assert one_move.largest(gradients) < 1e-4


CALLS = []


class Counted(nn.Module):
    """`small.Maps` that notes its calls."""

    width: int = 4

    @nn.compact
    def __call__(self, x):
        CALLS.append(self.width)
        return small.Maps(self.width, name="net")(x)


def test_combined_terms_are_those_of_each_alone_and_each_network_runs_once():
    hint, rkd = {"features": ("net/first",)}, {"features": ("net/second",)}
    alone = {"hint": hint, "rkd": rkd, "kd": {"temperature": 2.0}}
    combined = methods.build("combine", parts=[dict(arguments, name=name) for name, arguments in alone.items()])
    modules, batch = {"student": Counted(), "teacher": Counted(6), "adapter": Adapter()}, one_move.example()
    state = small.make_state(combined, modules, example=batch)
    CALLS.clear()
    together, _ = one_move.evaluated(combined, modules, state, batch)
    assert CALLS == [4, 6]
    assert together.keys() == {"ce", "hint", "rkd_distance", "rkd_angle", "kd"}
    for name, arguments in alone.items():
        terms, _ = one_move.evaluated(methods.build(name, **arguments), modules, state, batch)
        for term, value in terms.items():
            np.testing.assert_allclose(together[term], value, rtol=1e-6, err_msg=term)


def test_features_that_no_term_reads_change_no_program():
    """Soft labels of networks that are asked for features, too: the very program of soft labels alone."""
    modules, batch = {"student": small.Net(), "teacher": small.Net(6)}, one_move.example(others=4)
    alone = methods.kd.part()
    asked = dataclasses.replace(alone, features=("conv", "norm", "head"), targets=("conv", "head"))
    assert game.inspect_method(method_of(asked), modules, batch).features.keys() == {"student", "teacher"}
    programs = []
    for part in (alone, asked):
        method = method_of(part, unlabelled=True)
        state = small.make_state(method, modules, example=batch)
        step = make_train_step(method, modules, {"student": optax.sgd(0.1)})
        programs.append(jax.jit(step).lower(state, batch))
    assert programs[0].as_text() == programs[1].as_text()
    assert programs[0].cost_analysis()["flops"] > 0


def test_a_part_from_outside_stands_beside_them_by_its_dotted_path():
    parts = (
        "outside_method.aligned",
        dict(ONE, name="hint"),
        dict(name="outside_method.aligned", feature="second"),
    )
    modules = {
        "student": STUDENT,
        "teacher": TEACHER,
        "adapter": Adapter(),
        "adapter_aligned": outside_method.Projection(),
    }
    method, batch = methods.build("combine", parts=parts[:2]), one_move.example()
    assert method.trained == ("student", "adapter_aligned", "adapter")
    state = small.make_state(method, modules, example=batch)
    terms, gradients = one_move.evaluated(method, modules, state, batch)
    assert terms.keys() == {"ce", "angle", "hint"}
    assert all(one_move.largest(gradient) > 1e-6 for gradient in gradients.values())
    with pytest.raises(ValueError, match=r"method.parts: aligned and aligned both move the player 'adapter_aligned'"):
        methods.build("combine", parts=parts)
    with pytest.raises(ValueError, match=r"method.parts: kd has the term 'kd', which stands there already"):
        game.inspect_method(methods.build("combine", parts=("kd", "kd")), modules, batch)


# Refused


@pytest.mark.parametrize("label_kind", ["number", "tags", "tokens"])
def test_features_are_compared_whatever_the_label(label_kind):
    assert methods.build("hint", **ONE, label_kind=label_kind).trained == ("student", "adapter")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("hint", {}, r"method.features = \(\): paths of modules, .*hint needs 1 or more, and `--mode=explain` lists them"),
        ("paraphrase", {}, r"method.features = \(\): .*paraphrase needs 1 or more"),
        ("hint", {"features": "first"}, "method.features = 'first': paths of modules"),
        ("attention", {"features": {"first": "head", "second": "head"}}, "attention accepts each path of a network once"),
        ("hint", {"features": (("first",),)}, r"method.features = \(\('first',\),\): paths of modules, .* are accepted"),
        ("hint", {"features": ("first", ("first", "second"))}, "hint accepts each path of a network once"),
        ("fsp", ONE, r"method.features = \('first',\): fsp is of what leads from one layer to the next; 2 or more"),
        ("kdsvd", {**BOTH, "k": 0}, "method.k = 0: singular vectors, a whole number of at least 1"),
        ("nst", {**BOTH, "weights": (1.0,)}, r"method.weights = \(1.0,\): one number a layer is accepted, 2 here"),
        ("fsp", {**BOTH, "weights": (1.0, 1.0)}, "one number a pair of consecutive layers is accepted, 1 here"),
        ("hint", {**ONE, "weights": (float("nan"),)}, r"method.weights = \(nan,\): one number a layer"),
        ("sp", {**BOTH, "weights": (1.0, -1.0)}, r"method.weights = \(1.0, -1.0\): numbers of at least 0"),
        ("vid", {**ONE, "weights": (0.0,)}, r"method.weights = \(0.0,\): numbers of at least 0, not all of them 0"),
        ("review", {**ONE, "levels": (1, 2)}, r"method.levels = \(1, 2\): each once, the largest first"),
        ("attention", {**ONE, "norm": "l2"}, "method.norm = 'l2': accepted are squared, length"),
        ("fsp", {**BOTH, "pooling": "sum"}, "method.pooling = 'sum': accepted are average, max"),
        ("ab", {**ONE, "margin": 0.0}, "method.margin = 0.0: a number above 0"),
        ("srd", {**ONE, "power": 1.0}, "method.power = 1.0: a number above 1"),
        ("ft", {**ONE, "p": 3}, "method.p = 3: 1 and 2 are accepted"),
        ("review", {**ONE, "levels": (4, 0)}, "method.levels = 0: rows and columns, a whole number of at least 1"),
        ("ofd", ONE, r"method.norms = \(\): the path of the teacher's last batch norm .* each of 1 layers"),
        ("ofd", {**ONE, "norms": "norm"}, "method.norms = 'norm': paths of modules"),
        ("cc", {**ONE, "gamma": 0.0}, "method.gamma = 0.0: a number above 0"),
        ("cc", {**ONE, "order": 0}, "method.order = 0: a whole number of at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_one_line_that_names_the_field(name, arguments, message):
    with pytest.raises(ValueError, match=message) as refused:
        methods.build(name, **arguments)
    assert "\n" not in str(refused.value)
    if name != "paraphrase":
        with pytest.raises(ValueError, match=message):
            methods.build("combine", parts=(dict(arguments, name=name),))


OF_OTHER_SIDES = {"student": STUDENT, "teacher": TEACHER, **ADAPTERS, "adapter_ofd": Adapter()}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("attention", {"features": {"first": "head"}}, "method.features: attention: the features 'first' .* and 'head'"),
        ("fsp", BOTH, r"method.features: fsp: .* have shapes \(8, 4, 4, 4\) and \(8, 4, 4, 6\); a flow takes"),
        ("ickd", ONE, "method.features: ickd: .*a learned adapter maps one width to another"),
        ("nst", {"features": ("head",)}, "method.features: nst: .*channels are of maps"),
        ("kdsvd", {**BOTH, "k": 5}, "method.features: kdsvd: .*the features 'first' of the student"),
        ("hint", {"features": {"first": "head"}}, "players.adapter .*Adapter got the student's 'first' of shape .*'head'"),
        ("hint", {"features": ("stage9",)}, "has no module at path 'stage9'"),
        ("ofd", {**ONE, "norms": ("first",)}, "method.norms: the teacher has no parameters 'scale' and 'bias' at 'first'"),
        ("ofd", {**ONE, "norms": ("first/kernel/x",)}, "method.norms: the teacher has no parameters .* at 'first/kernel/x'"),
        ("sp", {**ONE, "unlabelled": True}, "method.unlabelled = True needs data.unlabelled_batch_size > 0"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_are_refused_in_one_line_by_layer(name, arguments, message):
    with pytest.raises(ValueError, match=message) as refused:
        game.inspect_method(methods.build(name, **arguments), OF_OTHER_SIDES, one_move.example())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "player", "model", "given"),
    [
        ("vid", "adapter_vid", Adapter(), "one dict; .means, variances."),
        ("hint", "adapter", Variational(), "tuple; a model"),
    ],
)
def test_an_adapter_of_another_method_is_refused_by_its_player(name, player, model, given):
    with pytest.raises(ValueError, match=f"players.{player}.model gives {given}"):
        game.inspect_method(methods.build(name, **BOTH), {**OF_OTHER_SIDES, player: model}, one_move.example())


def test_two_parts_do_not_move_one_player():
    parts = (dict(ONE, name="hint"), dict(name="contrastive", feature="second"))
    with pytest.raises(ValueError, match=r"method.parts: hint and contrastive both move the player 'adapter'"):
        methods.build("combine", parts=parts)
